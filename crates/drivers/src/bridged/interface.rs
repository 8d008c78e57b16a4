//! What one endpoint that is a bridge's port needs: a pair of links, addresses, parameters.

use super::{EndpointOptions, fits_ipv6};
use crate::DriverContext;
use std::net::IpAddr;
use vw_hoststate::{Address, Fragment, Link, LinkKind, Netns, Object, Peer, PortOptions, Sysctl};
use vw_model::{EndpointSpec, Family, IfName, IpNet};

/// Where an endpoint is plugged in.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// The namespace of the bridge.
    pub(crate) netns: Netns,
    /// The bridge.
    pub(crate) bridge: IfName,
    /// The MTU in bytes.
    pub(crate) mtu: u32,
    /// Whether neighbours may not talk.
    pub(crate) isolated: bool,
    /// Whether a frame may leave by the port it came in.
    pub(crate) hairpin: bool,
}

/// The objects of an endpoint.
pub(crate) fn plan(
    port: &Port,
    asked: &EndpointOptions,
    endpoint: &EndpointSpec,
    cx: &DriverContext,
) -> Fragment {
    let mut fragment = Fragment::default();
    fragment.insert(pair(port, endpoint));
    let addresses = addresses(endpoint);
    let ipv6 = addresses.iter().any(|addr| matches!(addr, IpNet::V6(_)));
    fragment.extend(sysctls(endpoint, ipv6, port.mtu, cx));
    // Later than ours: who asks for a parameter by name gets it.
    fragment.extend(asked.sysctls(endpoint).map(Object::Sysctl));
    fragment.extend(addresses.into_iter().map(|addr| {
        Object::Address(Address {
            netns: Netns::Sandbox(endpoint.sandbox),
            link: endpoint.ifname.clone(),
            addr,
        })
    }));
    fragment
}

/// The pair, its far end created where it belongs. The host end's own link-layer address is
/// nobody's business: the kernel chooses it.
fn pair(port: &Port, endpoint: &EndpointSpec) -> Object {
    Object::Link(Link {
        netns: port.netns,
        name: endpoint.host_ifname.clone(),
        kind: LinkKind::Veth(Peer {
            netns: Netns::Sandbox(endpoint.sandbox),
            name: endpoint.ifname.clone(),
            mac: endpoint.mac,
        }),
        mac: None,
        mtu: port.mtu,
        port: Some(PortOptions {
            bridge: port.bridge.clone(),
            isolated: port.isolated,
            hairpin: port.hairpin,
        }),
        alias: String::new(),
    })
}

/// Leases, link-local addresses that were asked for, and with IPv6 the one that neighbours expect
/// of every interface (RFC 4291, section 2.1): the link makes none of its own accord, because a
/// bridge of many ports would be flooded at each attach.
fn addresses(endpoint: &EndpointSpec) -> Vec<IpNet> {
    let link_local = |addr: &IpAddr| {
        let length = if addr.is_ipv4() { 16 } else { 64 };
        IpNet::new(*addr, length).ok()
    };
    let asked = endpoint.settings.link_local.iter().filter_map(link_local);
    let mut addresses: Vec<IpNet> = endpoint.addresses.iter().copied().chain(asked).collect();
    let ipv6 = |addr: &IpNet| Family::of(addr.addr()) == Family::V6;
    if addresses.iter().any(ipv6) {
        addresses.extend(link_local(&IpAddr::V6(endpoint.mac.link_local())));
    }
    addresses
}

/// With IPv6, neighbours are no routers, and a namespace made by others may have it switched off
/// for new links; without, it is switched off, or a neighbour's router advertisement would give
/// the container an address and a default route (CVE-2020-13401). Each costs 30 to 50 us.
fn sysctls(endpoint: &EndpointSpec, ipv6: bool, mtu: u32, cx: &DriverContext) -> Vec<Object> {
    let set = |name: &str, value: &str| {
        Object::Sysctl(Sysctl {
            netns: Netns::Sandbox(endpoint.sandbox),
            path: format!("net/ipv6/conf/{}/{name}", endpoint.ifname),
            value: value.to_owned(),
            previous: None,
        })
    };
    match (ipv6, cx.ipv6 && fits_ipv6(mtu)) {
        (true, _) => vec![set("accept_ra", "0"), set("disable_ipv6", "0")],
        (false, true) => vec![set("disable_ipv6", "1")],
        (false, false) => Vec::new(),
    }
}
