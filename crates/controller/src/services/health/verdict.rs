//! From single answers to whether an endpoint is well.

use super::super::roster::Health;

/// How many good answers in a row an endpoint needs at most that changed to and fro.
const MOST: u32 = 16;

/// What is known of one endpoint.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What was told last; `None` before anything was.
    told: Option<bool>,
    retries: u32,
    failures: u32,
    good: u32,
    /// Good answers in a row that are needed to be well again.
    needed: u32,
}

impl Verdict {
    pub(super) const fn new(health: Health, retries: u32) -> Self {
        let told = match health {
            Health::Healthy | Health::Unchecked => Some(true),
            Health::Unhealthy => Some(false),
            Health::Starting | Health::Leaving => None,
        };
        Self {
            told,
            retries,
            failures: 0,
            good: 0,
            needed: 1,
        }
    }

    /// Takes an answer; says what to tell where that is new. Failures do not count while it starts.
    pub(super) fn take(&mut self, well: bool, starting: bool) -> Option<bool> {
        if well {
            self.failures = 0;
            self.good = self.good.saturating_add(1);
            if self.told == Some(true) {
                // Well for as long as it took to prove it, it counts as steady again.
                if self.good >= 2 * self.needed {
                    (self.good, self.needed) = (0, 1.max(self.needed / 2));
                }
                return None;
            }
            return (self.good >= self.needed).then(|| self.tell(true));
        }
        self.good = 0;
        if starting && self.told != Some(true) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.told == Some(false) || self.failures < self.retries {
            return None;
        }
        if self.told == Some(true) {
            self.needed = MOST.min(2 * self.needed);
        }
        Some(self.tell(false))
    }

    /// What was told did not arrive: it is told again.
    pub(super) const fn forget(&mut self) {
        self.told = None;
    }

    const fn tell(&mut self, well: bool) -> bool {
        self.told = Some(well);
        self.good = 0;
        well
    }
}

#[cfg(test)]
mod tests;
