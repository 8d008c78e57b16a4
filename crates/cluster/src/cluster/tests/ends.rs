//! A host whose store does not answer: how it is shown, and how it ends.

use super::*;
use std::sync::mpsc::{self, RecvTimeoutError};
use vw_store::cluster::memory::{Call, Fate, Weather};

#[test]
fn a_host_shows_itself_also_when_the_store_was_never_there() {
    let store = MemoryStore::new();
    let client = store.client("host-1");
    client.cut(true);
    let a = Host::start(client, Arc::new(Memory::new()), 1);
    let hosts = a.cluster.status().hosts;
    let [own] = &hosts[..] else {
        panic!("{hosts:?}");
    };
    assert!(own.id == a.id && own.alive && own.name == "host-1");
    assert_eq!(own.advertise, IpAddr::from([192, 0, 2, 1]));
    a.client.cut(false);
    a.create("blue");
    assert_eq!(a.cluster.status().hosts.len(), 1);
}

#[test]
fn what_others_hold_is_not_known_while_the_store_is_away() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    a.connect(network.id, "one");
    b.connect(network.id, "two");
    let blocks = || {
        let hosts = a.cluster.status().hosts.into_iter();
        let blocks = hosts.map(|host| host.blocks.map(|blocks| blocks.len()));
        blocks.collect::<Vec<_>>()
    };
    assert_eq!(blocks(), [Some(1), Some(1)]);
    a.client.cut(true);
    assert_eq!(blocks(), [Some(1), None]);
    a.client.cut(false);
    assert_eq!(blocks(), [Some(1), Some(1)]);
}

/// Calls hang as long as it is there.
struct Hang(Arc<Mutex<()>>);

impl Weather for Hang {
    fn before(&self, _client: &str, _call: Call) -> Fate {
        drop(self.0.lock());
        Fate::Answered
    }
}

#[test]
fn the_end_does_not_wait_for_a_store_that_hangs() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let network = a.create("blue");
    a.connect(network.id, "one");
    eventually("it is compared", SOON, || {
        a.cluster.core.state().is_asserted()
    });
    let hang = Arc::new(Mutex::new(()));
    let hanging = hang.lock();
    store.set_weather(Arc::new(Hang(hang.clone())));
    a.connect(network.id, "two");
    let (running, ended) = mpsc::channel::<()>();
    let cluster = a.cluster.clone();
    let ending = std::thread::spawn(move || {
        cluster.close();
        drop(running);
    });
    let in_time = ended.recv_timeout(SOON) == Err(RecvTimeoutError::Disconnected);
    // It ends now in any case.
    drop(hanging);
    ending.join().unwrap();
    assert!(in_time, "it waits for the store");
}
