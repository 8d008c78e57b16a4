//! What the others are told of this host's endpoints, where one of them cannot be written.

use super::*;
use crate::keys::Shared;
use vw_store::cluster::{Transaction, Write};

#[test]
fn one_that_no_store_takes_does_not_hold_up_the_others() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let mut large = a.connect(network.id, "large");
    large.names = (0..20_000)
        .map(|n| format!("name-{n}-of-very-many"))
        .collect();
    a.cluster.publish(large.clone());
    let others: Vec<_> = (0..40)
        .map(|n| a.connect(network.id, &format!("other-{n}")))
        .collect();
    eventually("the others are told", SOON, || {
        others.iter().all(|other| b.sees(other))
    });
    let mut untold = Vec::new();
    eventually("it is said", SOON, || {
        untold = a.cluster.untold();
        !untold.is_empty()
    });
    assert!(untold[0].contains("name-0-of-very-many"), "{untold:?}");
    large.names.truncate(2);
    a.cluster.publish(large.clone());
    eventually("it is told once it fits", SOON, || b.sees(&large));
    assert!(a.cluster.untold().is_empty());
}

#[test]
fn a_network_of_a_newer_version_does_not_hold_up_the_endpoints_of_others() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let (newer, network) = (a.create("newer"), a.create("blue"));
    eventually("they are known", SOON, || {
        b.knows(newer.id) && b.knows(network.id)
    });
    let held = a.connect(newer.id, "held");
    eventually("it is told", SOON, || b.sees(&held));
    let key = Shared::Network(newer.id).key();
    let rewritten = store.edit(&Transaction {
        conditions: Vec::new(),
        writes: vec![Write::Put(key, b"9 {}".to_vec())],
    });
    assert!(rewritten);
    let mut changed = held.clone();
    changed.names.push("more".to_owned());
    a.cluster.publish(changed.clone());
    let other = a.connect(network.id, "other");
    eventually("the other is told", SOON, || b.sees(&other));
    assert!(!b.sees(&changed));
}
