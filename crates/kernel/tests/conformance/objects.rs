//! Objects to test with.

use vw_firewall::{Datum, Element, Entry, HostTable, ServiceSet, SetName};
use vw_hoststate::{
    Address, BridgeOptions, Forward, Link, LinkKind, Namespace, NamespaceSource, Neighbor, Netns,
    Object, Peer, PortOptions, Proxy, Route, RouteKind, Shortcut, Shortcuts, Station, Sysctl,
    Table, Translator, VxlanOptions,
};
use vw_model::{IfName, MacAddr, NetworkId, Protocol, SandboxId};

pub(crate) const HOST: Netns = Netns::Host;

pub(crate) fn id(n: u8) -> SandboxId {
    SandboxId::from_bytes([n; 32])
}

pub(crate) fn inside(n: u8) -> Netns {
    Netns::Sandbox(id(n))
}

pub(crate) fn ifname(name: &str) -> IfName {
    name.parse().expect("a name")
}

pub(crate) fn namespace(n: u8) -> Object {
    Object::Namespace(Namespace {
        netns: inside(n),
        source: NamespaceSource::New,
    })
}

fn link(name: &str, kind: LinkKind) -> Link {
    Link {
        netns: HOST,
        name: ifname(name),
        kind,
        mac: None,
        mtu: 1500,
        port: None,
        alias: String::new(),
    }
}

pub(crate) fn bridge(name: &str) -> Link {
    Link {
        mac: Some(MacAddr([0x02, 0x42, 0, 0, 0, 1])),
        alias: format!("vethwork:{name}"),
        ..link(
            name,
            LinkKind::Bridge(BridgeOptions {
                mcast_snooping: false,
            }),
        )
    }
}

pub(crate) fn dummy(name: &str) -> Link {
    link(name, LinkKind::Dummy)
}

/// The namespace of the network that tests have.
pub(crate) const NETWORK: Netns = Netns::Network(NetworkId::from_bytes([5; 32]));

pub(crate) fn network_namespace() -> Object {
    Object::Namespace(Namespace {
        netns: NETWORK,
        source: NamespaceSource::New,
    })
}

/// A link of the network's namespace.
pub(crate) fn apart(link: Link) -> Link {
    Link {
        netns: NETWORK,
        mtu: 1450,
        ..link
    }
}

/// The network's tunnel, a port of its bridge.
pub(crate) fn tunnel(vni: u32, local: &str) -> Link {
    let options = VxlanOptions {
        vni,
        port: 4789,
        local: local.parse().expect("an address"),
        gro: true,
    };
    Link {
        port: Some(PortOptions {
            bridge: ifname("br0"),
            isolated: false,
            hairpin: false,
        }),
        ..apart(link("vxlan0", LinkKind::Vxlan(options)))
    }
}

/// The link of the encrypted tunnel.
pub(crate) fn encrypted(kind: LinkKind) -> Link {
    Link {
        netns: Netns::Tunnel,
        mtu: 1420,
        ..link("vw-wg", kind)
    }
}

pub(crate) fn forward(mac: MacAddr, dst: &str) -> Object {
    Object::Forward(Forward {
        netns: NETWORK,
        link: ifname("vxlan0"),
        mac,
        dst: dst.parse().expect("an address"),
    })
}

/// A network of many hosts with one sandbox here and one station there.
pub(crate) fn overlay() -> Vec<Object> {
    let station = MacAddr([2, 0, 0, 0, 0, 9]);
    vec![
        network_namespace(),
        Object::Link(apart(bridge("br0"))),
        Object::Link(tunnel(4097, "192.0.2.1")),
        Object::Link(apart(pair("vwcccccccccc", "br0", 7, "eth2"))),
        address(inside(7), "eth2", "10.5.0.7/24"),
        neighbor(NETWORK, "vxlan0", "10.5.0.9", 9),
        neighbor(NETWORK, "vxlan0", "fd05::9", 9),
        forward(station, "192.0.2.9"),
        forward(MacAddr([0; 6]), "192.0.2.9"),
        forward(MacAddr([0; 6]), "192.0.2.10"),
        shortcuts(),
        shortcut(
            MacAddr([0x02, 0x42, 10, 0, 0, 7]),
            "vwcccccccccc",
            Station::Here,
        ),
        shortcut(station, "vxlan0", Station::Elsewhere),
    ]
}

/// What frames are looked up in before the network's bridge.
pub(crate) fn shortcuts() -> Object {
    Object::Shortcuts(Shortcuts {
        netns: NETWORK,
        link: ifname("vxlan0"),
    })
}

pub(crate) fn shortcut(mac: MacAddr, link: &str, station: Station) -> Object {
    Object::Shortcut(Shortcut {
        netns: NETWORK,
        mac,
        link: ifname(link),
        station,
    })
}

/// A pair from `host`, a port of `bridge`, to `eth0` or the like in a sandbox.
pub(crate) fn pair(host: &str, bridge: &str, n: u8, name: &str) -> Link {
    let peer = Peer {
        netns: inside(n),
        name: ifname(name),
        mac: MacAddr([0x02, 0x42, 10, 0, 0, n]),
    };
    Link {
        port: Some(PortOptions {
            bridge: ifname(bridge),
            isolated: false,
            hairpin: false,
        }),
        ..link(host, LinkKind::Veth(peer))
    }
}

pub(crate) fn address(netns: Netns, link: &str, addr: &str) -> Object {
    Object::Address(Address {
        netns,
        link: ifname(link),
        addr: addr.parse().expect("an address"),
    })
}

pub(crate) fn route(netns: Netns, dst: &str, via: Option<&str>, link: Option<&str>) -> Route {
    Route {
        netns,
        dst: dst.parse().expect("a destination"),
        kind: RouteKind::Unicast,
        via: via.map(|via| via.parse().expect("a next hop")),
        link: link.map(ifname),
        metric: 0,
        mtu: None,
    }
}

pub(crate) fn sysctl(netns: Netns, path: &str, value: &str, previous: Option<&str>) -> Object {
    Object::Sysctl(Sysctl {
        netns,
        path: path.to_owned(),
        value: value.to_owned(),
        previous: previous.map(str::to_owned),
    })
}

pub(crate) fn neighbor(netns: Netns, link: &str, addr: &str, last: u8) -> Object {
    Object::Neighbor(Neighbor {
        netns,
        link: ifname(link),
        addr: addr.parse().expect("an address"),
        mac: MacAddr([2, 0, 0, 0, 0, last]),
    })
}

pub(crate) fn proxy(addr: &str) -> Object {
    Object::Proxy(Proxy {
        netns: HOST,
        link: ifname("vw0"),
        addr: addr.parse().expect("an address"),
    })
}

pub(crate) fn table() -> Object {
    Object::Table(Table::Host(HostTable::default()))
}

fn resolver(n: u8) -> Object {
    Object::Table(Table::SandboxDns {
        sandbox: id(n),
        udp: 40000,
        tcp: 40001,
    })
}

fn masquerade(bridge: &str) -> Object {
    Object::Element(Element {
        set: SetName::Masquerade4,
        key: vec![Datum::Interface(ifname(bridge))],
        value: Vec::new(),
    })
}

fn port(number: u16) -> Object {
    Object::Element(Element {
        set: SetName::PortsAny4,
        key: vec![Datum::Protocol(Protocol::Tcp), Datum::Port(number)],
        value: vec![
            Datum::V4("10.0.0.7".parse().expect("an address")),
            Datum::Port(80),
        ],
    })
}

/// Where a service leads by one of its slots.
fn slot(number: u32) -> Object {
    Object::Element(Element {
        set: SetName::Service(ServiceSet::Slots(Entry::Vip4)),
        key: vec![
            Datum::V4("10.0.0.100".parse().expect("an address")),
            Datum::Slot(number),
        ],
        value: vec![Datum::V4("10.0.0.7".parse().expect("an address"))],
    })
}

/// A network with one sandbox on it, another one that reaches to other hosts, and one of everything
/// else.
pub(crate) fn world() -> Vec<Object> {
    let mut world = routes();
    world.extend(overlay());
    let isolated = |mut link: Link| {
        if let Some(port) = &mut link.port {
            (port.isolated, port.hairpin) = (true, true);
        }
        Object::Link(link)
    };
    world.extend([
        namespace(7),
        table(),
        resolver(7),
        masquerade("vw0"),
        port(8080),
        Object::Table(Table::Services),
        slot(0),
        address(HOST, "vw0", "10.0.0.100/32"),
        address(HOST, "vw0", "fd00::100/128"),
        Object::Link(bridge("vw0")),
        Object::Link(Link {
            mtu: 9000,
            ..bridge("zz-named")
        }),
        Object::Link(pair("vw0123456789", "vw0", 7, "eth0")),
        isolated(pair("vwaaaaaaaaaa", "zz-named", 7, "eth1")),
        sysctl(HOST, "net/ipv4/ip_forward", "1", Some("0")),
        sysctl(
            HOST,
            "net/ipv4/ip_local_port_range",
            "40000 50000",
            Some("32768 60999"),
        ),
        sysctl(inside(7), "net/ipv4/conf/eth0/route_localnet", "1", None),
        sysctl(inside(7), "net/ipv4/ip_unprivileged_port_start", "0", None),
        address(HOST, "vw0", "10.0.0.1/24"),
        address(HOST, "vw0", "fd00::1/64"),
        address(inside(7), "eth0", "10.0.0.7/24"),
        address(inside(7), "eth0", "fd00::7/64"),
        neighbor(HOST, "vw0", "10.0.0.9", 9),
        neighbor(inside(7), "eth0", "fd00::9", 9),
        proxy("10.0.0.200"),
        proxy("fd00::200"),
        Object::Link(bridge(vw_firewall::TRANSLATOR)),
        Object::Translator(Translator {
            netns: HOST,
            link: ifname(vw_firewall::TRANSLATOR),
        }),
    ]);
    world
}

fn routes() -> Vec<Object> {
    vec![
        Object::Route(route(
            inside(7),
            "0.0.0.0/0",
            Some("10.0.0.1"),
            Some("eth0"),
        )),
        Object::Route(route(inside(7), "::/0", Some("fd00::1"), Some("eth0"))),
        Object::Route(route(HOST, "10.0.0.200/32", Some("fd00::c8"), Some("vw0"))),
        Object::Route(Route {
            mtu: Some(1280),
            ..route(HOST, "fd06::/64", None, Some("vw0"))
        }),
        Object::Route(Route {
            metric: 50,
            ..route(inside(7), "10.7.0.0/16", None, Some("eth0"))
        }),
        Object::Route(Route {
            metric: 1024,
            ..route(inside(7), "fd07::/64", None, Some("eth0"))
        }),
        Object::Route(Route {
            kind: RouteKind::Unreachable,
            ..route(inside(7), "10.9.0.0/16", None, None)
        }),
        Object::Route(Route {
            kind: RouteKind::Unreachable,
            ..route(inside(7), "fd09::/64", None, None)
        }),
        Object::Route(Route {
            kind: RouteKind::Local,
            metric: 4242,
            ..route(HOST, "::1/128", None, Some("vw0"))
        }),
    ]
}
