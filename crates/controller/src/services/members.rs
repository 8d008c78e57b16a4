//! Which service an endpoint names, and what that gives it: names and ports to be found by.

use super::{Book, ServiceState};
use crate::{
    Controller,
    registry::{Network, Sandbox, lock},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use vw_model::{
    EndpointId, EndpointMode, EndpointSettings, Error, MAX_WEIGHT, NetworkId, Options, PortKey,
    Result, SERVICE_KEY, SandboxKind, ServicePart, WEIGHT_KEY,
};
use vw_names::EndpointNames;

/// The service that an endpoint's driver options name, or else its sandbox's labels, and its weight,
/// from whichever says it: 1 where none does, or says what cannot be.
pub(super) fn named(options: &Options, labels: &Options) -> Option<(String, u32)> {
    let says = |key| options.get(key).or_else(|| labels.get(key));
    let name = says(SERVICE_KEY)?.clone();
    let weight = says(WEIGHT_KEY).and_then(|text| weight(text).ok());
    Some((name, weight.unwrap_or(1)))
}

fn weight(text: &str) -> Result<u32> {
    let number = text.parse().ok();
    number
        .filter(|weight| (1..=MAX_WEIGHT).contains(weight))
        .ok_or_else(|| {
            let sentence =
                format!("invalid {WEIGHT_KEY} {text:?}: use a number from 1 to {MAX_WEIGHT}");
            Error::invalid("weight-invalid", sentence)
        })
}

/// Checks a weight that one of these says, if it says one; one of `others` may name the service.
fn check_weight<'a>(of: &Options, mut others: impl Iterator<Item = &'a Options>) -> Result<()> {
    let Some(text) = of.get(WEIGHT_KEY) else {
        return Ok(());
    };
    weight(text)?;
    if of.contains_key(SERVICE_KEY) || others.any(|other| other.contains_key(SERVICE_KEY)) {
        return Ok(());
    }
    let sentence = format!(
        "{WEIGHT_KEY} {text} has no service to count in: name one by {SERVICE_KEY}, or leave it out"
    );
    Err(Error::invalid("weight-without-service", sentence))
}

/// What an endpoint of this host is to services.
#[derive(Default)]
pub(crate) struct Role {
    /// For the other hosts.
    pub(crate) part: Option<ServicePart>,
    /// Its further names.
    pub(crate) names: Vec<String>,
    /// Its further ports.
    pub(crate) ports: Vec<PortKey>,
}

impl ServiceState {
    fn role_of(&self, id: EndpointId) -> Role {
        let name = &self.spec.name;
        let part = self.roster.members.get(&id);
        let part = part.map(|member| ServicePart::Member {
            service: name.to_string(),
            weight: member.weight,
            health: member.health,
        });
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        if self.roster.serves(id) {
            names.push(format!("tasks.{name}"));
            if self.spec.mode == EndpointMode::Dnsrr {
                names.push(name.to_string());
            }
            ports.extend(self.spec.ports.iter().map(|port| port.target));
        }
        Role { part, names, ports }
    }
}

impl Controller {
    /// Checks what an endpoint that is asked for says of a service, in a sandbox with these labels.
    ///
    /// # Errors
    /// `NotFound` for an unknown service, `InvalidArgument` for one on another network or a weight
    /// that cannot be.
    pub(crate) fn check_member(
        &self,
        network: &Network,
        settings: &EndpointSettings,
        labels: &Options,
    ) -> Result<()> {
        let options = &settings.driver_opts;
        check_weight(options, [labels].into_iter())?;
        let Some(name) = options.get(SERVICE_KEY) else {
            return Ok(());
        };
        let book = lock(&self.services);
        if book.named_on(network.spec.id, name).is_some() {
            return Ok(());
        }
        let service = book.named(name).ok_or_else(|| super::no_service(name))?;
        drop(book);
        let sentence = format!(
            "service {name} is on network {}, not on {}: join that network",
            service.network.spec.name, network.spec.name
        );
        Err(Error::invalid("service-elsewhere", sentence))
    }

    /// Checks what the labels of a sandbox on these networks say of a service.
    ///
    /// # Errors
    /// As [`Self::check_member`].
    pub(crate) fn check_labels(
        &self,
        labels: &Options,
        networks: &[(Arc<Network>, EndpointSettings)],
    ) -> Result<()> {
        let options = networks.iter().map(|(_, settings)| &settings.driver_opts);
        check_weight(labels, options)?;
        let Some(name) = labels.get(SERVICE_KEY) else {
            return Ok(());
        };
        let book = lock(&self.services);
        let on = |(network, _): &(Arc<Network>, EndpointSettings)| {
            book.named_on(network.spec.id, name).is_some()
        };
        if networks.iter().any(on) {
            return Ok(());
        }
        let service = book.named(name).ok_or_else(|| super::no_service(name))?;
        drop(book);
        let sentence = format!(
            "service {name} is on network {}: join that network too",
            service.network.spec.name
        );
        Err(Error::invalid("service-elsewhere", sentence))
    }

    /// Refuses labels that name a service in a sandbox that has no endpoints of its own.
    ///
    /// # Errors
    /// `InvalidArgument` where they do.
    pub(crate) fn check_no_labels(labels: &Options, mode: &str) -> Result<()> {
        let Some(name) = labels.get(SERVICE_KEY) else {
            return check_weight(labels, std::iter::empty());
        };
        let sentence = format!(
            "a container in {mode} mode has no endpoint of its own to be in service {name}: put it on the service's network, or leave {SERVICE_KEY} out"
        );
        Err(Error::invalid("service-without-endpoint", sentence))
    }

    /// Says which services a container that started names and is not in: they were removed since it
    /// was made, or made again on other networks. Nobody is refused a start for that.
    pub(crate) fn warn_without_service(&self, sandbox: &Sandbox) {
        let (spec, attachments) = {
            let state = sandbox.state();
            (state.spec.clone(), state.attachments.clone())
        };
        let endpoints = attachments.iter().map(|attachment| &attachment.endpoint);
        let endpoints: Vec<_> = endpoints
            .map(|endpoint| (endpoint.network, &endpoint.settings.driver_opts))
            .collect();
        let names = named_in_vain(&lock(&self.services), &endpoints, &spec.labels);
        for service in names {
            self.warn(format!(
                "{} started and is not in service {service}, which is on none of its networks any more: make it there (vethwork service create) and start {} again",
                spec.name, spec.name
            ));
        }
    }

    /// Has `tell` say what an endpoint of this host is to services, which stays so until it returns:
    /// who changes it tells after. Once more where the endpoint came to another service meanwhile.
    pub(crate) fn tell_role(&self, sandbox: &Sandbox, id: EndpointId, tell: impl FnMut(&Role)) {
        match sandbox.balances {
            true => self.tell_balancer(sandbox, tell),
            false => tell_member(&self.services, id, tell),
        }
    }

    fn tell_balancer(&self, sandbox: &Sandbox, mut tell: impl FnMut(&Role)) {
        let SandboxKind::Balancer { network, .. } = sandbox.state().spec.kind else {
            return;
        };
        let told = lock(&self.balancers.told);
        let unpublished = told.taken(network);
        tell(&Role {
            part: Some(ServicePart::Balancer { unpublished }),
            ..Role::default()
        });
    }

    /// Puts a service's own names into its network's zone, if it was not removed meanwhile: those too
    /// that only its endpoints have addresses for, so that they are asked of nobody else while none
    /// serves.
    pub(crate) fn publish_service(&self, service: &super::Service) {
        let state = lock(&service.state);
        if state.removed {
            return;
        }
        let [holder, tasks] = name_holders(service);
        let own = EndpointNames {
            endpoint: holder,
            name: state.spec.name.to_string(),
            aliases: Vec::new(),
            short_id: String::new(),
            addresses: state.spec.vips.iter().map(vw_model::IpNet::addr).collect(),
            ports: match state.spec.mode {
                EndpointMode::Vip => state.spec.ports.iter().map(|port| port.target).collect(),
                EndpointMode::Dnsrr => Vec::new(),
            },
            weight: 0,
        };
        let of_tasks = EndpointNames {
            endpoint: tasks,
            name: format!("tasks.{}", state.spec.name),
            aliases: Vec::new(),
            short_id: String::new(),
            addresses: Vec::new(),
            ports: Vec::new(),
            weight: 0,
        };
        let zone = &service.network.zone;
        zone.update(|zone| zone.with_all([&own, &of_tasks]));
        drop(state);
    }

    /// Takes them away.
    pub(crate) fn withdraw_service(&self, service: &super::Service) {
        let [holder, tasks] = name_holders(service);
        let zone = &service.network.zone;
        zone.update(|zone| zone.without(holder).without(tasks));
    }

    /// Brings the names of a service's members up to date.
    pub(crate) fn publish_members(&self, service: &super::Service) {
        let members: Vec<_> = {
            let state = lock(&service.state);
            state
                .roster
                .members
                .iter()
                .map(|(id, member)| (*id, member.sandbox))
                .collect()
        };
        for (id, sandbox) in members {
            let sandbox = self.registry().sandbox_by_id(sandbox);
            if let Some(sandbox) = sandbox {
                self.publish_names(&sandbox, &service.network, id);
            }
        }
    }
}

fn tell_member(book: &Mutex<Book>, id: EndpointId, mut tell: impl FnMut(&Role)) {
    let service_of = || lock(book).of(id);
    loop {
        let service = service_of();
        match &service {
            Some(service) => {
                let state = lock(&service.state);
                tell(&state.role_of(id));
            }
            None => tell(&Role::default()),
        }
        if service_of().map(|now| now.id) == service.map(|then| then.id) {
            return;
        }
    }
}

/// The services that endpoints on these networks name by their options, or their sandbox by its
/// labels, and which are on none of the networks.
fn named_in_vain(
    book: &Book,
    endpoints: &[(NetworkId, &Options)],
    labels: &Options,
) -> BTreeSet<String> {
    let options = endpoints.iter().map(|(_, options)| *options);
    let named = options
        .chain([labels])
        .filter_map(|says| says.get(SERVICE_KEY));
    let is_nowhere = |name: &&String| {
        let mut networks = endpoints.iter().map(|(network, _)| *network);
        networks.all(|network| book.named_on(network, name).is_none())
    };
    named.filter(is_nowhere).cloned().collect()
}

/// A service's name stands in the zone as that of an endpoint of its id, and that of its endpoints as
/// that of another, whose id is the opposite.
fn name_holders(service: &super::Service) -> [EndpointId; 2] {
    let id = *service.id.0.as_bytes();
    [id, id.map(|byte| !byte)].map(EndpointId::from_bytes)
}

#[cfg(test)]
mod tests;
