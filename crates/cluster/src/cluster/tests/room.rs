//! Networks with more hosts than blocks, and what the dead leave behind of what they asked for.

use super::{
    restored::{edit, record},
    services::service,
    *,
};
use crate::{
    keys::{self, Shared},
    record::{RequestRecord, encode},
};
use std::{collections::BTreeSet, net::Ipv4Addr};
use vw_store::cluster::{
    Write,
    memory::{Call, Fate, Weather},
};

/// A subnet, and the range of it.
type Pool = (&'static str, Option<&'static str>);

fn network(host: &Host, (subnet, range): Pool) -> NetworkId {
    let ipv6 = subnet.contains(':');
    let mut wanted = request(&[subnet]);
    wanted.pools[0].ip_range = range.map(|range| range.parse().unwrap());
    (wanted.ipv4, wanted.ipv6) = (!ipv6, ipv6);
    let mut named = spec("small");
    (named.enable_ipv4, named.enable_ipv6) = (!ipv6, ipv6);
    host.create("any");
    let made = host.cluster.create_network(named, &wanted, &[], true);
    made.unwrap().id
}

fn any_lease(host: &Host, network: NetworkId, family: Family) -> vw_model::Result<IpNet> {
    let id = EndpointId::from_bytes(random());
    host.cluster.lease(network, family, None, id)
}

#[test]
fn a_host_without_a_block_gets_addresses_of_the_blocks_of_others() {
    let pools = [
        ("10.1.0.0/29", None),
        ("172.28.0.0/16", Some("172.28.5.64/26")),
        ("fd00:0:0:1::/125", None),
        ("fd00:0:0:1::/64", Some("fd00:0:0:1:7::/80")),
    ];
    for pool in pools {
        let family = if pool.0.contains(':') {
            Family::V6
        } else {
            Family::V4
        };
        let within: IpNet = pool.1.unwrap_or(pool.0).parse().unwrap();
        let store = MemoryStore::new();
        let hosts = [1, 2, 3].map(|n| Host::new(&store, n));
        let network = network(&hosts[0], pool);
        let mut had = BTreeSet::new();
        for host in hosts.iter().chain(&hosts) {
            eventually("the network is known", SOON, || host.knows(network));
            // On a busy machine a presence ends now and then.
            let mut leased = None;
            eventually(&format!("{pool:?}: host {} has one", host.n), SOON, || {
                leased = any_lease(host, network, family).ok();
                leased.is_some()
            });
            let addr = leased.expect("it was waited for");
            assert!(within.contains(&addr.addr()), "{pool:?}: {addr}");
            assert!(had.insert(addr), "{pool:?}: {addr} twice");
            if had.len() == 5 && pool.0.ends_with("/29") {
                break;
            }
        }
    }
}

#[test]
fn an_address_of_anothers_block_goes_back_with_its_endpoint() {
    let store = MemoryStore::new();
    let [a, b, c] = [1, 2, 3].map(|n| Host::new(&store, n));
    let network = network(&a, ("10.1.0.0/29", None));
    eventually("the network is known", SOON, || {
        b.knows(network) && c.knows(network)
    });
    let first = a.connect(network, "one");
    b.connect(network, "two");
    let granted: Vec<_> = (0..3).map(|_| c.connect(network, "more")).collect();
    eventually("they are seen", SOON, || {
        granted.iter().all(|one| a.sees(one))
    });
    let refused = any_lease(&c, network, Family::V4).unwrap_err();
    assert_eq!(refused.reason, "addresses-exhausted");
    let told = "no available IPv4 addresses on this network's address pools: small";
    assert!(refused.message.starts_with(told), "{refused}");
    let why = "this host has 0 blocks of them, and 2 other hosts 2; remove endpoints, or make the \
               network anew with a larger --subnet or --ip-range";
    assert!(refused.message.ends_with(why), "{refused}");
    // A service would need a block for its address.
    let refused = c
        .cluster
        .create_service(service(network, "web", 80), &[Family::V4]);
    let refused = refused.unwrap_err();
    assert!(
        refused
            .message
            .ends_with("make the service on one of them: host-1, host-2"),
        "{refused}"
    );
    granted.iter().for_each(|one| c.disconnect(one));
    eventually("they go back", SOON, || {
        let records = store.records();
        !records
            .iter()
            .any(|record| record.key.starts_with(keys::GRANTS))
    });
    a.disconnect(&first);
    let mut had = BTreeSet::new();
    eventually("who has the blocks has them all", SOON, || {
        had.extend(any_lease(&a, network, Family::V4));
        had.extend(any_lease(&b, network, Family::V4));
        had.len() == 4
    });
}

#[test]
fn who_is_not_there_is_named_where_no_address_is_left() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = network(&a, ("10.1.0.0/29", None));
    eventually("the network is known", SOON, || b.knows(network));
    (0..5).for_each(|_| drop(b.connect(network, "x")));
    b.client.cut(true);
    eventually("it is dead", SOON, || a.cluster.hosts().is_empty());
    let refused = any_lease(&a, network, Family::V4).unwrap_err();
    let why = "1 other hosts 2; host-2 not alive: give up what does not come back: \
               vethwork cluster forget host-2";
    assert!(refused.message.ends_with(why), "{refused}");
}

/// What a host that is not there asked for.
fn asked_by_nobody(refused: Option<&str>) -> Vec<u8> {
    encode(&RequestRecord {
        host: HostId::from_bytes([77; 32]),
        holder: EndpointId::from_bytes([78; 32]),
        refused: refused.map(str::to_owned),
        of: None,
    })
}

#[test]
fn what_a_dead_host_asked_for_keeps_nobody_from_asking() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = network(&a, ("10.1.0.0/29", None));
    eventually("the network is known", SOON, || b.knows(network));
    let all: Vec<_> = (0..5).map(|_| a.connect(network, "x")).collect();
    let addr = all[0].addresses[0].addr();
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let requests = [(any, None), (addr, Some("is held by endpoint 4e4e"))];
    let left = requests.map(|(addr, refused)| {
        let key = Shared::Request(network, addr).key();
        Write::Put(key, asked_by_nobody(refused))
    });
    edit(&store, left.into());
    all.iter().for_each(|one| a.disconnect(one));
    // For one address by its name.
    let mine = EndpointId::from_bytes(random());
    b.lease_at(network, addr, mine);
    b.cluster.release(network, addr, mine);
    // And for room.
    for _ in 0..5 {
        b.connect(network, "y");
    }
    let blocks = store.records().into_iter();
    let blocks = blocks.filter(|record| keys::parse_block(&record.key).is_some());
    let of_b = blocks.filter(|found| {
        let block: crate::record::BlockRecord = crate::record::decode(&found.value).unwrap();
        block.host == b.id
    });
    assert!(of_b.count() > 0, "the other gave up what it did not use");
    // Nobody is waited for who is not there.
    let key = Shared::Request(network, addr).key();
    assert_eq!(record(&store, &key), None);
}

#[test]
fn what_a_dead_host_asked_for_is_not_taken_to_be_used() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = network(&a, ("10.1.0.0/29", None));
    eventually("the network is known", SOON, || b.knows(network));
    let all: Vec<_> = (0..5).map(|_| a.connect(network, "x")).collect();
    let address = |endpoint: &RemoteEndpoint| endpoint.addresses[0].addr();
    // Something is used of each of its two blocks.
    let kept = ["10.1.0.2", "10.1.0.5"].map(|addr| addr.parse::<IpAddr>().unwrap());
    let (used, free): (Vec<_>, Vec<_>) = all.iter().partition(|one| kept.contains(&address(one)));
    assert_eq!(used.len(), kept.len());
    let left = free.iter().map(|one| {
        let key = Shared::Request(network, address(one)).key();
        Write::Put(key, asked_by_nobody(None))
    });
    edit(&store, left.collect());
    free.iter().for_each(|one| a.disconnect(one));
    // What is known to be used is not asked for.
    eventually("they are seen to be gone", SOON, || {
        !free.iter().any(|one| b.sees(one))
    });
    let leased = any_lease(&b, network, Family::V4);
    leased.unwrap_or_else(|error| panic!("{} are free: {error}", free.len()));
}

#[test]
fn what_was_not_cleared_away_of_a_forgotten_host_is_given_up_by_its_id_and_by_who_gave_it() {
    let store = MemoryStore::new();
    let [a, b, c] = [1, 2, 3].map(|n| Host::new(&store, n));
    let network = network(&a, ("10.1.0.0/24", None));
    eventually("the network is known", SOON, || {
        b.knows(network) && c.knows(network)
    });
    let former = EndpointId::from_bytes(random());
    let addr = a.lease(network, former).addr();
    a.cluster.release(network, addr, former);
    b.lease_at(network, addr, former);
    let two = b.connect(network, "two");
    eventually("it is seen", SOON, || a.sees(&two));
    b.client.cut(true);
    eventually("it is dead", SOON, || !a.sees(&two));
    // Who forgot it was cut off, and forgot another since.
    edit(&store, vec![Write::Delete(Shared::Host(b.id).key())]);
    eventually("the address is free again", SOON, || {
        let id = EndpointId::from_bytes(random());
        a.cluster.lease(network, Family::V4, Some(addr), id).is_ok()
    });
    let endpoint = Shared::Endpoint(network, b.id, two.id).key();
    assert!(record(&store, &endpoint).is_some());
    assert_eq!(
        c.cluster.forget(&b.id.to_string()[..20]).unwrap_err().kind,
        Kind::NotFound
    );
    c.cluster.forget(&b.id.to_string()).unwrap();
    assert_eq!(record(&store, &endpoint), None);
    assert_eq!(
        c.cluster.forget(&b.id.to_string()).unwrap_err().kind,
        Kind::NotFound
    );
    // Whether there is such a host is not known without the store.
    store.set_weather(Arc::new(AfterOneCall(AtomicU64::new(0))));
    let thread = std::thread::Builder::new().name("forgets".to_owned());
    let cluster = c.cluster.clone();
    let asked = thread.spawn(move || cluster.forget("somebody"));
    let error = asked.unwrap().join().unwrap().unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
}

/// Cuts off a thread after its first call.
struct AfterOneCall(AtomicU64);

impl Weather for AfterOneCall {
    fn before(&self, _client: &str, _call: Call) -> Fate {
        let forgets = std::thread::current().name() == Some("forgets");
        if forgets && self.0.fetch_add(1, Ordering::SeqCst) > 0 {
            return Fate::Unreachable;
        }
        Fate::Answered
    }
}
