//! An overlay network without encapsulation (`overlay.mode=route`), for hosts on one segment.
//!
//! A host has a bridge of its own with the whole subnet on it, in its own namespace, as a bridge
//! network has. An endpoint on another host is a route to it by way of that host's address, and an
//! answer on the bridge to who takes it for a neighbour: endpoints have the network's prefix, and
//! reach those beside them directly and all others through their host.
//!
//! The routes are one an endpoint and not one a block of addresses. Both cost a change of one host
//! the same on every other; but where an address lies is what the endpoints' records say and the
//! blocks' do not (one that was asked for lies in another host's block), and a block that changes
//! hands would have to be told of in step with them.

use super::{
    options::{self, Mode},
    remote::{addresses, check_family},
};
use crate::{
    AttachmentPlan, DriverContext, Underlay,
    bridge::{self, BridgeOptions},
    bridged::{EndpointOptions, families},
};
use std::net::IpAddr;
use vw_firewall::GatewayMode;
use vw_hoststate::{Address, Fragment, Netns, Object, Proxy, Route, RouteKind, Sysctl};
use vw_model::{
    EndpointSpec, Error, Family, IfName, IpNet, Kind, NetworkSpec, RemoteEndpoint, Result,
    link_address,
};

/// Whether a network is one; its options were checked when it was made.
pub(super) fn is(network: &NetworkSpec) -> bool {
    matches!(options::mode(network), Ok(Mode::Route))
}

/// The bridge of a network.
pub(super) fn bridge(network: &NetworkSpec) -> Result<IfName> {
    bridge::bridge_name(network)
}

/// The network as one of a bridge of this host.
///
/// # Errors
/// As [`options::routed_mtu`] says.
pub(super) fn read(network: &NetworkSpec, underlay: &Underlay) -> Result<BridgeOptions> {
    Ok(BridgeOptions {
        bridge: bridge(network)?,
        foreign: false,
        masquerade: true,
        icc: true,
        host_binding: None,
        mode4: GatewayMode::Nat,
        mode6: GatewayMode::Nat,
        inhibit_ipv4: false,
        mtu: options::routed_mtu(network, underlay)?,
        snat4: None,
        snat6: None,
    })
}

/// The objects of a network.
///
/// # Errors
/// As [`read`], and when a family is on and has no pool.
pub(super) fn plan(
    network: &NetworkSpec,
    underlay: &Underlay,
    cx: &DriverContext,
) -> Result<Fragment> {
    let options = read(network, underlay)?;
    let mut fragment = bridge::plan_network(network, &options, cx)?;
    fragment.extend(answering(network, &options.bridge));
    if network.enable_ipv6 && underlay.addr.is_ipv4() {
        fragment.insert(next_hop(underlay)?);
    }
    Ok(fragment)
}

/// What the bridge needs to answer for others: at once, and not after up to 0.8 s as the kernel
/// does where several may answer (`neigh_parms.proxy_delay`).
fn answering(network: &NetworkSpec, bridge: &IfName) -> Vec<Object> {
    let set = |path: String, value: &str| {
        Object::Sysctl(Sysctl {
            netns: Netns::Host,
            path,
            value: value.to_owned(),
            previous: None,
        })
    };
    let has = families(network).into_iter().filter(|(_, has)| *has);
    let mut sysctls: Vec<Object> = has
        .map(|(family, _)| {
            let version = match family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            };
            set(format!("net/{version}/neigh/{bridge}/proxy_delay"), "0")
        })
        .collect();
    if network.enable_ipv6 {
        sysctls.push(set(format!("net/ipv6/conf/{bridge}/proxy_ndp"), "1"));
    }
    sysctls
}

/// This host as an IPv6 next hop of hosts that know its IPv4 address and its id. It is of full
/// length, and so no source of what this host sends.
fn next_hop(underlay: &Underlay) -> Result<Object> {
    let addr = underlay.link_local.ok_or_else(|| {
        Error::internal(
            "host-id-missing",
            "a network is planned before this host has an id",
        )
    })?;
    Ok(Object::Address(Address {
        netns: Netns::Host,
        link: underlay.link.clone(),
        addr: IpNet::from(IpAddr::V6(addr)),
    }))
}

/// The objects of an endpoint on this host.
///
/// # Errors
/// As [`read`].
pub(super) fn attachment(
    network: &NetworkSpec,
    asked: &EndpointOptions,
    endpoint: &EndpointSpec,
    underlay: &Underlay,
    cx: &DriverContext,
) -> Result<AttachmentPlan> {
    let options = read(network, underlay)?;
    Ok(bridge::attachment(&options, asked, endpoint, cx))
}

/// The way to an endpoint on another host, and back. An address outside the network's subnets is
/// nobody's: whoever told of it would have this host send there what is meant for others.
///
/// # Errors
/// When its host is not on one segment with this one.
pub(super) fn remote(
    network: &NetworkSpec,
    remote: &RemoteEndpoint,
    underlay: &Underlay,
    cx: &DriverContext,
) -> Result<Fragment> {
    check_family(remote.tunnel, underlay.addr)?;
    if !underlay.is_beside(remote.tunnel) {
        return Err(not_beside(network, remote, underlay));
    }
    let bridge = bridge(network)?;
    let pools = &network.ipam.pools;
    let lies_here = |addr: &IpAddr| {
        let mut pools = pools.iter();
        pools.any(|pool| pool.subnet.contains(addr) && pool.gateway != Some(*addr))
    };
    let mut fragment = Fragment::default();
    for addr in addresses(network, remote).filter(lies_here) {
        let via = match (addr, remote.tunnel) {
            (IpAddr::V6(_), IpAddr::V4(_)) => link_address(remote.host).into(),
            _ => remote.tunnel,
        };
        fragment.insert(Object::Route(Route {
            netns: Netns::Host,
            dst: IpNet::from(addr),
            kind: RouteKind::Unicast,
            via: Some(via),
            link: Some(underlay.link.clone()),
            metric: 0,
            mtu: None,
        }));
        fragment.insert(Object::Proxy(Proxy {
            netns: Netns::Host,
            link: bridge.clone(),
            addr,
        }));
        if cx.filters(Family::of(addr)) {
            let elements = vw_firewall::remote(&bridge, &underlay.link, addr);
            fragment.extend(elements.map(Object::Element));
        }
    }
    Ok(fragment)
}

fn not_beside(network: &NetworkSpec, remote: &RemoteEndpoint, underlay: &Underlay) -> Error {
    let sentence = format!(
        "network {} does not reach host {}: it is not on one segment with {}/{} of {}, as option {} needs; put the hosts on one segment, or make the network without the option",
        network.name,
        remote.tunnel,
        underlay.addr,
        underlay.prefix,
        underlay.link,
        options::MODE
    );
    Error::new(Kind::Conflict, "host-not-on-segment", sentence)
}
