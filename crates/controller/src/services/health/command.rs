//! A check by a command in the endpoint's own container, on a thread of its own: the OCI runtime is
//! waited for.

use super::answer::{Answer, Outcome};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};
use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use vw_model::{EndpointId, SandboxId};
use vw_runtime::{Checked, Runtime};

use crate::registry::lock;

/// Docker's status of what could not run, or not end.
const NO_STATUS: i32 = -1;

/// How long a command may take to go when its time is over, before that is said without it.
const GRACE: Duration = Duration::from_secs(10);

/// A command that runs.
pub(super) struct Command {
    end: Arc<End>,
    timeout: Duration,
    deadline: Instant,
}

struct End {
    /// Readable once there is an answer.
    told: OwnedFd,
    /// Readable once nobody waits for one.
    left: OwnedFd,
    outcome: Mutex<Option<Outcome>>,
}

impl Command {
    /// Begins to run it; what an earlier one of this endpoint left ends first.
    ///
    /// # Errors
    /// Without a thread or a descriptor.
    pub(super) fn begin(
        runtime: Arc<Runtime>,
        (sandbox, endpoint): (SandboxId, EndpointId),
        command: Vec<String>,
        timeout: Duration,
    ) -> io::Result<Self> {
        let signal = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let end = Arc::new(End {
            told: signal()?,
            left: signal()?,
            outcome: Mutex::default(),
        });
        let ended = end.clone();
        let run = move || {
            let checked = runtime.check(sandbox, endpoint.0, &command, timeout, &ended.left);
            *lock(&ended.outcome) = Some(judge(checked, timeout));
            raise(&ended.told);
        };
        thread::Builder::new().name("check".to_owned()).spawn(run)?;
        Ok(Self {
            end,
            timeout,
            deadline: Instant::now() + timeout + GRACE,
        })
    }

    pub(super) fn told(&self) -> &OwnedFd {
        &self.end.told
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What it answered, or that it did not: some of what it needs has no time limit.
    pub(super) fn outcome(&self, now: Instant) -> Option<Outcome> {
        let late = || (now >= self.deadline).then(|| Ok(Answer::late(self.timeout, &[])));
        lock(&self.end.outcome).clone().or_else(late)
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.end.outcome).is_some()
    }

    /// Nobody waits for it any more: it ends.
    pub(super) fn leave(&self) {
        raise(&self.end.left);
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        self.leave();
    }
}

fn raise(signal: &OwnedFd) {
    // A counter that is full can be read as well.
    let _ = rustix::io::write(signal, &1_u64.to_ne_bytes());
}

fn judge(checked: vw_runtime::Result<Checked>, timeout: Duration) -> Outcome {
    match checked {
        Ok(Checked {
            status: Some(code),
            output,
        }) => Ok(Answer {
            code,
            output: String::from_utf8_lossy(&output).into_owned(),
        }),
        Ok(Checked {
            status: None,
            output,
        }) => Ok(Answer::late(timeout, &output)),
        Err(vw_runtime::Error::Io { what, source }) if is_short(&source) => {
            Err(format!("{what}: {source}"))
        }
        Err(error) => Ok(Answer {
            code: NO_STATUS,
            output: error.to_string(),
        }),
    }
}

/// Whether this host lacks descriptors, processes, memory or room on its disk, whatever the container
/// would say.
fn is_short(error: &io::Error) -> bool {
    let short = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::AGAIN,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::NOSPC,
        Errno::DQUOT,
    ];
    short
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

#[cfg(test)]
mod tests;
