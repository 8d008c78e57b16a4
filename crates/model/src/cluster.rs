//! What one host of a cluster knows of the others.

use crate::{EndpointId, HostId, MacAddr, NetworkId, PortKey, SandboxId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Another host of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteHost {
    /// Its id, which it keeps across restarts.
    pub id: HostId,
    /// Its name, for people.
    pub name: String,
    /// The address that it sends tunnelled packets from and takes them at.
    pub tunnel: IpAddr,
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
}
