//! When a link that somebody takes away is brought back: at once, and ever later where it goes again
//! and again, as what a container with `NET_ADMIN` does to its own interface, all day if it likes. To
//! bring it back compares all there is.
//!
//! Owns moments alone, and is told the time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// After it was brought back once, a link that goes again waits for the first at least; for twice as
/// long each time, up to the last.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(64);

/// The links that went of late, by name.
#[derive(Debug, Default)]
pub(super) struct Pauses(BTreeMap<String, Pause>);

#[derive(Debug)]
struct Pause {
    is_gone: bool,
    length: Duration,
    until: Instant,
}

impl Pauses {
    /// A link went at this moment.
    pub(super) fn went(&mut self, name: &str, now: Instant) {
        let pause = self.0.entry(name.to_owned()).or_insert(Pause {
            is_gone: true,
            length: Duration::ZERO,
            until: now,
        });
        pause.is_gone = true;
    }

    /// Whether one that went is to be brought back by this moment. Then all are, and all that is
    /// gone counts as back.
    pub(super) fn are_over(&mut self, now: Instant) -> bool {
        // One that stood for twice its pause has begun anew.
        self.0
            .retain(|_, pause| pause.is_gone || now < pause.until + pause.length);
        if self.next().is_none_or(|next| next > now) {
            return false;
        }
        for pause in self.0.values_mut().filter(|pause| pause.is_gone) {
            pause.is_gone = false;
            pause.length = (2 * pause.length).clamp(FIRST, LONGEST);
            pause.until = now + pause.length;
        }
        true
    }

    /// When the next is to be brought back.
    pub(super) fn next(&self) -> Option<Instant> {
        let gone = self.0.values().filter(|pause| pause.is_gone);
        gone.map(|pause| pause.until).min()
    }
}

#[cfg(test)]
mod tests;
