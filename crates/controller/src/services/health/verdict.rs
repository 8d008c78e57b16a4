//! From single answers to whether an endpoint is well.

use super::super::roster::Health;
use std::time::{Duration, Instant};

/// How many good answers in a row an endpoint needs at most that changed to and fro.
const MOST: u32 = 16;

/// For how long it must be well at least, for each of them: however often it is asked, what is told
/// of it, to other hosts too, stays little.
const EACH: Duration = Duration::from_secs(1);

/// What is known of one endpoint.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What was told last; `None` before anything was.
    told: Option<bool>,
    /// What was told before that, and how many good answers were needed then.
    before: (Option<bool>, u32),
    retries: u32,
    failures: u32,
    good: u32,
    /// Good answers in a row that are needed to be well again.
    needed: u32,
    /// Since when all answers were good.
    since: Option<Instant>,
}

impl Verdict {
    pub(super) const fn new(health: Health, retries: u32) -> Self {
        let told = told(health);
        Self {
            told,
            before: (told, 1),
            retries,
            failures: 0,
            good: 0,
            needed: 1,
            since: None,
        }
    }

    /// Takes an answer of this moment; says what to tell where that is new. Failures do not count
    /// while it starts.
    pub(super) fn take(&mut self, well: bool, starting: bool, now: Instant) -> Option<bool> {
        if well {
            self.failures = 0;
            self.good = self.good.saturating_add(1);
            let since = *self.since.get_or_insert(now);
            let long = |count: u32| now.duration_since(since) >= EACH * (count - 1);
            if self.told == Some(true) {
                // Well for as long as it took to prove it, it counts as steady again.
                if self.good >= 2 * self.needed && long(2 * self.needed) {
                    (self.good, self.needed) = (0, 1.max(self.needed / 2));
                    self.since = Some(now);
                }
                return None;
            }
            let enough = self.good >= self.needed && long(self.needed);
            return enough.then(|| self.tell(true, now));
        }
        (self.good, self.since) = (0, None);
        if starting && self.told != Some(true) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.told == Some(false) || self.failures < self.retries {
            return None;
        }
        Some(self.tell(false, now))
    }

    /// So many failures in a row count from now on.
    pub(super) const fn allow(&mut self, retries: u32) {
        self.retries = retries;
    }

    /// What was told last did not arrive: it is told again.
    pub(super) const fn take_back(&mut self) {
        (self.told, self.needed) = self.before;
    }

    /// Holds what was told against what counts, which is told anew where it is something else; says
    /// whether it was the same.
    pub(super) fn agree(&mut self, health: Health) -> bool {
        let counts = told(health);
        let same = self.told == counts;
        (self.told, self.before) = (counts, (counts, self.needed));
        same
    }

    fn tell(&mut self, well: bool, now: Instant) -> bool {
        self.before = (self.told, self.needed);
        if self.told.replace(well) == Some(true) {
            self.needed = MOST.min(2 * self.needed);
        }
        self.good = 0;
        self.since = if well { Some(now) } else { None };
        well
    }
}

/// What is told of such an endpoint.
const fn told(health: Health) -> Option<bool> {
    match health {
        Health::Healthy | Health::Unchecked => Some(true),
        Health::Unhealthy => Some(false),
        Health::Starting | Health::Leaving => None,
    }
}

#[cfg(test)]
mod tests;
