//! Time as a host sees it: for waiting and for giving up, never for safety.

use crate::core::State;
use std::{
    fmt::Debug,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A clock that can wait.
pub(crate) trait Time: Send + Sync + Debug {
    /// The time since the daemon's start; never goes back.
    fn now(&self) -> Duration;

    /// Waits until `changed` is notified or the time is over; may return early.
    fn wait<'a>(
        &self,
        state: &'a Mutex<State>,
        changed: &Condvar,
        guard: MutexGuard<'a, State>,
        at_most: Duration,
    ) -> MutexGuard<'a, State>;
}

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct Machine(pub(crate) Instant);

impl Time for Machine {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait<'a>(
        &self,
        _state: &'a Mutex<State>,
        changed: &Condvar,
        guard: MutexGuard<'a, State>,
        at_most: Duration,
    ) -> MutexGuard<'a, State> {
        changed
            .wait_timeout(guard, at_most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}
