//! Networks and endpoints for tests, and plans as text.

use crate::AttachmentPlan;
use std::{collections::BTreeMap, fmt::Write, time::UNIX_EPOCH};
use vw_hoststate::{
    Fragment, Link, LinkKind, Netns, Object, Plan, PortOptions, Route, RouteKind, Step,
    VxlanOptions,
};
use vw_model::{
    EndpointId, EndpointSettings, EndpointSpec, IpNet, IpamSpec, MacAddr, NetworkId, NetworkSpec,
    Options, PoolSpec, SandboxId, Scope,
};

pub(crate) fn options(given: &[(&str, &str)]) -> Options {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    given.iter().map(owned).collect()
}

/// A subnet whose router has the first address.
pub(crate) fn pool(subnet: &str) -> PoolSpec {
    let subnet: IpNet = subnet.parse().unwrap();
    PoolSpec {
        gateway: subnet.hosts().find(|addr| *addr != subnet.network()),
        subnet,
        ip_range: None,
        aux: BTreeMap::new(),
        given: true,
    }
}

/// A network of the given subnets, each of which switches its family on.
pub(crate) fn network(driver: &str, subnets: &[&str], given: &[(&str, &str)]) -> NetworkSpec {
    let pools: Vec<_> = subnets.iter().map(|subnet| pool(subnet)).collect();
    let has = |v4: bool| pools.iter().any(|pool| pool.subnet.addr().is_ipv4() == v4);
    NetworkSpec {
        id: NetworkId::from_bytes([0xab; 32]),
        name: "web".parse().unwrap(),
        driver: driver.to_owned(),
        scope: Scope::Local,
        created: UNIX_EPOCH,
        enable_ipv4: has(true),
        enable_ipv6: has(false),
        internal: false,
        attachable: false,
        predefined: false,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: Options::new(),
            pools,
        },
        options: options(given),
        labels: Options::new(),
    }
}

/// An endpoint that holds the given addresses.
pub(crate) fn endpoint(network: &NetworkSpec, addresses: &[&str]) -> EndpointSpec {
    let addresses: Vec<IpNet> = addresses.iter().map(|addr| addr.parse().unwrap()).collect();
    let pools = network.ipam.pools.iter().filter(|_| !network.internal);
    EndpointSpec {
        id: EndpointId::from_bytes([0xcd; 32]),
        network: network.id,
        sandbox: SandboxId::from_bytes([0xef; 32]),
        ifname: "eth0".parse().unwrap(),
        host_ifname: "vwcdcdcdcdcd".parse().unwrap(),
        mac: MacAddr([0x02, 0x42, 10, 0, 0, 2]),
        gateways: pools.filter_map(|pool| pool.gateway).collect(),
        addresses,
        settings: EndpointSettings::default(),
    }
}

/// The objects of a fragment, one a line, in the order in which they are made.
pub(crate) fn shown(fragment: &Fragment) -> String {
    let steps = fragment
        .iter()
        .map(|(_, object)| Step::Create(object.clone()));
    let plan = Plan::ordered(steps);
    let mut text = String::new();
    for step in &plan.steps {
        line(&mut text, step.object());
    }
    text
}

/// As [`shown`], with the default routes offered.
pub(crate) fn shown_attachment(plan: &AttachmentPlan) -> String {
    let mut text = shown(&plan.fragment);
    for gateway in &plan.gateways {
        writeln!(
            text,
            "offers default via {} dev {}",
            gateway.via, gateway.link
        )
        .unwrap();
    }
    text
}

fn place(netns: Netns) -> &'static str {
    match netns {
        Netns::Host => "host",
        Netns::Sandbox(_) => "sandbox",
        Netns::Network(_) => "network",
        Netns::Tunnel => "tunnel",
    }
}

fn line(text: &mut String, object: &Object) {
    match object {
        Object::Link(link) => link_line(text, link),
        Object::Sysctl(sysctl) => {
            let (path, value) = (&sysctl.path, &sysctl.value);
            writeln!(text, "{}: {path} = {value}", place(sysctl.netns)).unwrap();
        }
        Object::Address(address) => {
            let (addr, link) = (address.addr, &address.link);
            writeln!(text, "{}: address {addr} dev {link}", place(address.netns)).unwrap();
        }
        Object::Route(route) => route_line(text, route),
        Object::Element(element) => {
            let (key, value) = (&element.key, &element.value);
            writeln!(text, "rule: {:?} {key:?} {value:?}", element.set).unwrap();
        }
        Object::Namespace(namespace) => {
            let (place, source) = (place(namespace.netns), &namespace.source);
            writeln!(text, "{place}: namespace {source:?}").unwrap();
        }
        Object::Forward(forward) => {
            let (place, link) = (place(forward.netns), &forward.link);
            let (mac, dst) = (forward.mac, forward.dst);
            writeln!(text, "{place}: forward {mac} dev {link} to {dst}").unwrap();
        }
        Object::Neighbor(neighbor) => {
            let (place, link) = (place(neighbor.netns), &neighbor.link);
            let (addr, mac) = (neighbor.addr, neighbor.mac);
            writeln!(text, "{place}: neighbour {addr} dev {link} mac {mac}").unwrap();
        }
        Object::Proxy(proxy) => {
            let (place, link) = (place(proxy.netns), &proxy.link);
            writeln!(text, "{place}: answers for {} dev {link}", proxy.addr).unwrap();
        }
        Object::Shortcuts(shortcuts) => {
            let (place, link) = (place(shortcuts.netns), &shortcuts.link);
            writeln!(text, "{place}: shortcuts from {link}").unwrap();
        }
        Object::Shortcut(shortcut) => {
            let (place, link) = (place(shortcut.netns), &shortcut.link);
            let (mac, station) = (shortcut.mac, shortcut.station);
            writeln!(text, "{place}: shortcut to {mac} by {link} {station:?}").unwrap();
        }
        Object::Translator(one) => {
            writeln!(text, "{}: translation by {}", place(one.netns), one.link).unwrap();
        }
        other => writeln!(text, "{other:?}").unwrap(),
    }
}

fn link_line(text: &mut String, link: &Link) {
    let Link {
        netns, name, mtu, ..
    } = link;
    write!(text, "{}: link {name} mtu {mtu}", place(*netns)).unwrap();
    if let Some(mac) = link.mac {
        write!(text, " mac {mac}").unwrap();
    }
    match &link.kind {
        LinkKind::Bridge(options) => {
            write!(text, " bridge mcast_snooping {}", options.mcast_snooping).unwrap();
        }
        LinkKind::Veth(peer) => {
            let (netns, name, mac) = (place(peer.netns), &peer.name, peer.mac);
            write!(text, " veth to {netns} {name} mac {mac}").unwrap();
        }
        LinkKind::Dummy => write!(text, " dummy").unwrap(),
        LinkKind::Tun => write!(text, " tun").unwrap(),
        LinkKind::Wireguard => write!(text, " wireguard").unwrap(),
        LinkKind::Vxlan(options) => {
            let VxlanOptions {
                vni,
                port,
                local,
                gro,
            } = options;
            let gro = if *gro { "" } else { " without gro" };
            write!(text, " vxlan {vni} port {port} local {local}{gro}").unwrap();
        }
    }
    if let Some(port) = &link.port {
        let PortOptions {
            bridge,
            isolated,
            hairpin,
        } = port;
        write!(text, " on {bridge} isolated {isolated} hairpin {hairpin}").unwrap();
    }
    if !link.alias.is_empty() {
        write!(text, " alias {}", link.alias).unwrap();
    }
    text.push('\n');
}

fn route_line(text: &mut String, route: &Route) {
    let kind = match route.kind {
        RouteKind::Unicast => "",
        RouteKind::Local => "local ",
        RouteKind::Unreachable => "unreachable ",
    };
    let dev = route.link.as_ref().map(|link| format!(" dev {link}"));
    let via = route
        .via
        .map(|via| format!(" via {via}"))
        .unwrap_or_default();
    let mtu = route.mtu.map(|mtu| format!(" mtu {mtu}"));
    let mtu = mtu.unwrap_or_default();
    let (dst, dev, metric) = (route.dst, dev.unwrap_or_default(), route.metric);
    writeln!(
        text,
        "{}: route {kind}{dst}{via}{dev} metric {metric}{mtu}",
        place(route.netns)
    )
    .unwrap();
}
