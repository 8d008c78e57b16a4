//! The gateway bridge: a second interface for sandboxes whose networks lead nowhere by themselves.
//!
//! Owns when a sandbox has an endpoint on `vw_gwbridge`: as long as one of its networks asks for a
//! way out and none of them has one. Nobody joins or leaves it by request.

use crate::{
    Controller,
    predefined::predefined,
    registry::{Network, Sandbox, lock},
};
use std::sync::Arc;
use vw_ipam::NetworkRequest;
use vw_model::{EndpointId, EndpointSettings, Error, IpNet, Options, Result, Scope};

/// The network, and its bridge in the kernel.
pub(crate) const NAME: &str = "vw_gwbridge";

/// Sandboxes on it are strangers to one another.
const ICC: &str = "com.docker.network.bridge.enable_icc";

impl Controller {
    /// Places a new endpoint of `network` in `sandbox`, whose namespace stands, and one on the
    /// gateway bridge where the sandbox needs that now.
    ///
    /// # Errors
    /// As the checks, the address manager, the driver or the executor say; nothing is left then.
    pub(crate) fn attach(
        &self,
        sandbox: &Arc<Sandbox>,
        network: &Arc<Network>,
        settings: EndpointSettings,
    ) -> Result<()> {
        let coming = self.prepare_balancer(network);
        let attached = self.attach_both(sandbox, network, settings);
        self.has_come(network, coming);
        self.way_out_changed(sandbox);
        attached
    }

    fn attach_both(
        &self,
        sandbox: &Arc<Sandbox>,
        network: &Arc<Network>,
        settings: EndpointSettings,
    ) -> Result<()> {
        let _placing = lock(&sandbox.placing);
        let id = self.attach_one(sandbox, network, settings)?;
        self.settle_companion(sandbox).inspect_err(|_| {
            if let Err(left) = self.detach_unasked(sandbox, id) {
                tracing::error!("an endpoint without a way out: {}", left.chain());
            }
        })
    }

    /// Takes an endpoint out of its sandbox, and gives or takes the one on the gateway bridge.
    ///
    /// # Errors
    /// As [`Self::detach_one`] says; that a way out cannot be had is told and fails no leaving.
    pub(crate) fn detach(&self, sandbox: &Arc<Sandbox>, id: EndpointId) -> Result<()> {
        let _placing = lock(&sandbox.placing);
        let left = self.detach_one(sandbox, id);
        // It is out of service, whatever of it stands: who asks again has no part in this any more.
        self.change_way_out(sandbox);
        left
    }

    pub(crate) fn change_way_out(&self, sandbox: &Arc<Sandbox>) {
        self.see_off();
        if let Err(error) = self.settle_companion(sandbox) {
            let name = sandbox.state().spec.name.clone();
            self.warn(format!(
                "{name} has no way to the outside: {}",
                error.chain()
            ));
        }
        self.way_out_changed(sandbox);
    }

    /// What services lead to it past their network, they may have to lead another way.
    fn way_out_changed(&self, sandbox: &Sandbox) {
        let endpoints: Vec<EndpointId> = {
            let state = sandbox.state();
            state.attachments.iter().map(|a| a.endpoint.id).collect()
        };
        for endpoint in endpoints.into_iter().filter(|_| !sandbox.balances) {
            self.way_out_of_changed(endpoint);
        }
    }

    /// Gives a sandbox its endpoint on the gateway bridge, or takes it, as its networks ask.
    ///
    /// # Errors
    /// As attaching and detaching do.
    pub(crate) fn settle_companion(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let (wanted, standing) = {
            let state = sandbox.state();
            let others = || {
                let attachments = state.attachments.iter();
                attachments.filter(|a| !a.network.is_gateway_bridge())
            };
            let asked = others().any(|a| a.network.driver.companion(&a.network.spec));
            let leads_out = others().any(|a| !a.gateways.is_empty());
            let mut attachments = state.attachments.iter();
            let standing = attachments.find(|a| a.network.is_gateway_bridge());
            (asked && !leads_out, standing.map(|a| a.endpoint.id))
        };
        match (wanted, standing) {
            (true, None) => {
                let settings = EndpointSettings {
                    // Whatever else has a gateway goes before it.
                    gw_priority: i64::MIN,
                    ..EndpointSettings::default()
                };
                let network = self.gateway_network(sandbox)?;
                match self.attach_one(sandbox, &network, settings.clone()) {
                    // It was made anew meanwhile.
                    Err(error) if error.reason == "network-not-found" => {
                        let network = self.gateway_network(sandbox)?;
                        self.attach_one(sandbox, &network, settings)
                    }
                    attached => attached,
                }
                .map(drop)
            }
            (false, Some(id)) => self.detach_unasked(sandbox, id),
            _ => Ok(()),
        }
    }

    /// The network, made when the first sandbox needs it. It keeps clear of all networks of the
    /// cluster when it is made; one that others are on must keep clear of those of this sandbox.
    fn gateway_network(&self, sandbox: &Sandbox) -> Result<Arc<Network>> {
        let own: Vec<IpNet> = {
            let state = sandbox.state();
            let others = state.attachments.iter().map(|a| &a.network);
            let others = others.filter(|network| !network.is_gateway_bridge());
            let pools = others.flat_map(|network| &network.spec.ipam.pools);
            pools.map(|pool| pool.subnet).collect()
        };
        let fits = |standing: &Arc<Network>| {
            let foreign = match lock(&standing.members).is_empty() {
                true => self.subnets_of(Scope::Global),
                false => own.clone(),
            };
            let mut pools = standing.spec.ipam.pools.iter();
            !pools.any(|pool| {
                let mut foreign = foreign.iter();
                foreign.any(|net| {
                    net.contains(&pool.subnet.addr()) || pool.subnet.contains(&net.addr())
                })
            })
        };
        let standing = self.registry().network_by_name(NAME);
        if let Some(standing) = standing.filter(fits) {
            return Ok(standing);
        }
        let _deciding = lock(&self.network_changes);
        let standing = self.registry().network_by_name(NAME);
        match standing {
            Some(standing) if fits(&standing) => return Ok(standing),
            // The cluster took its subnet for one of its own.
            Some(standing) => self.drop_predefined(&standing)?,
            None => {}
        }
        let mut spec = predefined(self.new_network_id(), NAME, "bridge")?;
        spec.enable_ipv6 = self.config.drivers.ipv6;
        spec.options = Options::from([(ICC.to_owned(), "false".to_owned())]);
        let request = NetworkRequest {
            pools: Vec::new(),
            ipv4: true,
            ipv6: spec.enable_ipv6,
            gateway: true,
        };
        let id = spec.id;
        self.build_predefined(spec, &request)?;
        let missing = || Error::internal("network-not-found", "the gateway bridge is not listed");
        self.registry().network_by_id(id).ok_or_else(missing)
    }
}

impl Network {
    /// Whether it is the gateway bridge.
    pub(crate) fn is_gateway_bridge(&self) -> bool {
        self.spec.predefined && self.spec.name.as_str() == NAME
    }
}
