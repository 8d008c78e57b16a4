//! One check of an endpoint, by a socket or a command.

use super::{
    Patient,
    answer::{Answer, Outcome},
    command::Command,
    probe::Running,
};
use crate::{Controller, controller::kernel_error};
use rustix::event::{PollFd, PollFlags};
use std::{
    net::SocketAddr,
    time::{Instant, SystemTime},
};
use vw_kernel::{SocketKind, SocketPlace};
use vw_model::{EndpointId, Probe};

/// A check that goes on.
pub(super) struct Check {
    pub(super) start: SystemTime,
    pub(super) by: Asking,
}

pub(super) enum Asking {
    Socket(Running),
    Command(Command),
    /// There is nobody any more who could be asked.
    Failed(Answer),
}

impl Check {
    /// Begins to ask.
    ///
    /// # Errors
    /// Why this host cannot, which says nothing of the endpoint.
    pub(super) fn begin(
        controller: &Controller,
        id: EndpointId,
        patient: &Patient,
    ) -> Result<Self, String> {
        let spec = &patient.spec;
        let start = SystemTime::now();
        let by = match &spec.probe {
            Probe::Exec { command } => {
                let who = (patient.sandbox, id);
                let runtime = controller.runtime.clone();
                let begun = Command::begin(runtime, who, command.clone(), spec.timeout);
                Asking::Command(begun.map_err(|error| error.to_string())?)
            }
            Probe::Tcp { port } | Probe::Http { port, .. } => {
                let to = SocketAddr::new(patient.addr, *port);
                let place = SocketPlace::Sandbox(patient.sandbox);
                match controller.kernel.socket(place, SocketKind::TcpUnbound(to)) {
                    Ok(socket) => Asking::Socket(Running::begin(socket, to, spec, Instant::now())),
                    Err(gone) if gone.is_namespace_gone() => {
                        Asking::Failed(Answer::failed(kernel_error(gone).chain()))
                    }
                    Err(error) => return Err(kernel_error(error).chain()),
                }
            }
        };
        Ok(Self { start, by })
    }

    pub(super) fn poll(&self) -> Option<PollFd<'_>> {
        match &self.by {
            Asking::Socket(socket) => Some(socket.poll()),
            Asking::Command(command) => Some(PollFd::new(command.told(), PollFlags::IN)),
            Asking::Failed(_) => None,
        }
    }

    /// When to look although nothing can be read or written.
    pub(super) fn deadline(&self) -> Instant {
        match &self.by {
            Asking::Socket(socket) => socket.deadline(),
            Asking::Command(command) => command.deadline(),
            Asking::Failed(_) => Instant::now(),
        }
    }

    /// How it ended, once it has.
    pub(super) fn outcome(&mut self, probe: &Probe, now: Instant) -> Option<Outcome> {
        match &mut self.by {
            Asking::Socket(socket) => socket.go_on(probe, now).map(Ok),
            Asking::Command(command) => command.outcome(now),
            Asking::Failed(answer) => Some(Ok(answer.clone())),
        }
    }
}
