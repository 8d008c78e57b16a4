//! One thing in the kernel as plain data, and the key that names it.

use crate::table::Table;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};
use vw_firewall::{Datum, Element, SetName};
use vw_model::{IfName, IpNet, MacAddr, NetworkId, PublicKey, SandboxId, is_inner};

/// A network namespace that objects lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Netns {
    /// The daemon's own.
    Host,
    /// A sandbox's.
    Sandbox(SandboxId),
    /// A network's own, where its bridge lies out of the host's sight.
    Network(NetworkId),
    /// The encrypted tunnel's, which no link but that leads out of.
    Tunnel,
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

/// A namespace pinned under the executor's directory: a sandbox's as `<id>`, a network's as
/// `net-<id>`, the encrypted tunnel's as `tunnel`. With it goes what lies in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Whose it is; the host's own cannot be pinned.
    pub netns: Netns,
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
    /// A tunnel to other hosts.
    Vxlan(VxlanOptions),
    /// The encrypted tunnel in user space: packets as a process reads and writes them, each behind
    /// a `struct virtio_net_hdr`. It stays when that process ends, and then takes every packet for
    /// lost.
    Tun,
    /// The encrypted tunnel in the kernel, whose UDP socket lies in the host's namespace.
    Wireguard,
}

impl LinkKind {
    /// Whether a link of this kind can be changed to the other one where it stands; what lies on
    /// it is lost otherwise.
    #[must_use]
    pub fn becomes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Veth(a), Self::Veth(b)) => a.netns == b.netns,
            (Self::Vxlan(a), Self::Vxlan(b)) => {
                let fixed = |tunnel: &VxlanOptions| {
                    let family = tunnel.local.is_ipv4();
                    (tunnel.vni, tunnel.port, family, tunnel.socket_netns())
                };
                fixed(a) == fixed(b)
            }
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

/// Attributes of a bridge that we set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeOptions {
    /// Multicast snooping; off costs less on bridges of many ports.
    pub mcast_snooping: bool,
}

/// A VXLAN device (RFC 7348) in a network's namespace, whose UDP socket lies in the host's, or in
/// the encrypted tunnel's.
///
/// It learns nothing and floods nothing: it knows what [`Forward`]s say, answers ARP and neighbour
/// solicitations by itself from the [`Neighbor`]s that lie on it, and drops what it does not know.
/// As a bridge's port it does not learn either, and gets no frame whose destination the bridge
/// does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VxlanOptions {
    /// The network's number on the wire, of 24 bits; unique on a host for one port.
    pub vni: u32,
    /// The UDP port, here and on the other hosts.
    pub port: u16,
    /// The address that it sends from; its family is the tunnel's. One from inside the encrypted
    /// tunnel puts the socket there, where nothing passes in clear text.
    pub local: IpAddr,
    /// Whether it joins segments of a connection that come in (GRO); a new one does.
    pub gro: bool,
}

impl VxlanOptions {
    /// Whether what it sends over IPv4 may not be cut up on its way. That is so of the number zero,
    /// which no network has: it is for those who try how large a packet gets through.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.vni == 0
    }

    /// Where its socket lies.
    #[must_use]
    pub fn socket_netns(&self) -> Netns {
        match is_inner(self.local) {
            true => Netns::Tunnel,
            false => Netns::Host,
        }
    }
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
    /// The next hop; on-link when absent. An IPv4 destination may have an IPv6 one, not the other
    /// way about.
    pub via: Option<IpAddr>,
    /// The link.
    pub link: Option<IfName>,
    /// Its metric (0: the kernel's default).
    pub metric: u32,
    /// The MTU in bytes of what it leads to; the link's where absent.
    #[serde(default)]
    pub mtu: Option<u32>,
}

/// A static neighbour entry.
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

/// An address that lies elsewhere and that this host answers for on a link (proxy ARP, RFC 1027;
/// proxy neighbour discovery, RFC 4389), so that who takes it for a neighbour reaches it by way of
/// this host. IPv6 asks for the link's parameter `proxy_ndp` besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// The namespace.
    pub netns: Netns,
    /// The link that is asked on.
    pub link: IfName,
    /// The address.
    pub addr: IpAddr,
}

/// A static forwarding entry of a tunnel: frames to an address go to that host.
///
/// The zero address stands for every group and broadcast address that has no entry of its own; it
/// may have several hosts, and so may a group's. Of a station's address the last entry counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// The namespace.
    pub netns: Netns,
    /// The tunnel.
    pub link: IfName,
    /// The frames' destination.
    pub mac: MacAddr,
    /// The host's end of the tunnel.
    pub dst: IpAddr,
}

/// The key of an encrypted tunnel of the kernel, by its public half, and its UDP port.
///
/// The private half is no part of any object, which may be shown and stored: the executor is told
/// it by another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireguardKey {
    /// The namespace.
    pub netns: Netns,
    /// The tunnel.
    pub link: IfName,
    /// What the other hosts know it by.
    pub public: PublicKey,
    /// Where their datagrams come in, at every address of the host.
    pub port: u16,
}

/// The shortcuts of a network's namespace: what frames are looked up in as they come in by the
/// tunnel or from a sandbox, before the bridge sees them. Frames that no [`Shortcut`] knows, and
/// whatever is not IP, go on to the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortcuts {
    /// The namespace; it has no others.
    pub netns: Netns,
    /// The tunnel.
    pub link: IfName,
}

/// On which side of a [`Shortcut`] a station lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Station {
    /// In the sandbox at the pair's other end.
    Here,
    /// On another host, behind the tunnel.
    Elsewhere,
}

/// Frames to a station go straight to its sandbox, or to the tunnel, without passing the bridge; and
/// where the station is a sandbox's, so do the frames that it sends.
///
/// Without [`Shortcuts`] in the namespace it is nothing, and nobody misses it. An ingress queueing
/// discipline that somebody else put on the pair is left there: then what the sandbox sends passes
/// the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortcut {
    /// The namespace.
    pub netns: Netns,
    /// The station's address, one interface's.
    pub mac: MacAddr,
    /// The pair's end here, or the tunnel.
    pub link: IfName,
    /// Where the station lies.
    pub station: Station,
}

/// What leaves by a link is translated from IPv6 into IPv4, or back, and comes in by the link again: what
/// stands for an IPv4 address ([`mapped`](vw_firewall::mapped)) is led there, and what is for
/// [`TRANSLATED`](vw_firewall::TRANSLATED).
///
/// Where the kernel refuses it, nothing is translated, and the next comparison tries again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translator {
    /// The namespace.
    pub netns: Netns,
    /// The link.
    pub link: IfName,
}

/// Another host, as the kernel's WireGuard knows it. An address that it gets is no longer any
/// other's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireguardPeer {
    /// The namespace.
    pub netns: Netns,
    /// The tunnel.
    pub link: IfName,
    /// Its key.
    pub public: PublicKey,
    /// Where its datagrams go.
    pub endpoint: SocketAddr,
    /// The addresses that lie at it.
    pub allowed: BTreeSet<IpNet>,
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

/// One thing that must exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// A pinned namespace.
    Namespace(Namespace),
    /// An nftables table.
    Table(Table),
    /// An element of the host's table, or of the services'.
    Element(Element),
    /// An element of the services' table of a sandbox.
    Balance(SandboxId, Element),
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
    /// An address that is answered for.
    Proxy(Proxy),
    /// A forwarding entry.
    Forward(Forward),
    /// The key of the encrypted tunnel.
    WireguardKey(WireguardKey),
    /// Another host at the encrypted tunnel.
    WireguardPeer(WireguardPeer),
    /// What frames are looked up in before the bridge.
    Shortcuts(Shortcuts),
    /// A way around the bridge.
    Shortcut(Shortcut),
    /// What translates IPv6 into IPv4.
    Translator(Translator),
}

/// What names an object; two objects with one key cannot exist at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A pinned namespace.
    Namespace(Netns),
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
    /// A forwarding entry.
    Forward(Netns, IfName, MacAddr, IpAddr),
    /// An element that is a published port, or of a service.
    Port(SetName, Vec<Datum>),
    /// An element of the services' table of a sandbox.
    Balance(SandboxId, SetName, Vec<Datum>),
    /// The key of the encrypted tunnel.
    WireguardKey(Netns, IfName),
    /// Another host at the encrypted tunnel.
    WireguardPeer(Netns, IfName, PublicKey),
    /// An address that is answered for.
    Proxy(Netns, IfName, IpAddr),
    /// What frames are looked up in before the bridge.
    Shortcuts(Netns, IfName),
    /// A way around the bridge.
    Shortcut(Netns, MacAddr, IfName),
    /// What translates IPv6 into IPv4.
    Translator(Netns, IfName),
}

impl Object {
    /// The key that names it.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Namespace(namespace) => Key::Namespace(namespace.netns),
            Self::Table(Table::Host(_)) => Key::Table(Netns::Host),
            Self::Table(Table::Services) => Key::ServiceTable,
            Self::Table(Table::SandboxDns { sandbox, .. } | Table::Balancer { sandbox }) => {
                Key::Table(Netns::Sandbox(*sandbox))
            }
            Self::Element(element) if element.set.is_port() => {
                Key::Port(element.set, element.key.clone())
            }
            Self::Element(element) => Key::Policy(element.set, element.key.clone()),
            Self::Balance(sandbox, element) => {
                Key::Balance(*sandbox, element.set, element.key.clone())
            }
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
            Self::Proxy(proxy) => Key::Proxy(proxy.netns, proxy.link.clone(), proxy.addr),
            Self::Forward(forward) => Key::Forward(
                forward.netns,
                forward.link.clone(),
                forward.mac,
                forward.dst,
            ),
            Self::WireguardKey(key) => Key::WireguardKey(key.netns, key.link.clone()),
            Self::WireguardPeer(peer) => {
                Key::WireguardPeer(peer.netns, peer.link.clone(), peer.public)
            }
            Self::Shortcuts(shortcuts) => Key::Shortcuts(shortcuts.netns, shortcuts.link.clone()),
            Self::Shortcut(shortcut) => {
                Key::Shortcut(shortcut.netns, shortcut.mac, shortcut.link.clone())
            }
            Self::Translator(one) => Key::Translator(one.netns, one.link.clone()),
        }
    }

    /// The namespaces that it lies in, but for what lies in the host's alone without saying so.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Netns> {
        match self {
            Self::Namespace(namespace) => vec![namespace.netns],
            Self::Link(link) => match &link.kind {
                LinkKind::Veth(peer) => vec![link.netns, peer.netns],
                _ => vec![link.netns],
            },
            object => match object.key() {
                Key::Table(netns)
                | Key::Sysctl(netns, _)
                | Key::Address(netns, ..)
                | Key::Route(netns, ..)
                | Key::Neighbor(netns, ..)
                | Key::Proxy(netns, ..)
                | Key::Forward(netns, ..)
                | Key::WireguardKey(netns, _)
                | Key::WireguardPeer(netns, ..)
                | Key::Shortcuts(netns, _)
                | Key::Shortcut(netns, ..)
                | Key::Translator(netns, _) => vec![netns],
                Key::Balance(sandbox, ..) => vec![Netns::Sandbox(sandbox)],
                Key::Namespace(_)
                | Key::ServiceTable
                | Key::Policy(..)
                | Key::Link(..)
                | Key::Port(..) => Vec::new(),
            },
        }
    }

    /// Whether it lies in one of these namespaces.
    #[must_use]
    pub fn lies_in(&self, namespaces: &[Netns]) -> bool {
        let mut of = self.namespaces().into_iter();
        of.any(|netns| namespaces.contains(&netns))
    }

    /// When it is made, compared with others; things are removed in reverse.
    ///
    /// Policy stands before what it protects, a bridge before its ports, the route to a next hop
    /// before the routes through it, the way to a host before the neighbours on it and before this
    /// host answers for anybody, a way around the bridge when that by the bridge is whole, and a
    /// published port opens last.
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
            Self::Route(_) | Self::WireguardKey(_) => 8,
            Self::Forward(_) | Self::WireguardPeer(_) => 9,
            Self::Neighbor(_) | Self::Proxy(_) | Self::Shortcuts(_) | Self::Translator(_) => 10,
            Self::Shortcut(_) => 11,
            Self::Element(_) | Self::Balance(..) => 12,
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
            (Self::Namespace(a), Self::Namespace(b)) => a.netns == b.netns,
            (Self::Sysctl(a), Self::Sysctl(b)) => {
                (a.netns, &a.path, &a.value) == (b.netns, &b.path, &b.value)
            }
            (Self::Link(a), Self::Link(b)) if a.mac.is_none() => {
                let open = Link {
                    mac: None,
                    ..b.clone()
                };
                *a == open
            }
            (a, b) => a == b,
        }
    }
}
