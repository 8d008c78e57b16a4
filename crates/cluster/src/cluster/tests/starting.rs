//! A host that has not taken up yet what it has from before its start: its kernel may have it.

use super::{restored::record, taken_up::granted, *};
use crate::{
    keys::Shared,
    record::{RequestRecord, decode},
};

/// How long a worker that could do something would have done it by then.
const WHILE: Duration = Duration::from_millis(600);

#[test]
fn an_address_that_a_starting_host_has_in_use_is_granted_to_nobody() {
    let store = MemoryStore::new();
    let ([a, b], network, _, _) = granted(&store);
    let [own, other] = [random(), random()].map(EndpointId::from_bytes);
    let addr = a.lease(network, own).addr();
    let request = Shared::Request(network, addr).key();
    let a = a.restart();
    let core = &a.cluster.core;
    eventually("it has read the cluster", SOON, || core.state().synced);
    std::thread::scope(|scope| {
        let asks = || b.cluster.lease(network, Family::V4, Some(addr), other);
        let asked = scope.spawn(asks);
        eventually("it asks", SOON, || record(&store, &request).is_some());
        stays("it is not answered", WHILE, || {
            let found = record(&store, &request);
            let asked = found.and_then(|found| decode::<RequestRecord>(&found).ok());
            asked.is_some_and(|asked| asked.refused.is_none())
        });
        let held = a.cluster.hold(network, addr, own);
        held.expect("it is its own");
        a.cluster.settled();
        let refused = asked.join().unwrap().unwrap_err();
        assert_eq!(refused.reason, "address-in-use", "{refused}");
    });
}

#[test]
fn what_a_starting_host_gives_back_is_nobodys_before_its_kernel_is_without_it() {
    let store = MemoryStore::new();
    let ([_a, b], network, addr, holder) = granted(&store);
    let grant = Shared::Grant(network, addr).key();
    let b = b.restart();
    let core = &b.cluster.core;
    eventually("it has read the cluster", SOON, || core.state().synced);
    // Of an endpoint that was not complete.
    b.cluster.release(network, addr, holder);
    stays("the grant stands", WHILE, || {
        record(&store, &grant).is_some()
    });
    b.cluster.settled();
    eventually("it is given back", SOON, || {
        record(&store, &grant).is_none()
    });
}
