//! Which of the other hosts changed since somebody asked.

use super::*;
use vw_model::{PublicKey, RemoteHost, TunnelKeys};

fn keys(number: u8) -> TunnelKeys {
    TunnelKeys {
        public: PublicKey::from_bytes([number; 32]),
        next: None,
        port: 51_820,
        taken: Default::default(),
        idle: false,
        woke: 0,
    }
}

#[test]
fn all_hosts_are_told_at_first_and_then_those_that_changed() {
    let store = MemoryStore::new();
    // Nobody's presence ends by itself meanwhile.
    let host = |n| {
        let client = store.client(&format!("host-{n}"));
        let host = Host::leased_for(Duration::from_secs(10), client, Arc::new(Memory::new()), n);
        host.cluster.settled();
        host
    };
    let (a, b, c) = (host(1), host(2), host(3));
    eventually("all know each other", SOON, || a.cluster.hosts().len() == 2);
    let hosts = a.cluster.hosts().into_iter();
    let all: Vec<_> = hosts.map(|host| (host.id, Some(host))).collect();
    assert_eq!(a.cluster.changed_hosts(), all);
    let next = || {
        let changed = || {
            let changed = a.cluster.changed_hosts();
            (!changed.is_empty()).then_some(changed)
        };
        vw_testkit::poll(SOON, changed).expect("one changes")
    };
    let told = |changed: &[(HostId, Option<RemoteHost>)], of: &Host| {
        let [(id, host)] = changed else {
            panic!("{changed:?}");
        };
        assert_eq!(*id, of.id);
        host.as_ref().map(|host| host.keys.clone())
    };
    b.cluster.set_tunnel_keys(keys(20));
    assert_eq!(told(&next(), &b), Some(Some(keys(20))));
    assert!(a.cluster.changed_hosts().is_empty());
    c.cluster.set_tunnel_keys(keys(30));
    assert_eq!(told(&next(), &c), Some(Some(keys(30))));
    // One that is not there any more.
    c.client.cut(true);
    c.client.expire();
    assert_eq!(told(&next(), &c), None);
    assert!(a.cluster.changed_hosts().is_empty());
    c.client.cut(false);
    assert_eq!(told(&next(), &c), Some(Some(keys(30))));
    assert_eq!(a.cluster.hosts().len(), 2);
}
