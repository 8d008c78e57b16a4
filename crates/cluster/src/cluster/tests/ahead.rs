//! Blocks that a host claims before it is out of addresses.

use super::*;
use crate::keys;

fn made(host: &Host, subnets: &[&str]) -> NetworkId {
    host.create("any");
    let request = request(subnets);
    let made = host
        .cluster
        .create_network(spec("blue"), &request, &[], true);
    made.unwrap().id
}

/// How many blocks of a network somebody has.
fn blocks(store: &MemoryStore, network: NetworkId) -> usize {
    let records = store.records().into_iter();
    let parsed = records.filter_map(|record| keys::parse_block(&record.key));
    parsed.filter(|(of, _)| *of == network).count()
}

#[test]
fn a_host_whose_blocks_are_full_has_room_while_the_store_is_away() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = made(&a, &[]);
    for _ in 0..16 {
        a.connect(network, "x");
    }
    eventually("it has more than it needs", SOON, || {
        blocks(&store, network) > 5
    });
    a.client.cut(true);
    for _ in 0..3 {
        a.connect(network, "y");
    }
    a.client.cut(false);
    let had = blocks(&store, network);
    stays("no block comes and goes", Duration::from_secs(4), || {
        blocks(&store, network) == had
    });
}

#[test]
fn a_host_with_room_claims_nothing_and_a_small_subnet_is_left_to_those_in_need() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    // The first block of the small one has two addresses, the others of the eight have four.
    let small = made(&a, &["10.1.0.0/27"]);
    let large = a.create("red").id;
    (0..3).for_each(|_| drop(a.connect(small, "x")));
    a.connect(large, "y");
    let had = [small, large].map(|network| blocks(&store, network));
    assert!(had[0] <= 2 && had[1] == 4, "{had:?}");
    stays("they are as many", Duration::from_secs(3), || {
        [small, large].map(|network| blocks(&store, network)) == had || blocks(&store, large) == 4
    });
}
