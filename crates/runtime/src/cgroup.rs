//! Control groups: where monitors live, and the end of a container's own.
//!
//! Owns the one parent a data directory has in every hierarchy (version 1, hybrid and
//! version 2). A container's group below it is made by the OCI runtime; this removes it.
//! Limits are the OCI runtime's business.

use crate::{
    error::{Collected, Context, Result},
    layout::RunDir,
};
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use vw_model::SandboxId;

/// How often to look whether a zombie was reaped.
const UNREAPED: Duration = Duration::from_millis(1);

/// The group of all conmon processes of one data directory.
const MONITORS: &str = "monitors";

/// The hierarchies of this machine and our parent group in them.
#[derive(Debug)]
pub(crate) struct Cgroups {
    mounts: Vec<Hierarchy>,
    parent: String,
}

#[derive(Debug)]
struct Hierarchy {
    at: PathBuf,
    unified: bool,
    /// A group of it takes no process before its CPUs and memory nodes are named.
    cpuset: bool,
}

impl Cgroups {
    /// Finds the hierarchies; the parent's name follows from the data directory.
    pub(crate) fn detect(data_root: &Path) -> Result<Self> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")
            .context(|| "read /proc/self/mountinfo".to_owned())?;
        let digest = Sha256::digest(data_root.as_os_str().as_encoded_bytes());
        let suffix: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            mounts: hierarchies(&mountinfo),
            parent: format!("vethwork-{suffix}"),
        })
    }

    /// Whether version 2 is the only one here.
    pub(crate) fn unified(&self) -> bool {
        self.mounts.iter().all(|hierarchy| hierarchy.unified)
    }

    /// A container's group, as `cgroupsPath` wants it.
    pub(crate) fn path(&self, id: SandboxId) -> String {
        self.named_path(&id.to_string())
    }

    /// The same for a group that is no container's.
    pub(crate) fn named_path(&self, name: &str) -> String {
        format!("/{}/{name}", self.parent)
    }

    /// Opens the files by which a process moves into the group of monitors, making it first.
    ///
    /// A write of `0` to each moves the writer. Our own group's end (systemd stopping our
    /// unit) then no longer reaches it.
    pub(crate) fn monitor_doors(&self) -> Result<Vec<OwnedFd>> {
        let mut doors = Vec::with_capacity(self.mounts.len());
        for hierarchy in &self.mounts {
            let group = hierarchy.at.join(&self.parent).join(MONITORS);
            if !group.exists() {
                self.make(hierarchy, &group)?;
            }
            let door = group.join("cgroup.procs");
            let open = rustix::fs::open(&door, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            doors.push(open.context(|| format!("open {}", door.display()))?);
        }
        Ok(doors)
    }

    fn make(&self, hierarchy: &Hierarchy, group: &Path) -> Result<()> {
        fs::create_dir_all(group).context(|| format!("make {}", group.display()))?;
        if hierarchy.cpuset && !hierarchy.unified {
            let parent = hierarchy.at.join(&self.parent);
            for group in [parent.as_path(), group] {
                inherit_cpuset(group)?;
            }
        }
        Ok(())
    }

    /// Every process in the group of monitors.
    pub(crate) fn monitors(&self) -> Vec<Pid> {
        let Some(hierarchy) = self.mounts.first() else {
            return Vec::new();
        };
        let group = hierarchy.at.join(&self.parent).join(MONITORS);
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        members
            .lines()
            .filter_map(|line| Pid::from_raw(line.parse().ok()?))
            .collect()
    }

    /// Whether a process belongs to a container: told by its group, so that a reused
    /// process id is never taken for the container's.
    fn holds(&self, id: SandboxId, pid: Pid) -> bool {
        let path = self.path(id);
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
        groups.is_ok_and(|groups| {
            groups.lines().any(|line| {
                let group = line.splitn(3, ':').nth(2).unwrap_or_default();
                group.find(&path).is_some_and(|at| {
                    matches!(group.as_bytes().get(at + path.len()), None | Some(b'/'))
                })
            })
        })
    }

    /// A container's first process, while it lives.
    pub(crate) fn first_process(&self, run: &RunDir, id: SandboxId) -> Option<(Pid, OwnedFd)> {
        let text = fs::read_to_string(run.pid_file()).ok()?;
        let pid = Pid::from_raw(text.trim().parse().ok()?)?;
        Some((pid, self.process(id, pid)?))
    }

    /// A process, if it lives and is of this container.
    pub(crate) fn process(&self, id: SandboxId, pid: Pid) -> Option<OwnedFd> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Asked after the pidfd is open: if the process is the container's now, the pidfd is
        // too. An ended one, reaped or not, makes its pidfd readable.
        let lives = !crate::wait::readable(&pidfd, Duration::ZERO);
        (lives && self.holds(id, pid)).then_some(pidfd)
    }

    /// Kills what is left in a container's group and removes it. Idempotent.
    pub(crate) fn remove(&self, id: SandboxId) -> Result<()> {
        self.remove_named(&id.to_string())
    }

    /// The same for a group that is no container's.
    pub(crate) fn remove_named(&self, name: &str) -> Result<()> {
        let mut collected = Collected::default();
        for hierarchy in &self.mounts {
            let group = hierarchy.at.join(&self.parent).join(name);
            if group.exists() {
                collected.note(remove_group(&group));
            }
        }
        collected.finish()
    }

    /// Removes the parent and the group of monitors where nothing is left in them.
    pub(crate) fn remove_parents(&self) {
        for hierarchy in &self.mounts {
            let parent = hierarchy.at.join(&self.parent);
            // Busy means that a container lives: then it stays.
            if fs::remove_dir(parent.join(MONITORS)).is_ok() || !parent.join(MONITORS).exists() {
                let _ = fs::remove_dir(&parent);
            }
        }
    }
}

fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut after = after.split(' ');
        let (kind, options) = (
            after.next().unwrap_or_default(),
            after.nth(1).unwrap_or_default(),
        );
        if kind != "cgroup" && kind != "cgroup2" {
            continue;
        }
        let at = PathBuf::from(before.split(' ').nth(4).unwrap_or_default());
        if at.starts_with("/sys/fs/cgroup") && found.iter().all(|known| known.at != at) {
            found.push(Hierarchy {
                at,
                unified: kind == "cgroup2",
                cpuset: options.split(',').any(|option| option == "cpuset"),
            });
        }
    }
    found
}

fn inherit_cpuset(group: &Path) -> Result<()> {
    let above = group.parent().unwrap_or(group);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let copy = || {
            if fs::read_to_string(group.join(file))?.trim().is_empty() {
                fs::write(group.join(file), fs::read_to_string(above.join(file))?)?;
            }
            Ok::<_, std::io::Error>(())
        };
        copy().context(|| format!("set {file} of {}", group.display()))?;
    }
    Ok(())
}

/// Removes a group with those below it; what is still in them is killed.
fn remove_group(group: &Path) -> Result<()> {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_group(&entry.path())?;
    }
    let deadline = Instant::now() + crate::wait::PATIENCE;
    loop {
        let members = kill_members(group);
        match rustix::fs::rmdir(group) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < deadline => {}
            other => {
                return other.context(|| format!("remove the control group {}", group.display()));
            }
        }
        for member in &members {
            let left = deadline.saturating_duration_since(Instant::now());
            crate::wait::readable(member, left);
        }
        if members.is_empty() {
            // A zombie that its parent has not reaped holds the group although no cgroup.procs
            // names it, and with version 1 the kernel tells nobody when it lets go.
            std::thread::sleep(UNREAPED);
        }
    }
}

fn kill_members(group: &Path) -> Vec<OwnedFd> {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids = members
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?));
    pids.filter_map(|pid| {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).ok()?;
        Some(pidfd)
    })
    .collect()
}

#[cfg(test)]
mod tests;
