//! What a service wants of the host, as a fragment.

use super::{Roster, ServiceState};
use crate::{Controller, attach::FAMILIES, registry::Network};
use vw_firewall::{ServicePolicy, ServicePort};
use vw_hoststate::{Address, Fragment, Netns, Object, Table};
use vw_model::{
    Affinity, Error, Family, IfName, IpNet, Kind, PublishMode, PublishedPort, Result, Scope,
    ServiceSpec,
};

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
        fragment.insert(Object::Table(Table::Services));
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
        let elements = vw_firewall::service(&ServicePolicy {
            vips: vips.filter(|_| bridge.is_some()).collect(),
            home: bridge.clone().filter(|_| talk),
            ports: spec.ports.iter().map(published).collect(),
            families: self.published_families(network),
            affinity: spec.affinity == Affinity::Client,
            slots: roster.leads(),
        });
        fragment.extend(elements.into_iter().map(Object::Element));
        fragment
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
        let has = |family: &Family| network.spec.pools(*family).next().is_some();
        let elements = vw_firewall::service(&ServicePolicy {
            vips: spec.vips.iter().map(IpNet::addr).collect(),
            home: Some(link.clone()),
            ports: ingress(spec)
                .map(|port| self.led_inside(network.spec.id, port))
                .collect(),
            families: FAMILIES.into_iter().filter(has).collect(),
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
    pub(crate) fn published_families(&self, network: &Network) -> Vec<Family> {
        let cx = &self.config.drivers;
        let publishes = |family: &Family| network.driver.publishes(&network.spec, *family, cx);
        FAMILIES.into_iter().filter(publishes).collect()
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
