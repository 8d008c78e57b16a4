//! `stop`, `kill`, `restart`, `wait`.

use super::not_running;
use crate::{
    Controller,
    command::{
        ContainerKill, ContainerRestart, ContainerStart, ContainerStop, ContainerWait,
        DEFAULT_STOP_TIMEOUT, WaitCondition,
    },
    event::EventType,
    registry::{Sandbox, SandboxState, lock},
    view::WaitView,
};
use std::{
    sync::{Arc, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};
use vw_model::{Error, Kind, Result};
use vw_runtime::Signal;

/// How long after SIGKILL a container may take to end: only a process in the kernel takes longer.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// How often one who waits looks whether anybody still wants to know.
const PROBE: Duration = Duration::from_secs(10);

impl Controller {
    pub(crate) fn container_stop(&self, request: ContainerStop) -> Result<()> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("stop")?;
        self.stop(&sandbox, request.timeout, request.signal.as_deref())?;
        self.tell_container("stop", &sandbox);
        Ok(())
    }

    fn stop(
        &self,
        sandbox: &Arc<Sandbox>,
        timeout: Option<i64>,
        signal: Option<&str>,
    ) -> Result<()> {
        let (own_signal, own_timeout) = {
            let state = sandbox.state();
            let record = state.container.as_ref();
            let spec = record.map(|r| (r.container.stop_signal.clone(), r.container.stop_timeout));
            spec.unwrap_or_default()
        };
        let signal = parse_signal(signal.filter(|s| !s.is_empty()).unwrap_or(
            if own_signal.is_empty() {
                "SIGTERM"
            } else {
                &own_signal
            },
        ))?;
        self.change_container(sandbox, |record| {
            record.wanted = false;
            record.stopped_by_user = true;
        })?;
        // A start or an end that is halfway holds `ops`: what comes of it is stopped.
        if sandbox.state().running.is_none() {
            drop(lock(&sandbox.ops));
        }
        let (running, restarting) = {
            let mut state = sandbox.state();
            let restarting = std::mem::take(&mut state.restarting);
            (state.running.is_some(), restarting)
        };
        sandbox.changed.notify_all();
        if !running {
            return if restarting {
                Ok(())
            } else {
                Err(Error::new(
                    Kind::NotModified,
                    "container-stopped",
                    "the container is already stopped",
                ))
            };
        }
        sandbox.state().stop_requested = true;
        let patience = match timeout.or(own_timeout.map(i64::from)) {
            None => Some(DEFAULT_STOP_TIMEOUT),
            // A negative one waits for ever, as Docker's -1.
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        };
        self.once_drained(sandbox, None, || {
            let exits = sandbox.state().exits;
            self.send(sandbox, signal)?;
            if sandbox.await_end(exits, patience) {
                return Ok(());
            }
            self.kill_and_wait(sandbox)
        })
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// `Internal` when the process does not end even so.
    pub(crate) fn kill_and_wait(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let exits = {
            let mut state = sandbox.state();
            state.stop_requested = true;
            state.restarting = false;
            if state.running.is_none() {
                return Ok(());
            }
            state.exits
        };
        self.send(sandbox, Signal::KILL)?;
        if sandbox.await_end(exits, Some(AFTER_KILL)) {
            return Ok(());
        }
        let message = format!(
            "tried to kill container {}, but did not receive an exit event",
            sandbox.id
        );
        Err(Error::internal("container-unkillable", message))
    }

    /// Sends a signal; a process that has just ended is no error.
    fn send(&self, sandbox: &Sandbox, signal: Signal) -> Result<()> {
        match self.runtime.signal(sandbox.id, signal) {
            Err(vw_runtime::Error::NotRunning(_)) => Ok(()),
            sent => sent.map_err(Error::from),
        }
    }

    pub(crate) fn container_kill(&self, request: ContainerKill) -> Result<()> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("kill")?;
        let signal = parse_signal(if request.signal.is_empty() {
            "SIGKILL"
        } else {
            &request.signal
        })?;
        let own = {
            let state = sandbox.state();
            if state.running.is_none() {
                let message = format!(
                    "cannot kill container: {}: container {} is not running",
                    request.container, sandbox.id
                );
                return Err(Error::conflict("container-not-running", message));
            }
            state
                .container
                .as_ref()
                .map(|r| r.container.stop_signal.clone())
                .unwrap_or_default()
        };
        let ends = signal == Signal::KILL
            || parse_signal(if own.is_empty() { "SIGTERM" } else { &own })
                .is_ok_and(|own| own == signal);
        if ends {
            sandbox.state().stop_requested = true;
            self.change_container(&sandbox, |record| {
                record.wanted = false;
                record.stopped_by_user = true;
            })?;
        }
        let exits = sandbox.state().exits;
        self.send(&sandbox, signal)?;
        if signal == Signal::KILL {
            sandbox.await_end(exits, Some(AFTER_KILL));
        }
        self.tell(
            EventType::Container,
            "kill",
            &sandbox.id.to_string(),
            [
                ("signal", signal.as_raw().to_string()),
                ("name", sandbox.state().spec.name.to_string()),
            ],
        );
        Ok(())
    }

    pub(crate) fn container_restart(&self, request: ContainerRestart) -> Result<()> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("restart")?;
        sandbox.state().returning += 1;
        let restarted = self.stop_and_start(&sandbox, &request);
        sandbox.state().returning -= 1;
        restarted?;
        self.tell_container("restart", &sandbox);
        Ok(())
    }

    fn stop_and_start(&self, sandbox: &Arc<Sandbox>, request: &ContainerRestart) -> Result<()> {
        sandbox.state().stays = true;
        let stopped = self.stop(sandbox, request.timeout, request.signal.as_deref());
        // The end is handled under it, and may not have come to the question of removal yet.
        drop(lock(&sandbox.ops));
        sandbox.state().stays = false;
        match stopped {
            Err(error) if error.kind != Kind::NotModified => return Err(error),
            _ => {}
        }
        self.container_start(ContainerStart {
            container: sandbox.id.to_string(),
        })
    }

    pub(crate) fn container_wait(
        &self,
        request: ContainerWait,
    ) -> Result<mpsc::Receiver<Option<WaitView>>> {
        let sandbox = self.sandbox(&request.container)?;
        let (sender, receiver) = mpsc::channel();
        let exits = sandbox.state().exits;
        let condition = request.condition;
        let wait = move || {
            loop {
                let view = sandbox.await_condition(condition, exits, PROBE);
                let over = view.is_some();
                if sender.send(view).is_err() || over {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("wait".to_owned())
            .stack_size(128 << 10)
            .spawn(wait)
            .map_err(|e| {
                Error::internal("thread-refused", "cannot wait for the container").because(e)
            })?;
        Ok(receiver)
    }
}

impl Sandbox {
    /// Waits until it has ended once more than `exits` times; false when time ran out.
    fn await_end(&self, exits: u64, patience: Option<Duration>) -> bool {
        let until = patience.map(|patience| Instant::now() + patience);
        let mut state = self.state();
        loop {
            if state.exits > exits || state.removed || state.running.is_none() && !state.live {
                return true;
            }
            state = match until {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }

    /// How it ended, once that is so; `None` when time ran out.
    fn await_condition(
        &self,
        condition: WaitCondition,
        exits: u64,
        patience: Duration,
    ) -> Option<WaitView> {
        let until = Instant::now() + patience;
        let mut state = self.state();
        loop {
            let holds = match condition {
                WaitCondition::NotRunning => !state.runs() && !state.restarting || state.removed,
                WaitCondition::NextExit => state.exits > exits || state.removed,
                WaitCondition::Removed => state.removed,
            };
            if holds {
                let code = state
                    .container
                    .as_ref()
                    .map_or(0, |record| record.exit_code);
                return Some(WaitView {
                    code: code.into(),
                    error: String::new(),
                });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl SandboxState {
    /// Whether its process runs; an adopted one's for as long as its namespace stands.
    fn runs(&self) -> bool {
        self.running.is_some() || self.container.is_none() && self.live
    }
}

/// A signal by name, with or without `SIG`, or by number.
///
/// # Errors
/// `InvalidArgument` with Docker's sentence.
fn parse_signal(text: &str) -> Result<Signal> {
    let invalid = || Error::invalid("signal-invalid", format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return Signal::from_named_raw(number).ok_or_else(invalid);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = SIGNALS.iter().find(|(known, _)| *known == name);
    known.map(|(_, signal)| *signal).ok_or_else(invalid)
}

const SIGNALS: [(&str, Signal); 17] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("WINCH", Signal::WINCH),
];

/// A container that must run for what was asked.
///
/// # Errors
/// `Conflict` with Docker's sentence.
pub(crate) fn must_run(sandbox: &Sandbox) -> Result<()> {
    if sandbox.state().running.is_some() {
        Ok(())
    } else {
        Err(not_running(sandbox.id))
    }
}
