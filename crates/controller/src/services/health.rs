//! Whether endpoints are well: asked from inside their own namespaces, so that no rule and no route
//! matters, on one thread for all of them.
//!
//! It tells the controller of changes alone, by a command as anybody else's. An endpoint that
//! changes to and fro must be well more often in a row each time before it is led to again.

mod answer;
mod command;
mod probe;
mod verdict;

use super::roster::Health;
use crate::{
    Controller,
    command::ServiceReport,
    controller::{WeakController, kernel_error},
    registry::{Sandbox, lock},
    view::CheckView,
};
use answer::{Answer, Answers};
use command::Command;
use probe::Running;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::{Instant, SystemTime},
};
use verdict::Verdict;
use vw_kernel::{SocketKind, SocketPlace};
use vw_model::{EndpointId, Error, HealthSpec, Probe, Result, SandboxId, ServiceId, ServiceSpec};

/// What wakes the thread that asks, and what it was answered.
pub(crate) struct Checker {
    wake: Arc<OwnedFd>,
    answers: Arc<Answers>,
}

impl Checker {
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            wake: Arc::new(wake),
            answers: Arc::default(),
        })
    }

    /// What an endpoint answered last, the oldest first.
    pub(super) fn answers(&self, endpoint: EndpointId) -> Vec<CheckView> {
        self.answers.of(endpoint)
    }

    /// Members came, went, or are to be asked otherwise.
    pub(crate) fn wake(&self) {
        // A counter that is full wakes as well.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.wake();
    }
}

/// A member that is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patient {
    service: ServiceId,
    sandbox: SandboxId,
    addr: IpAddr,
    spec: HealthSpec,
}

struct Watched {
    patient: Patient,
    joined: Instant,
    next: Instant,
    running: Option<Check>,
    verdict: Verdict,
}

/// A check that goes on.
struct Check {
    start: SystemTime,
    by: Asking,
}

enum Asking {
    Socket(Running),
    Command(Command),
    /// It could not begin.
    Failed(Answer),
}

impl Watched {
    fn is_due(&self, now: Instant) -> bool {
        self.running.is_none() && self.next <= now
    }
}

impl Controller {
    /// Asks members from now on, on a thread of its own that ends with the controller.
    pub(crate) fn check_members(&self) -> io::Result<()> {
        let (controller, wake) = (self.downgrade(), self.checker.wake.clone());
        let answers = self.checker.answers.clone();
        if !self.patients().is_empty() {
            self.checker.wake();
        }
        let run = move || ask_all(&controller, &wake, &answers);
        thread::Builder::new()
            .name("health".to_owned())
            .spawn(run)
            .map(|_| ())
    }

    /// Who is to be asked, and how each was last.
    fn patients(&self) -> BTreeMap<EndpointId, (Patient, Health)> {
        let services = lock(&self.services).all();
        let mut patients = BTreeMap::new();
        for service in services {
            let state = lock(&service.state);
            let Some(spec) = &state.spec.health else {
                continue;
            };
            for (id, member) in &state.roster.members {
                let asked = member.host.is_none() && member.health != Health::Leaving;
                if let (Some(addr), true) = (member.addresses.first(), asked)
                    && self.can_answer(&spec.probe, member.sandbox)
                {
                    let patient = Patient {
                        service: service.id,
                        sandbox: member.sandbox,
                        addr: *addr,
                        spec: spec.clone(),
                    };
                    patients.insert(*id, (patient, member.health));
                }
            }
        }
        patients
    }

    /// Whether a member can be asked yet: a command needs a container that runs.
    fn can_answer(&self, probe: &Probe, sandbox: SandboxId) -> bool {
        if !matches!(probe, Probe::Exec { .. }) {
            return true;
        }
        let sandbox = self.registry().sandbox_by_id(sandbox);
        sandbox.is_some_and(|sandbox| sandbox.state().running.is_some())
    }

    /// A container runs from now on, so that its endpoints can be asked.
    pub(crate) fn ask_from_now(&self, sandbox: &Sandbox) {
        let endpoints: Vec<EndpointId> = {
            let state = sandbox.state();
            state.attachments.iter().map(|a| a.endpoint.id).collect()
        };
        let services = lock(&self.services);
        if endpoints.iter().any(|id| services.of(*id).is_some()) {
            self.checker.wake();
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
        if state.spec.health.is_none() || member.health == Health::Leaving {
            return Ok(());
        }
        member.health = match report.well {
            true => Health::Healthy,
            false => Health::Unhealthy,
        };
        let (sandbox, name) = (member.sandbox, member.name.clone());
        let next = state.roster.with(report.endpoint, member)?;
        self.turn_to(&service, &mut state, next)?;
        drop(state);
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

fn ask_all(controller: &WeakController, wake: &OwnedFd, answers: &Answers) {
    let mut watched: BTreeMap<EndpointId, Watched> = BTreeMap::new();
    loop {
        if drained(wake) {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            refresh(&mut watched, controller.patients());
            answers.retain(|id| watched.contains_key(id));
        }
        let now = Instant::now();
        if watched.values().any(|one| one.is_due(now))
            && let Some(controller) = controller.upgrade()
        {
            let due = watched.iter_mut().filter(|(_, one)| one.is_due(now));
            due.for_each(|(id, one)| {
                one.running = Some(begin(&controller, *id, &one.patient, now))
            });
        }
        wait(&watched, wake);
        let ended: Vec<(EndpointId, bool)> = watched
            .iter_mut()
            .filter_map(|(id, one)| Some((*id, look(*id, one, answers)?)))
            .collect();
        for (endpoint, well) in ended {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            if let Err(error) = controller.submit(ServiceReport { endpoint, well }) {
                // It is told again with the next answer.
                tracing::warn!("a health check has no effect: {}", error.chain());
                if let Some(one) = watched.get_mut(&endpoint) {
                    one.verdict.forget();
                }
            }
        }
    }
}

fn drained(wake: &OwnedFd) -> bool {
    rustix::io::read(wake, &mut [0; 8]).is_ok()
}

/// Keeps those who are asked as before, and begins with those who are new.
fn refresh(
    watched: &mut BTreeMap<EndpointId, Watched>,
    patients: BTreeMap<EndpointId, (Patient, Health)>,
) {
    watched.retain(|id, one| {
        patients
            .get(id)
            .is_some_and(|(patient, _)| *patient == one.patient)
    });
    let now = Instant::now();
    for (id, (patient, health)) in patients {
        watched.entry(id).or_insert_with(|| Watched {
            joined: now,
            // One that serves already is asked in its turn, a new one at once.
            next: now,
            running: None,
            verdict: Verdict::new(health, patient.spec.retries),
            patient,
        });
    }
}

fn begin(controller: &Controller, id: EndpointId, patient: &Patient, now: Instant) -> Check {
    let spec = &patient.spec;
    let asking = match &spec.probe {
        Probe::Exec { command } => {
            let who = (patient.sandbox, id);
            let runtime = controller.runtime.clone();
            Command::begin(runtime, who, command.clone(), spec.timeout)
                .map(Asking::Command)
                .map_err(|error| error.to_string())
        }
        Probe::Tcp { port } | Probe::Http { port, .. } => {
            let to = SocketAddr::new(patient.addr, *port);
            let place = SocketPlace::Sandbox(patient.sandbox);
            let socket = controller.kernel.socket(place, SocketKind::TcpUnbound(to));
            socket
                .map(|socket| Asking::Socket(Running::begin(socket, to, spec, now)))
                .map_err(|error| kernel_error(error).chain())
        }
    };
    Check {
        start: SystemTime::now(),
        by: asking.unwrap_or_else(|why| Asking::Failed(Answer::failed(why))),
    }
}

impl Check {
    fn poll(&self) -> Option<PollFd<'_>> {
        match &self.by {
            Asking::Socket(socket) => Some(socket.poll()),
            Asking::Command(command) => Some(PollFd::new(command.told(), PollFlags::IN)),
            Asking::Failed(_) => None,
        }
    }

    /// When to look although nothing can be read or written.
    fn deadline(&self) -> Option<Instant> {
        match &self.by {
            Asking::Socket(socket) => Some(socket.deadline()),
            Asking::Command(_) => None,
            Asking::Failed(_) => Some(Instant::now()),
        }
    }

    fn answer(&mut self, spec: &HealthSpec, now: Instant) -> Option<Answer> {
        match &mut self.by {
            Asking::Socket(socket) => socket.go_on(spec, now),
            Asking::Command(command) => command.answer(),
            Asking::Failed(answer) => Some(answer.clone()),
        }
    }
}

/// Waits until something can be read or written, or is due.
fn wait(watched: &BTreeMap<EndpointId, Watched>, wake: &OwnedFd) {
    let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
    fds.extend(
        watched
            .values()
            .filter_map(|one| one.running.as_ref()?.poll()),
    );
    let moments = watched.values().filter_map(|one| match &one.running {
        Some(running) => running.deadline(),
        None => Some(one.next),
    });
    let left = moments
        .min()
        .map(|moment| moment.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    // An interruption is as good as an event: all is looked at anew.
    let _ = poll(&mut fds, timeout.as_ref());
}

/// What became of a check, where that changes how the member is.
fn look(id: EndpointId, one: &mut Watched, answers: &Answers) -> Option<bool> {
    let now = Instant::now();
    let running = one.running.as_mut()?;
    let answer = running.answer(&one.patient.spec, now)?;
    let well = answer.is_well();
    answers.note(id, running.start, answer);
    one.running = None;
    one.next = now + one.patient.spec.interval;
    let starting = now < one.joined + one.patient.spec.start_period;
    one.verdict.take(well, starting)
}

/// Whether a service's check can be made of an endpoint of this sandbox.
///
/// # Errors
/// `InvalidArgument` for a command and a namespace in which we run nothing.
pub(super) fn can_be_asked(spec: &ServiceSpec, sandbox: &Sandbox) -> Result<()> {
    let command = spec.health.as_ref().map(|health| &health.probe);
    let state = sandbox.state();
    if !matches!(command, Some(Probe::Exec { .. })) || state.container.is_some() {
        return Ok(());
    }
    let sentence = format!(
        "{} cannot be an endpoint of service {}, which is checked by a command: vethwork runs commands in its own containers alone, and {} was adopted; check the service by tcp:PORT or http:PORT instead",
        state.spec.name, spec.name, state.spec.name
    );
    Err(Error::invalid("check-impossible", sentence))
}
