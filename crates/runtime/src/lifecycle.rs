//! The steps of a container's life: create, start, signal, cleanup, delete.
//!
//! Owns their order, and that a crash between any two leaves what the next call finishes
//! or removes.

use crate::{
    conmon::{self, Launch, Role},
    container::Runtime,
    error::{Collected, Context, Error, Result},
    files, inroot,
    layout::RunDir,
    programs::Programs,
    spec::{self, WindowSize},
    state::State,
    wait::Until,
};
use rustix::{fd::AsFd, process::Signal};
use std::{
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Instant,
};
use vw_model::{ContainerSpec, SandboxId};

/// What a container's process is made from.
#[derive(Debug, Clone, Copy)]
pub struct CreateRequest<'a> {
    /// What to run, the image's part filled in ([`crate::ImageConfig::fill`]).
    pub spec: &'a ContainerSpec,
    /// The host name inside.
    pub hostname: &'a str,
    /// The NIS domain name inside; may be empty.
    pub domainname: &'a str,
    /// Its network namespace; the host's when absent.
    pub netns: Option<&'a Path>,
    /// Files of the host to show inside: (path of the host, path inside).
    pub files: &'a [(PathBuf, PathBuf)],
    /// The terminal's first size.
    pub console: Option<WindowSize>,
}

impl Runtime {
    /// Mounts the root file system and makes the container's process, which waits for
    /// [`Runtime::start`]; returns its id as the host counts. A failure leaves nothing.
    ///
    /// # Errors
    /// [`Error::CannotStart`] with Docker's exit status when the command does not exist or
    /// may not be run, or the OCI runtime takes longer than
    /// [`patience`](crate::Settings::patience); refusals of the specification; [`Error::AlreadyCreated`].
    pub fn create(&self, id: SandboxId, request: &CreateRequest<'_>) -> Result<i32> {
        if self.state(id)? != State::Absent {
            return Err(Error::AlreadyCreated(id.to_string()));
        }
        let programs = self.probe()?;
        self.create_process(id, request, programs).inspect_err(|_| {
            if let Err(error) = self.cleanup(id) {
                tracing::warn!(%id, %error, "a container that failed to start left something");
            }
        })
    }

    fn create_process(
        &self,
        id: SandboxId,
        request: &CreateRequest<'_>,
        programs: &Programs,
    ) -> Result<i32> {
        let run = self.layout.run(id);
        // What a crash left half-made would be taken for this one's.
        if run.path().exists() {
            self.cleanup(id)?;
        }
        files::make_dir(run.path())?;
        files::remove_file(&self.layout.exit_file(id))?;
        let host_view = self.rootfs(id).mount(&self.images)?;
        self.write_config(id, request, &run, host_view)?;
        let mut launched = {
            let _starting = self.starting.read().unwrap_or_else(PoisonError::into_inner);
            conmon::launch(&Launch {
                programs,
                id,
                runtime_root: &self.layout.runtime_root(),
                directory: &run,
                tty: request.spec.tty,
                stdin: request.spec.open_stdin,
                keep_stdin: request.spec.open_stdin && !request.spec.stdin_once,
                role: Role::Container {
                    log: &self.layout.log(id),
                    exits: &self.layout.exits(),
                },
                doors: &self.cgroups.monitor_doors()?,
            })?
        };
        let patience = self.settings.patience;
        let answer = match launched.answer(&Until::within(patience)) {
            Err(Error::Late(_)) => {
                launched.kill();
                let said = format!(
                    "the OCI runtime did not make it within {} s: one of its hooks or mounts may hang",
                    patience.as_secs()
                );
                return Err(refused("create", &run, Some(said)));
            }
            answer => answer?,
        };
        match answer {
            Some(answer) if answer.data > 0 => {
                if let Some(registry) = self.registry.get() {
                    registry.register(id)?;
                }
                Ok(answer.data)
            }
            other => Err(refused("create", &run, other.map(|answer| answer.message))),
        }
    }

    fn write_config(
        &self,
        id: SandboxId,
        request: &CreateRequest<'_>,
        run: &RunDir,
        host_view: bool,
    ) -> Result<()> {
        let rootfs = run.rootfs();
        let root = inroot::open_root(&rootfs).context(|| format!("open {}", rootfs.display()))?;
        let inputs = spec::Inputs {
            spec: request.spec,
            hostname: request.hostname,
            domainname: request.domainname,
            netns: request.netns,
            files: request.files,
            console: request.console,
            rootfs: &rootfs,
            cgroups_path: self.cgroups.path(id),
            host_view,
            unified: self.cgroups.unified(),
        };
        let config = spec::config(&inputs, root.as_fd())?;
        files::replace(&run.config(), &files::to_json(&run.config(), &config)?)
    }

    /// Lets a created container's process run.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it is not there to be started, [`Error::CannotStart`].
    pub fn start(&self, id: SandboxId) -> Result<()> {
        let run = self.layout.run(id);
        if run.started().exists() {
            return match self.state(id)? {
                State::Running { .. } => Ok(()),
                _ => Err(Error::NotRunning(id.to_string())),
            };
        }
        if self.cgroups.first_process(&run, id).is_none() {
            return Err(Error::NotRunning(id.to_string()));
        }
        // A life that was killed in the middle of creating left it half-made when this one began
        // to watch, and it was finished since.
        if let Some(registry) = self.registry.get() {
            registry.register_unknown(id)?;
        }
        if let Err(error) = self.oci(&run, &["start", &id.to_string()]) {
            // It may have been started before a crash that came before the note.
            if !matches!(self.state(id)?, State::Running { .. }) {
                return Err(refused("start", &run, Some(error.to_string())));
            }
        }
        files::replace(&run.started(), b"")
    }

    /// Sends a signal to the container's first process.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn signal(&self, id: SandboxId, signal: Signal) -> Result<()> {
        let run = self.layout.run(id);
        let not_running = || Error::NotRunning(id.to_string());
        let (_, pidfd) = self
            .cgroups
            .first_process(&run, id)
            .ok_or_else(not_running)?;
        match rustix::process::pidfd_send_signal(&pidfd, signal) {
            Err(rustix::io::Errno::SRCH) => Err(not_running()),
            other => other.context(|| format!("signal container {id}")),
        }
    }

    /// Ends what runs and removes all of a container but its writable layer, its log and the
    /// caller's files. Idempotent; goes on past failures.
    ///
    /// # Errors
    /// What could not be removed; calling again tries again.
    pub fn cleanup(&self, id: SandboxId) -> Result<()> {
        if let Some(registry) = self.registry.get() {
            registry.forget(id);
        }
        let run = self.layout.run(id);
        let mut collected = Collected::default();
        self.end_processes(&run, id);
        let record = self.layout.runtime_root().join(id.to_string());
        if record.exists() {
            collected.note(
                self.oci(&run, &["delete", "--force", &id.to_string()])
                    .map(drop),
            );
        }
        // The runtime removes its group; of a half-made container it may know nothing.
        collected.note(self.cgroups.remove(id));
        if record.exists() {
            collected.note(files::remove_tree(&record));
        }
        if run.path().exists() {
            let unmounted = self.rootfs(id).unmount();
            let is_unmounted = unmounted.is_ok();
            collected.note(unmounted);
            // Never delete through a mount.
            if is_unmounted {
                collected.note(files::remove_tree(run.path()));
            }
        }
        collected.note(files::remove_file(&self.layout.exit_file(id)));
        collected.finish()
    }

    /// Kills the container and waits until its monitors have gone.
    fn end_processes(&self, run: &RunDir, id: SandboxId) {
        let patience = crate::wait::PATIENCE;
        let mut directories = vec![run.clone()];
        let execs = std::fs::read_dir(run.execs())
            .into_iter()
            .flatten()
            .flatten();
        directories.extend(execs.map(|entry| RunDir(entry.path())));
        let monitors: Vec<_> = directories.iter().filter_map(conmon::find).collect();
        if let Some((_, pidfd)) = self.cgroups.first_process(run, id) {
            // Without its first process, a PID namespace ends. Errors: it has gone.
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            crate::wait::readable(&pidfd, patience);
        } else {
            for monitor in &monitors {
                let _ = rustix::process::pidfd_send_signal(monitor, Signal::KILL);
            }
            if !self.layout.exit_file(id).exists() {
                self.end_creation(run);
            }
        }
        for monitor in &monitors {
            if !crate::wait::readable(monitor, patience) {
                let _ = rustix::process::pidfd_send_signal(monitor, Signal::KILL);
            }
        }
    }

    /// Ends who is in the middle of creating: a monitor would bring the container to life after this,
    /// and the OCI runtime that it ran would make its control groups anew.
    fn end_creation(&self, run: &RunDir) {
        let deadline = Instant::now() + crate::wait::PATIENCE;
        loop {
            let found = conmon::find_all(run, &self.cgroups);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_empty() || left.is_zero() {
                return;
            }
            for process in &found {
                let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
            }
            // One that was killed may have begun another meanwhile.
            for process in &found {
                crate::wait::readable(process, left);
            }
        }
    }

    /// Removes a container altogether. Idempotent; goes on past failures.
    ///
    /// # Errors
    /// What could not be removed; calling again tries again.
    pub fn delete(&self, id: SandboxId) -> Result<()> {
        let mut collected = Collected::default();
        collected.note(self.cleanup(id));
        collected.note(files::remove_tree(&self.layout.container_data(id)));
        collected.finish()
    }
}

/// The runtime's refusal in Docker's words, with the exit status that Docker gives it
/// (moby `daemon/start.go`, `translateContainerdStartErr`).
pub(crate) fn refused(action: &str, run: &RunDir, said: Option<String>) -> Error {
    let said = conmon::runtime_error(&run.runtime_log())
        .or(said.filter(|said| !said.trim().is_empty()))
        .unwrap_or_else(|| {
            let log = files::read(&run.monitor_log()).ok().flatten();
            format!(
                "conmon ended without an answer {}",
                log.unwrap_or_default().trim()
            )
        });
    let said = said.trim();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let exit_code = if has(&["executable file not found", "no such file or directory"]) {
        127
    } else if has(&["permission denied", "is a directory", "not a directory"]) {
        126
    } else {
        128
    };
    let prefix = match action {
        "exec" => "OCI runtime exec failed",
        "start" => "failed to start task: OCI runtime start failed",
        _ => {
            "failed to create task for container: failed to create shim task: OCI runtime create failed"
        }
    };
    Error::CannotStart {
        exit_code,
        message: format!("{prefix}: {said}: unknown"),
    }
}
