//! `start`: a namespace, its endpoints, then the process.

use super::{no_container, not_running};
use crate::{
    Controller,
    command::ContainerStart,
    event::EventType,
    records::{Membership, Mode},
    registry::{Running, Sandbox, lock},
};
use std::{path::PathBuf, sync::Arc, time::SystemTime};
use vw_model::{Error, Kind, Result};
use vw_runtime::CreateRequest;

impl Controller {
    pub(crate) fn container_start(&self, request: ContainerStart) -> Result<()> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("start")?;
        let _ops = lock(&sandbox.ops);
        sandbox.must_stand()?;
        {
            let state = sandbox.state();
            if state.running.is_some() {
                return Err(Error::new(
                    Kind::NotModified,
                    "container-running",
                    "the container is already running",
                ));
            }
        }
        let started = self.start_by_request(&sandbox);
        let auto_remove = sandbox
            .state()
            .container
            .as_ref()
            .is_some_and(|r| r.container.auto_remove);
        if started.is_err() && auto_remove {
            self.delete_container(&sandbox)?;
        }
        started
    }

    /// Starts a container because somebody asked; the caller holds `ops`.
    pub(crate) fn start_by_request(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        self.change_container(sandbox, |record| {
            record.wanted = true;
            record.stopped_by_user = false;
            record.restart_count = 0;
            record.error.clear();
        })?;
        crate::step::reached("start.recorded");
        self.launch(sandbox).inspect_err(|error| {
            sandbox.state().restarting = false;
            let kept = self.change_container(sandbox, |record| record.wanted = false);
            if let Err(left) = kept {
                self.warn(format!(
                    "a container that failed to start may be started again: {} ({})",
                    left.chain(),
                    error.message
                ));
            }
        })
    }

    /// Brings a container up; the caller holds `ops`. A failure leaves nothing running.
    pub(crate) fn launch(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        sandbox.state().stop_requested = false;
        let started = self.bring_up(sandbox);
        if let Err(error) = &started {
            self.bring_down(sandbox);
            let code = error
                .source
                .as_ref()
                .and_then(|s| s.downcast_ref::<vw_runtime::Error>())
                .map_or(128, vw_runtime::Error::exit_code);
            let noted = self.change_container(sandbox, |record| {
                record.error = error.chain();
                record.exit_code = code;
            });
            if let Err(left) = noted {
                tracing::error!("{}", left.chain());
            }
            sandbox.state().pending.clear();
        }
        started
    }

    fn bring_up(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let (mode, memberships) = {
            let state = sandbox.state();
            let record = state
                .container
                .as_ref()
                .ok_or_else(|| not_running(sandbox.id))?;
            (record.mode.clone(), state.memberships.clone())
        };
        let netns = self.join_networks(sandbox, &mode, memberships)?;
        crate::step::reached("start.networked");
        let files = self.write_files(sandbox, &mode)?;
        let (container, spec, console) = {
            let state = sandbox.state();
            let record = state.container.as_ref();
            let container = record.map(|record| record.container.clone());
            let container = container.ok_or_else(|| not_running(sandbox.id))?;
            (container, state.spec.clone(), state.console)
        };
        let hostname = if mode == Mode::Host {
            self.host_name(&spec.hostname, sandbox)
        } else {
            spec.hostname
        };
        let request = CreateRequest {
            spec: &container,
            hostname: &hostname,
            domainname: &spec.domainname,
            netns: netns.as_deref(),
            files: &files,
            console,
        };
        let pid = self
            .runtime
            .create(sandbox.id, &request)
            .map_err(Error::from)?;
        crate::step::reached("start.created");
        {
            let mut state = sandbox.state();
            state.running = Some(Running {
                pid: pid.unsigned_abs(),
                started: false,
            });
            state.restarting = false;
        }
        self.connect_pending(sandbox)?;
        let started = self.start_process(sandbox);
        started.inspect_err(|_| sandbox.state().running = None)?;
        crate::step::reached("start.started");
        self.change_container(sandbox, |record| {
            record.started = Some(SystemTime::now());
            record.finished = None;
            record.exit_code = 0;
            record.oom_killed = false;
            record.error.clear();
        })?;
        sandbox.changed.notify_all();
        self.tell_container("start", sandbox);
        self.warn_without_service(sandbox);
        Ok(())
    }

    fn start_process(&self, sandbox: &Sandbox) -> Result<()> {
        self.runtime.start(sandbox.id).map_err(Error::from)?;
        if let Some(running) = &mut sandbox.state().running {
            running.started = true;
        }
        crate::step::reached("start.process");
        self.serve_from_now(sandbox)
    }

    /// The namespace that the process gets, with its endpoints in it; `None` is the host's.
    fn join_networks(
        &self,
        sandbox: &Arc<Sandbox>,
        mode: &Mode,
        memberships: Vec<Membership>,
    ) -> Result<Option<PathBuf>> {
        match mode {
            Mode::Host => Ok(None),
            Mode::Of(other) => {
                let gone = || no_container(other);
                let other = self.registry().sandbox_by_id(*other).ok_or_else(gone)?;
                if !other.state().live {
                    let message = format!(
                        "cannot join network of a non running container: {}",
                        other.id
                    );
                    return Err(Error::conflict("container-not-running", message));
                }
                Ok(Some(self.kernel.netns_path(other.id)))
            }
            Mode::Own | Mode::None => {
                self.pin(sandbox)?;
                for membership in memberships {
                    let missing = || {
                        Error::not_found(
                            "network-not-found",
                            format!(
                                "network {} ({}) not found",
                                membership.name,
                                membership.network.short()
                            ),
                        )
                    };
                    let network = self
                        .registry()
                        .network_by_id(membership.network)
                        .ok_or_else(missing)?;
                    self.attach(sandbox, &network, membership.settings)
                        .map_err(|error| endpoint_error(error, sandbox))?;
                }
                Ok(Some(self.kernel.netns_path(sandbox.id)))
            }
        }
    }

    fn host_name(&self, asked: &str, sandbox: &Sandbox) -> String {
        if asked != sandbox.id.short() {
            return asked.to_owned();
        }
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map_or_else(|_| asked.to_owned(), |name| name.trim().to_owned())
    }

    /// Ends what runs of a container and takes its sandbox down; goes on after errors.
    pub(crate) fn bring_down(&self, sandbox: &Arc<Sandbox>) {
        sandbox.state().running = None;
        if let Err(error) = self.runtime.cleanup(sandbox.id) {
            self.warn(format!("container {}: {error}", sandbox.id.short()));
        }
        if let Err(error) = self.dissolve(sandbox) {
            self.warn(format!(
                "container {}: {}; the next start finishes it",
                sandbox.id.short(),
                error.chain()
            ));
        }
    }

    /// Changes a container's record, in memory and in the store.
    ///
    /// # Errors
    /// When the store cannot be written; the record is as before then.
    pub(crate) fn change_container(
        &self,
        sandbox: &Sandbox,
        change: impl FnOnce(&mut crate::records::ContainerRecord),
    ) -> Result<()> {
        let former = {
            let mut state = sandbox.state();
            let Some(record) = state.container.as_mut() else {
                return Ok(());
            };
            let former = record.clone();
            change(record);
            former
        };
        self.keep_container(sandbox)
            .inspect_err(|_| sandbox.state().container = Some(former))
    }

    /// Says what a container did, with its exit status.
    pub(crate) fn tell_end(&self, sandbox: &Sandbox, code: i32) {
        let state = sandbox.state();
        let image = state
            .container
            .as_ref()
            .map(|c| c.container.image.clone())
            .unwrap_or_default();
        let name = state.spec.name.to_string();
        drop(state);
        self.tell(
            EventType::Container,
            "die",
            &sandbox.id.to_string(),
            [
                ("exitCode", code.to_string()),
                ("image", image),
                ("name", name),
            ],
        );
    }
}

/// Docker's words around a port that cannot be had.
fn endpoint_error(error: Error, sandbox: &Sandbox) -> Error {
    if !matches!(
        error.reason,
        "port-allocated" | "ports-exhausted" | "port-host-ip-foreign"
    ) {
        return error;
    }
    let name = sandbox.state().spec.name.clone();
    let message = format!(
        "failed to set up container networking: driver failed programming external connectivity on endpoint {name}: {}",
        error.message
    );
    Error { message, ..error }
}
