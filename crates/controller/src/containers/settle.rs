//! How containers stand at the daemon's start: taken up, taken down, finished or started.

use super::end::End;
use crate::{
    Controller,
    cluster::missing_of,
    records::Mode,
    registry::{Running, Sandbox, SandboxState, lock},
};
use std::{sync::Arc, time::SystemTime};
use vw_model::RestartPolicy;
use vw_runtime::State;

/// The exit status of a container whose end nobody saw.
const LOST: i32 = 255;

impl Controller {
    /// Finds out at the daemon's start how a container stands, and starts it if it should run.
    pub(crate) fn settle_container(&self, sandbox: &Arc<Sandbox>) {
        let _ops = lock(&sandbox.ops);
        if self.should_go(sandbox) {
            return self.delete_left(sandbox);
        }
        let live = sandbox.state().live;
        let state = self.runtime.state(sandbox.id).unwrap_or_else(|error| {
            self.warn(format!("container {}: {error}", sandbox.id.short()));
            State::Absent
        });
        let ran = live || self.ran_in_shared_namespace(sandbox);
        match state {
            State::Running { pid } if ran => {
                sandbox.state().running = Some(Running {
                    pid: pid.unsigned_abs(),
                    started: true,
                });
                if let Err(error) = self.serve_from_now(sandbox) {
                    self.warn(format!(
                        "container {} serves in no service: {}",
                        sandbox.id.short(),
                        error.chain()
                    ));
                }
                self.finish_start(sandbox);
            }
            State::Exited { code, at, oom } => self.end_container(sandbox, End { code, at, oom }),
            // It ran, and nothing of it is left to tell how it ended.
            State::Absent if live && sandbox.state().has_started() => {
                self.end_container(
                    sandbox,
                    End {
                        code: 128,
                        at: SystemTime::now(),
                        oom: false,
                    },
                );
            }
            // A start that was cut off, or a sandbox whose container never came.
            State::Absent | State::Created | State::Running { .. } => {
                if live || !matches!(state, State::Absent) {
                    self.bring_down(sandbox);
                }
                self.note_lost_end(sandbox);
                if sandbox.state().is_auto_removed() {
                    return self.delete_left(sandbox);
                }
                self.start_wanted(sandbox);
            }
        }
    }

    /// Records the end of a container that a reboot ended, with Docker's status for that.
    fn note_lost_end(&self, sandbox: &Sandbox) {
        if !sandbox.state().has_started() {
            return;
        }
        let noted = self.change_container(sandbox, |record| {
            record.exit_code = LOST;
            record.finished = Some(SystemTime::now());
        });
        if let Err(error) = noted {
            tracing::error!("{}", error.chain());
        }
    }

    /// Whether a container goes at the daemon's start: its removal was begun, or its creation was
    /// cut off before it had a root file system.
    fn should_go(&self, sandbox: &Sandbox) -> bool {
        let state = sandbox.state();
        let Some(record) = &state.container else {
            return false;
        };
        let half_made = || matches!(self.runtime.image_of(sandbox.id), Ok(None));
        record.removing || record.started.is_none() && half_made()
    }

    fn delete_left(&self, sandbox: &Arc<Sandbox>) {
        if let Err(error) = self.delete_container(sandbox) {
            self.warn(format!(
                "container {}: {}",
                sandbox.id.short(),
                error.chain()
            ));
        }
    }

    /// Records what the daemon did not come to record of a container that runs, and puts it on
    /// the networks that its configuration names.
    fn finish_start(&self, sandbox: &Arc<Sandbox>) {
        if !sandbox.state().has_started() {
            let noted = self.change_container(sandbox, |record| {
                record.started = Some(SystemTime::now());
                record.finished = None;
            });
            if let Err(error) = noted {
                tracing::error!("{}", error.chain());
            }
        }
        for membership in missing_of(sandbox) {
            let network = self.network(&membership.network.to_string());
            let joined =
                network.and_then(|network| self.attach(sandbox, &network, membership.settings));
            if let Err(error) = joined {
                self.warn(format!(
                    "container {} is not on network {}: {}",
                    sandbox.id.short(),
                    membership.name,
                    error.chain()
                ));
            }
        }
    }

    /// Containers without a namespace of their own have no sandbox record to tell that they ran.
    fn ran_in_shared_namespace(&self, sandbox: &Sandbox) -> bool {
        let state = sandbox.state();
        state
            .container
            .as_ref()
            .is_some_and(|record| matches!(record.mode, Mode::Host | Mode::Of(_)))
    }

    /// Starts a container that should run: after a reboot, or when its start was cut off.
    fn start_wanted(&self, sandbox: &Arc<Sandbox>) {
        let wanted = {
            let state = sandbox.state();
            let record = state.container.as_ref();
            record.is_some_and(|r| {
                r.wanted && r.container.restart != RestartPolicy::No
                    || r.container.restart == RestartPolicy::Always && r.started.is_some()
            })
        };
        if wanted {
            sandbox.state().restarting = true;
            self.restart_later(sandbox);
        }
    }
}

impl SandboxState {
    /// Whether its container was started, and no end of that is recorded.
    fn has_started(&self) -> bool {
        let record = self.container.as_ref();
        record.is_some_and(|record| record.started.is_some() && record.finished.is_none())
    }

    /// Whether its container goes when it does not run.
    pub(super) fn is_auto_removed(&self) -> bool {
        let record = self.container.as_ref();
        record.is_some_and(|record| record.container.auto_remove)
    }
}
