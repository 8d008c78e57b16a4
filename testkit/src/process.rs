//! Programs that a test runs: to their end, or beside it.
//!
//! Owns their deadline and their end. A program is killed by its own id, never by name.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// No program that a test waits for takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, as a failed assertion shows it.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, as text.
    pub stdout: String,
    /// What it complained of, as text.
    pub stderr: String,
}

impl Output {
    /// What it printed, without the white space around it; fails the test unless it ended well.
    #[track_caller]
    #[must_use = "use `must` when only success matters"]
    pub fn ok(self) -> String {
        self.must();
        self.stdout.trim().to_owned()
    }

    /// Fails the test unless it ended well.
    #[track_caller]
    pub fn must(&self) {
        assert!(self.status.success(), "{self:#?}");
    }

    /// What it complained of; fails the test when it ended well.
    #[track_caller]
    #[must_use = "compare the complaint: a refusal for another reason is no success"]
    pub fn refused(self) -> String {
        assert!(!self.status.success(), "not refused: {self:#?}");
        self.stderr.trim().to_owned()
    }

    /// Whether it ended well.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Its exit status; `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Runs a program to its end; fails the test when it does not start or does not end.
///
/// `spawn` starts it, so that the caller chooses the namespace.
#[track_caller]
pub(crate) fn run(
    command: &mut Command,
    spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let shown = format!("{command:?}");
    let child = spawn(command).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let id = child.id();
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(LIMIT) else {
        kill(id);
        panic!("{shown}: still runs after {LIMIT:?}");
    };
    let output = output.unwrap_or_else(|error| panic!("{shown}: {error}"));
    Output {
        command: shown,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program that runs beside the test; killed and waited for when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose output goes to a file of its own.
    #[track_caller]
    pub(crate) fn start(
        command: &mut Command,
        input: Stdio,
        log: &Path,
        spawn: impl FnOnce(&mut Command) -> std::io::Result<Child>,
    ) -> Self {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let again = file
            .try_clone()
            .unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command.stdin(input).stdout(file).stderr(again);
        let child = spawn(command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: log.to_path_buf(),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed and complained of so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end (SIGTERM) and waits; `None`, and a kill, when it has not within `time`.
    pub fn terminate(&mut self, time: Duration) -> Option<ExitStatus> {
        signal(self.pid(), Signal::TERM);
        let status = crate::poll(time, || self.ended());
        self.kill();
        status
    }

    /// Kills it (SIGKILL) and waits for its end; nothing when it has ended.
    pub fn kill(&mut self) {
        // Both fail only when it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills a process; nothing when it is gone.
pub(crate) fn kill(id: u32) {
    signal(id, Signal::KILL);
}

/// Sends a signal to a process; nothing when it is gone.
pub(crate) fn signal(id: u32, signal: Signal) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // ESRCH: it has ended by itself.
        let _ = kill_process(pid, signal);
    }
}
