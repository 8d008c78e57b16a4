//! What of the services this host does not publish, and why: noted, and told to the other hosts.
//!
//! Owns what was told. It is put together from what stands, by whoever changed some of it, one after
//! the other: so the last one tells all.

use super::{Service, balancer::Balancers, plan};
use crate::{
    Controller,
    registry::{Network, lock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use vw_model::{Error, HostPort, Lacks, NetworkId, Obstacle, PortKey, ServiceId, Unpublished};

/// Whether a host leads to the services of a network as they ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Leading {
    /// It does, or nobody asks for it.
    #[default]
    Fine,
    /// Not yet: it may be tried again.
    Failed,
    /// Nor will it, as its daemon runs.
    Never,
}

/// What this host lacks.
#[derive(Default)]
pub(super) struct Told {
    lacks: Unpublished,
    /// Every network was looked at. Until then the others go by what they were told before the
    /// start.
    whole: bool,
}

/// Which ports of services this host does not publish for its own endpoints, of each network and
/// service that lacks some, as they were settled last.
pub(super) type HostedLacking =
    BTreeMap<NetworkId, BTreeMap<ServiceId, BTreeMap<HostPort, Obstacle>>>;

impl Told {
    /// The ports of a network's services that something here has.
    pub(super) fn taken(&self, network: NetworkId) -> BTreeSet<PortKey> {
        let lacks = self.lacks.networks.get(&network);
        lacks.map(taken).unwrap_or_default()
    }

    /// Takes up what this host lacks of a network now; says what it was before.
    fn put(&mut self, network: NetworkId, lacks: &Lacks) -> Lacks {
        let former = self.lacks.networks.remove(&network);
        if !lacks.is_empty() {
            self.lacks.networks.insert(network, lacks.clone());
        }
        former.unwrap_or_default()
    }

    /// Takes up that every network was looked at, and that there are no others; says whether the
    /// others are to be told.
    fn complete(&mut self, known: impl Fn(NetworkId) -> bool) -> bool {
        let before = self.lacks.networks.len();
        self.lacks.networks.retain(|id, _| known(*id));
        !std::mem::replace(&mut self.whole, true) || self.lacks.networks.len() != before
    }
}

/// What a warning is about, of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// All its services.
    All,
    /// That their ports are published.
    Ports,
    /// That one of them is led to.
    Led(ServiceId),
    /// That one of them is published for its endpoints here.
    Hosted(ServiceId),
}

impl About {
    const fn service(self) -> Option<ServiceId> {
        match self {
            Self::All | Self::Ports => None,
            Self::Led(service) | Self::Hosted(service) => Some(service),
        }
    }
}

/// Why something could not be done, as it was said last.
#[derive(Default)]
pub(super) struct Said(BTreeMap<(NetworkId, About), String>);

impl Said {
    /// Takes up why something could not be done, or that it was done; gives back what is to be said.
    fn news(&mut self, of: (NetworkId, About), why: Option<String>) -> Option<String> {
        let Some(why) = why else {
            self.0.remove(&of);
            return None;
        };
        let former = self.0.insert(of, why.clone());
        (former.as_ref() != Some(&why)).then_some(why)
    }
}

fn taken(lacks: &Lacks) -> BTreeSet<PortKey> {
    those_taken(lacks).map(|at| at.port).collect()
}

fn those_taken(lacks: &Lacks) -> impl Iterator<Item = HostPort> {
    let ports = lacks.ports.iter();
    let taken = ports.filter(|(_, why)| **why == Obstacle::Taken);
    taken.map(|(at, _)| *at)
}

/// What something on a host has of what the services of a network are to publish, as it tells.
pub(super) fn taken_at(told: &Unpublished, network: NetworkId) -> BTreeSet<HostPort> {
    let lacks = told.networks.get(&network);
    lacks.into_iter().flat_map(those_taken).collect()
}

/// What another host lacks of a network's services: as it tells, or as its balancer's address does
/// where an older version tells nothing else.
pub(super) fn lacks_of(told: Option<&Lacks>, by_balancer: Option<&BTreeSet<PortKey>>) -> Lacks {
    let older = || Lacks {
        ports: by_balancer
            .into_iter()
            .flatten()
            .map(|port| HostPort {
                host: None,
                port: *port,
            })
            .map(|at| (at, Obstacle::Taken))
            .collect(),
        ..Lacks::default()
    };
    told.cloned().unwrap_or_else(older)
}

impl Balancers {
    /// What this host lacks.
    pub(super) fn lacks(&self) -> Unpublished {
        lock(&self.told).lacks.clone()
    }

    /// Whether the others may have been told what is no more so.
    pub(super) fn has_to_tell(&self) -> bool {
        let told = lock(&self.told);
        !told.whole || !told.lacks.networks.is_empty()
    }

    /// Whether something of a network cannot be published.
    pub(super) fn lacks_some_of(&self, network: NetworkId) -> bool {
        lock(&self.told).lacks.networks.contains_key(&network)
    }

    /// Whether something of a network cannot be published that may be possible a moment later,
    /// without any change here that would tell.
    pub(super) fn may_lack_less_of(&self, network: NetworkId) -> bool {
        let told = lock(&self.told);
        let lacks = told.lacks.networks.get(&network);
        lacks.is_some_and(|lacks| {
            let failed = self.turns.of(network).leading() == Leading::Failed;
            let mut ports = lacks.ports.values();
            failed || ports.any(|why| !matches!(why, Obstacle::Unreached | Obstacle::NoRules))
        })
    }

    /// Whether this host does not publish for its own endpoints all that a service asks for.
    pub(super) fn lacks_hosted(&self, service: &Service) -> bool {
        let lacking = lock(&self.hosted_lacking);
        let of_network = lacking.get(&service.network.spec.id);
        of_network.is_some_and(|lacking| lacking.contains_key(&service.id))
    }

    /// Notes what of a service this host does not publish for its own endpoints, and why.
    pub(super) fn note_hosted_lacking(
        &self,
        service: &Service,
        lacking: BTreeMap<HostPort, Obstacle>,
    ) {
        let mut all = lock(&self.hosted_lacking);
        let id = service.network.spec.id;
        let of_network = all.entry(id).or_default();
        match lacking.is_empty() {
            true => of_network.remove(&service.id),
            false => of_network.insert(service.id, lacking),
        };
        if of_network.is_empty() {
            all.remove(&id);
        }
    }
}

impl Controller {
    /// Tells everybody what this host lacks of the services of a network, where that has changed.
    pub(super) fn tell_lacks(&self, network: &Network) {
        let id = network.spec.id;
        let mut told = lock(&self.balancers.told);
        let lacks = self.lacks_now(network);
        let former = told.put(id, &lacks);
        if lacks == former {
            return;
        }
        if told.whole {
            self.tell_all(&told);
        }
        drop(told);
        if taken(&lacks) != taken(&former) {
            self.tell_taken(network);
        }
        let name = &network.spec.name;
        for (port, why) in &lacks.ports {
            if former.ports.get(port) != Some(why) {
                self.warn(format!(
                    "port {port} of a service of network {name} is not published on this host: {}",
                    in_words(*why)
                ));
            }
        }
    }

    /// Lacks nothing any more of networks that are gone; every other was looked at.
    pub(super) fn tell_no_lacks_but(&self, known: impl Fn(NetworkId) -> bool) {
        let mut told = lock(&self.balancers.told);
        if told.complete(&known) {
            self.tell_all(&told);
        }
        drop(told);
        lock(&self.balancers.hosted_lacking).retain(|id, _| known(*id));
        let book = lock(&self.services);
        let stands = |service: ServiceId| book.get(service).is_some();
        let about =
            |(network, of): (NetworkId, About)| known(network) && of.service().is_none_or(stands);
        lock(&self.balancers.said).0.retain(|of, _| about(*of));
    }

    /// Warns of why something could not be done, once until that changes or it is done.
    pub(super) fn warn_once(
        &self,
        of: (NetworkId, About),
        what: fmt::Arguments<'_>,
        why: Option<String>,
    ) {
        let news = lock(&self.balancers.said).news(of, why);
        if let Some(why) = news {
            self.warn(format!("{what}: {why}"));
        }
    }

    fn tell_all(&self, told: &Told) {
        if let Ok(cluster) = self.cluster() {
            cluster.set_unpublished(told.lacks.clone());
        }
    }

    /// Tells hosts of older versions, who read it by the balancer's address.
    fn tell_taken(&self, network: &Network) {
        let id = network.spec.id;
        let Some(sandbox) = self.balancers.on(id) else {
            return;
        };
        let endpoint = {
            let state = sandbox.state();
            let mut attachments = state.attachments.iter();
            let found = attachments.find(|a| a.network.spec.id == id);
            found.map(|a| a.endpoint.id)
        };
        if let Some(endpoint) = endpoint {
            self.publish_names(&sandbox, network, endpoint);
        }
    }

    fn lacks_now(&self, network: &Network) -> Lacks {
        let id = network.spec.id;
        let why = match self.balancers.turns.of(id).leading() {
            Leading::Fine => None,
            Leading::Failed => Some(Obstacle::Failed),
            Leading::Never => Some(Obstacle::NoRules),
        };
        let mut ports: BTreeMap<HostPort, Obstacle> = self.balancers.lacking(id);
        if let Some(why) = why {
            // Of those that not every host publishes nobody else can tell.
            let unled = self.unled_here(network).into_iter();
            ports.extend(unled.map(|at| (at, why)));
        }
        let unled = self.balancers.unled(id);
        let unled: Vec<_> = {
            let book = lock(&self.services);
            unled.iter().filter_map(|id| book.get(*id)).collect()
        };
        for service in &unled {
            let ingress: Vec<_> = {
                let state = lock(&service.state);
                plan::ingress(&state.spec).copied().collect()
            };
            // Where that cannot be read, nothing is published here either.
            let here = self.on_this_host(ingress.into_iter());
            for port in here.unwrap_or_default() {
                ports.entry(port.at()).or_insert(Obstacle::Failed);
            }
        }
        let hosted = lock(&self.balancers.hosted_lacking);
        let hosted = hosted.get(&id).into_iter().flatten();
        ports.extend(hosted.flat_map(|(_, lacking)| lacking));
        Lacks {
            all: why.is_some(),
            services: unled.iter().map(|service| service.id).collect(),
            ports,
        }
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
        Obstacle::NoRules => "the host makes no rules",
        Obstacle::Failed => "it could not be done: see the host's log",
    }
}

#[cfg(test)]
mod tests;
