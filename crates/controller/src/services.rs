//! Services: which there are, who is in each, and what each wants of the host.
//!
//! An endpoint is a member of a service as long as it is attached; it is led to while it has slots.
//! A service's `state` is taken before a sandbox's, and held while a change of it is recorded and
//! applied, so that its slots have one order. To the balancing an endpoint is an address alone:
//! whose it is, and on which host, matters nowhere here but in who tells of it.

mod asks;
mod balancer;
mod behind;
mod change;
mod create;
mod drain;
mod elsewhere;
mod global;
mod health;
mod hosted;
mod ingress;
mod inner;
mod led;
mod looks;
mod members;
mod objections;
mod overtaken;
mod plan;
mod remote;
mod remove;
mod restore;
mod roster;
mod show;
mod turns;
mod unpublished;
mod update;
mod versions;

pub(crate) use balancer::Balancers;
pub(crate) use create::unspecified;
pub(crate) use health::Checker;
pub(crate) use hosted::Hosted;
pub(crate) use looks::join;
pub(crate) use members::Role;
pub(crate) use restore::SlotRecord;
pub(crate) use roster::{Member, Roster};

use crate::{Controller, ports::Claims, registry::Network, registry::lock};
use asks::Asks;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};
use vw_model::{
    EndpointId, Error, NetworkId, PublishedPort, Result, Scope, ServiceId, ServiceSpec,
};

/// A service that stands.
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    pub(crate) network: Arc<Network>,
    pub(crate) state: Mutex<ServiceState>,
}

/// How a service stands.
pub(crate) struct ServiceState {
    pub(crate) spec: ServiceSpec,
    pub(crate) roster: Roster,
    pub(crate) claims: Claims,
    pub(crate) hosted: Hosted,
    /// The ports by which this host's own table led, and of which it is not known that all are forgotten
    /// who were led by them: in every record until then.
    pub(crate) owed: Vec<PublishedPort>,
    /// Which endpoints here had failed their checks before the daemon's start, of those that are not taken
    /// up yet.
    pub(crate) sick_before: BTreeSet<EndpointId>,
    /// Looked at by whoever found the service and waited for its lock: nothing of one that was
    /// removed is written or brought again.
    pub(crate) removed: bool,
}

/// All of them, and who is in which.
#[derive(Default)]
pub(crate) struct Book {
    services: BTreeMap<ServiceId, Arc<Service>>,
    /// Those of one name, whose it is first.
    names: BTreeMap<String, Vec<ServiceId>>,
    on: BTreeMap<(NetworkId, String), ServiceId>,
    members: BTreeMap<EndpointId, ServiceId>,
    /// How many have an endpoint leave, of each that is to.
    departing: BTreeMap<EndpointId, usize>,
    /// What those of networks that span hosts ask of this one.
    asks: Asks,
}

impl Service {
    /// Whether its endpoints may lie on other hosts.
    pub(crate) fn is_global(&self) -> bool {
        self.network.spec.scope == Scope::Global
    }
}

impl Book {
    /// Adds a service. Of one of this host and one of the cluster with one name, which other hosts
    /// may make at any time, the name is that of the former here.
    pub(crate) fn add(&mut self, spec: &ServiceSpec, service: Arc<Service>) {
        let name = spec.name.to_string();
        let holders = self.names.entry(name.clone()).or_default();
        match service.is_global() {
            true => holders.push(service.id),
            false => holders.insert(0, service.id),
        }
        self.on.insert((spec.network, name), service.id);
        if service.is_global() {
            self.asks.put(spec);
        }
        self.services.insert(service.id, service);
    }

    /// Takes up what a service of the cluster is from now on.
    pub(crate) fn respecified(&mut self, spec: &ServiceSpec) {
        self.asks.put(spec);
    }

    /// Removes a service that has these members.
    pub(crate) fn remove<'a>(
        &mut self,
        spec: &ServiceSpec,
        members: impl IntoIterator<Item = &'a EndpointId>,
    ) {
        let (id, name) = (spec.id, spec.name.to_string());
        self.services.remove(&id);
        self.asks.remove(spec);
        for member in members {
            if self.members.get(member) == Some(&id) {
                self.members.remove(member);
            }
        }
        if let Some(holders) = self.names.get_mut(&name) {
            holders.retain(|holder| *holder != id);
            if holders.is_empty() {
                self.names.remove(&name);
            }
        }
        let place = (spec.network, name);
        if self.on.get(&place) == Some(&id) {
            self.on.remove(&place);
        }
    }

    /// What the services of networks that span hosts ask of this one.
    pub(crate) const fn asks(&self) -> &Asks {
        &self.asks
    }

    pub(crate) fn get(&self, id: ServiceId) -> Option<Arc<Service>> {
        self.services.get(&id).cloned()
    }

    /// The service of a name on one network.
    pub(crate) fn named_on(&self, network: NetworkId, name: &str) -> Option<Arc<Service>> {
        let id = self.on.get(&(network, name.to_owned()))?;
        self.get(*id)
    }

    /// The services on a network.
    pub(crate) fn on(&self, network: NetworkId) -> Vec<Arc<Service>> {
        let from = self.on.range((network, String::new())..);
        let on = from.take_while(|((of, _), _)| *of == network);
        on.filter_map(|(_, id)| self.get(*id)).collect()
    }

    pub(crate) fn named(&self, name: &str) -> Option<Arc<Service>> {
        let holder = self.names.get(name)?.first()?;
        self.get(*holder)
    }

    /// The name of a service that is this one but for the case of its letters: to DNS they are one
    /// (RFC 4343).
    pub(crate) fn alike(&self, name: &str) -> Option<&str> {
        let mut names = self.names.keys();
        let found = names.find(|known| known.eq_ignore_ascii_case(name))?;
        Some(found)
    }

    /// Finds a service by id, name or unambiguous prefix of an id.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Service>> {
        if let Some(found) = self.named(text) {
            return Ok(found);
        }
        let fits =
            |service: &&Arc<Service>| !text.is_empty() && service.id.to_string().starts_with(text);
        let mut found = self.services.values().filter(fits);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(
                "service-ambiguous",
                format!("service {text} is ambiguous: several ids begin so"),
            )),
            (None, _) => Err(no_service(text)),
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Service>> {
        self.services.values().cloned().collect()
    }

    pub(crate) fn join(&mut self, endpoint: EndpointId, service: ServiceId) {
        self.members.insert(endpoint, service);
    }

    pub(crate) fn leave(&mut self, endpoint: EndpointId) {
        self.members.remove(&endpoint);
    }

    /// Notes that somebody has endpoints leave, until [`Self::end_departure`].
    fn begin_departure(&mut self, endpoints: &[EndpointId]) {
        for id in endpoints {
            *self.departing.entry(*id).or_default() += 1;
        }
    }

    /// Notes that they have left, or stay as far as this somebody is concerned.
    fn end_departure(&mut self, endpoints: &[EndpointId]) {
        for id in endpoints {
            if let Some(count) = self.departing.get_mut(id) {
                *count -= 1;
            }
        }
        self.departing.retain(|_, count| *count > 0);
    }

    /// Whether somebody has an endpoint leave.
    fn departs(&self, endpoint: EndpointId) -> bool {
        self.departing.contains_key(&endpoint)
    }

    pub(crate) fn of(&self, endpoint: EndpointId) -> Option<Arc<Service>> {
        let id = self.members.get(&endpoint)?;
        self.services.get(id).cloned()
    }
}

impl Controller {
    /// Names of the services on a network.
    pub(crate) fn services_on(&self, network: NetworkId) -> Vec<String> {
        let on = lock(&self.services).on(network);
        let name = |service: &Arc<Service>| lock(&service.state).spec.name.to_string();
        on.iter().map(name).collect()
    }
}

pub(crate) fn no_service(text: &str) -> Error {
    let sentence = format!("service {text} not found: vethwork service ls lists them");
    Error::not_found("service-not-found", sentence)
}
