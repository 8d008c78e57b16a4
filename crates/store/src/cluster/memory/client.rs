//! One client of a store in memory, with its own way to it.

use super::{
    Call, Fate, Hub, locked,
    watch::{MemoryPresence, MemoryWatch},
};
use crate::cluster::{
    ClusterError, ClusterStore, Member, Outcome, Presence, Record, Transaction, Watch, Write,
    limits,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(super) const KIND: &str = "memory";

/// What one client sent and was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Calls, those that failed too; polling a watch that has nothing is none.
    pub calls: u64,
    /// Of these, transactions.
    pub commits: u64,
    /// Bytes of keys and values sent.
    pub sent: u64,
    /// Records and changes received.
    pub records: u64,
    /// Bytes of their keys and values.
    pub received: u64,
}

/// One client; what breaks for it breaks for no other.
#[derive(Debug)]
pub struct Client {
    pub(super) link: Arc<Link>,
}

/// What a client shares with its watches and presences.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) hub: Arc<Hub>,
    cut: AtomicBool,
    /// Watches of an older generation are lost.
    pub(super) generation: AtomicU64,
    traffic: Mutex<Traffic>,
}

impl Client {
    pub(super) fn new(name: &str, hub: Arc<Hub>) -> Self {
        Self {
            link: Arc::new(Link {
                name: name.to_owned(),
                hub,
                cut: AtomicBool::new(false),
                generation: AtomicU64::new(0),
                traffic: Mutex::default(),
            }),
        }
    }

    /// Cuts it off, or mends it.
    pub fn cut(&self, cut: bool) {
        self.link.cut.store(cut, Ordering::SeqCst);
        self.link.hub.changed.notify_all();
    }

    /// Whether it is cut off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.link.is_cut()
    }

    /// Ends its presences now, as a store does that was paused, or whose clock runs fast.
    pub fn expire(&self) {
        self.link.hub.server().expire_of(&self.link.name);
        self.link.hub.changed.notify_all();
    }

    /// Loses its watches: each must follow anew.
    pub fn lose_watches(&self) {
        self.link.generation.fetch_add(1, Ordering::SeqCst);
        self.link.hub.changed.notify_all();
    }

    /// What it sent and was told so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        *locked(&self.link.traffic)
    }
}

impl Link {
    /// Asks the network; an error is what the caller hears.
    pub(super) fn reach(&self, call: Call) -> Result<Fate, ClusterError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(self.unavailable());
        }
        let fate = self.hub.fate(&self.name, call);
        let gone = self.cut.load(Ordering::SeqCst) || fate == Fate::Unreachable;
        if gone || (call == Call::Other && fate != Fate::Answered) {
            return Err(self.unavailable());
        }
        self.hub.server().expire(self.hub.clock.now());
        Ok(fate)
    }

    /// Gives what was found to whoever asked.
    pub(super) fn answer<T>(&self, found: T) -> T {
        self.hub.answer(&self.name, found)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    pub(super) fn unavailable(&self) -> ClusterError {
        ClusterError::Unavailable {
            store: KIND,
            reason: format!("{} is cut off from it", self.name),
        }
    }

    fn sends(&self, commits: u64, bytes: usize) {
        let mut traffic = locked(&self.traffic);
        traffic.calls += 1;
        traffic.commits += commits;
        traffic.sent += bytes as u64;
    }

    pub(super) fn receives<'a>(&self, records: impl IntoIterator<Item = (&'a str, usize)>) {
        let mut traffic = locked(&self.traffic);
        for (key, value) in records {
            traffic.records += 1;
            traffic.received += (key.len() + value) as u64;
        }
    }

    pub(super) fn ask(&self, key: &str) -> Result<(), ClusterError> {
        self.sends(0, key.len());
        self.reach(Call::Other).map(|_| ())
    }
}

impl ClusterStore for Client {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        limits::key(key)?;
        self.link.ask(key)?;
        let found = self.link.hub.server().get(key);
        self.link.receives(found.iter().map(size));
        Ok(self.link.answer(found))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        limits::prefix(prefix)?;
        self.link.ask(prefix)?;
        let found = self.link.hub.server().list(prefix);
        self.link.receives(found.iter().map(size));
        Ok(self.link.answer(found))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        limits::transaction(transaction)?;
        let bytes = transaction.writes.iter().map(|write| match write {
            Write::Put(key, value) => key.len() + value.len(),
            Write::Delete(key) => key.len(),
        });
        self.link.sends(1, bytes.sum());
        let fate = self.link.reach(Call::Commit)?;
        if fate == Fate::Late {
            let late = transaction.clone();
            self.link.hub.server().late.push_back(late);
            return Err(uncertain());
        }
        let applied = self.link.hub.server().commit(transaction);
        self.link.hub.changed.notify_all();
        match (fate, applied) {
            (Fate::AnswerLost, _) => Err(uncertain()),
            (_, true) => Ok(self.link.answer(Outcome::Applied)),
            (_, false) => Ok(self.link.answer(Outcome::Refused)),
        }
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        limits::prefix(prefix)?;
        self.link.ask(prefix)?;
        let server = self.link.hub.server();
        let found = server.list(prefix);
        let watch = MemoryWatch::new(self.link.clone(), prefix, server.revision());
        drop(server);
        self.link.receives(found.iter().map(size));
        Ok(self.link.answer((found, Box::new(watch))))
    }

    fn announce(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Box<dyn Presence>, ClusterError> {
        limits::key(key)?;
        limits::value(key, value)?;
        self.link.ask(key)?;
        let link = self.link.clone();
        let now = link.hub.clock.now();
        let ttl = ttl.max(Duration::from_secs(1));
        let session = link.hub.server().announce(&link.name, key, value, ttl, now);
        link.hub.changed.notify_all();
        Ok(Box::new(MemoryPresence::new(link, key.to_owned(), session)))
    }

    fn members(&self) -> Vec<Member> {
        let reached = self.link.reach(Call::Other);
        vec![Member {
            address: KIND.to_owned(),
            answer: reached
                .map(|_| Duration::ZERO)
                .map_err(|error| error.to_string()),
            leader: Some(true),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }]
    }
}

fn size(record: &Record) -> (&str, usize) {
    (&record.key, record.value.len())
}

fn uncertain() -> ClusterError {
    ClusterError::Uncertain {
        store: KIND,
        reason: "the answer was lost".to_owned(),
    }
}
