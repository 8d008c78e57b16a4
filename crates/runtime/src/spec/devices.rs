//! The host's device nodes, which `--privileged` shows to a container.
//!
//! Owns the walk over `/dev`; access is the control group's business.

use super::oci::Device;
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

/// Mounted afresh in every container, or not device nodes at all.
const LEFT_OUT: [&str; 7] = [
    "pts",
    "shm",
    "fd",
    "mqueue",
    "console",
    ".udev",
    "hugepages",
];

/// Every device node below `/dev`; what vanishes during the walk is left out.
pub(crate) fn host() -> Vec<Device> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(directory: &Path, found: &mut Vec<Device>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let path = entry.path();
        let Ok(meta) = path.symlink_metadata() else {
            continue;
        };
        if meta.is_dir() {
            walk(&path, found);
            continue;
        }
        let kind = meta.file_type();
        let kind = match (kind.is_char_device(), kind.is_block_device()) {
            (true, _) => "c",
            (_, true) => "b",
            _ => continue,
        };
        let Ok(path) = path.into_os_string().into_string() else {
            continue;
        };
        found.push(Device {
            path,
            kind,
            major: rustix::fs::major(meta.rdev()),
            minor: rustix::fs::minor(meta.rdev()),
            file_mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
        });
    }
}
