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
