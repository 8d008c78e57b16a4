//! Where a network that spans hosts stands on this one, and what of other hosts it reaches.
//!
//! Such a network stands in the kernel as long as something here is on it: what a thousand other
//! hosts do on networks that nobody here uses costs a record in memory.

use super::unreached::Unreached;
use crate::{
    Controller,
    registry::{Network, Reach, lock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use vw_cluster::Parting;
use vw_hoststate::{Fragment, Owner};
use vw_model::{EndpointId, RemoteEndpoint, Result, Scope, ServicePart};
use vw_names::EndpointNames;

impl Controller {
    /// Has a network stand for one more endpoint of this host.
    ///
    /// # Errors
    /// As the driver and the executor say; it is not counted then.
    pub(crate) fn enter(&self, network: &Network) -> Result<()> {
        if network.spec.scope == Scope::Local {
            return Ok(());
        }
        let _coming = self.wake_encryption(network)?;
        let here = network.driver.host_link(&network.spec).is_some();
        let _room = here.then(|| lock(&self.room));
        let mut reach = lock(&network.reach);
        if reach.users == 0 {
            self.check_room(&network.spec, network.driver)?;
            let fragment = self.network_fragment(network)?;
            if let Err(error) = self.raise(network, fragment) {
                self.lower(network, &mut reach);
                return Err(error);
            }
            let all: Vec<EndpointId> = reach.remotes.keys().copied().collect();
            self.bring_remotes(network, &mut reach, &all);
            if let Some(drawback) = network.driver.drawback(&network.spec, &self.config.drivers) {
                tracing::warn!("{drawback}");
            }
        }
        reach.users += 1;
        Ok(())
    }

    /// Counts one endpoint less; with the last of this host the network leaves the kernel.
    pub(crate) fn leave(&self, network: &Network) {
        if network.spec.scope == Scope::Local {
            return;
        }
        let mut reach = lock(&network.reach);
        match reach.users {
            0 => {}
            1 => self.lower(network, &mut reach),
            more => reach.users = more - 1,
        }
    }

    /// Has a network leave the kernel, whoever is on it: it is gone.
    pub(crate) fn abandon(&self, network: &Network) {
        let mut reach = lock(&network.reach);
        if network.spec.scope == Scope::Global && reach.users > 0 {
            self.lower(network, &mut reach);
        }
    }

    fn lower(&self, network: &Network, reach: &mut Reach) {
        reach.users = 0;
        reach.unreached = Unreached::default();
        self.note_refused(network.spec.id, false, false);
        let remotes = reach.remotes.keys().map(|id| Owner::Remote(*id));
        let owners = remotes.chain([Owner::Network(network.spec.id)]);
        let wants = owners.map(|owner| (owner, Fragment::default())).collect();
        let taken = self.take_away(wants);
        // What is left of the network, which nobody wants, does not keep what it shared with others.
        let shared = self.lower_shared(network);
        for (what, taken) in [("", taken), ("'s encrypted tunnel", shared)] {
            if let Err(error) = taken {
                self.warn(format!(
                    "network {}{what} stands though nothing here is on it: {}",
                    network.spec.name,
                    error.chain()
                ));
            }
        }
    }

    /// Takes up what changed of a network's endpoints on other hosts, all at once. What is told again
    /// as it is known costs nothing. What appeared is looked at while nobody else changes what is known
    /// here: of what is told to be gone meanwhile, whoever is told finds it.
    pub(super) fn remotes_changed(
        &self,
        network: &Network,
        appeared: impl FnOnce() -> Vec<Arc<RemoteEndpoint>>,
        gone: &BTreeMap<EndpointId, Parting>,
    ) {
        // Before the ways there go: whoever was led to one meanwhile would begin into a hole.
        self.remote_members_gone(gone);
        let gone: &[EndpointId] = &gone.keys().copied().collect::<Vec<_>>();
        let mut reach = lock(&network.reach);
        let appeared = appeared();
        let told: Vec<EndpointId> = appeared.iter().map(|remote| remote.id).collect();
        // What goes with what was.
        let mut left: Vec<Arc<RemoteEndpoint>> =
            gone.iter().filter_map(|id| reach.forget(*id)).collect();
        let known = |remote: &Arc<RemoteEndpoint>| reach.remotes.get(&remote.id) == Some(remote);
        let new: Vec<_> = appeared.into_iter().filter(|one| !known(one)).collect();
        let names: Vec<EndpointNames> = new.iter().map(|remote| names_of(remote)).collect();
        let mut touched: BTreeSet<EndpointId> = gone.iter().copied().collect();
        for remote in new {
            touched.insert(remote.id);
            left.extend(reach.learn(remote));
        }
        // A name is there only while frames find their way: the kernel asks for a neighbour that it
        // does not know again after a second alone.
        if !gone.is_empty() {
            network.zone.update(|zone| zone.changed(gone, []));
        }
        if reach.users > 0 {
            // What stood in the way of others may be among that.
            let behind = left.iter().flat_map(|left| reach.unreached.behind(left));
            touched.extend(behind);
            let touched: Vec<EndpointId> = touched.into_iter().collect();
            self.bring_remotes(network, &mut reach, &touched);
        }
        if !names.is_empty() {
            network.zone.update(|zone| zone.with_all(&names));
        }
        drop(reach);
        let members = [gone, &told].concat();
        self.remote_members_changed(network, &members);
    }

    /// What the network itself needs here.
    ///
    /// # Errors
    /// As the driver says.
    pub(crate) fn network_fragment(&self, network: &Network) -> Result<Fragment> {
        let (spec, cx) = (&network.spec, &self.config.drivers);
        network.driver.plan_network(spec, cx)
    }

    /// Brings the kernel to what is known of these endpoints; those that cannot be are told, and those
    /// that were refused are tried again soon.
    pub(super) fn bring_remotes(&self, network: &Network, reach: &mut Reach, ids: &[EndpointId]) {
        let Reach {
            remotes, unreached, ..
        } = reach;
        let refused = ids.iter().filter(|id| unreached.is_refused(**id));
        let refused: BTreeSet<EndpointId> = refused.copied().collect();
        let mut more = false;
        let former: BTreeSet<String> = ids.iter().filter_map(|id| unreached.forget(*id)).collect();
        let mut told = BTreeSet::new();
        let mut tell = |reason: String, new: bool| {
            if new && !former.contains(&reason) && told.insert(reason.clone()) {
                tracing::warn!("{reason}");
            }
        };
        let planned =
            |id: &EndpointId| self.remote_fragment(network, remotes.get(id).map(|one| &**one));
        let mut wants = Vec::new();
        for id in ids {
            let fragment = planned(id).unwrap_or_else(|error| {
                // What led to where it was before leads nowhere.
                let new = unreached.note_unplanned(*id, error.chain());
                tell(error.chain(), new);
                Fragment::default()
            });
            wants.push((Owner::Remote(*id), fragment));
        }
        if !wants.is_empty() && self.bring(wants.clone()).is_err() {
            // One that cannot be does not keep the others out; what is gone makes room first.
            wants.sort_by_key(|(_, fragment)| !fragment.is_empty());
            for (owner, fragment) in wants {
                let Err(error) = self.bring(vec![(owner, fragment)]) else {
                    continue;
                };
                let Owner::Remote(id) = owner else { continue };
                let sentence = format!(
                    "endpoint {} of network {} on another host cannot be reached: {}",
                    id.short(),
                    network.spec.name,
                    error.chain()
                );
                let new = unreached.note_refused(id, sentence.clone(), remotes.get(&id).cloned());
                tell(sentence, new);
                more |= !refused.contains(&id);
            }
        }
        self.note_refused(network.spec.id, unreached.is_any_refused(), more);
    }

    /// What cannot be reached of other hosts, as it is now: each reason once.
    pub(crate) fn unreached(&self) -> BTreeSet<String> {
        let networks = self.registry().networks();
        let reasons = |network: &std::sync::Arc<Network>| -> Vec<String> {
            lock(&network.reach).unreached.reasons().cloned().collect()
        };
        networks.iter().flat_map(reasons).collect()
    }

    /// What works less well here than it might of networks that stand, in sentences.
    pub(crate) fn drawbacks(&self) -> Vec<String> {
        let cx = &self.config.drivers;
        let networks = self.registry().networks();
        let standing = networks.iter().filter(|network| network.stands());
        let told = standing.filter_map(|network| network.driver.drawback(&network.spec, cx));
        told.collect()
    }

    /// The link to the other hosts was down and is up again, or lost an address or a route: the
    /// kernel forgot what led over it. Answers whether all of it stands again.
    pub fn underlay_is_back(&self) -> bool {
        self.look_at_underlay();
        let networks = self.registry().networks();
        for network in networks.iter().filter(|n| n.spec.scope == Scope::Global) {
            self.reach_refused(network);
        }
        match self.compare() {
            Ok(compared) if compared.refused > 0 => return false,
            Ok(compared) if compared.steps == 0 => {}
            Ok(compared) => {
                tracing::info!(compared.steps, "the way to the other hosts is back");
            }
            Err(error) => {
                self.warn(error.chain());
                return false;
            }
        }
        true
    }

    /// Wants, at the start, what the local copy knows of other hosts; the comparison that follows
    /// brings it.
    pub(crate) fn restore_cluster(&self) {
        self.restore_peers();
        let networks = self.registry().networks();
        for network in networks.iter().filter(|n| n.spec.scope == Scope::Global) {
            let mut reach = lock(&network.reach);
            if reach.users == 0 {
                continue;
            }
            let mut unreached = Unreached::default();
            for remote in reach.remotes.values() {
                let new = match self.remote_fragment(network, Some(remote)) {
                    Err(error) => unreached.note_unplanned(remote.id, error.chain()),
                    Ok(fragment) => {
                        let wants = vec![(Owner::Remote(remote.id), fragment)];
                        let Err(conflict) = lock(&self.host).change(wants) else {
                            continue;
                        };
                        let reason = crate::start::conflict(conflict).chain();
                        unreached.note_refused(remote.id, reason, Some(remote.clone()))
                    }
                };
                if let Some(reason) = unreached.reason(remote.id).filter(|_| new) {
                    tracing::warn!("{reason}");
                }
            }
            let any = unreached.is_any_refused();
            self.note_refused(network.spec.id, any, any);
            reach.unreached = unreached;
        }
    }

    fn restore_peers(&self) {
        if self.cluster().is_err() {
            return;
        }
        let wanted = self.restored_probes().and_then(|wants| {
            let changed = lock(&self.host).change(wants);
            changed.map(drop).map_err(crate::start::conflict)
        });
        if let Err(error) = wanted {
            self.warn(error.chain());
        }
    }

    /// What this host needs of an endpoint on another one; nothing of one that is gone.
    pub(crate) fn remote_fragment(
        &self,
        network: &Network,
        remote: Option<&RemoteEndpoint>,
    ) -> Result<Fragment> {
        remote.map_or_else(
            || Ok(Fragment::default()),
            |remote| {
                let cx = &self.config.drivers;
                network.driver.plan_remote(&network.spec, remote, cx)
            },
        )
    }
}

impl Reach {
    /// Takes up an endpoint on another host, and gives what was known of it.
    fn learn(&mut self, remote: Arc<RemoteEndpoint>) -> Option<Arc<RemoteEndpoint>> {
        let former = self.forget(remote.id);
        *self.hosts.entry(remote.host).or_default() += 1;
        self.remotes.insert(remote.id, remote);
        former
    }

    /// Forgets one, and gives what was known of it.
    fn forget(&mut self, id: EndpointId) -> Option<Arc<RemoteEndpoint>> {
        let remote = self.remotes.remove(&id)?;
        if let Some(count) = self.hosts.get_mut(&remote.host) {
            *count -= 1;
            if *count == 0 {
                self.hosts.remove(&remote.host);
            }
        }
        Some(remote)
    }
}

impl Network {
    /// Whether it stands in this host's kernel.
    pub(crate) fn stands(&self) -> bool {
        self.spec.scope == Scope::Local || lock(&self.reach).users > 0
    }
}

/// The names of an endpoint on another host; none where that is away.
pub(super) fn names_of(remote: &RemoteEndpoint) -> EndpointNames {
    if remote.away || matches!(remote.service, Some(ServicePart::Balancer { .. })) {
        return crate::naming::nameless(remote.id);
    }
    let mut names = remote.names.iter().cloned();
    EndpointNames {
        endpoint: remote.id,
        name: names.next().unwrap_or_default(),
        aliases: names.collect(),
        short_id: remote.sandbox.short(),
        addresses: remote.addresses.iter().map(vw_model::IpNet::addr).collect(),
        ports: remote.ports.clone(),
        weight: crate::naming::weight_of(remote.service.as_ref()),
    }
}
