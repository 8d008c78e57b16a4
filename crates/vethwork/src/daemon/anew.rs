//! The daemon begun anew in its own place, where the address by which the other hosts reach this one
//! is another by now.
//!
//! Owns when that is, and how. The address is in this host's record, in every tunnel and in rules, all
//! of which a start takes from the link, and compares with what stands: to begin anew is to follow it.
//! It must not begin anew for less: requests that are under way end with it.

mod begun;
mod obstacle;

pub(super) use begun::facts;
pub(super) use obstacle::Start;

use super::{cluster::ClusterSettings, listen, signals::Stops};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
// check-allow(programs-only-in-runtime): this binary, in the place of itself.
use std::process::{Child, Command, Stdio};
use std::{
    env, fs, io,
    net::IpAddr,
    os::unix::process::CommandExt,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use vw_drivers::Underlay;
use vw_kernel::HostFacts;
use vw_model::IfName;

/// The file that runs, also where another lies at its path by now: an upgrade is for people.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long after one look for another address the next one is.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How long the trial of this binary may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many looks after the first must find the same address. What gives addresses takes them away for
/// a moment when it starts again, or when the link is pulled.
const LOOKS: u32 = 5;

/// Where the others reach this host, as the daemon's flags name it and as its start found it.
#[derive(Debug)]
pub(super) struct Reached {
    cluster: ClusterSettings,
    was: IpAddr,
    /// The link that had it.
    link: IfName,
    next: Option<Next>,
    /// Why it does not follow, as it was told last.
    told: Option<String>,
}

/// An address that may stand for the one that is gone.
#[derive(Debug)]
struct Next {
    underlay: Underlay,
    /// How often it was found again.
    looks: u32,
    /// When it was counted last.
    at: Instant,
}

/// What is to be done about the address by which the others reach this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing until an address comes or goes: it is there, or the flags name no other.
    Rest,
    /// To look again in a [`LOOK`].
    Again,
    /// To follow this one.
    Follow(Underlay),
}

impl Reached {
    pub(super) fn new(cluster: ClusterSettings, start: &Underlay) -> Self {
        Self {
            cluster,
            was: start.addr,
            link: start.link.clone(),
            next: None,
            told: None,
        }
    }

    /// What the host's addresses at a moment mean.
    pub(super) fn look(&mut self, facts: &HostFacts, now: Instant) -> Look {
        let mut all = facts.addresses.iter();
        if all.any(|(_, net)| net.addr() == self.was) || !self.cluster.may_move() {
            (self.next, self.told) = (None, None);
            return Look::Rest;
        }
        // Of an address of the other IP version none of the others could make use; nor, it may be, of one of
        // another link, which has the default route while the cable of this one is out.
        let found = self
            .cluster
            .underlay(facts)
            .ok()
            .filter(|found| may_stand_for(found, self.was, &self.link, facts));
        let Some(found) = found else {
            self.next = None;
            // The default route may come without an address.
            return Look::Again;
        };
        let same = |next: &&mut Next| next.underlay == found;
        let Some(next) = self.next.as_mut().filter(same) else {
            tracing::info!(
                "the daemon goes on with {} of {} where that stays for {LOOKS} s and {} stays away",
                found.addr,
                found.link,
                self.was
            );
            self.next = Some(Next {
                underlay: found,
                looks: 0,
                at: now,
            });
            return Look::Again;
        };
        if now.saturating_duration_since(next.at) >= LOOK {
            (next.looks, next.at) = (next.looks + 1, now);
        }
        match next.looks < LOOKS {
            true => Look::Again,
            false => Look::Follow(found),
        }
    }

    /// The daemon stays with the address that is gone: tells why, once, and looks anew.
    pub(super) fn stay(&mut self, found: &Underlay, why: String) {
        self.next = None;
        if self.told.as_ref() != Some(&why) {
            tracing::error!(
                "this host no longer has the address {}, by which the other hosts reach it, and the daemon does not go on with {} of {}: {why}",
                self.was,
                found.addr,
                found.link
            );
            self.told = Some(why);
        }
    }

    /// Tells that the daemon follows.
    pub(super) fn leave(&self, found: &Underlay) {
        tracing::warn!(
            "this host no longer has the address {}, by which the other hosts reached it: the daemon begins anew with {} of {}",
            self.was,
            found.addr,
            found.link
        );
    }
}

/// Whether an underlay may take the place of one that had this address on this link: with one of the same
/// IP version that is to stay.
fn may_stand_for(found: &Underlay, was: IpAddr, link: &IfName, facts: &HostFacts) -> bool {
    found.link == *link
        && found.addr.is_ipv4() == was.is_ipv4()
        && !facts.passing.contains(&found.addr)
}

/// Why this binary does not run with what this process was given, with what to do; none where it does, or
/// where the host has no room for another process to try it by. It is tried while all goes on as it was:
/// who has ended itself cannot.
pub(super) fn cannot_run() -> Option<String> {
    let mut trial = this_again();
    trial.arg("--validate").stdin(Stdio::null());
    let why = match outcome(trial.stdout(Stdio::null()).stderr(Stdio::piped()), PATIENCE) {
        Ok(()) => return None,
        Err(error) if is_for_want_of_room(&error) => return None,
        Err(error) => error,
    };
    let path = fs::read_link(THIS_PROGRAM).unwrap_or_else(|_| THIS_PROGRAM.into());
    let path = path.display().to_string();
    // What the system tells of a file that is gone, as after an upgrade.
    Some(match path.strip_suffix(" (deleted)") {
        Some(path) => {
            format!("its program, that was {path}, cannot be run: {why}; start the daemon again")
        }
        None => format!("its program, {path}, cannot be run; mend that: {why}"),
    })
}

/// What comes of a program that is to end within that time; one that does not is ended.
fn outcome(command: &mut Command, patience: Duration) -> io::Result<()> {
    let mut child = command.spawn()?;
    let ended = ends(&child, patience);
    if !matches!(ended, Ok(true)) {
        child.kill()?;
    }
    let said = child.wait_with_output()?;
    match (ended?, said.status.success()) {
        (true, true) => Ok(()),
        (true, false) => {
            let why = String::from_utf8_lossy(&said.stderr);
            Err(io::Error::other(format!("{}: {}", said.status, why.trim())))
        }
        (false, _) => Err(io::Error::other(format!(
            "it did not end within {} s",
            patience.as_secs()
        ))),
    }
}

/// Whether a child ends within that time.
fn ends(child: &Child, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    let end = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut fds = [PollFd::new(&end, PollFlags::IN)];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// No process, memory or descriptor to be had, or no such call: to be replaced takes none of them.
fn is_for_want_of_room(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    let wants = [
        libc::EAGAIN,
        libc::ENOMEM,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOSYS,
    ];
    number.is_some_and(|number| wants.contains(&number))
}

/// This binary, with what this process was given.
fn this_again() -> Command {
    let mut given = env::args_os();
    let mut command = Command::new(THIS_PROGRAM);
    if let Some(name) = given.next() {
        command.arg0(name);
    }
    command.args(given);
    command
}

/// The same, to go on with `next`.
fn this_to_go_on_with(next: &Underlay) -> Command {
    let mut command = this_again();
    command.envs([begun::variable(next)]);
    command
}

/// Runs this binary in the place of this process, with what it was given, to go on with `next`. Returns
/// where somebody asked it to stop meanwhile, or the system refuses what it did a moment before: the
/// service manager starts it then.
pub(super) fn exec(stops: &Stops, next: &Underlay) -> ExitCode {
    let mut command = this_to_go_on_with(next);
    stops.no_longer_hear();
    if stops.came() {
        return ExitCode::SUCCESS;
    }
    listen::hand_on();
    let error = command.exec();
    tracing::error!(
        "the daemon ends, as its program cannot be run in its place: {error}; start it again"
    );
    ExitCode::FAILURE
}

/// Waits for the programs that this process has started before another took its place: they are its
/// children still, and would stay as zombies. To be called before any is started.
pub(super) fn reap_former() {
    let reap = |pid| {
        let reaper = thread::Builder::new().name("reaper".to_owned());
        let wait =
            move || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        reaper.spawn(wait).map(drop)
    };
    if let Err(error) = children().and_then(|pids| pids.into_iter().try_for_each(reap)) {
        tracing::debug!("programs that were started before are not waited for: {error}");
    }
}

/// The children of this process, which has one thread (`proc_pid_task_children(5)`).
fn children() -> io::Result<Vec<rustix::process::Pid>> {
    let pid = std::process::id();
    let listed = fs::read_to_string(format!("/proc/self/task/{pid}/children"))?;
    let pids = listed.split_ascii_whitespace();
    Ok(pids
        .filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?))
        .collect())
}

#[cfg(test)]
mod tests;
