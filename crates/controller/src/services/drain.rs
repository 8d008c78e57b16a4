//! Endpoints that leave their services: no new connection is led to them, and those that are open are
//! waited for.
//!
//! Owns also that they come back where they do not leave after all.

use super::roster::{Health, at_first};
use crate::{
    Controller,
    registry::{Network, Sandbox, lock},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use vw_model::{EndpointId, EndpointSpec, Result, Scope};

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
        self.drain(sandbox, of);
        end().inspect_err(|_| self.lead_again(sandbox, of))
    }

    fn drain(&self, sandbox: &Sandbox, of: Option<EndpointId>) {
        let endpoints = endpoints_of(sandbox, of);
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        let (mut addresses, mut global) = (Vec::new(), Vec::new());
        for (network, endpoint) in endpoints {
            let past = self.may_lead_past_balancer(endpoint.id);
            if let Some(time) = self.retire(endpoint.id) {
                self.publish_names(sandbox, &network, endpoint.id);
                if network.spec.scope == Scope::Global {
                    // Those whom this host led here past the balancer.
                    let reached = self.reached_at(sandbox.id);
                    if past {
                        longest = longest.max(time);
                        addresses.extend(reached);
                    }
                    global.push((network, endpoint.id, time));
                    continue;
                }
                longest = longest.max(time);
                addresses.extend(endpoint.addresses.iter().map(vw_model::IpNet::addr));
            }
        }
        if !addresses.is_empty()
            && let Err(error) = self.kernel.await_quiet(&addresses, longest)
        {
            tracing::warn!("connections are not waited for: {error}");
        }
        for (network, id, time) in global {
            let left = time.saturating_sub(begun.elapsed());
            self.await_led_away(sandbox, &network, id, left);
        }
    }

    /// Has endpoints that were to leave, and did not, led to as when they came.
    fn lead_again(&self, sandbox: &Sandbox, of: Option<EndpointId>) {
        for (network, endpoint) in endpoints_of(sandbox, of) {
            let Some(service) = lock(&self.services).of(endpoint.id) else {
                continue;
            };
            let mut state = lock(&service.state);
            let found = state.roster.members.get(&endpoint.id).cloned();
            let leaving = found.filter(|member| member.health == Health::Leaving);
            let Some(mut member) = leaving.filter(|_| !state.removed) else {
                continue;
            };
            member.health = at_first(&state.spec, sandbox.can_answer());
            let next = state.roster.with(endpoint.id, member);
            if let Err(error) = self.turn_to(&service, &mut state, next) {
                self.warn(format!(
                    "an endpoint that stays is not led to: {}",
                    error.chain()
                ));
            }
            self.ask_anew(service.id, &state.spec, endpoint.id);
            drop(state);
            self.publish_names(sandbox, &network, endpoint.id);
        }
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
