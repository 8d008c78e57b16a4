//! The largest packet that gets to a host, found by halves.
//!
//! Owns which size is tried next. It must not know how packets are sent, nor what the time is.

/// As little as a question needs: whatever gets there at all takes that.
pub(super) const LEAST: u32 = 64;

/// What is known of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width {
    passed: u32,
    refused: Option<u32>,
    /// What is tried now.
    pub(super) tried: u32,
}

impl Width {
    /// That of a way which should take `whole` bytes: most do, so that is tried first.
    pub(super) const fn new(whole: u32) -> Self {
        Self {
            passed: LEAST,
            refused: None,
            tried: whole,
        }
    }

    /// Takes whether what was tried passed; gives the width once it is known.
    pub(super) fn learn(&mut self, passed: bool) -> Option<u32> {
        match passed {
            true => self.passed = self.tried,
            false => self.refused = Some(self.tried),
        }
        let beyond = self
            .refused
            .map_or(0, |refused| refused.saturating_sub(self.passed));
        self.tried = self.passed + beyond / 2;
        (self.tried <= self.passed).then_some(self.passed)
    }
}

#[cfg(test)]
mod tests;
