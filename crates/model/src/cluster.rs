//! What one host of a cluster knows of the others.

use crate::{
    EndpointId, HostId, MacAddr, NetworkId, PortKey, PublicKey, SandboxId, ServicePart, Unpublished,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

/// The UDP port at which hosts try the way to one another: beside that of VXLAN (RFC 7348), and
/// assigned to nobody. No tunnel can end there.
pub const PROBE_PORT: u16 = 4788;

/// The UDP ports of which the first that is free on a host takes its encrypted packets: WireGuard's usual
/// one, and those after it. No new network's tunnel may end there: it could not on hosts that have one for
/// encrypted networks already.
pub const ENCRYPTION_PORTS: RangeInclusive<u16> = 51_820..=51_883;

/// What hosts of a cluster have a UDP port for, where no tunnel of a network may end at it; with what to do.
#[must_use]
pub fn kept_port(port: u16) -> Option<String> {
    let (first, last) = ENCRYPTION_PORTS.into_inner();
    match port {
        PROBE_PORT => Some(format!(
            "the hosts try the way to one another at {PROBE_PORT}: use another port"
        )),
        port if ENCRYPTION_PORTS.contains(&port) => Some(format!(
            "the hosts take the packets of encrypted networks at one of {first} to {last}: use another port"
        )),
        _ => None,
    }
}

/// Another host of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteHost {
    /// Its id, which it keeps across restarts.
    pub id: HostId,
    /// Its name, for people.
    pub name: String,
    /// The address that it sends tunnelled packets from and takes them at.
    pub tunnel: IpAddr,
    /// Its keys of encrypted networks; `None` while it has told none.
    #[serde(default)]
    pub keys: Option<TunnelKeys>,
    /// What it does not publish of services.
    #[serde(default)]
    pub unpublished: Unpublished,
    /// Whether its daemon is away while its kernel carries packets.
    #[serde(default)]
    pub away: bool,
}

/// What a host tells of its end of encrypted networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelKeys {
    /// The key that it uses.
    pub public: PublicKey,
    /// The key that it will use next, which the others must accept before it does.
    pub next: Option<PublicKey>,
    /// The UDP port at its address that encrypted packets go to.
    pub port: u16,
    /// The next keys of other hosts that it accepts.
    #[serde(default)]
    pub taken: BTreeSet<PublicKey>,
    /// Whether nothing encrypted stands there. It takes in no keys then, and reads all of them
    /// before it sends anything.
    #[serde(default)]
    pub idle: bool,
    /// Tells one time that it is not idle from another.
    #[serde(default)]
    pub woke: u64,
}

/// An endpoint of a global network that lies on another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Its network.
    pub network: NetworkId,
    /// The host that it lies on.
    pub host: HostId,
    /// That host's end of the tunnel.
    pub tunnel: IpAddr,
    /// The sandbox that it is placed in there.
    pub sandbox: SandboxId,
    /// Its interface's address.
    pub mac: MacAddr,
    /// Its addresses, each with its subnet's length.
    pub addresses: Vec<IpNet>,
    /// The names by which its network's members find it, the first for reverse look-ups.
    pub names: Vec<String>,
    /// The ports it is said to serve, for SRV.
    #[serde(default)]
    pub ports: Vec<PortKey>,
    /// What it is to services; `None` also where another version wrote what this one does not know.
    #[serde(default, deserialize_with = "ServicePart::known")]
    pub service: Option<ServicePart>,
    /// Whether its host is: packets find their way to it, and nothing new is led to it.
    #[serde(default)]
    pub away: bool,
}
