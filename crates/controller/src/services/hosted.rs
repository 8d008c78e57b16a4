//! Ports that a host publishes for its own endpoints of a service that spans hosts (`mode=host`).
//!
//! Owns when this host has such a port: while an endpoint serves here and nothing else has it. The
//! host leads there by its own table, past no other sandbox, so that the endpoint sees the client's
//! address: at its address on the gateway bridge, or on its network's own bridge where that leads
//! out by itself.

use super::{Roster, Service, plan::published};
use crate::{
    Controller,
    attach::FAMILIES,
    registry::{Attachment, Network, lock},
};
use std::{collections::BTreeSet, net::IpAddr};
use vw_firewall::{ServicePolicy, Slot};
use vw_hoststate::{Object, Owner, Table};
use vw_model::{
    Affinity, EndpointId, Family, IpNet, PortKey, PortRange, PortRequest, PublishMode,
    PublishedPort, Result, SandboxId, ServiceSpec,
};

/// What of a service this host publishes by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosted {
    /// What it has claimed.
    pub(crate) ports: Vec<PublishedPort>,
    /// What something else has here.
    pub(crate) lacking: BTreeSet<PortKey>,
}

impl Controller {
    /// The families that this host publishes over for its own endpoints.
    pub(super) fn hosted_families(&self) -> Vec<Family> {
        let cx = &self.config.drivers;
        FAMILIES.into_iter().filter(|f| cx.filters(*f)).collect()
    }

    /// What leads to the endpoints here, by these ports.
    pub(super) fn hosted_objects(
        &self,
        network: &Network,
        spec: &ServiceSpec,
        roster: &Roster,
        ports: &[PublishedPort],
    ) -> Vec<Object> {
        if ports.is_empty() {
            return Vec::new();
        }
        let elements = vw_firewall::service(&ServicePolicy {
            vips: Vec::new(),
            ports: ports.iter().map(published).collect(),
            families: self.hosted_families(),
            affinity: spec.affinity == Affinity::Client,
            slots: self.slots_here(network, roster),
        });
        let table = Object::Table(Table::Services);
        let elements = elements.into_iter().map(Object::Element);
        std::iter::once(table).chain(elements).collect()
    }

    /// Where the host reaches those endpoints of it that serve.
    fn slots_here(&self, network: &Network, roster: &Roster) -> Vec<Slot> {
        let here = |id: &EndpointId| {
            let member = roster.members.get(id)?;
            let here = member.host.is_none();
            here.then(|| self.reached_at(network, member.sandbox))
        };
        let lead = |addresses: Vec<IpAddr>| {
            let mut slot = Slot::default();
            for addr in addresses {
                match addr {
                    IpAddr::V4(v4) => slot.v4 = Some(v4),
                    IpAddr::V6(v6) => slot.v6 = Some(v6),
                }
            }
            slot
        };
        let all = roster.slots.iter().filter_map(here).map(lead);
        all.filter(|slot| *slot != Slot::default()).collect()
    }

    /// The addresses at which this host reaches an endpoint on a network, as a client from outside
    /// is led to it.
    pub(super) fn reached_at(&self, network: &Network, sandbox: SandboxId) -> Vec<IpAddr> {
        let Some(sandbox) = self.registry().sandbox_by_id(sandbox) else {
            return Vec::new();
        };
        let state = sandbox.state();
        let leads =
            |a: &&Attachment| a.network.is_gateway_bridge() || a.network.spec.id == network.spec.id;
        let mut reached = Vec::new();
        for attachment in state.attachments.iter().filter(leads) {
            let families = self.published_families(&attachment.network);
            let addresses = attachment.endpoint.addresses.iter().map(IpNet::addr);
            reached.extend(addresses.filter(|addr| families.contains(&Family::of(*addr))));
        }
        reached
    }

    /// Whether clients are led so to an endpoint.
    pub(super) fn hosts_ports_of(&self, id: EndpointId) -> bool {
        let service = lock(&self.services).of(id);
        service.is_some_and(|service| !lock(&service.state).hosted.ports.is_empty())
    }

    /// Publishes for the endpoints here what services of a network ask for, as far as it can be had;
    /// what cannot is told.
    pub(super) fn settle_hosted(&self, network: &Network) {
        let services = lock(&self.services).on(network.spec.id);
        for service in services {
            if let Err(error) = self.settle_hosted_of(&service) {
                self.warn(format!(
                    "a service of network {} is not published by this host for its own endpoints: {}",
                    network.spec.name,
                    error.chain()
                ));
            }
        }
    }

    fn settle_hosted_of(&self, service: &Service) -> Result<()> {
        let mut state = lock(&service.state);
        let asked = |port: &&PublishedPort| port.mode == PublishMode::Host;
        let serves = !self.slots_here(&service.network, &state.roster).is_empty();
        let ports = state.spec.ports.iter().filter(asked).copied();
        let ports: Vec<PublishedPort> = ports.filter(|_| serves && !state.removed).collect();
        if ports.is_empty() && state.hosted.ports.is_empty() {
            state.hosted.lacking.clear();
            return Ok(());
        }
        let families = self.hosted_families();
        let mut held = std::mem::take(&mut state.claims);
        let requests: Vec<PortRequest> = ports.iter().map(request).collect();
        let (claims, refused) = self.claim_each(&families, &requests, &mut held);
        let refused: Vec<PortRequest> = refused.into_iter().map(|(request, _)| request).collect();
        let can = |port: &PublishedPort| !refused.contains(&request(port));
        let (ports, lacking): (Vec<_>, Vec<_>) = ports.into_iter().partition(can);
        let fragment = self.service_fragment(&service.network, &state.spec, &state.roster, &ports);
        let done = self
            .slots_batch(service, &state.roster, &ports)
            .and_then(|batch| self.note(batch))
            .and_then(|()| self.bring(vec![(Owner::Service(service.id), fragment)]));
        let key = |port: &PublishedPort| PortKey {
            port: port.published,
            protocol: port.target.protocol,
        };
        if let Err(error) = done {
            let mut all = claims.mappings();
            all.extend(held.mappings());
            let ports = &state.hosted.ports;
            all.retain(|m| {
                let mut ports = ports.iter();
                ports.any(|p| p.published == m.host.port() && p.target == m.container)
            });
            state.claims = claims.back_to(&*self.kernel, held, &all);
            return Err(error);
        }
        state.claims = claims;
        state.hosted = Hosted {
            ports,
            lacking: lacking.iter().map(key).collect(),
        };
        Ok(())
    }
}

pub(super) const fn request(port: &PublishedPort) -> PortRequest {
    PortRequest {
        container: port.target,
        host_ip: port.host,
        host: Some(PortRange {
            first: port.published,
            last: port.published,
        }),
    }
}
