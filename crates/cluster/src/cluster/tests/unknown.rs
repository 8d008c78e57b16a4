//! What the store has as a host's, and the host does not know of.

use super::{
    restored::{block_of, bring_back, edit, record},
    *,
};
use crate::{
    core::Phase,
    keys::{self, Shared},
    record::{BlockRecord, decode, encode},
};
use vw_store::cluster::{
    Write,
    memory::{Call, Fate, Weather},
};

/// A network of one pool, known to both hosts, on which the first has an endpoint.
fn network(a: &Host, b: &Host) -> (NetworkSpec, RemoteEndpoint) {
    a.create("any");
    let made = a
        .cluster
        .create_network(spec("blue"), &request(&["10.1.0.0/20"]), &[], true);
    let made = made.unwrap();
    eventually("the network is known", SOON, || b.knows(made.id));
    let one = a.connect(made.id, "one");
    eventually("it is seen", SOON, || b.sees(&one));
    (made, one)
}

/// An address of a block that nobody has, and the block's key, which is made the host's.
fn claimed(store: &MemoryStore, network: &NetworkSpec, host: &Host) -> (IpAddr, String) {
    let mut all = (1..16).map(|n| IpAddr::from([10, 1, n, 77]));
    let free = all.find(|addr| record(store, &block_of(network, *addr)).is_none());
    let addr = free.expect("most are free");
    let key = block_of(network, addr);
    let block = encode(&BlockRecord { host: host.id });
    edit(store, vec![Write::Put(key.clone(), block)]);
    (addr, key)
}

#[test]
fn an_address_is_had_of_a_host_that_does_not_know_that_it_has_the_block() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let (network, _) = network(&a, &b);
    let (addr, _) = claimed(&store, &network, &a);
    let id = EndpointId::from_bytes(random());
    b.lease_at(network.id, addr, EndpointId::from_bytes(random()));
    let taken = a.cluster.lease(network.id, Family::V4, Some(addr), id);
    assert_eq!(taken.unwrap_err().reason, "address-in-use");
}

#[test]
fn a_block_that_its_host_does_not_know_goes_back_once_all_is_read() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let (network, _) = network(&a, &b);
    let claims = [0; 9].map(|_| claimed(&store, &network, &a).1);
    a.client.lose_watches();
    let left = || claims.iter().any(|key| record(&store, key).is_some());
    eventually("they go back", SOON, || !left());
    // And of a network of which it has nothing, as it was killed with its first claim.
    let (_, key) = claimed(&store, &network, &b);
    let b = b.restart();
    b.cluster.settled();
    eventually("it goes back", SOON, || record(&store, &key).is_none());
}

/// The first that a host's worker commits arrives late, and no other until that is over.
struct LateOnce(AtomicU64);

impl Weather for LateOnce {
    fn before(&self, client: &str, call: Call) -> Fate {
        let works = std::thread::current().name() == Some("cluster-work");
        match client == "host-1" && works && call == Call::Commit {
            true if self.0.fetch_add(1, Ordering::SeqCst) == 0 => Fate::Late,
            true => Fate::Unreachable,
            false => Fate::Answered,
        }
    }
}

#[test]
fn a_block_that_was_given_back_is_not_used_before_that_can_take_no_effect() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let (network, _) = network(&a, &b);
    let late = Arc::new(LateOnce(AtomicU64::new(0)));
    let (addr, key) = claimed(&store, &network, &a);
    store.set_weather(late.clone());
    a.client.lose_watches();
    eventually("it is given back", SOON, || {
        late.0.load(Ordering::SeqCst) > 0
    });
    let id = EndpointId::from_bytes(random());
    let mut leased = None;
    eventually("it is had all the same", SOON, || {
        leased = a.cluster.lease(network.id, Family::V4, Some(addr), id).ok();
        leased.is_some()
    });
    while store.arrive() {}
    let block: BlockRecord = decode(&record(&store, &key).expect("it stands")).unwrap();
    assert_eq!(block.host, a.id);
}

#[test]
fn what_a_host_had_of_a_network_that_was_removed_without_it_goes_when_it_is_back() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let (network, one) = network(&a, &b);
    let key = block_of(&network, one.addresses[0].addr());
    a.client.cut(true);
    eventually("it is dead", SOON, || b.cluster.hosts().is_empty());
    b.cluster.remove_network(network.id).unwrap();
    // Whoever removed it was gone before it had cleared up.
    let block = encode(&BlockRecord { host: a.id });
    edit(&store, vec![Write::Put(key.clone(), block)]);
    a.client.cut(false);
    eventually("its block goes", SOON, || record(&store, &key).is_none());
}

#[test]
fn a_backup_of_before_a_host_was_forgotten_shows_it_its_former_self() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let (network, _) = network(&a, &b);
    let backup = store.records();
    edit(&store, vec![Write::Delete(Shared::Host(a.id).key())]);
    eventually("it has joined anew", SOON, || {
        a.told.count(|delta| matches!(delta, Delta::Joined)) > 1
    });
    let a = a.restart();
    a.cluster.settled();
    let joined = || matches!(a.cluster.core.state().phase, Phase::Joined(_));
    eventually("it has joined", SOON, joined);
    bring_back(&store, &backup);
    a.client.lose_watches();
    let own = Shared::Host(a.id).key();
    let former = backup.iter().find(|record| record.key == own).unwrap();
    eventually("it has joined in its own place", SOON, || {
        let superseded = matches!(a.cluster.core.state().phase, Phase::Superseded(_));
        assert!(!superseded, "it takes itself for another");
        joined() && record(&store, &own).is_some_and(|now| now != former.value)
    });
    let two = a.connect(network.id, "two");
    eventually("it is seen", SOON, || b.sees(&two));
    let strays = store.records().into_iter();
    let strays = strays.filter(|record| record.key.starts_with(keys::REQUESTS));
    assert_eq!(strays.count(), 0);
}
