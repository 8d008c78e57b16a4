//! `network connect` and `disconnect`, for what runs and for what does not.

use crate::{
    Controller, checks,
    command::{Connect, Disconnect},
    etc_files,
    records::Membership,
    registry::{Network, Sandbox, lock},
};
use std::sync::Arc;
use vw_model::{EndpointId, Error, Kind, Result};

/// Docker's sentence for a network that a new container names.
pub(crate) fn missing_network(error: Error) -> Error {
    if error.reason != "network-not-found" {
        return error;
    }
    let message = format!("failed to set up container networking: {}", error.message);
    Error { message, ..error }
}

impl Controller {
    pub(crate) fn connect(&self, request: Connect) -> Result<()> {
        let network = self.network(&request.network)?;
        let sandbox = self.sandbox(&request.sandbox)?;
        let _ops = lock(&sandbox.ops);
        sandbox.must_stand()?;
        self.check_connect(&sandbox, &network)?;
        checks::settings(&network, &request.settings)?;
        self.check_member(&network, &request.settings)?;
        let membership = Membership {
            network: network.spec.id,
            name: network.spec.name.to_string(),
            settings: request.settings.clone(),
        };
        sandbox.state().memberships.push(membership);
        let joined = self.keep_container(&sandbox).and_then(|()| {
            crate::step::reached("connect.recorded");
            if !sandbox.state().live {
                return Ok(());
            }
            self.refreshing(&sandbox, || {
                self.attach(&sandbox, &network, request.settings)
            })
        });
        joined.inspect_err(|_| {
            sandbox
                .state()
                .memberships
                .retain(|m| m.network != network.spec.id);
            if let Err(left) = self.keep_container(&sandbox) {
                self.warn(format!(
                    "a container's record names a network that it could not join: {}",
                    left.chain()
                ));
            }
        })
    }

    fn check_connect(&self, sandbox: &Sandbox, network: &Network) -> Result<()> {
        let state = sandbox.state();
        if !state.live && state.container.is_none() {
            let message = format!("{} has ended: release it", state.spec.name);
            return Err(Error::conflict("sandbox-ended", message));
        }
        if let Some(record) = &state.container
            && !record.mode.takes_endpoints()
        {
            return Err(Error::invalid(
                "namespace-shared",
                "container sharing network namespace with another container or host cannot be connected to any other network",
            ));
        }
        if state
            .memberships
            .iter()
            .any(|m| m.network == network.spec.id)
        {
            let message = format!(
                "endpoint with name {} already exists in network {}",
                state.spec.name, network.spec.name
            );
            return Err(Error::new(Kind::Forbidden, "endpoint-exists", message));
        }
        let present: Vec<_> = {
            let registry = self.registry();
            let networks = state
                .memberships
                .iter()
                .filter_map(|m| registry.network_by_id(m.network));
            networks.map(|n| n.driver.capabilities()).collect()
        };
        vw_drivers::may_join(network.driver.capabilities(), false, &present)
    }

    pub(crate) fn disconnect(&self, request: Disconnect) -> Result<()> {
        let sandbox = self.sandbox(&request.sandbox)?;
        let _ops = lock(&sandbox.ops);
        sandbox.must_stand()?;
        let id = match self.network(&request.network) {
            Ok(network) => {
                vw_drivers::may_leave(network.driver.capabilities())?;
                if network.is_gateway_bridge() {
                    let message = format!(
                        "network {} is left by itself: by what is on a network that leads somewhere",
                        network.spec.name
                    );
                    return Err(Error::new(Kind::Forbidden, "gateway-bridge", message));
                }
                network.spec.id
            }
            // A network that is gone can still be left: the container's configuration names it.
            Err(missing) => self
                .membership_named(&sandbox, &request.network)
                .ok_or(missing)?,
        };
        let endpoint = {
            let state = sandbox.state();
            let mut endpoints = state.attachments.iter();
            let found = endpoints.find(|a| a.network.spec.id == id);
            found.map(|a| a.endpoint.id)
        };
        let is_member = sandbox.state().memberships.iter().any(|m| m.network == id);
        if !is_member && endpoint.is_none() && self.is_leaving(&sandbox, id) {
            return self.go_on_leaving();
        }
        if !is_member && endpoint.is_none() {
            let message = format!(
                "container {} is not connected to network {}",
                sandbox.id, request.network
            );
            return Err(Error::new(Kind::Forbidden, "not-connected", message));
        }
        let former = {
            let mut state = sandbox.state();
            let former = state.memberships.clone();
            state.memberships.retain(|m| m.network != id);
            former
        };
        if let Err(error) = self.keep_container(&sandbox) {
            sandbox.state().memberships = former;
            return Err(error);
        }
        crate::step::reached("disconnect.recorded");
        let Some(endpoint) = endpoint else {
            return Ok(());
        };
        let left = self.refreshing(&sandbox, || self.detach(&sandbox, endpoint));
        left.inspect_err(|_| self.rejoin(&sandbox, endpoint, former))
    }

    /// Takes back that a container left a network, when its endpoint is in service still.
    fn rejoin(&self, sandbox: &Sandbox, endpoint: EndpointId, former: Vec<Membership>) {
        {
            let mut state = sandbox.state();
            if !state.attachments.iter().any(|a| a.endpoint.id == endpoint) {
                return;
            }
            state.memberships = former;
        }
        if let Err(left) = self.keep_container(sandbox) {
            self.warn(format!(
                "a container's record lacks a network that it is on: {}",
                left.chain()
            ));
        }
    }

    /// Does what changes a sandbox's endpoints, then brings its files up to date.
    pub(crate) fn refreshing(
        &self,
        sandbox: &Sandbox,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let (before, was) = {
            let state = sandbox.state();
            (etc_files::addresses(&state), self.resolver_kind(&state))
        };
        change()?;
        if let Err(error) = self.refresh_files(sandbox, &before, was) {
            self.warn(format!(
                "container {}: {}",
                sandbox.id.short(),
                error.chain()
            ));
        }
        Ok(())
    }

    fn membership_named(&self, sandbox: &Arc<Sandbox>, text: &str) -> Option<vw_model::NetworkId> {
        let state = sandbox.state();
        let named = |m: &&Membership| m.name == text || m.network.to_string() == text;
        state.memberships.iter().find(named).map(|m| m.network)
    }

    /// Records a container as it stands; adopted sandboxes have no durable record.
    ///
    /// # Errors
    /// `NotFound` for one that was removed. When the store cannot be written; the caller takes its
    /// change back.
    pub(crate) fn keep_container(&self, sandbox: &Sandbox) -> Result<()> {
        let _writing = lock(&sandbox.writing);
        sandbox.must_stand()?;
        let mut state = sandbox.state();
        let memberships = state.memberships.clone();
        let spec = state.spec.clone();
        let Some(record) = state.container.as_mut() else {
            return Ok(());
        };
        record.memberships = memberships;
        record.sandbox = spec;
        let batch = crate::records::put(
            vw_store::Batch::new(),
            vw_store::Table::Containers,
            &sandbox.id.to_string(),
            record,
        )?;
        drop(state);
        self.keep(batch)
    }
}
