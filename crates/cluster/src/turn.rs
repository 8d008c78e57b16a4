//! Whose turn it is to change blocks and grants in the store, and who waits for it how long.
//!
//! Owns the turn, and what is known of a store that is asked and does not answer: who has the turn may
//! ask it for long, and nobody is to wait behind who does so in vain.

use crate::{
    StoreState,
    core::{AWAY, Core, State, unavailable},
};
use std::{collections::BTreeMap, time::Duration};
use vw_model::{Error, Kind, Result};
use vw_store::cluster::{ClusterError, ClusterStore};

/// How long a question may be without an answer before a store that did not answer the last one either
/// is taken to be away still.
const MOMENT: Duration = Duration::from_millis(250);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Whether a thread is changing blocks or grants in the store.
    pub(crate) taken: bool,
    /// Whether the worker wanted the turn meanwhile.
    missed: bool,
}

/// What the store was asked and did not answer yet.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    /// When each question was asked.
    asked: BTreeMap<u64, Duration>,
    next: u64,
    /// When it answered last.
    heard: Duration,
    /// Whether the last question that came to an end had no answer.
    failed: bool,
}

impl Hearing {
    fn begin(&mut self, now: Duration) -> u64 {
        self.next += 1;
        self.asked.insert(self.next, now);
        self.next
    }

    fn end(&mut self, question: u64, now: Duration, answered: bool) {
        self.asked.remove(&question);
        self.failed = !answered;
        if answered {
            self.heard = now;
        }
    }

    /// For how long the store has been asked without an answer.
    fn silence(&self, now: Duration) -> Duration {
        let since = self.asked.values().next();
        since.map_or(Duration::ZERO, |since| {
            now.saturating_sub((*since).max(self.heard))
        })
    }
}

impl State {
    /// Whether the store is asked and does not answer: for longer than an election takes, and than a
    /// server that hangs keeps a question from the next; or for a moment, where it was away before.
    fn is_silent(&self, now: Duration, patience: Duration) -> bool {
        let away = matches!(self.store, StoreState::Away { .. }) || self.hearing.failed;
        let longest = if away { MOMENT } else { patience / 5 * 4 };
        self.hearing.silence(now) >= longest
    }
}

impl Core {
    /// Asks the store, and notes whether it answers.
    pub(crate) fn ask<T>(
        &self,
        question: impl FnOnce(&dyn ClusterStore) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        let asked = self.state().hearing.begin(self.time.now());
        let answer = question(&*self.store);
        let none = matches!(
            answer,
            Err(ClusterError::Unavailable { .. } | ClusterError::Uncertain { .. })
        );
        self.state().hearing.end(asked, self.time.now(), !none);
        answer
    }

    /// As [`Self::wait_for`], at most for [`crate::Settings::patience`]; `ready` is told whether the
    /// store is silent, and asked again soon.
    pub(crate) fn wait_unless_silent<T>(
        &self,
        mut ready: impl FnMut(&mut State, bool) -> Option<T>,
    ) -> Option<T> {
        let patience = self.settings.patience;
        let until = self.time.now() + patience;
        loop {
            let look = until.min(self.time.now() + MOMENT);
            let found = self.wait_for(look, |state| {
                let silent = state.is_silent(self.time.now(), patience);
                ready(state, silent)
            });
            if found.is_some() || self.time.now() >= until || self.state().closing {
                return found;
            }
        }
    }

    /// Takes the turn to change blocks and grants in the store. Nobody else of this host does
    /// meanwhile, so that what one reads there of its own is not changed by another.
    pub(crate) fn turn(&self) -> Result<Turn<'_>> {
        match self.turn_or(|_| None::<Never>)? {
            Got::Turn(turn) => Ok(turn),
            Got::Other(never) => match never {},
        }
    }

    /// Takes the turn, unless `other` gives what it was wanted for meanwhile.
    ///
    /// # Errors
    /// Unavailable where who has the turn asks the store for long, as soon as that is known to be in
    /// vain.
    pub(crate) fn turn_or<T>(
        &self,
        mut other: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<Got<'_, T>> {
        let got = self.wait_unless_silent(|state, silent| {
            if !std::mem::replace(&mut state.turns.taken, true) {
                return Some(Ok(Got::Turn(Turn(self))));
            }
            let found = other(state).map(|found| Ok(Got::Other(found)));
            found.or_else(|| silent.then(|| Err(self.store_silent(state))))
        });
        got.unwrap_or_else(|| {
            let message = "another request to the cluster's store takes long: try again later";
            Err(Error::new(Kind::Unavailable, "cluster-busy", message))
        })
    }

    /// That the store does not answer, as far as it is known why.
    fn store_silent(&self, state: &State) -> Error {
        if let StoreState::Away { reason, .. } = &state.store {
            return Error::new(Kind::Unavailable, AWAY, reason.clone());
        }
        let silence = state.hearing.silence(self.time.now());
        unavailable(ClusterError::Unavailable {
            store: self.store.kind(),
            reason: format!("no answer for {:.1} s", silence.as_secs_f32()),
        })
    }

    /// The turn, if nobody has it; else the worker is woken when it is free.
    pub(crate) fn try_turn(&self) -> Option<Turn<'_>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.turns.taken, true) {
            state.turns.missed = true;
            return None;
        }
        Some(Turn(self))
    }
}

/// What nobody gives.
enum Never {}

/// What came first.
pub(crate) enum Got<'a, T> {
    Turn(Turn<'a>),
    Other(T),
}

/// The turn to change blocks and grants in the store; given back when dropped.
pub(crate) struct Turn<'a>(&'a Core);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.turns.taken = false;
        if std::mem::take(&mut state.turns.missed) {
            state.work += 1;
        }
        drop(state);
        self.0.notify();
    }
}
