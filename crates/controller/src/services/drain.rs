//! Endpoints that leave their services: no new connection is led to them, and those that are open are
//! waited for.
//!
//! Owns also that they come back where they do not leave after all.

use super::{
    Book,
    roster::{Health, at_first},
};
use crate::{
    Controller,
    controller::kernel_error,
    registry::{Network, Sandbox, lock},
};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use vw_kernel::{Led, LedBy};
use vw_model::{
    EndpointId, EndpointSpec, IpNet, RemoteEndpoint, Result, Scope, ServicePart, ServiceSpec,
};

impl Controller {
    /// Retires all endpoints of a sandbox, or one, waits until connections to them have ended or their
    /// time is over, and does what ends them. Where that fails, those that stay are led to again. The
    /// caller does not hold the sandbox's `ops`: it may end meanwhile, or be taken off a network.
    ///
    /// # Errors
    /// As `end` says.
    pub(crate) fn once_drained<T>(
        &self,
        sandbox: &Sandbox,
        of: Option<EndpointId>,
        end: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let endpoints = endpoints_of(sandbox, of);
        let departure = Departure::of(&self.services, &endpoints);
        self.drain(sandbox, &endpoints);
        let ended = end();
        drop(departure);
        if ended.is_err() {
            for (network, endpoint) in &endpoints {
                self.heed_departure(sandbox, network, endpoint.id);
            }
        }
        ended
    }

    fn drain(&self, sandbox: &Sandbox, endpoints: &[(Arc<Network>, EndpointSpec)]) {
        let begun = Instant::now();
        // Not those whom the endpoint's own ports lead to it, or other services.
        let except = self.vips_of(sandbox.id);
        let (mut each, mut global) = (Vec::new(), Vec::new());
        for (network, endpoint) in endpoints {
            let past = self.may_lead_past_balancer(endpoint.id);
            let Some((time, mut by)) = self.heed_departure(sandbox, network, endpoint.id) else {
                continue;
            };
            let mut to = BTreeSet::new();
            if network.spec.scope == Scope::Global {
                global.push((network, endpoint.id, time));
                if !past {
                    continue;
                }
                // Those whom this host led here past the balancer.
                by.addrs.clear();
                to.extend(self.reached_at(sandbox.id));
            } else {
                to.extend(endpoint.addresses.iter().map(IpNet::addr));
                if !by.ports.is_empty() {
                    to.extend(self.reached_at(sandbox.id));
                }
            }
            by.except.clone_from(&except);
            each.push((Led { to, by: Some(by) }, time));
        }
        if !each.is_empty()
            && let Err(error) = self.kernel.await_quiet(&each)
        {
            tracing::warn!("connections are not waited for: {error}");
        }
        for (network, id, time) in global {
            let left = time.saturating_sub(begun.elapsed());
            self.await_led_away(sandbox, network, id, left);
        }
    }

    /// Waits until nobody leads to an endpoint that leaves, and what was led to it has ended, at
    /// most so long.
    fn await_led_away(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        id: EndpointId,
        longest: Duration,
    ) {
        if longest.is_zero() {
            return;
        }
        let begun = Instant::now();
        let mut peers: Vec<IpAddr> = {
            let reach = lock(&network.reach);
            let balances = |remote: &&Arc<RemoteEndpoint>| {
                matches!(remote.service, Some(ServicePart::Balancer { .. }))
            };
            let remotes = reach.remotes.values().filter(balances);
            remotes
                .flat_map(|r| r.addresses.iter().map(IpNet::addr))
                .collect()
        };
        if !peers.is_empty()
            && let Ok(cluster) = self.cluster()
        {
            cluster.await_published(network.spec.id, id, longest);
        }
        if let Some(own) = self.balancers.on(network.spec.id) {
            let state = own.state();
            let addresses = state.attachments.iter().flat_map(|a| &a.endpoint.addresses);
            peers.extend(addresses.map(IpNet::addr));
        }
        if peers.is_empty() {
            return;
        }
        let left = longest.saturating_sub(begun.elapsed());
        let closed = self.kernel.await_closed(sandbox.id, &peers, left);
        if let Err(error) = closed.map_err(kernel_error) {
            tracing::warn!("connections are not waited for: {}", error.chain());
        }
    }

    /// Has no new connection led to an endpoint while somebody has it leave, and to one that was to
    /// leave, and stays, as when it came. Says how long those that are open may go on where it leaves;
    /// nothing where they come still, or it is in no service.
    pub(super) fn heed_departure(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        id: EndpointId,
    ) -> Option<(Duration, LedBy)> {
        let service = lock(&self.services).of(id)?;
        let mut state = lock(&service.state);
        if state.removed {
            return None;
        }
        let mut member = state.roster.members.get(&id)?.clone();
        // Only now: who ends it looks here after, and finds what comes of this.
        let departs = lock(&self.services).departs(id);
        let led_by = || super::led::led_by(&state.spec);
        let drain = departs.then(|| (state.spec.drain, led_by()));
        if departs == (member.health == Health::Leaving) {
            return drain;
        }
        member.health = self.health_at_first(&state.spec, sandbox, id);
        let former = state.roster.clone();
        let next = former.with(id, member);
        if !departs {
            self.turn_for_good(&service, &mut state, next);
        } else if let Err(error) = self.turn_to(&service, &mut state, next) {
            self.warn(format!(
                "an endpoint leaves its service at once: {}",
                error.chain()
            ));
            return None;
        }
        self.ask_anew(service.id, &state.spec, id);
        let let_in = super::change::let_in(&former, &state.roster);
        drop(state);
        self.name_let_in(&service, let_in);
        self.publish_names(sandbox, network, id);
        drain
    }

    /// What is known of an endpoint of this host that comes into a service.
    pub(super) fn health_at_first(
        &self,
        spec: &ServiceSpec,
        sandbox: &Sandbox,
        id: EndpointId,
    ) -> Health {
        let departs = lock(&self.services).departs(id);
        match departs {
            true => Health::Leaving,
            false => at_first(spec, sandbox.can_answer()),
        }
    }
}

/// Somebody has endpoints leave, as long as it lives.
struct Departure<'a> {
    book: &'a Mutex<Book>,
    endpoints: Vec<EndpointId>,
}

impl<'a> Departure<'a> {
    fn of(book: &'a Mutex<Book>, endpoints: &[(Arc<Network>, EndpointSpec)]) -> Self {
        let endpoints = endpoints.iter().map(|(_, endpoint)| endpoint.id);
        let endpoints = endpoints.collect::<Vec<_>>();
        lock(book).begin_departure(&endpoints);
        Self { book, endpoints }
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        lock(self.book).end_departure(&self.endpoints);
    }
}

fn endpoints_of(sandbox: &Sandbox, of: Option<EndpointId>) -> Vec<(Arc<Network>, EndpointSpec)> {
    let state = sandbox.state();
    let asked = |endpoint: EndpointId| of.is_none_or(|of| of == endpoint);
    let attachments = state.attachments.iter();
    let found = attachments.filter(|a| asked(a.endpoint.id));
    found
        .map(|a| (a.network.clone(), a.endpoint.clone()))
        .collect()
}
