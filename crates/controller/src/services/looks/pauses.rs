//! When what could not be done is tried again: each ever more seldom, whatever becomes of the others.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use vw_model::{NetworkId, ServiceId};

/// How soon, and how seldom.
const FIRST: Duration = Duration::from_secs(1);
pub(super) const LONGEST: Duration = Duration::from_secs(8);

/// What could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Left {
    /// Something that leads to the services of a network.
    Network(NetworkId),
    /// A service of this host's own networks.
    Service(ServiceId),
    /// The ways to endpoints on other hosts.
    Ways(NetworkId),
    /// That all is taken away which nobody wants, and recorded.
    Rest,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pauses {
    /// When it is looked at now.
    now: Instant,
    of: BTreeMap<Left, Pause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    last: Duration,
    until: Instant,
}

impl Pauses {
    pub(super) fn new(now: Instant) -> Self {
        let of = BTreeMap::new();
        Self { now, of }
    }

    /// Looks at this time.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.now = now;
    }

    /// Has what this look could not do wait from now on: however long it took, there is a pause.
    pub(super) fn end(&mut self, now: Instant) {
        for pause in self.of.values_mut() {
            if pause.until == self.now + pause.last {
                pause.until = now + pause.last;
            }
        }
    }

    /// Has it be tried soon, whatever was tried in vain before, though not at once.
    pub(super) fn shorten(&mut self, of: Left) {
        if let Some(pause) = self.of.get_mut(&of) {
            pause.last = FIRST;
            pause.until = pause.until.min(self.now + FIRST);
        }
    }

    /// Whether it is to be tried now, also where it was not before.
    pub(super) fn are_over(&self, of: Left) -> bool {
        self.of.get(&of).is_none_or(|pause| pause.until <= self.now)
    }

    /// Notes that it was done, or could not be, if it was to be tried.
    pub(super) fn settle(&mut self, of: Left, done: bool) {
        if done {
            self.of.remove(&of);
        } else if self.are_over(of) {
            let longer = |pause: &Pause| LONGEST.min(pause.last * 2);
            let last = self.of.get(&of).map_or(FIRST, longer);
            let until = self.now + last;
            self.of.insert(of, Pause { last, until });
        }
    }

    /// Forgets what else there was.
    pub(super) fn retain(&mut self, is_left: impl Fn(Left) -> bool) {
        self.of.retain(|of, _| is_left(*of));
    }

    /// When the next is to be tried, if there is any.
    pub(super) fn next(&self) -> Option<Instant> {
        self.of.values().map(|pause| pause.until).min()
    }
}

#[cfg(test)]
mod tests;
