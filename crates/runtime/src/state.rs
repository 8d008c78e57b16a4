//! What a container is doing, told from its files and processes alone.
//!
//! Owns that reading, and asking the OCI runtime where these do not tell. It changes
//! nothing, but for the exit file of a container whose conmon died ([`crate::watch`]).

use crate::{
    conmon,
    container::Runtime,
    error::{Error, Result},
    files,
    layout::RunDir,
    watch,
};
use std::time::SystemTime;
use vw_model::SandboxId;

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has no process: never created, cleaned up, or gone by a reboot.
    Absent,
    /// Its process waits for [`Runtime::start`].
    Created,
    /// It runs.
    Running {
        /// Its first process, as the host counts.
        pid: i32,
    },
    /// It ended and waits for [`Runtime::cleanup`].
    Exited {
        /// Its exit status; 128 and the signal when it was killed by one.
        code: i32,
        /// When.
        at: SystemTime,
        /// The kernel killed in it for want of memory.
        oom: bool,
    },
}

impl Runtime {
    /// What a container is doing, from its files and processes.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Program`] when the OCI runtime has to be asked and fails.
    pub fn state(&self, id: SandboxId) -> Result<State> {
        let run = self.layout.run(id);
        let exit_file = self.layout.exit_file(id);
        if exit_file.exists() {
            return self.exited(id);
        }
        if let Some((pid, _)) = self.cgroups.first_process(&run, id) {
            let running = State::Running {
                pid: pid.as_raw_nonzero().get(),
            };
            if run.started().exists() {
                return Ok(running);
            }
            // A crash may have come between the start and its note.
            return Ok(match self.oci_status(&run, id)?.as_str() {
                "running" | "paused" => running,
                "created" => State::Created,
                // Neither: the runtime had not finished making it.
                _ => State::Absent,
            });
        }
        if run.started().exists() {
            // It ended this moment, or its monitor died with it.
            if let Some(monitor) = conmon::find(&run) {
                crate::wait::readable(&monitor, crate::wait::PATIENCE);
            }
            return self.exited(id);
        }
        Ok(if exit_file.exists() {
            self.exited(id)?
        } else {
            State::Absent
        })
    }

    fn exited(&self, id: SandboxId) -> Result<State> {
        let event = watch::exit_of(&self.layout, &self.cgroups, id)?;
        Ok(State::Exited {
            code: event.code,
            at: event.at,
            oom: event.oom,
        })
    }

    fn oci_status(&self, run: &RunDir, id: SandboxId) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Reply {
            status: String,
        }
        let text = match self.oci(run, &["state", &id.to_string()]) {
            Ok(text) => text,
            // The runtime has no record of it yet.
            Err(Error::Program { .. }) => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        let reply: Option<Reply> = serde_json::from_str(&text).ok();
        Ok(reply.map(|reply| reply.status).unwrap_or_default())
    }

    pub(crate) fn oci(&self, run: &RunDir, args: &[&str]) -> Result<String> {
        let programs = self.probe()?;
        let mut words = vec![
            std::ffi::OsString::from("--root"),
            self.layout.runtime_root().into(),
            "--log".into(),
            run.runtime_log().into(),
            "--log-format".into(),
            "json".into(),
        ];
        // The log tells of this operation alone.
        files::remove_file(&run.runtime_log())?;
        words.extend(args.iter().map(Into::into));
        crate::command::run(&programs.runtime, args[0], &words).map_err(|error| match error {
            Error::Program {
                program,
                action,
                said,
            } => Error::Program {
                said: conmon::runtime_error(&run.runtime_log()).unwrap_or(said),
                program,
                action,
            },
            other => other,
        })
    }
}
