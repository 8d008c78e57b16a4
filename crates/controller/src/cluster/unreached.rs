//! Which endpoints on other hosts cannot be reached from here, and when each is tried again.
//!
//! Owns that a change costs what it may concern: where what stood in an endpoint's way goes, that is
//! tried again at once, and else all that were refused after pauses that grow. One that has no plan
//! waits for another record of it.

use crate::{Controller, registry::lock};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};
use vw_model::{EndpointId, MacAddr, NetworkId, RemoteEndpoint};

/// What two endpoints of a network cannot both have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Mac(MacAddr),
    Addr(IpAddr),
}

fn claims(remote: &RemoteEndpoint) -> impl Iterator<Item = Claim> {
    let addresses = remote.addresses.iter().map(|net| Claim::Addr(net.addr()));
    addresses.chain([Claim::Mac(remote.mac)])
}

/// Those of one network.
#[derive(Debug, Default)]
pub(crate) struct Unreached {
    of: BTreeMap<EndpointId, Why>,
    /// Those that were refused: by the kernel, or as another has what they claim. What led to one that
    /// is gone may be among them.
    refused: BTreeSet<EndpointId>,
    /// By what they claim.
    by_claim: BTreeMap<Claim, BTreeSet<EndpointId>>,
    /// How many each reason is that of.
    reasons: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Why {
    reason: String,
    /// As it was refused.
    claimed: Option<Arc<RemoteEndpoint>>,
}

impl Unreached {
    /// Notes that one was refused, as it claims to be; tells whether that reason is new.
    pub(super) fn note_refused(
        &mut self,
        id: EndpointId,
        reason: String,
        claimed: Option<Arc<RemoteEndpoint>>,
    ) -> bool {
        let new = self.note(id, reason, claimed);
        self.refused.insert(id);
        new
    }

    /// Notes that one has no plan; tells whether that reason is new.
    pub(super) fn note_unplanned(&mut self, id: EndpointId, reason: String) -> bool {
        self.note(id, reason, None)
    }

    fn note(
        &mut self,
        id: EndpointId,
        reason: String,
        claimed: Option<Arc<RemoteEndpoint>>,
    ) -> bool {
        self.forget(id);
        for claim in claimed.iter().flat_map(|remote| claims(remote)) {
            self.by_claim.entry(claim).or_default().insert(id);
        }
        let count = self.reasons.entry(reason.clone()).or_default();
        *count += 1;
        let new = *count == 1;
        self.of.insert(id, Why { reason, claimed });
        new
    }

    /// Forgets one, and gives the reason.
    pub(super) fn forget(&mut self, id: EndpointId) -> Option<String> {
        let Why { reason, claimed } = self.of.remove(&id)?;
        self.refused.remove(&id);
        for claim in claimed.iter().flat_map(|remote| claims(remote)) {
            if let Some(of) = self.by_claim.get_mut(&claim) {
                of.remove(&id);
                if of.is_empty() {
                    self.by_claim.remove(&claim);
                }
            }
        }
        if let Some(count) = self.reasons.get_mut(&reason) {
            *count -= 1;
            if *count == 0 {
                self.reasons.remove(&reason);
            }
        }
        Some(reason)
    }

    /// Those that this one may stand in the way of.
    pub(super) fn behind(&self, remote: &RemoteEndpoint) -> BTreeSet<EndpointId> {
        let of = claims(remote).filter_map(|claim| self.by_claim.get(&claim));
        of.flatten().copied().collect()
    }

    /// Those that were refused.
    pub(super) fn refused(&self) -> BTreeSet<EndpointId> {
        self.refused.clone()
    }

    pub(super) fn is_refused(&self, id: EndpointId) -> bool {
        self.refused.contains(&id)
    }

    pub(super) fn is_any_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Why one cannot be reached.
    pub(super) fn reason(&self, id: EndpointId) -> Option<&String> {
        self.of.get(&id).map(|why| &why.reason)
    }

    /// Each reason once.
    pub(super) fn reasons(&self) -> impl Iterator<Item = &String> {
        self.reasons.keys()
    }
}

impl Controller {
    /// Tries again to reach what was refused on these networks.
    pub(crate) fn reach_again(&self, networks: BTreeSet<NetworkId>) {
        for id in networks {
            let network = self.registry().network_by_id(id);
            match network {
                Some(network) => self.reach_refused(&network),
                None => self.note_refused(id, false, false),
            }
        }
    }
}

impl Controller {
    /// Tries again to reach what was refused on a network.
    pub(super) fn reach_refused(&self, network: &crate::registry::Network) {
        let mut reach = lock(&network.reach);
        let refused: Vec<EndpointId> = reach.unreached.refused().into_iter().collect();
        if reach.users > 0 && !refused.is_empty() {
            self.bring_remotes(network, &mut reach, &refused);
        }
    }
}

#[cfg(test)]
mod tests;
