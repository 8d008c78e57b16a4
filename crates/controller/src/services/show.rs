//! `service ls` and `inspect`.

use super::{
    Member, Service,
    plan::WithoutRules,
    roster::Health,
    unpublished::{in_words, lacks_of},
};
use crate::{
    Controller,
    command::{ServiceInspect, ServiceList},
    registry::{Network, lock},
    view::{ServiceMemberView, ServiceView, UnpublishedView},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use vw_model::{
    HostId, HostPort, Lacks, Obstacle, PortKey, PublishMode, RemoteEndpoint, RemoteHost, Result,
    ServiceId, ServicePart, ServiceSpec, Unpublished,
};

impl Controller {
    pub(crate) fn service_list(&self, _: ServiceList) -> Result<Vec<ServiceView>> {
        let services = lock(&self.services).all();
        let hosts = self.hosts();
        let mut views: Vec<_> = services.iter().map(|one| self.view(one, &hosts)).collect();
        views.sort_by(|a, b| (&a.spec.name, a.spec.id).cmp(&(&b.spec.name, b.spec.id)));
        Ok(views)
    }

    pub(crate) fn service_inspect(&self, request: ServiceInspect) -> Result<ServiceView> {
        let service = lock(&self.services).find(&request.service)?;
        Ok(self.view(&service, &self.hosts()))
    }

    /// What hosts are known to lack of a service, in sentences.
    pub(super) fn lacks_in_sentences(&self, id: ServiceId) -> Vec<String> {
        let service = lock(&self.services).get(id);
        let view = service.map(|service| self.view(&service, &self.hosts()));
        let sentence = |view: &ServiceView, lack: &UnpublishedView| {
            let vips = lack.vips.iter().map(|vip| vip.addr().to_string());
            let ports = lack.ports.iter().map(HostPort::to_string);
            let what: Vec<String> = vips.chain(ports).collect();
            format!(
                "service {}: {} not on host {}: {}",
                view.spec.name,
                what.join(", "),
                lack.host,
                lack.reason
            )
        };
        let of = |view: ServiceView| {
            let lacks = view.unpublished.iter();
            lacks.map(|lack| sentence(&view, lack)).collect()
        };
        view.map(of).unwrap_or_default()
    }

    fn view(&self, service: &Service, hosts: &BTreeMap<HostId, Host>) -> ServiceView {
        let state = lock(&service.state);
        let name_of = |host: Option<HostId>| {
            let host = host.unwrap_or(HostId(self.host_id));
            let found = hosts.get(&host);
            found.map(|host| host.name.clone()).unwrap_or_default()
        };
        let is_away = |member: &Member| {
            let host = member.host.and_then(|host| hosts.get(&host));
            host.is_some_and(|host| host.away)
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
                    false if is_away(member) => "away",
                    false => word(member.health),
                },
                serves: state.roster.serves(*id),
                checks: self.checker.answers(*id),
            })
            .collect();
        let spec = state.spec.clone();
        drop(state);
        let unpublished = match service.is_global() {
            true => unpublished(&spec, hosts, &told_by_balancers(&service.network)),
            false => self.unpublished_here(&service.network, &spec),
        };
        ServiceView {
            network: service.network.spec.name.to_string(),
            members,
            unpublished,
            spec,
        }
    }

    /// What this host does not lead to of a service on one of its own networks.
    fn unpublished_here(&self, network: &Network, spec: &ServiceSpec) -> Vec<UnpublishedView> {
        let WithoutRules { vips, ports } = self.without_rules(network, spec);
        if vips.is_empty() && ports.is_empty() {
            return Vec::new();
        }
        let own = self
            .member
            .as_ref()
            .map(|member| member.own_name().to_owned());
        vec![UnpublishedView {
            host: own.unwrap_or_else(|| "this host".to_owned()),
            vips,
            ports,
            reason: in_words(Obstacle::NoRules),
        }]
    }

    /// The cluster's hosts that live or are away, and this one.
    fn hosts(&self) -> BTreeMap<HostId, Host> {
        let Some(member) = &self.member else {
            return BTreeMap::new();
        };
        let others = member.others().into_iter();
        let host = |host: RemoteHost| Host {
            name: host.name,
            lacks: host.unpublished,
            away: host.away,
        };
        let mut hosts: BTreeMap<HostId, Host> = others.map(|o| (o.id, host(o))).collect();
        let own = Host {
            name: member.own_name().to_owned(),
            lacks: self.balancers.lacks(),
            away: false,
        };
        hosts.insert(HostId(self.host_id), own);
        hosts
    }
}

/// A host as services are shown with it.
struct Host {
    name: String,
    lacks: Unpublished,
    away: bool,
}

/// What the balancers of other hosts tell that these do not publish.
fn told_by_balancers(network: &Network) -> BTreeMap<HostId, BTreeSet<PortKey>> {
    let reach = lock(&network.reach);
    let told = |remote: &Arc<RemoteEndpoint>| match &remote.service {
        Some(ServicePart::Balancer { unpublished }) => Some((remote.host, unpublished.clone())),
        Some(ServicePart::Member { .. }) | None => None,
    };
    reach.remotes.values().filter_map(told).collect()
}

/// What hosts lack of a service.
fn unpublished(
    spec: &ServiceSpec,
    hosts: &BTreeMap<HostId, Host>,
    by_balancers: &BTreeMap<HostId, BTreeSet<PortKey>>,
) -> Vec<UnpublishedView> {
    let there = hosts.iter().filter(|(_, host)| !host.away);
    let lacks = there.flat_map(|(id, host)| {
        let told = host.lacks.networks.get(&spec.network);
        let lacks = lacks_of(told, by_balancers.get(id));
        lacking(&host.name, spec, &lacks)
    });
    let mut found: Vec<UnpublishedView> = lacks.collect();
    found.sort_by(|a, b| (&a.host, a.reason).cmp(&(&b.host, b.reason)));
    found
}

/// What a host lacks of a service, by why.
fn lacking(host: &str, spec: &ServiceSpec, lacks: &Lacks) -> Vec<UnpublishedView> {
    let mut found: BTreeMap<&'static str, Vec<HostPort>> = BTreeMap::new();
    let unled = match lacks.all {
        true => Some("the host does not lead to the network's services: see its log"),
        false if lacks.services.contains(&spec.id) => {
            Some("the host does not lead to the service: see its log")
        }
        false => None,
    };
    if let Some(why) = unled.filter(|_| !spec.vips.is_empty()) {
        found.insert(why, Vec::new());
    }
    for port in &spec.ports {
        let at = port.at();
        let everywhere = port.mode == PublishMode::Ingress && port.address().is_none();
        let why = lacks.ports.get(&at).map(|why| in_words(*why));
        if let Some(why) = unled.filter(|_| everywhere).or(why) {
            found.entry(why).or_default().push(at);
        }
    }
    let view = |(reason, ports)| UnpublishedView {
        host: host.to_owned(),
        vips: match Some(reason) == unled {
            true => spec.vips.clone(),
            false => Vec::new(),
        },
        ports,
        reason,
    };
    found.into_iter().map(view).collect()
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
