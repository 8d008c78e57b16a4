//! What this host tells of itself beside its own record, as it must be in the store, and how it gets
//! there: its keys of encrypted networks, and what it does not publish.
//!
//! It lies beside the host's own record, not in it: that one's version is the fence. What is told is
//! for others to say.

use crate::{
    core::{Core, Done, State},
    keys::Shared,
    record,
};
use serde::Serialize;
use std::time::Duration;
use vw_model::Result;
use vw_store::cluster::Write;

/// How long an attempt that failed is not repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// One such record.
#[derive(Debug)]
pub(crate) struct Beside<T> {
    /// `Some(None)` where there is to be no record; `None` while nobody has said.
    desired: Option<Option<T>>,
    /// As last seen in the store, or written there.
    written: Option<T>,
    /// As in the mirror's state: that of other hosts' is as old.
    pub(crate) seen: Option<T>,
    /// Not before this time.
    not_before: Duration,
}

impl<T> Default for Beside<T> {
    fn default() -> Self {
        Self {
            desired: None,
            written: None,
            seen: None,
            not_before: Duration::ZERO,
        }
    }
}

impl<T: Clone + PartialEq> Beside<T> {
    /// Wants this record, or none.
    pub(crate) fn want(&mut self, record: Option<T>) {
        self.desired = Some(record);
    }

    /// What became of the record; `whole` when everything was read, and no more is there.
    pub(crate) fn saw(&mut self, record: Option<Option<T>>, whole: bool) {
        match record {
            Some(record) => self.seen = record,
            None if whole => self.seen = None,
            None => return,
        }
        self.written.clone_from(&self.seen);
    }

    /// This host was given up, and its record with it.
    pub(crate) fn forget(&mut self) {
        self.written = None;
    }

    /// What is to be written now.
    fn due(&self, now: Duration) -> Option<Option<T>> {
        let desired = self.desired.as_ref()?;
        let due = *desired != self.written && self.not_before <= now;
        due.then(|| desired.clone())
    }
}

impl Core {
    /// Writes this host's keys where they are not in the store as they are.
    pub(crate) fn send_keys(&self) -> Result<()> {
        let key = Shared::Tunnel(self.settings.host);
        self.send_beside(key, |state| &mut state.keys)
    }

    /// The same of what it does not publish.
    pub(crate) fn send_unpublished(&self) -> Result<()> {
        let key = Shared::Unpublished(self.settings.host);
        self.send_beside(key, |state| &mut state.unpublished)
    }

    fn send_beside<T: Clone + PartialEq + Serialize>(
        &self,
        key: Shared,
        of: impl Fn(&mut State) -> &mut Beside<T>,
    ) -> Result<()> {
        let now = self.time.now();
        let due = of(&mut self.state()).due(now);
        let Some(wanted) = due else {
            return Ok(());
        };
        let write = match &wanted {
            Some(wanted) => Write::Put(key.key(), record::encode(wanted)),
            None => Write::Delete(key.key()),
        };
        let done = self.commit(Vec::new(), vec![write]);
        let mut state = self.state();
        let beside = of(&mut state);
        match done {
            Ok(Done::Applied) => beside.written = wanted,
            // The next step tries again, when the worker wakes.
            _ => beside.not_before = now + PAUSE,
        }
        done.map(drop)
    }
}

#[cfg(test)]
mod tests;
