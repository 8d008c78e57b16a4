//! A sandbox: one network namespace and its configuration.

use crate::{ContainerName, HostPort, NetworkId, Options, PortRequest, SandboxId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::SystemTime};

/// Where an adopted sandbox came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdoptedFrom {
    /// A process, by its id and its start time in clock ticks since boot
    /// (field 22 of `/proc/PID/stat`), which tells a reused id from the same process.
    Pid {
        /// The process.
        pid: u32,
        /// When it started.
        start_time: u64,
    },
    /// A namespace file.
    Netns(PathBuf),
}

/// Whose namespace it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxKind {
    /// Made for one of our containers.
    Container,
    /// The host's own namespace (`--network host`).
    Host,
    /// Made to lead to the services of a network that spans hosts.
    Balancer {
        /// The network.
        network: NetworkId,
        /// At which of its ports it is sent what comes for each port of the host.
        #[serde(default)]
        inner: BTreeMap<HostPort, u16>,
    },
    /// Somebody else's, adopted.
    Adopted {
        /// Where it came from.
        from: AdoptedFrom,
        /// Its resolver file was replaced, and is put back on release: this path.
        resolv_conf: Option<PathBuf>,
    },
}

/// `--dns`, `--dns-search`, `--dns-option` of one sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsSettings {
    /// Servers; the host's when empty.
    pub servers: Vec<IpAddr>,
    /// Search domains; the host's when empty, none when it holds just `.`.
    pub search: Vec<String>,
    /// Resolver options, such as `ndots:0`.
    pub options: Vec<String>,
}

/// One line for `/etc/hosts` (`--add-host`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address.
    pub addr: IpAddr,
}

/// A sandbox as it was asked for; durable for containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Its id; a container's own.
    pub id: SandboxId,
    /// Its name, unique on this host.
    pub name: ContainerName,
    /// When it was made.
    pub created: SystemTime,
    /// Whose namespace it is.
    pub kind: SandboxKind,
    /// The host name inside.
    pub hostname: String,
    /// The domain name inside; may be empty.
    pub domainname: String,
    /// Its resolver.
    pub dns: DnsSettings,
    /// Extra lines of its `/etc/hosts`.
    pub extra_hosts: Vec<HostEntry>,
    /// Ports to publish.
    pub ports: Vec<PortRequest>,
    /// Ports it is said to serve.
    pub exposed: Vec<crate::PortKey>,
    /// Publish every exposed port on an ephemeral one (`-P`).
    pub publish_all: bool,
    /// Labels.
    pub labels: Options,
}
