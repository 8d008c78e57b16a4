//! Records of a newer version beside those of this one.

use super::{
    restored::{edit, record},
    *,
};
use crate::keys::Shared;
use vw_store::cluster::Write;

#[test]
fn a_host_goes_on_in_its_own_blocks_beside_records_that_it_cannot_read() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    a.create("any");
    let networks = ["10.1.0.0/24", "10.2.0.0/24"].map(|subnet| {
        let name = format!("net-{}", &subnet[3..4]);
        let request = request(&[subnet]);
        let made = a.cluster.create_network(spec(&name), &request, &[], true);
        made.unwrap().id
    });
    let holder = EndpointId::from_bytes(random());
    let given = networks.map(|network| {
        eventually("the network is known", SOON, || b.knows(network));
        let addr = a.lease(network, holder).addr();
        a.cluster.release(network, addr, holder);
        addr
    });
    // One address a newer version granted, and one is granted in a way that all know.
    b.lease_at(networks[1], given[1], holder);
    let grant = Shared::Grant(networks[0], given[0]).key();
    let unreadable = Shared::Network(networks[0]).key();
    let newer = [&grant, &unreadable].map(|key| Write::Put(key.clone(), b"7 {}".to_vec()));
    a.client.cut(true);
    edit(&store, newer.into());
    let reads = a.cluster.core.state().reads;
    a.client.lose_watches();
    a.client.cut(false);
    eventually("all is read anew and compared", SOON, || {
        let state = a.cluster.core.state();
        state.reads > reads && state.is_asserted()
    });
    for network in networks {
        for _ in 0..10 {
            let leased = a.lease(network, EndpointId::from_bytes(random())).addr();
            assert!(!given.contains(&leased), "{leased} twice");
        }
    }
    // What others give back elsewhere is free.
    b.cluster.release(networks[1], given[1], holder);
    let free = |at: usize| {
        let leased = a
            .cluster
            .lease(networks[at], Family::V4, Some(given[at]), holder);
        leased.is_ok()
    };
    eventually("it is free", SOON, || free(1));
    assert!(!free(0));
    edit(&store, vec![Write::Delete(grant.clone())]);
    eventually("and so is this one", SOON, || free(0));
    assert_eq!(record(&store, &grant), None);
}

#[test]
fn no_network_is_made_beside_one_whose_claims_cannot_be_read() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    a.create("any");
    let key = Shared::Network(NetworkId::from_bytes([9; 32])).key();
    let make = |name: &str| {
        let request = request(&["10.1.0.0/24"]);
        a.cluster.create_network(spec(name), &request, &[], true)
    };
    for record in ["", "1 {\"spec\": {\"name\": \"ha"] {
        edit(&store, vec![Write::Put(key.clone(), record.into())]);
        let refused = make("one").unwrap_err();
        assert_eq!(refused.reason, "cluster-record-unreadable");
        assert!(refused.message.contains(&key), "{refused}");
    }
    edit(&store, vec![Write::Delete(key)]);
    make("one").unwrap();
}
