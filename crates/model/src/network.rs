//! A network as the user asked for it and as it stands after defaults were filled in.

use crate::{NetworkId, NetworkName, Options};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, time::SystemTime};

/// How far a network reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This host alone.
    Local,
    /// Every host of the cluster.
    Global,
}

/// One address range of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// The range that the interfaces are configured with.
    pub subnet: IpNet,
    /// The part of it that addresses are taken from by themselves; the whole when absent.
    pub ip_range: Option<IpNet>,
    /// The router's address in it; absent on networks that have none.
    pub gateway: Option<IpAddr>,
    /// Addresses held back, by name (`--aux-address NAME=IP`).
    pub aux: BTreeMap<String, IpAddr>,
    /// Whether the subnet was asked for, not taken from the default pools.
    pub given: bool,
}

/// Who manages a network's addresses, and from which ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamSpec {
    /// `default` is ours; `null` for networks without addresses.
    pub driver: String,
    /// Options for that driver, echoed.
    pub options: Options,
    /// IPv4 ranges first, then IPv6, each in the order given.
    pub pools: Vec<PoolSpec>,
}

/// A network: a connectivity zone with a driver, address pools, options and labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its id, made when it is created.
    pub id: NetworkId,
    /// Its name, unique on this host.
    pub name: NetworkName,
    /// The name of its driver.
    pub driver: String,
    /// How far it reaches.
    pub scope: Scope,
    /// When it was created.
    pub created: SystemTime,
    /// Whether endpoints get IPv4 addresses.
    pub enable_ipv4: bool,
    /// Whether endpoints get IPv6 addresses.
    pub enable_ipv6: bool,
    /// No way in from or out to other networks.
    pub internal: bool,
    /// Containers may join by themselves (matters for global networks only; echoed).
    pub attachable: bool,
    /// One of `bridge`, `host`, `none`: cannot be removed.
    pub predefined: bool,
    /// Address management.
    pub ipam: IpamSpec,
    /// The driver's options as they were given, echoed.
    pub options: Options,
    /// Labels.
    pub labels: Options,
}

impl NetworkSpec {
    /// The pools of one family.
    pub fn pools(&self, family: crate::Family) -> impl Iterator<Item = &PoolSpec> {
        self.ipam
            .pools
            .iter()
            .filter(move |pool| crate::Family::of(pool.subnet.addr()) == family)
    }
}
