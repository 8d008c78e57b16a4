//! Ports that a host leads to its own endpoints of a service that spans hosts (`mode=host`,
//! `prefer=local`).
//!
//! Owns when this host does: while an endpoint serves here, and nothing else has the port; that of
//! `prefer=local` is the balancer's, who leads to endpoints of other hosts where this host leads to
//! none. The host leads by its own table, past no other sandbox, so that the endpoint sees the
//! client's address: at its address where the default route of its sandbox leads out.

use super::{
    Roster, Service, ServiceState,
    ingress::{is_elsewhere, is_published},
    plan::published,
    roster::slot,
    unpublished::{About, obstacle},
};
use crate::{Controller, attach::FAMILIES, registry::lock, sandbox_plan};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};
use vw_firewall::{ServicePolicy, Slot};
use vw_hoststate::{Object, Owner, Table};
use vw_model::{
    Affinity, EndpointId, Family, HostPort, IpNet, Obstacle, PortRange, PortRequest, Preference,
    PublishMode, PublishedPort, Result, SandboxId, ServiceSpec,
};

/// What of a service this host leads to its own endpoints by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hosted {
    /// By these ports.
    pub(crate) ports: Vec<PublishedPort>,
}

impl Hosted {
    /// Those of the ports that are claimed for it.
    pub(super) fn claimed(&self) -> Vec<PublishedPort> {
        let mut claimed = self.ports.clone();
        claimed.retain(|port| port.mode == PublishMode::Host);
        claimed
    }
}

impl Controller {
    /// The families that this host publishes over for its own endpoints.
    pub(super) fn hosted_families(&self) -> Vec<Family> {
        let cx = &self.config.drivers;
        let spoken = |family: &Family| cx.ipv6 || *family == Family::V4;
        let publishes = |family: &Family| spoken(family) && cx.filters(*family);
        FAMILIES.into_iter().filter(publishes).collect()
    }

    /// What leads to the endpoints here, by these ports.
    pub(super) fn hosted_objects(
        &self,
        spec: &ServiceSpec,
        roster: &Roster,
        ports: &[PublishedPort],
    ) -> Vec<Object> {
        if ports.is_empty() {
            return Vec::new();
        }
        let slots = self.slots_here(roster);
        // Over another the balancer may lead, and refuses what it cannot.
        let led = |family: &Family| {
            slots.iter().any(|slot| match family {
                Family::V4 => slot.v4.is_some(),
                Family::V6 => slot.v6.is_some(),
            })
        };
        let families = self.hosted_families().into_iter().filter(led).collect();
        let elements = vw_firewall::service(&ServicePolicy {
            vips: Vec::new(),
            home: None,
            ports: ports.iter().map(published).collect(),
            families,
            affinity: spec.affinity == Affinity::Client,
            slots,
        });
        let table = Object::Table(Table::Services);
        std::iter::once(table).chain(self.led(elements)).collect()
    }

    /// Where the host reaches those endpoints of it that serve.
    fn slots_here(&self, roster: &Roster) -> Vec<Slot> {
        let here = |id: &EndpointId| {
            let member = roster.members.get(id)?;
            Some(self.reached_at(member.sandbox))
        };
        let all = roster.here.iter().filter_map(here).map(slot);
        let all = all.filter(|slot| *slot != Slot::default());
        all.map(|slot| self.led_by_both(slot)).collect()
    }

    /// The addresses at which a client from outside is led to an endpoint here: where its sandbox's
    /// answers leave.
    pub(super) fn reached_at(&self, sandbox: SandboxId) -> Vec<IpAddr> {
        let Some(sandbox) = self.registry().sandbox_by_id(sandbox) else {
            return Vec::new();
        };
        let state = sandbox.state();
        let mut reached = Vec::new();
        for family in FAMILIES {
            let Some(way_out) = sandbox_plan::gateway_of(&state.attachments, family) else {
                continue;
            };
            if self.published_families(&way_out.network).contains(&family) {
                let addresses = way_out.endpoint.addresses.iter().map(IpNet::addr);
                reached.extend(addresses.filter(|addr| Family::of(*addr) == family));
            }
        }
        reached
    }

    /// Whether clients may have been led so to an endpoint.
    pub(super) fn may_lead_past_balancer(&self, id: EndpointId) -> bool {
        let service = lock(&self.services).of(id);
        service.is_some_and(|service| may_publish(&lock(&service.state).spec))
    }

    /// Publishes for the endpoints here what these services ask for, as far as it can be had; what
    /// cannot is told. Tells whether nothing failed.
    pub(super) fn settle_hosted(&self, services: &[Arc<Service>]) -> bool {
        let mut settled = true;
        for service in services {
            let failed = self.settle_hosted_of(service).err();
            settled &= failed.is_none();
            let network = &service.network.spec;
            let what = format_args!(
                "a service of network {} is not published by this host for its own endpoints",
                network.name
            );
            let about = (network.id, About::Hosted(service.id));
            self.warn_once(about, what, failed.map(|error| error.chain()));
        }
        settled
    }

    /// The same where what the balancer of their network publishes here changed meanwhile what this
    /// host may lead to.
    pub(super) fn settle_hosted_again(&self, services: &[Arc<Service>]) -> bool {
        let changed = |service: &&Arc<Service>| {
            if self.balancers.lacks_hosted(service) {
                return true;
            }
            let state = lock(&service.state);
            let standing = state.hosted.ports.iter();
            let standing = standing.filter(|port| port.mode == PublishMode::Ingress);
            !self.preferred(service, &state).iter().eq(standing)
        };
        let changed: Vec<Arc<Service>> = services.iter().filter(changed).cloned().collect();
        self.settle_hosted(&changed)
    }

    /// The ports of the balancer that are to lead to endpoints here.
    fn preferred(&self, service: &Service, state: &ServiceState) -> Vec<PublishedPort> {
        let asked = |port: &&PublishedPort| {
            port.mode == PublishMode::Ingress && port.prefer == Preference::Local
        };
        let mut asked = state.spec.ports.iter().filter(asked).peekable();
        if asked.peek().is_none() || state.removed || !self.serves_here(state) {
            return Vec::new();
        }
        let Some(balancer) = self.balancers.on(service.network.spec.id) else {
            return Vec::new();
        };
        let host = self.ingress_host(&service.network);
        let balancer = balancer.state();
        asked
            .filter(|port| is_published(port, &balancer.published))
            .map(|port| PublishedPort {
                host: port.host.or(host),
                ..*port
            })
            .collect()
    }

    fn serves_here(&self, state: &ServiceState) -> bool {
        !self.slots_here(&state.roster).is_empty()
    }

    /// Whether this host leads to its own endpoints of a service by itself, or is to.
    fn is_concerned(&self, service: &Service, state: &ServiceState) -> bool {
        may_publish(&state.spec)
            || !state.hosted.ports.is_empty()
            || self.balancers.lacks_hosted(service)
    }

    /// Why nothing can be published by these families for the endpoints here.
    fn hosting_hindrance(&self, families: &[Family], state: &ServiceState) -> Option<Obstacle> {
        match (families.is_empty(), self.serves_here(state)) {
            (true, _) => Some(Obstacle::NoRules),
            // Who has no way out answers nobody.
            (false, false) => Some(Obstacle::Unreached),
            (false, true) => None,
        }
    }

    fn settle_hosted_of(&self, service: &Service) -> Result<()> {
        let mut state = lock(&service.state);
        if !self.is_concerned(service, &state) {
            return Ok(());
        }
        let wanted = !state.removed && !state.roster.here.is_empty();
        let is_asked = |port: &PublishedPort| wanted && port.mode == PublishMode::Host;
        let asked = state.spec.ports.iter().copied().filter(is_asked);
        let asked = self.on_this_host(asked)?;
        let families = self.hosted_families();
        let hindrance = self.hosting_hindrance(&families, &state);
        let mut lacking: BTreeMap<HostPort, Obstacle> = hindrance
            .iter()
            .flat_map(|why| asked.iter().map(|port| (port.at(), *why)))
            .collect();
        let mut ports = match hindrance {
            Some(_) => Vec::new(),
            None => asked,
        };
        let preferred = self.preferred(service, &state);
        if ports.is_empty() && preferred.is_empty() && state.hosted.ports.is_empty() {
            self.balancers.note_hosted_lacking(service, lacking);
            return Ok(());
        }
        let mut held = std::mem::take(&mut state.claims);
        let requests: Vec<PortRequest> = ports.iter().map(request).collect();
        let (claims, refused) = self.claim_each(&families, &requests, &mut held);
        ports.retain(|port| {
            let mut refused = refused.iter();
            let found = refused.find(|(asked, _)| *asked == request(port));
            let taken = found.filter(|(_, error)| !is_elsewhere(error));
            lacking.extend(taken.map(|(_, error)| (port.at(), obstacle(error))));
            found.is_none()
        });
        ports.extend(preferred);
        let fragment = self.service_fragment(&service.network, &state.spec, &state.roster, &ports);
        let noted = match ports == state.hosted.ports {
            true => Ok(()),
            false => self
                .slots_batch(service, &state, &state.roster, &ports)
                .and_then(|batch| self.note(batch)),
        };
        let done = noted.and_then(|()| self.bring(vec![(Owner::Service(service.id), fragment)]));
        if let Err(error) = done {
            let standing = state.hosted.claimed();
            state.claims = super::update::back(&*self.kernel, claims, held, &standing);
            let failed = ports
                .iter()
                .filter(|port| port.mode == PublishMode::Host && !standing.contains(port));
            lacking.extend(failed.map(|port| (port.at(), Obstacle::Failed)));
            self.balancers.note_hosted_lacking(service, lacking);
            return Err(error);
        }
        state.claims = claims;
        let former = state.host_by(service, ports);
        self.balancers.note_hosted_lacking(service, lacking);
        self.note_led(service.id);
        drop(state);
        // The kernel's whole table may be walked for it.
        self.forget_due();
        self.forget_hosted(service, &former.ports);
        Ok(())
    }
}

impl ServiceState {
    /// Takes it that this host leads to endpoints here by these ports now; gives back by what it did.
    fn host_by(&mut self, service: &Service, ports: Vec<PublishedPort>) -> Hosted {
        self.owed = self.led_before(service, &ports);
        std::mem::replace(&mut self.hosted, Hosted { ports })
    }
}

/// Whether a host may lead to its own endpoints of a service by itself.
pub(super) fn may_publish(spec: &ServiceSpec) -> bool {
    spec.ports.iter().any(past_balancer)
}

/// Whether connections to a port may be led past the balancer.
fn past_balancer(port: &PublishedPort) -> bool {
    port.mode == PublishMode::Host || port.prefer == Preference::Local
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
