//! `service update`.

use super::{
    Roster, Service, ServiceState,
    create::published,
    roster::{Health, at_first},
};
use crate::{
    Controller,
    command::{HealthTimes, ServiceUpdate},
    event::EventType,
    ports::Claims,
    records,
    registry::lock,
};
use vw_hoststate::Owner;
use vw_kernel::Kernel;
use vw_model::{Error, PortMapping, PortRequest, PublishedPort, Result, SandboxId, ServiceSpec};
use vw_store::{Batch, Table};

impl Controller {
    pub(crate) fn service_update(&self, request: ServiceUpdate) -> Result<Vec<String>> {
        let service = lock(&self.services).find(&request.service)?;
        match service.is_global() {
            true => self.update_global_service(&service, &request)?,
            false => self.update_local_service(&service, &request)?,
        }
        if request.publish.is_empty() {
            return Ok(Vec::new());
        }
        let name = lock(&service.state).spec.name.clone();
        let mut warnings = self.lacks_in_sentences(service.id);
        warnings.extend(self.lacks_versions(&service.network, &name, &request.publish));
        Ok(warnings)
    }

    fn update_local_service(&self, service: &Service, request: &ServiceUpdate) -> Result<()> {
        let _deciding = lock(&self.network_changes);
        let mut state = lock(&service.state);
        if state.removed {
            // By whom this waited for.
            return Err(super::no_service(&request.service));
        }
        self.check_askable(&state, request)?;
        self.check_binding(&service.network, &request.publish)?;
        let former = state.spec.clone();
        let (mut spec, roster) = self.asked(&state, request)?;
        let mut held = std::mem::take(&mut state.claims);
        let claimed = self.claim_asked(service, &state.spec, request, &mut held);
        let (ports, claims) = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                state.claims = held;
                return Err(error);
            }
        };
        spec.ports = ports;
        let put = |spec: &ServiceSpec| {
            records::put(Batch::new(), Table::Services, &service.id.to_string(), spec)
                .and_then(|batch| self.keep(batch))
        };
        let fragment = self.service_fragment(&service.network, &spec, &roster, &[]);
        let done = put(&spec).and_then(|()| {
            crate::step::reached("service.updated");
            let slots = self.slots_batch(service, &state, &roster, &spec.ports)?;
            self.note(slots)?;
            self.bring(vec![(Owner::Service(service.id), fragment)])
        });
        if let Err(error) = done {
            if let Err(left) = put(&former) {
                self.warn(format!(
                    "service {}: the next start makes it as it was asked to be: {}",
                    former.name,
                    left.chain()
                ));
            }
            state.claims = back(&*self.kernel, claims, held, &former.ports);
            return Err(error);
        }
        let checked = spec.health.is_some() || former.health.is_some();
        state.owed = state.led_before(service, &spec.ports);
        (state.spec, state.roster, state.claims) = (spec, roster, claims);
        let about = [("name", state.spec.name.to_string())];
        drop(state);
        self.forget_ports(service, &former.ports);
        self.publish_service(service);
        self.publish_members(service);
        self.tell(EventType::Service, "update", &service.id.to_string(), about);
        if checked {
            self.checker.look_at_all(service.id);
        }
        self.room_made(!request.unpublish.is_empty());
        Ok(())
    }

    /// The ports that are asked for, and what holds them.
    fn claim_asked(
        &self,
        service: &Service,
        spec: &ServiceSpec,
        request: &ServiceUpdate,
        held: &mut Claims,
    ) -> Result<(Vec<PublishedPort>, Claims)> {
        let wanted = wanted_ports(spec, request)?;
        let claims = self.claim_service_ports(&service.network, &wanted, held)?;
        let families = self.published_families(&service.network);
        Ok((published(&claims, families, &wanted), claims))
    }

    /// What is asked for besides ports, and who is in it then.
    fn asked(
        &self,
        state: &ServiceState,
        request: &ServiceUpdate,
    ) -> Result<(ServiceSpec, Roster)> {
        let mut spec = state.spec.clone();
        settings(&mut spec, request)?;
        let roster = rechecked(&state.roster, &spec, |id| self.can_answer(id));
        Ok((spec, roster))
    }

    /// Whether the members here can be asked as they are to be from now on.
    pub(super) fn check_askable(
        &self,
        state: &ServiceState,
        request: &ServiceUpdate,
    ) -> Result<()> {
        let Some(health) = &request.health else {
            return Ok(());
        };
        let mut spec = state.spec.clone();
        spec.health.clone_from(health);
        for member in state.roster.members.values() {
            let sandbox = self.registry().sandbox_by_id(member.sandbox);
            if let Some(sandbox) = sandbox {
                super::health::can_be_asked(&spec, &sandbox)?;
            }
        }
        Ok(())
    }
}

/// The claims that a service had before an attempt, for these ports.
pub(super) fn back(
    kernel: &dyn Kernel,
    claims: Claims,
    held: Claims,
    former: &[PublishedPort],
) -> Claims {
    let mut all = claims.mappings();
    all.extend(held.mappings());
    let stays = |mapping: &PortMapping| {
        former.iter().any(|port| {
            let host = mapping.host.ip();
            port.host.map_or(host.is_unspecified(), |ip| ip == host)
                && port.published == mapping.host.port()
                && port.target == mapping.container
        })
    };
    all.retain(stays);
    claims.back_to(kernel, held, &all)
}

/// What is published after the update: what was and is not to go, and what comes.
///
/// # Errors
/// `NotFound` for a port to go that is not published, `InvalidArgument` for an affinity that holds for
/// nobody then.
pub(super) fn wanted_ports(
    spec: &ServiceSpec,
    request: &ServiceUpdate,
) -> Result<Vec<PortRequest>> {
    for target in &request.unpublish {
        if !spec.ports.iter().any(|port| port.target == *target) {
            let sentence = format!("service {} does not publish {target}", spec.name);
            return Err(Error::not_found("service-port-unknown", sentence));
        }
    }
    let stays = spec
        .ports
        .iter()
        .filter(|port| !request.unpublish.contains(&port.target));
    let asked = request.publish.iter().map(|asked| asked.port);
    let wanted: Vec<PortRequest> = stays.map(super::hosted::request).chain(asked).collect();
    let affinity = request.affinity.unwrap_or(spec.affinity);
    affinity.fits(spec.mode, !wanted.is_empty())?;
    Ok(wanted)
}

/// What is asked for besides ports.
///
/// # Errors
/// `InvalidArgument` for another interval, and the like, of a check that there is not.
pub(super) fn settings(spec: &mut ServiceSpec, request: &ServiceUpdate) -> Result<()> {
    spec.affinity = request.affinity.unwrap_or(spec.affinity);
    spec.drain = request.drain.unwrap_or(spec.drain);
    if let Some(health) = &request.health {
        spec.health.clone_from(health);
    }
    let times = &request.times;
    if *times == HealthTimes::default() {
        return Ok(());
    }
    let Some(health) = &mut spec.health else {
        let sentence = format!(
            "service {} has no health check to change: give --health",
            spec.name
        );
        return Err(Error::invalid("service-unchecked", sentence));
    };
    health.interval = times.interval.unwrap_or(health.interval);
    health.timeout = times.timeout.unwrap_or(health.timeout);
    health.retries = times.retries.unwrap_or(health.retries);
    health.start_period = times.start_period.unwrap_or(health.start_period);
    Ok(())
}

/// Members whom nobody asks any more serve where something can answer; those whom somebody will ask
/// serve until they fail.
pub(super) fn rechecked(
    roster: &Roster,
    spec: &ServiceSpec,
    can_answer: impl Fn(SandboxId) -> bool,
) -> Roster {
    // Of endpoints on other hosts those tell.
    let here = roster.members.iter().filter(|(_, m)| m.host.is_none());
    let asked = here.map(|(id, member)| {
        let mut member = member.clone();
        member.health = match (&spec.health, member.health) {
            (None, Health::Starting | Health::Healthy | Health::Unhealthy) => {
                at_first(spec, can_answer(member.sandbox))
            }
            (Some(_), Health::Unchecked) => Health::Healthy,
            (_, same) => same,
        };
        (*id, member)
    });
    let mut next = roster.clone();
    next.take(asked);
    next
}
