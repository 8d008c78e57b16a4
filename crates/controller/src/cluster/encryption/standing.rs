//! What stands of encrypted networks on this host, and what is known of the others for that.
//!
//! Owns which of the others are still to be followed. It must not act on any of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use vw_cluster::Cluster;
use vw_hoststate::{Fragment, Owner};
use vw_model::{HostId, NetworkId, OtherHosts, PublicKey, TunnelKeys};

/// How long after a refusal it is tried again to take a tunnel away, and at most after more of them.
const FIRST: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(30);

/// What stands here.
#[derive(Default)]
pub(super) struct Standing {
    /// The encrypted networks.
    pub(super) networks: BTreeSet<NetworkId>,
    /// What they share, whoever the other hosts are.
    pub(super) ground: Fragment,
    /// How many are about to come.
    pub(super) coming: usize,
    /// Tells this time that something stands or comes from another.
    pub(super) woke: u64,
    /// The other hosts as they were read last. All count as changed while nothing stands, and those
    /// that did until all that stands is brought to them.
    pub(super) others: OtherHosts,
    /// The next keys of those, as far as they are accepted.
    pub(super) taken: BTreeMap<HostId, PublicKey>,
    /// What may be there still of a tunnel that nothing needs.
    pub(super) left: Option<Left>,
    /// What was told of ours last.
    pub(super) told: Option<TunnelKeys>,
}

/// A tunnel that nothing needs and that could not be taken away.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// When it was tried again last, and how long that is to do.
    tried: Option<(Instant, Duration)>,
    /// Why it did not go, as it was told last.
    told: String,
}

impl Left {
    /// How long it is still not to be tried again; none where it is time.
    pub(super) fn is_put_off(&self, now: Instant) -> Option<Duration> {
        let (tried, wait) = self.tried?;
        let left = (tried + wait).saturating_duration_since(now);
        Some(left).filter(|left| !left.is_zero())
    }

    /// It did not go. It may go on for long, and says the same then; answers when to try again, less often
    /// than before, as all is compared for it.
    pub(super) fn put_off(&mut self, now: Instant, why: String) -> Duration {
        if self.told != why {
            tracing::error!("the encrypted tunnel, which nothing needs, is still there: {why}");
            self.told = why;
        }
        let wait = self.tried.map_or(FIRST, |(_, wait)| (wait * 2).min(SELDOM));
        self.tried = Some((now, wait));
        wait
    }
}

impl Standing {
    /// Whether nothing is sent, nor soon will be.
    pub(super) fn is_idle(&self) -> bool {
        self.networks.is_empty() && self.coming == 0
    }

    /// Takes what changed of the other hosts.
    pub(super) fn read(&mut self, cluster: &Cluster) {
        for (id, host) in cluster.changed_hosts() {
            self.others.take(id, host);
        }
    }

    /// The next keys of those that changed are accepted.
    pub(super) fn accept(&mut self) {
        if self.others.is_whole() {
            self.taken.clear();
        }
        for id in self.others.changed() {
            let keys = self.others.get(id).and_then(|host| host.keys.as_ref());
            match keys.and_then(|keys| keys.next) {
                Some(next) => self.taken.insert(id, next),
                None => self.taken.remove(&id),
            };
        }
    }

    /// That nothing of it is wanted in the kernel.
    pub(super) fn without(&self) -> impl Iterator<Item = (Owner, Fragment)> + use<> {
        let known = self.others.known().into_iter();
        let owners = [Owner::Cluster].into_iter().chain(known.map(Owner::Sealed));
        owners.map(|owner| (owner, Fragment::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_is_tried_again_ever_less_often() {
        let mut left = Left::default();
        let mut now = Instant::now();
        assert_eq!(left.is_put_off(now), None);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = left.put_off(now, "refused".to_owned());
            waits.push(wait.as_secs());
            // Whoever asks before it is time is told how long it still is.
            let early = Duration::from_millis(400);
            assert_eq!(left.is_put_off(now + early), Some(wait - early));
            now += wait;
            assert_eq!(left.is_put_off(now), None);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
