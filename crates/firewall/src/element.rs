//! Elements of the named sets and maps of `inet vethwork`.

use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};
use vw_model::{IfName, Protocol};

/// A named set or map of the host's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SetName {
    /// `ifname : verdict`: what may leave through this bridge, by the kind of its network.
    ForwardTo,
    /// `ifname : verdict`: where what came in by this bridge may go.
    ForwardFrom,
    /// `ifname . ifname`: both sides are the same bridge of ours.
    SameBridge,
    /// `ifname`: IPv4 from this bridge to elsewhere is masqueraded.
    Masquerade4,
    /// `ifname`: the same for IPv6.
    Masquerade6,
    /// `ifname : ipv4_addr`: the source address to use instead of masquerading.
    Snat4,
    /// `ifname : ipv6_addr`: the same for IPv6.
    Snat6,
    /// `ifname`: every bridge of ours: guards and what comes from localhost.
    Bridges,
    /// `ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service`: ports on one address.
    Ports4,
    /// `inet_proto . inet_service : ipv4_addr . inet_service`: ports on every local address.
    PortsAny4,
    /// As `Ports4` for IPv6.
    Ports6,
    /// As `PortsAny4` for IPv6.
    PortsAny6,
    /// `ipv4_addr . inet_proto . inet_service`: container ports open to direct routing.
    Open4,
    /// As `Open4` for IPv6.
    Open6,
}

/// A chain that a verdict may send a packet to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Chain {
    /// To a network behind translation: replies, neighbours and published ports alone.
    ToNat,
    /// To a network that others may route to: published ports alone without translation.
    ToRouted,
    /// To a network that anyone may route to, every port (`nat-unprotected`).
    ToOpen,
    /// To or from an internal network: neighbours alone.
    Internal,
    /// From a network that may go out.
    FromExternal,
}

/// One field of a key or a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Datum {
    /// An interface.
    Interface(IfName),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A transport protocol.
    Protocol(Protocol),
    /// A transport port.
    Port(u16),
    /// `goto` that chain.
    Goto(Chain),
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

impl SetName {
    /// Whether its elements are published ports, not a network's policy.
    #[must_use]
    pub const fn is_port(self) -> bool {
        matches!(
            self,
            Self::Ports4
                | Self::PortsAny4
                | Self::Ports6
                | Self::PortsAny6
                | Self::Open4
                | Self::Open6
        )
    }
}
