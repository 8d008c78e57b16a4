//! The time of a store in memory: the machine's, or one that only a test moves.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) enum Clock {
    Machine(Instant),
    Virtual(Mutex<Duration>),
}

impl Default for Clock {
    fn default() -> Self {
        Self::Machine(Instant::now())
    }
}

impl Clock {
    pub(crate) fn simulated() -> Self {
        Self::Virtual(Mutex::default())
    }

    pub(crate) const fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual(_))
    }

    pub(crate) fn now(&self) -> Duration {
        match self {
            Self::Machine(start) => start.elapsed(),
            Self::Virtual(now) => *super::locked(now),
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        let Self::Virtual(now) = self else {
            panic!("only a virtual clock can be moved");
        };
        *super::locked(now) += by;
    }
}
