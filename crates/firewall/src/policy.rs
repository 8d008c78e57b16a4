//! What networks and published ports ask of the table, as elements.

use crate::{Chain, Datum, Element, STAND_IN, SetName};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use vw_model::{Error, Family, IfName, Kind, PortMapping};

/// How a network is reached from beyond its bridge, as Docker's `gateway_mode_ipv4` and `_ipv6`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// By ports published on host addresses alone.
    #[default]
    Nat,
    /// Also directly, every port, but not from our other networks.
    NatUnprotected,
    /// Directly, published ports and ICMP alone; nothing is translated.
    Routed,
    /// Not at all; the host has no address on it either. Only with `internal`.
    Isolated,
}

/// A network's policy for one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyPolicy<A> {
    /// How it is reached.
    pub mode: GatewayMode,
    /// Whether what leaves it takes an address of the host as its source; without meaning in
    /// modes that do not translate.
    pub masquerade: bool,
    /// That address, where it is not the outgoing interface's.
    pub snat: Option<A>,
}

// Derived, it would ask for `A: Default`, which addresses are not.
impl<A> Default for FamilyPolicy<A> {
    fn default() -> Self {
        Self {
            mode: GatewayMode::default(),
            masquerade: false,
            snat: None,
        }
    }
}

/// A bridge network's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPolicy {
    /// Its bridge.
    pub bridge: IfName,
    /// Whether nothing leaves it and nothing enters it.
    pub internal: bool,
    /// Whether its members may talk to one another (`com.docker.network.bridge.enable_icc`).
    /// Bridged frames are stopped by port isolation; this stops what is routed back.
    pub icc: bool,
    /// IPv4; the default for a network without.
    pub v4: FamilyPolicy<Ipv4Addr>,
    /// IPv6; the default for a network without.
    pub v6: FamilyPolicy<Ipv6Addr>,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPolicy {
    /// Host side and container port.
    pub mapping: PortMapping,
    /// The container's address, of the family of the host side: over IPv6 that may be what stands for one
    /// of IPv4 ([`mapped`](crate::mapped)).
    pub target: IpAddr,
    /// The mode of the network that the address lies in, for that family.
    pub mode: GatewayMode,
    /// Whether that network is internal.
    pub internal: bool,
}

/// The elements of a network: ten at most, whatever it holds.
#[must_use]
pub fn network(policy: &NetworkPolicy) -> Vec<Element> {
    let bridge = || Datum::Interface(policy.bridge.clone());
    let key = |set, key| Element {
        set,
        key,
        value: Vec::new(),
    };
    let mut elements = vec![
        key(SetName::Bridges, vec![bridge()]),
        key(SetName::SameBridge, vec![bridge(), bridge()]),
    ];
    for (family, mode) in [(Family::V4, policy.v4.mode), (Family::V6, policy.v6.mode)] {
        let by = receiving(policy.internal, mode);
        elements.extend(receives(&policy.bridge, family, by));
    }
    if policy.icc {
        elements.push(key(SetName::Neighbors, vec![bridge(), bridge()]));
    }
    if policy.internal {
        elements.push(Element {
            set: SetName::ForwardFrom,
            key: vec![bridge()],
            value: vec![Datum::Jump(Chain::Internal)],
        });
        return elements;
    }
    let mut source = |masquerade, set, snat: Option<(SetName, Datum)>| {
        elements.extend(match snat {
            Some((set, value)) => Some(Element {
                set,
                key: vec![bridge()],
                value: vec![value],
            }),
            None if masquerade => Some(key(set, vec![bridge()])),
            None => None,
        });
    };
    if policy.v4.translates() {
        let snat = policy.v4.snat.map(|addr| (SetName::Snat4, Datum::V4(addr)));
        source(policy.v4.masquerade, SetName::Masquerade4, snat);
    }
    if policy.v6.translates() {
        let snat = policy.v6.snat.map(|addr| (SetName::Snat6, Datum::V6(addr)));
        source(policy.v6.masquerade, SetName::Masquerade6, snat);
    }
    elements
}

impl<A> FamilyPolicy<A> {
    fn translates(&self) -> bool {
        self.masquerade && matches!(self.mode, GatewayMode::Nat | GatewayMode::NatUnprotected)
    }
}

/// What may leave through a bridge of ours, by its chain.
pub(crate) fn receives(bridge: &IfName, family: Family, by: Chain) -> [Element; 2] {
    let key = || vec![Datum::Interface(bridge.clone()), Datum::Family(family)];
    [
        Element {
            set: SetName::ForwardTo,
            key: key(),
            value: vec![Datum::Jump(by)],
        },
        Element {
            set: SetName::Filtered,
            key: key(),
            value: Vec::new(),
        },
    ]
}

fn receiving(internal: bool, mode: GatewayMode) -> Chain {
    match mode {
        _ if internal => Chain::Internal,
        GatewayMode::Isolated => Chain::Internal,
        GatewayMode::Nat => Chain::ToNat,
        GatewayMode::NatUnprotected => Chain::ToOpen,
        GatewayMode::Routed => Chain::ToRouted,
    }
}

/// The elements of a published port: where it leads and that it is there, or that it is open, or none
/// where nothing can come in; twice as many for a port of `::1` alone, which is also one of what stands
/// for it on the way.
///
/// A host side of `0.0.0.0` or `[::]` is every address of that family; in mode `routed` the host
/// side does not count, as the container's port itself is opened.
///
/// # Errors
/// `InvalidArgument` when host side and container are of different families: nftables cannot
/// translate one into the other, and nothing else does here.
pub fn port(policy: &PortPolicy) -> Result<Vec<Element>, Error> {
    let PortMapping { host, container } = policy.mapping;
    if Family::of(host.ip()) != Family::of(policy.target) {
        return Err(family_mismatch(host, policy.target));
    }
    if policy.internal {
        return Ok(Vec::new());
    }
    let v4 = policy.target.is_ipv4();
    let pick = |four, six| if v4 { four } else { six };
    let key = |addr: Option<IpAddr>, port| -> Vec<Datum> {
        let place = [Datum::Protocol(container.protocol), Datum::Port(port)];
        addr.map(address).into_iter().chain(place).collect()
    };
    let at = Some(host.ip()).filter(|host| !host.is_unspecified());
    let (leads, known) = match (policy.mode, at) {
        (GatewayMode::Isolated, _) => return Ok(Vec::new()),
        (GatewayMode::Routed, _) => {
            return Ok(vec![Element {
                set: pick(SetName::Open4, SetName::Open6),
                key: key(Some(policy.target), container.port),
                value: Vec::new(),
            }]);
        }
        (_, None) => (
            pick(SetName::PortsAny4, SetName::PortsAny6),
            pick(SetName::PublishedAny4, SetName::PublishedAny6),
        ),
        (_, Some(_)) => (
            pick(SetName::Ports4, SetName::Ports6),
            pick(SetName::Published4, SetName::Published6),
        ),
    };
    let localhost = at == Some(Ipv6Addr::LOCALHOST.into());
    let stand_in = localhost.then_some(Some(STAND_IN.into()));
    let elements = std::iter::once(at).chain(stand_in).flat_map(|at| {
        let key = key(at, host.port());
        let value = vec![address(policy.target), Datum::Port(container.port)];
        [(leads, key.clone(), value), (known, key, Vec::new())]
    });
    let element = |(set, key, value)| Element { set, key, value };
    Ok(elements.map(element).collect())
}

/// Has what comes by a bridge to an address of an endpoint on another one, which is on the first too, be
/// answered by this host where this host has translated it.
#[must_use]
pub fn beside(bridge: &IfName, addr: IpAddr) -> Element {
    let set = match Family::of(addr) {
        Family::V4 => SetName::Beside4,
        Family::V6 => SetName::Beside6,
    };
    Element {
        set,
        key: vec![Datum::Interface(bridge.clone()), address(addr)],
        value: Vec::new(),
    }
}

fn address(addr: IpAddr) -> Datum {
    match addr {
        IpAddr::V4(addr) => Datum::V4(addr),
        IpAddr::V6(addr) => Datum::V6(addr),
    }
}

fn family_mismatch(host: SocketAddr, target: IpAddr) -> Error {
    let (theirs, ours) = match target {
        IpAddr::V4(_) => ("IPv4", "IPv6"),
        IpAddr::V6(_) => ("IPv6", "IPv4"),
    };
    Error::new(
        Kind::InvalidArgument,
        "port-family-mismatch",
        format!(
            "cannot publish {host} to {target}: the container has an {theirs} address only on this network; publish on an {theirs} address, or give the network {ours} too"
        ),
    )
}
