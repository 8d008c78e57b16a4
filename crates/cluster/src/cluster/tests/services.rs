//! Services that hosts agree on.

use super::{Host, SOON, random, request, spec};
use crate::keys::Shared;
use std::{
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::SystemTime,
};
use vw_model::{
    Affinity, EndpointId, EndpointMode, Family, NetworkId, PublishedPort, ServiceId, ServiceSpec,
};
use vw_store::cluster::{
    Transaction, Write,
    memory::{Call, Fate, MemoryStore, Weather},
};
use vw_testkit::eventually;

pub(super) fn service(network: NetworkId, name: &str, port: u16) -> ServiceSpec {
    ServiceSpec {
        id: ServiceId::from_bytes(random()),
        name: name.parse().unwrap(),
        network,
        created: SystemTime::UNIX_EPOCH,
        mode: EndpointMode::Vip,
        vips: Vec::new(),
        ports: vec![PublishedPort {
            host: None,
            published: port,
            target: "80/tcp".parse().unwrap(),
            mode: Default::default(),
            prefer: Default::default(),
        }],
        affinity: Affinity::None,
        drain: SOON,
        health: None,
        labels: Default::default(),
    }
}

/// A network of so few addresses that a host can take all.
pub(super) fn small(a: &Host, subnet: &str) -> NetworkId {
    let request = request(&[subnet]);
    let mut made = None;
    eventually("the host has joined", SOON, || {
        made = a
            .cluster
            .create_network(spec("small"), &request, &[], true)
            .ok();
        made.is_some()
    });
    made.unwrap().id
}

#[test]
fn of_two_services_of_one_name_that_two_hosts_make_at_once_one_is_made() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = small(&a, "10.1.0.0/28");
    eventually("b knows the network", SOON, || b.knows(network));
    for (round, same_name) in (0..8_u16).flat_map(|round| [(round, true), (round, false)]) {
        let names = match same_name {
            true => ["web", "web"],
            false => ["one", "two"],
        };
        let ports = match same_name {
            true => [1000 + round, 2000 + round],
            false => [80, 80],
        };
        let make = |host: &Host, at: usize| {
            let spec = service(network, names[at], ports[at]);
            host.cluster.create_service(spec, &[Family::V4])
        };
        let (one, two) = std::thread::scope(|scope| {
            let other = scope.spawn(|| make(&b, 1));
            (make(&a, 0), other.join().unwrap())
        });
        let reasons = [&one, &two].map(|made| made.as_ref().err().map(|error| error.reason));
        let refused = match same_name {
            true => "service-exists",
            false => "port-allocated",
        };
        assert!(
            reasons == [None, Some(refused)] || reasons == [Some(refused), None],
            "{reasons:?}"
        );
        let made = one.or(two).unwrap();
        let error = a.cluster.remove_network(network).unwrap_err();
        assert_eq!(error.reason, "network-has-services");
        b.cluster.remove_service(made.id).unwrap();
        // More rounds are played than there are addresses.
        eventually("what was given is free again", SOON, || {
            let free = |host: &Host| {
                let state = host.cluster.core.state();
                let held = state.holdings.get(network);
                held.is_none_or(|held| held.given.is_empty())
            };
            free(&a) && free(&b)
        });
    }
    // Had an address been lost each time, there would be none left.
    let holder = EndpointId::from_bytes(random());
    eventually("the addresses are free again", SOON, || {
        let leased = || b.cluster.lease(network, Family::V4, None, holder);
        let all: Vec<_> = (0..6).map_while(|_| leased().ok()).collect();
        all.iter()
            .for_each(|addr| b.cluster.release(network, addr.addr(), holder));
        all.len() == 6
    });
}

/// Threads that go on when all that have something left to do have come.
struct Together {
    /// How many have come, how many have something left, and how often they went on.
    counts: Mutex<(usize, usize, usize)>,
    changed: Condvar,
}

impl Together {
    fn come(&self) {
        let mut counts = self.counts.lock().unwrap();
        counts.0 += 1;
        self.go_on(&mut counts);
        let (come, _, round) = *counts;
        let there = |counts: &mut (usize, usize, usize)| counts.2 == round;
        if come > 0 {
            drop(self.changed.wait_while(counts, there).unwrap());
        }
    }

    fn end(&self) {
        let mut counts = self.counts.lock().unwrap();
        counts.1 -= 1;
        self.go_on(&mut counts);
    }

    fn go_on(&self, counts: &mut (usize, usize, usize)) {
        if counts.0 == counts.1 {
            *counts = (0, counts.1, counts.2 + 1);
            self.changed.notify_all();
        }
    }
}

#[test]
fn services_that_hosts_publish_elsewhere_at_once_do_not_refuse_each_other() {
    let store = MemoryStore::new();
    let hosts = [Host::new(&store, 1), Host::new(&store, 2)];
    let network = small(&hosts[0], "10.1.0.0/28");
    eventually("b knows the network", SOON, || hosts[1].knows(network));
    let numbered = (0..48_u16).map(|n| {
        let spec = service(network, &format!("s{n}"), 1000 + n);
        (n, hosts[0].cluster.create_service(spec, &[]).unwrap().id)
    });
    let numbered: Vec<(u16, ServiceId)> = numbered.collect();
    let together = Together {
        counts: Mutex::new((0, numbered.len(), 0)),
        changed: Condvar::new(),
    };
    let change = |n: u16, id: ServiceId| {
        let changed = hosts[usize::from(n % 2)]
            .cluster
            .update_service(id, |mut spec| {
                together.come();
                spec.ports[0].published = 2000 + n;
                Ok(spec)
            });
        together.end();
        changed.err()
    };
    let failed: Vec<_> = std::thread::scope(|scope| {
        let threads = numbered.iter().map(|(n, id)| {
            let change = &change;
            scope.spawn(move || change(*n, *id))
        });
        let threads: Vec<_> = threads.collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.flatten().collect()
    });
    assert!(failed.is_empty(), "{}: {:?}", failed.len(), failed[0]);
}

/// Another host is ahead of this one, as long as it is told to.
struct Ahead {
    store: MemoryStore,
    client: String,
    is: AtomicBool,
}

impl Weather for Ahead {
    fn before(&self, client: &str, call: Call) -> Fate {
        if call == Call::Commit && client == self.client && self.is.load(Ordering::SeqCst) {
            let write = Write::Put(crate::keys::ROSTER.to_owned(), random().to_vec());
            let (conditions, writes) = (Vec::new(), vec![write]);
            assert!(self.store.edit(&Transaction { conditions, writes }));
        }
        Fate::Answered
    }
}

#[test]
fn one_who_lets_other_hosts_ahead_is_waited_for_by_none_of_its_own() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = small(&a, "10.1.0.0/28");
    let ahead = Arc::new(Ahead {
        store: store.clone(),
        client: "host-1".to_owned(),
        is: AtomicBool::new(true),
    });
    store.set_weather(ahead.clone());
    let spec = service(network, "web", 80);
    let given = || {
        let state = a.cluster.core.state();
        let held = state.holdings.get(network);
        held.and_then(|held| held.given.keys().next().copied())
    };
    let made = std::thread::scope(|scope| {
        let made = scope.spawn(|| a.cluster.create_service(spec.clone(), &[Family::V4]));
        eventually("its address is given to it", SOON, || given().is_some());
        let vip = given();
        for _ in 0..3 {
            eventually("another has the turn", SOON, || {
                a.cluster.core.try_turn().is_some()
            });
            assert_eq!(given(), vip, "it stays the service's");
        }
        assert!(!made.is_finished(), "it has others ahead of it");
        ahead.is.store(false, Ordering::SeqCst);
        made.join().unwrap()
    });
    assert_eq!(made.map(|made| made.vips[0].addr()).ok(), given());
}

#[test]
fn what_claims_nothing_of_a_service_changes_beside_the_others() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = small(&a, "10.1.0.0/28");
    let made = a.cluster.create_service(service(network, "web", 80), &[]);
    let made = made.unwrap();
    let order = || a.cluster.core.as_it_is(crate::keys::ROSTER).unwrap();
    let before = order();
    let drained = a.cluster.update_service(made.id, |mut spec| {
        spec.drain += SOON;
        Ok(spec)
    });
    assert_eq!(drained.unwrap().drain, SOON * 2);
    assert_eq!(order(), before);
    let renamed = a.cluster.update_service(made.id, |mut spec| {
        spec.name = "other".parse().unwrap();
        Ok(spec)
    });
    renamed.unwrap();
    assert_ne!(order(), before);
}

#[test]
fn an_address_stays_a_services_own_when_the_host_that_made_it_is_forgotten() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = small(&a, "10.1.0.0/28");
    let made = a
        .cluster
        .create_service(service(network, "web", 80), &[Family::V4])
        .unwrap();
    let vip = made.vips[0].addr();
    eventually("b knows the network", SOON, || b.knows(network));
    a.client.cut(true);
    eventually("a can be forgotten", SOON, || {
        b.cluster.forget("host-1").is_ok()
    });
    let mut all: Vec<IpAddr> = Vec::new();
    let holder = EndpointId::from_bytes(random());
    while let Ok(leased) = b.cluster.lease(network, Family::V4, None, holder) {
        all.push(leased.addr());
    }
    assert!(all.len() > 8, "{all:?}");
    assert!(!all.contains(&vip), "{vip} is the service's");
    b.cluster.remove_service(made.id).unwrap();
    eventually("it is free again", SOON, || {
        let leased = b.cluster.lease(network, Family::V4, None, holder);
        leased.is_ok_and(|leased| leased.addr() == vip)
    });
}

#[test]
fn a_service_without_room_for_its_address_leaves_nothing() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = small(&a, "10.1.0.0/29");
    let holder = EndpointId::from_bytes(random());
    while a.cluster.lease(network, Family::V4, None, holder).is_ok() {}
    let spec = service(network, "web", 80);
    let error = a
        .cluster
        .create_service(spec.clone(), &[Family::V4])
        .unwrap_err();
    assert_eq!(error.kind, vw_model::Kind::Exhausted);
    let dnsrr = a.cluster.create_service(spec, &[]);
    assert!(dnsrr.is_ok(), "the name and the port are free");
}

/// So many transactions are late.
#[derive(Default)]
struct Late(AtomicUsize);

impl Weather for Late {
    fn before(&self, _client: &str, call: Call) -> Fate {
        let less = |left: usize| left.checked_sub(1);
        let late = call == Call::Commit
            && self
                .0
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
                .is_ok();
        if late { Fate::Late } else { Fate::Answered }
    }
}

#[test]
fn a_service_whose_making_arrives_late_has_its_address_alone() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = small(&a, "10.1.0.0/28");
    let one = a.connect(network, "one");
    eventually("one is published", SOON, || {
        let key = Shared::Endpoint(network, a.id, one.id).key();
        store.records().iter().any(|record| record.key == key)
    });
    let weather = Arc::new(Late::default());
    store.set_weather(weather.clone());
    weather.0.store(usize::MAX, Ordering::SeqCst);
    let spec = service(network, "web", 80);
    let made = a.cluster.create_service(spec.clone(), &[Family::V4]);
    assert_eq!(made.unwrap_err().reason, "cluster-uncertain");
    weather.0.store(0, Ordering::SeqCst);
    let holder = EndpointId::from_bytes(random());
    let mut leased = Vec::new();
    // Of 14 one is the gateway's and one is taken.
    eventually("all addresses are leased", SOON, || {
        let next = a.cluster.lease(network, Family::V4, None, holder);
        leased.extend(next.ok().map(|addr| addr.addr()));
        leased.len() >= 12
    });
    while store.arrive() {}
    let key = Shared::Service(spec.id).key();
    assert!(store.records().iter().all(|record| record.key != key));
    // One that is late for a moment is made all the same, once.
    leased
        .iter()
        .for_each(|addr| a.cluster.release(network, *addr, holder));
    weather.0.store(1, Ordering::SeqCst);
    let made = a.cluster.create_service(spec, &[Family::V4]).unwrap();
    assert_eq!(made.vips.len(), 1);
    while store.arrive() {}
    a.cluster.remove_service(made.id).unwrap();
}

#[test]
fn what_a_newer_version_wrote_of_one_service_is_in_no_others_way() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = small(&a, "10.1.0.0/28");
    let made = a
        .cluster
        .create_service(service(network, "web", 80), &[Family::V4])
        .unwrap();
    let newer = |network: NetworkId| {
        let text = format!("7 {{\"spec\":{{\"name\":\"new\",\"network\":\"{network}\"}}}}");
        let key = Shared::Service(ServiceId::from_bytes([9; 32])).key();
        let (conditions, writes) = (Vec::new(), vec![Write::Put(key, text.into())]);
        assert!(store.edit(&Transaction { conditions, writes }));
    };
    newer(network);
    a.cluster.remove_service(made.id).unwrap();
    let error = a.cluster.remove_network(network).unwrap_err();
    assert!(error.message.contains("new"), "{error:?}");
    newer(NetworkId::from_bytes([8; 32]));
    a.cluster.remove_network(network).unwrap();
}

#[test]
fn a_record_that_cannot_be_read_keeps_no_other_service_from_being_made() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = small(&a, "10.1.0.0/28");
    let write = |id: ServiceId, text: String| {
        let key = Shared::Service(id).key();
        let (conditions, writes) = (Vec::new(), vec![Write::Put(key, text.into())]);
        assert!(store.edit(&Transaction { conditions, writes }));
    };
    let newer = format!(
        r#"7 {{"spec":{{"name":"new","network":"{network}","ports":[{{"published":81,"target":"80/tcp","mode":"later"}}],"mode":{{}}}}}}"#
    );
    write(ServiceId::from_bytes([9; 32]), newer);
    let make = |name, port| {
        a.cluster
            .create_service(service(network, name, port), &[Family::V4])
    };
    let broken = make("broken", 82).unwrap().id;
    write(broken, r#"1 {"spec":{"na"#.to_owned());
    let made = make("web", 80).unwrap();
    let changed = a.cluster.update_service(made.id, Ok).unwrap();
    assert_eq!(changed, made);
    // What can be known of the others holds.
    assert_eq!(make("new", 83).unwrap_err().reason, "service-exists");
    assert_eq!(make("other", 81).unwrap_err().reason, "port-allocated");
    let refused = a.cluster.update_service(broken, Ok).unwrap_err();
    assert!(
        refused
            .message
            .contains(&format!("vethwork service rm {broken}")),
        "{refused:?}"
    );
    let grants = || {
        let records = store.records().into_iter();
        records
            .filter(|record| record.key.contains("/grants/"))
            .count()
    };
    assert_eq!(grants(), 2, "each has an address");
    a.cluster.remove_service(broken).unwrap();
    assert_eq!(grants(), 1, "its address is given back");
    let gone = a.cluster.remove_service(broken).unwrap_err();
    assert_eq!(gone.reason, "service-not-found");
}
