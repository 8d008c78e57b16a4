//! A host's keys over time: kept in their file, and changed when it is time to.
//!
//! Owns the file and the order of a change. It must not know who carries packets, nor how hosts
//! tell each other of their keys.

use super::{
    KeyFileError, KeyRing, PrivateKey, Rotation, Step,
    clock::{Reading, WallClock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};
use vw_model::{HostId, OtherHosts, PublicKey, RemoteHost, TunnelKeys};

/// How long a host may leave a next key unanswered before it is named.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it is at most until the wall clock is looked at again.
const LOOK: Duration = Duration::from_secs(30);
/// What counts as a revision here: hosts answer for the key itself, not for a record's version.
const TOLD: u64 = 1;
/// And what of a host that has not.
const MISSING: u64 = 0;

/// A host's keys.
pub struct KeyHolder {
    file: PathBuf,
    ring: KeyRing,
    rotation: Rotation,
    clock: WallClock,
    awaiting: Option<Awaiting>,
    answers: Option<Answers>,
}

/// Which of the other hosts do not accept a next key yet: kept, so that one that changes costs the
/// look at that one.
struct Answers {
    next: PublicKey,
    /// Whether the store was seen to have it.
    is_told: bool,
    /// With what counts as a revision of none.
    missing: BTreeMap<HostId, u64>,
}

/// A next key that hosts have not answered for.
struct Awaiting {
    since: Instant,
    /// Whether they were named.
    said: bool,
}

impl KeyHolder {
    /// The keys in a file, which is made when it is not there; each is used for so long.
    ///
    /// # Errors
    /// When there is no file and none can be made, or it cannot be read.
    pub fn open(file: PathBuf, period: Duration) -> Result<Self, KeyFileError> {
        Ok(Self {
            ring: KeyRing::open(&file, SystemTime::now())?,
            rotation: Rotation::new(period),
            clock: WallClock::open(file.with_extension("seen")),
            awaiting: None,
            answers: None,
            file,
        })
    }

    /// The key in use.
    #[must_use]
    pub const fn current(&self) -> &PrivateKey {
        &self.ring.current
    }

    /// The key that was in use before.
    #[must_use]
    pub const fn former(&self) -> Option<&PrivateKey> {
        self.ring.former.as_ref()
    }

    /// What a host on which something encrypted stands tells of them, with the port that takes
    /// encrypted packets; without the keys of others that it has taken in.
    #[must_use]
    pub fn keys(&self, port: u16) -> TunnelKeys {
        TunnelKeys {
            public: self.ring.current.public(),
            next: self.ring.next.as_ref().map(PrivateKey::public),
            port,
            taken: BTreeSet::new(),
            idle: false,
            woke: 0,
        }
    }

    /// Changes keys when it is time to and the others accept the next one; gives the time after
    /// which it is to be asked again, if nothing happens before.
    ///
    /// `told` is the next key that the store was seen to have when `others` were read, or before. Of
    /// the others all that changed since the last call must count as changed.
    ///
    /// # Errors
    /// When a key cannot be made or kept; nothing changed then.
    pub fn change(
        &mut self,
        others: &OtherHosts,
        told: Option<PublicKey>,
    ) -> Result<Duration, KeyFileError> {
        self.change_at(others, told, Reading::now())
    }

    fn change_at(
        &mut self,
        others: &OtherHosts,
        told: Option<PublicKey>,
        now: Reading,
    ) -> Result<Duration, KeyFileError> {
        self.hear(others, told);
        let set_back = self.clock.is_set_back(now);
        if set_back && self.ring.next.is_none() {
            self.begin()?;
            tracing::warn!("the wall clock was set back: the encrypted tunnel gets another key");
        }
        loop {
            self.count(others, told);
            let none = BTreeMap::new();
            let missing = self
                .answers
                .as_ref()
                .map_or(&none, |answers| &answers.missing);
            match self.rotation.step(&self.ring, now.wall, missing) {
                Step::Wait(time) => return Ok(time.min(LOOK)),
                Step::Begin => self.begin()?,
                // Whoever asks for the keys tells them; that they arrived is what is waited for.
                Step::Tell => self.rotation.told(TOLD),
                Step::Await(hosts) => {
                    self.name_silent(&hosts, others);
                    return Ok(ANSWER);
                }
                Step::Use => {
                    let mut ring = self.ring.clone();
                    ring.advance(now.wall);
                    ring.save(&self.file)?;
                    self.ring = ring;
                    self.clock.begin_anew(now);
                    self.rotation.used();
                    self.awaiting = None;
                    tracing::info!("the encrypted tunnel has another key");
                }
            }
        }
    }

    /// Makes a next key.
    fn begin(&mut self) -> Result<(), KeyFileError> {
        let key = PrivateKey::generate().map_err(|source| KeyFileError::Io {
            path: self.file.clone(),
            action: "make a key for",
            source,
        })?;
        let mut ring = self.ring.clone();
        ring.begin(key);
        ring.save(&self.file)?;
        self.ring = ring;
        Ok(())
    }

    /// Takes what the hosts that changed answer to the key that is next already.
    fn hear(&mut self, others: &OtherHosts, told: Option<PublicKey>) {
        let Some(answers) = &mut self.answers else {
            return;
        };
        if others.is_whole() || answers.is_told != (told == Some(answers.next)) {
            self.answers = None;
            return;
        }
        for id in others.changed() {
            match others.get(id).is_some_and(|host| answers.lack(host)) {
                true => drop(answers.missing.insert(id, MISSING)),
                false => drop(answers.missing.remove(&id)),
            }
        }
    }

    /// Looks at all hosts where there is a next key that none was asked about.
    fn count(&mut self, others: &OtherHosts, told: Option<PublicKey>) {
        let next = self.ring.next.as_ref().map(PrivateKey::public);
        if self.answers.as_ref().map(|answers| answers.next) == next {
            return;
        }
        self.answers = next.map(|next| {
            let mut answers = Answers {
                next,
                is_told: told == Some(next),
                missing: BTreeMap::new(),
            };
            let missing = others.iter().filter(|host| answers.lack(host));
            answers.missing = missing.map(|host| (host.id, MISSING)).collect();
            answers
        });
    }

    /// Says, once, which hosts leave a next key unanswered for long.
    fn name_silent(&mut self, silent: &BTreeSet<HostId>, others: &OtherHosts) {
        let awaiting = self.awaiting.get_or_insert_with(|| Awaiting {
            since: Instant::now(),
            said: false,
        });
        if awaiting.said || awaiting.since.elapsed() < ANSWER {
            return;
        }
        awaiting.said = true;
        let silent = silent.iter().filter_map(|id| others.get(*id));
        let names: Vec<&str> = silent.map(|host| host.name.as_str()).collect();
        tracing::warn!(
            "the encrypted tunnel keeps its key, as hosts do not take in the next one: {}",
            names.join(", ")
        );
    }
}

impl Answers {
    /// Whether a host does not accept the key. One that is idle does once the key is told: it tells
    /// that it wakes, and reads all keys after that.
    fn lack(&self, host: &RemoteHost) -> bool {
        // One without keys has no tunnel.
        host.keys.as_ref().is_some_and(|keys| {
            let reads_it = keys.idle && self.is_told;
            !reads_it && !keys.taken.contains(&self.next)
        })
    }
}

#[cfg(test)]
mod tests;
