//! Services: which there are, who is in each, and what each wants of the host.
//!
//! An endpoint is a member of a service as long as it is attached; it is led to while it has slots.
//! A service's `state` is taken before a sandbox's, and held while a change of it is recorded and
//! applied, so that its slots have one order. To the balancing an endpoint is an address alone:
//! whose it is, and on which host, matters nowhere here but in who tells of it.

mod balancer;
mod change;
mod create;
mod drain;
mod global;
mod health;
mod hosted;
mod ingress;
mod inner;
mod looks;
mod members;
mod plan;
mod remove;
mod restore;
mod roster;
mod show;
mod turns;
mod unpublished;
mod update;

pub(crate) use balancer::Balancers;
pub(crate) use change::Change;
pub(crate) use health::Checker;
pub(crate) use hosted::Hosted;
pub(crate) use members::Role;
pub(crate) use restore::SlotRecord;
pub(crate) use roster::{Member, Roster};

use crate::{Controller, ports::Claims, registry::Network, registry::lock};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use vw_model::{EndpointId, Error, NetworkId, Result, Scope, ServiceId, ServiceSpec};

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
    /// Looked at by whoever found the service and waited for its lock: nothing of one that was
    /// removed is written or brought again.
    pub(crate) removed: bool,
}

/// All of them, and who is in which.
#[derive(Default)]
pub(crate) struct Book {
    services: BTreeMap<ServiceId, Arc<Service>>,
    names: BTreeMap<String, ServiceId>,
    on: BTreeMap<(NetworkId, String), ServiceId>,
    members: BTreeMap<EndpointId, ServiceId>,
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
    pub(crate) fn add(&mut self, name: &str, service: Arc<Service>) {
        let holder = self.names.entry(name.to_owned()).or_insert(service.id);
        if !service.is_global() {
            *holder = service.id;
        }
        let place = (service.network.spec.id, name.to_owned());
        self.on.insert(place, service.id);
        self.services.insert(service.id, service);
    }

    pub(crate) fn remove(&mut self, name: &str, id: ServiceId) {
        self.services.remove(&id);
        self.on.retain(|_, service| *service != id);
        self.members.retain(|_, service| *service != id);
        if self.names.get(name) == Some(&id) {
            self.names.remove(name);
            let mut others = self.on.iter();
            if let Some((_, other)) = others.find(|((_, other), _)| other == name) {
                self.names.insert(name.to_owned(), *other);
            }
        }
    }

    pub(crate) fn has_global(&self) -> bool {
        self.services.values().any(|service| service.is_global())
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
        self.names
            .get(name)
            .and_then(|id| self.services.get(id))
            .cloned()
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
