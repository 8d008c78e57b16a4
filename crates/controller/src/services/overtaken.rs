//! What another host changed of services a moment ago, and this one was not told of yet, or has not
//! done yet.
//!
//! Owns that nothing is refused for it that the cluster would not refuse.

use super::plan::ingress;
use crate::{
    Controller,
    registry::{Network, lock},
};
use std::{collections::BTreeSet, sync::Arc};
use vw_model::{NetworkId, PortKey, Result, Scope, ServiceId};

/// What another host may just have made so that it is refused no more.
const REASONS: [&str; 2] = ["port-allocated", "service-port-unknown"];

impl Controller {
    /// Does `check`, which goes by what this host knows and has; where that refuses a port, once more when
    /// the host knows and has what the cluster agreed on.
    ///
    /// # Errors
    /// As `check` refuses.
    pub(super) fn unless_overtaken<T>(&self, check: impl Fn() -> Result<T>) -> Result<T> {
        match check() {
            Err(refused) if REASONS.contains(&refused.reason) => {
                match self.catch_up_with_others() {
                    // Whoever follows the cluster may have done it between the two.
                    Ok(()) => check(),
                    Err(error) => {
                        tracing::debug!("it is not known what others changed: {}", error.chain());
                        Err(refused)
                    }
                }
            }
            checked => checked,
        }
    }

    /// Takes up what other hosts changed of services, and does what follows from it here. Waits for who is
    /// about it already.
    fn catch_up_with_others(&self) -> Result<()> {
        let cluster = self.cluster()?;
        let mut changed: BTreeSet<ServiceId> = cluster.catch_up_services()?.into_iter().collect();
        // What was told may not be taken up yet.
        let listed = lock(&self.services).all().into_iter();
        let listed = listed.filter(|service| service.is_global());
        let others =
            listed.filter(|s| cluster.service(s.id).as_ref() != Some(&lock(&s.state).spec));
        changed.extend(others.map(|service| service.id));
        let mut concerned = BTreeSet::new();
        for id in &changed {
            concerned.extend(self.network_of(*id));
            self.take_agreed(*id);
            concerned.extend(self.network_of(*id));
        }
        let networks = self.registry().networks().into_iter();
        let networks = networks.filter(|network| network.spec.scope == Scope::Global);
        for network in networks {
            let id = network.spec.id;
            // Who has the turn may be about to give up what leads there, with its ports.
            let is_changing = self.balancers.turns.of(id).is_taken();
            if is_changing || concerned.contains(&id) || self.publishes_in_vain(&network) {
                self.settle_balancer(&network, &super::looks::Extent::Whole);
            }
        }
        Ok(())
    }

    fn network_of(&self, service: ServiceId) -> Option<NetworkId> {
        let service = lock(&self.services).get(service)?;
        Some(service.network.spec.id)
    }

    /// Whether this host publishes ports for services of a network that none of them asks for any more.
    fn publishes_in_vain(&self, network: &Arc<Network>) -> bool {
        let id = network.spec.id;
        let mut asked = BTreeSet::new();
        let services = lock(&self.services).on(id);
        for service in services {
            let state = lock(&service.state);
            let held = state.hosted.claimed();
            if held.iter().any(|port| !state.spec.ports.contains(port)) {
                return true;
            }
            asked.extend(ingress(&state.spec).map(|port| port.at().port));
        }
        let Some(balancer) = self.balancers.on(id) else {
            return false;
        };
        let state = balancer.state();
        let mut published = state.published.iter().map(|mapping| PortKey {
            port: mapping.host.port(),
            protocol: mapping.container.protocol,
        });
        published.any(|port| !asked.contains(&port))
    }
}
