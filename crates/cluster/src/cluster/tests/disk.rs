//! A disk that takes nothing, and a store that does not.

use super::{
    restored::{edit, record},
    *,
};
use crate::{
    core::Phase,
    keys::Shared,
    record::{RequestRecord, decode, encode},
};
use std::sync::atomic::AtomicBool;
use vw_store::{
    Batch, Store, Table,
    cluster::{
        Write,
        memory::{Call, Fate, Weather},
    },
};

/// A disk that may be full.
#[derive(Default)]
struct Disk {
    records: Memory,
    full: AtomicBool,
}

impl Store for Disk {
    fn commit(&self, batch: Batch) -> Result<(), vw_store::Error> {
        if self.full.load(Ordering::SeqCst) {
            return Err(vw_store::Error::Injected { nth: 0 });
        }
        self.records.commit(batch)
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, vw_store::Error> {
        self.records.get(table, key)
    }

    fn scan_prefix(
        &self,
        table: Table,
        prefix: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, vw_store::Error> {
        self.records.scan_prefix(table, prefix)
    }
}

/// A host with such a disk.
fn on(disk: &Arc<Disk>, store: &MemoryStore, n: u8) -> Arc<Cluster> {
    let id = HostId::from_bytes([n; 32]);
    let advertise = IpAddr::from([192, 0, 2, n]);
    let mut settings = Settings::new(id, format!("host-{n}"), advertise, "0.1", random);
    settings.ttl = Duration::from_secs(1);
    let client = store.client(&format!("host-{n}"));
    let cluster = Cluster::start(client, disk.clone(), settings, Arc::new(Told::default()));
    let cluster = cluster.unwrap();
    cluster.settled();
    cluster
}

#[test]
fn a_host_that_starts_with_a_full_disk_belongs_to_its_cluster_still() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let disk = Arc::new(Disk::default());
    let joined = |cluster: &Cluster| matches!(cluster.core.state().phase, Phase::Joined(_));
    let own = Shared::Host(HostId::from_bytes([2; 32])).key();
    let of_the_former_run = {
        let b = on(&disk, &store, 2);
        eventually("it has joined", SOON, || joined(&b));
        b.close();
        let core = &b.core;
        (core.state().phase.clone(), record(&store, &own))
    };
    disk.full.store(true, Ordering::SeqCst);
    let b = on(&disk, &store, 2);
    eventually("it has joined again", SOON, || joined(&b));
    // What its former run may have left under way no longer holds.
    assert_ne!(b.core.state().phase, of_the_former_run.0);
    // It knows itself in an older store, too.
    let former = of_the_former_run.1.clone().unwrap();
    edit(&store, vec![Write::Put(own.clone(), former.clone())]);
    eventually("it has joined in its own place", SOON, || {
        let superseded = matches!(b.core.state().phase, Phase::Superseded(_));
        assert!(!superseded, "it takes itself for another");
        joined(&b) && record(&store, &own).is_some_and(|now| now != former)
    });
    eventually("it is seen", SOON, || a.cluster.hosts().len() == 1);
    b.close();
    // One that the cluster has never heard of cannot say later who it was.
    let other = Arc::new(Disk::default());
    other.full.store(true, Ordering::SeqCst);
    let c = on(&other, &store, 3);
    eventually("it is told why", SOON, || {
        let state = c.core.state();
        matches!(&state.store, StoreState::Away { reason, .. } if reason.contains("as asked"))
    });
    assert!(!joined(&c));
    other.full.store(false, Ordering::SeqCst);
    eventually("it joins once there is room", SOON, || joined(&c));
    c.close();
    disk.full.store(false, Ordering::SeqCst);
    // And who had joined without room is who it is.
    let b = on(&disk, &store, 2);
    eventually("it has joined", SOON, || joined(&b));
    let now = record(&store, &own);
    assert!(now.is_some() && now != of_the_former_run.1);
    b.close();
}

#[test]
fn another_daemon_with_a_hosts_data_and_a_full_disk_is_not_taken_for_it() {
    let store = MemoryStore::new();
    let disk = Arc::new(Disk::default());
    let a = on(&disk, &store, 2);
    let phase = |cluster: &Cluster| cluster.core.state().phase.clone();
    let joined = |cluster: &Cluster| matches!(phase(cluster), Phase::Joined(_));
    eventually("it has joined", SOON, || joined(&a));
    let copy = Arc::new(Disk::default());
    for (key, value) in disk.scan(Table::Cluster).unwrap() {
        let batch = Batch::new().put(Table::Cluster, key, value);
        copy.commit(batch).unwrap();
    }
    copy.full.store(true, Ordering::SeqCst);
    let other = on(&copy, &store, 2);
    eventually("it takes its place", SOON, || joined(&other));
    eventually(
        "the first is told why",
        SOON,
        || matches!(phase(&a), Phase::Superseded(why) if why.contains("its own data directory")),
    );
    a.close();
    other.close();
}

/// The store takes nothing.
struct ReadOnly;

impl Weather for ReadOnly {
    fn before(&self, client: &str, call: Call) -> Fate {
        match (client, call) {
            ("host-2", Call::Commit) => Fate::Unreachable,
            _ => Fate::Answered,
        }
    }
}

#[test]
fn attempts_to_join_that_fail_leave_nothing_more_behind() {
    let store = MemoryStore::new();
    let _a = Host::new(&store, 1).create("any");
    let disk = Arc::new(Disk::default());
    store.set_weather(Arc::new(ReadOnly));
    let b = on(&disk, &store, 2);
    let tried = || b.core.copy.identity().unwrap().tried.len();
    eventually("it tries", SOON, || tried() > 0);
    stays("one is enough", Duration::from_secs(3), || tried() == 1);
    b.close();
}

#[test]
fn one_answer_that_cannot_be_noted_holds_up_no_other() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let disk = Arc::new(Disk::default());
    let b = on(&disk, &store, 2);
    a.create("any");
    let made = a
        .cluster
        .create_network(spec("blue"), &request(&["10.1.0.0/20"]), &[], true);
    let network = made.unwrap().id;
    eventually("the network is known", SOON, || {
        b.networks().iter().any(|known| known.id == network)
    });
    // Of two that are asked for, the first to be looked at is free, and cannot be noted; the other is
    // held.
    let holder = EndpointId::from_bytes(random());
    let lease = || b.lease(network, Family::V4, None, holder).unwrap().addr();
    let (free, held) = (lease(), lease());
    b.release(network, free, holder);
    assert!(free < held);
    disk.full.store(true, Ordering::SeqCst);
    let holder = EndpointId::from_bytes(random());
    let asks = |addr| {
        let asked = RequestRecord {
            host: a.id,
            holder,
            refused: None,
            of: None,
        };
        Write::Put(Shared::Request(network, addr).key(), encode(&asked))
    };
    let request = Shared::Request(network, held).key();
    let waits = |cluster: &Cluster, addr: IpAddr| {
        let net = IpNet::new_assert(addr, 20);
        cluster
            .core
            .want(network, net, holder, b.core.settings.host)
    };
    waits(&a.cluster, free).unwrap();
    waits(&a.cluster, held).unwrap();
    edit(&store, vec![asks(free), asks(held)]);
    eventually("the other is answered", SOON, || {
        let answer = record(&store, &request);
        answer.is_some_and(|answer| {
            let asked: RequestRecord = decode(&answer).unwrap();
            asked.refused.is_some()
        })
    });
    b.close();
}
