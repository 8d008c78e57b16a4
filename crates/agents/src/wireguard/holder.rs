//! A host's keys over time: kept in their file, and changed when it is time to.
//!
//! Owns the file and the order of a change. It must not know who carries packets, nor how hosts
//! tell each other of their keys.

use super::{KeyFileError, KeyRing, PrivateKey, Rotation, Step};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};
use vw_model::{HostId, PublicKey, RemoteHost, TunnelKeys};

/// How long a host may leave a next key unanswered before it is named.
const ANSWER: Duration = Duration::from_secs(60);
/// What counts as a revision here: hosts answer for the key itself, not for a record's version.
const TOLD: u64 = 1;

/// A host's keys.
pub struct KeyHolder {
    file: PathBuf,
    ring: KeyRing,
    rotation: Rotation,
    awaiting: Option<Awaiting>,
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
            awaiting: None,
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
    /// `told` is the next key that the store was seen to have when `others` were read, or before.
    ///
    /// # Errors
    /// When a key cannot be made or kept; nothing changed then.
    pub fn change(
        &mut self,
        others: &[RemoteHost],
        told: Option<PublicKey>,
    ) -> Result<Duration, KeyFileError> {
        loop {
            let now = SystemTime::now();
            let answers = answers(&self.ring, others, told);
            match self.rotation.step(&self.ring, now, &answers) {
                Step::Wait(time) => return Ok(time),
                Step::Begin => {
                    let key = PrivateKey::generate().map_err(|source| KeyFileError::Io {
                        path: self.file.clone(),
                        action: "make a key for",
                        source,
                    })?;
                    let mut ring = self.ring.clone();
                    ring.begin(key);
                    ring.save(&self.file)?;
                    self.ring = ring;
                }
                // Whoever asks for the keys tells them; that they arrived is what is waited for.
                Step::Tell => self.rotation.told(TOLD),
                Step::Await(hosts) => {
                    self.name_silent(&hosts, others);
                    return Ok(ANSWER);
                }
                Step::Use => {
                    let mut ring = self.ring.clone();
                    ring.advance(now);
                    ring.save(&self.file)?;
                    self.ring = ring;
                    self.rotation.used();
                    self.awaiting = None;
                    tracing::info!("the encrypted tunnel has another key");
                }
            }
        }
    }

    /// Says, once, which hosts leave a next key unanswered for long.
    fn name_silent(&mut self, silent: &BTreeSet<HostId>, others: &[RemoteHost]) {
        let awaiting = self.awaiting.get_or_insert_with(|| Awaiting {
            since: Instant::now(),
            said: false,
        });
        if awaiting.said || awaiting.since.elapsed() < ANSWER {
            return;
        }
        awaiting.said = true;
        let silent = others.iter().filter(|host| silent.contains(&host.id));
        let names: Vec<&str> = silent.map(|host| host.name.as_str()).collect();
        tracing::warn!(
            "the encrypted tunnel keeps its key, as hosts do not take in the next one: {}",
            names.join(", ")
        );
    }
}

/// Which of the other hosts accept the next key. One that is idle does once the key is told: it
/// tells that it wakes, and reads all keys after that.
fn answers(
    ring: &KeyRing,
    others: &[RemoteHost],
    told: Option<PublicKey>,
) -> BTreeMap<HostId, u64> {
    let next = ring.next.as_ref().map(PrivateKey::public);
    let mut answers = BTreeMap::new();
    for host in others {
        // One without keys has no tunnel.
        if let Some(keys) = &host.keys {
            let reads_it = keys.idle && told == next;
            let accepts = next.is_some_and(|next| reads_it || keys.taken.contains(&next));
            answers.insert(host.id, if accepts { TOLD } else { 0 });
        }
    }
    answers
}

#[cfg(test)]
mod tests;
