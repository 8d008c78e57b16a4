//! What stands of encrypted networks on this host, and what is known of the others for that.
//!
//! Owns which of the others are still to be followed. It must not act on any of it.

use std::collections::{BTreeMap, BTreeSet};
use vw_cluster::Cluster;
use vw_hoststate::{Fragment, Owner};
use vw_model::{HostId, NetworkId, OtherHosts, PublicKey, TunnelKeys};

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
    /// Whether something of a tunnel that nothing needs may be there still.
    pub(super) left: bool,
    /// What was told of ours last.
    pub(super) told: Option<TunnelKeys>,
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
