//! How long to wait with what costs as much as all there is, while it does not help.
//!
//! Counted in changes, so that its cost shared among them stays that of one change, however many
//! objects there are; and by the clock, so that a host on which little happens is not left alone.

use std::time::{Duration, Instant};

/// As many changes at most go without; beyond, a comparison is a small part of their cost.
const MOST: u32 = 1023;
/// Who waited for this long has waited enough.
const LONGEST: Duration = Duration::from_secs(10);

/// The changes that go without until the next try: none, 1, 3, 7 and so on after failures.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    skipped: u32,
    wanted: u32,
    since: Option<Instant>,
}

impl Patience {
    /// Whether this change may try.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        let waited = self
            .since
            .is_some_and(|since| now.duration_since(since) >= LONGEST);
        if self.skipped >= self.wanted || waited {
            return true;
        }
        self.skipped += 1;
        false
    }

    /// A try did not help.
    pub(crate) fn grow(&mut self, now: Instant) {
        self.wanted = (self.wanted * 2 + 1).min(MOST);
        self.skipped = 0;
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests;
