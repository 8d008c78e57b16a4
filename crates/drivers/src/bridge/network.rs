//! What a bridge network itself needs: its bridge, the host's addresses on it, its policy.

use super::{options::BridgeOptions, policy};
use crate::{
    DriverContext,
    bridged::{families, fits_ipv6, pool_missing},
};
use std::net::{IpAddr, Ipv6Addr};
use vw_firewall::{GatewayMode, STAND_IN};
use vw_hoststate::{
    Address, BridgeOptions as BridgeAttributes, Fragment, Link, LinkKind, Netns, Object, Route,
    RouteKind, Sysctl,
};
use vw_model::{Family, IpNet, Ipv6Net, MacAddr, NetworkSpec, PoolSpec, Result};

/// The host's link-local address on every bridge with IPv6, as Docker's.
const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The objects of a network.
///
/// # Errors
/// When a family is on and has no pool.
pub(crate) fn plan(
    network: &NetworkSpec,
    options: &BridgeOptions,
    cx: &DriverContext,
) -> Result<Fragment> {
    let mut fragment = Fragment::default();
    if !options.foreign {
        fragment.insert(bridge(network, options));
        for (family, enabled) in families(network) {
            if enabled {
                fragment.extend(addresses(network, options, family)?);
            }
        }
        fragment.extend(sysctls(network, options, cx));
    }
    if publishes_on_localhost(network, options, cx, Family::V6) {
        fragment.insert(localhost_route(network, options));
    }
    fragment.extend(policy::of_network(network, options, cx));
    Ok(fragment)
}

/// The pool of a family; bridge networks have one each.
pub(super) fn pool(network: &NetworkSpec, family: Family) -> Option<&PoolSpec> {
    network.pools(family).next()
}

/// Whether ports published on the network answer on localhost.
fn publishes_on_localhost(
    network: &NetworkSpec,
    options: &BridgeOptions,
    cx: &DriverContext,
    family: Family,
) -> bool {
    let translates = [GatewayMode::Nat, GatewayMode::NatUnprotected];
    policy::publishes(network, options, cx, family)
        && options.host_takes_part(family)
        && translates.contains(&options.mode(family))
}

/// The bridge. Without an address of its own it would take the lowest of its ports', and
/// containers would remember a stale one whenever a neighbour comes or goes. Snooping is off: it
/// costs with many ports, and there is no querier.
fn bridge(network: &NetworkSpec, options: &BridgeOptions) -> Object {
    Object::Link(Link {
        netns: Netns::Host,
        name: options.bridge.clone(),
        kind: LinkKind::Bridge(BridgeAttributes {
            mcast_snooping: false,
        }),
        mac: Some(bridge_mac(network)),
        mtu: options.mtu,
        port: None,
        alias: format!("vethwork:network:{}", network.id),
    })
}

/// Locally administered, and of another beginning than those of endpoints.
fn bridge_mac(network: &NetworkSpec) -> MacAddr {
    let [a, b, c, d, ..] = *network.id.0.as_bytes();
    MacAddr([0x02, 0x76, a, b, c, d])
}

fn addresses(
    network: &NetworkSpec,
    options: &BridgeOptions,
    family: Family,
) -> Result<Vec<Object>> {
    if network.pools(family).next().is_none() {
        return Err(pool_missing(network, family));
    }
    if !options.host_takes_part(family) {
        return Ok(Vec::new());
    }
    let address = |addr| {
        Object::Address(Address {
            netns: Netns::Host,
            link: options.bridge.clone(),
            addr,
        })
    };
    let router = |pool: &PoolSpec| IpNet::new(pool.gateway?, pool.subnet.prefix_len()).ok();
    let routers = network.pools(family).filter_map(router);
    let link_local = IpNet::V6(Ipv6Net::new_assert(ROUTER_LINK_LOCAL, 64));
    let link_local = (family == Family::V6).then_some(link_local);
    Ok(routers.chain(link_local).map(address).collect())
}

/// Parameters of the bridge alone; forwarding as such is the daemon's.
///
/// A bridge without IPv6 has it switched off, and one with it hears no router advertisements:
/// a container could send some (CVE-2020-13401).
fn sysctls(network: &NetworkSpec, options: &BridgeOptions, cx: &DriverContext) -> Vec<Object> {
    let set = |family: &str, name: &str, value: &str| {
        Object::Sysctl(Sysctl {
            netns: Netns::Host,
            path: format!("net/{family}/conf/{}/{name}", options.bridge),
            value: value.to_owned(),
            previous: None,
        })
    };
    let mut sysctls = Vec::new();
    if publishes_on_localhost(network, options, cx, Family::V4) {
        // Replies to 127.0.0.1 come in by the bridge; the table's guard keeps strangers out.
        sysctls.push(set("ipv4", "route_localnet", "1"));
    }
    if network.enable_ipv6 && options.host_takes_part(Family::V6) {
        sysctls.push(set("ipv6", "accept_ra", "0"));
        sysctls.push(set("ipv6", "disable_ipv6", "0"));
    } else if cx.ipv6 && fits_ipv6(options.mtu) {
        sysctls.push(set("ipv6", "disable_ipv6", "1"));
    }
    sysctls
}

/// What is sent to `::1` and translated to a container leaves by the bridge from what stands for
/// `::1`, which must therefore be local. IPv6 has no `route_localnet`.
/// The kernel joins routes of one metric into one, so each bridge has its own.
fn localhost_route(network: &NetworkSpec, options: &BridgeOptions) -> Object {
    let [a, b, c, d, ..] = *network.id.0.as_bytes();
    // Never 0, which stands for the kernel's default, and never the largest.
    let metric = (u32::from_be_bytes([a, b, c, d]) >> 1) + 1;
    Object::Route(Route {
        netns: Netns::Host,
        dst: IpNet::from(IpAddr::V6(STAND_IN)),
        kind: RouteKind::Local,
        via: None,
        link: Some(options.bridge.clone()),
        metric,
        mtu: None,
    })
}
