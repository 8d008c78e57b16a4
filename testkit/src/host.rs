//! One network namespace, used as a host or a sandbox.
//!
//! Owns entering it: only ever by a thread made for that, so that no thread of the
//! test harness is left inside. It does not own its end; that is [`crate::Lab`]'s.

use crate::{Output, Running, process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    ffi::OsStr,
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// A network namespace by its path: a host of the laboratory, or the namespace of a container.
///
/// A clone is the same host.
#[derive(Debug, Clone)]
pub struct Host {
    name: String,
    netns: PathBuf,
    logs: Arc<Logs>,
}

/// Where the output of programs that run beside the test goes.
#[derive(Debug)]
struct Logs {
    folder: PathBuf,
    made: AtomicUsize,
}

impl Host {
    pub(crate) fn new(name: &str, netns: PathBuf, logs: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            netns,
            logs: Arc::new(Logs {
                folder: logs,
                made: AtomicUsize::new(0),
            }),
        }
    }

    /// The name that the test gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of its namespace, as `--netns` takes it.
    #[must_use]
    pub fn netns(&self) -> &Path {
        &self.netns
    }

    /// Runs `work` inside, on a thread of its own; sockets that it opens stay inside.
    ///
    /// A panic inside is the caller's panic.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let entered = thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.join();
                    work()
                })
                .join()
        });
        entered.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Moves the calling thread inside, for good.
    fn join(&self) {
        let shown = self.netns.display();
        let namespace = File::open(&self.netns).unwrap_or_else(|error| panic!("{shown}: {error}"));
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap_or_else(|error| panic!("{shown}: cannot enter: {error}"));
    }

    /// Runs a program inside to its end: `host.run(["ip", "link"])`.
    ///
    /// Fails the test when it does not start, or runs for more than a minute.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Output {
        self.run_command(&mut to_command(command))
    }

    /// As [`Host::run`], for a command with an environment or a folder of its own.
    #[track_caller]
    pub fn run_command(&self, command: &mut Command) -> Output {
        process::run(command, |command| self.enter(|| command.spawn()))
    }

    /// Runs a line of shell inside, stopping at its first failure.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Output {
        self.run(["sh", "-ec", line])
    }

    /// Runs `ip` with these arguments inside, which must succeed: `host.ip("link set lo up")`.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        let command = ["ip"].into_iter().chain(arguments.split_whitespace());
        self.run(command).ok()
    }

    /// Starts a program inside that ends with the guard: `host.spawn(["nc", "-lk", "80"])`.
    #[track_caller]
    pub fn spawn<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Running {
        self.spawn_command(&mut to_command(command))
    }

    /// As [`Host::spawn`], for a command with an environment or a folder of its own.
    #[track_caller]
    pub fn spawn_command(&self, command: &mut Command) -> Running {
        let number = self.logs.made.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.folder.join(format!("{}-{number}.log", self.name));
        self.spawn_logging(command, Stdio::null(), &log)
    }

    #[track_caller]
    pub(crate) fn spawn_logging(&self, command: &mut Command, input: Stdio, log: &Path) -> Running {
        Running::start(command, input, log, |command| {
            self.enter(|| command.spawn())
        })
    }
}

#[track_caller]
fn to_command<A: AsRef<OsStr>>(words: impl IntoIterator<Item = A>) -> Command {
    let mut words = words.into_iter();
    let program = words.next().expect("a command has a program");
    let mut command = Command::new(program);
    command.args(words);
    command
}
