//! Where records lie in the store.
//!
//! | key | is | written by |
//! |---|---|---|
//! | `v1/format` | the least format that a host must know | the first host |
//! | `v1/catalogue` | what orders the making and removal of networks | who makes or removes one |
//! | `v1/forgotten` | replaced whenever a host is forgotten | who forgets one |
//! | `v1/services` | what orders the making and changing of services | who does either |
//! | `v1/blocks/NET/FIRST-LEN` | the host that allocates from a part of a subnet | that host |
//! | `v1/marks/HOST/0`, `1` | the number of its last transaction, by turns | that host |
//! | `v1/shared/hosts/HOST` | a host that belongs to the cluster | that host |
//! | `v1/shared/alive/HOST` | there while its daemon lives | that host |
//! | `v1/shared/tunnels/HOST` | its keys of encrypted networks | that host |
//! | `v1/shared/unpublished/HOST` | what of services it does not publish; none where it lacks nothing | that host |
//! | `v1/shared/networks/NET` | a network | who makes or removes it, or objects to that |
//! | `v1/shared/services/SERVICE` | a service | who makes, changes or removes it |
//! | `v1/shared/endpoints/NET/HOST/ENDPOINT` | an endpoint | its host |
//! | `v1/shared/requests/NET/ADDRESS` | a wish for an address in another's block, or for any block (`0.0.0.0`, or `::`) | who wants it, also in place of one that is not there; the block's host |
//! | `v1/shared/grants/NET/ADDRESS` | an address given away out of a block | the block's host; who got it takes it away, and with a service its addresses; of one that was forgotten, the block's host |
//!
//! Every host follows `v1/shared`; the rest is read when it is needed. Segments of a key are of
//! `[a-z0-9._-]`, so that an IPv6 address is written as its 32 digits.

use std::net::{IpAddr, Ipv6Addr};
use vw_model::{EndpointId, HostId, IpNet, NetworkId, ServiceId};

pub(crate) const FORMAT: &str = "v1/format";
pub(crate) const CATALOGUE: &str = "v1/catalogue";
pub(crate) const FORGOTTEN: &str = "v1/forgotten";
pub(crate) const ROSTER: &str = "v1/services";
pub(crate) const BLOCKS: &str = "v1/blocks";
pub(crate) const MARKS: &str = "v1/marks";
pub(crate) const SHARED: &str = "v1/shared";
pub(crate) const HOSTS: &str = "v1/shared/hosts";
pub(crate) const ALIVE: &str = "v1/shared/alive";
pub(crate) const TUNNELS: &str = "v1/shared/tunnels";
pub(crate) const UNPUBLISHED: &str = "v1/shared/unpublished";
pub(crate) const NETWORKS: &str = "v1/shared/networks";
pub(crate) const SERVICES: &str = "v1/shared/services";
pub(crate) const ENDPOINTS: &str = "v1/shared/endpoints";
pub(crate) const REQUESTS: &str = "v1/shared/requests";
pub(crate) const GRANTS: &str = "v1/shared/grants";

/// What a record below [`SHARED`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Shared {
    Host(HostId),
    Alive(HostId),
    Tunnel(HostId),
    Unpublished(HostId),
    Network(NetworkId),
    Service(ServiceId),
    Endpoint(NetworkId, HostId, EndpointId),
    Request(NetworkId, IpAddr),
    Grant(NetworkId, IpAddr),
}

impl Shared {
    /// What a key names, or nothing when it was made by a newer version or by hand.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let rest = key.strip_prefix(SHARED)?.strip_prefix('/')?;
        let parts: Vec<&str> = rest.split('/').collect();
        match parts[..] {
            ["hosts", host] => Some(Self::Host(host.parse().ok()?)),
            ["alive", host] => Some(Self::Alive(host.parse().ok()?)),
            ["tunnels", host] => Some(Self::Tunnel(host.parse().ok()?)),
            ["unpublished", host] => Some(Self::Unpublished(host.parse().ok()?)),
            ["networks", network] => Some(Self::Network(network.parse().ok()?)),
            ["services", service] => Some(Self::Service(service.parse().ok()?)),
            ["endpoints", network, host, endpoint] => Some(Self::Endpoint(
                network.parse().ok()?,
                host.parse().ok()?,
                endpoint.parse().ok()?,
            )),
            ["requests", network, addr] => {
                Some(Self::Request(network.parse().ok()?, parse_address(addr)?))
            }
            ["grants", network, addr] => {
                Some(Self::Grant(network.parse().ok()?, parse_address(addr)?))
            }
            _ => None,
        }
    }

    pub(crate) fn key(&self) -> String {
        match self {
            Self::Host(host) => format!("{HOSTS}/{host}"),
            Self::Alive(host) => format!("{ALIVE}/{host}"),
            Self::Tunnel(host) => format!("{TUNNELS}/{host}"),
            Self::Unpublished(host) => format!("{UNPUBLISHED}/{host}"),
            Self::Network(network) => format!("{NETWORKS}/{network}"),
            Self::Service(service) => format!("{SERVICES}/{service}"),
            Self::Endpoint(network, host, endpoint) => {
                format!("{ENDPOINTS}/{network}/{host}/{endpoint}")
            }
            Self::Request(network, addr) => format!("{REQUESTS}/{network}/{}", address(*addr)),
            Self::Grant(network, addr) => format!("{GRANTS}/{network}/{}", address(*addr)),
        }
    }
}

/// The key of a block.
pub(crate) fn block(network: NetworkId, range: IpNet) -> String {
    let (first, len) = (address(range.network()), range.prefix_len());
    format!("{BLOCKS}/{network}/{first}-{len}")
}

/// The network and the range of a block's key.
pub(crate) fn parse_block(key: &str) -> Option<(NetworkId, IpNet)> {
    let rest = key.strip_prefix(BLOCKS)?.strip_prefix('/')?;
    let (network, range) = rest.split_once('/')?;
    let (first, len) = range.rsplit_once('-')?;
    let range = IpNet::new(parse_address(first)?, len.parse().ok()?).ok()?;
    Some((network.parse().ok()?, range))
}

/// Where a host's notes of its transactions lie.
pub(crate) fn marks(host: HostId) -> String {
    format!("{MARKS}/{host}")
}

/// The key of one of them.
pub(crate) fn mark(host: HostId, slot: usize) -> String {
    format!("{MARKS}/{host}/{slot}")
}

/// Whose a key names, and which one.
pub(crate) fn parse_mark(key: &str) -> Option<(HostId, usize)> {
    let rest = key.strip_prefix(MARKS)?.strip_prefix('/')?;
    let (host, slot) = rest.split_once('/')?;
    Some((host.parse().ok()?, slot.parse().ok()?))
}

/// An address as a segment.
pub(crate) fn address(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{:032x}", v6.to_bits()),
    }
}

pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    if text.contains('.') {
        return text.parse().ok();
    }
    (text.len() == 32)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
        .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

#[cfg(test)]
mod tests;
