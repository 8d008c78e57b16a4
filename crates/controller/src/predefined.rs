//! The networks that are always there: `bridge`, `host` and `none`.

use crate::{
    Controller,
    config::BridgeConfig,
    registry::{Gate, Network, lock},
};
use std::{
    sync::{Arc, PoisonError},
    time::SystemTime,
};
use vw_ipam::{NetworkRequest, PoolRequest};
use vw_model::{Error, Family, IpamSpec, NetworkId, NetworkSpec, Options, Result, Scope};
use vw_store::{Batch, Table};

/// Docker's mark of the network that containers are on when nobody says otherwise.
const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
/// The option that names a network's bridge.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// The name that the default bridge has in the kernel.
const BRIDGE: &str = "vw0";

impl Controller {
    /// Makes the predefined networks that are not there, and remakes `bridge` where the daemon's
    /// flags ask for another.
    ///
    /// # Errors
    /// When one cannot be made, or `bridge` should change while something is on it.
    pub(crate) fn ensure_predefined(&self) -> Result<()> {
        let _deciding = lock(&self.network_changes);
        for (name, driver) in [("host", "host"), ("none", "null")] {
            if self.registry().network_by_name(name).is_none() {
                self.build_network(predefined(self.new_network_id(), name, driver)?)?;
            }
        }
        let standing = self.registry().network_by_name("bridge");
        if let Some(standing) = standing {
            if self.is_as_asked(&standing) {
                return Ok(());
            }
            self.drop_predefined(&standing)?;
        }
        match &self.config.bridge {
            Some(_) => self.make_bridge(),
            None => Ok(()),
        }
    }

    fn is_as_asked(&self, standing: &Network) -> bool {
        let Some(asked) = &self.config.bridge else {
            return false;
        };
        let same = |family: Family| {
            let mut pools = standing.spec.ipam.pools.iter();
            let pool = pools.find(|pool| Family::of(pool.subnet.addr()) == family);
            match (asked_pool(asked, family), pool) {
                (Some(asked), Some(pool)) => {
                    pool.subnet == asked.subnet
                        && pool.ip_range == asked.ip_range
                        && pool.aux == asked.aux
                        && asked.gateway.is_none_or(|own| pool.gateway == Some(own))
                }
                (Some(_), None) => false,
                (None, Some(pool)) => !pool.given,
                (None, None) => true,
            }
        };
        same(Family::V4)
            && (asked.ipv6 == standing.spec.enable_ipv6)
            && (!asked.ipv6 || same(Family::V6))
            && standing.spec.options == bridge_options(asked)
    }

    /// Removes a network that the daemon has of its own accord, to make it anew.
    ///
    /// # Errors
    /// `Conflict` while something is on it.
    pub(crate) fn drop_predefined(&self, standing: &Arc<Network>) -> Result<()> {
        // Whoever is on the way there has come by then.
        let mut gate = standing
            .gate
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let on_it = lock(&standing.members).len();
        if on_it > 0 {
            let message = format!(
                "the network {} must change, but {on_it} containers are on it: stop them, or start the daemon with its former settings",
                standing.spec.name
            );
            return Err(Error::conflict("bridge-in-use", message));
        }
        self.keep(Batch::new().delete(Table::Networks, standing.spec.id.to_string()))?;
        *gate = Gate::Removed;
        self.registry_mut().remove_network(standing);
        lock(&self.ipam).remove_network(standing.spec.id);
        self.take_away(vec![(
            vw_hoststate::Owner::Network(standing.spec.id),
            vw_hoststate::Fragment::default(),
        )])
    }

    fn make_bridge(&self) -> Result<()> {
        let asked = self.config.bridge.clone().unwrap_or_default();
        let mut spec = predefined(self.new_network_id(), "bridge", "bridge")?;
        spec.enable_ipv4 = true;
        spec.enable_ipv6 = asked.ipv6;
        spec.options = bridge_options(&asked);
        let six = asked_pool(&asked, Family::V6).filter(|_| asked.ipv6);
        let pools: Vec<_> = asked_pool(&asked, Family::V4)
            .into_iter()
            .chain(six)
            .collect();
        let request = NetworkRequest {
            pools,
            ipv4: true,
            ipv6: asked.ipv6,
            gateway: true,
        };
        self.build_predefined(spec, &request)
    }

    /// Makes a bridge network that the daemon has of its own accord, with subnets for it.
    ///
    /// # Errors
    /// When there are none, or it cannot be made; nothing is left then.
    pub(crate) fn build_predefined(
        &self,
        mut spec: NetworkSpec,
        request: &NetworkRequest,
    ) -> Result<()> {
        let foreign = self.foreign_prefixes()?;
        let id = spec.id;
        let added = lock(&self.ipam).add_network(id, request, &foreign);
        spec.ipam.pools = added.map_err(|refusal| refusal.for_network(spec.name.as_str()))?;
        self.build_network(spec)
            .inspect_err(|_| lock(&self.ipam).remove_network(id))
    }
}

/// What the flags say of one family of the default bridge; nothing when its subnet is to come
/// from the default pools. Without `--bip`, `--fixed-cidr` is the subnet, as in Docker.
fn asked_pool(asked: &BridgeConfig, family: Family) -> Option<PoolRequest> {
    let (own, range, router, key) = match family {
        Family::V4 => (
            asked.bip,
            asked.fixed_cidr,
            asked.gateway,
            "DefaultGatewayIPv4",
        ),
        Family::V6 => (
            asked.bip6,
            asked.fixed_cidr6,
            asked.gateway6,
            "DefaultGatewayIPv6",
        ),
    };
    let range = range.map(|range| range.trunc());
    Some(PoolRequest {
        subnet: own.map(|own| own.trunc()).or(range)?,
        ip_range: range.filter(|_| own.is_some()),
        gateway: own.map(|own| own.addr()),
        aux: router.map(|at| (key.to_owned(), at)).into_iter().collect(),
    })
}

pub(crate) fn predefined(id: NetworkId, name: &str, driver: &str) -> Result<NetworkSpec> {
    Ok(NetworkSpec {
        id,
        name: name.parse()?,
        driver: driver.to_owned(),
        scope: Scope::Local,
        created: SystemTime::now(),
        enable_ipv4: true,
        enable_ipv6: false,
        internal: false,
        attachable: false,
        predefined: true,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: Options::new(),
            pools: Vec::new(),
        },
        options: Options::new(),
        labels: Options::new(),
    })
}

/// `--default-network-opt` is for networks that users make; this one follows flags of its own.
fn bridge_options(asked: &BridgeConfig) -> Options {
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let name = asked.name.as_ref().map_or(BRIDGE, |name| name.as_str());
    Options::from([option(DEFAULT_BRIDGE, "true"), option(BRIDGE_NAME, name)])
}
