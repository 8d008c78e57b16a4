//! In which order the others hear that an endpoint is gone, and that its address is free.

use super::{taken_up::granted, *};
use crate::keys::{self, ENDPOINTS, GRANTS};
use vw_store::cluster::{
    Change, ClusterStore, Watch,
    memory::{Call, Fate, Weather},
};

/// How many transactions of the second host are lost, so that the next is sent a good while after.
const LOST: u64 = 5;

/// The first transactions of the second host are lost.
#[derive(Default)]
struct Loses(AtomicU64);

impl Weather for Loses {
    fn before(&self, client: &str, call: Call) -> Fate {
        let lost = client == "host-2"
            && call == Call::Commit
            && self.0.fetch_add(1, Ordering::SeqCst) < LOST;
        match lost {
            true => Fate::Unreachable,
            false => Fate::Answered,
        }
    }
}

/// Withdraws an endpoint, and gives its address back once the next attempt to tell of it is some time
/// off.
fn withdraw(store: &MemoryStore, host: &Host, endpoint: &RemoteEndpoint) {
    let loses = Arc::new(Loses::default());
    store.set_weather(loses.clone());
    host.cluster.withdraw(endpoint.network, endpoint.id);
    eventually("it is not told", SOON, || {
        loses.0.load(Ordering::SeqCst) >= LOST
    });
    for addr in &endpoint.addresses {
        let (network, id) = (endpoint.network, endpoint.id);
        host.cluster.release(network, addr.addr(), id);
    }
}

/// What is deleted first: an endpoint, or what begins with another prefix.
fn goes_first(mut watch: Box<dyn Watch>, other: &str) -> &str {
    let first = vw_testkit::poll(SOON, || {
        let changes = watch.next(Duration::from_millis(100)).unwrap();
        changes.iter().find_map(|change| match change {
            Change::Deleted(key) => [ENDPOINTS, other]
                .into_iter()
                .find(|prefix| key.starts_with(prefix)),
            Change::Put(_) => None,
        })
    });
    first.expect("something is deleted")
}

#[test]
fn an_address_of_another_hosts_block_goes_back_after_its_endpoint() {
    let store = MemoryStore::new();
    let ([a, b], network, addr, id) = granted(&store);
    let two = RemoteEndpoint {
        id,
        addresses: vec![IpNet::new(addr, 24).unwrap()],
        ..b.connect(network, "other")
    };
    b.cluster.publish(two.clone());
    eventually("it is known", SOON, || a.sees(&two));
    let (_, watch) = store.client("eye").follow("v1").unwrap();
    withdraw(&store, &b, &two);
    assert_eq!(goes_first(watch, GRANTS), ENDPOINTS);
}

#[test]
fn a_block_goes_back_after_the_endpoint_that_it_was_used_by() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue").id;
    eventually("the network is known", SOON, || b.knows(network));
    let two = b.connect(network, "two");
    eventually("it is known", SOON, || a.sees(&two));
    let (_, watch) = store.client("eye").follow("v1").unwrap();
    let range = IpNet::new(two.addresses[0].addr(), 30).unwrap().trunc();
    let block = keys::block(network, range);
    assert!(store.records().iter().any(|record| record.key == block));
    withdraw(&store, &b, &two);
    b.cluster.core.give_back_empty(network, Family::V4, a.id);
    assert_eq!(goes_first(watch, &block), ENDPOINTS);
}
