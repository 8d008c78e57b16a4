//! A store that was brought back from an older backup while nobody noticed that it was away, and whose
//! watch goes on.

use super::{
    restored::{block_of, bring_back, edit, record},
    *,
};
use crate::keys::Shared;
use vw_store::cluster::Write;

/// Has a host look at what it wrote last, so that what it writes from now on hides nothing of it.
fn look(host: &Host) {
    let looked = host.cluster.core.look_at_marks();
    assert!(looked.expect("it is reached"));
}

#[test]
fn what_a_host_wrote_is_put_back_though_it_noticed_no_absence() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let backup = store.records();
    let one = b.connect(network.id, "one");
    eventually("it is seen", SOON, || a.sees(&one));
    look(&b);
    let block = block_of(&network, one.addresses[0].addr());
    let before = record(&store, &block);
    bring_back(&store, &backup);
    // No watch tells of blocks, and the endpoint is published anew whatever becomes of its block.
    eventually("the block is back", SOON, || {
        record(&store, &block) == before
    });
    eventually("and the endpoint", SOON, || a.sees(&one));
    let lost = |host: &Host| host.told.count(|delta| *delta == Delta::Forgotten);
    assert_eq!((lost(&a), lost(&b)), (0, 0));
    let reads = b.cluster.core.state().reads;
    stays("nothing is read once more", Duration::from_secs(2), || {
        b.cluster.core.state().reads == reads
    });
}

#[test]
fn a_grant_that_an_older_backup_lacks_is_not_taken_for_given_back() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    a.create("any");
    let network = a
        .cluster
        .create_network(spec("blue"), &request(&["10.1.0.0/24"]), &[], true)
        .unwrap();
    eventually("the network is known", SOON, || b.knows(network.id));
    let holder = EndpointId::from_bytes(random());
    let addr = a.lease(network.id, holder).addr();
    a.cluster.release(network.id, addr, holder);
    look(&a);
    let backup = store.records();
    b.lease_at(network.id, addr, holder);
    let grant = Shared::Grant(network.id, addr).key();
    eventually("its maker has seen it", SOON, || {
        let state = a.cluster.core.state();
        state.mirror.grants.contains_key(&(network.id, addr))
    });
    look(&a);
    let before = record(&store, &grant);
    // Nobody puts it back by itself.
    b.client.cut(true);
    bring_back(&store, &backup);
    let other = EndpointId::from_bytes(random());
    let taken = || {
        let leased = a.cluster.lease(network.id, Family::V4, Some(addr), other);
        leased.is_err()
    };
    eventually("it is back", SOON, || {
        assert!(taken());
        record(&store, &grant) == before
    });
    b.client.cut(false);
    stays("it is its holder's", Duration::from_secs(1), taken);
}

#[test]
fn what_is_wrong_with_a_note_alone_is_looked_at_once() {
    let store = MemoryStore::new();
    // Else it reads all anew whenever that is over, on a busy machine.
    let (long, client) = (Duration::from_secs(600), store.client("host-1"));
    let a = Host::leased_for(long, client, Arc::new(Memory::new()), 1);
    a.cluster.settled();
    a.create("blue");
    look(&a);
    let reads = || a.cluster.core.state().reads;
    let before = reads();
    let note = |slot| crate::keys::mark(a.id, slot);
    edit(&store, [0, 1].map(|slot| Write::Delete(note(slot))).into());
    assert!(!a.cluster.core.look_at_marks().expect("it is reached"));
    eventually("all is read anew", SOON, || {
        let state = a.cluster.core.state();
        state.reads > before && !(state.lapsed || state.lacks || state.doubted)
    });
    let before = reads();
    stays("once", Duration::from_secs(2), || reads() == before);
    a.create("red");
    stays("and for good", Duration::from_secs(1), || reads() == before);
}
