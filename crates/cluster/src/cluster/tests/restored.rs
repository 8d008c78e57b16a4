//! A store that was brought back from an older backup, that was emptied, or that comes to a newer
//! format.

use super::{services, *};
use crate::{
    keys::{self, Shared},
    record::{self, BlockRecord},
};
use std::collections::BTreeSet;
use vw_ipam::Division;
use vw_model::ServicePart;
use vw_store::cluster::{Record, Transaction, Write};

/// Brings records back as they were, while no host looks; then every host reads them.
fn restore(store: &MemoryStore, backup: &[Record], hosts: [&Host; 2]) {
    hosts.iter().for_each(|host| host.client.cut(true));
    bring_back(store, backup);
    for host in hosts {
        host.client.lose_watches();
        host.client.cut(false);
    }
}

/// Brings records back as they were, but for who is present.
pub(super) fn bring_back(store: &MemoryStore, backup: &[Record]) {
    let now = store.records();
    let made = now.iter().filter(|record| {
        let alive = record.key.starts_with(keys::ALIVE);
        !alive && backup.iter().all(|old| old.key != record.key)
    });
    let changed = backup.iter().filter(|old| {
        let alive = old.key.starts_with(keys::ALIVE);
        let same = |record: &Record| (&record.key, &record.value) == (&old.key, &old.value);
        !alive && !now.iter().any(same)
    });
    let writes = made
        .map(|record| Write::Delete(record.key.clone()))
        .chain(changed.map(|old| Write::Put(old.key.clone(), old.value.clone())))
        .collect();
    edit(store, writes);
}

pub(super) fn edit(store: &MemoryStore, writes: Vec<Write>) {
    let conditions = Vec::new();
    assert!(store.edit(&Transaction { conditions, writes }));
}

pub(super) fn record(store: &MemoryStore, key: &str) -> Option<Vec<u8>> {
    let mut records = store.records().into_iter();
    records
        .find(|record| record.key == key)
        .map(|record| record.value)
}

pub(super) fn block_of(network: &NetworkSpec, addr: IpAddr) -> String {
    let subnet = network.ipam.pools[0].subnet;
    let range = Division::of(subnet).block(addr).expect("it is in one");
    keys::block(network.id, range)
}

#[test]
fn what_an_older_backup_lacks_is_put_back_by_those_who_hold_it() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let request = request(&["10.1.0.0/24"]);
    a.create("any");
    let network = a
        .cluster
        .create_network(spec("blue"), &request, &[], true)
        .unwrap();
    eventually("the network is known", SOON, || b.knows(network.id));
    let backup = store.records();
    let one = a.connect(network.id, "one");
    // An address of a's block that b has by a's consent.
    let holder = EndpointId::from_bytes([7; 32]);
    let next = a.lease(network.id, holder);
    a.cluster.release(network.id, next.addr(), holder);
    assert_eq!(b.lease_at(network.id, next.addr(), holder), next);
    eventually("it is seen", SOON, || b.sees(&one));
    let block = block_of(&network, one.addresses[0].addr());
    let grant = Shared::Grant(network.id, next.addr()).key();
    let lost = [&block, &grant].map(|key| record(&store, key));
    assert!(lost.iter().all(Option::is_some));
    restore(&store, &backup, [&a, &b]);
    eventually("block and grant are back", SOON, || {
        [&block, &grant].map(|key| record(&store, key)) == lost
    });
    eventually("and so is the endpoint", SOON, || b.sees(&one));
    for _ in 0..40 {
        let other = a.lease(network.id, EndpointId::from_bytes(random()));
        assert!(other != next && other != one.addresses[0], "{other} twice");
    }
    for host in [&a, &b] {
        assert_eq!(host.told.count(|delta| *delta == Delta::Forgotten), 0);
    }
}

#[test]
fn what_was_lost_in_an_absence_is_put_back_though_the_watch_missed_nothing() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let one = a.connect(network.id, "one");
    eventually("it is seen", SOON, || b.sees(&one));
    let block = block_of(&network, one.addresses[0].addr());
    // The watch of a host tells it of no block.
    let lose = || edit(&store, vec![Write::Delete(block.clone())]);
    let back = || record(&store, &block).is_some();
    a.client.cut(true);
    let away = |delta: &Delta| matches!(delta, Delta::Store(StoreState::Away { reason, .. }) if reason.contains("host-1 is cut off"));
    eventually("it says why the store is away", SOON, || {
        a.told.count(away) > 0
    });
    lose();
    a.client.cut(false);
    eventually("the store was away", SOON, back);
    stays("nobody misses anything now", Duration::from_secs(1), back);
    lose();
    a.client.expire();
    eventually("the host was away", SOON, back);
}

#[test]
fn an_emptied_store_takes_nothing_down() {
    for another in [false, true] {
        let store = MemoryStore::new();
        let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
        let network = a.create("blue");
        eventually("the network is known", SOON, || b.knows(network.id));
        let (one, two) = (a.connect(network.id, "one"), b.connect(network.id, "two"));
        eventually("they see each other", SOON, || b.sees(&one) && a.sees(&two));
        let known = || a.cluster.core.copy.identity().unwrap().cluster.is_some();
        assert!(known());
        let delete = store.records().into_iter();
        let delete = delete.map(|record| Write::Delete(record.key));
        let format = (
            keys::FORMAT.to_owned(),
            b"1 {\"least\":1,\"cluster\":\"x\"}",
        );
        let made = another.then(|| Write::Put(format.0.clone(), format.1.to_vec()));
        let kept = delete.filter(|write| !another || write.key() != format.0);
        edit(&store, kept.chain(made).collect());
        let told = |delta: &Delta| matches!(delta, Delta::Store(StoreState::Away { reason, .. }) if reason.contains("Bring the store back"));
        eventually("it is told", SOON, || a.told.count(told) > 0);
        let change = || {
            a.cluster
                .create_network(spec("red"), &request(&[]), &[], true)
        };
        assert_eq!(change().unwrap_err().reason, "cluster-store-emptied");
        stays("nothing is taken down", Duration::from_secs(2), || {
            let gone = |delta: &Delta| {
                use Delta::{EndpointGone, Forgotten, NetworkGone};
                matches!(delta, EndpointGone(..) | Forgotten | NetworkGone(_))
            };
            a.told.count(gone) == 0 && a.sees(&two)
        });
        let left = store.records().into_iter();
        let left: Vec<_> = left
            .filter(|record| !record.key.starts_with(keys::ALIVE))
            .collect();
        assert_eq!(left.len(), usize::from(another), "{left:?}");
        // Nor where what it had is off the network just now, and comes back.
        a.told.members.store(true, Ordering::SeqCst);
        a.cluster.withdraw(network.id, one.id);
        a.cluster
            .release(network.id, one.addresses[0].addr(), one.id);
        stays("it is held", Duration::from_secs(2), || {
            a.knows(network.id) && change().is_err()
        });
        // Begun anew by one that has nothing there any more but what leads to services.
        let leads = Some(ServicePart::Balancer {
            unpublished: BTreeSet::new(),
        });
        a.cluster.publish(RemoteEndpoint {
            service: leads,
            ..one.clone()
        });
        a.told.members.store(false, Ordering::SeqCst);
        eventually("it joins anew", SOON, || change().is_ok());
        eventually("it is told that it gave up what it had", SOON, || {
            a.told.count(|delta| *delta == Delta::Forgotten) == 1 && !a.knows(network.id)
        });
        assert!(b.knows(network.id));
    }
}

#[test]
fn what_another_host_has_since_an_older_backup_is_that_hosts() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let one = a.connect(network.id, "one");
    eventually("it is seen", SOON, || b.sees(&one));
    let block = block_of(&network, one.addresses[0].addr());
    let theirs = record::encode(&BlockRecord { host: b.id });
    edit(&store, vec![Write::Put(block.clone(), theirs.clone())]);
    a.client.lose_watches();
    let forgotten = || a.told.count(|delta| *delta == Delta::Forgotten) == 1;
    eventually("it gives way", SOON, forgotten);
    eventually("and takes part again", SOON, || {
        let id = EndpointId::from_bytes(random());
        let lease = a.cluster.lease(network.id, Family::V4, None, id);
        lease.is_ok_and(|addr| block_of(&network, addr.addr()) != block)
    });
    assert_eq!(record(&store, &block), Some(theirs));
}

#[test]
fn an_older_record_of_a_host_is_not_another_daemon() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    let one = a.connect(network.id, "one");
    eventually("it is seen", SOON, || b.sees(&one));
    let own = Shared::Host(a.id).key();
    let older = record(&store, &own).expect("it joined");
    let a = a.restart();
    a.cluster
        .hold(network.id, one.addresses[0].addr(), one.id)
        .unwrap();
    a.cluster.publish(one.clone());
    a.cluster.settled();
    let joined = |times| move |a: &Host| a.told.count(|delta| *delta == Delta::Joined) == times;
    eventually("it has joined again", SOON, || joined(1)(&a));
    edit(&store, vec![Write::Put(own.clone(), older.clone())]);
    eventually("it takes its place", SOON, || {
        joined(2)(&a) && record(&store, &own) != Some(older.clone())
    });
    assert_eq!(a.told.count(|delta| *delta == Delta::Forgotten), 0);
    assert!(b.sees(&one));
    a.create("red");
}

#[test]
fn a_format_that_became_newer_is_told_and_nothing_is_changed_by_who_does_not_know_it() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    let one = a.connect(network.id, "one");
    eventually("it is seen", SOON, || b.sees(&one));
    let format = |text: &str| {
        edit(
            &store,
            vec![Write::Put(keys::FORMAT.to_owned(), text.into())],
        );
        for host in [&a, &b] {
            host.client.lose_watches();
        }
    };
    format("1 {\"least\":2}");
    let told = |delta: &Delta| matches!(delta, Delta::Store(StoreState::Away { reason, .. }) if reason.contains("newer vethwork"));
    eventually("the follower is told", SOON, || a.told.count(told) > 0);
    let refused = a
        .cluster
        .create_network(spec("red"), &request(&[]), &[], true)
        .unwrap_err();
    assert_eq!(
        (refused.kind, refused.reason),
        (Kind::Unsupported, "cluster-format-newer")
    );
    // What it has it goes on with.
    let two = a.connect(network.id, "two");
    stays("who was there is", Duration::from_secs(2), || b.sees(&one));
    assert!(!b.sees(&two));
    format("1 {\"least\":1}");
    eventually("what waited is published", SOON, || b.sees(&two));
    a.create("red");
}

#[test]
fn a_removed_service_that_comes_back_has_its_address_alone() {
    for leased_again in [false, true] {
        let store = MemoryStore::new();
        let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
        let network = services::small(&a, "10.1.0.0/28");
        let service = services::service(network, "web", 80);
        let made = a.cluster.create_service(service, &[Family::V4]).unwrap();
        let (vip, key) = (made.vips[0].addr(), Shared::Service(made.id).key());
        let told = |delta: &Delta| matches!(delta, Delta::Service(spec) if spec.id == made.id);
        eventually("it is told of", SOON, || a.told.count(told) == 1);
        let backup = store.records();
        a.cluster.remove_service(made.id).unwrap();
        let holder = EndpointId::from_bytes(random());
        eventually("its address is free", SOON, || {
            let leased = a.cluster.lease(network, Family::V4, Some(vip), holder);
            leased.is_ok()
        });
        if !leased_again {
            a.cluster.release(network, vip, holder);
        }
        restore(&store, &backup, [&a, &b]);
        eventually("it is told of again", SOON, || a.told.count(told) == 2);
        eventually("what a holds stands", SOON, || {
            a.cluster.core.state().is_asserted()
        });
        if leased_again {
            let grant = Shared::Grant(network, vip).key();
            assert_eq!([&key, &grant].map(|key| record(&store, key)), [None, None]);
            continue;
        }
        assert!(record(&store, &key).is_some());
        let lease = || a.cluster.lease(network, Family::V4, None, holder);
        let all: Vec<_> = std::iter::from_fn(|| lease().ok()).collect();
        assert!(all.len() > 8 && all.iter().all(|addr| addr.addr() != vip));
        a.cluster.remove_service(made.id).unwrap();
        eventually("it is free once more", SOON, || {
            lease().is_ok_and(|addr| addr.addr() == vip)
        });
    }
}

#[test]
fn a_host_puts_back_what_it_was_granted_by_one_that_is_gone() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let networks = ["10.1.0.0/28", "10.2.0.0/28"].map(|subnet| {
        let mut spec = spec(&format!("net-{}", &subnet[3..4]));
        spec.id = NetworkId::from_bytes(random());
        let made = || {
            a.cluster
                .create_network(spec.clone(), &request(&[subnet]), &[], true)
        };
        eventually("the host has joined", SOON, || made().is_ok());
        spec.id
    });
    let holder = EndpointId::from_bytes(random());
    let granted = networks.map(|network| {
        eventually("the network is known", SOON, || b.knows(network));
        let addr = a.lease(network, holder).addr();
        a.cluster.release(network, addr, holder);
        b.lease_at(network, addr, holder).addr()
    });
    // Whoever gave them has lost all, and one network is of a newer version, which has blocks and
    // grants of it all the same.
    a.cluster.close();
    let block = |at: usize| {
        let subnet = ["10.1.0.0/28", "10.2.0.0/28"][at].parse().unwrap();
        let range = Division::of(subnet).block(granted[at]).unwrap();
        keys::block(networks[at], range)
    };
    let grants = [0, 1].map(|at| Shared::Grant(networks[at], granted[at]).key());
    let first = usize::from(networks[1] < networks[0]);
    let lost = [block(0), block(1)].into_iter().chain(grants.clone());
    let mut writes: Vec<_> = lost.map(Write::Delete).collect();
    let unreadable = Shared::Network(networks[first]).key();
    writes.push(Write::Put(unreadable.clone(), b"7 {}".to_vec()));
    edit(&store, writes);
    b.client.lose_watches();
    let back = |at: usize| record(&store, &grants[at]).is_some();
    eventually("they are back", SOON, || back(first) && back(1 - first));
}
