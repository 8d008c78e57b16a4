//! Commands that are run in a running container to find out whether it is well.
//!
//! Owns that nothing of one outlives its time: not where it hangs, not where we are killed, and not
//! where somebody else is to run in its place. What one leaves in the background after a good end is
//! the container's, as with any `exec`.

use crate::{
    conmon::{self, AttachStream},
    container::Runtime,
    error::Result,
    exec::ExecSpec,
    files,
    layout::RunDir,
    wait,
};
use rustix::{
    fd::{AsFd, OwnedFd},
    process::{Pid, Signal},
};
use std::time::{Duration, Instant};
use vw_model::{Id, SandboxId};

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
    /// `limit` is over or `left` can be read, because nobody waits for it any more. `name` is one of a kind: what runs by it still, of a daemon that was killed
    /// for instance, ends first.
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
        let deadline = Instant::now() + limit;
        let session = self.exec(id, name, &request, true, None)?;
        let mut output = Vec::new();
        let ended = session
            .attach()
            .is_none_or(|stream| read_until(stream, deadline, left, &mut output));
        if !ended {
            self.kill_group(id, Pid::from_raw(session.pid));
            // Its conmon would wait until somebody reads the rest.
            session.attach().inspect(|stream| stream.close());
        }
        let status = session.wait()?;
        Ok(Checked {
            status: ended.then_some(status),
            output,
        })
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
            monitors = conmon::find_unnoted(directory, &self.cgroups);
        }
        let noted = files::read(&directory.pid_file())?;
        let first = noted.and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
        self.kill_group(id, first);
        for monitor in &monitors {
            if !wait::readable(monitor, wait::PATIENCE) {
                let _ = rustix::process::pidfd_send_signal(monitor, Signal::KILL);
            }
        }
        files::remove_tree(directory.path())
    }
}

/// Reads to the end; false when the time was over first, or nobody waits.
fn read_until(
    stream: &AttachStream,
    deadline: Instant,
    left: &OwnedFd,
    output: &mut Vec<u8>,
) -> bool {
    let mut buffer = vec![0; conmon::ATTACH_MESSAGE];
    loop {
        let time = deadline.saturating_duration_since(Instant::now());
        let fds = [left.as_fd(), stream.as_fd()];
        if time.is_zero() || wait::any_readable(&fds, Some(time)) != Some(1) {
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
