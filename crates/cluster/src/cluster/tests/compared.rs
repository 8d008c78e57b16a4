//! What a host holds, held against a store that was brought back and knows better.

use super::{
    asking::Mute,
    restored::{block_of, edit, record},
    *,
};
use crate::{
    keys::Shared,
    record::{BlockRecord, encode},
};
use vw_store::{
    Batch, Store, Table,
    cluster::{
        Write,
        memory::{Call, Fate, Weather},
    },
};

/// Makes a block another host's, as a store has it in which that host took it.
fn make_over(store: &MemoryStore, block: &str, host: HostId) {
    let theirs = encode(&BlockRecord { host });
    edit(store, vec![Write::Put(block.to_owned(), theirs)]);
}

/// Hosts and a network, an address of the first one's block that the second one has by its
/// consent, and for whom.
fn granted<const N: usize>(store: &MemoryStore) -> ([Host; N], NetworkSpec, IpAddr, EndpointId) {
    let hosts = std::array::from_fn(|n| Host::new(store, n as u8 + 1));
    let [a, b, ..] = &hosts[..] else {
        panic!("one gives, one takes");
    };
    a.create("any");
    let network = a
        .cluster
        .create_network(spec("blue"), &request(&["10.1.0.0/24"]), &[], true)
        .unwrap();
    eventually("the network is known", SOON, || {
        hosts.iter().all(|host| host.knows(network.id))
    });
    let holder = EndpointId::from_bytes(random());
    let addr = a.lease(network.id, holder).addr();
    a.cluster.release(network.id, addr, holder);
    b.lease_at(network.id, addr, holder);
    (hosts, network, addr, holder)
}

#[test]
fn a_granted_address_whose_block_another_took_is_given_up() {
    for old in [false, true] {
        let store = MemoryStore::new();
        let ([a, b], network, addr, holder) = granted(&store);
        let b = b.restart();
        if old {
            // As a version wrote it that did not note who had granted it.
            let key = format!("grant/{}/{addr}", network.id);
            let value = format!("{{\"addr\":\"{addr}/24\",\"holder\":\"{holder}\"}}");
            let batch = Batch::new().put(Table::Cluster, key, value.into());
            b.local.commit(batch).unwrap();
        }
        let b = b.restart();
        b.cluster.hold(network.id, addr, holder).unwrap();
        // Who granted it has lost it, and is gone.
        a.cluster.close();
        make_over(
            &store,
            &block_of(&network, addr),
            HostId::from_bytes([9; 32]),
        );
        let grant = Shared::Grant(network.id, addr).key();
        edit(&store, vec![Write::Delete(grant)]);
        b.client.lose_watches();
        b.cluster.settled();
        let forgotten = || b.told.count(|delta| *delta == Delta::Forgotten) == 1;
        if old {
            eventually("it is compared", SOON, || {
                b.cluster.core.state().is_asserted()
            });
            assert!(!forgotten(), "it cannot tell");
        } else {
            eventually("it gives way", SOON, forgotten);
        }
    }
}

#[test]
fn a_granted_address_is_put_back_while_the_block_is_of_a_host_that_is_gone() {
    let store = MemoryStore::new();
    let ([a, b], network, addr, _) = granted(&store);
    a.cluster.close();
    let grant = Shared::Grant(network.id, addr).key();
    let before = record(&store, &grant);
    edit(&store, vec![Write::Delete(grant.clone())]);
    b.client.lose_watches();
    eventually("it is back", SOON, || {
        before.is_some() && record(&store, &grant) == before
    });
    assert_eq!(b.told.count(|delta| *delta == Delta::Forgotten), 0);
}

#[test]
fn who_lost_a_block_grants_nothing_out_of_it() {
    let store = MemoryStore::new();
    let ([_a, b, c], network, addr, holder) = granted(&store);
    b.cluster.release(network.id, addr, holder);
    let grant = Shared::Grant(network.id, addr).key();
    eventually("it is given back", SOON, || {
        record(&store, &grant).is_none()
    });
    // It does not know it yet.
    make_over(&store, &block_of(&network, addr), c.id);
    // Nor does the new host, which would take it into use.
    store.set_weather(Arc::new(Mute("host-3")));
    let lease = || b.cluster.lease(network.id, Family::V4, Some(addr), holder);
    let mut refused = None;
    eventually("the new host is asked", SOON, || {
        let error = lease().expect_err("nobody may grant it");
        // It says to try again while it gives the grant back, or the new host was not seen lately.
        let again = ["cluster-block-host-away", "cluster-address-returning"];
        refused = (!again.contains(&error.reason)).then_some(error.reason);
        refused.is_some()
    });
    assert_eq!(refused, Some("cluster-block-host-silent"));
}

#[test]
fn a_grant_that_went_while_its_maker_was_away_is_not_taken_for_given_back() {
    let store = MemoryStore::new();
    let ([a, b, _c], network, addr, holder) = granted(&store);
    let grant = Shared::Grant(network.id, addr).key();
    let away = |host: &Host| {
        host.client.cut(true);
        eventually("it is away", SOON, || {
            host.told
                .count(|delta| matches!(delta, Delta::Store(StoreState::Away { .. })))
                > 0
        });
    };
    away(&a);
    away(&b);
    // As in a backup of before.
    edit(&store, vec![Write::Delete(grant)]);
    a.client.cut(false);
    let other = EndpointId::from_bytes(random());
    let taken = || {
        let leased = a.cluster.lease(network.id, Family::V4, Some(addr), other);
        leased.is_err()
    };
    stays("it is given to nobody", Duration::from_secs(3), taken);
    b.client.cut(false);
    assert_eq!(
        b.cluster
            .hold(network.id, addr, holder)
            .map(|net| net.addr())
            .ok(),
        Some(addr)
    );
}

/// Keeps workers waiting while somebody else has it.
#[derive(Default)]
struct Busy(Mutex<()>);

impl Weather for Busy {
    fn before(&self, _client: &str, _call: Call) -> Fate {
        if std::thread::current().name() == Some("cluster-work") {
            drop(self.0.lock());
        }
        Fate::Answered
    }
}

#[test]
fn a_lease_waits_until_what_is_held_was_compared_with_the_store() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = a.create("blue");
    let one = a.connect(network.id, "one");
    let compared = || a.cluster.core.state().is_asserted();
    eventually("it is compared", SOON, compared);
    let busy = Arc::new(Busy::default());
    store.set_weather(busy.clone());
    let works_no_more = busy.0.lock().unwrap();
    let block = block_of(&network, one.addresses[0].addr());
    make_over(&store, &block, HostId::from_bytes([9; 32]));
    a.client.lose_watches();
    eventually("all is read anew", SOON, || !compared());
    let lease = || {
        let id = EndpointId::from_bytes(random());
        a.cluster.lease(network.id, Family::V4, None, id)
    };
    assert_eq!(lease().unwrap_err().reason, "cluster-not-compared");
    // A host that cannot ask goes on with what it has.
    a.client.cut(true);
    eventually("it leases by itself", SOON, || lease().is_ok());
    a.client.cut(false);
    drop(works_no_more);
    let forgotten = || a.told.count(|delta| *delta == Delta::Forgotten) == 1;
    eventually("it gives way", SOON, forgotten);
}
