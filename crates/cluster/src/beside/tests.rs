//! What hosts that share a store in memory tell of themselves.

use crate::{Cluster, Delta, Follower, Settings, keys};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use vw_model::{HostId, Lacks, NetworkId, PublicKey, RemoteHost, TunnelKeys, Unpublished};
use vw_store::{
    Memory,
    cluster::{
        ClusterStore,
        memory::{Client, MemoryStore},
    },
};
use vw_testkit::eventually;

const SOON: Duration = Duration::from_secs(20);

/// What a host is told of others.
#[derive(Default)]
struct Told(Mutex<Vec<RemoteHost>>);

impl Follower for Told {
    fn follow(&self, deltas: Vec<Delta>) {
        let hosts = deltas.into_iter().filter_map(|delta| match delta {
            Delta::Host(host) => Some(host),
            _ => None,
        });
        self.0.lock().unwrap().extend(hosts);
    }
}

fn random() -> [u8; 32] {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    [NEXT.fetch_add(1, Ordering::SeqCst); 32]
}

fn start(client: &Arc<Client>, local: &Arc<Memory>, n: u8) -> (Arc<Cluster>, Arc<Told>) {
    let advertise = IpAddr::from([192, 0, 2, n]);
    let id = HostId::from_bytes([n; 32]);
    let mut settings = Settings::new(id, format!("host-{n}"), advertise, "0.1", random);
    settings.ttl = Duration::from_secs(1);
    settings.patience = Duration::from_secs(3);
    let told = Arc::new(Told::default());
    let cluster = Cluster::start(client.clone(), local.clone(), settings, told.clone());
    (cluster.unwrap(), told)
}

fn keys_of(n: u8, next: Option<u8>) -> TunnelKeys {
    TunnelKeys {
        public: PublicKey::from_bytes([n; 32]),
        next: next.map(|n| PublicKey::from_bytes([n; 32])),
        port: 51_820,
        taken: BTreeSet::from([PublicKey::from_bytes([0; 32])]),
        idle: false,
        woke: 0,
    }
}

/// The keys that a host knows of the only other one.
fn known(cluster: &Cluster) -> Option<TunnelKeys> {
    cluster.hosts().into_iter().find_map(|host| host.keys)
}

#[test]
fn keys_are_told_and_kept_and_go_with_a_host_that_was_given_up() {
    let store = MemoryStore::new();
    let clients = ["a", "b"].map(|name| store.client(name));
    let local = Arc::new(Memory::new());
    let (a, told) = start(&clients[0], &local, 1);
    let (b, _) = start(&clients[1], &Arc::new(Memory::new()), 2);
    // Before it has joined, and once more.
    b.set_tunnel_keys(keys_of(2, None));
    eventually("a knows b's key", SOON, || {
        known(&a) == Some(keys_of(2, None))
    });
    b.set_tunnel_keys(keys_of(2, Some(3)));
    eventually("and its next one", SOON, || {
        known(&a) == Some(keys_of(2, Some(3)))
    });
    eventually("and its follower does", SOON, || {
        let told = told.0.lock().unwrap();
        told.last().and_then(|host| host.keys.clone()) == Some(keys_of(2, Some(3)))
    });
    // What somebody takes away is put back.
    let key = keys::Shared::Tunnel(HostId::from_bytes([2; 32])).key();
    let there = || store.client("c").get(&key).unwrap().is_some();
    let delete = vw_store::cluster::Transaction {
        conditions: Vec::new(),
        writes: vec![vw_store::cluster::Write::Delete(key.clone())],
    };
    clients[0].commit(&delete).unwrap();
    eventually("it is back", SOON, there);
    eventually("and known", SOON, || known(&a) == Some(keys_of(2, Some(3))));
    // A start without the store.
    clients[0].cut(true);
    a.close();
    let (a, told) = start(&clients[0], &local, 1);
    assert_eq!(known(&a), Some(keys_of(2, Some(3))));
    assert_eq!(told.0.lock().unwrap().len(), 1);
    clients[0].cut(false);
    clients[1].cut(true);
    eventually("b is given up", SOON, || a.forget("host-2").is_ok());
    assert!(!there());
    clients[1].cut(false);
    eventually(
        "b is a member again, with the keys that it has",
        SOON,
        || known(&a) == Some(keys_of(2, Some(3))),
    );
    a.close();
    b.close();
}

/// All of a network's services.
fn lacks(n: u8) -> Unpublished {
    let network = NetworkId::from_bytes([n; 32]);
    let all = Lacks {
        all: true,
        ..Lacks::default()
    };
    Unpublished {
        networks: BTreeMap::from([(network, all)]),
    }
}

#[test]
fn what_a_host_does_not_publish_is_told_and_goes_when_it_does() {
    let store = MemoryStore::new();
    let clients = ["a", "b"].map(|name| store.client(name));
    let locals = ["a", "b"].map(|_| Arc::new(Memory::new()));
    let (a, _) = start(&clients[0], &locals[0], 1);
    let (b, _) = start(&clients[1], &locals[1], 2);
    let told = |cluster: &Cluster| {
        let mut hosts = cluster.hosts().into_iter();
        hosts.next().map(|host| host.unpublished)
    };
    let key = keys::Shared::Unpublished(HostId::from_bytes([2; 32])).key();
    let there = || store.client("c").get(&key).unwrap().is_some();
    // Nothing is written of a host that lacks nothing.
    b.set_unpublished(Unpublished::default());
    eventually("a knows b", SOON, || {
        told(&a) == Some(Unpublished::default())
    });
    b.set_unpublished(lacks(7));
    eventually("a knows what b lacks", SOON, || told(&a) == Some(lacks(7)));
    // A start of either, of one without the store.
    clients[0].cut(true);
    a.close();
    let (a, _) = start(&clients[0], &locals[0], 1);
    assert_eq!(told(&a), Some(lacks(7)));
    clients[0].cut(false);
    b.close();
    let (b, _) = start(&clients[1], &locals[1], 2);
    b.set_unpublished(lacks(8));
    eventually("and what it lacks now", SOON, || told(&a) == Some(lacks(8)));
    b.set_unpublished(Unpublished::default());
    eventually("nothing any more", SOON, || {
        told(&a) == Some(Unpublished::default()) && !there()
    });
    b.set_unpublished(lacks(9));
    eventually("it is there", SOON, there);
    clients[1].cut(true);
    eventually("b is given up", SOON, || a.forget("host-2").is_ok());
    assert!(!there());
    a.close();
    b.close();
}
