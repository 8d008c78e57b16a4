//! What depends on all of a sandbox's attachments: default routes, published ports, resolver.
//!
//! Pure: the same attachments give the same plan, in whichever order they came.

use crate::registry::{Attachment, Resolver};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_drivers::{DriverContext, Gateway};
use vw_hoststate::{Fragment, Namespace, Netns, Object, Route, RouteKind, Table};
use vw_model::{Family, IpNet, Ipv4Net, Ipv6Net, PortMapping, Result, SandboxId};

/// What the plan is made of besides the attachments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) sandbox: SandboxId,
    pub(crate) namespace: Option<&'a Namespace>,
    pub(crate) resolver: Option<Resolver>,
    pub(crate) ports: &'a [PortMapping],
    /// The subnets of encrypted networks that it is a member of, attached at the moment or not.
    pub(crate) encrypted: &'a [IpNet],
    /// It leads to the services of a network.
    pub(crate) balances: bool,
    pub(crate) drivers: &'a DriverContext,
}

/// The attachment whose network supplies the default gateway of a family.
///
/// The highest `gw-priority` wins, then the network whose name comes first, as Docker chooses;
/// a network without a gateway of that family (internal ones have none) is never chosen.
pub(crate) fn gateway_of(attachments: &[Attachment], family: Family) -> Option<&Attachment> {
    let usable = |a: &&Attachment| gateway(a, family).is_some();
    attachments.iter().filter(usable).min_by(|a, b| {
        let by_priority = b
            .endpoint
            .settings
            .gw_priority
            .cmp(&a.endpoint.settings.gw_priority);
        by_priority.then_with(|| a.network.spec.name.cmp(&b.network.spec.name))
    })
}

/// The attachment by which the host leads to the sandbox over a family: what answers over no IPv6 is led
/// to over IPv4, where that is translated.
pub(crate) fn way_in<'a>(
    attachments: &'a [Attachment],
    family: Family,
    drivers: &DriverContext,
) -> Option<&'a Attachment> {
    let translated = || match family {
        Family::V6 if vw_drivers::translates(drivers) => gateway_of(attachments, Family::V4),
        _ => None,
    };
    gateway_of(attachments, family).or_else(translated)
}

/// Whether the host leads to the sandbox over a family.
pub(crate) fn publishes(
    attachments: &[Attachment],
    family: Family,
    drivers: &DriverContext,
) -> bool {
    way_in(attachments, family, drivers).is_some_and(|chosen| {
        let network = &chosen.network;
        let driver = &network.driver;
        driver.publishes_to(&network.spec, &chosen.endpoint, family, drivers)
    })
}

fn gateway(attachment: &Attachment, family: Family) -> Option<&Gateway> {
    attachment
        .gateways
        .iter()
        .find(|gateway| Family::of(gateway.via) == family)
}

/// The objects that the sandbox itself wants.
///
/// # Errors
/// When the driver of the network that ports land on refuses them.
pub(crate) fn plan(inputs: Inputs<'_>, attachments: &[Attachment]) -> Result<Fragment> {
    let mut fragment = Fragment::default();
    if let Some(namespace) = inputs.namespace {
        fragment.insert(Object::Namespace(namespace.clone()));
    }
    if let Some(resolver) = inputs.resolver {
        let Resolver { udp, tcp } = resolver;
        fragment.insert(Object::Table(Table::SandboxDns {
            sandbox: inputs.sandbox,
            udp,
            tcp,
        }));
    }
    for subnet in inputs.encrypted {
        fragment.insert(Object::Route(no_other_way(inputs.sandbox, *subnet)));
    }
    for family in [Family::V4, Family::V6] {
        let Some(chosen) = way_in(attachments, family, inputs.drivers) else {
            continue;
        };
        if let Some(gateway) = gateway(chosen, family) {
            fragment.insert(Object::Route(Route {
                netns: Netns::Sandbox(inputs.sandbox),
                dst: everywhere(family),
                kind: RouteKind::Unicast,
                via: Some(gateway.via),
                link: Some(gateway.link.clone()),
                metric: 0,
                mtu: None,
            }));
        }
        fragment.extend(ports(inputs, attachments, chosen, family)?);
    }
    for attachment in attachments {
        let elsewhere = elsewhere(attachments, attachment, inputs.drivers);
        if !elsewhere.is_empty() {
            let network = &attachment.network;
            let driver = &network.driver;
            let planned = driver.plan_beside(&network.spec, &elsewhere, inputs.drivers);
            fragment.extend(planned.iter().map(|(_, object)| object.clone()));
        }
    }
    Ok(fragment)
}

/// What is published over a family, by the attachment that is led to. What leads to the services of a
/// network without IPv6 leads nobody who comes to it over that, whatever address it has there.
fn ports(
    inputs: Inputs<'_>,
    attachments: &[Attachment],
    chosen: &Attachment,
    family: Family,
) -> Result<Vec<Object>> {
    let ports: Vec<PortMapping> = inputs
        .ports
        .iter()
        .filter(|port| Family::of(port.host.ip()) == family)
        .copied()
        .collect();
    let (network, mut endpoint) = (&chosen.network, chosen.endpoint.clone());
    // It may have been given its ports by a daemon that had other settings.
    if ports.is_empty() || !publishes(attachments, family, inputs.drivers) {
        return Ok(Vec::new());
    }
    let leads = |family: Family| {
        let mut led = attachments
            .iter()
            .filter(|a| !a.network.is_gateway_bridge());
        led.any(|a| a.endpoint.address(family).is_some())
    };
    let by_four = inputs.balances && vw_drivers::translates(inputs.drivers);
    if family == Family::V6 && by_four && leads(Family::V4) && !leads(Family::V6) {
        endpoint.addresses.retain(|addr| addr.addr().is_ipv4());
    }
    let planned = network
        .driver
        .plan_ports(&network.spec, &endpoint, &ports, inputs.drivers)?;
    Ok(planned.iter().map(|(_, object)| object.clone()).collect())
}

/// The addresses that ports may lead to on networks other than that of one attachment.
fn elsewhere(
    attachments: &[Attachment],
    here: &Attachment,
    drivers: &DriverContext,
) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for other in attachments {
        let network = &other.network;
        let publishes = |family| network.driver.publishes(&network.spec, family, drivers);
        if other.endpoint.id != here.endpoint.id {
            let all = other.endpoint.addresses.iter().map(IpNet::addr);
            addresses.extend(all.filter(|addr| publishes(Family::of(*addr))));
        }
    }
    addresses
}

/// Takes what is for an encrypted network while its interface is away, after which it would leave in
/// clear text by the default route. The interface's own route comes before it.
fn no_other_way(sandbox: SandboxId, subnet: IpNet) -> Route {
    Route {
        netns: Netns::Sandbox(sandbox),
        dst: subnet.trunc(),
        kind: RouteKind::Unreachable,
        via: None,
        link: None,
        metric: u32::MAX,
        mtu: None,
    }
}

/// The destination of a default route.
const fn everywhere(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        Family::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    }
}

#[cfg(test)]
mod tests;
