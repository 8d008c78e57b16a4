//! The thread that follows the store: what it sees goes into the mirror and to the follower.

use crate::{
    Delta, StoreState,
    core::{Core, Phase},
    keys::{self, Shared},
};
use std::time::Duration;
use vw_model::{Error, NetworkId, Result};
use vw_store::cluster::{Change, ClusterError, Watch};

/// How long the store may be silent before it is asked anew whether something changed.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// How often the format of the cluster's records is looked at.
const FORMAT_LOOK: Duration = Duration::from_secs(30);

/// By how much more, for each host of the cluster, they spread their reading of everything.
const SPREAD: Duration = Duration::from_millis(10);

/// The most that they spread it.
const WIDEST: Duration = Duration::from_secs(10);

/// How often a trouble of the same sort is logged, in whatever words the store tells of it.
const LOGGED: Duration = Duration::from_secs(60);

/// The watch of this host, while it has one.
#[derive(Default)]
pub(crate) struct Following {
    watch: Option<Box<dyn Watch>>,
    /// When the format is next looked at.
    format_due: Duration,
    /// Whether the store was away since everything was read.
    was_away: bool,
    /// When everything is read once more, though no change was missed.
    anew: Option<Duration>,
}

impl Core {
    /// One step: waits for changes at most for [`SILENCE`] and tells what they mean. Says whether
    /// the store answered.
    pub(crate) fn follow(&self, following: &mut Following) -> bool {
        let reads = self.state().reads;
        let result = self.step(following);
        let now = self.time.now();
        let mut state = self.state();
        let seen = state.mirror.tick(now);
        if !seen.deltas.is_empty() {
            state.saw(seen, false);
        }
        drop(state);
        let answered = result.is_ok();
        let trouble = result.err();
        following.was_away |= trouble.as_ref().is_some_and(crate::core::is_away);
        self.note_store(trouble);
        self.tell();
        if self.state().reads != reads {
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
        if following.anew.is_some_and(|due| due <= self.time.now()) {
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
            (following.was_away, following.anew) = (false, None);
            return self.standing();
        };
        let seen = match watch.next(SILENCE) {
            Ok(changes) => {
                self.after_absence(following);
                self.see(changes)
            }
            Err(error @ ClusterError::Unavailable { .. }) => {
                return Err(crate::core::unavailable(error));
            }
            Err(error) => {
                tracing::info!("the store is read anew: {error}");
                following.watch = None;
                Ok(())
            }
        };
        if seen.is_err() {
            following.watch = None;
        }
        seen.and_then(|()| self.standing())
    }

    /// Has everything read once more where the store was away, or this host was, though the watch
    /// tells what changed: the store may be an older one by now, in which others have written since.
    /// Hosts do so at different times.
    fn after_absence(&self, following: &mut Following) {
        let lapsed = std::mem::take(&mut self.state().lapsed);
        if !(std::mem::take(&mut following.was_away) || lapsed) || following.anew.is_some() {
            return;
        }
        let hosts = {
            let mut state = self.state();
            state.doubted = true;
            u32::try_from(state.mirror.hosts.len()).unwrap_or(u32::MAX)
        };
        let spread = SPREAD.saturating_mul(hosts).min(WIDEST);
        let [bits, ..] = (self.settings.random)();
        following.anew = Some(self.time.now() + spread * u32::from(bits) / 256);
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
        let joined = matches!(self.state().phase, Phase::Joined(_));
        self.confirm_loss(&self.missing_networks(&records), joined && own.is_none())?;
        let now = self.time.now();
        let mut state = self.state();
        let made = std::mem::take(&mut state.made);
        let seen = state.mirror.replace(records, &made, now);
        let made: Vec<NetworkId> = made.iter().copied().collect();
        state.made.extend(&made);
        state.saw(seen, true);
        state.reads += 1;
        (state.doubted, state.lacks) = (false, false);
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
            self.look_at_format()?;
            let now = self.time.now();
            let mut state = self.state();
            let seen = state.mirror.apply(vec![Change::Deleted(key)], now);
            state.saw(seen, false);
        }
        Ok(())
    }

    /// Takes what changed.
    ///
    /// # Errors
    /// When it cannot be believed: nothing of it was taken.
    fn see(&self, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let own = Shared::Host(self.settings.host).key();
        let is_own = |change: &Change| match change {
            Change::Put(record) => record.key == own,
            Change::Deleted(key) => *key == own,
        };
        let mine = changes.iter().any(is_own);
        self.confirm_loss(&self.removed_networks(&changes), false)?;
        if mine && let Err(error) = self.check_fence() {
            // What the watch tells may lie behind this host's own joining: it is asked how it is
            // now.
            tracing::debug!("own record: {error}");
            if error.reason.starts_with("cluster-store") {
                return Err(error);
            }
        }
        let now = self.time.now();
        let mut state = self.state();
        state.saw_grants(&changes);
        let seen = state.mirror.apply(changes, now);
        state.saw(seen, false);
        drop(state);
        self.wake();
        Ok(())
    }

    /// The networks that this host knows and that were removed.
    fn removed_networks(&self, changes: &[Change]) -> Vec<NetworkId> {
        let state = self.state();
        let gone = changes.iter().filter_map(|change| match change {
            Change::Deleted(key) => Shared::parse(key),
            Change::Put(_) => None,
        });
        let networks = gone.filter_map(|key| match key {
            Shared::Network(id) => Some(id),
            _ => None,
        });
        networks
            .filter(|id| state.mirror.networks.contains_key(id))
            .collect()
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
    fn note_store(&self, trouble: Option<Error>) {
        let now = self.time.now();
        let mut state = self.state();
        let sort = trouble.as_ref().map(|error| error.reason);
        let since = match &state.store {
            StoreState::Away { since, .. } => *since,
            StoreState::Reachable => Some(now),
            StoreState::Unknown => None,
        };
        let next = trouble.map_or(StoreState::Reachable, |error| StoreState::Away {
            since,
            reason: error.chain(),
        });
        if next == state.store {
            return;
        }
        match (&next, sort) {
            (StoreState::Away { reason, .. }, Some(sort)) => {
                let known = state.logged.filter(|(_, before)| *before == sort);
                if known.is_none_or(|(at, _)| at + LOGGED <= now) {
                    tracing::warn!("{reason}");
                    state.logged = Some((now, sort));
                }
            }
            _ => {
                tracing::info!("the cluster's store answers");
                state.logged = None;
            }
        }
        state.store = next.clone();
        state.deltas.push(Delta::Store(next));
        drop(state);
        self.wake();
    }
}
