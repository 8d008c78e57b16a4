//! Services at the daemon's start: taken up as they were left.

use super::{
    Hosted, Roster, Service, ServiceState,
    change::member,
    plan::WithoutRules,
    roster::{Health, at_first},
};
use crate::{
    Controller,
    ports::Claims,
    records,
    registry::{Attachment, Sandbox, lock},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};
use vw_hoststate::{Fragment, Owner};
use vw_ipam::Holder;
use vw_model::{EndpointId, HostPort, PortMapping, PublishedPort, Result, ServiceId, ServiceSpec};
use vw_store::{Batch, Table};

/// The order of a service's slots, void after a reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotRecord {
    pub(crate) boot: String,
    pub(crate) service: ServiceId,
    pub(crate) slots: Vec<EndpointId>,
    #[serde(default)]
    pub(crate) here: Vec<EndpointId>,
    /// By which ports this host's own table leads to its endpoints,
    #[serde(default)]
    pub(crate) hosted: Vec<PublishedPort>,
    /// by which it did until that was recorded,
    #[serde(default)]
    pub(crate) before: Vec<PublishedPort>,
    /// and by which addresses.
    #[serde(default)]
    pub(crate) vips: Vec<IpAddr>,
    /// Which endpoints here failed their checks last.
    #[serde(default)]
    pub(crate) sick: Vec<EndpointId>,
}

impl Controller {
    /// Takes up the services with their addresses, before the endpoints.
    pub(crate) fn load_services(&self) -> Result<()> {
        let boot = self.facts().boot_id.clone();
        let specs: Vec<ServiceSpec> = records::scan(&*self.data, Table::Services)?;
        let records: Vec<SlotRecord> = records::scan(&*self.run, Table::Slots)?;
        let mut known: HashSet<ServiceId> = specs.iter().map(|spec| spec.id).collect();
        let global = lock(&self.services).all();
        known.extend(global.iter().map(|service| service.id));
        // Of those that are gone since is forgotten who was led by them.
        let (kept, void): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.boot == boot);
        let mut left: HashMap<ServiceId, SlotRecord> = kept
            .into_iter()
            .filter(|record| known.contains(&record.service))
            .map(|record| (record.service, record))
            .collect();
        self.note(void.iter().fold(Batch::new(), |batch, record| {
            batch.delete(Table::Slots, record.service.to_string())
        }))?;
        for spec in specs {
            let left = left.remove(&spec.id);
            self.take_up_service(spec, left);
        }
        for service in global {
            if let Some(record) = left.remove(&service.id) {
                let mut state = lock(&service.state);
                state.roster = state.roster.in_order(record.slots, record.here);
                state.hosted.ports = record.hosted;
                state.owed = record.before;
                state.sick_before = record.sick.into_iter().collect();
            }
        }
        Ok(())
    }

    fn take_up_service(&self, spec: ServiceSpec, left: Option<SlotRecord>) {
        let name = spec.name.to_string();
        let Some(network) = self.registry().network_by_id(spec.network) else {
            return self.warn(format!("service {name}: its network is gone; remove it"));
        };
        for vip in &spec.vips {
            let held = lock(&self.ipam).reserve(spec.network, vip.addr(), Holder::Service(spec.id));
            if let Err(error) = held {
                self.warn(format!("service {name}: {error}"));
            }
        }
        let left = left.map(|left| (left.slots, left.here, left.sick, left.before));
        let (slots, here, sick, owed) = left.unwrap_or_default();
        let service = Arc::new(Service {
            id: spec.id,
            network,
            state: Mutex::new(ServiceState {
                spec: spec.clone(),
                roster: Roster {
                    slots,
                    here,
                    ..Roster::default()
                },
                claims: Claims::default(),
                hosted: Hosted::default(),
                owed,
                sick_before: sick.into_iter().collect(),
                removed: false,
            }),
        });
        lock(&self.services).add(&spec, service.clone());
        self.publish_service(&service);
    }

    /// Takes up an endpoint as a member: one that was led to still is, and one that had failed its checks
    /// is sick until it passes one.
    pub(crate) fn take_up_member(&self, sandbox: &Sandbox, attachment: &Attachment) {
        let Some((service, weight)) = self.service_of(sandbox, attachment) else {
            return;
        };
        let id = attachment.endpoint.id;
        let mut state = lock(&service.state);
        if let Err(error) = super::health::can_be_asked(&state.spec, sandbox) {
            return self.warn(error.chain());
        }
        let (served, was_sick) = (state.roster.serves(id), state.sick_before.remove(&id));
        let health = match state.spec.health {
            // Of a container it is not known yet whether it runs.
            None => at_first(&state.spec, sandbox.can_answer() || served),
            Some(_) if served => Health::Healthy,
            Some(_) if was_sick => Health::Unhealthy,
            Some(_) => Health::Starting,
        };
        let member = member(sandbox, attachment, weight, health);
        state.roster.take([(id, member)]);
        drop(state);
        lock(&self.services).join(id, service.id);
    }

    /// Takes an endpoint out again that was taken up and cannot be, before services say what they
    /// want.
    pub(crate) fn drop_member(&self, id: EndpointId) {
        let Some(service) = lock(&self.services).of(id) else {
            return;
        };
        let mut state = lock(&service.state);
        state.roster.let_go([id]);
        drop(state);
        lock(&self.services).leave(id);
    }

    /// What all services want, without the endpoints that did not come back.
    pub(crate) fn settle_services(&self) -> Vec<(Owner, Fragment)> {
        let services = lock(&self.services).all();
        let settle = |service: &Arc<Service>| {
            let mut state = lock(&service.state);
            state.roster = state.roster.settled();
            (
                Owner::Service(service.id),
                self.fragment_of(&service.network, &state),
            )
        };
        services.iter().map(settle).collect()
    }

    /// All services as they want nothing, at the daemon's end.
    pub(crate) fn services_out(&self) -> Vec<(Owner, Fragment)> {
        let services = lock(&self.services).all();
        let out = |service: &Arc<Service>| {
            // Nor does anybody bring it again who was to.
            let _state = lock(&service.state);
            self.balancers.looks.note_caught_up(service.id);
            (Owner::Service(service.id), Fragment::default())
        };
        services.iter().map(out).collect()
    }

    /// Holds the host ports of what services publish; those that every host publishes are held by
    /// what leads to it here. What no rule leads to is told.
    pub(crate) fn restore_service_ports(&self) {
        let services = lock(&self.services).all();
        for service in services {
            let mut state = lock(&service.state);
            let (families, ports) = match service.is_global() {
                true => (self.hosted_families(), state.hosted.claimed()),
                false => {
                    let lacking = self.without_rules(&service.network, &state.spec);
                    self.warn_without_rules(&state.spec, &lacking);
                    let mut ports = state.spec.ports.clone();
                    ports.retain(|port| !lacking.ports.contains(&port.at()));
                    (self.published_families(&service.network).to_vec(), ports)
                }
            };
            let mappings: Vec<PortMapping> = ports
                .iter()
                .flat_map(|port| {
                    let hosts: Vec<IpAddr> = match port.host {
                        Some(host) => vec![host],
                        None => families.iter().map(|f| super::unspecified(*f)).collect(),
                    };
                    hosts.into_iter().map(|host| PortMapping {
                        host: SocketAddr::new(host, port.published),
                        container: port.target,
                    })
                })
                .collect();
            let (claims, taken) = Claims::restore(&*self.kernel, &mappings);
            state.claims = claims;
            let name = state.spec.name.to_string();
            drop(state);
            for mapping in taken {
                self.warn(format!(
                    "another program has bound {}, which service {name} publishes: connections go to the service, not to that program; stop one of them",
                    mapping.host
                ));
            }
        }
    }

    fn warn_without_rules(&self, spec: &ServiceSpec, lacking: &WithoutRules) {
        let vips = lacking.vips.iter().map(|vip| vip.addr().to_string());
        let ports = lacking.ports.iter().map(HostPort::to_string);
        let what: Vec<String> = vips.chain(ports).collect();
        if !what.is_empty() {
            self.warn(format!(
                "service {}: nobody is led to it by {}, as this daemon makes no rules there: start it without --iptables=false and --ip6tables=false, or remove the service",
                spec.name,
                what.join(", ")
            ));
        }
    }
}
