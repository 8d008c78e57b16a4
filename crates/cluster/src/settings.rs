//! Who this host is in its cluster.

use crate::Pulse;
use std::{net::IpAddr, sync::Arc, time::Duration};
use vw_ipam::{DefaultPool, DefaultPools, ula_prefix};
use vw_model::{HostId, IpNet};

/// What a daemon says of its host, and how it takes part.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host's id. It lies on the same disk as the local copy: a host whose disk was emptied
    /// is another host, and its former self must be forgotten by a person.
    pub host: HostId,
    /// Its name, for people.
    pub name: String,
    /// The address at which other hosts reach it.
    pub advertise: IpAddr,
    /// The version of the daemon, shown in the status.
    pub version: String,
    /// For how long others take the host for alive without hearing of it: at least
    /// [`Self::LEAST_TTL`].
    pub ttl: Duration,
    /// For how long others wait for a daemon that stopped cleanly before they take its host for
    /// dead; its containers run on meanwhile. [`Self::pulse`] may find it dead before.
    pub grace: Duration,
    /// How long an empty address block stays, in case it is needed again.
    pub idle: Duration,
    /// How long a call waits for other hosts, or for the store, before it gives up.
    pub patience: Duration,
    /// Where subnets of global networks come from when none is asked for.
    pub pools: DefaultPools,
    /// Asks the kernels of hosts whose daemons are away, or stopped; `None` where those count as dead.
    pub pulse: Option<Arc<dyn Pulse>>,
    /// Random bits.
    pub random: fn() -> [u8; 32],
}

impl Settings {
    /// The shortest [`Self::ttl`].
    pub const LEAST_TTL: Duration = Duration::from_secs(1);

    /// Usual times and pools: 5 s to live, 60 s of grace, blocks returned after 60 s, 5 s of
    /// patience.
    #[must_use]
    pub fn new(
        host: HostId,
        name: impl Into<String>,
        advertise: IpAddr,
        version: impl Into<String>,
        random: fn() -> [u8; 32],
    ) -> Self {
        Self {
            pools: default_pools(host),
            host,
            name: name.into(),
            advertise,
            version: version.into(),
            ttl: Duration::from_secs(5),
            grace: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            patience: Duration::from_secs(5),
            pulse: None,
            random,
        }
    }
}

/// The pools of global networks: 10.64.0.0/11 in /20, each good for 4,093 endpoints, and a unique
/// local /48 in /64.
///
/// The IPv4 range keeps clear of Docker's own local pools, of Kubernetes's usual ranges and of
/// those that clouds give to their default networks (10.0.0.0/16, 10.128.0.0/9, 172.31.0.0/16).
/// The IPv6 one differs from host to host; what a network got is in its record, so hosts need
/// not agree on it.
#[must_use]
pub fn default_pools(host: HostId) -> DefaultPools {
    let v4 = DefaultPool {
        base: IpNet::new_assert(IpAddr::from([10, 64, 0, 0]), 11),
        size: 20,
    };
    // Not the /48 of the host's local networks, which is made of the bare id.
    let seed: Vec<u8> = b"global".iter().chain(host.0.as_bytes()).copied().collect();
    DefaultPools::new(&[v4], ula_prefix(&seed)).expect("a /11 can be split into /20")
}
