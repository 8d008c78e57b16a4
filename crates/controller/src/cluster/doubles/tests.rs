//! Whom it is told of.

use super::*;

#[test]
fn who_shares_an_address_is_named_with_whom() {
    let host = |number, name: &str, last| {
        let addr = IpAddr::from([192, 0, 2, last]);
        (HostId::from_bytes([number; 32]), name.to_owned(), addr)
    };
    let alone = [host(1, "a", 1), host(2, "b", 2)];
    assert_eq!(doubles(alone.clone()), BTreeMap::new());
    let told = doubles(alone.into_iter().chain([host(3, "c", 1)]));
    let ids: Vec<HostId> = told.keys().copied().collect();
    assert_eq!(ids, [1, 3].map(|number| HostId::from_bytes([number; 32])));
    for sentence in told.values() {
        let names = "hosts a (010101010101) and c (030303030303) advertise one address, 192.0.2.1,";
        assert!(sentence.starts_with(names), "{sentence}");
    }
}

#[test]
fn who_is_reached_by_the_other_ip_version_is_named() {
    let host = |number, addr: &str| {
        let id = HostId::from_bytes([number; 32]);
        (id, format!("h{number}"), addr.parse().unwrap())
    };
    let all = [
        host(1, "192.0.2.1"),
        host(2, "192.0.2.2"),
        host(3, "2001:db8::3"),
    ];
    let told = apart(all.clone(), all[0].2);
    assert_eq!(told.keys().collect::<Vec<_>>(), [&all[2].0]);
    let sentence = &told[&all[2].0];
    let words = "host h3 (030303030303) advertises 2001:db8::3, and this host 192.0.2.1: ";
    assert!(sentence.starts_with(words), "{sentence}");
    assert_eq!(apart(all.clone(), all[2].2).len(), 2);
}
