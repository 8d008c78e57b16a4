//! What is mounted over a container's root file system.
//!
//! Owns Docker's default mounts, the order (by depth, so that a mount never hides
//! another), binds, tmpfs and the files that the caller keeps for the container.

use super::oci::Mount as OciMount;
use crate::error::{Context, Error, Result};
use std::path::{Path, PathBuf};
use vw_model::{Mount, MountKind};

/// Hidden from unprivileged containers: they tell of the host, or reach it.
pub(crate) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Readable, not writable, for unprivileged containers.
pub(crate) const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

const DEFAULT_SHM: i64 = 64 << 20;

const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

fn mount(destination: &str, kind: &'static str, source: &str, options: &str) -> OciMount {
    OciMount {
        destination: destination.to_owned(),
        kind,
        source: source.to_owned(),
        options: options.split(',').map(str::to_owned).collect(),
    }
}

/// `/proc`, `/dev`, `/sys` and below, as in every container.
pub(crate) fn defaults(privileged: bool, shm_size: i64) -> Vec<OciMount> {
    let shm = if shm_size > 0 { shm_size } else { DEFAULT_SHM };
    let access = if privileged { "rw" } else { "ro" };
    let kernel = format!("nosuid,noexec,nodev,{access}");
    vec![
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            "nosuid,strictatime,mode=755,size=65536k",
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
        ),
        mount("/sys", "sysfs", "sysfs", &kernel),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &kernel),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &format!("nosuid,noexec,nodev,mode=1777,size={shm}"),
        ),
    ]
}

/// `/proc` and read-only views of the host's directories, for the runtime's trial.
pub(crate) fn views(directories: &[&str]) -> Vec<OciMount> {
    let mut all = vec![mount("/proc", "proc", "proc", "nosuid,noexec,nodev")];
    all.extend(
        directories
            .iter()
            .map(|dir| mount(dir, "bind", dir, "rbind,rprivate,ro")),
    );
    all
}

/// What the image `host` needs over a view of the machine's own root: places for
/// sockets and temporary files that are not the host's.
pub(crate) fn host_view() -> Vec<OciMount> {
    vec![
        mount(
            "/run",
            "tmpfs",
            "tmpfs",
            "nosuid,nodev,mode=755,size=65536k",
        ),
        mount("/tmp", "tmpfs", "tmpfs", "nosuid,nodev,mode=1777"),
    ]
}

/// Where a user's mount hides a default one, the default is left out.
pub(crate) fn without_hidden(defaults: Vec<OciMount>, asked: &[Mount]) -> Vec<OciMount> {
    let hidden = |mount: &OciMount| {
        let target = Path::new(&mount.destination);
        // A tmpfs on /dev must not take /dev/pts and /dev/shm away; only an equal target counts.
        asked.iter().any(|asked| asked.target == target)
    };
    defaults
        .into_iter()
        .filter(|mount| !hidden(mount))
        .collect()
}

/// The mounts that the user asked for, outer ones first.
///
/// # Errors
/// [`Error::NoMountSource`] for `--mount` of a missing path; [`Error::InvalidSpec`] for a
/// relative path, a target that is the root, or an unknown propagation.
pub(crate) fn asked(mounts: &[Mount]) -> Result<Vec<OciMount>> {
    let mut all = mounts.iter().map(one).collect::<Result<Vec<_>>>()?;
    // Stable: equal depths keep the order in which they were asked for.
    all.sort_by_key(|mount| Path::new(&mount.destination).components().count());
    Ok(all)
}

fn one(mount: &Mount) -> Result<OciMount> {
    let target = text(&mount.target)?;
    if !mount.target.is_absolute() {
        return Err(Error::InvalidSpec(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if mount.target == Path::new("/") {
        return Err(Error::InvalidSpec(
            "invalid specification: destination can't be '/'".to_owned(),
        ));
    }
    match &mount.kind {
        MountKind::Tmpfs { options } => Ok(tmpfs(&target, options, mount.read_only)),
        MountKind::Bind {
            source,
            propagation,
            create_source,
        } => {
            prepare_source(source, *create_source)?;
            bind(source, &target, propagation, mount.read_only)
        }
    }
}

fn tmpfs(target: &str, asked: &str, read_only: bool) -> OciMount {
    let mut options = vec!["noexec", "nosuid", "nodev"];
    options.extend(asked.split(',').filter(|option| !option.is_empty()));
    options.extend(read_only.then_some("ro"));
    mount(target, "tmpfs", "tmpfs", &options.join(","))
}

fn prepare_source(source: &Path, create: bool) -> Result<()> {
    if !source.is_absolute() {
        return Err(Error::InvalidSpec(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
            source.display()
        )));
    }
    match source.symlink_metadata() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
            std::fs::create_dir_all(source)
                .context(|| format!("make the bind source {}", source.display()))
        }
        Err(_) => Err(Error::NoMountSource(source.to_owned())),
    }
}

fn bind(source: &Path, target: &str, propagation: &str, read_only: bool) -> Result<OciMount> {
    let propagation = match propagation {
        "" => "rprivate",
        known if PROPAGATIONS.contains(&known) => known,
        other => {
            return Err(Error::InvalidSpec(format!(
                "invalid mount config for type \"bind\": invalid propagation mode: {other}"
            )));
        }
    };
    let mut options = format!("rbind,{propagation}");
    if read_only {
        options.push_str(",ro");
    }
    Ok(mount(target, "bind", &text(source)?, &options))
}

/// Single files of the host, such as the container's `/etc/hosts`.
pub(crate) fn files(files: &[(PathBuf, PathBuf)], read_only: bool) -> Result<Vec<OciMount>> {
    let one =
        |(source, target): &(PathBuf, PathBuf)| bind(source, &text(target)?, "rprivate", read_only);
    files.iter().map(one).collect()
}

/// A path as JSON can carry it.
pub(crate) fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::InvalidSpec(format!("{}: a path must be valid UTF-8", path.display()))
    })
}
