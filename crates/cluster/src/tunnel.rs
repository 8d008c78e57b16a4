//! This host's keys of encrypted networks as they must be in the store, and how they get there.
//!
//! They lie beside the host's own record, not in it: that one's version is the fence. Which keys
//! there are is for others to say.

use crate::{
    core::{Core, Done},
    keys::Shared,
    record,
};
use std::time::Duration;
use vw_model::{Result, TunnelKeys};
use vw_store::cluster::Write;

/// How long an attempt that failed is not repeated.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(crate) struct Keys {
    desired: Option<TunnelKeys>,
    /// As last seen in the store, or written there.
    written: Option<TunnelKeys>,
    /// Not before this time.
    not_before: Duration,
}

impl Keys {
    pub(crate) fn want(&mut self, keys: TunnelKeys) {
        self.desired = Some(keys);
    }

    /// What became of the record; `whole` when everything was read, and no more is there.
    pub(crate) fn saw(&mut self, record: Option<Option<TunnelKeys>>, whole: bool) {
        match record {
            Some(record) => self.written = record,
            None if whole => self.written = None,
            None => {}
        }
    }

    /// This host was given up, and its record with it.
    pub(crate) fn forget(&mut self) {
        self.written = None;
    }
}

impl Core {
    /// Writes this host's keys where they are not in the store as they are.
    pub(crate) fn send_keys(&self) -> Result<()> {
        let now = self.time.now();
        let wanted = {
            let state = self.state();
            let keys = &state.keys;
            let due = keys.desired != keys.written && keys.not_before <= now;
            keys.desired.clone().filter(|_| due)
        };
        let Some(wanted) = wanted else {
            return Ok(());
        };
        let key = Shared::Tunnel(self.settings.host).key();
        let done = self.commit(Vec::new(), vec![Write::Put(key, record::encode(&wanted))]);
        let mut state = self.state();
        match done {
            Ok(Done::Applied) => state.keys.written = Some(wanted),
            // The next step tries again, when the worker wakes.
            _ => state.keys.not_before = now + PAUSE,
        }
        done.map(drop)
    }
}

#[cfg(test)]
mod tests;
