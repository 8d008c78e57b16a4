//! The servers of a store, of whichever kind, as a stage wants them.

use std::env;
use vw_testkit::{
    Host, Lab,
    cluster_stores::{Consul, ConsulSettings, Place},
};

pub(crate) use vw_testkit::cluster_stores::{Kind, Servers};

/// Starts them at an address of a host; with the options that a daemon is let in by.
pub(crate) type Start = Box<dyn FnOnce(&Lab, &Host, &str) -> (Servers, Vec<String>)>;

/// Whose turn it is for a test of what the store has no part in: always the same one of the three,
/// or each of them where `VETHWORK_TEST_STORES` is `all`.
pub(crate) fn turn(test: &str) -> Vec<Kind> {
    let kinds = [Kind::Etcd, Kind::Consul, Kind::ZooKeeper];
    if env::var("VETHWORK_TEST_STORES").is_ok_and(|stores| stores == "all") {
        return kinds.to_vec();
    }
    let sum: usize = test.bytes().map(usize::from).sum();
    vec![kinds[sum % kinds.len()]]
}

/// One server.
pub(crate) fn of(kind: Kind) -> Start {
    servers(kind, 1)
}

/// So many servers.
pub(crate) fn servers(kind: Kind, count: usize) -> Start {
    Box::new(move |lab, host, addr| {
        let places = vec![Place::host(host, addr); count];
        (Servers::start(kind, lab, &places), Vec::new())
    })
}

/// The policy of a guarded Consul's token, and what it lets do at first.
pub(crate) const POLICY: (&str, &str) = (
    "net",
    r#"key_prefix "vethwork/" { policy = "write" } session_prefix "" { policy = "write" }"#,
);

/// A Consul that lets in who shows a token.
#[track_caller]
pub(crate) fn guarded(lab: &Lab, host: &Host, addr: &str) -> (Servers, Vec<String>) {
    let settings = ConsulSettings {
        token: Some("2f9c2c7e-63d5-4a3b-9d35-b3b7a5c0f001".to_owned()),
        ..ConsulSettings::default()
    };
    let consul = Consul::start_with(lab, &[Place::host(host, addr)], settings);
    let (policy, rules) = POLICY;
    let token = format!("token={}", consul.token(policy, rules));
    (Servers::Consul(consul), vec![token])
}
