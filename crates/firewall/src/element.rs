//! Elements of the named sets and maps of `inet vethwork`.

use crate::ServiceSet;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use vw_model::{Family, IfName, PortKey, Protocol};

/// A named set or map of the host's table, or of the services'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SetName {
    /// `ifname . nf_proto : verdict`: what may leave through this bridge, by its network's kind.
    ForwardTo,
    /// `ifname : verdict`: where what came in by this bridge may go; absent where anywhere.
    ForwardFrom,
    /// `ifname . ifname`: both sides are the same bridge of ours.
    SameBridge,
    /// `ifname . ifname`: both sides are the same bridge, and its neighbours may talk.
    Neighbors,
    /// `ifname`: IPv4 from this bridge to elsewhere is masqueraded.
    Masquerade4,
    /// `ifname`: the same for IPv6.
    Masquerade6,
    /// `ifname : ipv4_addr`: the source address to use instead of masquerading.
    Snat4,
    /// `ifname : ipv6_addr`: the same for IPv6.
    Snat6,
    /// `ifname`: every bridge of ours.
    Bridges,
    /// `ifname . nf_proto`: the keys of `ForwardTo`. Before Linux 6.5 a map cannot be asked just whether
    /// it has a key (`nft_lookup_init`), so that rules which want no more ask a set beside it.
    Filtered,
    /// `ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service`: ports on one address.
    Ports4,
    /// `inet_proto . inet_service : ipv4_addr . inet_service`: ports on every local address.
    PortsAny4,
    /// As `Ports4` for IPv6.
    Ports6,
    /// As `PortsAny4` for IPv6.
    PortsAny6,
    /// `ipv4_addr . inet_proto . inet_service`: the keys of `Ports4`.
    Published4,
    /// `inet_proto . inet_service`: the keys of `PortsAny4`.
    PublishedAny4,
    /// As `Published4` for IPv6.
    Published6,
    /// As `PublishedAny4` for IPv6.
    PublishedAny6,
    /// `ipv4_addr . inet_proto . inet_service`: container ports open to direct routing.
    Open4,
    /// As `Open4` for IPv6.
    Open6,
    /// `inet_service`: UDP ports of this host that tunnels of ours end at. One field of two octets,
    /// which the kernel keeps as a bitmap.
    TunnelPorts,
    /// `ipv4_addr`: the hosts of the cluster, which alone may send to those ports.
    Peers4,
    /// As `Peers4` for IPv6.
    Peers6,
    /// `ipv4_addr`: endpoints on other hosts, of networks that are routed to them.
    Remotes4,
    /// As `Remotes4` for IPv6.
    Remotes6,
    /// `ifname . ifname . ipv4_addr`: the bridge of such an endpoint's network here, the link that
    /// leads to its host, and its address.
    Ways4,
    /// As `Ways4` for IPv6.
    Ways6,
    /// `ifname . ipv4_addr`: a bridge, and the address on another one of an endpoint that is on both.
    Beside4,
    /// As `Beside4` for IPv6.
    Beside6,
    /// `ifname`: the link that translates IPv6 into IPv4.
    Translators,
    /// One of the services' table.
    Service(ServiceSet),
}

/// A chain that a verdict may send a packet to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Chain {
    /// To a network behind translation: replies, neighbours and published ports alone.
    ToNat,
    /// To a network that others may route to: also open ports, and ICMP.
    ToRouted,
    /// To a network that anyone but our other networks may route to (`nat-unprotected`).
    ToOpen,
    /// To or from an internal network: neighbours alone.
    Internal,
}

/// The type of one field of a key or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataType {
    /// An interface's name.
    IfName,
    /// IPv4 or IPv6.
    NfProto,
    /// An IPv4 address.
    Ipv4Addr,
    /// An IPv6 address.
    Ipv6Addr,
    /// A transport protocol.
    InetProto,
    /// A transport port.
    InetService,
    /// The number of a slot.
    Slot,
    /// What happens to the packet.
    Verdict,
}

/// One field of a key or a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Datum {
    /// An interface.
    Interface(IfName),
    /// An address family.
    Family(Family),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A transport protocol.
    Protocol(Protocol),
    /// A transport port.
    Port(u16),
    /// The number of a slot.
    Slot(u32),
    /// `jump` to that chain, which drops or returns.
    Jump(Chain),
}

/// One element; its key is what names it, and a second value under one key is a conflict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Element {
    /// The set or map.
    pub set: SetName,
    /// The key's fields in the set's order.
    pub key: Vec<Datum>,
    /// The value's fields; empty for sets.
    pub value: Vec<Datum>,
}

impl Element {
    /// The port that it opens on the host, at one address or over a family, where who was led nowhere
    /// before would go on to be: over UDP and SCTP.
    #[must_use]
    pub fn opened(&self) -> Option<(Family, Option<IpAddr>, PortKey)> {
        let family = match self.set {
            SetName::Ports4 | SetName::PortsAny4 => Family::V4,
            SetName::Ports6 | SetName::PortsAny6 => Family::V6,
            SetName::Service(ServiceSet::At(family) | ServiceSet::Ports(family)) => family,
            _ => return None,
        };
        let [at @ .., Datum::Protocol(protocol), Datum::Port(port)] = &self.key[..] else {
            return None;
        };
        if *protocol == Protocol::Tcp {
            return None;
        }
        let at = at.first().and_then(|at| match at {
            Datum::V4(addr) => Some(IpAddr::V4(*addr)),
            Datum::V6(addr) => Some(IpAddr::V6(*addr)),
            _ => None,
        });
        let port = PortKey {
            port: *port,
            protocol: *protocol,
        };
        Some((family, at, port))
    }
}

impl SetName {
    /// All of the host's table, in the order in which they are made.
    pub const ALL: [Self; 30] = [
        Self::ForwardTo,
        Self::ForwardFrom,
        Self::SameBridge,
        Self::Neighbors,
        Self::Masquerade4,
        Self::Masquerade6,
        Self::Snat4,
        Self::Snat6,
        Self::Bridges,
        Self::Filtered,
        Self::Ports4,
        Self::PortsAny4,
        Self::Ports6,
        Self::PortsAny6,
        Self::Published4,
        Self::PublishedAny4,
        Self::Published6,
        Self::PublishedAny6,
        Self::Open4,
        Self::Open6,
        Self::TunnelPorts,
        Self::Peers4,
        Self::Peers6,
        Self::Remotes4,
        Self::Remotes6,
        Self::Ways4,
        Self::Ways6,
        Self::Beside4,
        Self::Beside6,
        Self::Translators,
    ];

    /// Whether its elements are published ports or services, not a network's policy.
    #[must_use]
    pub const fn is_port(self) -> bool {
        matches!(
            self,
            Self::Ports4
                | Self::PortsAny4
                | Self::Ports6
                | Self::PortsAny6
                | Self::Published4
                | Self::PublishedAny4
                | Self::Published6
                | Self::PublishedAny6
                | Self::Open4
                | Self::Open6
                | Self::Service(_)
        )
    }

    /// The map whose keys it has.
    #[must_use]
    pub const fn keys_of(self) -> Option<Self> {
        match self {
            Self::Published4 => Some(Self::Ports4),
            Self::PublishedAny4 => Some(Self::PortsAny4),
            Self::Published6 => Some(Self::Ports6),
            Self::PublishedAny6 => Some(Self::PortsAny6),
            Self::Filtered => Some(Self::ForwardTo),
            _ => None,
        }
    }

    /// Its name in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForwardTo => "forward_to",
            Self::ForwardFrom => "forward_from",
            Self::SameBridge => "same_bridge",
            Self::Neighbors => "neighbors",
            Self::Masquerade4 => "masquerade4",
            Self::Masquerade6 => "masquerade6",
            Self::Snat4 => "snat4",
            Self::Snat6 => "snat6",
            Self::Bridges => "bridges",
            Self::Filtered => "filtered",
            Self::Ports4 => "ports4",
            Self::PortsAny4 => "ports_any4",
            Self::Ports6 => "ports6",
            Self::PortsAny6 => "ports_any6",
            Self::Published4 => "published4",
            Self::PublishedAny4 => "published_any4",
            Self::Published6 => "published6",
            Self::PublishedAny6 => "published_any6",
            Self::Open4 => "open4",
            Self::Open6 => "open6",
            Self::TunnelPorts => "tunnel_ports",
            Self::Peers4 => "peers4",
            Self::Peers6 => "peers6",
            Self::Remotes4 => "remotes4",
            Self::Remotes6 => "remotes6",
            Self::Ways4 => "ways4",
            Self::Ways6 => "ways6",
            Self::Beside4 => "beside4",
            Self::Beside6 => "beside6",
            Self::Translators => "translators",
            Self::Service(set) => set.name(),
        }
    }

    /// The name of its table.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::Service(_) => crate::SERVICE_TABLE,
            _ => crate::HostTable::NAME,
        }
    }

    /// The set of the host's table of that name in the kernel.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// The types of its key's fields.
    #[must_use]
    pub const fn key(self) -> &'static [DataType] {
        use DataType::{IfName, InetProto, InetService, Ipv4Addr, Ipv6Addr, NfProto};
        match self {
            Self::ForwardTo | Self::Filtered => &[IfName, NfProto],
            Self::SameBridge | Self::Neighbors => &[IfName, IfName],
            Self::ForwardFrom
            | Self::Masquerade4
            | Self::Masquerade6
            | Self::Snat4
            | Self::Snat6
            | Self::Bridges
            | Self::Translators => &[IfName],
            Self::Ports4 | Self::Published4 | Self::Open4 => &[Ipv4Addr, InetProto, InetService],
            Self::Ports6 | Self::Published6 | Self::Open6 => &[Ipv6Addr, InetProto, InetService],
            Self::PortsAny4 | Self::PortsAny6 | Self::PublishedAny4 | Self::PublishedAny6 => {
                &[InetProto, InetService]
            }
            Self::TunnelPorts => &[InetService],
            Self::Peers4 | Self::Remotes4 => &[Ipv4Addr],
            Self::Peers6 | Self::Remotes6 => &[Ipv6Addr],
            Self::Ways4 => &[IfName, IfName, Ipv4Addr],
            Self::Ways6 => &[IfName, IfName, Ipv6Addr],
            Self::Beside4 => &[IfName, Ipv4Addr],
            Self::Beside6 => &[IfName, Ipv6Addr],
            Self::Service(set) => set.key(),
        }
    }

    /// The types of its value's fields; none for a set.
    #[must_use]
    pub const fn value(self) -> &'static [DataType] {
        use DataType::{InetService, Ipv4Addr, Ipv6Addr, Verdict};
        match self {
            Self::ForwardTo | Self::ForwardFrom => &[Verdict],
            Self::Snat4 => &[Ipv4Addr],
            Self::Snat6 => &[Ipv6Addr],
            Self::Ports4 | Self::PortsAny4 => &[Ipv4Addr, InetService],
            Self::Ports6 | Self::PortsAny6 => &[Ipv6Addr, InetService],
            Self::SameBridge
            | Self::Neighbors
            | Self::Masquerade4
            | Self::Masquerade6
            | Self::Bridges
            | Self::Filtered
            | Self::Published4
            | Self::PublishedAny4
            | Self::Published6
            | Self::PublishedAny6
            | Self::Open4
            | Self::Open6
            | Self::TunnelPorts
            | Self::Peers4
            | Self::Peers6
            | Self::Remotes4
            | Self::Remotes6
            | Self::Ways4
            | Self::Ways6
            | Self::Beside4
            | Self::Beside6
            | Self::Translators => &[],
            Self::Service(set) => set.value(),
        }
    }
}

impl Chain {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ToNat, Self::ToRouted, Self::ToOpen, Self::Internal];

    /// Its name in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToNat => "to_nat",
            Self::ToRouted => "to_routed",
            Self::ToOpen => "to_open",
            Self::Internal => "internal",
        }
    }

    /// The chain of that name in the kernel.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.name() == name)
    }
}

impl DataType {
    /// Its name in nftables' language.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IfName => "ifname",
            Self::NfProto => "nf_proto",
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Slot => "integer",
            Self::Verdict => "verdict",
        }
    }
}

impl Datum {
    /// Its type.
    #[must_use]
    pub const fn data_type(&self) -> DataType {
        match self {
            Self::Interface(_) => DataType::IfName,
            Self::Family(_) => DataType::NfProto,
            Self::V4(_) => DataType::Ipv4Addr,
            Self::V6(_) => DataType::Ipv6Addr,
            Self::Protocol(_) => DataType::InetProto,
            Self::Port(_) => DataType::InetService,
            Self::Slot(_) => DataType::Slot,
            Self::Jump(_) => DataType::Verdict,
        }
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::Family(Family::V4) => f.write_str("ipv4"),
            Self::Family(Family::V6) => f.write_str("ipv6"),
            Self::V4(addr) => addr.fmt(f),
            Self::V6(addr) => addr.fmt(f),
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Slot(number) => number.fmt(f),
            Self::Jump(chain) => write!(f, "jump {}", chain.name()),
        }
    }
}

/// As it stands between the braces of nftables' language, after the name of its set.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |data: &[Datum]| {
            let data: Vec<String> = data.iter().map(Datum::to_string).collect();
            data.join(" . ")
        };
        write!(f, "{} {{ {}", self.set.name(), fields(&self.key))?;
        if !self.value.is_empty() {
            write!(f, " : {}", fields(&self.value))?;
        }
        f.write_str(" }")
    }
}
