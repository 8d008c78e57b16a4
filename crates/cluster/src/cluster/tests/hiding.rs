//! A store that leaves out what it has.

use super::*;
use crate::keys;
use std::sync::atomic::AtomicBool;
use vw_store::cluster::{
    Change, ClusterError, ClusterStore, Member, Outcome, Presence, Record, Transaction, Watch,
};

/// Shows single records alone, once it is told to hide the rest.
#[derive(Debug)]
struct Hiding {
    store: Arc<Client>,
    hides: Arc<AtomicBool>,
}

struct Blind {
    watch: Box<dyn Watch>,
    known: Vec<String>,
    hides: Arc<AtomicBool>,
}

impl Watch for Blind {
    fn next(&mut self, patience: Duration) -> Result<Vec<Change>, ClusterError> {
        let mut changes = self.watch.next(patience)?;
        if self.hides.load(Ordering::SeqCst) {
            changes = self.known.drain(..).map(Change::Deleted).collect();
        }
        let put = changes.iter().filter_map(|change| match change {
            Change::Put(record) => Some(record.key.clone()),
            Change::Deleted(_) => None,
        });
        self.known.extend(put.collect::<Vec<_>>());
        Ok(changes)
    }
}

impl ClusterStore for Hiding {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        self.store.list(prefix)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        self.store.commit(transaction)
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        let (mut records, watch) = self.store.follow(prefix)?;
        if self.hides.load(Ordering::SeqCst) {
            records.clear();
        }
        let known = records.iter().map(|record| record.key.clone()).collect();
        let hides = Arc::clone(&self.hides);
        Ok((
            records,
            Box::new(Blind {
                watch,
                known,
                hides,
            }),
        ))
    }

    fn announce(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Box<dyn Presence>, ClusterError> {
        self.store.announce(key, value, ttl)
    }

    fn members(&self) -> Vec<Member> {
        self.store.members()
    }
}

#[test]
fn what_a_store_only_hides_is_not_taken_for_gone() {
    let store = MemoryStore::new();
    let hides = Arc::new(AtomicBool::new(false));
    let hiding = Hiding {
        store: store.client("a"),
        hides: Arc::clone(&hides),
    };
    let at = IpAddr::from([192, 0, 2, 1]);
    let mut settings = Settings::new(HostId::from_bytes([1; 32]), "a", at, "0.1", random);
    settings.ttl = Duration::from_secs(1);
    let told = Arc::new(Told::default());
    let local = Arc::new(Memory::new());
    let cluster = Cluster::start(Arc::new(hiding), local, settings, told.clone()).unwrap();
    cluster.settled();
    let (spec, request) = (spec("blue"), request(&[]));
    eventually("it has joined", SOON, || {
        let made = cluster.create_network(spec.clone(), &request, &[], true);
        made.is_ok()
    });
    let count = |of: fn(&Delta) -> bool| told.count(of);
    eventually("it is seen", SOON, || {
        count(|delta| matches!(delta, Delta::Network(_))) > 0
    });
    hides.store(true, Ordering::SeqCst);
    eventually("it is told", SOON, || {
        count(
            |delta| matches!(delta, Delta::Store(StoreState::Away { reason, .. }) if reason.contains("left out") && reason.contains(keys::NETWORKS)),
        ) > 0
    });
    stays("it stays", Duration::from_secs(2), || {
        count(|delta| matches!(delta, Delta::NetworkGone(_) | Delta::Forgotten)) == 0
            && cluster.networks().len() == 1
    });
    hides.store(false, Ordering::SeqCst);
    eventually("it is gone on with", SOON, || {
        let last = told.deltas.lock().unwrap();
        let mut states = last.iter().rev().filter_map(|delta| match delta {
            Delta::Store(state) => Some(state.clone()),
            _ => None,
        });
        states.next() == Some(StoreState::Reachable)
    });
    // What is gone is.
    cluster.remove_network(spec.id).unwrap();
    eventually("it goes", SOON, || {
        count(|delta| matches!(delta, Delta::NetworkGone(_))) == 1
    });
    cluster.close();
}
