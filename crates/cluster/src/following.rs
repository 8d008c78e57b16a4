//! The thread that follows the store: what it sees goes into the mirror and to the follower.

use crate::{
    Delta, StoreState,
    core::{Core, Phase},
    keys::{self, Shared},
};
use std::time::Duration;
use vw_model::{Error, NetworkId, Result, ServiceId};
use vw_store::cluster::{Change, ClusterError, Record, Watch};

/// How long the store may be silent before it is asked anew whether something changed.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// How often the format of the cluster's records is looked at.
const FORMAT_LOOK: Duration = Duration::from_secs(30);

/// By how much more, for each host of the cluster, they spread their reading of everything.
const SPREAD: Duration = Duration::from_millis(10);

/// The most that they spread it.
pub(crate) const WIDEST: Duration = Duration::from_secs(10);

/// The longest time between two attempts to read everything, but for the spread.
const SLOWEST: Duration = Duration::from_secs(4);

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
    /// When everything is read once more, though no change was missed, or as that failed.
    anew: Option<Duration>,
    /// How often it failed since it was read.
    failures: u32,
}

/// What came of reading everything.
struct Read {
    /// Tells how it changes.
    watch: Box<dyn Watch>,
    /// The networks that this host made meanwhile.
    made: Vec<NetworkId>,
    /// The services that it made or changed.
    touched: Vec<ServiceId>,
}

impl Following {
    /// Until when nothing is asked after a step, by whether the store answered. A call to wake up is
    /// none to ask again.
    pub(crate) fn pause(&self, now: Duration, answered: bool) -> Option<Duration> {
        let due = self.anew.filter(|_| self.watch.is_none());
        if answered {
            // Time goes on for who may be dead.
            return due.map(|due| due.min(now + SILENCE));
        }
        Some(due.unwrap_or_default().max(now + SILENCE))
    }

    /// Whether everything is to be read now.
    fn is_due(&self, now: Duration) -> bool {
        self.anew.map_or(self.watch.is_none(), |due| due <= now)
    }
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
            (following.watch, following.anew) = (None, None);
        }
        let anew = following.is_due(self.time.now());
        // Without a part in the cluster one may still look at it.
        let phase = self.state().phase.clone();
        if !matches!(phase, Phase::Superseded(_)) {
            self.join()?;
            let now = self.time.now();
            if anew || following.format_due <= now {
                // Who has just joined has looked.
                if let Phase::Joined(_) = phase {
                    self.look_at_format()?;
                }
                following.format_due = now + FORMAT_LOOK;
            }
        }
        if anew {
            return self.begin(following);
        }
        let Some(watch) = &mut following.watch else {
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
                self.read_anew(following);
                Ok(())
            }
        };
        if seen.is_err() {
            following.watch = None;
        }
        seen.and_then(|()| self.standing())
    }

    /// Reads everything, and follows from then on. Where that fails, what was followed goes on to be
    /// until it is tried again, and hosts try at different times.
    fn begin(&self, following: &mut Following) -> Result<()> {
        let read = self.read_everything();
        let now = self.time.now();
        let (made, touched) = match read {
            Ok(read) => {
                following.watch = Some(read.watch);
                (following.was_away, following.anew, following.failures) = (false, None, 0);
                (read.made, read.touched)
            }
            Err(error) => {
                let wait = (SILENCE * (1 << following.failures.min(8))).min(SLOWEST);
                following.failures += 1;
                following.anew = Some(now + wait + self.spread());
                return Err(error);
            }
        };
        if let Err(error) = self.look_at_own(&made, &touched) {
            following.anew = Some(now + self.spread());
            return Err(error);
        }
        self.standing()
    }

    /// A time that differs among hosts, the longer the more they are.
    pub(crate) fn spread(&self) -> Duration {
        let hosts = u32::try_from(self.state().mirror.hosts.len()).unwrap_or(u32::MAX);
        let spread = SPREAD.saturating_mul(hosts).min(WIDEST);
        let [bits, ..] = (self.settings.random)();
        spread * u32::from(bits) / 256
    }

    /// Has everything read once more where the store was away, or this host was, though the watch
    /// tells what changed: the store may be an older one by now, in which others have written since.
    /// Hosts do so at different times.
    fn after_absence(&self, following: &mut Following) {
        let lapsed = std::mem::take(&mut self.state().lapsed);
        if !(std::mem::take(&mut following.was_away) || lapsed) || following.anew.is_some() {
            return;
        }
        self.read_anew(following);
    }

    /// Has everything read once more, at another time than other hosts to which the same happened. Until
    /// then the store may be an older one.
    fn read_anew(&self, following: &mut Following) {
        self.state().doubted = true;
        following.anew = Some(self.time.now() + self.spread());
    }

    /// Refuses where this host only looks on.
    fn standing(&self) -> Result<()> {
        let phase = self.state().phase.clone();
        match phase {
            Phase::Superseded(_) => Err(self.outside(&phase)),
            _ => self.may_write(),
        }
    }

    /// Reads everything into the mirror.
    fn read_everything(&self) -> Result<Read> {
        let former = {
            let mut state = self.state();
            (
                std::mem::take(&mut state.made),
                state.mirror.begin_reading(),
            )
        };
        let (records, watch) = self.fetch_everything().inspect_err(|_| {
            // What was followed goes on, and may lie behind what this host did before.
            let mut state = self.state();
            state.made.extend(former.0);
            state.mirror.go_on_from(former.1);
        })?;
        let own = self.own_among(&records).cloned();
        let now = self.time.now();
        let mut state = self.state();
        let made = state.made.clone();
        let seen = state.mirror.replace(records, &made, now);
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
        Ok(Read {
            watch,
            made: made.into_iter().collect(),
            touched,
        })
    }

    fn own_among<'a>(&self, records: &'a [Record]) -> Option<&'a Record> {
        let own = Shared::Host(self.settings.host).key();
        records.iter().find(|record| record.key == own)
    }

    /// All records, and what tells how they change.
    fn fetch_everything(&self) -> Result<(Vec<Record>, Box<dyn Watch>)> {
        let (records, watch) = self
            .store
            .follow(keys::SHARED)
            .map_err(crate::core::unavailable)?;
        let joined = matches!(self.state().phase, Phase::Joined(_));
        let own_is_gone = joined && self.own_among(&records).is_none();
        self.confirm_loss(&self.missing_networks(&records), own_is_gone)?;
        Ok((records, watch))
    }

    /// Looks at what this host did while the records were read: others may have undone it meanwhile.
    fn look_at_own(&self, made: &[NetworkId], touched: &[ServiceId]) -> Result<()> {
        for network in made {
            self.look_at_made(*network)?;
        }
        for service in touched {
            self.take_up_service(*service)?;
        }
        Ok(())
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
        state.changed(&changes);
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
