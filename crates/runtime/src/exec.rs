//! Further processes in a running container.
//!
//! Owns a session from its start to its exit status; each has a conmon of its own, which
//! ends with it. A session does not outlive the container; after a restart of the daemon
//! its process goes on, and goes with the container.

use crate::{
    conmon::{self, AttachStream, Launch, Launched, Role},
    container::Runtime,
    error::{Context, Error, Result},
    files, inroot,
    layout::RunDir,
    lifecycle::refused,
    spec::{self, WindowSize, oci::Process},
    state::State,
    wait::Until,
};
use rustix::fd::AsFd;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use vw_model::{Id, SandboxId};

/// What to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// Program and arguments.
    pub cmd: Vec<String>,
    /// `NAME=VALUE`, over the container's own.
    pub env: Vec<String>,
    /// `name|uid[:group|gid]`; empty for the container's.
    pub user: String,
    /// Absolute; empty for the container's.
    pub working_dir: String,
    /// With a terminal.
    pub tty: bool,
    /// With standard input.
    pub stdin: bool,
    /// With every capability.
    pub privileged: bool,
    /// Killed with its process group after this, rounded up to whole seconds, by its conmon: so
    /// also where we are gone.
    pub limit: Option<Duration>,
}

/// A process that was started in a container.
pub struct ExecSession {
    /// As the host counts.
    pub pid: i32,
    attach: Option<AttachStream>,
    directory: RunDir,
    who: String,
    launched: Mutex<Launched>,
}

#[derive(serde::Deserialize)]
struct Bundle {
    process: Process,
}

impl Runtime {
    /// Starts a process in a running container; with `attach`, connected before it begins, so
    /// that none of its output is lost.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; [`Error::CannotStart`] with Docker's exit status (126, 127).
    pub fn exec(
        &self,
        id: SandboxId,
        exec: Id,
        request: &ExecSpec,
        attach: bool,
        console: Option<WindowSize>,
    ) -> Result<ExecSession> {
        self.exec_until(id, exec, request, (attach, console), &Until::default())
    }

    /// As [`Runtime::exec`], given up when it was waited long enough for the OCI runtime.
    ///
    /// # Errors
    /// [`Error::Late`] as well; then nothing runs.
    pub(crate) fn exec_until(
        &self,
        id: SandboxId,
        exec: Id,
        request: &ExecSpec,
        terms: (bool, Option<WindowSize>),
        until: &Until<'_>,
    ) -> Result<ExecSession> {
        if !matches!(self.state(id)?, State::Running { .. }) {
            return Err(Error::NotRunning(id.to_string()));
        }
        let run = self.layout.run(id);
        let directory = RunDir(run.execs().join(exec.to_string()));
        files::make_dir(directory.path())?;
        let started = self.exec_in(id, &run, directory.clone(), request, terms, until);
        started.inspect_err(|_| {
            if let Err(error) = files::remove_tree(directory.path()) {
                tracing::warn!(%id, %error, "a failed exec left its directory until the container goes");
            }
        })
    }

    fn exec_in(
        &self,
        id: SandboxId,
        run: &RunDir,
        directory: RunDir,
        request: &ExecSpec,
        (attach, console): (bool, Option<WindowSize>),
        until: &Until<'_>,
    ) -> Result<ExecSession> {
        let process = directory.path().join("process.json");
        let rootfs = run.rootfs();
        let root = inroot::open_root(&rootfs).context(|| format!("open {}", rootfs.display()))?;
        let bundle: Bundle =
            files::read_json(&run.config())?.ok_or_else(|| Error::NotRunning(id.to_string()))?;
        let described = spec::exec_process(request, console, bundle.process, root.as_fd())?;
        files::replace(&process, &files::to_json(&process, &described)?)?;
        let mut launched = conmon::launch(&Launch {
            programs: self.probe()?,
            id,
            runtime_root: &self.layout.runtime_root(),
            directory: &directory,
            tty: request.tty,
            stdin: request.stdin,
            keep_stdin: false,
            role: Role::Exec {
                process: &process,
                attach,
                limit: request.limit,
            },
            doors: &self.cgroups.monitor_doors()?,
        })?;
        let who = format!("exec in container {id}");
        let stream = || {
            launched.await_attach(until)?;
            AttachStream::connect(&directory, &who)
        };
        let begun = attach.then(stream).transpose().and_then(|stream| {
            launched.go()?;
            Ok((stream, launched.answer(until)?))
        });
        let (stream, answer) = begun.inspect_err(|_| launched.kill())?;
        match answer {
            Some(answer) if answer.data > 0 => Ok(ExecSession {
                pid: answer.data,
                attach: stream,
                directory,
                who,
                launched: Mutex::new(launched),
            }),
            other => {
                let said = other.map(|answer| answer.message);
                Err(refused("exec", &directory, said))
            }
        }
    }
}

impl ExecSession {
    /// The connection to its input and output, when it was asked for.
    #[must_use]
    pub fn attach(&self) -> Option<&AttachStream> {
        self.attach.as_ref()
    }

    /// Tells its terminal its size.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn resize(&self, size: WindowSize) -> Result<()> {
        conmon::resize(&self.directory, &self.who, size)
    }

    /// Waits for its end and returns its exit status; then its files are gone. To be called
    /// once. When its conmon was killed, the status is 137.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn wait(&self) -> Result<i32> {
        self.wait_until(&Until::default())
    }

    /// As [`ExecSession::wait`]; what has not ended when it was waited long enough is killed.
    ///
    /// # Errors
    /// [`Error::Late`] as well.
    pub(crate) fn wait_until(&self, until: &Until<'_>) -> Result<i32> {
        let mut launched = self.launched.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = launched.answer(until).inspect_err(|_| launched.kill());
        files::remove_tree(self.directory.path())?;
        Ok(answer?.map_or(crate::watch::KILLED, |answer| answer.data))
    }
}

impl std::fmt::Debug for ExecSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecSession")
            .field("pid", &self.pid)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
