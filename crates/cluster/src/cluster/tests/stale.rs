//! Grants of a backup at addresses that others have by now.

use super::{
    restored::{bring_back, edit, record},
    services::service,
    *,
};
use crate::{
    keys::Shared,
    record::{GrantRecord, encode},
};
use std::collections::BTreeSet;
use vw_store::cluster::{
    ClusterStore, Record, Write,
    memory::{Call, Fate, Weather},
};

/// Hosts that see and do nothing, and are alive.
#[derive(Default)]
struct Held(Mutex<BTreeSet<String>>);

impl Weather for Held {
    fn before(&self, client: &str, _: Call) -> Fate {
        let thread = std::thread::current();
        let present = thread.name() == Some("cluster-present");
        match !present && self.0.lock().unwrap().contains(client) {
            true => Fate::Unreachable,
            false => Fate::Answered,
        }
    }
}

/// The host whose block it is, the one that had an address of it at the time of the backup, and the
/// one that has it by now, in all orders in which they may notice.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

/// Hosts, a network, and an address of the first one's block that the second one had at the time of a
/// backup, which comes last, and has given back since.
fn given_back(store: &MemoryStore) -> ([Host; 3], NetworkId, IpAddr, Vec<Record>) {
    let hosts = [1, 2, 3].map(|n| Host::new(store, n));
    let [a, b, c] = &hosts;
    a.create("any");
    let request = request(&["10.1.0.0/24"]);
    let made = a.cluster.create_network(spec("blue"), &request, &[], true);
    let network = made.unwrap().id;
    eventually("the network is known", SOON, || {
        b.knows(network) && c.knows(network)
    });
    let former = EndpointId::from_bytes(random());
    let addr = a.lease(network, former).addr();
    a.cluster.release(network, addr, former);
    b.lease_at(network, addr, former);
    let backup = store.records();
    b.cluster.release(network, addr, former);
    eventually("it is given back", SOON, || {
        let state = a.cluster.core.state();
        let held = state.holdings.get(network);
        held.is_some_and(|held| held.given.is_empty())
    });
    (hosts, network, addr, backup)
}

#[test]
fn an_address_stays_with_who_has_it_where_an_older_backup_grants_it_to_another() {
    for order in ORDERS {
        let store = MemoryStore::new();
        let weather = Arc::new(Held::default());
        store.set_weather(weather.clone());
        let (hosts, network, addr, backup) = given_back(&store);
        let [a, b, c] = &hosts;
        let holder = EndpointId::from_bytes(random());
        c.lease_at(network, addr, holder);
        let grant = Shared::Grant(network, addr).key();
        let now = encode(&GrantRecord { host: c.id, holder });
        assert_eq!(record(&store, &grant), Some(now.clone()));
        // Whoever wrote something has heard that it stands.
        eventually("all is answered", SOON, || {
            let state = b.cluster.core.state();
            let returned = state.holdings.get(network);
            returned.is_some_and(|held| held.grants.is_empty())
                && !a.cluster.core.state().turns.taken
        });
        let looked = hosts.iter().map(|host| host.cluster.core.look_at_marks());
        assert!(looked.into_iter().all(|looked| looked.is_ok_and(|it| it)));
        let reads = |host: &Host| host.cluster.core.state().reads;
        let before: Vec<u64> = hosts.iter().map(reads).collect();
        let all = hosts.iter().map(|host| format!("host-{}", host.n));
        weather.0.lock().unwrap().extend(all);
        bring_back(&store, &backup);
        for n in order {
            let host = &hosts[n];
            weather
                .0
                .lock()
                .unwrap()
                .remove(&format!("host-{}", host.n));
            eventually("it has read all anew", SOON, || reads(host) > before[n]);
        }
        let lost = |host: &Host| host.told.count(|delta| *delta == Delta::Forgotten) > 0;
        let other = EndpointId::from_bytes(random());
        eventually("it is granted to who has it", SOON, || {
            let taken = a.cluster.lease(network, Family::V4, Some(addr), other);
            assert!(taken.is_err(), "{order:?}: twice");
            let asserted = |host: &Host| host.cluster.core.state().is_asserted();
            record(&store, &grant) == Some(now.clone()) && hosts.iter().all(asserted)
        });
        assert!(!hosts.iter().any(lost), "{order:?}");
        // As ever, it is free again when it is given back.
        c.cluster.release(network, addr, holder);
        eventually("it is free", SOON, || {
            let leased = a.cluster.lease(network, Family::V4, Some(addr), other);
            leased.is_ok()
        });
    }
}

#[test]
fn a_service_that_goes_takes_no_grant_of_anothers_with_it() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = super::services::small(&a, "10.1.0.0/28");
    let made = a
        .cluster
        .create_service(service(network, "web", 80), &[Family::V4])
        .unwrap();
    let grant = Shared::Grant(network, made.vips[0].addr()).key();
    let theirs = encode(&GrantRecord {
        host: HostId::from_bytes([9; 32]),
        holder: EndpointId::from_bytes(random()),
    });
    edit(&store, vec![Write::Put(grant.clone(), theirs.clone())]);
    a.cluster.remove_service(made.id).unwrap();
    let service = Shared::Service(made.id).key();
    let left = [service, grant].map(|key| record(&store, &key));
    assert_eq!(left, [None, Some(theirs)]);
}

#[test]
fn a_grant_that_its_holder_put_back_is_known_to_whose_block_it_is() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    a.create("any");
    let request = request(&["10.1.0.0/24"]);
    let made = a.cluster.create_network(spec("blue"), &request, &[], true);
    let network = made.unwrap().id;
    eventually("the network is known", SOON, || b.knows(network));
    let holder = EndpointId::from_bytes(random());
    let addr = a.lease(network, holder).addr();
    a.cluster.release(network, addr, holder);
    // As b does that had it of who had the block before, and as nobody told a.
    let theirs = encode(&GrantRecord { host: b.id, holder });
    b.cluster
        .core
        .copy
        .add_grant(
            network,
            crate::holdings::Grant {
                holder,
                grantee: holder,
                addr: IpNet::new_assert(addr, 24),
                state: crate::holdings::GrantState::Held,
                granter: Some(a.id),
            },
        )
        .unwrap();
    let b = b.restart();
    b.cluster.hold(network, addr, holder).unwrap();
    b.cluster.settled();
    let grant = Shared::Grant(network, addr).key();
    eventually("it is put back", SOON, || {
        record(&store, &grant).as_ref() == Some(&theirs)
    });
    let known = || {
        let state = a.cluster.core.state();
        let held = state.holdings.get(network);
        held.is_some_and(|held| held.given.contains_key(&addr)) && state.is_asserted()
    };
    eventually("its host knows", SOON, known);
    for _ in 0..40 {
        assert_ne!(
            a.lease(network, EndpointId::from_bytes(random())).addr(),
            addr
        );
    }
    b.cluster.release(network, addr, holder);
    eventually("it is given back", SOON, || {
        let leased = a.cluster.lease(network, Family::V4, Some(addr), holder);
        leased.is_ok()
    });
}

#[test]
fn what_a_dead_host_has_by_an_older_backup_is_looked_at_when_it_is_back() {
    let store = MemoryStore::new();
    let (hosts, network, addr, backup) = given_back(&store);
    let [a, b, _] = &hosts;
    let holder = EndpointId::from_bytes(random());
    let leased = || a.cluster.lease(network, Family::V4, Some(addr), holder);
    eventually("it is another's", SOON, || leased().is_ok());
    b.client.cut(true);
    let presence = Shared::Alive(b.id).key();
    let is_dead = || {
        let state = a.cluster.core.state();
        state.mirror.hosts[&b.id].is_lost()
    };
    eventually("its former holder is dead", SOON, is_dead);
    let reads = a.cluster.core.state().reads;
    bring_back(&store, &backup);
    a.client.lose_watches();
    let compared = || {
        let state = a.cluster.core.state();
        state.reads > reads && state.is_asserted()
    };
    eventually("it is compared", SOON, compared);
    let grant = Shared::Grant(network, addr).key();
    assert!(record(&store, &grant).is_some(), "the dead host's");
    // It lives, and does not take it away.
    let back = store.client("back");
    let present = back.announce(&presence, b"", Duration::from_secs(60));
    eventually("it is looked at", SOON, || {
        !a.cluster.core.state().is_compared(network)
    });
    drop(present);
    b.client.cut(false);
    eventually("it takes it away", SOON, || {
        record(&store, &grant).is_none() && compared()
    });
    let lost = |delta: &Delta| *delta == Delta::Forgotten;
    assert_eq!(a.told.count(lost), 0);
}
