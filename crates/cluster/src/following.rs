//! The thread that follows the store: what it sees goes into the mirror and to the follower.

use crate::{
    Delta, StoreState,
    core::{Core, Phase},
    keys::{self, Shared},
};
use std::time::Duration;
use vw_model::{NetworkId, Result};
use vw_store::cluster::{Change, ClusterError, Watch};

/// How long the store may be silent before it is asked anew whether something changed.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// How often the format of the cluster's records is looked at.
const FORMAT_LOOK: Duration = Duration::from_secs(30);

/// The watch of this host, while it has one.
#[derive(Default)]
pub(crate) struct Following {
    watch: Option<Box<dyn Watch>>,
    /// When the format is next looked at.
    format_due: Duration,
}

impl Core {
    /// One step: waits for changes at most for [`SILENCE`] and tells what they mean. Says whether
    /// the store answered.
    pub(crate) fn follow(&self, following: &mut Following) -> bool {
        let watched = following.watch.is_some();
        let result = self.step(following);
        let now = self.time.now();
        let mut state = self.state();
        let seen = state.mirror.tick(now);
        if !seen.deltas.is_empty() {
            state.saw(seen, false);
        }
        drop(state);
        let answered = result.is_ok();
        self.note_store(result.err().map(|error| error.chain()));
        self.tell();
        if !watched && following.watch.is_some() {
            self.follower.caught_up();
        }
        answered
    }

    fn step(&self, following: &mut Following) -> Result<()> {
        if self.state().phase == Phase::Forgotten {
            self.start_over()?;
            // What the store still has of this host's former self is to be seen again.
            following.watch = None;
        }
        // Without a part in the cluster one may still look at it.
        let phase = self.state().phase.clone();
        if !matches!(phase, Phase::Superseded(_)) {
            self.join()?;
            let now = self.time.now();
            let due = following.watch.is_none() || following.format_due <= now;
            if due {
                // Who has just joined has looked.
                if let Phase::Joined(_) = phase {
                    self.look_at_format()?;
                }
                following.format_due = now + FORMAT_LOOK;
            }
        }
        let Some(watch) = &mut following.watch else {
            following.watch = Some(self.read_everything()?);
            return self.standing();
        };
        match watch.next(SILENCE) {
            Ok(changes) => self.see(changes),
            Err(ClusterError::Unavailable { .. }) => {
                return Err(crate::core::unavailable(ClusterError::Unavailable {
                    store: self.store.kind(),
                    reason: "no server answers".to_owned(),
                }));
            }
            Err(error) => {
                tracing::info!("the store is read anew: {error}");
                following.watch = None;
            }
        }
        self.standing()
    }

    /// Refuses where this host only looks on.
    fn standing(&self) -> Result<()> {
        let phase = self.state().phase.clone();
        match phase {
            Phase::Superseded(_) => Err(self.outside(&phase)),
            _ => self.may_write(),
        }
    }

    fn read_everything(&self) -> Result<Box<dyn Watch>> {
        {
            let mut state = self.state();
            state.made.clear();
            state.mirror.begin_reading();
        }
        let (records, watch) = self
            .store
            .follow(keys::SHARED)
            .map_err(crate::core::unavailable)?;
        let own = Shared::Host(self.settings.host).key();
        let own = records.iter().find(|record| record.key == own).cloned();
        let now = self.time.now();
        let mut state = self.state();
        let made = std::mem::take(&mut state.made);
        let seen = state.mirror.replace(records, &made, now);
        let made: Vec<NetworkId> = made.iter().copied().collect();
        state.made.extend(&made);
        state.saw(seen, true);
        state.reads += 1;
        let first = !std::mem::replace(&mut state.synced, true);
        let touched = state.mirror.services.were_read();
        drop(state);
        if first {
            self.warn_of_namesakes();
        }
        self.judge(
            own.as_ref()
                .map(|record| (record.version, &record.value[..])),
        );
        self.wake();
        // What this host did while the records were read others may have undone meanwhile.
        for network in made {
            self.look_at_made(network)?;
        }
        for service in touched {
            self.take_up_service(service)?;
        }
        Ok(watch)
    }

    /// Whether a network that was made here is still there, where what was read may be older.
    fn look_at_made(&self, network: NetworkId) -> Result<()> {
        // One that is being made is not known yet.
        let known = self.state().mirror.networks.contains_key(&network);
        let key = Shared::Network(network).key();
        if known && self.get(&key)?.is_none() {
            let now = self.time.now();
            let mut state = self.state();
            let seen = state.mirror.apply(vec![Change::Deleted(key)], now);
            state.saw(seen, false);
        }
        Ok(())
    }

    fn see(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let own = Shared::Host(self.settings.host).key();
        let mine: Vec<Change> = changes
            .iter()
            .filter(|change| match change {
                Change::Put(record) => record.key == own,
                Change::Deleted(key) => *key == own,
            })
            .cloned()
            .collect();
        let now = self.time.now();
        let mut state = self.state();
        let seen = state.mirror.apply(changes, now);
        state.saw(seen, false);
        drop(state);
        if !mine.is_empty() {
            // What the watch tells may lie behind this host's own joining: ask how it is now.
            if let Err(error) = self.check_fence() {
                tracing::debug!("own record: {error}");
            }
        }
        self.wake();
    }

    /// Tells the follower, in order, what was seen, and what is kept of it.
    fn tell(&self) {
        let deltas = std::mem::take(&mut self.state().deltas);
        if deltas.is_empty() {
            return;
        }
        for delta in &deltas {
            if let Delta::NetworkGone(id) = delta
                && let Err(error) = self.copy.drop_network(*id)
            {
                tracing::warn!("{}", error.chain());
            }
        }
        let noted = self.copy.note(&deltas);
        let written = noted.and_then(|soon| if soon { self.copy.flush() } else { Ok(()) });
        if let Err(error) = written {
            tracing::warn!("{}", error.chain());
        }
        self.follower.follow(deltas);
    }

    /// Notes whether the store answers.
    fn note_store(&self, trouble: Option<String>) {
        let now = self.time.now();
        let mut state = self.state();
        let next = match (trouble, &state.store) {
            (None, _) => StoreState::Reachable,
            (Some(reason), StoreState::Away { since, .. }) => StoreState::Away {
                since: *since,
                reason,
            },
            (Some(reason), StoreState::Reachable) => StoreState::Away {
                since: Some(now),
                reason,
            },
            (Some(reason), StoreState::Unknown) => StoreState::Away {
                since: None,
                reason,
            },
        };
        if next != state.store {
            match &next {
                StoreState::Away { reason, .. } => tracing::warn!("{reason}"),
                _ => tracing::info!("the cluster's store answers"),
            }
            state.store = next.clone();
            state.deltas.push(Delta::Store(next));
            drop(state);
            self.wake();
        }
    }
}
