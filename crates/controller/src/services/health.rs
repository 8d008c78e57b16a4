//! Whether endpoints are well: asked from inside their own namespaces, so that no rule and no route
//! matters, on one thread for all of them.
//!
//! It tells the controller of changes alone, by a command as anybody else's. An endpoint that
//! changes to and fro must be well more often in a row each time before it is led to again.

mod probe;
mod verdict;

use super::roster::Health;
use crate::{
    Controller,
    command::ServiceReport,
    controller::{WeakController, kernel_error},
    registry::lock,
};
use probe::{Outcome, Running};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::Instant,
};
use verdict::Verdict;
use vw_kernel::{SocketKind, SocketPlace};
use vw_model::{EndpointId, HealthSpec, Result, SandboxId, ServiceId};

/// What wakes the thread that asks.
pub(crate) struct Checker {
    wake: Arc<OwnedFd>,
}

impl Checker {
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            wake: Arc::new(wake),
        })
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
    running: Option<Running>,
    verdict: Verdict,
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
        if !self.patients().is_empty() {
            self.checker.wake();
        }
        let run = move || ask_all(&controller, &wake);
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
                if let (Some(addr), true) = (member.addresses.first(), asked) {
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

fn ask_all(controller: &WeakController, wake: &OwnedFd) {
    let mut watched: BTreeMap<EndpointId, Watched> = BTreeMap::new();
    loop {
        if drained(wake) {
            let Some(controller) = controller.upgrade() else {
                return;
            };
            refresh(&mut watched, controller.patients());
        }
        let now = Instant::now();
        if watched.values().any(|one| one.is_due(now))
            && let Some(controller) = controller.upgrade()
        {
            let due = watched.values_mut().filter(|one| one.is_due(now));
            due.for_each(|one| begin(&controller, one, now));
        }
        wait(&watched, wake);
        let ended: Vec<(EndpointId, bool)> = watched
            .iter_mut()
            .filter_map(|(id, one)| Some((*id, look(one)?)))
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

fn begin(controller: &Controller, one: &mut Watched, now: Instant) {
    let Patient {
        sandbox,
        addr,
        spec,
        ..
    } = &one.patient;
    let port = probe::port(&spec.probe);
    let to = SocketAddr::new(*addr, port);
    let socket = controller
        .kernel
        .socket(SocketPlace::Sandbox(*sandbox), SocketKind::TcpUnbound(to))
        .map_err(kernel_error);
    match socket {
        Ok(socket) => one.running = Some(Running::begin(socket, to, spec, now)),
        Err(error) => {
            tracing::debug!("an endpoint cannot be asked: {}", error.chain());
            one.running = Some(Running::failed(now));
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
    let moments = watched.values().map(|one| match &one.running {
        Some(running) => running.deadline(),
        None => one.next,
    });
    let left = moments
        .min()
        .map(|moment| moment.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    // An interruption is as good as an event: all is looked at anew.
    let _ = poll(&mut fds, timeout.as_ref());
}

/// What became of a check, where that changes how the member is.
fn look(one: &mut Watched) -> Option<bool> {
    let now = Instant::now();
    let outcome = one.running.as_mut()?.go_on(&one.patient.spec.probe, now);
    let well = match outcome {
        Outcome::Open => return None,
        Outcome::Well => true,
        Outcome::Failed => false,
    };
    one.running = None;
    one.next = now + one.patient.spec.interval;
    let starting = now < one.joined + one.patient.spec.start_period;
    one.verdict.take(well, starting)
}
