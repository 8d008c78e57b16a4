//! When a host changes its key, decided from the clock and what the others have taken in.
//!
//! Owns the order: a next key is made and told; when every live host has it, it is used; the one
//! before it is accepted for one period more. Pure: it is told the time, makes no key, and knows
//! no store. Whoever carries out a step writes the key ring to disk first, then does the rest, so
//! that a crash at any point is followed by the same step again.

use super::PrivateKey;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};
use vw_model::{HostId, PublicKey};

/// A host's keys.
#[derive(Debug, Clone)]
pub struct KeyRing {
    /// The one in use.
    pub current: PrivateKey,
    /// Since when.
    pub since: SystemTime,
    /// The one that will be used next: told to the others, or about to be.
    pub next: Option<PrivateKey>,
    /// The one before the current, which others may still ask for sessions.
    pub former: Option<PrivateKey>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for this long.
    Wait(Duration),
    /// Make a next key ([`KeyRing::begin`]).
    Begin,
    /// Write the host's record, with its current key and its next, then [`Rotation::told`].
    Tell,
    /// Nothing, until these hosts have taken in the record.
    Await(BTreeSet<HostId>),
    /// Use the next key ([`KeyRing::advance`]), then write the record without a next one.
    Use,
}

/// How far a change of keys has come in this process.
#[derive(Debug, Clone)]
pub struct Rotation {
    period: Duration,
    /// The store's revision at which the record told the next key.
    told: Option<u64>,
}

impl KeyRing {
    /// The first key of a host.
    #[must_use]
    pub const fn new(current: PrivateKey, since: SystemTime) -> Self {
        Self {
            current,
            since,
            next: None,
            former: None,
        }
    }

    /// Takes up a next key, in place of any other that was not used yet.
    pub fn begin(&mut self, next: PrivateKey) {
        self.next = Some(next);
    }

    /// Puts the next key in use; without one nothing changes.
    pub fn advance(&mut self, now: SystemTime) {
        if let Some(next) = self.next.take() {
            self.former = Some(std::mem::replace(&mut self.current, next));
            self.since = now;
        }
    }
}

impl Rotation {
    /// Changes keys once a period, or up to a tenth of it before: see [`time_of`].
    #[must_use]
    pub const fn new(period: Duration) -> Self {
        Self { period, told: None }
    }

    /// What is to be done: `seen` is, for each other live host, the store's revision up to which
    /// it has taken in the records of hosts.
    ///
    /// A host that is not live does not count: it reads all records before it sends anything.
    #[must_use]
    pub fn step(&self, ring: &KeyRing, now: SystemTime, seen: &BTreeMap<HostId, u64>) -> Step {
        if ring.next.is_none() {
            let time = time_of(&ring.current.public(), self.period);
            return match now.duration_since(ring.since) {
                Ok(age) if age < time => Step::Wait(time - age),
                // A start in the future says that the clock was wrong: no reason to wait for it.
                _ => Step::Begin,
            };
        }
        let Some(told) = self.told else {
            return Step::Tell;
        };
        let behind: BTreeSet<_> = seen
            .iter()
            .filter(|(_, revision)| **revision < told)
            .map(|(host, _)| *host)
            .collect();
        if behind.is_empty() {
            Step::Use
        } else {
            Step::Await(behind)
        }
    }

    /// The record with the next key was written at this revision.
    pub const fn told(&mut self, revision: u64) {
        self.told = Some(revision);
    }

    /// The next key is in use: the following one is another matter.
    pub const fn used(&mut self) {
        self.told = None;
    }
}

/// How long a key is used, which the key itself says, so that hosts that began at once do not go on
/// so.
fn time_of(key: &PublicKey, period: Duration) -> Duration {
    let [a, b, ..] = *key.as_bytes();
    let share = u32::from(u16::from_be_bytes([a, b]));
    period - period / 10 * share / (1 << 16)
}

#[cfg(test)]
mod tests;
