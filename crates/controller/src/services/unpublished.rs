//! What of the services this host does not publish, and why: noted, and told to the other hosts.
//!
//! Owns what was told. It is put together from what stands, by whoever changed some of it, one after
//! the other: so the last one tells all.

use super::balancer::Balancers;
use crate::{
    Controller,
    registry::{Network, lock},
};
use std::collections::BTreeMap;
use vw_model::{Error, HostPort, Lacks, NetworkId, Obstacle, Unpublished};

/// Whether a host leads to the services of a network as they ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Leading {
    /// It does, or nobody asks for it.
    #[default]
    Fine,
    /// Not yet: it may be tried again.
    Failed,
    /// It makes no rules.
    Never,
}

impl Balancers {
    /// What this host lacks, as the others were told.
    pub(super) fn lacks(&self) -> Unpublished {
        lock(&self.told).clone()
    }

    /// Whether something cannot be published that may be possible a moment later, without any change
    /// here that would tell.
    pub(super) fn may_lack_less(&self) -> bool {
        let told = lock(&self.told);
        let mut lacking = told.networks.iter();
        lacking.any(|(network, lacks)| {
            let failed = self.turns.of(*network).leading() == Leading::Failed;
            let mut ports = lacks.ports.values();
            failed || ports.any(|why| *why != Obstacle::Unreached)
        })
    }
}

impl Controller {
    /// Tells everybody what this host lacks of the services of a network.
    pub(super) fn tell_lacks(&self, network: &Network) {
        let id = network.spec.id;
        let mut told = lock(&self.balancers.told);
        let lacks = self.lacks_now(network);
        let former = told.networks.remove(&id).unwrap_or_default();
        if !lacks.is_empty() {
            told.networks.insert(id, lacks.clone());
        }
        self.tell_all(&told);
        drop(told);
        let name = &network.spec.name;
        if lacks.all && !former.all {
            self.warn(format!(
                "this host publishes nothing of the services of network {name}: it does not lead to them"
            ));
        }
        for (port, why) in &lacks.ports {
            if former.ports.get(port) != Some(why) {
                self.warn(format!(
                    "port {port} of a service of network {name} is not published on this host: {}",
                    in_words(*why)
                ));
            }
        }
    }

    /// Lacks nothing any more of networks that are gone.
    pub(super) fn tell_no_lacks_but(&self, known: impl Fn(NetworkId) -> bool) {
        let mut told = lock(&self.balancers.told);
        told.networks.retain(|id, _| known(*id));
        self.tell_all(&told);
    }

    fn tell_all(&self, told: &Unpublished) {
        if let Ok(cluster) = self.cluster() {
            cluster.set_unpublished(told.clone());
        }
    }

    fn lacks_now(&self, network: &Network) -> Lacks {
        let id = network.spec.id;
        let all = self.balancers.turns.of(id).leading() != Leading::Fine;
        let mut ports: BTreeMap<HostPort, Obstacle> = self.balancers.lacking(id);
        if all {
            // Of those that not every host publishes nobody else can tell.
            let unled = self.unled_here(network).into_iter();
            ports.extend(unled.map(|at| (at, Obstacle::Failed)));
        }
        let services = lock(&self.services).on(id);
        for service in services {
            ports.extend(&lock(&service.state).hosted.lacking);
        }
        Lacks { all, ports }
    }
}

/// Why a port could not be had.
pub(super) fn obstacle(error: &Error) -> Obstacle {
    match error.reason {
        "port-allocated" | "ports-exhausted" => Obstacle::Taken,
        _ => Obstacle::Failed,
    }
}

/// The same for people.
pub(super) const fn in_words(why: Obstacle) -> &'static str {
    match why {
        Obstacle::Taken => "something on the host has it",
        Obstacle::Unreached => {
            "its endpoints on the host have no way out: connect them to a network with one"
        }
        Obstacle::Failed => "it could not be done: see the host's log",
    }
}
