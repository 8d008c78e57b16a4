//! The end of a conmon whose process does not end: its container stands still, or its OCI runtime
//! does.
//!
//! Owns that what it began ends with it. What a process of the container left to the container is
//! none of conmon's descendants, and goes on.

use rustix::{
    fd::{AsRawFd, OwnedFd},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::fs;

/// Kills a conmon and all of its descendants. Those that are frozen die when they are thawed.
pub(crate) fn kill(monitor: &OwnedFd) {
    let mut found = Vec::new();
    let mut pids: Vec<Pid> = named_by(monitor).into_iter().collect();
    let everybody = processes();
    let mut at = 0;
    while let Some(parent) = pids.get(at).copied() {
        let children = everybody.iter().filter(|(_, above)| *above == Some(parent));
        for (child, _) in children {
            let pidfd = pidfd_open(*child, PidfdFlags::empty()).ok();
            // Asked again with the pidfd open: a number that another took meanwhile is none of ours.
            if parent_of(*child) == Some(parent) {
                pids.push(*child);
                found.extend(pidfd);
            }
        }
        at += 1;
    }
    for process in found.iter().chain([monitor]) {
        // It may have ended meanwhile.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
}

/// The process of a pidfd, while it lives.
fn named_by(pidfd: &OwnedFd) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    // -1 of one that has ended.
    let number = number.trim().parse().ok().filter(|number| *number > 0)?;
    Pid::from_raw(number)
}

/// Every process, with its parent.
fn processes() -> Vec<(Pid, Option<Pid>)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pids = numbers.filter_map(Pid::from_raw);
    pids.map(|pid| (pid, parent_of(pid))).collect()
}

/// `proc_pid_stat(5)`, field 4.
fn parent_of(pid: Pid) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The second field is the program's name in parentheses and may itself hold any character.
    let (_, after_name) = text.rsplit_once(')')?;
    let parent = after_name.split_ascii_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}
