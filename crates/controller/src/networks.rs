//! Networks: made, shown, removed.

use crate::{
    Controller,
    command::{NetworkCreate, NetworkInspect, NetworkList, NetworkPrune, NetworkRemove},
    event::EventType,
    gateway_bridge, records,
    registry::{Gate, Network, Sandbox, lock},
    view::{Created, MemberView, NetworkView, Pruned},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::SystemTime,
};
use vw_drivers::Driver;
use vw_hoststate::{Fragment, Owner};
use vw_ipam::{NetworkRequest, PoolRequest, parse_configs};
use vw_model::{
    EndpointId, Error, Family, IpNet, IpamSpec, Kind, NetworkId, NetworkSpec, Options, Result,
    Scope,
};
use vw_names::{SharedZone, Zone};
use vw_store::{Batch, Table};

/// What a network that names no driver gets.
const DEFAULT_DRIVER: &str = "bridge";

impl Controller {
    pub(crate) fn network_create(&self, request: NetworkCreate) -> Result<Created> {
        let driver = vw_drivers::find(request.driver.as_deref().unwrap_or(DEFAULT_DRIVER))?;
        // The hosts of the cluster decide about theirs: nothing of this host waits for them.
        let local = driver.scope() == Scope::Local;
        let deciding = local.then(|| (lock(&self.network_changes), lock(&self.room)));
        self.check_create(&request)?;
        let id = self.new_network_id();
        let spec = self.new_spec(id, request)?;
        let about = [
            ("name", spec.name.to_string()),
            ("type", spec.driver.clone()),
        ];
        if local {
            self.build_network(spec)
                .inspect_err(|_| lock(&self.ipam).remove_network(id))?;
        } else {
            // It stands where something is on it; another host may have removed it already.
            self.list_known(spec.id);
        }
        drop(deciding);
        self.tell(EventType::Network, "create", &id.to_string(), about);
        Ok(Created {
            id: id.to_string(),
            warnings: Vec::new(),
        })
    }

    fn check_create(&self, request: &NetworkCreate) -> Result<()> {
        if let Some(what) = request.unsupported.first() {
            let message = format!("{what} is not supported by vethwork: leave it out");
            return Err(Error::new(
                Kind::Unsupported,
                "network-option-unsupported",
                message,
            ));
        }
        let name = request.name.as_str();
        if matches!(name, "bridge" | "host" | "none")
            && self.registry().network_by_name(name).is_some()
            || matches!(name, "default" | gateway_bridge::NAME)
        {
            let message = format!("operation is not permitted on predefined {name} network");
            return Err(Error::new(Kind::Forbidden, "network-predefined", message));
        }
        if self.registry().network_by_name(name).is_some() {
            return Err(Error::conflict(
                "network-exists",
                format!("network with name {name} already exists"),
            ));
        }
        Ok(())
    }

    fn new_spec(&self, id: NetworkId, request: NetworkCreate) -> Result<NetworkSpec> {
        let driver_name = request.driver.unwrap_or_else(|| DEFAULT_DRIVER.to_owned());
        let driver = vw_drivers::find(&driver_name)?;
        let ipam_driver = ipam_driver(request.ipam_driver)?;
        if request.scope.is_some_and(|scope| scope != driver.scope()) {
            let message = format!(
                "the {driver_name} driver makes {:?} networks only: leave out --scope",
                driver.scope()
            );
            return Err(Error::invalid("network-scope-invalid", message));
        }
        let mut options = self.config.network_options_for(&driver_name);
        options.extend(request.options);
        let asked6 = request.pools.iter().any(|pool| pool.subnet.contains(':'));
        let mut spec = NetworkSpec {
            id,
            name: request.name,
            driver: driver_name,
            scope: driver.scope(),
            created: SystemTime::now(),
            enable_ipv4: request.ipv4.unwrap_or(true),
            enable_ipv6: request.ipv6.unwrap_or(asked6),
            internal: request.internal,
            attachable: request.attachable,
            predefined: false,
            ipam: IpamSpec {
                driver: ipam_driver,
                options: request.ipam_options,
                pools: Vec::new(),
            },
            options,
            labels: request.labels,
        };
        if !spec.enable_ipv4 && !spec.enable_ipv6 && spec.ipam.driver != "null" {
            return Err(Error::invalid(
                "network-without-family",
                "IPv4 or IPv6 must be enabled",
            ));
        }
        let addressed = spec.ipam.driver == "default" && driver.capabilities().addresses;
        let mut pools = Vec::new();
        if addressed {
            let enabled = |family| match family {
                Family::V4 => spec.enable_ipv4,
                Family::V6 => spec.enable_ipv6,
            };
            pools = parse_configs(&request.pools, enabled).map_err(Error::from)?;
            spec.ipam.pools = pools.iter().map(PoolRequest::spec).collect();
        }
        driver.validate(&spec, &self.config.drivers)?;
        self.check_instance(driver, &spec)?;
        if addressed && spec.scope == Scope::Global {
            return self.create_global(spec, pools);
        }
        if addressed {
            self.check_beside_routed(&spec)?;
            spec.ipam.pools = self.take_subnets(&spec, pools)?;
        } else {
            (spec.enable_ipv4, spec.enable_ipv6) = (false, false);
        }
        Ok(spec)
    }

    /// Whether a network of this driver can be made, and with a bridge that no other network has.
    fn check_instance(&self, driver: &'static dyn Driver, spec: &NetworkSpec) -> Result<()> {
        if !driver.capabilities().instances && !spec.predefined {
            let message = format!(
                "only one instance of {:?} network is allowed",
                driver.name()
            );
            return Err(Error::new(
                Kind::Forbidden,
                "network-single-instance",
                message,
            ));
        }
        let Some(link) = driver.host_link(spec) else {
            return Ok(());
        };
        let networks = self.registry().networks();
        let holder = networks
            .iter()
            .find(|other| other.driver.host_link(&other.spec).as_ref() == Some(&link));
        match holder {
            None => Ok(()),
            Some(holder) => Err(Error::new(
                Kind::Forbidden,
                "bridge-name-in-use",
                format!(
                    "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
                    spec.id, link, holder.spec.id, link
                ),
            )),
        }
    }

    fn take_subnets(
        &self,
        spec: &NetworkSpec,
        pools: Vec<PoolRequest>,
    ) -> Result<Vec<vw_model::PoolSpec>> {
        let foreign = self.foreign_prefixes()?;
        let driver = vw_drivers::find(&spec.driver)?;
        let gateway = [Family::V4, Family::V6]
            .into_iter()
            .any(|family| driver.needs_router(spec, family));
        let request = NetworkRequest {
            pools,
            ipv4: spec.enable_ipv4,
            ipv6: spec.enable_ipv6,
            gateway,
        };
        let added = lock(&self.ipam).add_network(spec.id, &request, &foreign);
        added.map_err(|refusal| refusal.for_network(spec.name.as_str()))
    }

    /// What default pools keep clear of: the host's routes that are not ours, its resolvers, and the
    /// cluster's networks.
    pub(crate) fn foreign_prefixes(&self) -> Result<Vec<IpNet>> {
        let facts = self
            .kernel
            .facts()
            .map_err(crate::controller::kernel_error)?;
        let mut foreign: Vec<IpNet> = facts
            .routes
            .iter()
            .filter(|r| !r.ours)
            .map(|r| r.dst)
            .collect();
        let resolvers = self.host_resolv_conf().1.nameservers.clone();
        foreign.extend(resolvers.iter().map(|server| IpNet::from(server.addr)));
        *self.facts.write().unwrap_or_else(PoisonError::into_inner) = facts;
        foreign.extend(self.subnets_of(Scope::Global));
        Ok(foreign)
    }

    /// Records a network, brings it about and lists it; the caller undoes the subnets.
    pub(crate) fn build_network(&self, spec: NetworkSpec) -> Result<()> {
        let driver = vw_drivers::find(&spec.driver)?;
        let fragment = driver.plan_network(&spec, &self.config.drivers)?;
        let id = spec.id;
        let batch = records::put(Batch::new(), Table::Networks, &id.to_string(), &spec)?;
        self.keep(batch)?;
        crate::step::reached("network.recorded");
        if let Err(error) = self.bring(vec![(Owner::Network(id), fragment)]) {
            self.unkeep(Table::Networks, id.to_string());
            return Err(error);
        }
        crate::step::reached("network.applied");
        self.list_network(spec, driver);
        Ok(())
    }

    /// Lists a network that stands.
    pub(crate) fn list_network(&self, spec: NetworkSpec, driver: &'static dyn Driver) {
        let owned: Vec<IpNet> = spec.ipam.pools.iter().map(|pool| pool.subnet).collect();
        let zone = SharedZone::new(Zone::new(spec.name.as_str(), owned));
        let network = Network {
            spec,
            driver,
            gate: RwLock::new(Gate::Open),
            zone,
            members: Mutex::new(BTreeMap::new()),
            reach: Mutex::default(),
            published: OnceLock::new(),
        };
        self.registry_mut().add_network(Arc::new(network));
    }

    pub(crate) fn network_inspect(&self, request: NetworkInspect) -> Result<NetworkView> {
        let network = self.network(&request.network)?;
        Ok(self.view_network(&network, &self.configured_networks()))
    }

    pub(crate) fn network_list(&self, _: NetworkList) -> Result<Vec<NetworkView>> {
        let used = self.configured_networks();
        let networks = self.registry().networks();
        Ok(networks
            .iter()
            .map(|network| self.view_network(network, &used))
            .collect())
    }

    /// The networks that a container, running or not, is configured to be on.
    fn configured_networks(&self) -> BTreeSet<NetworkId> {
        let sandboxes = self.registry().sandboxes();
        let of = |s: &Arc<Sandbox>| -> Vec<NetworkId> {
            s.state().memberships.iter().map(|m| m.network).collect()
        };
        sandboxes.iter().flat_map(of).collect()
    }

    fn view_network(&self, network: &Network, used: &BTreeSet<NetworkId>) -> NetworkView {
        let members: Vec<_> = lock(&network.members)
            .iter()
            .map(|(id, s)| (*id, s.clone()))
            .collect();
        let view = |(id, sandbox): (EndpointId, Arc<Sandbox>)| {
            let state = sandbox.state();
            let endpoint = &state
                .attachments
                .iter()
                .find(|a| a.endpoint.id == id)?
                .endpoint;
            Some(MemberView {
                sandbox: sandbox.id,
                name: state.spec.name.to_string(),
                endpoint: id,
                mac: endpoint.mac,
                ipv4: v4_of(&endpoint.addresses),
                ipv6: v6_of(&endpoint.addresses),
            })
        };
        let mut members: Vec<MemberView> = members.into_iter().filter_map(view).collect();
        members.extend(Self::remote_members(network));
        members.sort_by_key(|member| member.endpoint);
        let in_use = !members.is_empty() || used.contains(&network.spec.id);
        NetworkView {
            spec: network.spec.clone(),
            peers: self.peers_of(network),
            members,
            in_use,
        }
    }

    pub(crate) fn network_remove(&self, request: NetworkRemove) -> Result<()> {
        let network = self.network(&request.network)?;
        self.remove_network(&network)
    }

    fn remove_network(&self, network: &Arc<Network>) -> Result<()> {
        let name = &network.spec.name;
        if network.spec.predefined {
            let message = format!("{name} is a pre-defined network and cannot be removed");
            return Err(Error::new(Kind::Forbidden, "network-predefined", message));
        }
        let local = network.spec.scope == Scope::Local;
        let _deciding = local.then(|| lock(&self.network_changes));
        let mut gate = network.gate.write().unwrap_or_else(PoisonError::into_inner);
        if *gate == Gate::Removed {
            return Err(Error::not_found(
                "network-not-found",
                format!("network {name} not found"),
            ));
        }
        self.check_empty(network)?;
        let id = network.spec.id;
        let seen_gone = match network.spec.scope {
            Scope::Global => self.remove_global(network)?,
            Scope::Local => {
                self.keep(Batch::new().delete(Table::Networks, id.to_string()))?;
                false
            }
        };
        crate::step::reached("network.removed");
        *gate = Gate::Removed;
        self.registry_mut().remove_network(network);
        lock(&self.ipam).remove_network(id);
        self.abandon(network);
        let gone = self.take_away(vec![(Owner::Network(id), Fragment::default())]);
        if let Err(error) = gone {
            self.warn(format!("network {name} is removed, but not all of it could be taken out of the kernel; the next change or start does it: {}", error.chain()));
        }
        self.tell(
            EventType::Network,
            "destroy",
            &id.to_string(),
            [
                ("name", name.to_string()),
                ("type", network.spec.driver.clone()),
            ],
        );
        drop(gate);
        // A copy that lags has it still, and is told that it is gone.
        if seen_gone {
            self.list_known(id);
        }
        Ok(())
    }

    fn check_empty(&self, network: &Network) -> Result<()> {
        let members: Vec<_> = lock(&network.members).values().cloned().collect();
        let services = self.services_on(network.spec.id);
        if let Some(service) = services.first() {
            let message = format!(
                "error while removing network: network {} has the service {service}: remove it first",
                network.spec.name
            );
            return Err(Error::new(Kind::Forbidden, "network-has-services", message));
        }
        if members.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = members
            .iter()
            .map(|s| {
                format!(
                    "name:{:?} id:{:?}",
                    s.state().spec.name.as_str(),
                    s.id.short()
                )
            })
            .collect();
        let message = format!(
            "error while removing network: network {} has active endpoints ({}): disconnect them first",
            network.spec.name,
            names.join(", ")
        );
        Err(Error::new(
            Kind::Forbidden,
            "network-has-endpoints",
            message,
        ))
    }

    pub(crate) fn network_prune(&self, request: NetworkPrune) -> Result<Pruned> {
        let used = self.configured_networks();
        let mut away = false;
        let mut pruned = Pruned::default();
        let networks = self.registry().networks();
        for network in networks {
            let spec = &network.spec;
            let kept = spec.predefined
                || used.contains(&spec.id)
                || !lock(&network.members).is_empty()
                || request.until.is_some_and(|until| spec.created >= until)
                || !request
                    .labels
                    .iter()
                    .all(|label| has_label(&spec.labels, label))
                || request
                    .not_labels
                    .iter()
                    .any(|label| has_label(&spec.labels, label));
            let global = spec.scope == Scope::Global;
            if kept || away && global {
                continue;
            }
            match self.remove_network(&network) {
                Ok(()) => pruned.removed.push(spec.name.to_string()),
                Err(error) => {
                    // One wait for the cluster's store is enough.
                    away |= global && error.kind == Kind::Unavailable;
                    tracing::debug!("prune keeps {}: {}", spec.name, error.chain());
                }
            }
        }
        Ok(pruned)
    }
}

/// The address manager's name; ours where none was given.
///
/// # Errors
/// `NotFound` for one that there is not.
fn ipam_driver(asked: Option<String>) -> Result<String> {
    let name = asked
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "default".to_owned());
    if matches!(name.as_str(), "default" | "null") {
        return Ok(name);
    }
    let message = format!(
        "could not find an available, non-predefined IPAM driver {name:?}: use default or null"
    );
    Err(Error::not_found("ipam-driver-unknown", message))
}

fn has_label(labels: &Options, (key, value): &(String, Option<String>)) -> bool {
    labels
        .get(key)
        .is_some_and(|held| value.as_ref().is_none_or(|value| held == value))
}

/// The first IPv4 address of a list.
pub(crate) fn v4_of(addresses: &[IpNet]) -> Option<vw_model::Ipv4Net> {
    addresses.iter().find_map(|net| {
        if let IpNet::V4(net) = net {
            Some(*net)
        } else {
            None
        }
    })
}

/// The first IPv6 address of a list.
pub(crate) fn v6_of(addresses: &[IpNet]) -> Option<vw_model::Ipv6Net> {
    addresses.iter().find_map(|net| {
        if let IpNet::V6(net) = net {
            Some(*net)
        } else {
            None
        }
    })
}

impl crate::Config {
    /// `--default-network-opt` of a driver.
    fn network_options_for(&self, driver: &str) -> Options {
        if driver == "bridge" {
            self.network_options.clone()
        } else {
            Options::new()
        }
    }
}
