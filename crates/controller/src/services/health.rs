//! Whether endpoints are well: asked from inside their own namespaces, so that no rule and no route
//! matters, on one thread for all of them.
//!
//! Owns who is to be asked, and what becomes of what is told of them: by a command as anybody else's,
//! of changes alone.

mod answer;
mod check;
mod command;
mod lane;
mod probe;
mod rounds;
mod verdict;

use super::{Member, Roster, Service, ServiceState, roster::Health};
use crate::{
    Controller,
    command::ServiceReport,
    registry::{Attachment, Sandbox, lock},
    view::CheckView,
};
use answer::Answers;
use rustix::event::{EventfdFlags, eventfd};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    thread,
};
use vw_model::{EndpointId, Error, HealthSpec, Probe, Result, SandboxId, ServiceId, ServiceSpec};

/// What wakes the thread that asks, and what it was answered.
pub(crate) struct Checker {
    due: Arc<Due>,
    answers: Arc<Answers>,
}

/// Who is to be asked otherwise than before, for the thread that asks.
struct Due {
    wake: OwnedFd,
    changed: Mutex<Changed>,
}

/// Whose members may be others than before, or are to be asked otherwise.
#[derive(Debug, Default)]
struct Changed {
    /// All members of these.
    services: BTreeSet<ServiceId>,
    members: BTreeSet<Place>,
}

/// A member of a service.
type Place = (ServiceId, EndpointId);

/// Members that are to be asked, and how each was last.
type Patients = BTreeMap<EndpointId, (Patient, Health)>;

impl Checker {
    pub(crate) fn new() -> io::Result<Self> {
        let due = Due {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            changed: Mutex::default(),
        };
        Ok(Self {
            due: Arc::new(due),
            answers: Arc::default(),
        })
    }

    /// What an endpoint answered last, the oldest first.
    pub(super) fn answers(&self, endpoint: EndpointId) -> Vec<CheckView> {
        self.answers.of(endpoint)
    }

    /// A member came, went, or is to be asked otherwise.
    pub(super) fn look_at(&self, service: ServiceId, endpoint: EndpointId) {
        lock(&self.due.changed).members.insert((service, endpoint));
        self.due.wake();
    }

    /// The same of all members of a service.
    pub(super) fn look_at_all(&self, service: ServiceId) {
        lock(&self.due.changed).services.insert(service);
        self.due.wake();
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.due.wake();
    }
}

impl Due {
    fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// What changed since it was last asked for; `None` while nobody woke whoever asks.
    fn take(&self) -> Option<Changed> {
        rustix::io::read(&self.wake, &mut [0; 8]).ok()?;
        Some(std::mem::take(&mut *lock(&self.changed)))
    }
}

/// A member that is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Patient {
    sandbox: SandboxId,
    addr: IpAddr,
    spec: HealthSpec,
}

impl Controller {
    /// Asks members from now on, on a thread of its own that ends with the controller.
    pub(crate) fn check_members(&self) -> io::Result<()> {
        self.forget_when_asked()?;
        let (controller, due) = (self.downgrade(), self.checker.due.clone());
        let answers = self.checker.answers.clone();
        let all: Vec<_> = lock(&self.services).all();
        let first: BTreeSet<ServiceId> = all.iter().map(|service| service.id).collect();
        let run = move || rounds::ask_all(&controller, &due, answers, &first);
        thread::Builder::new()
            .name("health".to_owned())
            .spawn(run)
            .map(|_| ())
    }

    /// Who of a service is to be asked: all, or this one alone.
    fn patients(&self, service: ServiceId, only: Option<EndpointId>) -> Patients {
        let Some(service) = lock(&self.services).get(service) else {
            return Patients::new();
        };
        let state = lock(&service.state);
        let Some(spec) = state.spec.health.as_ref().filter(|_| !state.removed) else {
            return Patients::new();
        };
        let members = &state.roster.members;
        let patient = |(id, member): (&EndpointId, &Member)| {
            let asked = member.host.is_none() && member.health != Health::Leaving;
            let addr = member.addresses.first().filter(|_| asked)?;
            let patient = Patient {
                sandbox: member.sandbox,
                addr: *addr,
                spec: spec.clone(),
            };
            let can = self.can_answer(member.sandbox);
            can.then_some((*id, (patient, member.health)))
        };
        match only {
            Some(id) => members
                .get_key_value(&id)
                .and_then(patient)
                .into_iter()
                .collect(),
            None => members.iter().filter_map(patient).collect(),
        }
    }

    /// Whether a member can be asked yet.
    pub(super) fn can_answer(&self, sandbox: SandboxId) -> bool {
        let sandbox = self.registry().sandbox_by_id(sandbox);
        sandbox.is_some_and(|sandbox| sandbox.can_answer())
    }

    /// A container's process runs from now on: its endpoints can be asked, and those that nobody
    /// asks are led to.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn serve_from_now(&self, sandbox: &Sandbox) -> Result<()> {
        let attachments = sandbox.state().attachments.clone();
        for attachment in &attachments {
            let service = lock(&self.services).of(attachment.endpoint.id);
            if let Some(service) = service {
                self.serve(&service, sandbox, attachment, |state, next| {
                    self.turn_to(&service, state, next)
                })?;
            }
        }
        Ok(())
    }

    /// The same of one of them, if it waits for it: `turn` brings its service to that.
    ///
    /// # Errors
    /// As `turn` says.
    pub(super) fn serve<E>(
        &self,
        service: &Service,
        sandbox: &Sandbox,
        attachment: &Attachment,
        turn: impl FnOnce(&mut ServiceState, Roster) -> Result<(), E>,
    ) -> Result<(), E> {
        let Attachment {
            endpoint, network, ..
        } = attachment;
        let id = endpoint.id;
        let waits = self.waits_to_serve(service, &lock(&service.state), id);
        if waits.is_none() {
            return Ok(());
        }
        // Without the lock: whoever asks members waits for it.
        self.await_frames(network, endpoint);
        let mut state = lock(&service.state);
        let Some(mut member) = self.waits_to_serve(service, &state, id) else {
            return Ok(());
        };
        member.health = Health::Unchecked;
        let next = state.roster.with(id, member);
        turn(&mut state, next)?;
        drop(state);
        self.publish_names(sandbox, network, id);
        Ok(())
    }

    /// Takes those of this host out of a service that cannot be asked as another host wants it from now
    /// on.
    pub(super) fn let_go_unfit(
        &self,
        roster: &mut Roster,
        spec: &ServiceSpec,
    ) -> Vec<(EndpointId, Member)> {
        let mut unfit = Vec::new();
        let here = roster.members.iter().filter(|(_, m)| m.host.is_none());
        for (id, member) in here {
            let sandbox = self.registry().sandbox_by_id(member.sandbox);
            let fits = sandbox.map_or(Ok(()), |sandbox| can_be_asked(spec, &sandbox));
            if let Err(error) = fits {
                self.warn(error.chain());
                unfit.push((*id, member.clone()));
            }
        }
        roster.let_go(unfit.iter().map(|(id, _)| *id));
        unfit
    }

    /// Has all hosts know that those are in the service no more.
    pub(super) fn see_unfit_off(&self, service: &Service, unfit: &[(EndpointId, Member)]) {
        for (id, member) in unfit {
            let sandbox = self.registry().sandbox_by_id(member.sandbox);
            if let Some(sandbox) = sandbox {
                self.publish_names(&sandbox, &service.network, *id);
            }
            self.forget_led(service, std::slice::from_ref(member));
        }
    }

    /// A member that is to be led to since it can answer; one that is checked is asked first.
    fn waits_to_serve(
        &self,
        service: &Service,
        state: &ServiceState,
        id: EndpointId,
    ) -> Option<Member> {
        let starts = |member: &&Member| member.health == Health::Starting && !state.removed;
        let member = state.roster.members.get(&id).filter(starts)?;
        if state.spec.health.is_some() {
            self.checker.look_at(service.id, id);
            return None;
        }
        Some(member.clone())
    }

    /// A member may be asked no more, or otherwise: what asks it now ends, a command in its container
    /// too.
    pub(super) fn ask_anew(&self, service: ServiceId, spec: &ServiceSpec, endpoint: EndpointId) {
        if spec.health.is_some() {
            self.checker.look_at(service, endpoint);
        }
    }

    /// Takes it that a member is well, or is not, from now on.
    pub(crate) fn service_report(&self, report: ServiceReport) -> Result<()> {
        let service = lock(&self.services).of(report.endpoint);
        let Some(service) = service else {
            return Ok(());
        };
        let mut state = lock(&service.state);
        let Some(mut member) = state.roster.members.get(&report.endpoint).cloned() else {
            return Ok(());
        };
        let probe = state.spec.health.as_ref().map(|health| &health.probe);
        // What it answered to another check says nothing of this one.
        let asked = probe.is_some_and(|probe| *probe == report.probe);
        if state.removed || !asked || member.health == Health::Leaving {
            return Ok(());
        }
        member.health = match report.well {
            true => Health::Healthy,
            false => Health::Unhealthy,
        };
        let (sandbox, name) = (member.sandbox, member.name.clone());
        let former = state.roster.clone();
        let sick = (!report.well && former.serves(report.endpoint)).then(|| member.clone());
        let next = former.with(report.endpoint, member);
        self.turn_to(&service, &mut state, next)?;
        let let_in = super::change::let_in(&former, &state.roster);
        drop(state);
        self.name_let_in(&service, let_in);
        // Whoever asks members is not to wait for it.
        self.owe_led(&service, sick.as_slice());
        let sandbox = self.registry().sandbox_by_id(sandbox);
        if let Some(sandbox) = sandbox {
            self.publish_names(&sandbox, &service.network, report.endpoint);
        }
        let word = if report.well { "healthy" } else { "unhealthy" };
        self.tell(
            crate::event::EventType::Service,
            &format!("health_status: {word}"),
            &service.id.to_string(),
            [("container", name)],
        );
        Ok(())
    }
}

/// Whether a service's endpoints are asked by a command.
pub(super) fn is_by_command(spec: &ServiceSpec) -> bool {
    let probe = spec.health.as_ref().map(|health| &health.probe);
    matches!(probe, Some(Probe::Exec { .. }))
}

/// Whether a service's check can be made of an endpoint of this sandbox.
///
/// # Errors
/// `InvalidArgument` for a command and a namespace in which we run nothing.
pub(super) fn can_be_asked(spec: &ServiceSpec, sandbox: &Sandbox) -> Result<()> {
    let state = sandbox.state();
    if !is_by_command(spec) || state.container.is_some() {
        return Ok(());
    }
    let sentence = format!(
        "{} cannot be an endpoint of service {}, which is checked by a command: vethwork runs commands in its own containers alone, and {} was adopted; check the service by tcp:PORT or http:PORT instead",
        state.spec.name, spec.name, state.spec.name
    );
    Err(Error::invalid("check-impossible", sentence))
}
