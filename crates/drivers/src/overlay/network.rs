//! What an overlay network itself needs on a host: a namespace with a bridge and a tunnel.

use super::options::OverlayOptions;
use crate::{
    DriverContext,
    bridged::{families, fits_ipv6, pool_missing},
};
use vw_hoststate::{
    BridgeOptions, Fragment, Link, LinkKind, Namespace, NamespaceSource, Netns, Object,
    PortOptions, Shortcuts, Sysctl, VxlanOptions,
};
use vw_model::{Error, Family, IfName, MacAddr, NetworkSpec, Result};

/// The objects of a network.
///
/// # Errors
/// When the network has no number yet, or a family is on and has no pool.
pub(super) fn plan(
    network: &NetworkSpec,
    options: &OverlayOptions,
    cx: &DriverContext,
) -> Result<Fragment> {
    for (family, enabled) in families(network) {
        if enabled && network.pools(family).next().is_none() {
            return Err(pool_missing(network, family));
        }
    }
    let netns = Netns::Network(network.id);
    let mut fragment = Fragment::default();
    fragment.insert(Object::Namespace(Namespace {
        netns,
        source: NamespaceSource::New,
    }));
    fragment.insert(bridge(network, options)?);
    fragment.insert(tunnel(network, options)?);
    if cx.no_shortcuts.is_none() {
        fragment.insert(Object::Shortcuts(Shortcuts {
            netns,
            link: tunnel_name()?,
        }));
    }
    fragment.extend(sysctls(netns, options, cx)?);
    // Inside the encrypted tunnel there are peers alone.
    if !options.way.encrypted && cx.filters(Family::of(options.way.local)) {
        fragment.insert(Object::Element(vw_firewall::tunnel_port(options.port)));
    }
    Ok(fragment)
}

/// The bridge in the network's namespace.
pub(super) fn bridge_name() -> Result<IfName> {
    name("br0")
}

/// The tunnel in the network's namespace.
pub(super) fn tunnel_name() -> Result<IfName> {
    name("vxlan0")
}

fn name(text: &'static str) -> Result<IfName> {
    text.parse()
        .map_err(|_| Error::internal("name-invalid", "a name of our own cannot be an interface's"))
}

fn alias(network: &NetworkSpec) -> String {
    format!("vethwork:network:{}", network.id)
}

/// The bridge sends nothing itself; an address of its own spares it to follow its ports'.
fn bridge(network: &NetworkSpec, options: &OverlayOptions) -> Result<Object> {
    let [a, b, c, d, ..] = *network.id.0.as_bytes();
    Ok(Object::Link(Link {
        netns: Netns::Network(network.id),
        name: bridge_name()?,
        kind: LinkKind::Bridge(BridgeOptions {
            mcast_snooping: false,
        }),
        mac: Some(MacAddr([0x02, 0x76, a, b, c, d])),
        mtu: options.mtu,
        port: None,
        alias: alias(network),
    }))
}

fn tunnel(network: &NetworkSpec, options: &OverlayOptions) -> Result<Object> {
    let vni = options.vni.ok_or_else(|| {
        Error::internal("vxlan-id-missing", "an overlay network has no VXLAN id yet")
    })?;
    Ok(Object::Link(Link {
        netns: Netns::Network(network.id),
        name: tunnel_name()?,
        kind: LinkKind::Vxlan(VxlanOptions {
            vni,
            port: options.port,
            local: options.way.local,
            // A second time finds nothing to join, and costs every packet its way through a queue.
            gro: !options.way.merges,
        }),
        mac: None,
        mtu: options.mtu,
        port: Some(PortOptions {
            bridge: bridge_name()?,
            isolated: false,
            hairpin: false,
        }),
        alias: alias(network),
    }))
}

/// The bridge is no station. Where `br_netfilter` is loaded, a new namespace has its switches on,
/// and every frame would take the way through hooks that have no rules here.
fn sysctls(netns: Netns, options: &OverlayOptions, cx: &DriverContext) -> Result<Vec<Object>> {
    let set = |path: String, value: &str| {
        Object::Sysctl(Sysctl {
            netns,
            path,
            value: value.to_owned(),
            previous: None,
        })
    };
    let mut sysctls = Vec::new();
    if cx.ipv6 && fits_ipv6(options.mtu) {
        let path = format!("net/ipv6/conf/{}/disable_ipv6", bridge_name()?);
        sysctls.push(set(path, "1"));
    }
    let switches = ["iptables", "ip6tables", "arptables"];
    for name in switches.into_iter().filter(|_| cx.br_netfilter) {
        sysctls.push(set(format!("net/bridge/bridge-nf-call-{name}"), "0"));
    }
    Ok(sysctls)
}
