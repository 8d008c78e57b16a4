//! `network connect` and `disconnect`, for what runs and for what does not.

use crate::{
    Controller, checks,
    command::{Connect, Disconnect},
    etc_files,
    records::Membership,
    registry::{Gate, Network, Sandbox, SandboxState, lock},
};
use std::sync::{Arc, TryLockError};
use vw_model::{EndpointId, Error, Kind, NetworkId, Result};

/// Docker's sentence for a network that a new container names.
pub(crate) fn missing_network(error: Error) -> Error {
    if error.reason != "network-not-found" {
        return error;
    }
    let message = format!("failed to set up container networking: {}", error.message);
    Error { message, ..error }
}

/// What a sandbox has of a network that it is to leave.
struct ToLeave {
    network: NetworkId,
    endpoint: Option<EndpointId>,
}

impl ToLeave {
    fn of(sandbox: &Sandbox, network: NetworkId) -> Self {
        let state = sandbox.state();
        let mut endpoints = state.attachments.iter();
        let found = endpoints.find(|a| a.network.spec.id == network);
        Self {
            network,
            endpoint: found.map(|a| a.endpoint.id),
        }
    }
}

impl Controller {
    pub(crate) fn connect(&self, request: Connect) -> Result<()> {
        let network = self.network(&request.network)?;
        let sandbox = self.sandbox(&request.sandbox)?;
        let _ops = lock(&sandbox.ops);
        sandbox.must_stand()?;
        self.check_connect(&sandbox, &network)?;
        checks::settings(&network, &request.settings)?;
        let labels = sandbox.state().spec.labels.clone();
        self.check_member(&network, &request.settings, &labels)?;
        self.check_asking(&sandbox, &network, &request.settings)?;
        let membership = network.membership(request.settings.clone());
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
            // Its endpoint may have stood, and gone while it was a member.
            if !network.sealed().is_empty() {
                self.settle_sandbox(&sandbox);
            }
            if let Err(left) = self.keep_memberships(&sandbox) {
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
        let found = {
            let _ops = lock(&sandbox.ops);
            self.to_leave(&sandbox, &request)?
        };
        match found.endpoint {
            // Without `ops`: the container may end while its connections do.
            Some(endpoint) => self.once_drained(&sandbox, Some(endpoint), || {
                self.disconnect_drained(&sandbox, &request)
            }),
            None => self.disconnect_drained(&sandbox, &request),
        }
    }

    /// What there is of a sandbox on the network that it is to leave; the caller holds `ops`.
    ///
    /// # Errors
    /// As the request cannot be done, and `NotFound` for a sandbox that was removed.
    fn to_leave(&self, sandbox: &Arc<Sandbox>, request: &Disconnect) -> Result<ToLeave> {
        sandbox.must_stand()?;
        let network = match self.network(&request.network) {
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
            Err(missing) => {
                Self::membership_named(sandbox, &request.network, |_| true).ok_or(missing)?
            }
        };
        let to_leave = ToLeave::of(sandbox, network);
        let is_member =
            |state: &SandboxState| state.memberships.iter().any(|m| m.network == network);
        if !is_member(&sandbox.state())
            && to_leave.endpoint.is_none()
            && !self.is_leaving(sandbox, network)
        {
            // It may be that of another, which is gone.
            let gone =
                Self::membership_named(sandbox, &request.network, |network| self.is_gone(network));
            if let Some(network) = gone {
                return Ok(ToLeave::of(sandbox, network));
            }
            let message = format!(
                "container {} is not connected to network {}",
                sandbox.id, request.network
            );
            return Err(Error::new(Kind::Forbidden, "not-connected", message));
        }
        Ok(to_leave)
    }

    fn disconnect_drained(&self, sandbox: &Arc<Sandbox>, request: &Disconnect) -> Result<()> {
        let _ops = lock(&sandbox.ops);
        // As it is now: it may have ended, and be on the network anew.
        let ToLeave { network, endpoint } = self.to_leave(sandbox, request)?;
        let former = {
            let mut state = sandbox.state();
            let former = state.memberships.clone();
            state.memberships.retain(|m| m.network != network);
            former
        };
        if endpoint.is_none() && former.iter().all(|m| m.network != network) {
            return self.go_on_leaving();
        }
        if let Err(error) = self.keep_memberships(sandbox) {
            let mut left = former.iter().filter(|m| m.network == network);
            let is_sealed = left.any(|m| !m.sealed.is_empty());
            sandbox.state().memberships = former;
            // Its endpoint may have gone meanwhile, and with it what keeps a member from there.
            if is_sealed {
                self.settle_sandbox(sandbox);
            }
            return Err(error);
        }
        crate::step::reached("disconnect.recorded");
        let Some(endpoint) = endpoint else {
            self.settle_sandbox(sandbox);
            return Ok(());
        };
        let left = self.refreshing(sandbox, || self.detach(sandbox, endpoint));
        left.inspect_err(|_| self.rejoin(sandbox, endpoint, former))
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
        if let Err(left) = self.keep_memberships(sandbox) {
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

    /// A network that a sandbox is a member of, which can be left though it is not known, or not any more.
    fn membership_named(
        sandbox: &Sandbox,
        text: &str,
        is: impl Fn(NetworkId) -> bool,
    ) -> Option<NetworkId> {
        let state = sandbox.state();
        let named = |m: &&Membership| m.name == text || m.network.to_string() == text;
        let mut named = state.memberships.iter().filter(named).map(|m| m.network);
        named.find(|id| is(*id))
    }

    fn is_gone(&self, network: NetworkId) -> bool {
        let network = self.registry().network_by_id(network);
        network.is_none_or(|network| match network.gate.try_read() {
            Ok(gate) => *gate == Gate::Removed,
            Err(TryLockError::Poisoned(gate)) => *gate.into_inner() == Gate::Removed,
            Err(TryLockError::WouldBlock) => false,
        })
    }

    /// Records what a sandbox is a member of, or no more: what an adopted one becomes one of is recorded
    /// with the endpoint that makes it one. The caller does not hold `placing`.
    ///
    /// # Errors
    /// As [`Self::keep_container`].
    pub(crate) fn keep_memberships(&self, sandbox: &Sandbox) -> Result<()> {
        let stands_adopted = {
            let state = sandbox.state();
            state.container.is_none() && state.live
        };
        if !stands_adopted {
            return self.keep_container(sandbox);
        }
        let _placing = lock(&sandbox.placing);
        self.note_sandbox(sandbox)
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
