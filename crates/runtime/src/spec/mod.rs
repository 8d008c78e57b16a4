//! From a container's specification to the OCI runtime's `config.json`.
//!
//! Owns what Docker decides between the two: namespaces, capabilities, mounts, limits,
//! the environment. Looks into the mounted root file system for users; starts nothing.

mod caps;
mod devices;
mod limits;
mod mounts;
pub(crate) mod oci;
mod process;
mod seccomp;
mod user;

pub(crate) use process::{exec as exec_process, merge_env};

use crate::{
    error::{Error, Result},
    inroot,
};
use oci::{Config, Linux, Namespace, Root};
use rustix::fd::BorrowedFd;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use vw_model::ContainerSpec;

/// Where `--init` puts the init program in the container, as Docker does.
const INIT_TARGET: &str = "/sbin/docker-init";

/// The programs that can be it: each reaps children and passes signals on.
const INITS: [&str; 4] = ["docker-init", "tini", "catatonit", "dumb-init"];

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// Everything that a `config.json` is made from, apart from the root file system.
pub(crate) struct Inputs<'a> {
    pub(crate) spec: &'a ContainerSpec,
    pub(crate) hostname: &'a str,
    pub(crate) domainname: &'a str,
    pub(crate) netns: Option<&'a Path>,
    pub(crate) files: &'a [(PathBuf, PathBuf)],
    pub(crate) console: Option<WindowSize>,
    pub(crate) rootfs: &'a Path,
    pub(crate) cgroups_path: String,
    /// The root file system is a view of this machine's own.
    pub(crate) host_view: bool,
    /// The control groups are those of version 2 alone, which have a namespace worth the name.
    pub(crate) unified: bool,
}

/// Makes the configuration; reads users and makes the working directory below `root`.
///
/// # Errors
/// Docker's refusals of a specification; [`Error::Io`] on the root file system.
pub(crate) fn config(inputs: &Inputs<'_>, root: BorrowedFd<'_>) -> Result<Config> {
    let spec = inputs.spec;
    let own = caps::own();
    let capabilities = caps::resolve(&spec.cap_add, &spec.cap_drop, spec.privileged, own)?;
    let mut process = process::first(inputs, &capabilities, root)?;
    let mut mounts = mounts::defaults(spec.privileged, spec.shm_size);
    if inputs.host_view {
        mounts.extend(mounts::host_view());
    }
    let mut mounts = mounts::without_hidden(mounts, &spec.mounts);
    mounts.extend(mounts::files(inputs.files, spec.read_only)?);
    mounts.extend(mounts::asked(&spec.mounts)?);
    if spec.init {
        let init = find_init().ok_or(Error::NoInit)?;
        let pair = (init, PathBuf::from(INIT_TARGET));
        mounts.extend(mounts::files(&[pair], true)?);
        process
            .args
            .splice(0..0, [INIT_TARGET.to_owned(), "--".to_owned()]);
    }
    let seccomp =
        (!spec.privileged && !spec.seccomp_unconfined).then(|| seccomp::profile(&capabilities));
    Ok(Config {
        oci_version: "1.0.2",
        process,
        root: Root {
            path: mounts::text(inputs.rootfs)?,
            readonly: spec.read_only,
        },
        hostname: inputs.hostname.to_owned(),
        linux: Linux {
            namespaces: namespaces(inputs)?,
            cgroups_path: inputs.cgroups_path.clone(),
            resources: limits::resources(&spec.limits, spec.privileged)?,
            sysctl: sysctls(inputs),
            devices: if spec.privileged {
                devices::host()
            } else {
                Vec::new()
            },
            seccomp,
            masked_paths: unless(spec.privileged, mounts::MASKED),
            readonly_paths: unless(spec.privileged, mounts::READ_ONLY),
            rootfs_propagation: propagation(&mounts),
        },
        mounts,
    })
}

/// The smallest container worth a trial: one program, read-only views of the directories
/// that hold it, a control group, the default capabilities and seccomp profile.
pub(crate) fn trial(program: &Path, directories: &[&str], cgroups_path: String) -> Config {
    let fresh = |kind| Namespace { kind, path: None };
    let capabilities: caps::Set = caps::own().iter().copied().take(1).collect();
    Config {
        oci_version: "1.0.2",
        process: process::trial(program, &capabilities),
        root: Root {
            path: "rootfs".to_owned(),
            readonly: false,
        },
        hostname: String::new(),
        mounts: mounts::views(directories),
        linux: Linux {
            namespaces: ["mount", "uts", "pid", "ipc"].map(fresh).into(),
            cgroups_path,
            resources: limits::none(),
            sysctl: BTreeMap::new(),
            devices: Vec::new(),
            seccomp: Some(seccomp::profile(&capabilities)),
            masked_paths: Vec::new(),
            readonly_paths: Vec::new(),
            rootfs_propagation: None,
        },
    }
}

fn unless(privileged: bool, paths: &[&'static str]) -> Vec<&'static str> {
    if privileged {
        Vec::new()
    } else {
        paths.to_vec()
    }
}

/// A shared or slave bind needs a root that lets events pass (runtime-spec, `rootfsPropagation`).
fn propagation(mounts: &[oci::Mount]) -> Option<&'static str> {
    let has = |word: &str| {
        let mut options = mounts.iter().flat_map(|mount| &mount.options);
        options.any(|option| option.trim_start_matches('r') == word)
    };
    if has("shared") {
        Some("rshared")
    } else if has("slave") {
        Some("rslave")
    } else {
        None
    }
}

fn namespaces(inputs: &Inputs<'_>) -> Result<Vec<Namespace>> {
    let fresh = |kind| Namespace { kind, path: None };
    let mut all = vec![fresh("mount"), fresh("uts"), fresh("pid"), fresh("ipc")];
    if let Some(path) = inputs.netns {
        all.push(Namespace {
            kind: "network",
            path: Some(mounts::text(path)?),
        });
    }
    // Docker's default: private with version 2 alone, the host's otherwise.
    if inputs.unified && !inputs.spec.privileged {
        all.push(fresh("cgroup"));
    }
    Ok(all)
}

fn sysctls(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if inputs.netns.is_some() {
        // Docker's: a container needs no capability for low ports and for ping.
        all.insert(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        );
        all.insert(
            "net.ipv4.ping_group_range".to_owned(),
            "0 2147483647".to_owned(),
        );
    }
    if !inputs.domainname.is_empty() {
        all.insert("kernel.domainname".to_owned(), inputs.domainname.to_owned());
    }
    all.extend(inputs.spec.sysctls.clone());
    all
}

fn find_init() -> Option<PathBuf> {
    INITS.iter().find_map(|name| crate::command::find(name))
}

/// Reads a file of the container, empty when it is not there.
fn read_inside(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    use crate::error::Context;
    let text =
        inroot::read(root, Path::new(path)).context(|| format!("read the container's {path}"))?;
    Ok(text.unwrap_or_default())
}

#[cfg(test)]
mod tests;
