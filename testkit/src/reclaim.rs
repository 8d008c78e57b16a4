//! Taking back what a test made: processes, mounts, namespaces, folders.
//!
//! Owns removal, of the running test's things and of those that an interrupted run
//! left. It must touch nothing whose name does not begin with `vwt-` and a process id.

use crate::{
    cgroups,
    lab::{NETNS, PREFIX, machine},
    process,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A killed process is gone within a moment, unless the kernel holds it.
const DEATH: Duration = Duration::from_secs(5);

/// Removes the namespaces and folders whose maker no longer runs.
///
/// Safe beside running tests; what cannot be removed is left for the next sweep.
pub fn sweep() {
    for name in abandoned(Path::new(NETNS)) {
        namespace(&name);
    }
    let folders = std::env::temp_dir();
    for name in abandoned(&folders) {
        folder(&folders.join(name));
    }
}

/// The entries of a folder that a process made which no longer runs.
fn abandoned(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| maker(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()))
        .collect()
}

/// The process that a name speaks of: `vwt-<pid>-…`.
pub(crate) fn maker(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

/// Kills what runs in a namespace of `ip netns`, and removes its name.
pub(crate) fn namespace(name: &str) {
    let path = Path::new(NETNS).join(name);
    if let Ok(inode) = fs::metadata(&path).map(|found| found.ino()) {
        kill_all(&|| processes_in(&BTreeSet::from([inode])));
    }
    // A sweep of another process may have been faster.
    let _ = machine(["ip", "netns", "del", name]);
}

/// Kills what runs on a folder's mounts, unmounts them and removes the folder.
///
/// While anything is still mounted below, nothing is removed: it would be removed
/// from what is mounted.
pub(crate) fn folder(folder: &Path) {
    let namespaces: BTreeSet<u64> = mounts_below(folder)
        .iter()
        .filter_map(|mount| mount.namespace)
        .collect();
    let processes = || {
        let mut found = processes_in(&namespaces);
        found.extend(processes_naming(folder));
        found
    };
    let mut groups = cgroups::parents_of(&processes());
    groups.extend(cgroups::parents_within(folder));
    kill_all(&|| {
        let mut found = processes();
        found.extend(cgroups::members(&groups));
        found
    });
    cgroups::remove(&groups);
    for mount in mounts_below(folder).iter().rev() {
        // Judged below, by what is still mounted.
        let _ = rustix::mount::unmount(&mount.point, rustix::mount::UnmountFlags::DETACH);
    }
    if mounts_below(folder).is_empty() {
        // What cannot be removed is left for the next sweep.
        let _ = fs::remove_dir_all(folder);
    }
}

/// Kills until none is left; new ones may be born meanwhile.
fn kill_all(find: &dyn Fn() -> Vec<u32>) {
    crate::poll(DEATH, || {
        let found = find();
        found.iter().copied().for_each(process::kill);
        found.is_empty().then_some(())
    });
}

/// A mount of this mount namespace.
#[derive(Debug)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) point: PathBuf,
    /// The inode of the network namespace that is mounted there, if one is.
    pub(crate) namespace: Option<u64>,
}

/// The mounts at and below a folder, in the order in which they were made.
pub(crate) fn mounts_below(folder: &Path) -> Vec<Mount> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| {
            // proc(5): id, parent, device, root, mount point, …
            let mut fields = line.split(' ').skip(3);
            let (root, point) = (fields.next()?, PathBuf::from(fields.next()?));
            let inode = root
                .strip_prefix("net:[")
                .and_then(|rest| rest.strip_suffix(']'));
            point.starts_with(folder).then(|| Mount {
                point,
                namespace: inode.and_then(|inode| inode.parse().ok()),
            })
        })
        .collect()
}

/// The processes in these network namespaces, but never this one, nor those of its own namespace.
pub(crate) fn processes_in(namespaces: &BTreeSet<u64>) -> Vec<u32> {
    let inode = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/net")).map(|found| found.ino());
    let own = inode(std::process::id()).ok();
    processes()
        .filter(|&pid| {
            inode(pid).is_ok_and(|inode| Some(inode) != own && namespaces.contains(&inode))
        })
        .collect()
}

/// The processes whose command line names something in a folder, but never this one.
pub(crate) fn processes_naming(folder: &Path) -> Vec<u32> {
    let wanted = folder.as_os_str().as_encoded_bytes();
    let names = |pid: u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.windows(wanted.len() + 1)
                .any(|window| window.starts_with(wanted) && b"/\0".contains(&window[wanted.len()]))
        })
    };
    processes()
        .filter(|&pid| pid != std::process::id() && names(pid))
        .collect()
}

/// The processes that run; zombies have ended already.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
                !stat
                    .rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('Z'))
            })
        })
}
