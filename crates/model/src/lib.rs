//! The words of the house: ids, specifications, options and kinds of error.
//!
//! Owns the Container Network Model as plain data. It must not do I/O, know a
//! driver, or know how any of it is stored, shown or put into the kernel.

mod addr;
mod cluster;
mod container;
mod endpoint;
mod error;
mod id;
mod name;
mod network;
mod others;
mod part;
mod port;
pub mod rfc3339;
mod sandbox;
mod service;
mod tunnel;

pub use addr::{Family, MacAddr, ParseMacError};
pub use cluster::{
    ENCRYPTION_PORTS, PROBE_PORT, RemoteEndpoint, RemoteHost, TunnelKeys, kept_port,
};
pub use container::{
    ContainerSpec, Healthcheck, Mount, MountKind, ResourceLimits, RestartPolicy, Ulimit,
};
pub use endpoint::{EndpointSettings, EndpointSpec};
pub use error::{Error, Kind, Reason, Result};
pub use id::{EndpointId, HostId, Id, NetworkId, ParseIdError, SandboxId, ServiceId};
pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use name::{ContainerName, IfName, NetworkName, ServiceName};
pub use network::{IpamSpec, NetworkSpec, PoolSpec, Scope};
pub use others::OtherHosts;
pub use part::{Lacks, MemberHealth, Obstacle, ServicePart, Unpublished};
pub use port::{HostPort, PortKey, PortMapping, PortRange, PortRequest, Protocol, meet};
pub use sandbox::{AdoptedFrom, DnsSettings, HostEntry, SandboxKind, SandboxSpec};
pub use service::{
    Affinity, EndpointMode, HealthSpec, MAX_WEIGHT, Preference, Probe, PublishMode, PublishedPort,
    SERVICE_KEY, ServiceSpec, WEIGHT_KEY,
};
pub use tunnel::{
    PROBE_NETWORKS, ParsePublicKeyError, PublicKey, inner_address, is_inner, link_address,
    station_address,
};

/// String options or labels, kept in a stable order so that they echo the same way each time.
pub type Options = std::collections::BTreeMap<String, String>;
