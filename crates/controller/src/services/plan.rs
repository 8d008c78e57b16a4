//! What a service wants of the host, as a fragment.

use super::{Roster, ServiceState, roster::slot};
use crate::{
    Controller,
    attach::FAMILIES,
    registry::{Network, lock},
};
use vw_firewall::{Element, ServicePolicy, ServicePort, Slot};
use vw_hoststate::{Address, Fragment, Netns, Object, Owner, Table};
use vw_model::{
    Affinity, EndpointId, Error, Family, HostPort, IfName, IpNet, Kind, PublishMode, PublishedPort,
    Result, Scope, ServiceSpec,
};

/// What nobody is led to as there are no rules.
pub(super) struct WithoutRules {
    pub(super) vips: Vec<IpNet>,
    pub(super) ports: Vec<HostPort>,
}

impl Controller {
    /// What a service wants with these members.
    pub(crate) fn service_fragment(
        &self,
        network: &Network,
        spec: &ServiceSpec,
        roster: &Roster,
        hosted: &[PublishedPort],
    ) -> Fragment {
        if network.spec.scope == Scope::Global {
            let mut fragment = self.balanced_fragment(network, spec, roster);
            fragment.extend(self.hosted_objects(spec, roster, hosted));
            return fragment;
        }
        let mut fragment = Fragment::default();
        if spec.vips.is_empty() && spec.ports.is_empty() {
            return fragment;
        }
        let bridge = network.driver.host_link(&network.spec);
        let vips = spec.vips.iter().map(IpNet::addr);
        let vips = vips.filter(|vip| self.config.drivers.filters(Family::of(*vip)));
        if let Some(link) = &bridge {
            fragment.extend(vips.clone().map(|addr| {
                Object::Address(Address {
                    netns: Netns::Host,
                    link: link.clone(),
                    addr: IpNet::from(addr),
                })
            }));
        }
        let drivers = &self.config.drivers;
        let talk = network.driver.lets_neighbours_talk(&network.spec, drivers);
        let inside = ServicePolicy {
            vips: vips.filter(|_| bridge.is_some()).collect(),
            home: bridge.clone().filter(|_| talk),
            ports: Vec::new(),
            families: self.published_families(network).to_vec(),
            affinity: spec.affinity == Affinity::Client,
            slots: roster.leads(),
        };
        let mut elements = vw_firewall::service(&inside);
        if !spec.ports.is_empty() {
            elements.extend(vw_firewall::service(&ServicePolicy {
                vips: Vec::new(),
                ports: spec.ports.iter().map(published).collect(),
                slots: self.slots_by_way_out(roster),
                ..inside
            }));
        }
        if !elements.is_empty() {
            fragment.insert(Object::Table(Table::Services));
        }
        fragment.extend(self.led(elements));
        fragment
    }

    /// Elements that lead to endpoints from this host, with what translates where they need it.
    pub(super) fn led(&self, elements: Vec<Element>) -> Vec<Object> {
        let mut objects = Vec::new();
        if elements.iter().any(vw_firewall::is_translated) {
            objects = vw_drivers::plan_translator(&self.config.drivers);
        }
        objects.extend(elements.into_iter().map(Object::Element));
        objects
    }

    /// What this host cannot lead to of a service on one of its own networks, which was made while
    /// its daemon made rules that it makes no more.
    pub(super) fn without_rules(&self, network: &Network, spec: &ServiceSpec) -> WithoutRules {
        let cx = &self.config.drivers;
        let families = self.published_families(network);
        let is_published = |port: &&PublishedPort| match port.host {
            Some(host) => families.contains(&Family::of(host)),
            None => !families.is_empty(),
        };
        let vips = spec.vips.iter();
        let vips = vips.filter(|vip| !cx.filters(Family::of(vip.addr())));
        let ports = spec.ports.iter().filter(|port| !is_published(port));
        WithoutRules {
            vips: vips.copied().collect(),
            ports: ports.map(PublishedPort::at).collect(),
        }
    }

    /// Where clients of published ports are led: to where the endpoints' answers leave, where that is
    /// not the service's network. By another way they come to a strict `rp_filter` from where they are
    /// not routed.
    fn slots_by_way_out(&self, roster: &Roster) -> Vec<Slot> {
        let by_way_out = |id: &EndpointId| {
            let member = roster.members.get(id)?;
            let own = slot(member.addresses.iter().copied());
            let reached = slot(self.reached_at(member.sandbox));
            Some(Slot {
                v4: own.v4.map(|own| reached.v4.unwrap_or(own)),
                v6: own.v6.map(|own| reached.v6.unwrap_or(own)),
            })
        };
        let slots = roster.slots.iter().filter_map(by_way_out);
        slots.map(|slot| self.led_by_both(slot)).collect()
    }

    /// Who comes over IPv6 is led to an endpoint without it too, where that is translated.
    pub(super) fn led_by_both(&self, slot: Slot) -> Slot {
        let translates = vw_drivers::translates(&self.config.drivers);
        let mapped = slot.v4.filter(|_| translates).map(vw_firewall::mapped);
        Slot {
            v6: slot.v6.or(mapped),
            ..slot
        }
    }

    /// Has clients led to an endpoint of this host by where its answers leave now.
    pub(crate) fn way_out_of_changed(&self, id: EndpointId) {
        let Some(service) = lock(&self.services).of(id) else {
            return;
        };
        if service.is_global() {
            return self.look_at_service_of(id);
        }
        let state = lock(&service.state);
        if state.removed || state.spec.ports.is_empty() || !state.roster.serves(id) {
            return;
        }
        let fragment = self.fragment_of(&service.network, &state);
        if let Err(error) = self.bring(vec![(Owner::Service(service.id), fragment)]) {
            let name = &state.spec.name;
            self.warn(format!(
                "service {name} publishes by the way that its endpoint had out before, until that can be changed: {}",
                error.chain()
            ));
            self.lead_later(&service);
        }
    }

    /// The same of one whose endpoints may lie on other hosts: what it wants of the sandbox that
    /// leads to them here, while there is one.
    fn balanced_fragment(
        &self,
        network: &Network,
        spec: &ServiceSpec,
        roster: &Roster,
    ) -> Fragment {
        let mut fragment = Fragment::default();
        let Some((sandbox, link)) = self.balancer_on(network.spec.id) else {
            return fragment;
        };
        fragment.extend(spec.vips.iter().map(|vip| {
            Object::Address(Address {
                netns: Netns::Sandbox(sandbox),
                link: link.clone(),
                addr: IpNet::from(vip.addr()),
            })
        }));
        let families = super::ingress::families(network);
        let elements = vw_firewall::service(&ServicePolicy {
            vips: spec.vips.iter().map(IpNet::addr).collect(),
            home: Some(link.clone()),
            ports: ingress(spec)
                .map(|port| self.led_inside(network.spec.id, &families, port))
                .collect(),
            families: families.clone(),
            affinity: spec.affinity == Affinity::Client,
            slots: roster.leads(),
        });
        fragment.extend(elements.into_iter().map(|e| Object::Balance(sandbox, e)));
        fragment
    }

    /// The same of one that stands.
    pub(crate) fn fragment_of(&self, network: &Network, state: &ServiceState) -> Fragment {
        self.service_fragment(network, &state.spec, &state.roster, &state.hosted.ports)
    }

    /// The families that ports of services on a network are published over.
    pub(crate) fn published_families<'a>(&self, network: &'a Network) -> &'a [Family] {
        let cx = &self.config.drivers;
        let publishes = |family: &Family| network.driver.publishes(&network.spec, *family, cx);
        let families = || FAMILIES.into_iter().filter(publishes).collect();
        network.published.get_or_init(families)
    }

    /// The link of a network that can have addresses of services, and the families of those.
    ///
    /// # Errors
    /// `Unsupported` where this host has no address on the network, or makes no rules.
    pub(crate) fn vip_families(&self, network: &Network) -> Result<Vec<Family>> {
        let cx = &self.config.drivers;
        let link = network.driver.host_link(&network.spec);
        let fragment = network.driver.plan_network(&network.spec, cx)?;
        let has = |family: Family| {
            let addresses = fragment.iter().filter_map(|(_, object)| match object {
                Object::Address(address) => Some(address),
                _ => None,
            });
            let mut global = addresses.filter(|address| is_global(&address.addr));
            let on = |on: &IfName| link.as_ref() == Some(on);
            global.any(|address| on(&address.link) && Family::of(address.addr.addr()) == family)
        };
        let usable = |family: &Family| cx.filters(*family) && has(*family);
        let families: Vec<Family> = FAMILIES.into_iter().filter(usable).collect();
        if families.is_empty() {
            let sentence = format!(
                "network {} cannot have a virtual address: this host has no address on it, or makes no rules for it; use --endpoint-mode dnsrr",
                network.spec.name
            );
            return Err(Error::new(Kind::Unsupported, "vip-impossible", sentence));
        }
        Ok(families)
    }
}

pub(super) const fn published(port: &PublishedPort) -> ServicePort {
    ServicePort {
        host: port.host,
        published: port.published,
        target: port.target.port,
        protocol: port.target.protocol,
    }
}

/// What is published on every host.
pub(super) fn ingress(spec: &ServiceSpec) -> impl Iterator<Item = &PublishedPort> {
    let ports = spec.ports.iter();
    ports.filter(|port| port.mode == PublishMode::Ingress)
}

const fn is_global(addr: &IpNet) -> bool {
    match addr {
        IpNet::V4(_) => true,
        IpNet::V6(net) => !net.addr().is_unicast_link_local(),
    }
}
