//! Networks that every host of the cluster has: made, listed, removed.

use crate::{
    Controller,
    attach::FAMILIES,
    event::EventType,
    registry::{Gate, Network, lock},
    translation::to_forward,
    view::{MemberView, PeerView},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    thread,
};
use vw_drivers::Driver;
use vw_ipam::{NetworkRequest, PoolRequest};
use vw_kernel::HostFacts;
use vw_model::{Error, HostId, IpNet, NetworkId, NetworkSpec, Result, Scope};

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.addr()) || b.contains(&a.addr())
}

fn overlaps(spec: &NetworkSpec, subnet: IpNet, other: &Network, held: IpNet) -> Error {
    Error::new(
        vw_model::Kind::Forbidden,
        "pool-overlap",
        format!(
            "invalid pool request: Pool overlaps with other one on this address space: {subnet} of {} overlaps {held} of network {}; choose another --subnet",
            spec.name, other.spec.name
        ),
    )
}

impl Controller {
    /// Has all hosts of the cluster know a network, and lists it.
    ///
    /// # Errors
    /// As the hosts refuse, or `Unavailable` while their store is away.
    pub(crate) fn create_global(
        &self,
        mut spec: NetworkSpec,
        pools: Vec<PoolRequest>,
    ) -> Result<NetworkSpec> {
        let driver = vw_drivers::find(&spec.driver)?;
        driver.complete(&mut spec, &self.config.drivers);
        for pool in &pools {
            self.check_beside_local(&spec, pool.subnet)?;
        }
        self.check_room(&spec, driver)?;
        let request = NetworkRequest {
            pools,
            ipv4: spec.enable_ipv4,
            ipv6: spec.enable_ipv6,
            gateway: FAMILIES.iter().any(|f| driver.needs_router(&spec, *f)),
        };
        let mut foreign = self.foreign_prefixes()?;
        foreign.extend(self.subnets_of(Scope::Local));
        let numbered = driver.numbered(&spec);
        self.cluster()?
            .create_network(spec, &request, &foreign, numbered)
    }

    /// A global network that stands in this host's own namespace must leave alone what else is
    /// routed there, and needs a host that forwards; whoever made it on another host could not know.
    ///
    /// # Errors
    /// `Conflict`, naming both, or what is to be switched on.
    pub(super) fn check_room(&self, spec: &NetworkSpec, driver: &dyn Driver) -> Result<()> {
        if driver.host_link(spec).is_none() {
            return Ok(());
        }
        let subnets = || spec.ipam.pools.iter().map(|pool| pool.subnet);
        let meets = |held: &IpNet| subnets().any(|subnet| overlap(subnet, *held));
        let refuse = |what: String| {
            let sentence = format!(
                "network {} cannot stand on this host, which routes its packets itself: its subnet overlaps {what}",
                spec.name
            );
            Err(Error::conflict("subnets-overlap", sentence))
        };
        let networks = self.registry().networks();
        for other in networks.iter().filter(|n| n.spec.scope == Scope::Local) {
            let mut held = other.spec.ipam.pools.iter().map(|pool| pool.subnet);
            if let Some(held) = held.find(|held| meets(held)) {
                return refuse(format!("{held} of network {}", other.spec.name));
            }
        }
        let facts = self
            .kernel
            .facts()
            .map_err(crate::controller::kernel_error)?;
        self.check_forwarding(spec, &facts)?;
        let mut routes = facts.routes.iter().filter(|route| !route.ours);
        match routes.find(|route| meets(&route.dst)) {
            Some(route) => refuse(format!("this host's route to {}", route.dst)),
            None => Ok(()),
        }
    }

    fn check_forwarding(&self, spec: &NetworkSpec, facts: &HostFacts) -> Result<()> {
        let enabled = [spec.enable_ipv4, spec.enable_ipv6];
        let Some(remedy) = to_forward(&self.config, facts, enabled) else {
            return Ok(());
        };
        let sentence = format!(
            "network {} cannot stand on this host, which routes its packets itself and forwards none: {remedy}",
            spec.name
        );
        Err(Error::conflict("forwarding-off", sentence))
    }

    /// Nor may a network of this host take addresses that a global one has in this host's namespace.
    ///
    /// # Errors
    /// `Forbidden`, naming both.
    pub(crate) fn check_beside_routed(&self, spec: &NetworkSpec) -> Result<()> {
        let networks = self.registry().networks();
        let routed = networks.iter().filter(|n| {
            n.spec.scope == Scope::Global && n.driver.host_link(&n.spec).is_some() && n.stands()
        });
        for other in routed {
            for held in other.spec.ipam.pools.iter().map(|pool| pool.subnet) {
                let mut asked = spec.ipam.pools.iter().map(|pool| pool.subnet);
                if let Some(asked) = asked.find(|asked| overlap(*asked, held)) {
                    return Err(overlaps(spec, asked, other, held));
                }
            }
        }
        Ok(())
    }

    /// The subnets of the networks of a scope.
    pub(crate) fn subnets_of(&self, scope: Scope) -> Vec<IpNet> {
        let networks = self.registry().networks();
        let those = networks.iter().filter(|n| n.spec.scope == scope);
        those
            .flat_map(|n| n.spec.ipam.pools.iter().map(|pool| pool.subnet))
            .collect()
    }

    /// This host's own networks go before a new one, whoever asks for it.
    fn check_beside_local(&self, spec: &NetworkSpec, subnet: IpNet) -> Result<()> {
        let networks = self.registry().networks();
        for other in networks.iter().filter(|n| n.spec.scope == Scope::Local) {
            let mut pools = other.spec.ipam.pools.iter();
            if let Some(pool) = pools.find(|pool| overlap(pool.subnet, subnet)) {
                return Err(overlaps(spec, subnet, other, pool.subnet));
            }
        }
        Ok(())
    }

    /// Lists a global network, unless it is.
    pub(crate) fn list_global(&self, spec: NetworkSpec) {
        let _deciding = lock(&self.network_changes);
        if self.registry().network_by_id(spec.id).is_some() {
            return;
        }
        let driver = match vw_drivers::find(&spec.driver) {
            Ok(driver) => driver,
            Err(error) => {
                // A newer version's: its hosts know it.
                return self.warn(format!("network {}: {}", spec.name, error.chain()));
            }
        };
        let local = self.registry().network_by_name(spec.name.as_str());
        if let Some(local) = local {
            self.warn(format!(
                "another host made a network {} ({}), and this one has its own of that name ({}): here the name is that of its own, and the other is known by its id",
                spec.name,
                spec.id.short(),
                local.spec.id.short()
            ));
        }
        let id = spec.id;
        self.list_network(spec, driver);
        let found = self.registry().network_by_id(id);
        if let (Some(network), Ok(cluster)) = (found, self.cluster()) {
            self.remotes_changed(&network, || cluster.remote_endpoints(id), &BTreeMap::new());
        }
    }

    /// Removes a global network on request: the hosts must agree first.
    ///
    /// # Errors
    /// As they refuse, or `Unavailable` while their store is away.
    pub(crate) fn remove_global(&self, network: &Arc<Network>) -> Result<bool> {
        self.cluster()?.remove_network(network.spec.id)
    }

    /// Another host removed a network. What is on it here could not tell in time, and leaves it; by a
    /// thread of its own where somebody is on it or comes to it, as those may wait, with their locks
    /// held, for what the cluster tells next.
    pub(super) fn global_gone(&self, id: NetworkId) {
        let Some(network) = self.registry().network_by_id(id) else {
            return;
        };
        let closed = match network.gate.try_write().as_deref_mut() {
            Ok(Gate::Removed) => return,
            Ok(gate) => {
                *gate = Gate::Removed;
                true
            }
            Err(_) => false,
        };
        if closed && lock(&network.members).is_empty() {
            return self.take_down(&network);
        }
        // Others may make one of its name at once.
        self.registry_mut().unname_network(&network);
        let (controller, gone) = (self.downgrade(), network.clone());
        let later = move || {
            if let Some(controller) = controller.upgrade()
                && (closed || gone.close())
            {
                controller.take_down(&gone);
            }
        };
        let thread = thread::Builder::new().name("network-gone".to_owned());
        if let Err(error) = thread.spawn(later) {
            tracing::warn!("no thread to take a network down: {error}");
            if closed || network.close() {
                self.take_down(&network);
            }
        }
    }

    /// Takes everybody off a network that is gone, which nobody comes to any more, and lists it no
    /// longer.
    fn take_down(&self, network: &Arc<Network>) {
        let id = network.spec.id;
        self.lower_balancer(id);
        let members: Vec<_> = lock(&network.members)
            .iter()
            .map(|(id, sandbox)| (*id, sandbox.clone()))
            .collect();
        for (endpoint, sandbox) in members {
            // What leads to services is changed by who has its `ops`, and waits for nobody.
            let _ops = sandbox.balances.then(|| lock(&sandbox.ops));
            let _placing = lock(&sandbox.placing);
            let name = sandbox.state().spec.name.clone();
            self.warn(format!(
                "network {} was removed on another host while this one could not tell of {name}, which is taken off it",
                network.spec.name
            ));
            self.expel(&sandbox, endpoint);
        }
        self.registry_mut().remove_network(network);
        self.abandon(network);
        self.tell(
            EventType::Network,
            "destroy",
            &id.to_string(),
            [
                ("name", network.spec.name.to_string()),
                ("type", network.spec.driver.clone()),
            ],
        );
        // The cluster may have had it again while this host took it down, as with a store that was brought
        // back: who told of it found it listed.
        self.list_known(id);
    }

    /// Lists a global network if the cluster has it, whatever is told of it meanwhile.
    pub(crate) fn list_known(&self, id: NetworkId) {
        let Ok(cluster) = self.cluster() else { return };
        let known = || cluster.networks().into_iter().find(|spec| spec.id == id);
        let Some(spec) = known() else { return };
        self.list_global(spec);
        for service in cluster.services_on(id) {
            self.take_agreed(service);
        }
        // Who told meanwhile that it is gone once more found none.
        if known().is_none() {
            self.global_gone(id);
        }
    }

    /// Endpoints of a network on other hosts, as the network shows them.
    pub(crate) fn remote_members(network: &Network) -> Vec<MemberView> {
        let reach = lock(&network.reach);
        let view = |remote: &Arc<vw_model::RemoteEndpoint>| MemberView {
            sandbox: remote.sandbox,
            name: remote.names.first().cloned().unwrap_or_default(),
            endpoint: remote.id,
            mac: remote.mac,
            ipv4: crate::networks::v4_of(&remote.addresses),
            ipv6: crate::networks::v6_of(&remote.addresses),
        };
        reach.remotes.values().map(view).collect()
    }

    /// The hosts that have endpoints on a global network, in the order of their names.
    pub(crate) fn peers_of(&self, network: &Network) -> Vec<PeerView> {
        let Some(member) = &self.member else {
            return Vec::new();
        };
        let known: BTreeMap<HostId, vw_model::RemoteHost> = member
            .cluster
            .hosts()
            .into_iter()
            .map(|host| (host.id, host))
            .collect();
        let reach = lock(&network.reach);
        let theirs = reach.hosts.keys().filter_map(|id| known.get(id));
        let mut peers: Vec<PeerView> = theirs
            .map(|host| PeerView {
                name: host.name.clone(),
                addr: host.tunnel,
            })
            .collect();
        drop(reach);
        if !lock(&network.members).is_empty() {
            peers.push(PeerView {
                name: member.name.clone(),
                addr: member.tunnel,
            });
        }
        peers.sort_by(|a, b| (&a.name, a.addr).cmp(&(&b.name, b.addr)));
        peers
    }
}

impl Network {
    /// Lets nobody come any more, once whoever is being attached is a member; tells whether it was
    /// open.
    fn close(&self) -> bool {
        let mut gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *gate, Gate::Removed) == Gate::Open
    }
}
