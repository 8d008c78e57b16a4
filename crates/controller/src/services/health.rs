//! Whether endpoints are well: asked from inside their own namespaces, so that no rule and no route
//! matters, on one thread for all of them.
//!
//! It tells the controller of changes alone, by a command as anybody else's. An endpoint that
//! changes to and fro must be well more often in a row each time before it is led to again.

mod answer;
mod command;
mod probe;
mod verdict;

use super::{Member, Service, roster::Health};
use crate::{
    Controller,
    command::ServiceReport,
    controller::{WeakController, kernel_error},
    registry::{Attachment, Sandbox, lock},
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
    time::{Duration, Instant, SystemTime},
};
use verdict::Verdict;
use vw_kernel::{SocketKind, SocketPlace};
use vw_model::{EndpointId, Error, HealthSpec, Probe, Result, SandboxId, ServiceId, ServiceSpec};

/// How many commands run at once: each takes an OCI runtime and a conmon, so that the first checks
/// of many members would take all of the host.
const AT_ONCE: usize = 8;

/// When an endpoint that starts is asked once more, each time after twice as long until that is its
/// interval: it serves soon after its process does, and what it fails until then counts for nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

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
    /// After how long it is asked again while it was never well; its interval once that is longer.
    pause: Duration,
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

    const fn is_asked_by_command(&self) -> bool {
        matches!(self.patient.spec.probe, Probe::Exec { .. })
    }
}

/// All who are asked, and what goes on.
#[derive(Default)]
struct Rounds {
    watched: BTreeMap<EndpointId, Watched>,
    /// Commands for whose answer nobody waits any more. An endpoint is asked again when its own has
    /// ended, so that no two are in each other's way.
    ending: BTreeMap<EndpointId, Command>,
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
                    && self.can_answer(member.sandbox)
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
                self.serve(&service, sandbox, attachment)?;
            }
        }
        Ok(())
    }

    /// The same of one of them, if it waits for it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn serve(
        &self,
        service: &Service,
        sandbox: &Sandbox,
        attachment: &Attachment,
    ) -> Result<()> {
        let Attachment {
            endpoint, network, ..
        } = attachment;
        let mut state = lock(&service.state);
        let waits = |member: &&Member| member.health == Health::Starting;
        let found = state.roster.members.get(&endpoint.id).filter(waits);
        let Some(mut member) = found.filter(|_| !state.removed).cloned() else {
            return Ok(());
        };
        if state.spec.health.is_some() {
            self.checker.wake();
            return Ok(());
        }
        self.await_frames(network, endpoint);
        member.health = Health::Unchecked;
        let next = state.roster.with(endpoint.id, member);
        self.turn_to(service, &mut state, next)?;
        drop(state);
        self.publish_names(sandbox, network, endpoint.id);
        Ok(())
    }

    /// Members of such a service are asked no more: what asks them now ends, commands in their
    /// containers too.
    pub(super) fn ask_no_more(&self, spec: &ServiceSpec) {
        if spec.health.is_some() {
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
        if state.removed || state.spec.health.is_none() || member.health == Health::Leaving {
            return Ok(());
        }
        member.health = match report.well {
            true => Health::Healthy,
            false => Health::Unhealthy,
        };
        let (sandbox, name) = (member.sandbox, member.name.clone());
        let former = state.roster.clone();
        let next = former.with(report.endpoint, member);
        self.turn_to(&service, &mut state, next)?;
        let let_in = super::change::let_in(&former, &state.roster);
        drop(state);
        self.name_let_in(&service, let_in);
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
    let mut rounds = Rounds::default();
    loop {
        if drained(wake) {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            rounds.refresh(controller.patients());
            answers.retain(|id| rounds.watched.contains_key(id));
        }
        let now = Instant::now();
        let due = rounds.due(now);
        if !due.is_empty()
            && let Some(controller) = controller.upgrade()
        {
            for id in due {
                if let Some(one) = rounds.watched.get_mut(&id) {
                    one.running = Some(begin(&controller, id, &one.patient, now));
                }
            }
        }
        rounds.wait(wake, now);
        for (endpoint, well) in rounds.look(answers) {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            if let Err(error) = controller.submit(ServiceReport { endpoint, well }) {
                // It is told again with the next answer.
                tracing::warn!("a health check has no effect: {}", error.chain());
                if let Some(one) = rounds.watched.get_mut(&endpoint) {
                    one.verdict.forget();
                }
            }
        }
    }
}

fn drained(wake: &OwnedFd) -> bool {
    rustix::io::read(wake, &mut [0; 8]).is_ok()
}

impl Rounds {
    /// Keeps those who are asked as before, and begins with those who are new, at once.
    fn refresh(&mut self, patients: BTreeMap<EndpointId, (Patient, Health)>) {
        let ending = &mut self.ending;
        self.watched.retain(|id, one| {
            let found = patients.get(id);
            let stays = found.is_some_and(|(patient, _)| *patient == one.patient);
            if found.is_some_and(|(_, health)| *health == Health::Starting) {
                // It was to leave, and stays: what it answered before is to be told again.
                one.verdict.forget();
            }
            if !stays {
                dismiss(ending, *id, one.running.take());
            }
            stays
        });
        let now = Instant::now();
        for (id, (patient, health)) in patients {
            self.watched.entry(id).or_insert_with(|| Watched {
                joined: now,
                next: now,
                pause: match health {
                    Health::Starting => FIRST_PAUSE,
                    _ => patient.spec.interval,
                },
                running: None,
                verdict: Verdict::new(health, patient.spec.retries),
                patient,
            });
        }
    }

    /// Whom to ask now: who waits longest first, and by commands no more than there is room for.
    fn due(&self, now: Instant) -> Vec<EndpointId> {
        let commands = self
            .watched
            .values()
            .filter(|one| one.is_asked_by_command());
        let running = commands.filter(|one| one.running.is_some()).count();
        // What nobody waits for takes a runtime and a thread as well, until it has ended.
        let mut room = AT_ONCE.saturating_sub(running + self.ending.len());
        let mut due: Vec<_> = (self.watched.iter())
            .filter(|(id, one)| one.is_due(now) && !self.ending.contains_key(id))
            .collect();
        due.sort_by_key(|(_, one)| one.next);
        due.retain(|(_, one)| {
            let has_room = !one.is_asked_by_command() || room > 0;
            room = room.saturating_sub(usize::from(one.is_asked_by_command()));
            has_room
        });
        due.into_iter().map(|(id, _)| *id).collect()
    }

    /// Waits until something can be read or written, or is due that was not at `now`: who was and is
    /// not asked waits for the end of a command.
    fn wait(&self, wake: &OwnedFd, now: Instant) {
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        let running = self.watched.values().filter_map(|one| one.running.as_ref());
        fds.extend(running.filter_map(Check::poll));
        let ending = self.ending.values();
        fds.extend(ending.map(|command| PollFd::new(command.told(), PollFlags::IN)));
        let moments = self.watched.values().filter_map(|one| match &one.running {
            Some(running) => running.deadline(),
            None => Some(one.next).filter(|next| *next > now),
        });
        let left = moments
            .min()
            .map(|moment| moment.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        // An interruption is as good as an event: all is looked at anew.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    /// What became of the checks: whose members are other than before.
    fn look(&mut self, answers: &Answers) -> Vec<(EndpointId, bool)> {
        self.ending.retain(|_, command| !command.has_ended());
        let now = Instant::now();
        let mut changed = Vec::new();
        for (id, one) in &mut self.watched {
            let Some(running) = &mut one.running else {
                continue;
            };
            let Some(answer) = running.answer(&one.patient.spec, now) else {
                continue;
            };
            let well = answer.is_well();
            answers.note(*id, running.start, answer);
            dismiss(&mut self.ending, *id, one.running.take());
            let interval = one.patient.spec.interval;
            let early = !well && one.pause < interval;
            one.next = now + if early { one.pause } else { interval };
            one.pause = if early { one.pause * 2 } else { interval };
            let starting = early || now < one.joined + one.patient.spec.start_period;
            changed.extend(
                one.verdict
                    .take(well, starting, now)
                    .map(|well| (*id, well)),
            );
        }
        changed
    }
}

/// Nobody waits for a check any more.
fn dismiss(ending: &mut BTreeMap<EndpointId, Command>, id: EndpointId, check: Option<Check>) {
    if let Some(Check {
        by: Asking::Command(command),
        ..
    }) = check
        && !command.has_ended()
    {
        command.leave();
        ending.insert(id, command);
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
            Asking::Command(command) => Some(command.deadline()),
            Asking::Failed(_) => Some(Instant::now()),
        }
    }

    fn answer(&mut self, spec: &HealthSpec, now: Instant) -> Option<Answer> {
        match &mut self.by {
            Asking::Socket(socket) => socket.go_on(spec, now),
            Asking::Command(command) => command.answer(now),
            Asking::Failed(answer) => Some(answer.clone()),
        }
    }
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

#[cfg(test)]
mod tests;
