//! What happens when a container ends, and whether it starts again.

use crate::{
    Controller,
    registry::{Sandbox, SandboxState, lock},
};
use std::{
    sync::{Arc, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};
use vw_model::RestartPolicy;
use vw_runtime::{ExitWatcher, State};

/// The first pause before a restart; it doubles with each, as Docker's.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A container that ran this long starts over with the first pause.
const STABLE: Duration = Duration::from_secs(10);

/// How a container ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) code: i32,
    pub(crate) at: SystemTime,
    pub(crate) oom: bool,
}

impl Controller {
    /// Handles the ends of containers as they come, on a thread of its own.
    pub(crate) fn follow_ends(&self, watcher: ExitWatcher) -> std::io::Result<()> {
        *lock(&self.ends) = Some(watcher.end());
        let controller = self.downgrade();
        let follow = move || {
            while let Ok(event) = watcher.events().recv() {
                let Some(controller) = controller.upgrade() else {
                    return;
                };
                let Some(sandbox) = controller.registry().sandbox_by_id(event.id) else {
                    continue;
                };
                let end = End {
                    code: event.code,
                    at: event.at,
                    oom: event.oom,
                };
                let handle = move || controller.ended(&sandbox, end);
                if let Err(error) = thread::Builder::new()
                    .name("ended".to_owned())
                    .spawn(handle)
                {
                    tracing::error!(
                        "cannot handle the end of container {}: {error}",
                        event.id.short()
                    );
                }
            }
        };
        thread::Builder::new()
            .name("ends".to_owned())
            .spawn(follow)
            .map(|_| ())
    }

    fn ended(&self, sandbox: &Arc<Sandbox>, end: End) {
        let _ops = lock(&sandbox.ops);
        if sandbox.state().running.is_none() {
            return;
        }
        // It waited for `ops`, and may tell of a process before the one that runs now.
        if let Ok(State::Running { .. }) = self.runtime.state(sandbox.id) {
            return;
        }
        self.end_container(sandbox, end);
    }

    /// Takes a container that ended down, and starts it again or removes it as it was asked;
    /// the caller holds `ops`.
    pub(crate) fn end_container(&self, sandbox: &Arc<Sandbox>, end: End) {
        // Decided and recorded first: who finds that it does not run finds how it ended too.
        let likely = {
            let mut state = sandbox.state();
            state.restarting = !state.stop_requested && state.restarts_after(end.code);
            state.restarting
        };
        let noted = self.change_container(sandbox, |record| {
            record.exit_code = end.code;
            record.oom_killed = end.oom;
            record.finished = Some(end.at);
            record.wanted &= likely || keeps_wanted(record.container.restart);
        });
        if let Err(error) = noted {
            self.warn(format!(
                "container {}: {}",
                sandbox.id.short(),
                error.chain()
            ));
        }
        self.bring_down(sandbox);
        self.tell_end(sandbox, end.code);
        let again = {
            let mut state = sandbox.state();
            // A stop or a removal may have called it off meanwhile.
            state.restarting &= !state.stop_requested && state.restarts_after(end.code);
            state.exits += 1;
            state.restarting
        };
        let auto_remove = {
            let state = sandbox.state();
            !state.stays && state.is_auto_removed()
        };
        if again {
            self.restart_later(sandbox);
        } else if auto_remove && let Err(error) = self.delete_container(sandbox) {
            self.warn(format!(
                "container {}: {}",
                sandbox.id.short(),
                error.chain()
            ));
        }
        sandbox.changed.notify_all();
    }

    /// Starts a container after its pause, unless it is stopped or removed meanwhile.
    pub(crate) fn restart_later(&self, sandbox: &Arc<Sandbox>) {
        let (controller, waiting) = (self.clone(), sandbox.clone());
        let run = move || {
            if pause(&waiting) {
                controller.restart_now(&waiting);
            }
        };
        if let Err(error) = thread::Builder::new().name("restart".to_owned()).spawn(run) {
            sandbox.state().restarting = false;
            self.warn(format!(
                "container {} cannot be restarted: {error}",
                sandbox.id.short()
            ));
        }
    }

    fn restart_now(&self, sandbox: &Arc<Sandbox>) {
        let _ops = lock(&sandbox.ops);
        {
            let state = sandbox.state();
            if !state.restarting || state.removed || state.running.is_some() {
                return;
            }
        }
        let counted = self.change_container(sandbox, |record| record.restart_count += 1);
        let launched = counted.and_then(|()| self.launch(sandbox));
        if let Err(error) = launched {
            self.warn(format!(
                "container {} did not restart: {}",
                sandbox.id.short(),
                error.chain()
            ));
            let again = {
                let mut state = sandbox.state();
                state.restarting = state.restarts_after(128);
                state.restarting
            };
            sandbox.changed.notify_all();
            if again {
                return self.restart_later(sandbox);
            }
            let given_up = self.change_container(sandbox, |record| {
                record.wanted &= keeps_wanted(record.container.restart);
            });
            if let Err(error) = given_up {
                self.warn(error.chain());
            }
        }
    }
}

impl SandboxState {
    /// Whether it is to run, also where it does not at the moment: it is being restarted, by request or by
    /// its policy, or that has the daemon's start start it.
    pub(crate) fn is_to_run(&self) -> bool {
        let record = self.container.as_ref();
        let wanted = record.is_some_and(|r| r.wanted && r.container.restart != RestartPolicy::No);
        wanted || self.restarting || self.returning > 0
    }

    /// Whether its policy has its container started again after this exit status.
    fn restarts_after(&self, code: i32) -> bool {
        let Some(record) = &self.container else {
            return false;
        };
        match record.container.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => record.wanted,
            RestartPolicy::OnFailure { max_retries } => {
                record.wanted
                    && code != 0
                    && (max_retries == 0 || record.restart_count < max_retries)
            }
        }
    }
}

/// Whether a container that ended by itself is still wanted: it is where a daemon's start would
/// start it again.
const fn keeps_wanted(policy: RestartPolicy) -> bool {
    matches!(policy, RestartPolicy::Always | RestartPolicy::UnlessStopped)
}

/// Waits for the restart's turn; false when it was called off.
fn pause(sandbox: &Sandbox) -> bool {
    let state = sandbox.state();
    let record = state.container.as_ref();
    let ran = record
        .and_then(|r| r.finished?.duration_since(r.started?).ok())
        .unwrap_or_default();
    let restarts = record.map_or(0, |r| r.restart_count);
    let length = if ran >= STABLE {
        FIRST_PAUSE
    } else {
        FIRST_PAUSE
            .saturating_mul(1 << restarts.min(10))
            .min(LONGEST_PAUSE)
    };
    let until = Instant::now() + length;
    let mut state = state;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if !state.restarting || state.removed {
            return false;
        }
        if left.is_zero() {
            return true;
        }
        let waited = sandbox.changed.wait_timeout(state, left);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}
