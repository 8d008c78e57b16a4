//! What another host changed of services a moment ago, and this one was not told of yet, or has not
//! done yet.
//!
//! Owns that nothing is refused for it that the cluster would not refuse, and that who asks waits for
//! nothing but what may be in the way of the ports that are asked for.

use super::{Service, plan::ingress};
use crate::{
    Controller,
    registry::{Network, lock},
};
use std::{collections::BTreeSet, sync::Arc};
use vw_model::{NetworkId, PortKey, PublishedPort, Result, Scope, ServiceId};

/// What another host may just have made so that it is refused no more.
const REASONS: [&str; 2] = ["port-allocated", "service-port-unknown"];

/// Ports that are asked for, at whatever address.
type Ports = BTreeSet<PortKey>;

/// These ports of a host.
pub(super) fn asked<'a>(ports: impl IntoIterator<Item = &'a PublishedPort>) -> Ports {
    ports.into_iter().map(|port| port.at().port).collect()
}

impl Controller {
    /// Does `check` of whether these ports can be had, which goes by what this host knows and has; where
    /// that refuses one, once more when the host knows and has what the cluster agreed on.
    ///
    /// # Errors
    /// As `check` refuses.
    pub(super) fn unless_overtaken<T>(
        &self,
        ports: &Ports,
        check: impl Fn() -> Result<T>,
    ) -> Result<T> {
        match check() {
            Err(refused) if REASONS.contains(&refused.reason) => {
                match self.catch_up_with_others(ports) {
                    Ok(true) => check(),
                    Ok(false) => Err(refused),
                    Err(error) => {
                        tracing::debug!("it is not known what others changed: {}", error.chain());
                        Err(refused)
                    }
                }
            }
            checked => checked,
        }
    }

    /// Takes up what other hosts changed of services, and does what follows from it here for these ports,
    /// and soon what else does; tells whether there was any. Waits for who is about them already.
    fn catch_up_with_others(&self, ports: &Ports) -> Result<bool> {
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
            let before = self.network_where_asked(*id, ports);
            self.take_agreed(*id);
            concerned.extend(before.or_else(|| self.network_where_asked(*id, ports)));
        }
        let networks = self.registry().networks().into_iter();
        let networks = networks.filter(|network| network.spec.scope == Scope::Global);
        let mut any = !changed.is_empty();
        for network in networks {
            if concerned.contains(&network.spec.id) || self.may_give_up(&network, ports) {
                any = true;
                self.settle_balancer(&network, &super::looks::Extent::Whole);
            }
        }
        Ok(any)
    }

    /// The network of a service that asks for some of these ports, or has some here.
    fn network_where_asked(&self, service: ServiceId, ports: &Ports) -> Option<NetworkId> {
        let service = lock(&self.services).get(service)?;
        let state = lock(&service.state);
        let of_it = asked(state.spec.ports.iter().chain(&state.hosted.ports));
        (!of_it.is_disjoint(ports)).then(|| service.network.spec.id)
    }

    /// Whether this host may give up some of these ports that it publishes for services of a network: none
    /// asks for it any more, or whoever has the turn is about it.
    fn may_give_up(&self, network: &Arc<Network>, ports: &Ports) -> bool {
        let id = network.spec.id;
        let (mut wanted, mut held) = (Ports::new(), Ports::new());
        let services: Vec<Arc<Service>> = lock(&self.services).on(id);
        for service in services {
            let state = lock(&service.state);
            let claimed = state.hosted.claimed();
            let in_vain = claimed.iter().filter(|p| !state.spec.ports.contains(p));
            if !asked(in_vain).is_disjoint(ports) {
                return true;
            }
            held.extend(asked(&claimed));
            wanted.extend(asked(ingress(&state.spec)));
        }
        let mut published = Ports::new();
        if let Some(balancer) = self.balancers.on(id) {
            let state = balancer.state();
            published.extend(state.published.iter().map(|mapping| PortKey {
                port: mapping.host.port(),
                protocol: mapping.container.protocol,
            }));
        }
        let in_vain = |port: &PortKey| published.contains(port) && !wanted.contains(port);
        // Who has the turn may be about to give up what leads there, with its ports.
        let is_changing = || self.balancers.turns.of(id).is_taken();
        let has = |port: &PortKey| published.contains(port) || held.contains(port);
        ports.iter().any(in_vain) || (ports.iter().any(has) && is_changing())
    }
}
