//! An endpoint: what was asked for it, and what it holds.

use crate::{EndpointId, IfName, MacAddr, NetworkId, Options, SandboxId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a user may ask for one endpoint; durable with its sandbox's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSettings {
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// Link-local addresses, added without a lease.
    pub link_local: Vec<IpAddr>,
    /// `--mac-address`.
    pub mac: Option<MacAddr>,
    /// `--alias`, in the order given.
    pub aliases: Vec<String>,
    /// `--link CONTAINER[:ALIAS]`, as given.
    pub links: Vec<String>,
    /// The endpoint with the highest one supplies the default gateway; 0 by default.
    pub gw_priority: i64,
    /// Driver options for this endpoint, echoed.
    pub driver_opts: Options,
}

/// An endpoint with all that it holds: the input of a driver's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// Its id.
    pub id: EndpointId,
    /// The network it is on.
    pub network: NetworkId,
    /// The sandbox it is placed in.
    pub sandbox: SandboxId,
    /// Its interface's name inside the sandbox (`ethN`).
    pub ifname: IfName,
    /// The host end's name.
    pub host_ifname: IfName,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Its leases with the prefix length of their subnet, IPv4 first.
    pub addresses: Vec<IpNet>,
    /// The routers of its subnets, IPv4 first; empty on internal networks.
    pub gateways: Vec<IpAddr>,
    /// What was asked.
    pub settings: EndpointSettings,
}

impl EndpointSpec {
    /// The first address of a family, without its prefix length.
    #[must_use]
    pub fn address(&self, family: crate::Family) -> Option<IpAddr> {
        self.addresses
            .iter()
            .map(IpNet::addr)
            .find(|addr| crate::Family::of(*addr) == family)
    }
}
