//! conmon: the process that outlives us and keeps a container's terminal, output and
//! exit status.
//!
//! Owns its command line, the handshake at its start, its attach socket and its control
//! FIFO, after containers/conmon 2.1 `src/conmon.c`. What runs under it is decided
//! elsewhere.

mod attach;
mod end;
mod sync;

pub use attach::{ATTACH_MESSAGE, AttachStream, Stream};
pub(crate) use end::kill;
pub(crate) use sync::{Answer, SyncFile};

use crate::{
    cgroup::Cgroups,
    command,
    error::{Context, Error, Result},
    files,
    layout::RunDir,
    programs::Programs,
    spec::WindowSize,
    wait::Until,
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    io::{Errno, FdFlags},
    process::{Pid, PidfdFlags, Signal},
};
use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use vw_model::SandboxId;

/// conmon's word for "the window has a new size" (`WIN_RESIZE_EVENT`).
const RESIZE: u8 = 1;

/// The largest window that conmon believes.
const MAX_WINDOW: u16 = 1000;

/// What one conmon watches over: a container, or one `exec` in it.
pub(crate) struct Launch<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) id: SandboxId,
    pub(crate) runtime_root: &'a Path,
    /// Its working directory, of a container or of one `exec`.
    pub(crate) directory: &'a RunDir,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    /// Standard input outlives the client that sends it.
    pub(crate) keep_stdin: bool,
    pub(crate) role: Role<'a>,
    /// Files that move whoever writes `0` to them out of our control groups.
    pub(crate) doors: &'a [OwnedFd],
}

/// Which of the runtime's commands it runs.
pub(crate) enum Role<'a> {
    /// `create` of the bundle in the directory.
    Container { log: &'a Path, exits: &'a Path },
    /// `exec` of the process described by a file.
    Exec {
        process: &'a Path,
        attach: bool,
        /// After which conmon kills it.
        limit: Option<Duration>,
    },
}

/// A conmon that was started; it may have ended since.
pub(crate) struct Launched {
    pub(crate) sync: SyncFile,
    /// Ends with conmon; `None` when it has ended already.
    pub(crate) monitor: Option<OwnedFd>,
    /// For an attached `exec`: holds the process back until [`Launched::go`].
    start: Option<OwnedFd>,
    ready: Option<OwnedFd>,
}

/// Starts conmon; returns once it has left us, before it answered.
///
/// Its answers go to a regular file: with a pipe, conmon dies by the broken pipe when we are
/// killed between its start and its answer, and leaves a container that nobody watches.
///
/// # Errors
/// [`Error::Program`] with conmon's words when it does not even get that far.
pub(crate) fn launch(launch: &Launch<'_>) -> Result<Launched> {
    files::remove_file(&launch.directory.monitor_pid_file())?;
    let sync = SyncFile::create(&launch.directory.sync())?;
    let log = launch.directory.monitor_log();
    let stderr = File::create(&log).context(|| format!("make {}", log.display()))?;
    let mut command = command(launch)?;
    command
        .stderr(stderr)
        .env("_OCI_SYNCPIPE", sync.as_raw_fd().to_string());
    let mut passed = vec![sync.as_fd()];
    let pipes = match launch.role {
        Role::Exec { attach: true, .. } => Some((pipe()?, pipe()?)),
        _ => None,
    };
    if let Some(((start, _), (_, ready))) = &pipes {
        command.env("_OCI_STARTPIPE", start.as_raw_fd().to_string());
        command.env("_OCI_ATTACHPIPE", ready.as_raw_fd().to_string());
        passed.extend([start.as_fd(), ready.as_fd()]);
    }
    let start = pipes.as_ref().map(|((_, start), _)| start.as_fd());
    spawn(command, &passed, launch.doors, start, &log)?;
    let (start, ready) = match pipes {
        // Our copies of conmon's ends close here, so that its death shows.
        Some(((_, start), (ready, _))) => (Some(start), Some(ready)),
        None => (None, None),
    };
    Ok(Launched {
        sync,
        monitor: find(launch.directory),
        start,
        ready,
    })
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".to_owned())
}

fn command(launch: &Launch<'_>) -> Result<Command> {
    let id = launch.id.to_string();
    let directory = launch.directory;
    let mut command = command::bare(&launch.programs.conmon);
    command.current_dir(directory.path());
    // The terminal's socket then has a short, relative address, whatever the directory's
    // length, and goes with the directory.
    command.env("TMPDIR", ".");
    command.args([
        "--api-version",
        "1",
        "--full-attach",
        "--log-level",
        "error",
    ]);
    command.args(["--cid", &id, "--cuuid", &id, "--name", &id]);
    command.arg("--runtime").arg(&launch.programs.runtime);
    command.arg("--bundle").arg(directory.path());
    command.arg("--container-pidfile").arg(directory.pid_file());
    command
        .arg("--conmon-pidfile")
        .arg(directory.monitor_pid_file());
    let runtime_log = directory.runtime_log();
    files::remove_file(&runtime_log)?;
    for (name, value) in [("root", launch.runtime_root), ("log", &runtime_log)] {
        command.arg("--runtime-arg").arg(option(name, value));
    }
    command.args(["--runtime-arg", "--log-format=json"]);
    command.args(launch.tty.then_some("--terminal"));
    command.args(launch.stdin.then_some("--stdin"));
    command.args(launch.keep_stdin.then_some("--leave-stdin-open"));
    match launch.role {
        Role::Container { log, exits } => {
            // Without the flush, a container's end does not wait for its log to reach the disk.
            command.arg("--no-sync-log").arg("--exit-dir").arg(exits);
            let mut driver = std::ffi::OsString::from("k8s-file:");
            driver.push(log);
            command.arg("--log-path").arg(driver);
        }
        Role::Exec {
            process,
            attach,
            limit,
        } => {
            command
                .args(["--exec", "--log-path", "none", "--exec-process-spec"])
                .arg(process);
            command.args(attach.then_some("--exec-attach"));
            if let Some(limit) = limit {
                // It counts whole seconds, and 0 is for ever.
                let seconds = limit.as_secs() + u64::from(limit.subsec_nanos() > 0);
                let seconds = seconds.clamp(1, u64::from(u32::MAX >> 1));
                command.arg("--timeout").arg(seconds.to_string());
            }
        }
    }
    Ok(command)
}

fn option(name: &str, value: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(format!("--{name}="));
    option.push(value);
    option
}

/// Runs conmon's first process to its end, which comes at once: it forks and leaves.
fn spawn(
    mut command: Command,
    passed: &[BorrowedFd<'_>],
    doors: &[OwnedFd],
    start: Option<BorrowedFd<'_>>,
    log: &Path,
) -> Result<()> {
    let passed: Vec<i32> = passed.iter().map(AsRawFd::as_raw_fd).collect();
    let doors: Vec<i32> = doors.iter().map(AsRawFd::as_raw_fd).collect();
    let before_exec = move || {
        // When we die before conmon has forked, there is to be no conmon: nobody would find
        // it. Its fork, which stays, does not inherit this.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        for door in &doors {
            // SAFETY: the caller keeps the descriptors open until spawn returned, and fork
            // copied them.
            let door = unsafe { BorrowedFd::borrow_raw(*door) };
            rustix::io::write(door, b"0")?;
        }
        for fd in &passed {
            // SAFETY: as above.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes prctl(2), write(2) and fcntl(2)
    // calls; it
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(before_exec) };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context(|| "start conmon".to_owned())?;
    if let Some(start) = start {
        // The first word that conmon waits for when it has a start pipe: that it is placed.
        rustix::io::write(start, b"0").context(|| "start conmon".to_owned())?;
    }
    let status = child.wait().context(|| "wait for conmon".to_owned())?;
    if status.success() {
        return Ok(());
    }
    let said = files::read(log)?.unwrap_or_default();
    Err(Error::Program {
        program: "conmon".to_owned(),
        action: "start".to_owned(),
        said: format!("{status}: {}", said.trim()),
    })
}

impl Launched {
    /// Waits until the attach socket of an attached `exec` takes connections.
    ///
    /// # Errors
    /// [`Error::Late`].
    pub(crate) fn await_attach(&mut self, until: &Until<'_>) -> Result<()> {
        let Some(ready) = self.ready.take() else {
            return Ok(());
        };
        let told = until.any_readable(&[ready.as_fd()]);
        told.ok_or_else(|| Error::Late("conmon's start".to_owned()))?;
        let mut buffer = [0; 256];
        // The end of file, when conmon died, shows again when connecting.
        rustix::io::read(&ready, &mut buffer).context(|| "wait for conmon".to_owned())?;
        Ok(())
    }

    /// Lets the process of an attached `exec` begin.
    pub(crate) fn go(&mut self) -> Result<()> {
        if let Some(start) = self.start.take() {
            rustix::io::write(&start, b"0").context(|| "start the process".to_owned())?;
        }
        Ok(())
    }

    /// conmon's next answer; `None` when it ended without one.
    ///
    /// # Errors
    /// [`Error::Late`].
    pub(crate) fn answer(&mut self, until: &Until<'_>) -> Result<Option<Answer>> {
        self.sync
            .next(self.monitor.as_ref().map(AsFd::as_fd), until)
    }

    /// Ends a conmon from which no answer is awaited any more, with what it runs.
    pub(crate) fn kill(&self) {
        self.monitor.iter().for_each(kill);
    }
}

/// The conmon of a directory, while it runs.
pub(crate) fn find(directory: &RunDir) -> Option<OwnedFd> {
    let pid = std::fs::read_to_string(directory.monitor_pid_file()).ok()?;
    open_if_names(Pid::from_raw(pid.trim().parse().ok()?)?, directory)
}

/// All processes of a directory among those of the group of monitors: a conmon, also one that our
/// death kept from noting its process id, and the OCI runtime that it runs.
pub(crate) fn find_all(directory: &RunDir, cgroups: &Cgroups) -> Vec<OwnedFd> {
    let pids = cgroups.monitors().into_iter();
    pids.filter_map(|pid| open_if_names(pid, directory))
        .collect()
}

/// Opens a process if its command line names the directory, so that a reused process id is
/// never taken for it.
fn open_if_names(pid: Pid, directory: &RunDir) -> Option<OwnedFd> {
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Read after the pidfd is open: if it is conmon's now, the pidfd is too. The command line
    // of a zombie is empty.
    let command_line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let ours = directory.path().as_os_str().as_encoded_bytes();
    let mut words = command_line.split(|byte| *byte == 0);
    words.any(|word| word == ours).then_some(pidfd)
}

/// Tells the terminal of a container or an `exec` its size. A window larger than conmon
/// believes is cut.
///
/// # Errors
/// [`Error::NotRunning`] when conmon has ended.
pub(crate) fn resize(directory: &RunDir, who: &str, size: WindowSize) -> Result<()> {
    let fifo = directory.control();
    // Without a reader, a blocking open would wait for one.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(&fifo, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NXIO | Errno::NOENT) => return Err(Error::NotRunning(who.to_owned())),
        Err(error) => return Err(error).context(|| format!("open {}", fifo.display())),
    };
    let (rows, cols) = (size.rows.min(MAX_WINDOW), size.cols.min(MAX_WINDOW));
    let line = format!("{RESIZE} {rows} {cols}\n");
    rustix::io::write(&fd, line.as_bytes()).context(|| format!("write {}", fifo.display()))?;
    Ok(())
}

/// The last error that the OCI runtime logged.
pub(crate) fn runtime_error(log: &Path) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let text = files::read(log).ok()??;
    let lines = text
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut errors = lines.filter(|line| matches!(line.level.as_str(), "error" | "fatal"));
    errors.next().map(|line| line.msg)
}
