//! Services of networks that span hosts: agreed on with the other hosts, listed on every one.
//!
//! Who is in one is told with each endpoint, by the host that it lies on, which alone asks whether
//! it is well. So a host knows all members of all services, and leads to them while the store is
//! away as it last knew.

use super::{
    Hosted, Member, Roster, Service, ServiceState,
    health::{can_be_asked, is_by_command},
    plan::ingress,
    remote::{member_of, named_by},
    update::{rechecked, wanted_ports},
};
use crate::{
    Controller,
    command::{Publication, ServiceCreate, ServiceUpdate},
    event::EventType,
    ports::Claims,
    registry::{Network, Sandbox, lock},
    view::Created,
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::SystemTime,
};
use vw_hoststate::Owner;
use vw_model::{
    EndpointId, EndpointMode, Error, Family, Kind, PublishMode, PublishedPort, RemoteEndpoint,
    Result, Scope, ServiceId, ServiceSpec,
};
use vw_store::Table;

impl Controller {
    /// Has all hosts of the cluster know a service, and lists it.
    pub(super) fn create_global_service(
        &self,
        network: &Arc<Network>,
        request: ServiceCreate,
    ) -> Result<Created> {
        let families = match request.mode {
            EndpointMode::Vip => self.balanced_families(network, "have a virtual address")?,
            EndpointMode::Dnsrr => Vec::new(),
        };
        let ports = request.ports.iter().map(published);
        let ports = ports.collect::<Result<Vec<_>>>()?;
        let spec = ServiceSpec {
            id: ServiceId::from_bytes((self.random)()),
            name: request.name,
            network: network.spec.id,
            created: SystemTime::now(),
            mode: request.mode,
            vips: Vec::new(),
            ports: each_once(ports),
            affinity: request.affinity,
            drain: request.drain,
            health: request.health,
            labels: request.labels,
        };
        spec.check_ports()?;
        self.check_waiting(network, &spec)?;
        self.unless_overtaken(|| self.check_ports(network, &spec, &[]))?;
        let question = self.question(network, foreign(&spec, &[]));
        let spec = self.cluster()?.create_service(spec, &families)?;
        let id = spec.id;
        crate::step::reached("service.agreed");
        self.take_agreed(id);
        self.settle_service_or_soon(network, id);
        let refused = question.and_then(|question| self.objection(&question));
        let mut warnings = Vec::new();
        if let Some(refused) = refused {
            match self.remove_made(&spec) {
                Ok(()) => return Err(refused),
                Err(left) => warnings.push(format!(
                    "service {}: it stands although {}, because it cannot be removed: {}",
                    spec.name,
                    refused.chain(),
                    left.chain()
                )),
            }
        }
        warnings.extend(self.lacks_in_sentences(id));
        Ok(Created {
            id: id.to_string(),
            warnings,
        })
    }

    /// Removes a service that was made a moment ago, if nobody else did or has changed it since.
    fn remove_made(&self, made: &ServiceSpec) -> Result<()> {
        let cluster = self.cluster()?;
        if cluster.service(made.id).is_some_and(|now| now != *made) {
            let sentence = format!("service {} was changed meanwhile", made.name);
            return Err(Error::conflict("service-changed", sentence));
        }
        let listed = lock(&self.services).get(made.id);
        let removed = match listed {
            Some(service) => self.remove_global_service(&service),
            None => cluster.remove_service(made.id),
        };
        match removed {
            Err(gone) if gone.kind == Kind::NotFound => Ok(()),
            done => done,
        }
    }

    /// The families over which this host leads to services of a network.
    ///
    /// # Errors
    /// `Unsupported` where it cannot.
    fn balanced_families(&self, network: &Network, what: &str) -> Result<Vec<Family>> {
        let has = |family: &Family| network.spec.pools(*family).next().is_some();
        let families: Vec<Family> = crate::attach::FAMILIES.into_iter().filter(has).collect();
        let cx = &self.config.drivers;
        let rules = families.iter().all(|family| cx.filters(*family));
        if families.is_empty() || !rules || !network.driver.balances(&network.spec) {
            let sentence = format!(
                "network {} cannot {what}: its frames for many go to every host, or this host makes no rules; use --endpoint-mode dnsrr, or another network",
                network.spec.name
            );
            return Err(Error::new(Kind::Unsupported, "vip-impossible", sentence));
        }
        Ok(families)
    }

    /// Whether a service can publish its ports, as far as this host can know, beside those that it
    /// published before.
    ///
    /// # Errors
    /// `Conflict` for one that something else has here; `Unsupported` where none can be published.
    fn check_ports(
        &self,
        network: &Network,
        spec: &ServiceSpec,
        before: &[PublishedPort],
    ) -> Result<()> {
        let ports = spec.ports.iter().filter(|port| !before.contains(port));
        let new: Vec<&PublishedPort> = ports.collect();
        if new.is_empty() {
            return Ok(());
        }
        if network.spec.internal {
            let sentence = format!(
                "network {} cannot publish ports: publish on a network that is not internal",
                network.spec.name
            );
            return Err(Error::new(
                Kind::Unsupported,
                "port-not-publishable",
                sentence,
            ));
        }
        self.balanced_families(network, "publish ports")?;
        let families = self.ingress_families(network);
        let in_vain = |ip: &IpAddr| !families.contains(&Family::of(*ip));
        if let Some(ip) = new.iter().filter_map(|port| port.host).find(in_vain) {
            return Err(super::create::over_other_family(network, ip));
        }
        let foreign = self.on_this_host(foreign(spec, before).into_iter())?;
        // Held for a moment alone: what publishes them here takes them next.
        let claimed: Vec<_> = foreign.iter().map(super::hosted::request).collect();
        self.claim_ports(&families, &claimed, &mut Claims::default())
            .map(drop)
    }

    /// Has a service of the cluster stand here as the cluster knows it now: made, changed or gone.
    ///
    /// Whoever changed it and whoever is told of it do the same, in turn: so what one was told
    /// before another changed it brings nothing back.
    pub(crate) fn take_agreed(&self, id: ServiceId) {
        let Ok(cluster) = self.cluster() else {
            return;
        };
        let _turn = lock(&self.agreed_changes);
        let found = lock(&self.services).get(id);
        // One of a network that is back since is bound to what that was before.
        let found = found.filter(|service| {
            let listed = self.registry().network_by_id(service.network.spec.id);
            let astray = listed.is_some_and(|listed| !Arc::ptr_eq(&listed, &service.network));
            if astray {
                self.service_gone(service);
            }
            !astray
        });
        let (spec, former) = (cluster.service(id), found.as_ref().map(spec_of));
        let Some(network) = spec.as_ref().or(former.as_ref()).map(|spec| spec.network) else {
            return;
        };
        let published = |spec: &ServiceSpec| ingress(spec).copied().collect::<Vec<_>>();
        let ports = spec.as_ref().map(published).unwrap_or_default();
        let former = former.as_ref().map(published).unwrap_or_default();
        match (spec, found) {
            (Some(spec), Some(service)) => self.respecify(&service, spec),
            (Some(spec), None) => self.list_service(spec),
            (None, Some(service)) => self.service_gone(&service),
            (None, None) => {}
        }
        if ports != former {
            self.balancers.publish_anew(network);
        }
        self.look_soon(network, Some(id));
    }

    fn list_service(&self, spec: ServiceSpec) {
        let Some(network) = self.registry().network_by_id(spec.network) else {
            return;
        };
        let (id, name) = (spec.id, spec.name.to_string());
        let service = Arc::new(Service {
            id,
            network: network.clone(),
            state: Mutex::new(ServiceState {
                spec: spec.clone(),
                roster: Roster::default(),
                claims: Claims::default(),
                hosted: Hosted::default(),
                owed: Vec::new(),
                sick_before: Default::default(),
                removed: false,
            }),
        });
        lock(&self.services).add(&spec, service.clone());
        let Some(checked) = self.gather(&service) else {
            return;
        };
        self.publish_service(&service);
        self.publish_members(&service);
        if self.balancers.is_open() {
            let about = [("name", name)];
            self.tell(EventType::Service, "create", &id.to_string(), about);
        }
        if checked {
            self.checker.look_at_all(id);
        }
    }

    /// Takes all who name a service into it that is listed now, beside those who joined it already;
    /// tells whether they are checked, and nothing where it was removed meanwhile.
    fn gather(&self, service: &Service) -> Option<bool> {
        let mut state = lock(&service.state);
        if state.removed {
            return None;
        }
        let name = state.spec.name.to_string();
        // Under the service's lock: who leaves from now on finds that it is a member.
        let local = self
            .waiting_members(&service.network, &state.spec)
            .unwrap_or_else(|error| {
                self.warn(format!("service {name}: {}", error.chain()));
                Roster::default()
            });
        let mut all: Vec<(EndpointId, Member)> = local.members.into_iter().collect();
        {
            let reach = lock(&service.network.reach);
            let named = |remote: &&Arc<RemoteEndpoint>| named_by(remote) == Some(&name);
            let named = reach.remotes.values().filter(named);
            all.extend(named.filter_map(|remote| Some((remote.id, member_of(remote)?))));
        }
        let mut next = state.roster.clone();
        let mut taken: Vec<EndpointId> = all.iter().map(|(id, _)| *id).collect();
        all.retain(|(id, _)| !next.members.contains_key(id));
        next.take(all);
        // Its addresses are to be answered for although nobody may serve yet.
        self.bring_all_of(service, &state, &state.spec, &next);
        self.take_members(service, &mut state, next);
        taken.retain(|id| state.roster.members.contains_key(id));
        let checked = state.spec.health.is_some();
        drop(state);
        self.join_all(service, &taken);
        Some(checked)
    }

    fn respecify(&self, service: &Service, spec: ServiceSpec) {
        let mut state = lock(&service.state);
        if state.removed || state.spec == spec {
            return;
        }
        let name = spec.name.to_string();
        let mut next = rechecked(&state.roster, &spec, |id| self.can_answer(id));
        let unfit = self.let_go_unfit(&mut next, &spec);
        let fits_again = is_by_command(&state.spec) && !is_by_command(&spec);
        let led = self.led_inside_by_gone(service, &state, &spec.ports);
        self.bring_all_of(service, &state, &spec, &next);
        {
            let mut book = lock(&self.services);
            book.respecified(&spec);
            unfit.iter().for_each(|(id, _)| book.leave(*id));
        }
        (state.spec, state.roster) = (spec, next);
        drop(state);
        if let Some((balancer, led)) = led {
            self.forget_in(service, balancer, led);
        }
        self.see_unfit_off(service, &unfit);
        if fits_again {
            self.gather(service);
        }
        self.publish_service(service);
        self.publish_members(service);
        let about = [("name", name)];
        self.tell(EventType::Service, "update", &service.id.to_string(), about);
        self.checker.look_at_all(service.id);
    }

    /// Has all stand that a service wants with these members, whether it can be now or not: what cannot
    /// is told, and tried again with the next look.
    fn bring_all_of(
        &self,
        service: &Service,
        state: &ServiceState,
        spec: &ServiceSpec,
        members: &Roster,
    ) {
        if !self.balancers.is_open() {
            return;
        }
        let hosted = &state.hosted.ports;
        let fragment = self.service_fragment(&service.network, spec, members, hosted);
        let brought = self
            .slots_batch(service, state, members, hosted)
            .and_then(|batch| self.note(batch))
            .and_then(|()| self.bring(vec![(Owner::Service(service.id), fragment)]));
        if let Err(error) = brought {
            self.warn(format!("service {}: {}", spec.name, error.chain()));
            self.balancers.owed.note_behind(service.id);
            self.balancers.lead_anew(service.network.spec.id);
        }
    }

    /// A service of the cluster is gone.
    fn service_gone(&self, service: &Service) {
        let id = service.id;
        let spec = {
            let mut state = lock(&service.state);
            state.removed = true;
            state.hosted = Hosted::default();
            self.balancers.note_hosted_lacking(service, BTreeMap::new());
            lock(&self.services).remove(&state.spec, state.roster.members.keys());
            state.spec.clone()
        };
        let name = spec.name.to_string();
        self.checker.look_at_all(id);
        self.withdraw_service(service);
        self.publish_members(service);
        let mut state = lock(&service.state);
        let gone = self.take_away_published(id, &mut state);
        if let Err(error) = gone {
            self.warn(format!("service {name} is removed, but not all of it could be taken out of the kernel; the next change or start does it: {}", error.chain()));
        }
        drop(state);
        self.forget_all_led(service);
        self.unnote(Table::Slots, id.to_string());
        let about = [("name", name)];
        self.tell(EventType::Service, "remove", &id.to_string(), about);
    }

    /// Changes a service on all hosts.
    pub(super) fn update_global_service(
        &self,
        service: &Service,
        request: &ServiceUpdate,
    ) -> Result<()> {
        let change = |former: ServiceSpec| {
            let mut spec = former.clone();
            wanted_ports(&former, request)?;
            spec.ports
                .retain(|port| !request.unpublish.contains(&port.target));
            let asked = request.publish.iter().map(published);
            spec.ports.extend(asked.collect::<Result<Vec<_>>>()?);
            spec.ports = each_once(spec.ports);
            spec.check_ports()?;
            super::update::settings(&mut spec, request)?;
            Ok(spec)
        };
        let added = self.unless_overtaken(|| {
            let before = {
                let state = lock(&service.state);
                self.check_askable(&state, request)?;
                state.spec.clone()
            };
            let next = change(before.clone())?;
            self.check_ports(&service.network, &next, &before.ports)?;
            Ok(foreign(&next, &before.ports))
        })?;
        let question = self.question(&service.network, added);
        if let Some(question) = &question {
            self.publish_unless_refused(service, question)?;
        }
        let changed = self.cluster()?.update_service(service.id, change);
        if let Err(error) = changed {
            return Err(match &question {
                Some(question) => self.publish_no_longer(service, question, error),
                None => error,
            });
        }
        self.take_agreed(service.id);
        self.settle_service_or_soon(&service.network, service.id);
        Ok(())
    }

    /// Removes a service on all hosts.
    pub(super) fn remove_global_service(&self, service: &Service) -> Result<()> {
        self.cluster()?.remove_service(service.id)?;
        crate::step::reached("service.removed");
        self.take_agreed(service.id);
        self.settle_service_or_soon(&service.network, service.id);
        let network = service.network.spec.id;
        let was_last = || lock(&self.services).asks().on(network).services == 0;
        if was_last() {
            // Also where another thread is about it already.
            self.decide_anew(&service.network);
        }
        if was_last() {
            self.cluster()?.await_no_balancer(network);
        }
        Ok(())
    }

    /// Takes an endpoint that was placed meanwhile into a service that was listed meanwhile: either
    /// who lists finds the endpoint, or who places it finds the service.
    pub(crate) fn join_late(&self, sandbox: &Sandbox, id: EndpointId) {
        let found = {
            let state = sandbox.state();
            let mut attachments = state.attachments.iter();
            attachments.find(|a| a.endpoint.id == id).cloned()
        };
        let Some(attachment) = found.filter(|a| a.network.spec.scope == Scope::Global) else {
            return;
        };
        if lock(&self.services).of(id).is_some() {
            return;
        }
        let Some((service, weight)) = self.service_of(sandbox, &attachment) else {
            return;
        };
        let mut state = lock(&service.state);
        if state.removed {
            return;
        }
        if let Err(error) = can_be_asked(&state.spec, sandbox) {
            return self.warn(error.chain());
        }
        let health = self.health_at_first(&state.spec, sandbox, id);
        let member = super::change::member(sandbox, &attachment, weight, health);
        let next = state.roster.with(id, member);
        self.turn_for_good(&service, &mut state, next);
        // Before it is asked: what is told of nobody is not taken.
        lock(&self.services).join(id, service.id);
        self.ask_anew(service.id, &state.spec, id);
        drop(state);
        self.heed_departure(sandbox, &attachment.network, id);
    }
}

fn spec_of(service: &Arc<Service>) -> ServiceSpec {
    lock(&service.state).spec.clone()
}

/// What a service is to publish on every host that may belong to others there: what it has already, for
/// another port of its endpoints or in another way, makes room.
fn foreign(spec: &ServiceSpec, before: &[PublishedPort]) -> Vec<PublishedPort> {
    let foreign = |port: &&PublishedPort| {
        port.mode == PublishMode::Ingress && !before.iter().any(|held| held.clashes(port))
    };
    spec.ports.iter().filter(foreign).copied().collect()
}

/// Ports in their order, each once.
pub(super) fn each_once(mut ports: Vec<PublishedPort>) -> Vec<PublishedPort> {
    ports.sort_by_key(|port| (port.published, port.host, port.target, port.mode));
    ports.dedup();
    ports
}

/// A port that is published on every host, or on those that have an address, by the same number on all.
fn published(asked: &Publication) -> Result<PublishedPort> {
    let Publication {
        port: request,
        mode,
        prefer,
    } = *asked;
    if let Some(IpAddr::V6(ip)) = request.host_ip
        && ip.is_unicast_link_local()
    {
        let sentence = format!(
            "{ip} is an address of each link: publish the port {} on another one, or on all",
            request.container
        );
        return Err(Error::invalid("service-port-address", sentence));
    }
    match request.host {
        Some(range) if range.first == range.last => Ok(PublishedPort {
            host: request.host_ip,
            published: range.first,
            target: request.container,
            mode,
            prefer,
        }),
        _ => {
            let sentence = format!(
                "a service of a network that spans hosts publishes one port that you name, the same on every host: write PORT:{}",
                request.container
            );
            Err(Error::invalid("service-port-open", sentence))
        }
    }
}
