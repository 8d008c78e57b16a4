//! Commands that are run in a running container to find out whether it is well.
//!
//! Owns that nothing of one outlives its time: not where it hangs, not where we are killed, and not
//! where somebody else is to run in its place. What one leaves in the background after a good end is
//! the container's, as with any `exec`.

use crate::{
    conmon::{self, AttachStream},
    container::Runtime,
    error::{Error, Result},
    exec::{ExecSession, ExecSpec},
    files,
    layout::RunDir,
    wait::{self, Until},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    process::{Pid, Signal},
};
use std::time::{Duration, Instant};
use vw_model::{Id, SandboxId};

/// How long what was killed may take to go, before its conmon is killed.
const LAST: Duration = Duration::from_secs(5);

/// What is kept of the output, as Docker's `maxOutputLen` (moby `daemon/health.go`).
const OUTPUT: usize = 4096;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its exit status; `None` when its time was over.
    pub status: Option<i32>,
    /// The first 4096 bytes that it wrote.
    pub output: Vec<u8>,
}

impl Runtime {
    /// Runs a command in a running container to its end, or kills it and its process group when
    /// `limit` is over or `left` can be read, because nobody waits for it any more; also where the
    /// container stands still, or the OCI runtime does. `name` is one of a kind: what runs by it
    /// still, of a daemon that was killed for instance, ends first.
    ///
    /// # Errors
    /// As [`Runtime::exec`].
    pub fn check(
        &self,
        id: SandboxId,
        name: Id,
        command: &[String],
        limit: Duration,
        left: &OwnedFd,
    ) -> Result<Checked> {
        self.end_check(
            id,
            &RunDir(self.layout.run(id).execs().join(name.to_string())),
        )?;
        let request = ExecSpec {
            cmd: command.to_vec(),
            // We are more exact, and tell; a second later it is conmon's turn.
            limit: Some(limit + Duration::from_secs(1)),
            ..ExecSpec::default()
        };
        let until = Until {
            deadline: Some(Instant::now() + limit),
            left: Some(left.as_fd()),
        };
        let mut output = Vec::new();
        let status = match self.exec_until(id, name, &request, (true, None), &until) {
            Ok(session) => self.see_to_its_end(id, &session, &until, &mut output),
            Err(error) => Err(error),
        };
        match status {
            Ok(status) => Ok(Checked { status, output }),
            Err(Error::Late(_)) => Ok(Checked {
                status: None,
                output,
            }),
            Err(error) => Err(error),
        }
    }

    fn see_to_its_end(
        &self,
        id: SandboxId,
        session: &ExecSession,
        until: &Until<'_>,
        output: &mut Vec<u8>,
    ) -> Result<Option<i32>> {
        let ended = session
            .attach()
            .is_none_or(|stream| read_until(stream, until, output));
        if !ended {
            self.kill_group(id, Pid::from_raw(session.pid));
            // Its conmon would wait until somebody reads the rest.
            session.attach().inspect(|stream| stream.close());
        }
        let status = session.wait_until(&Until::within(LAST))?;
        Ok(ended.then_some(status))
    }

    /// Kills a process of a container's and all of its group: the OCI runtime makes each the first
    /// of one of its own.
    fn kill_group(&self, id: SandboxId, first: Option<Pid>) {
        if let Some(pid) = first
            && self.cgroups.process(id, pid).is_some()
        {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }

    /// Ends what an earlier check of this name left.
    fn end_check(&self, id: SandboxId, directory: &RunDir) -> Result<()> {
        if !directory.path().exists() {
            return Ok(());
        }
        let mut monitors: Vec<OwnedFd> = conmon::find(directory).into_iter().collect();
        if monitors.is_empty() {
            monitors = conmon::find_all(directory, &self.cgroups);
        }
        let noted = files::read(&directory.pid_file())?;
        let first = noted.and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        self.kill_group(id, first);
        for monitor in &monitors {
            if !wait::readable(monitor, LAST) {
                conmon::kill(monitor);
            }
        }
        files::remove_tree(directory.path())
    }
}

/// Reads to the end; false when the time was over first, or nobody waits.
fn read_until(stream: &AttachStream, until: &Until<'_>, output: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; conmon::ATTACH_MESSAGE];
    loop {
        // Also of one that never stops writing the time is over once.
        let over = until.deadline.is_some_and(|d| d <= Instant::now());
        if over || until.any_readable(&[stream.as_fd()]).is_none() {
            return false;
        }
        match stream.recv(&mut buffer) {
            Ok(Some((_, count))) => {
                let room = OUTPUT - output.len();
                output.extend_from_slice(&buffer[..count.min(room)]);
            }
            // Its exit status tells.
            Ok(None) | Err(_) => return true,
        }
    }
}
