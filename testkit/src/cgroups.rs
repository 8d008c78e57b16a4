//! The control groups that a daemon made for its containers.
//!
//! Owns finding them, from outside: by the processes in them, and by the data directory that their
//! name follows from. It removes only groups
//! that are empty and lie below one whose name begins with `vethwork-`.

use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A killed process leaves its group within a moment.
const EMPTIED: Duration = Duration::from_secs(5);

/// The parents, `vethwork-…`, of the groups that these processes are in.
///
/// Never one that this process is in itself: the tests may run in a container of ours.
pub(crate) fn parents_of(processes: &[u32]) -> BTreeSet<PathBuf> {
    let own: BTreeSet<PathBuf> = parents(std::process::id()).collect();
    let mounts = hierarchies();
    processes
        .iter()
        .flat_map(|&pid| parents(pid))
        .filter(|group| !own.contains(group))
        .flat_map(|group| mounts.iter().map(move |mount| mount.join(&group)))
        .filter(|path| path.is_dir())
        .collect()
}

/// The parents of the groups of every daemon whose data directory lies in a folder: where all of its
/// processes ended, no process tells them any more.
pub(crate) fn parents_within(folder: &Path) -> BTreeSet<PathBuf> {
    let data = directories(folder).filter_map(|daemon| {
        let data = daemon.join("data");
        data.is_dir().then_some(data)
    });
    let names: Vec<String> = data.map(|data| name_of(&data)).collect();
    let mounts = hierarchies().into_iter();
    mounts
        .flat_map(|mount| names.iter().map(move |name| mount.join(name)))
        .filter(|path| path.is_dir())
        .collect()
}

/// The name that a data directory's parent group has: what follows from it in `vw-runtime`.
pub(crate) fn name_of(data: &Path) -> String {
    let digest = Sha256::digest(data.as_os_str().as_encoded_bytes());
    let suffix: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
    format!("vethwork-{suffix}")
}

fn parents(process: u32) -> impl Iterator<Item = PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let found: Vec<_> = groups.lines().filter_map(parent).collect();
    found.into_iter()
}

/// The parent that a line of `/proc/PID/cgroup` (cgroups(7)) names, relative to its hierarchy.
pub(crate) fn parent(line: &str) -> Option<PathBuf> {
    let path = line.splitn(3, ':').nth(2)?.trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    let ours = parts
        .iter()
        .position(|part| part.starts_with("vethwork-"))?;
    Some(parts[..=ours].iter().collect())
}

/// The processes in these groups and those below them.
pub(crate) fn members(groups: &BTreeSet<PathBuf>) -> Vec<u32> {
    groups.iter().flat_map(|group| members_of(group)).collect()
}

fn members_of(group: &Path) -> Vec<u32> {
    let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = inside.lines().filter_map(|pid| pid.parse().ok());
    let below = directories(group).flat_map(|group| members_of(&group));
    own.chain(below).collect()
}

/// The directories in one: the groups below a group, the daemons' of a lab.
fn directories(place: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

/// Removes groups with all that lies in them, once their processes are gone.
pub(crate) fn remove(groups: &BTreeSet<PathBuf>) {
    for group in groups {
        crate::poll(EMPTIED, || {
            remove_tree(group);
            (!group.exists()).then_some(())
        });
    }
}

/// Groups are removed from the innermost; their files go with them.
fn remove_tree(group: &Path) {
    directories(group).for_each(|group| remove_tree(&group));
    // Busy while a process is in it: the caller asks again.
    let _ = fs::remove_dir(group);
}

/// Where control groups are mounted, of version 1 and 2.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (point, kind) = (fields.next()?, fields.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| point.into())
        })
        .collect()
}
