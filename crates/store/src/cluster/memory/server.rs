//! The state of a store in memory: records, who must renew them, and what changed lately.
//!
//! It must not know a client or a network.

use crate::cluster::{Change, Condition, Record, Transaction, Version, Write};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How many changes are remembered for watches that are behind.
const REMEMBERED: usize = 1 << 16;

#[derive(Debug, Default)]
pub(crate) struct Server {
    records: BTreeMap<String, Entry>,
    /// Counts every write of a record.
    revision: u64,
    /// The latest changes, the last of which is number `revision`.
    log: VecDeque<Change>,
    sessions: BTreeMap<u64, Session>,
    /// No session ends before.
    soonest: Duration,
    /// Transactions that are still under way, oldest first.
    pub(crate) late: VecDeque<Transaction>,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    version: Version,
    /// The session that it ends with.
    session: Option<u64>,
}

#[derive(Debug)]
struct Session {
    owner: String,
    key: String,
    ttl: Duration,
    ends: Duration,
}

impl Server {
    pub(crate) fn get(&self, key: &str) -> Option<Record> {
        self.records.get(key).map(|entry| record(key, entry))
    }

    /// The records below a prefix; all of them below the empty one.
    pub(crate) fn list(&self, prefix: &str) -> Vec<Record> {
        let from = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        self.records
            .range(from.clone()..)
            .take_while(|(key, _)| key.starts_with(&from))
            .map(|(key, entry)| record(key, entry))
            .collect()
    }

    pub(crate) fn commit(&mut self, transaction: &Transaction) -> bool {
        let holds = transaction
            .conditions
            .iter()
            .all(|condition| match condition {
                Condition::Absent(key) => !self.records.contains_key(key),
                Condition::Unchanged(key, version) => self
                    .records
                    .get(key)
                    .is_some_and(|entry| entry.version == *version),
            });
        if holds {
            for write in &transaction.writes {
                match write {
                    Write::Put(key, value) => self.put(key, value, None),
                    Write::Delete(key) => self.delete(key),
                }
            }
        }
        holds
    }

    fn put(&mut self, key: &str, value: &[u8], session: Option<u64>) {
        self.revision += 1;
        let version = Version(self.revision, 0);
        let value = value.to_vec();
        let entry = Entry {
            value,
            version,
            session,
        };
        let change = Change::Put(record(key, &entry));
        self.records.insert(key.to_owned(), entry);
        self.remember(change);
    }

    fn delete(&mut self, key: &str) {
        if self.records.remove(key).is_some() {
            self.revision += 1;
            self.remember(Change::Deleted(key.to_owned()));
        }
    }

    fn remember(&mut self, change: Change) {
        self.log.push_back(change);
        if self.log.len() > REMEMBERED {
            self.log.pop_front();
        }
    }

    pub(crate) fn compact(&mut self) {
        self.log.clear();
    }

    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// What changed below a prefix after `revision`, or nothing when that is no longer known.
    pub(crate) fn since(&self, revision: u64, prefix: &str) -> Option<Vec<Change>> {
        let behind = usize::try_from(self.revision - revision).ok()?;
        let from = self.log.len().checked_sub(behind)?;
        let below = |key: &str| {
            prefix.is_empty()
                || key
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let of_interest = |change: &&Change| match change {
            Change::Put(record) => below(&record.key),
            Change::Deleted(key) => below(key),
        };
        Some(
            self.log
                .range(from..)
                .filter(of_interest)
                .cloned()
                .collect(),
        )
    }

    /// Makes a record that must be renewed; returns what renews it.
    pub(crate) fn announce(
        &mut self,
        owner: &str,
        key: &str,
        value: &[u8],
        ttl: Duration,
        now: Duration,
    ) -> u64 {
        self.put(key, value, None);
        let session = self.revision;
        if let Some(entry) = self.records.get_mut(key) {
            entry.session = Some(session);
        }
        let session_of = Session {
            owner: owner.to_owned(),
            key: key.to_owned(),
            ttl,
            ends: now + ttl,
        };
        self.soonest = self.soonest.min(now + ttl);
        self.sessions.insert(session, session_of);
        session
    }

    /// Says whether the record of a session is still there, and lets it stay.
    pub(crate) fn renew(&mut self, session: u64, now: Duration) -> bool {
        let Some(found) = self.sessions.get_mut(&session) else {
            return false;
        };
        found.ends = now + found.ttl;
        let record = self.records.get(&found.key);
        record.is_some_and(|entry| entry.session == Some(session))
    }

    pub(crate) fn end(&mut self, session: u64) {
        let Some(ended) = self.sessions.remove(&session) else {
            return;
        };
        let record = self.records.get(&ended.key);
        if record.is_some_and(|entry| entry.session == Some(session)) {
            self.delete(&ended.key);
        }
    }

    /// Ends what was not renewed in time.
    pub(crate) fn expire(&mut self, now: Duration) {
        if now >= self.soonest {
            self.end_where(|session| session.ends <= now);
            self.soonest = self.next_end().unwrap_or(Duration::MAX);
        }
    }

    pub(crate) fn expire_of(&mut self, owner: &str) {
        self.end_where(|session| session.owner == owner);
    }

    fn end_where(&mut self, over: impl Fn(&Session) -> bool) {
        let ended: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| over(session))
            .map(|(id, _)| *id)
            .collect();
        for session in ended {
            self.end(session);
        }
    }

    /// When the next presence ends unless it is renewed.
    pub(crate) fn next_end(&self) -> Option<Duration> {
        self.sessions.values().map(|session| session.ends).min()
    }
}

fn record(key: &str, entry: &Entry) -> Record {
    Record {
        key: key.to_owned(),
        value: entry.value.clone(),
        version: entry.version,
    }
}
