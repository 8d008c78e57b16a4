//! `service ls` and `inspect`.

use super::{Member, Service, roster::Health};
use crate::{
    Controller,
    command::{ServiceInspect, ServiceList},
    registry::lock,
    view::{ServiceMemberView, ServiceView},
};
use std::collections::{BTreeMap, BTreeSet};
use vw_model::{HostId, PortKey, Result, ServicePart, ServiceSpec};

impl Controller {
    pub(crate) fn service_list(&self, _: ServiceList) -> Result<Vec<ServiceView>> {
        let services = lock(&self.services).all();
        let hosts = self.host_names();
        let mut views: Vec<_> = services.iter().map(|one| self.view(one, &hosts)).collect();
        views.sort_by(|a, b| (&a.spec.name, a.spec.id).cmp(&(&b.spec.name, b.spec.id)));
        Ok(views)
    }

    pub(crate) fn service_inspect(&self, request: ServiceInspect) -> Result<ServiceView> {
        let service = lock(&self.services).find(&request.service)?;
        Ok(self.view(&service, &self.host_names()))
    }

    fn view(&self, service: &Service, hosts: &BTreeMap<HostId, String>) -> ServiceView {
        let state = lock(&service.state);
        let name_of = |host: Option<HostId>| {
            let host = host.unwrap_or(HostId(self.host_id));
            hosts.get(&host).cloned().unwrap_or_default()
        };
        let waiting = state.roster.waiting();
        // One on this host may have been renamed since it joined.
        let called = |member: &Member| {
            let here = self.registry().sandbox_by_id(member.sandbox);
            let name = here.map(|sandbox| sandbox.state().spec.name.to_string());
            name.unwrap_or_else(|| member.name.clone())
        };
        let members = state.roster.members.iter();
        let members: Vec<ServiceMemberView> = members
            .map(|(id, member)| ServiceMemberView {
                endpoint: *id,
                sandbox: member.sandbox,
                host: name_of(member.host),
                name: called(member),
                addresses: member.addresses.clone(),
                weight: member.weight,
                state: match waiting.contains(id) {
                    true => "waiting",
                    false => word(member.health),
                },
                serves: state.roster.serves(*id),
                checks: self.checker.answers(*id),
            })
            .collect();
        let spec = state.spec.clone();
        drop(state);
        ServiceView {
            network: service.network.spec.name.to_string(),
            members,
            unpublished: self.unpublished(service, &spec, hosts),
            spec,
        }
    }

    /// Which of a service's ports are not published where.
    fn unpublished(
        &self,
        service: &Service,
        spec: &ServiceSpec,
        hosts: &BTreeMap<HostId, String>,
    ) -> BTreeMap<String, Vec<PortKey>> {
        let mut told: Vec<(HostId, BTreeSet<PortKey>)> = Vec::new();
        let here = self.balancers.unpublished(service.network.spec.id);
        told.push((HostId(self.host_id), here));
        let reach = lock(&service.network.reach);
        told.extend(reach.remotes.values().filter_map(|r| match &r.service {
            Some(ServicePart::Balancer { unpublished }) => Some((r.host, unpublished.clone())),
            _ => None,
        }));
        drop(reach);
        let is_own = |port: &PortKey| {
            let mut ports = spec.ports.iter();
            ports.any(|own| own.published == port.port && own.target.protocol == port.protocol)
        };
        let mut found = BTreeMap::new();
        for (host, ports) in told {
            let ports: Vec<PortKey> = ports.into_iter().filter(is_own).collect();
            if let (false, Some(name)) = (ports.is_empty(), hosts.get(&host)) {
                found.insert(name.clone(), ports);
            }
        }
        found
    }

    /// The names of the cluster's hosts that live, and of this one.
    fn host_names(&self) -> BTreeMap<HostId, String> {
        let Some(member) = &self.member else {
            return BTreeMap::new();
        };
        let mut names = member.names_of_hosts();
        names.insert(HostId(self.host_id), member.own_name().to_owned());
        names
    }
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Unchecked => "running",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Leaving => "draining",
    }
}
