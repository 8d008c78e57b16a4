//! Further processes in running containers.

use crate::{
    Controller,
    command::{Attached, Chunk, ExecCreate, ExecInspect, ExecRequest, ExecResize, ExecStart},
    containers::must_run,
    event::EventType,
    registry::lock,
    streams,
    view::ExecView,
};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};
use vw_model::{Error, Id, Result, SandboxId};
use vw_runtime::{ExecSession, ExecSpec, WindowSize};

/// Ended execs that are kept to be inspected.
const KEPT: usize = 256;
/// Execs that were made and never started, of which the oldest goes.
const UNSTARTED: usize = 1024;

/// One exec from its creation until it is forgotten.
pub(crate) struct Exec {
    container: SandboxId,
    request: ExecRequest,
    session: Option<Arc<ExecSession>>,
    started: bool,
    exit_code: Option<i32>,
    /// Counts up with each that is made.
    serial: u64,
}

impl Exec {
    pub(crate) fn runs_in(&self, container: SandboxId) -> bool {
        self.container == container && self.session.is_some() && self.exit_code.is_none()
    }
}

impl Controller {
    pub(crate) fn exec_create(&self, request: ExecCreate) -> Result<String> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("run a command in")?;
        must_run(&sandbox)?;
        if request.exec.cmd.is_empty() {
            return Err(Error::invalid("no-command", "No exec command specified"));
        }
        let id = Id::from_bytes((self.random)()).to_string();
        let mut execs = lock(&self.execs);
        let exec = Exec {
            container: sandbox.id,
            request: request.exec,
            session: None,
            started: false,
            exit_code: None,
            serial: execs
                .values()
                .map(|exec| exec.serial + 1)
                .max()
                .unwrap_or(0),
        };
        forget_oldest(&mut execs, KEPT, |exec| exec.exit_code.is_some());
        forget_oldest(&mut execs, UNSTARTED, |exec| !exec.started);
        execs.insert(id.clone(), exec);
        drop(execs);
        let what = lock(&self.execs)
            .get(&id)
            .map(|exec| exec.request.cmd.join(" "))
            .unwrap_or_default();
        self.tell(
            EventType::Container,
            &format!("exec_create: {what}"),
            &sandbox.id.to_string(),
            [
                ("execID", id.clone()),
                ("name", sandbox.state().spec.name.to_string()),
            ],
        );
        Ok(id)
    }

    pub(crate) fn exec_start(&self, request: ExecStart) -> Result<Option<Attached>> {
        let (container, asked) = {
            let mut execs = lock(&self.execs);
            let exec = execs
                .get_mut(&request.exec)
                .ok_or_else(|| no_exec(&request.exec))?;
            if std::mem::replace(&mut exec.started, true) {
                let message = format!("Error: Exec command {} is already running", request.exec);
                return Err(Error::conflict("exec-started", message));
            }
            (exec.container, exec.request.clone())
        };
        let attached = self.run_exec(&request, container, &asked);
        if attached.is_err() {
            lock(&self.execs)
                .entry(request.exec.clone())
                .and_modify(|exec| {
                    exec.exit_code.get_or_insert(126);
                });
        }
        attached
    }

    fn run_exec(
        &self,
        request: &ExecStart,
        container: SandboxId,
        asked: &ExecRequest,
    ) -> Result<Option<Attached>> {
        let sandbox = self.sandbox(&container.to_string())?;
        must_run(&sandbox)?;
        let spec = ExecSpec {
            cmd: asked.cmd.clone(),
            env: asked.env.clone(),
            user: asked.user.clone(),
            working_dir: asked.working_dir.clone(),
            tty: asked.tty,
            stdin: asked.stdin,
            privileged: asked.privileged,
            limit: None,
        };
        let exec: Id = request.exec.parse().map_err(|_| no_exec(&request.exec))?;
        let size = request.size.map(|(rows, cols)| WindowSize { rows, cols });
        let session = self
            .runtime
            .exec(container, exec, &spec, !request.detach, size);
        let session = Arc::new(session.map_err(|error| self.exec_failed(&request.exec, error))?);
        let (attached, held) = if request.detach {
            (None, None)
        } else {
            attach(&session, asked)?.unzip()
        };
        if let Some(exec) = lock(&self.execs).get_mut(&request.exec) {
            exec.session = Some(session.clone());
        }
        self.await_exec(request.exec.clone(), container, session, held)?;
        Ok(attached)
    }

    fn exec_failed(&self, id: &str, error: vw_runtime::Error) -> Error {
        // What is 125 for a `run` is 126 for an exec, as in Docker.
        let code = error.exit_code().max(126);
        lock(&self.execs)
            .entry(id.to_owned())
            .and_modify(|exec| exec.exit_code = Some(code));
        error.into()
    }

    /// Records the exit status when the process ends. Its output counts as open until then
    /// (`held`): a client asks for the status as soon as the output is at its end.
    fn await_exec(
        &self,
        id: String,
        container: SandboxId,
        session: Arc<ExecSession>,
        held: Option<SyncSender<io::Result<Chunk>>>,
    ) -> Result<()> {
        let controller = self.clone();
        let wait = move || {
            let code = session.wait().unwrap_or_else(|error| {
                tracing::error!("exec {id}: {error}");
                137
            });
            if let Some(exec) = lock(&controller.execs).get_mut(&id) {
                exec.exit_code = Some(code);
                exec.session = None;
            }
            drop(held);
            controller.tell(
                EventType::Container,
                "exec_die",
                &container.to_string(),
                [("execID", id.clone()), ("exitCode", code.to_string())],
            );
        };
        let builder = thread::Builder::new()
            .name("exec".to_owned())
            .stack_size(256 << 10);
        let refused = |e| Error::internal("thread-refused", "no thread for an exec").because(e);
        builder.spawn(wait).map(|_| ()).map_err(refused)
    }

    pub(crate) fn exec_resize(&self, request: ExecResize) -> Result<()> {
        let session = {
            let execs = lock(&self.execs);
            let exec = execs
                .get(&request.exec)
                .ok_or_else(|| no_exec(&request.exec))?;
            exec.session.clone()
        };
        let session = session.ok_or_else(|| {
            Error::conflict(
                "exec-not-running",
                format!("exec {} is not running", request.exec),
            )
        })?;
        session
            .resize(WindowSize {
                rows: request.height,
                cols: request.width,
            })
            .map_err(Error::from)
    }

    pub(crate) fn exec_inspect(&self, request: ExecInspect) -> Result<ExecView> {
        let execs = lock(&self.execs);
        let exec = execs
            .get(&request.exec)
            .ok_or_else(|| no_exec(&request.exec))?;
        Ok(ExecView {
            id: request.exec.clone(),
            container: exec.container,
            running: exec.started && exec.exit_code.is_none(),
            exit_code: exec.exit_code,
            pid: exec
                .session
                .as_ref()
                .map_or(0, |session| session.pid.unsigned_abs()),
            request: exec.request.clone(),
        })
    }
}

/// Forgets the oldest of a kind, when there are this many.
fn forget_oldest(execs: &mut BTreeMap<String, Exec>, most: usize, kind: impl Fn(&Exec) -> bool) {
    let of_kind = || execs.iter().filter(|(_, exec)| kind(exec));
    if of_kind().count() < most {
        return;
    }
    let oldest = of_kind().min_by_key(|(_, exec)| exec.serial);
    if let Some(id) = oldest.map(|(id, _)| id.clone()) {
        execs.remove(&id);
    }
}

/// Its output and input, and what keeps the output open after its last byte.
fn attach(
    session: &ExecSession,
    asked: &ExecRequest,
) -> Result<Option<(Attached, SyncSender<io::Result<Chunk>>)>> {
    let Some(stream) = session.attach().cloned() else {
        return Ok(None);
    };
    let (sender, output) = sync_channel(64);
    let input = asked
        .stdin
        .then(|| streams::writer(stream.clone(), !asked.tty));
    streams::pump_to(stream, sender.clone())?;
    let attached = Attached {
        tty: asked.tty,
        output,
        input,
    };
    Ok(Some((attached, sender)))
}

fn no_exec(id: &str) -> Error {
    Error::not_found("exec-not-found", format!("No such exec instance: {id}"))
}
