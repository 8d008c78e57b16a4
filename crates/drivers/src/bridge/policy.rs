//! The firewall's part of a bridge network and of its published ports.

use super::options::BridgeOptions;
use crate::{DriverContext, driver::cannot_publish, translator};
use std::net::IpAddr;
use vw_firewall::{Element, FamilyPolicy, GatewayMode, NetworkPolicy, PortPolicy, SetName};
use vw_hoststate::{Fragment, Object};
use vw_model::{EndpointSpec, Family, NetworkSpec, PortMapping, Result};

/// Whether ports can be published over a family: the network has it and lets it in, and rules of
/// ours are allowed.
pub(crate) fn publishes(
    network: &NetworkSpec,
    options: &BridgeOptions,
    cx: &DriverContext,
    family: Family,
) -> bool {
    let enabled = match family {
        Family::V4 => network.enable_ipv4,
        Family::V6 => network.enable_ipv6,
    };
    let open = options.mode(family) != GatewayMode::Isolated && !network.internal;
    enabled && open && cx.filters(family)
}

/// Whether ports of an endpoint of the network that has no IPv6 address can be published over IPv6 by
/// translation: it is reached over IPv4 by published ports, and answers by this host.
pub(crate) fn translates(
    network: &NetworkSpec,
    options: &BridgeOptions,
    cx: &DriverContext,
) -> bool {
    let by_ports = matches!(
        options.mode(Family::V4),
        GatewayMode::Nat | GatewayMode::NatUnprotected
    );
    by_ports
        && options.host_takes_part(Family::V4)
        && translator::translates(cx)
        && publishes(network, options, cx, Family::V4)
}

/// Whether ports can be published over a family for an endpoint, which may have IPv6 switched off on a
/// network that has it.
pub(crate) fn publishes_to(
    network: &NetworkSpec,
    options: &BridgeOptions,
    endpoint: &EndpointSpec,
    cx: &DriverContext,
    family: Family,
) -> bool {
    match (family, endpoint.address(family)) {
        (Family::V6, None) => translates(network, options, cx),
        _ => publishes(network, options, cx, family),
    }
}

/// The network's policy.
pub(super) fn of_network(
    network: &NetworkSpec,
    options: &BridgeOptions,
    cx: &DriverContext,
) -> Vec<Object> {
    let elements = vw_firewall::network(&NetworkPolicy {
        bridge: options.bridge.clone(),
        internal: network.internal,
        icc: options.icc,
        v4: FamilyPolicy {
            mode: options.mode4,
            masquerade: network.enable_ipv4 && options.masquerade,
            snat: options.snat4.filter(|_| network.enable_ipv4),
        },
        v6: FamilyPolicy {
            mode: options.mode6,
            masquerade: network.enable_ipv6 && options.masquerade,
            snat: options.snat6.filter(|_| network.enable_ipv6),
        },
    });
    let wanted = elements
        .into_iter()
        .filter(|element| family_of(element).map_or(cx.iptables, |family| cx.filters(family)));
    wanted.map(Object::Element).collect()
}

/// The family that an element of a network is about; `None` for both.
fn family_of(element: &Element) -> Option<Family> {
    match element.set {
        SetName::Masquerade4 | SetName::Snat4 => Some(Family::V4),
        SetName::Masquerade6 | SetName::Snat6 => Some(Family::V6),
        _ => element.key.iter().find_map(|datum| match datum {
            vw_firewall::Datum::Family(family) => Some(*family),
            _ => None,
        }),
    }
}

/// What neighbours need who keep their own address on the way to an endpoint that is on the network
/// too: those that are masqueraded are strangers to it.
pub(super) fn beside(
    network: &NetworkSpec,
    options: &BridgeOptions,
    elsewhere: &[IpAddr],
    cx: &DriverContext,
) -> Fragment {
    let keeps = |addr: &&IpAddr| {
        let family = Family::of(**addr);
        let routed = options.mode(family) == GatewayMode::Routed;
        publishes(network, options, cx, family) && (routed || !options.masquerade)
    };
    let mut fragment = Fragment::default();
    for addr in elsewhere.iter().filter(keeps) {
        fragment.insert(Object::Element(vw_firewall::beside(&options.bridge, *addr)));
    }
    fragment
}

/// The endpoint's published ports.
///
/// # Errors
/// When a port is published over a family that the network or the endpoint lacks.
pub(crate) fn of_ports(
    network: &NetworkSpec,
    options: &BridgeOptions,
    endpoint: &EndpointSpec,
    mappings: &[PortMapping],
    cx: &DriverContext,
) -> Result<Fragment> {
    let mut fragment = Fragment::default();
    for mapping in mappings {
        let family = Family::of(mapping.host.ip());
        let other = endpoint.addresses.first().map(|net| net.addr());
        let target = endpoint.address(family).or(other);
        let mut target = target.ok_or_else(|| cannot_publish(network, mapping))?;
        if !cx.filters(family) {
            return Err(cannot_publish(network, mapping));
        }
        let mut mode = options.mode(family);
        if let (Family::V6, IpAddr::V4(four)) = (family, target)
            && translates(network, options, cx)
        {
            fragment.extend(translator::plan(cx));
            target = vw_firewall::mapped(four).into();
            mode = options.mode(Family::V4);
        }
        let elements = vw_firewall::port(&PortPolicy {
            mapping: *mapping,
            target,
            mode,
            internal: network.internal,
        })?;
        fragment.extend(elements.into_iter().map(Object::Element));
    }
    Ok(fragment)
}
