//! Whether the other hosts live.
//!
//! Owns what counts as alive, away and dead. A daemon that no longer renews its presence may be the
//! end of its host or of itself alone: its kernel goes on to carry its endpoints' packets then. Who
//! asks that kernel is another's part.

use super::{Host, Mirror, Seen};
use crate::record;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};
use vw_model::HostId;
use vw_store::cluster::Version;

/// How long the kernel of a host that is away may be silent before the host counts as dead: a few
/// questions of [`crate::pulse`].
pub(crate) const SILENT: Duration = Duration::from_secs(4);

/// Whether a host's daemon lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Life {
    #[default]
    Dead,
    Alive,
    /// Its daemon stopped in order and left a presence behind, by which it counts as alive for a
    /// grace, unless its kernel falls silent meanwhile.
    Stopped,
    /// Its presence is gone; it counts as alive until this time, in case it only has to renew it.
    Doubtful(Duration),
    /// It did not renew it, and its kernel answers.
    Away,
}

impl Host {
    /// Whether its daemon lives, or may.
    pub(crate) const fn lives(&self) -> bool {
        self.is_present() || matches!(self.life, Life::Doubtful(_))
    }

    /// Whether it counts as alive by its presence.
    pub(super) const fn is_present(&self) -> bool {
        matches!(self.life, Life::Alive | Life::Stopped)
    }

    /// Whether it is a member whose daemon does not live.
    pub(crate) const fn is_lost(&self) -> bool {
        self.record.is_some() && !self.lives()
    }
}

impl Mirror {
    /// Takes up what the local copy says of a host; the kernel of one that was away has time to
    /// answer.
    pub(super) fn restore_life(&mut self, id: HostId, away: bool, now: Duration) {
        let host = self.host(id);
        if away {
            (host.life, host.heard) = (Life::Away, Some(now));
            self.doubted.insert(id);
        } else {
            host.life = Life::Alive;
        }
    }

    /// Takes a host's presence. One that it left behind says nothing new when it is read once more.
    pub(super) fn put_presence(
        &mut self,
        id: HostId,
        value: &[u8],
        version: Version,
        seen: &mut Seen,
    ) {
        let me = self.me;
        let host = self.host(id);
        if value == record::STOPPED && id != me {
            let known = host.left.replace(version) == Some(version);
            if !known || host.life == Life::Alive {
                (host.life, host.heard) = (Life::Stopped, None);
                self.doubted.insert(id);
            }
        } else {
            (host.life, host.left) = (Life::Alive, None);
        }
        self.refresh_host(id, false, seen);
    }

    /// Whether a host is dead in spite of this presence, which it left behind.
    pub(crate) fn outlived(&self, id: HostId, presence: Version) -> bool {
        let host = self.hosts.get(&id);
        host.is_some_and(|host| host.left == Some(presence) && host.life == Life::Dead)
    }

    pub(super) fn doubt(&mut self, id: HostId, until: Duration) {
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        if host.is_present() {
            (host.life, host.heard) = (Life::Doubtful(until), None);
            self.doubted.insert(id);
        }
    }

    /// Decides on hosts that were in doubt for too long, and on those that are away.
    pub(crate) fn tick(&mut self, now: Duration) -> Seen {
        let mut seen = Seen::default();
        for id in self.doubted.clone() {
            let Some(life) = self.hosts.get(&id).map(|host| host.life) else {
                self.doubted.remove(&id);
                continue;
            };
            match life {
                Life::Doubtful(until) if until > now => {}
                // One that never answered may be behind a firewall: its grace is all there is.
                Life::Stopped if !self.fell_silent(id, now) => {}
                Life::Doubtful(_) | Life::Away | Life::Stopped => self.decide(id, now, &mut seen),
                Life::Alive | Life::Dead => drop(self.doubted.remove(&id)),
            }
        }
        seen
    }

    fn fell_silent(&self, id: HostId, now: Duration) -> bool {
        let host = self.hosts.get(&id);
        host.is_some_and(|host| host.heard.is_some()) && !self.is_heard(id, now)
    }

    fn decide(&mut self, id: HostId, now: Duration, seen: &mut Seen) {
        let answers = self.is_heard(id, now);
        self.host(id).life = if answers { Life::Away } else { Life::Dead };
        if !answers {
            self.doubted.remove(&id);
        }
        self.refresh_host(id, false, seen);
        self.drop_if_empty(id);
    }

    /// Whether a member's kernel answered just now, and that of nobody else at its address: a host
    /// whose disk was emptied is another one, which knows nothing of what it had.
    fn is_heard(&self, id: HostId, now: Duration) -> bool {
        let Some(host) = self.hosts.get(&id) else {
            return false;
        };
        let Some(at) = host.record.as_ref().map(|known| known.record.advertise) else {
            return false;
        };
        let mut others = self.hosts.iter().filter(|(other, _)| **other != id);
        let replaced = others.any(|(other, host)| {
            let known = host.record.as_ref().map(|known| known.record.advertise);
            known == Some(at) && (host.life == Life::Alive || *other == self.me)
        });
        host.heard.is_some_and(|heard| heard + SILENT > now) && !replaced
    }

    /// Those whose kernels are to be asked, and where.
    pub(crate) fn to_ask(&self) -> BTreeMap<HostId, IpAddr> {
        let doubted = self.doubted.iter().filter_map(|id| {
            let host = self.hosts.get(id).filter(|host| host.life != Life::Alive)?;
            Some((*id, host.record.as_ref()?.record.advertise))
        });
        doubted.collect()
    }

    /// Takes that these kernels answered.
    pub(crate) fn heard(&mut self, hosts: &BTreeSet<HostId>, now: Duration) {
        for id in hosts {
            if let Some(host) = self.hosts.get_mut(id) {
                host.heard = Some(now);
            }
        }
    }
}
