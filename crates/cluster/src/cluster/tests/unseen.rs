//! Grants that are missing in the store before the host that made them has seen them there.

use super::{restored::edit, restored::record, *};
use crate::keys::Shared;
use std::sync::{Condvar, atomic::AtomicBool};
use vw_store::cluster::{
    Write,
    memory::{Call, Fate, Weather},
};

/// What the first host's watch tells is late, from its next transaction on.
#[derive(Default)]
struct Lagging {
    armed: AtomicBool,
    late: Mutex<bool>,
    changed: Condvar,
}

impl Lagging {
    fn catch_up(&self) {
        *self.late.lock().unwrap() = false;
        self.changed.notify_all();
    }
}

impl Weather for Lagging {
    fn before(&self, client: &str, call: Call) -> Fate {
        let commits = (client, call) == ("host-1", Call::Commit);
        if commits && self.armed.swap(false, Ordering::SeqCst) {
            *self.late.lock().unwrap() = true;
        }
        Fate::Answered
    }

    fn after(&self, client: &str) {
        if client != "host-1" || std::thread::current().name() != Some("cluster-follow") {
            return;
        }
        let late = self.late.lock().unwrap();
        drop(self.changed.wait_while(late, |late| *late).unwrap());
    }
}

#[test]
fn a_grant_that_is_lost_before_its_maker_sees_it_is_made_again() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    a.create("any");
    let made = a
        .cluster
        .create_network(spec("blue"), &request(&["10.1.0.0/24"]), &[], true);
    let network = made.unwrap().id;
    eventually("the network is known", SOON, || b.knows(network));
    let holder = EndpointId::from_bytes(random());
    let addr = a.lease(network, holder).addr();
    a.cluster.release(network, addr, holder);
    let lagging = Arc::new(Lagging::default());
    store.set_weather(lagging.clone());
    lagging.armed.store(true, Ordering::SeqCst);
    b.lease_at(network, addr, holder);
    let grant = Shared::Grant(network, addr).key();
    let before = record(&store, &grant);
    assert!(before.is_some() && *lagging.late.lock().unwrap());
    edit(&store, vec![Write::Delete(grant.clone())]);
    eventually("it is back", SOON, || record(&store, &grant) == before);
    let other = EndpointId::from_bytes(random());
    let taken = || a.cluster.lease(network, Family::V4, Some(addr), other);
    assert_eq!(taken().unwrap_err().reason, "address-in-use");
    // Who gives it back deletes what is made again.
    b.cluster.release(network, addr, holder);
    lagging.catch_up();
    eventually("it is free", SOON, || taken().is_ok());
    assert_eq!(record(&store, &grant), None);
}
