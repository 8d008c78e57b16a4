//! What counts as changed, and who has a key.

use super::*;
use crate::TunnelKeys;

fn id(number: u8) -> HostId {
    HostId::from_bytes([number; 32])
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn host(number: u8, public: u8, next: Option<u8>) -> RemoteHost {
    RemoteHost {
        id: id(number),
        name: String::new(),
        tunnel: [192, 0, 2, number].into(),
        keys: Some(TunnelKeys {
            public: key(public),
            next: next.map(key),
            port: 51_820,
            taken: BTreeSet::new(),
            idle: false,
            woke: 0,
        }),
        unpublished: Default::default(),
        away: false,
    }
}

fn own(others: &OtherHosts, number: u8) -> Option<(PublicKey, Option<PublicKey>)> {
    let keys = others.with_own_keys(id(number))?.keys?;
    Some((keys.public, keys.next))
}

#[test]
fn all_count_as_changed_until_they_are_followed_and_then_those_that_do() {
    let mut others: OtherHosts = (1..=100).map(|n| host(n, n, None)).collect();
    assert!(others.is_whole());
    assert_eq!(others.changed().len(), 100);
    others.settle();
    assert!(others.changed().is_empty() && !others.is_whole());
    others.take(id(7), Some(host(7, 107, None)));
    others.take(id(9), None);
    others.take(id(101), Some(host(101, 101, Some(102))));
    assert_eq!(others.changed(), [7, 9, 101].map(id).into());
    assert_eq!(others.rotating().collect::<Vec<_>>(), [id(101)]);
    assert_eq!(others.iter().count(), 100);
    assert!(others.get(id(9)).is_none());
    others.take(id(101), None);
    assert_eq!(others.rotating().count(), 0);
    // Whoever follows anew follows those that are there, and those that go meanwhile.
    others.unsettle();
    assert_eq!(others.changed().len(), 99);
    others.take(id(1), None);
    assert_eq!((others.iter().count(), others.changed().len()), (98, 99));
    assert!(others.known().contains(&id(1)));
}

#[test]
fn of_two_hosts_with_one_key_the_last_has_it_as_long_as_it_tells_it() {
    let mut others: OtherHosts = [host(1, 1, Some(11)), host(2, 2, None)]
        .into_iter()
        .collect();
    others.settle();
    others.take(id(3), Some(host(3, 1, None)));
    assert_eq!(others.changed(), [1, 3].map(id).into());
    assert_eq!(own(&others, 1), None);
    assert_eq!(own(&others, 3), Some((key(1), None)));
    others.settle();
    others.take(id(2), Some(host(2, 2, Some(11))));
    assert_eq!(others.changed(), [1, 2].map(id).into());
    others.take(id(3), None);
    assert_eq!(others.changed(), [1, 2, 3].map(id).into());
    assert_eq!(own(&others, 1), Some((key(1), None)));
    assert_eq!(own(&others, 2), Some((key(2), Some(key(11)))));
    others.settle();
    others.take(id(2), Some(host(2, 12, None)));
    assert_eq!(own(&others, 1), Some((key(1), Some(key(11)))));
    assert_eq!(others.changed(), [1, 2].map(id).into());
}
