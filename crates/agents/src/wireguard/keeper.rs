//! The tunnel kept up: somebody carries its packets, under the keys of the day.
//!
//! Owns the key file and the steps of a change of keys, and that whoever carries is there and told.
//! It must not know the store: it is told who the peers are and what they have taken in, and says
//! when the host's record must be written.

use super::{
    KeyFileError, KeyRing, Peer, PrivateKey, Rotation, Step, Tun,
    agent::{Agent, AgentError},
};
use std::{
    collections::BTreeMap,
    io,
    net::UdpSocket,
    path::PathBuf,
    time::{Duration, SystemTime},
};
use vw_model::{HostId, PublicKey};

/// Why the tunnel is not kept up.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The key file.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The process of user space.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The system gave no randomness, no link or no socket.
    #[error("cannot {action} the encrypted tunnel")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Who carries the tunnel's packets: a process of user space, or the kernel.
pub trait Carrier {
    /// Makes packets pass under these keys to these peers. What does so already is left alone, so
    /// it may be called again at any time, and mends what was lost.
    ///
    /// # Errors
    /// When it cannot; then no packet passes that should not.
    fn carry(&self, ring: &KeyRing, peers: &[Peer]) -> Result<(), KeepError>;
}

/// The process of user space ([`agent`](super::agent)).
pub struct UserSpace<F> {
    /// This binary.
    pub program: PathBuf,
    /// Where the process serves.
    pub socket: PathBuf,
    /// Opens the link and binds the sockets, when a process starts.
    pub open: F,
}

impl<F> Carrier for UserSpace<F>
where
    F: Fn() -> Result<(Tun, Vec<UdpSocket>), Box<dyn std::error::Error + Send + Sync>>,
{
    fn carry(&self, ring: &KeyRing, peers: &[Peer]) -> Result<(), KeepError> {
        let (agent, used) = self.there()?;
        let current = ring.current.public();
        match used {
            Some(used) if used == current => {}
            Some(_) => agent.rotate(&ring.current)?,
            None => {
                let (tun, sockets) = (self.open)().map_err(|source| KeepError::System {
                    action: "open the link of",
                    source,
                })?;
                // Others may still ask for sessions under the former key.
                let first = ring.former.as_ref().unwrap_or(&ring.current);
                agent.start(&tun, &sockets, first)?;
                if ring.former.is_some() {
                    agent.rotate(&ring.current)?;
                }
            }
        }
        Ok(agent.set_peers(peers)?)
    }
}

impl<F> UserSpace<F> {
    /// The process and the key that it uses; a new one where there is none that works.
    fn there(&self) -> Result<(Agent, Option<PublicKey>), KeepError> {
        match Agent::find(&self.socket) {
            Ok((agent, greeting)) if greeting.public.is_none() => return Ok((agent, None)),
            Ok((agent, greeting)) if agent.stats()?.lost == 0 => {
                return Ok((agent, greeting.public));
            }
            // Of another version, or its link was deleted under it.
            Ok(_) | Err(AgentError::Version) => Agent::stop(&self.socket)?,
            Err(AgentError::Away { source, .. })
                if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                    .contains(&source.kind()) => {}
            Err(error) => return Err(error.into()),
        }
        Ok((Agent::spawn(&self.program, &self.socket)?, None))
    }
}

/// A host's keys and who carries under them.
pub struct Keeper<C> {
    carrier: C,
    file: PathBuf,
    ring: KeyRing,
    rotation: Rotation,
    peers: Vec<Peer>,
}

impl<C: Carrier> Keeper<C> {
    /// Reads the key file, or makes it; carries nothing yet.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub fn open(
        carrier: C,
        file: PathBuf,
        period: Duration,
        now: SystemTime,
    ) -> Result<Self, KeepError> {
        Ok(Self {
            ring: KeyRing::open(&file, now)?,
            rotation: Rotation::new(period),
            peers: Vec::new(),
            carrier,
            file,
        })
    }

    /// What the host's record has to tell: the key in use, and the next one.
    #[must_use]
    pub fn keys(&self) -> (PublicKey, Option<PublicKey>) {
        let next = self.ring.next.as_ref().map(PrivateKey::public);
        (self.ring.current.public(), next)
    }

    /// Carries to these peers from now on.
    ///
    /// # Errors
    /// As [`Carrier::carry`]; [`Self::mend`] tries again.
    pub fn set_peers(&mut self, peers: Vec<Peer>) -> Result<(), KeepError> {
        self.peers = peers;
        self.mend()
    }

    /// Sees to it that somebody carries; call it some times a minute.
    ///
    /// # Errors
    /// As [`Carrier::carry`].
    pub fn mend(&self) -> Result<(), KeepError> {
        self.carrier.carry(&self.ring, &self.peers)
    }

    /// Goes on with the change of keys as far as it goes by itself, and says what is left:
    /// [`Step::Tell`] asks for the host's record to be written with [`Self::keys`] and then for
    /// [`Self::told`]; after [`Step::Use`] the record must be written too.
    ///
    /// `seen` is as [`Rotation::step`] takes it.
    ///
    /// # Errors
    /// When a key cannot be made or kept, which changes nothing, or not be carried under, which
    /// [`Self::mend`] tries again.
    pub fn step(
        &mut self,
        now: SystemTime,
        seen: &BTreeMap<HostId, u64>,
    ) -> Result<Step, KeepError> {
        let step = self.rotation.step(&self.ring, now, seen);
        let mut ring = self.ring.clone();
        match step {
            Step::Begin => {
                let next = PrivateKey::generate().map_err(|error| KeepError::System {
                    action: "make a key for",
                    source: error.into(),
                })?;
                ring.begin(next);
                ring.save(&self.file)?;
                self.ring = ring;
                Ok(Step::Tell)
            }
            Step::Use => {
                ring.advance(now);
                ring.save(&self.file)?;
                self.ring = ring;
                self.rotation.used();
                self.mend()?;
                Ok(Step::Use)
            }
            Step::Wait(_) | Step::Tell | Step::Await(_) => Ok(step),
        }
    }

    /// The record with the next key was written at this revision of the store.
    pub const fn told(&mut self, revision: u64) {
        self.rotation.told(revision);
    }
}

#[cfg(test)]
mod tests;
