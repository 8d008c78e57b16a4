//! What the services of each network that spans hosts ask of what leads to them, in numbers: kept as
//! they change, so that nobody asks all of them.

use std::collections::BTreeMap;
use vw_model::{NetworkId, PublishMode, PublishedPort, ServiceId, ServiceSpec};

/// Those of all such networks.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    by: BTreeMap<ServiceId, Ask>,
    on: BTreeMap<NetworkId, On>,
}

/// What one service asks for.
#[derive(Debug, Clone, Copy)]
struct Ask {
    /// To be led to by what is on its network. Where ports are published for its own endpoints, a
    /// host tells of those that cannot be.
    near: bool,
    /// To be led to by every host.
    everywhere: bool,
}

/// How many services of a network ask for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct On {
    pub(super) services: usize,
    pub(super) near: usize,
    pub(super) everywhere: usize,
}

impl Ask {
    fn of(spec: &ServiceSpec) -> Self {
        let hosted = |port: &PublishedPort| port.mode == PublishMode::Host;
        Self {
            near: !spec.vips.is_empty() || spec.ports.iter().any(hosted),
            everywhere: super::plan::ingress(spec).next().is_some(),
        }
    }
}

impl Asks {
    /// Takes up what a service is now.
    pub(super) fn put(&mut self, spec: &ServiceSpec) {
        self.remove(spec);
        let ask = Ask::of(spec);
        self.by.insert(spec.id, ask);
        let on = self.on.entry(spec.network).or_default();
        on.services += 1;
        on.near += usize::from(ask.near);
        on.everywhere += usize::from(ask.everywhere);
    }

    /// Forgets a service, which does not change its network.
    pub(super) fn remove(&mut self, spec: &ServiceSpec) {
        let (Some(ask), Some(on)) = (self.by.remove(&spec.id), self.on.get_mut(&spec.network))
        else {
            return;
        };
        on.services -= 1;
        on.near -= usize::from(ask.near);
        on.everywhere -= usize::from(ask.everywhere);
        if on.services == 0 {
            self.on.remove(&spec.network);
        }
    }

    pub(super) fn on(&self, network: NetworkId) -> On {
        self.on.get(&network).copied().unwrap_or_default()
    }

    /// Whether there is any such service.
    pub(super) fn is_empty(&self) -> bool {
        self.by.is_empty()
    }
}

#[cfg(test)]
mod tests;
