//! What a host publishes by the sandbox that leads to a network's services.

use super::{inner::Inner, plan, unpublished::obstacle};
use crate::{
    Controller,
    attach::FAMILIES,
    controller::kernel_error,
    registry::{Network, Sandbox, lock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};
use vw_firewall::ServicePort;
use vw_hoststate::Owner;
use vw_model::{
    Error, Family, HostPort, NetworkId, Obstacle, PortKey, PortMapping, PortRange, PortRequest,
    PublishedPort, Result, SandboxKind,
};

/// The reason of a port at an address that this host does not have, or cannot bind yet.
const FOREIGN: &str = "port-host-ip-foreign";

/// The families that a network has.
pub(super) fn families(network: &Network) -> Vec<Family> {
    let has = |family: &Family| network.spec.pools(*family).next().is_some();
    FAMILIES.into_iter().filter(has).collect()
}

impl Controller {
    /// Publishes the ports of a network's services on this host, those that can be had; the caller
    /// holds the sandbox's `ops`.
    pub(super) fn publish_ingress(
        &self,
        network: &Arc<Network>,
        sandbox: &Arc<Sandbox>,
    ) -> Result<()> {
        let id = network.spec.id;
        let before = self.inner_ports(id, |inner| inner.all().clone());
        let asked = self.ingress_of(network);
        let here = self.on_this_host(asked.values().copied())?;
        let wanted: BTreeMap<PortRequest, HostPort> = here
            .iter()
            .map(|port| (self.ingress_request(network, port), port.at()))
            .collect();
        let requests: Vec<PortRequest> = wanted.keys().copied().collect();
        let (attachments, former) = {
            let state = sandbox.state();
            (state.attachments.clone(), state.published.clone())
        };
        let mut held = std::mem::take(&mut sandbox.state().claims);
        let (claims, refused) = self.settle_each(&requests, &attachments, &mut held);
        self.miss(&refused);
        let fragment = self.sandbox_fragment(sandbox, &attachments, None, &claims.mappings());
        let brought =
            fragment.and_then(|wants| self.bring(vec![(Owner::Sandbox(sandbox.id), wants)]));
        if let Err(error) = brought {
            sandbox.state().claims = claims.back_to(&*self.kernel, held, &former);
            return Err(error);
        }
        let not = refused.iter().filter(|(_, error)| !is_elsewhere(error));
        let not = not.filter_map(|(request, error)| {
            let at = wanted.get(request)?;
            Some((*at, obstacle(error)))
        });
        let not: BTreeMap<HostPort, Obstacle> = not.collect();
        let mut state = sandbox.state();
        state.published = claims.mappings();
        state.claims = claims;
        state.spec.ports = requests;
        let refused: BTreeSet<PortRequest> = refused.into_iter().map(|(port, _)| port).collect();
        state.spec.ports.retain(|port| !refused.contains(port));
        let asked: BTreeSet<HostPort> = asked.into_keys().collect();
        let kind = SandboxKind::Balancer {
            network: id,
            inner: self.inner_ports(id, |inner| {
                inner.settle(&before, &asked);
                inner.all().clone()
            }),
        };
        let published = state.published != former;
        let changed = published || state.spec.kind != kind;
        state.spec.kind = kind;
        drop(state);
        self.owe_led_in(sandbox, former);
        self.balancers.note_lacking(id, not);
        if published {
            self.balancers.note_published(id);
        }
        // One that could not be recorded is owed, whether anything changes again or not.
        if changed || self.balancers.owes_record(id) {
            self.balancers.owe_record(id, true);
            self.note_sandbox(sandbox)?;
            self.balancers.owe_record(id, false);
        }
        Ok(())
    }

    /// Notes what is not published of what should be, as it could not be settled.
    pub(super) fn note_unpublished(&self, network: &Network, sandbox: &Sandbox) {
        let id = network.spec.id;
        let asked = self.ingress_of(network);
        let here = self.on_this_host(asked.values().copied());
        let here = here.unwrap_or_else(|_| {
            // Which addresses this host has is not known.
            let everywhere = asked.into_values();
            everywhere.filter(|port| port.address().is_none()).collect()
        });
        let before = self.balancers.lacking(id);
        let published = sandbox.state().published.clone();
        let not = here.iter().filter(|port| !is_published(port, &published));
        let why = |at| before.get(&at).copied().unwrap_or(Obstacle::Failed);
        let not = not.map(|port| (port.at(), why(port.at()))).collect();
        self.balancers.note_lacking(id, not);
    }

    /// What the services of a network publish on every host that can, each port once: a record of an
    /// older daemon may name one twice.
    fn ingress_of(&self, network: &Network) -> BTreeMap<HostPort, PublishedPort> {
        let services = lock(&self.services).on(network.spec.id);
        let mut ports = BTreeMap::new();
        for service in services {
            let state = lock(&service.state);
            ports.extend(plan::ingress(&state.spec).map(|port| (port.at(), *port)));
        }
        ports
    }

    /// One of them as a request of the sandbox.
    fn ingress_request(&self, network: &Network, port: &PublishedPort) -> PortRequest {
        PortRequest {
            container: PortKey {
                port: self.inner_port(network.spec.id, port.at()),
                protocol: port.target.protocol,
            },
            host_ip: port.host.or_else(|| self.ingress_host(network)),
            host: Some(PortRange {
                first: port.published,
                last: port.published,
            }),
        }
    }

    pub(super) fn inner_port(&self, network: NetworkId, at: HostPort) -> u16 {
        self.inner_ports(network, |inner| inner.of(at))
    }

    fn inner_ports<T>(&self, network: NetworkId, of: impl FnOnce(&mut Inner) -> T) -> T {
        of(lock(&self.balancers.inner).entry(network).or_default())
    }

    /// The families over which the services of a network are published: those that it has, and IPv6
    /// where that is translated.
    pub(super) fn ingress_families(&self, network: &Network) -> Vec<Family> {
        let mut families = families(network);
        if families == [Family::V4] && vw_drivers::translates(&self.config.drivers) {
            families.push(Family::V6);
        }
        families
    }

    /// At which addresses of a host the services of a network are published: all where there is none.
    pub(super) fn ingress_host(&self, network: &Network) -> Option<IpAddr> {
        match self.ingress_families(network)[..] {
            [family] => Some(super::unspecified(family)),
            _ => None,
        }
    }

    /// What the sandbox leads to endpoints by it: what is sent there was sent to the host's address.
    pub(super) fn led_inside(
        &self,
        network: NetworkId,
        families: &[Family],
        port: &PublishedPort,
    ) -> ServicePort {
        let any = |host: IpAddr| super::unspecified(Family::of(host));
        // What is led there over another has been translated.
        let spoken = |host: &IpAddr| families.contains(&Family::of(*host));
        ServicePort {
            published: self.inner_port(network, port.at()),
            host: port.host.filter(spoken).map(any),
            ..plan::published(port)
        }
    }

    /// Those of the ports that are published at every host's addresses, or one that this host has.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub(super) fn on_this_host(
        &self,
        ports: impl Iterator<Item = PublishedPort>,
    ) -> Result<Vec<PublishedPort>> {
        let mut ports: Vec<PublishedPort> = ports.collect();
        if ports.iter().any(|port| port.address().is_some()) {
            let own = self.own_addresses()?;
            ports.retain(|port| port.address().is_none_or(|addr| own.contains(&addr)));
        }
        Ok(ports)
    }

    fn own_addresses(&self) -> Result<BTreeSet<IpAddr>> {
        let own = self.kernel.host_addresses().map_err(kernel_error)?;
        lock(&self.balancers.addresses).see(&own);
        Ok(own)
    }

    /// Looks again at what services publish on addresses that this host has now and had not, or the
    /// other way round, and at the one by which the other hosts reach it.
    pub fn addresses_changed(&self) {
        self.look_at_underlay();
        let own = self.own_addresses();
        let changed = own.map(|_| lock(&self.balancers.addresses).take());
        // Where they cannot be read, any may have.
        let may_have = |addr: IpAddr| changed.as_ref().map_or(true, |all| all.contains(&addr));
        let services = lock(&self.services).all();
        let global = services.iter().filter(|service| service.is_global());
        let concerned = global.filter(|service| {
            let state = lock(&service.state);
            let mut at = state.spec.ports.iter().filter_map(PublishedPort::address);
            at.any(may_have)
        });
        let networks: BTreeSet<NetworkId> = concerned.map(|s| s.network.spec.id).collect();
        for network in networks {
            self.look_at_whole_soon(network);
        }
    }

    /// Notes at which addresses ports were refused because this host has those no more.
    pub(super) fn miss(&self, refused: &[(PortRequest, Error)]) {
        let missing = refused.iter().filter(|(_, error)| is_elsewhere(error));
        for addr in missing.filter_map(|(request, _)| request.host_ip) {
            lock(&self.balancers.addresses).miss(addr);
        }
    }

    /// What is not published at this host's addresses while it leads to no service of a network.
    pub(super) fn unled_here(&self, network: &Network) -> Vec<HostPort> {
        let asked = self.ingress_of(network).into_values();
        let at_one = asked.filter(|port| port.address().is_some());
        // Where that cannot be read, nothing is published here either.
        let here = self.on_this_host(at_one).unwrap_or_default();
        here.iter().map(PublishedPort::at).collect()
    }
}

/// The addresses of this host, as they were read last, whoever did.
#[derive(Default)]
pub(super) struct Addresses {
    seen: BTreeSet<IpAddr>,
    /// Those that came or went since what is published at them was looked at. One that did both is
    /// among them where somebody found it missing.
    changed: BTreeSet<IpAddr>,
}

impl Addresses {
    fn see(&mut self, now: &BTreeSet<IpAddr>) {
        self.changed.extend(self.seen.symmetric_difference(now));
        self.seen.clone_from(now);
    }

    /// One was found missing: it comes as new, however soon.
    pub(super) fn miss(&mut self, addr: IpAddr) {
        self.seen.remove(&addr);
    }

    fn take(&mut self) -> BTreeSet<IpAddr> {
        std::mem::take(&mut self.changed)
    }
}

/// Whether a port is among what is published, by whatever IP version.
pub(super) fn is_published(port: &PublishedPort, published: &[PortMapping]) -> bool {
    published.iter().any(|mapping| {
        mapping.host.port() == port.published
            && mapping.container.protocol == port.target.protocol
            && port.host.is_none_or(|host| host == mapping.host.ip())
    })
}

/// Whether a refusal is only that this host does not have the address.
pub(super) fn is_elsewhere(error: &Error) -> bool {
    error.reason == FOREIGN
}
