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

/// How much longer a host stays in doubt whose kernel was not asked yet.
const ASKED: Duration = Duration::from_secs(3);

/// The longest that a host counts as away: its machine may have been set up anew without a daemon, or
/// its address be somebody else's, which this host cannot tell.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// What a kernel said since its host's daemon is gone. Time in which it could not be asked is no
/// silence.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    /// When it was asked last.
    asked: Option<Duration>,
    /// When it answered last.
    answered: Option<Duration>,
}

impl Heard {
    const fn at(now: Duration) -> Self {
        Self {
            asked: Some(now),
            answered: Some(now),
        }
    }

    /// Whether it answered, and did not fall silent since.
    fn answers(&self) -> bool {
        let Self { asked, answered } = *self;
        answered.is_some_and(|at| asked.is_none_or(|asked| asked < at + SILENT))
    }
}

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
            (host.life, host.heard) = (Life::Away, Heard::at(now));
            host.away_since = Some(now);
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
            if !known || matches!(host.life, Life::Alive | Life::Doubtful(_)) {
                (host.life, host.heard) = (Life::Stopped, Heard::default());
                self.doubted.insert(id);
            }
        } else {
            (host.life, host.left) = (Life::Alive, None);
            host.away_since = None;
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
            (host.life, host.heard) = (Life::Doubtful(until), Heard::default());
            self.doubted.insert(id);
        }
    }

    /// Decides on hosts that were in doubt for too long, and on those whose kernels were asked.
    pub(crate) fn tick(&mut self, now: Duration) -> Seen {
        let mut seen = Seen::default();
        if self.doubted.is_empty() {
            return seen;
        }
        let asked = std::mem::take(&mut self.asked);
        let mut taken = None;
        for id in self.doubted.clone() {
            let Some(host) = self.hosts.get(&id) else {
                self.doubted.remove(&id);
                continue;
            };
            let heard = host.heard;
            match host.life {
                Life::Doubtful(until) if until > now => {}
                Life::Doubtful(until)
                    if self.asks && heard.asked.is_none() && until + ASKED > now => {}
                // One that never answered may be behind a firewall: its grace is all there is.
                Life::Stopped if heard.answered.is_none() || heard.answers() => {}
                // Who is no member any more is not asked.
                Life::Away | Life::Stopped if !asked && host.record.is_some() => {}
                Life::Doubtful(_) | Life::Away | Life::Stopped => {
                    let taken = taken.get_or_insert_with(|| self.addresses_of_the_living());
                    let is_away = self.is_away(id, now, taken);
                    self.decide(id, is_away.then_some(now), &mut seen);
                }
                Life::Alive | Life::Dead => drop(self.doubted.remove(&id)),
            }
        }
        seen
    }

    /// Takes that a host is away, since now if it was not, or dead.
    fn decide(&mut self, id: HostId, away: Option<Duration>, seen: &mut Seen) {
        let host = self.host(id);
        let former = host.life;
        host.life = away.map_or(Life::Dead, |_| Life::Away);
        if host.life == former {
            return;
        }
        host.away_since = away;
        if away.is_none() {
            self.doubted.remove(&id);
        }
        self.refresh_host(id, false, seen);
        self.drop_if_empty(id);
    }

    /// Whether a member's kernel answers, and that of nobody else at its address: a host whose disk was
    /// emptied is another one, which knows nothing of what it had.
    fn is_away(&self, id: HostId, now: Duration, taken: &BTreeSet<IpAddr>) -> bool {
        let host = self.hosts.get(&id);
        let known = host.and_then(|host| Some((host, host.record.as_ref()?.record.advertise)));
        known.is_some_and(|(host, at)| {
            let lately = host.away_since.is_none_or(|since| now < since + LONGEST);
            host.heard.answers() && lately && !taken.contains(&at)
        })
    }

    /// Where this host and those are whose daemons live.
    fn addresses_of_the_living(&self) -> BTreeSet<IpAddr> {
        let living = self.hosts.iter();
        let living = living.filter(|(id, host)| host.life == Life::Alive || **id == self.me);
        let known = living.filter_map(|(_, host)| host.record.as_ref());
        known.map(|known| known.record.advertise).collect()
    }

    /// Those whose kernels are to be asked, and where.
    pub(crate) fn to_ask(&self) -> BTreeMap<HostId, IpAddr> {
        let doubted = self.doubted.iter().filter_map(|id| {
            let host = self.hosts.get(id).filter(|host| host.life != Life::Alive)?;
            Some((*id, host.record.as_ref()?.record.advertise))
        });
        doubted.collect()
    }

    /// Takes which of these kernels answered that were asked.
    pub(crate) fn heard(
        &mut self,
        asked: &BTreeSet<HostId>,
        answering: &BTreeSet<HostId>,
        now: Duration,
    ) {
        self.asked = true;
        for id in asked {
            if let Some(host) = self.hosts.get_mut(id) {
                host.heard.asked = Some(now);
                if answering.contains(id) {
                    host.heard.answered = Some(now);
                }
            }
        }
    }
}
