//! Which host is meant.

use crate::{Cluster, Delta, Follower, Settings};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use vw_model::{HostId, Kind};
use vw_store::{Memory, cluster::memory::MemoryStore};
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

#[test]
fn a_name_goes_before_the_beginning_of_an_id() {
    let store = MemoryStore::new();
    let start = |n: u8, name: &str| {
        let (id, at) = (HostId::from_bytes([n; 32]), IpAddr::from([192, 0, 2, n]));
        let mut settings = Settings::new(id, name.to_owned(), at, "0.1", random);
        settings.ttl = Duration::from_secs(1);
        let client = store.client(name);
        let local = Arc::new(Memory::new());
        let cluster = Cluster::start(client.clone(), local, settings, Arc::new(Deaf));
        (cluster.unwrap(), client)
    };
    // The first one's id begins with the other's name.
    let (one, _) = start(1, "one");
    let (other, wire) = start(2, "01");
    eventually("they know each other", SOON, || !one.hosts().is_empty());
    let refused = one.forget("0").unwrap_err();
    assert_eq!(refused.reason, "cluster-host-ambiguous");
    assert_eq!(one.forget("01").unwrap_err().kind, Kind::Conflict);
    wire.cut(true);
    eventually("it is given up", SOON, || one.forget("01").is_ok());
    one.close();
    other.close();
}
