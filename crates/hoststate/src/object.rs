//! One thing in the kernel as plain data, and the key that names it.

use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::PathBuf};
use vw_firewall::{Datum, Element, SetName};
use vw_model::{IfName, IpNet, MacAddr, SandboxId};

/// A network namespace that objects lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Netns {
    /// The daemon's own.
    Host,
    /// A sandbox's.
    Sandbox(SandboxId),
}

/// Where a sandbox's namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceSource {
    /// Made new.
    New,
    /// That of a process; the start time (clock ticks since boot) guards against a reused id.
    Process {
        /// The process id.
        pid: u32,
        /// Field 22 of `/proc/PID/stat`.
        start_time: u64,
    },
    /// A namespace file.
    File(PathBuf),
}

/// A namespace pinned under the executor's directory as `<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Where it comes from. Not observable: a pinned namespace matches any source.
    pub source: NamespaceSource,
}

/// A link's kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    /// A software bridge.
    Bridge(BridgeOptions),
    /// A pair; the link itself is the host end.
    Veth(Peer),
    /// An interface without a wire.
    Dummy,
}

/// Attributes of a bridge that we set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeOptions {
    /// Multicast snooping; off costs less on bridges of many ports.
    pub mcast_snooping: bool,
}

/// The sandbox's end of a pair, created where it belongs and never moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The namespace it lies in.
    pub netns: Netns,
    /// Its name there.
    pub name: IfName,
    /// Its address.
    pub mac: MacAddr,
}

/// How a link sits on its bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortOptions {
    /// The bridge.
    pub bridge: IfName,
    /// Frames do not pass between isolated ports (`--icc=false`).
    pub isolated: bool,
    /// A frame may leave by the port it came in; needed where `br_netfilter` translates.
    pub hairpin: bool,
}

/// A link; it is up, makes no IPv6 address of its own accord, and has one queue each way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The namespace it lies in.
    pub netns: Netns,
    /// Its name.
    pub name: IfName,
    /// Its kind.
    pub kind: LinkKind,
    /// Its link-layer address; the kernel's choice when absent.
    pub mac: Option<MacAddr>,
    /// Bytes; for a pair both ends.
    pub mtu: u32,
    /// The bridge it is a port of.
    pub port: Option<PortOptions>,
    /// Who owns it, told by its alias (`vethwork:…`); empty for links whose name says enough.
    pub alias: String,
}

/// An address of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The namespace.
    pub netns: Netns,
    /// The link.
    pub link: IfName,
    /// The address and its prefix length. Added without duplicate address detection;
    /// one that appears in a sandbox, or is of full length, is announced (gratuitous ARP,
    /// unsolicited NA). An IPv6 address of full length is never a source of the host's.
    pub addr: IpNet,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// Forwards (`unicast`).
    Unicast,
    /// Delivers here (`local`, in table `local`).
    Local,
    /// Drops and says so (`unreachable`).
    Unreachable,
}

/// A route, marked with our own protocol number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The namespace.
    pub netns: Netns,
    /// The destination.
    pub dst: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// The next hop; on-link when absent.
    pub via: Option<IpAddr>,
    /// The link.
    pub link: Option<IfName>,
    /// Its metric (0: the kernel's default).
    pub metric: u32,
}

/// A static neighbour entry (or, on a bridge or tunnel, a forwarding entry when `addr` is absent).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// The namespace.
    pub netns: Netns,
    /// The link.
    pub link: IfName,
    /// The network-layer address.
    pub addr: IpAddr,
    /// The link-layer address.
    pub mac: MacAddr,
}

/// A kernel parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// The namespace.
    pub netns: Netns,
    /// Its path under `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub path: String,
    /// The value it must have.
    pub value: String,
    /// The value to put back when nobody wants it any more; `None` for those that vanish with
    /// their interface.
    pub previous: Option<String>,
}

/// A whole nftables table of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Table {
    /// The host's `inet vethwork`: the skeleton, without elements.
    Host(vw_firewall::HostTable),
    /// The host's `inet vethwork_services`, without elements.
    Services,
    /// A sandbox's `inet vethwork_dns`: 127.0.0.11 port 53 to the resolver's real ports.
    SandboxDns {
        /// The sandbox.
        sandbox: SandboxId,
        /// The UDP port it is bound on.
        udp: u16,
        /// The TCP port it listens on.
        tcp: u16,
    },
}

/// One thing that must exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// A pinned namespace.
    Namespace(Namespace),
    /// An nftables table.
    Table(Table),
    /// An element of the host's table, or of the services'.
    Element(Element),
    /// A link.
    Link(Link),
    /// A kernel parameter.
    Sysctl(Sysctl),
    /// An address.
    Address(Address),
    /// A route.
    Route(Route),
    /// A neighbour.
    Neighbor(Neighbor),
}

/// What names an object; two objects with one key cannot exist at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A pinned namespace.
    Namespace(SandboxId),
    /// The table of a namespace.
    Table(Netns),
    /// The services' table of the host.
    ServiceTable,
    /// An element that is policy of a network.
    Policy(SetName, Vec<Datum>),
    /// A link.
    Link(Netns, IfName),
    /// A kernel parameter.
    Sysctl(Netns, String),
    /// An address.
    Address(Netns, IfName, IpNet),
    /// A route.
    Route(Netns, IpNet, u32, Option<IfName>),
    /// A neighbour.
    Neighbor(Netns, IfName, IpAddr),
    /// An element that is a published port, or of a service.
    Port(SetName, Vec<Datum>),
}

impl Object {
    /// The key that names it.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Namespace(namespace) => Key::Namespace(namespace.sandbox),
            Self::Table(Table::Host(_)) => Key::Table(Netns::Host),
            Self::Table(Table::Services) => Key::ServiceTable,
            Self::Table(Table::SandboxDns { sandbox, .. }) => Key::Table(Netns::Sandbox(*sandbox)),
            Self::Element(element) if element.set.is_port() => {
                Key::Port(element.set, element.key.clone())
            }
            Self::Element(element) => Key::Policy(element.set, element.key.clone()),
            Self::Link(link) => Key::Link(link.netns, link.name.clone()),
            Self::Sysctl(sysctl) => Key::Sysctl(sysctl.netns, sysctl.path.clone()),
            Self::Address(address) => {
                Key::Address(address.netns, address.link.clone(), address.addr)
            }
            Self::Route(route) => {
                Key::Route(route.netns, route.dst, route.metric, route.link.clone())
            }
            Self::Neighbor(neighbor) => {
                Key::Neighbor(neighbor.netns, neighbor.link.clone(), neighbor.addr)
            }
        }
    }

    /// When it is made, compared with others; things are removed in reverse.
    ///
    /// Policy stands before what it protects, a bridge before its ports, the route to a next hop
    /// before the routes through it, and a published port opens last.
    #[must_use]
    pub fn stage(&self) -> u8 {
        match self {
            Self::Namespace(_) => 0,
            Self::Table(_) => 1,
            Self::Element(element) if !element.set.is_port() => 2,
            Self::Link(link) if link.port.is_none() => 3,
            Self::Link(_) => 4,
            Self::Sysctl(_) => 5,
            Self::Address(_) => 6,
            Self::Route(route) if route.via.is_none() => 7,
            Self::Route(_) => 8,
            Self::Neighbor(_) => 9,
            Self::Element(_) => 10,
        }
    }

    /// Whether this and `other`, wanted by two owners under one key, are the same wish.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.matches(other) && other.matches(self)
    }

    /// Whether `other`, seen in the kernel under the same key, is what this object asks for.
    ///
    /// A namespace's source and a parameter's former value cannot be seen and do not count.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespace(a), Self::Namespace(b)) => a.sandbox == b.sandbox,
            (Self::Sysctl(a), Self::Sysctl(b)) => {
                (a.netns, &a.path, &a.value) == (b.netns, &b.path, &b.value)
            }
            (Self::Link(a), Self::Link(b)) => {
                let mut b = b.clone();
                if a.mac.is_none() {
                    b.mac = None;
                }
                *a == b
            }
            (a, b) => a == b,
        }
    }
}
