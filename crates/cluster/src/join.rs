//! How this host belongs to its cluster: it joins, says that it lives, and learns that it was
//! forgotten.
//!
//! Owns the host's own record. Its presence is only for others to see: nothing is safe or unsafe
//! by it.

use crate::{
    Delta,
    copy::Identity,
    core::{Core, Phase, State, contended, unavailable},
    holdings::Holdings,
    keys::{self, Shared},
    mirror::Known,
    record::{self, HostRecord},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vw_model::{Error, HostId, Id, Result};
use vw_store::cluster::{
    ClusterError, Condition, Outcome, Presence, Record, Transaction, Version, Write,
};

/// How often joining is tried before the next round; each time another host or a former attempt
/// of this one came in between.
const ATTEMPTS: usize = 4;

/// Between an instance that a host's disk knows and the name of a run that it does not.
const BESIDE: char = '+';

/// What a host's disk knows of an instance, and the run that it does not know.
pub(crate) fn parts(instance: &str) -> (&str, Option<&str>) {
    match instance.split_once(BESIDE) {
        Some((noted, run)) => (noted, Some(run)),
        None => (instance, None),
    }
}

impl Core {
    /// Makes this host part of the cluster, if it is not yet. One that was part of it before and
    /// is not any more has been forgotten.
    pub(crate) fn join(&self) -> Result<()> {
        let phase = self.state().phase.clone();
        match phase {
            Phase::Joined(_) => return Ok(()),
            Phase::Joining => {}
            other => return Err(self.outside(&other)),
        }
        self.check_format()?;
        for _ in 0..ATTEMPTS {
            if let Some(version) = self.try_to_join()? {
                let mut state = self.state();
                if state.phase == Phase::Joining {
                    state.phase = Phase::Joined(version);
                    state.replaces_former = false;
                    state.deltas.push(Delta::Joined);
                }
                drop(state);
                self.wake();
                return Ok(());
            }
        }
        Err(contended())
    }

    /// One attempt; gives the version of this host's record when it stands.
    fn try_to_join(&self) -> Result<Option<Version>> {
        let own = Shared::Host(self.settings.host).key();
        let mut identity = self.copy.identity()?;
        // Before the record is found to be missing, lest it be forgotten in between.
        let forgotten = self.as_it_is(keys::FORGOTTEN)?;
        let found = self.get(&own)?;
        let condition = match &found {
            None if identity.confirmed.is_some() => return Err(self.was_forgotten()),
            None => Condition::Absent(own.clone()),
            Some(Record { value, version, .. }) => {
                let instance = record::decode::<HostRecord>(value)
                    .ok()
                    .map(|host| host.instance);
                let tried = |instance: &String| identity.tried.contains(instance);
                if instance
                    .as_ref()
                    .is_some_and(|found| tried(found) && found.starts_with(&self.copy.run))
                {
                    // An attempt of which nobody could tell whether it came through.
                    let member = identity.confirmed.is_some();
                    identity.confirm(instance);
                    match self.copy.set_identity(&identity) {
                        // It is known as one that was tried.
                        Err(error) if member => tracing::warn!("{}", error.chain()),
                        noted => noted?,
                    }
                    return Ok(Some(*version));
                }
                let known = instance.as_ref().is_some_and(|found| {
                    let (noted, _) = parts(found);
                    tried(found) || identity.knows(noted)
                });
                let replaces = self.state().replaces_former;
                if identity.confirmed.is_some() && !known && !replaces {
                    return Err(self.was_forgotten());
                }
                Condition::Unchanged(own.clone(), *version)
            }
        };
        let instance = self.instance(&mut identity, found.as_ref())?;
        let (_, unnoted) = parts(&instance);
        let unnoted = unnoted.is_some();
        let record = record::encode(&self.host_record(instance));
        let transaction = Transaction {
            conditions: vec![condition, forgotten],
            writes: vec![Write::Put(own.clone(), record.clone())],
        };
        match self.store.commit(&transaction) {
            Ok(Outcome::Applied) if unnoted => {
                let stands = self.get(&own)?.filter(|found| found.value == record);
                return Ok(stands.map(|found| found.version));
            }
            // The next round finds the record and its version.
            Ok(Outcome::Applied | Outcome::Refused) | Err(ClusterError::Uncertain { .. }) => {}
            Err(error) => return Err(unavailable(error)),
        }
        Ok(None)
    }

    /// By which instance this host tries to join, which its disk has to know before the store does. Where
    /// the disk takes nothing, it is the one with which it belongs to the cluster already, and this
    /// run's name besides: the others need not miss it, and what its former run left under way is void by
    /// then all the same.
    fn instance(&self, identity: &mut Identity, found: Option<&Record>) -> Result<String> {
        let last = identity.tried.last();
        if let Some(tried) = last.filter(|tried| tried.starts_with(&self.copy.run)) {
            return Ok(tried.clone());
        }
        let random = Id::from_bytes((self.settings.random)());
        let instance = format!("{}-{}", self.copy.run, random.short());
        identity.tried.push(instance.clone());
        let Err(error) = self.copy.set_identity(identity) else {
            return Ok(instance);
        };
        identity.tried.pop();
        let stands = found.and_then(|found| record::decode::<HostRecord>(&found.value).ok());
        let stands = stands.map(|stands| parts(&stands.instance).0.to_owned());
        let member = |noted: &String| identity.confirmed.is_some() && identity.knows(noted);
        let noted = stands.filter(member).ok_or(error)?;
        Ok(format!("{noted}{BESIDE}{}", self.copy.run))
    }

    fn host_record(&self, instance: String) -> HostRecord {
        // A clock before 1970 is shown as 1970.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        HostRecord {
            name: self.settings.name.clone(),
            advertise: self.settings.advertise,
            version: self.settings.version.clone(),
            instance,
            since: since.unwrap_or_default().as_secs(),
        }
    }

    /// Another host with this one's address is most likely this one before its disk was emptied.
    pub(crate) fn warn_of_namesakes(&self) {
        let state = self.state();
        for (id, host) in &state.mirror.hosts {
            let Some(Known { record: other, .. }) = &host.record else {
                continue;
            };
            if *id != self.settings.host && other.advertise == self.settings.advertise {
                tracing::warn!(
                    "host {} ({}) advertises this host's address {}: if it is this host before \
                     its data was lost, give it up by: vethwork cluster forget {}",
                    other.name,
                    id.short(),
                    other.advertise,
                    id.short()
                );
            }
        }
    }

    /// Notes that this host is no longer part of the cluster.
    fn was_forgotten(&self) -> Error {
        self.state().phase = Phase::Forgotten;
        self.outside(&Phase::Forgotten)
    }

    /// Lets the follower take everything down after this host was forgotten, and forgets what it
    /// held, so that it can join again.
    pub(crate) fn start_over(&self) -> Result<()> {
        tracing::error!("this host was forgotten: its endpoints on global networks are taken down");
        self.follower.follow(vec![Delta::Forgotten]);
        self.follower.has_left()?;
        let turn = self.turn()?;
        {
            let mut state = self.state();
            state.holdings = Holdings::default();
            state.doubts.clear();
            state.due.clear();
            state.marks.forget();
            state.outbox.forget_all();
            state.keys.forget();
            state.unpublished.forget();
        }
        self.copy.wipe()?;
        drop(turn);
        self.state().phase = Phase::Joining;
        Ok(())
    }

    /// One step of the presence: announces or renews it, and says when the next is due.
    pub(crate) fn keep_present(&self, presence: &mut Option<Box<dyn Presence>>) -> Duration {
        let third = self.settings.ttl / 3;
        let joined = |state: &State| matches!(state.phase, Phase::Joined(_));
        if !joined(&self.state()) {
            // One that does not belong to the cluster any more is not missed.
            *presence = None;
            return third;
        }
        let result = match presence {
            Some(present) => present.renew(),
            None => self
                .announce(record::PRESENT, self.settings.ttl)
                .map(|new| *presence = Some(new)),
        };
        let looked = result.map(|()| self.look_at_marks());
        match looked {
            Ok(Ok(_)) => third,
            Ok(Err(error)) => {
                tracing::debug!("what was written last: {}", error.chain());
                third
            }
            Err(ClusterError::Expired { .. }) => {
                *presence = None;
                // Who was away for so long may have missed that the store is an older one.
                self.state().lapsed = true;
                Duration::ZERO
            }
            Err(error) => {
                tracing::debug!("presence: {error}");
                third.min(Duration::from_secs(1))
            }
        }
    }

    /// Leaves a presence behind that lasts for the grace of a clean stop, and says that it is one:
    /// where the whole host is about to end, nobody has to wait for its end.
    pub(crate) fn leave_presence(&self) {
        let joined = matches!(self.state().phase, Phase::Joined(_));
        if joined && let Err(error) = self.announce(record::STOPPED, self.settings.grace) {
            tracing::debug!("presence: {error}");
        }
    }

    fn announce(&self, what: &[u8], ttl: Duration) -> Result<Box<dyn Presence>, ClusterError> {
        let key = Shared::Alive(self.settings.host).key();
        self.store.announce(&key, what, ttl)
    }

    /// What holds as long as a host is dead by the store; `None` where it lives. The presence of one
    /// that stopped in order counts for nothing once its kernel has fallen silent.
    pub(crate) fn death(&self, host: HostId) -> Result<Option<Condition>> {
        let key = Shared::Alive(host).key();
        Ok(match self.get(&key)? {
            None => Some(Condition::Absent(key)),
            Some(found) => {
                let dead = self.state().mirror.outlived(host, found.version);
                dead.then_some(Condition::Unchanged(key, found.version))
            }
        })
    }
}
