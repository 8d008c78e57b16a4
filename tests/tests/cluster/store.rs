//! The servers of a store, of whichever kind, as a stage wants them.

use std::{env, fs};
use vw_testkit::{
    Host, Lab,
    cluster_stores::{Certificates, Consul, ConsulSettings, Etcd, EtcdSettings, Place, ZooKeeper},
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

/// An etcd that lets in who shows a certificate of an authority. That, as daemons take it, lies in the
/// test's folder as `ca.pem`, and another one of that name in its folder `theirs`.
#[track_caller]
pub(crate) fn etcd_by_certificate(lab: &Lab, host: &Host, addr: &str) -> (Servers, Vec<String>) {
    let [ours, _] = ["ours", "theirs"].map(|name| Certificates::new(lab, name, &[addr]));
    let settings = EtcdSettings {
        tls: Some(ours.clone()),
        ..EtcdSettings::default()
    };
    let etcd = Etcd::start_with(lab, &[Place::host(host, addr)], settings);
    let own = lab.folder().join("ca.pem");
    fs::copy(ours.file("ca.pem"), &own).expect("the folder is ours");
    let files = [
        ("ca", own),
        ("cert", ours.file("client.pem")),
        ("key", ours.file("client.key")),
    ];
    let options = files.map(|(key, file)| format!("tls.{key}={}", file.display()));
    (Servers::Etcd(etcd), options.to_vec())
}

/// An etcd that lets in a user with a password, and it to no more than docs/cluster-store.md says. The
/// password lies in the test's folder as `password`.
#[track_caller]
pub(crate) fn etcd_by_user(lab: &Lab, host: &Host, addr: &str) -> (Servers, Vec<String>) {
    let mut etcd = Etcd::start(lab, &[Place::host(host, addr)]);
    for line in [
        "user add root:hush",
        "role add net",
        "role grant-permission --prefix=true net readwrite vethwork/",
        "user add net:hush",
        "user grant-role net net",
        "auth enable",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        etcd.ctl(&words).must();
    }
    etcd.log_in("root:hush");
    (Servers::Etcd(etcd), user(lab))
}

/// A ZooKeeper that daemons show a user to. The password lies as that of [`etcd_by_user`].
#[track_caller]
pub(crate) fn zookeeper_by_user(lab: &Lab, host: &Host, addr: &str) -> (Servers, Vec<String>) {
    let zookeeper = ZooKeeper::start(lab, &[Place::host(host, addr)]);
    (Servers::ZooKeeper(zookeeper), user(lab))
}

fn user(lab: &Lab) -> Vec<String> {
    let file = lab.folder().join("password");
    fs::write(&file, "hush\n").expect("the folder is ours");
    vec![
        "user=net".to_owned(),
        format!("password-file={}", file.display()),
    ]
}
