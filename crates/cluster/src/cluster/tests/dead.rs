//! A host that died: what goes with it, what stays its own, and what it learns when it is back.

use super::*;

#[test]
fn a_host_that_dies_takes_its_endpoints_with_it_and_keeps_its_blocks_until_it_is_forgotten() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let two = b.connect(network.id, "two");
    eventually("it is seen", SOON, || a.sees(&two));
    assert_eq!(a.cluster.forget("host-2").unwrap_err().kind, Kind::Conflict);
    b.client.cut(true);
    eventually("it is dead", SOON, || {
        !a.sees(&two) && a.cluster.hosts().is_empty()
    });
    let status = a.cluster.status();
    let dead = status
        .hosts
        .iter()
        .find(|host| host.name == "host-2")
        .unwrap();
    let blocks = dead.blocks.as_ref().expect("the store tells");
    assert!(!dead.alive && !blocks[&network.id].is_empty());
    assert_eq!(dead.endpoints, 1);
    let another = b.lease(network.id, EndpointId::from_bytes(random()));
    assert!(
        blocks[&network.id]
            .iter()
            .any(|block| block.contains(&another.addr()))
    );
    assert_eq!(a.cluster.forget("host-3").unwrap_err().kind, Kind::NotFound);
    assert_eq!(
        a.cluster.forget("host-1").unwrap_err().kind,
        Kind::Forbidden
    );
    a.cluster.forget("host-2").unwrap();
    let status = a.cluster.status();
    assert!(status.hosts.iter().all(|host| {
        let blocks = host.blocks.iter().flat_map(BTreeMap::values).flatten();
        blocks
            .into_iter()
            .all(|block| !block.contains(&another.addr()))
    }));
    b.client.cut(false);
    eventually("it learns that", SOON, || {
        b.told.count(|delta| *delta == Delta::Forgotten) > 0
    });
    eventually("it joins again", SOON, || a.cluster.hosts().len() == 1);
    assert!(!a.sees(&two));
    let two = b.connect(network.id, "two again");
    eventually("and takes part", SOON, || a.sees(&two));
}

#[test]
fn a_network_of_a_dead_host_can_be_removed_and_the_host_learns_it() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let two = b.connect(network.id, "two");
    eventually("it is seen", SOON, || a.sees(&two));
    b.client.cut(true);
    eventually("it is dead", SOON, || !a.sees(&two));
    a.cluster.remove_network(network.id).unwrap();
    b.client.cut(false);
    eventually("it learns that", SOON, || {
        b.told
            .count(|delta| *delta == Delta::NetworkGone(network.id))
            > 0
    });
    eventually("nothing is left", SOON, || {
        !store
            .records()
            .iter()
            .any(|record| record.key.contains(&network.id.to_string()))
    });
}
