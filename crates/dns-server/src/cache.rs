//! Answers of upstreams, kept for a while.
//!
//! Owns what is kept and for how long. Two generations stand in for a list in the order of
//! use: what is used moves to the young one, and when that is full the old one is dropped
//! whole. So every operation is O(1) and memory stays within its bound.

use crate::forward::Key;
use std::{
    collections::HashMap,
    mem,
    rc::Rc,
    time::{Duration, Instant},
};
use vw_names::Response;

/// An answer and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) response: Rc<Response>,
    stored: Instant,
    lifetime: Duration,
}

impl Entry {
    /// Its age in whole seconds; `None` when it is too old.
    pub(crate) fn age(&self, now: Instant) -> Option<u32> {
        let age = now.saturating_duration_since(self.stored);
        // Lossless: lifetimes are a u32 of seconds.
        (age < self.lifetime).then_some(age.as_secs() as u32)
    }
}

/// The answers kept.
#[derive(Debug)]
pub(crate) struct Cache {
    young: HashMap<Rc<Key>, Entry>,
    old: HashMap<Rc<Key>, Entry>,
    weight: usize,
    /// For each generation.
    limit: usize,
    positive: u32,
    negative: u32,
}

impl Cache {
    /// A cache of `size` octets, which keeps answers for `positive` and denials for
    /// `negative` seconds at most.
    pub(crate) fn new(size: usize, positive: u32, negative: u32) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            weight: 0,
            limit: size / 2,
            positive,
            negative,
        }
    }

    /// The answer to a question and its age in seconds.
    pub(crate) fn get(&mut self, key: &Key, now: Instant) -> Option<(Rc<Response>, u32)> {
        if let Some(entry) = self.young.get(key) {
            return entry.age(now).map(|age| (Rc::clone(&entry.response), age));
        }
        let (key, entry) = self.old.remove_entry(key)?;
        let age = entry.age(now)?;
        let response = Rc::clone(&entry.response);
        self.put(key, entry);
        Some((response, age))
    }

    /// Keeps an answer as long as it says, within our bounds.
    pub(crate) fn insert(&mut self, key: Rc<Key>, response: Rc<Response>, now: Instant) {
        let most = if response.is_negative() {
            self.negative
        } else {
            self.positive
        };
        let lifetime = Duration::from_secs(response.lifetime().min(most).into());
        if !lifetime.is_zero() {
            self.put(
                key,
                Entry {
                    response,
                    stored: now,
                    lifetime,
                },
            );
        }
    }

    fn put(&mut self, key: Rc<Key>, entry: Entry) {
        let weight = |key: &Key, entry: &Entry| key.weight() + entry.response.weight();
        let added = weight(&key, &entry);
        if added > self.limit {
            return;
        }
        if self.weight + added > self.limit {
            self.old = mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += added;
        if let Some((key, entry)) = self.young.remove_entry(&*key) {
            self.weight -= weight(&key, &entry);
        }
        self.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests;
