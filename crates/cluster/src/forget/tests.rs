//! Which host is meant, and when it is given up.

use crate::{
    Cluster, Delta, Follower, Settings,
    keys::{self, Shared},
};
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};
use vw_model::{HostId, Kind};
use vw_store::{
    Memory,
    cluster::{
        ClusterStore, Transaction, Write,
        memory::{Call, Client, Fate, MemoryStore, Weather},
    },
};
use vw_testkit::eventually;

const SOON: Duration = Duration::from_secs(20);

struct Deaf;

impl Follower for Deaf {
    fn follow(&self, _: Vec<Delta>) {}
}

fn random() -> [u8; 32] {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    [NEXT.fetch_add(1, Ordering::SeqCst); 32]
}

fn start(store: &MemoryStore, n: u8, name: &str) -> (Arc<Cluster>, Arc<Client>) {
    let (id, at) = (HostId::from_bytes([n; 32]), IpAddr::from([192, 0, 2, n]));
    let mut settings = Settings::new(id, name.to_owned(), at, "0.1", random);
    settings.ttl = Duration::from_secs(1);
    let client = store.client(name);
    let local = Arc::new(Memory::new());
    let cluster = Cluster::start(client.clone(), local, settings, Arc::new(Deaf));
    (cluster.unwrap(), client)
}

/// Has a host come back while another one is about to change something.
struct Return {
    /// The thread whose change it is.
    of: Mutex<Option<ThreadId>>,
    back: Arc<Client>,
    key: String,
}

impl Weather for Return {
    fn before(&self, _: &str, call: Call) -> Fate {
        let mut of = self.of.lock().unwrap();
        if call == Call::Commit && *of == Some(thread::current().id()) {
            *of = None;
            drop(of);
            let ttl = Duration::from_secs(60);
            drop(self.back.announce(&self.key, b"", ttl).unwrap());
        }
        Fate::Answered
    }
}

#[test]
fn a_host_that_comes_back_in_the_meantime_is_not_given_up() {
    let store = MemoryStore::new();
    let (one, _) = start(&store, 1, "one");
    let (other, wire) = start(&store, 2, "other");
    eventually("they know each other", SOON, || !one.hosts().is_empty());
    wire.cut(true);
    let id = HostId::from_bytes([2; 32]);
    let (alive, record) = (Shared::Alive(id).key(), Shared::Host(id).key());
    let stands = |key: &str| store.records().iter().any(|record| record.key == key);
    eventually("it is away", SOON, || !stands(&alive));
    let back = Return {
        of: Mutex::new(Some(thread::current().id())),
        back: store.client("back"),
        key: alive.clone(),
    };
    store.set_weather(Arc::new(back));
    let refused = one.forget("other").unwrap_err();
    assert_eq!(refused.reason, "cluster-host-alive");
    assert!(stands(&alive) && stands(&record));
    one.close();
    other.close();
}

/// What an older version leaves that forgets a host: it knows no marks.
#[test]
fn with_a_host_the_marks_go_of_all_that_are_no_members() {
    let store = MemoryStore::new();
    let (one, _) = start(&store, 1, "one");
    let (other, wire) = start(&store, 2, "other");
    eventually("they know each other", SOON, || !one.hosts().is_empty());
    let mark = |n, slot| keys::mark(HostId::from_bytes([n; 32]), slot);
    let written = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1)].map(|(n, slot)| mark(n, slot));
    let puts = written.map(|key| Write::Put(key, b"1 {}".to_vec()));
    store.edit(&Transaction {
        writes: puts.to_vec(),
        ..Transaction::default()
    });
    wire.cut(true);
    eventually("it is given up", SOON, || one.forget("other").is_ok());
    let left = || {
        let records = store.records().into_iter();
        let marks = records.filter(|record| record.key.starts_with(keys::MARKS));
        marks.map(|record| record.key).collect::<Vec<_>>()
    };
    // Its own may be written by turns.
    let own = [mark(1, 0), mark(1, 1)];
    assert!(left().contains(&own[0]), "{:?}", left());
    assert!(left().iter().all(|key| own.contains(key)), "{:?}", left());
    one.close();
    other.close();
}

#[test]
fn a_name_goes_before_the_beginning_of_an_id() {
    let store = MemoryStore::new();
    // The first one's id begins with the other's name.
    let (one, _) = start(&store, 1, "one");
    let (other, wire) = start(&store, 2, "01");
    eventually("they know each other", SOON, || !one.hosts().is_empty());
    let refused = one.forget("0").unwrap_err();
    assert_eq!(refused.reason, "cluster-host-ambiguous");
    assert_eq!(one.forget("01").unwrap_err().kind, Kind::Conflict);
    wire.cut(true);
    eventually("it is given up", SOON, || one.forget("01").is_ok());
    one.close();
    other.close();
}

#[test]
fn a_host_whose_record_cannot_be_read_is_given_up_by_its_whole_id() {
    let store = MemoryStore::new();
    let (one, _) = start(&store, 1, "one");
    let id = HostId::from_bytes([3; 32]);
    let key = Shared::Host(id).key();
    store.edit(&Transaction {
        writes: vec![Write::Put(key.clone(), b"7 {}".to_vec())],
        ..Transaction::default()
    });
    let whole = id.to_string();
    assert_eq!(one.forget(&whole[..8]).unwrap_err().kind, Kind::NotFound);
    eventually("it is given up", SOON, || one.forget(&whole).is_ok());
    let records = store.records();
    assert!(records.iter().all(|record| record.key != key));
    one.close();
}
