//! `Binds`, `Tmpfs` and `Mounts` into mounts.

use super::config::{BindOptions, HostConfig, Mount, TmpfsOptions};
use crate::{errors::ApiError, version::ApiVersion};
use std::path::{Component, Path, PathBuf};
use vw_model::MountKind;

const NO_VOLUMES: &str = "there are no volumes; bind an absolute path or use a tmpfs";
const PROPAGATIONS: &[&str] = &[
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];

/// Every mount asked for: binds, then file systems in memory, then the structured ones.
///
/// # Errors
/// 400 with Docker's sentences for what is malformed, 501 by name for volumes.
pub(super) fn all(
    host: &HostConfig,
    version: ApiVersion,
) -> Result<Vec<vw_model::Mount>, ApiError> {
    let mut mounts = Vec::new();
    for text in host.binds.iter().flatten() {
        mounts.push(bind(text)?);
    }
    for (target, options) in &host.tmpfs {
        let kind = MountKind::Tmpfs {
            options: options.clone(),
        };
        mounts.push(vw_model::Mount {
            kind,
            target: absolute(target)?,
            read_only: false,
        });
    }
    for mount in &host.mounts {
        mounts.push(structured(mount, version)?);
    }
    let mut targets: Vec<_> = mounts.iter().map(|mount| &mount.target).collect();
    targets.sort_unstable();
    if let Some(twice) = targets.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("Duplicate mount point: {}", twice[0].display());
        return Err(ApiError::bad_request(message));
    }
    Ok(mounts)
}

/// `SOURCE:TARGET[:OPTIONS]`.
fn bind(text: &str) -> Result<vw_model::Mount, ApiError> {
    let malformed = || ApiError::bad_request(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [_] => return Err(ApiError::unsupported_option("Volumes", NO_VOLUMES)),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(malformed()),
    };
    if source.is_empty() || target.is_empty() {
        return Err(malformed());
    }
    if !source.starts_with('/') {
        return Err(ApiError::unsupported_option(
            &format!("the volume {source:?}"),
            NO_VOLUMES,
        ));
    }
    let (mut read_only, mut propagation) = (false, String::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // Labels of SELinux and consistency hints change nothing where there is neither.
            "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
            word if PROPAGATIONS.contains(&word) => propagation = word.to_owned(),
            _ => return Err(ApiError::bad_request(format!("invalid mode: {options}"))),
        }
    }
    let kind = MountKind::Bind {
        source: absolute(source)?,
        propagation,
        create_source: true,
    };
    Ok(vw_model::Mount {
        kind,
        target: absolute(target)?,
        read_only,
    })
}

fn structured(mount: &Mount, version: ApiVersion) -> Result<vw_model::Mount, ApiError> {
    if mount.target.is_empty() {
        return Err(invalid(mount, "field Target must not be empty"));
    }
    check_options(mount, version)?;
    let kind = match mount.r#type.as_str() {
        "bind" => structured_bind(mount)?,
        "tmpfs" if !mount.source.is_empty() => {
            return Err(invalid(mount, "field Source must not be specified"));
        }
        "tmpfs" => tmpfs(mount.tmpfs_options.as_ref()),
        "volume" => {
            return Err(ApiError::unsupported_option(
                "Mount type \"volume\"",
                NO_VOLUMES,
            ));
        }
        "image" | "cluster" | "npipe" => {
            let name = format!("Mount type {:?}", mount.r#type);
            return Err(ApiError::unsupported_option(&name, "use bind or tmpfs"));
        }
        _ => return Err(invalid(mount, "mount type unknown")),
    };
    Ok(vw_model::Mount {
        kind,
        target: absolute(&mount.target)?,
        read_only: mount.read_only,
    })
}

/// Options of another type are refused from API 1.42 on, and were ignored before.
fn check_options(mount: &Mount, version: ApiVersion) -> Result<(), ApiError> {
    if version < ApiVersion::v1(42) {
        return Ok(());
    }
    let kind = mount.r#type.as_str();
    let foreign = [
        (
            "VolumeOptions",
            mount.volume_options.is_some() && kind != "volume",
        ),
        (
            "BindOptions",
            mount.bind_options.is_some() && kind != "bind",
        ),
        (
            "TmpfsOptions",
            mount.tmpfs_options.is_some() && kind != "tmpfs",
        ),
    ];
    match foreign.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(ApiError::bad_request(format!(
            "{name} must not be specified on mount type {kind:?}"
        ))),
        None => Ok(()),
    }
}

fn structured_bind(mount: &Mount) -> Result<MountKind, ApiError> {
    if mount.source.is_empty() {
        return Err(invalid(mount, "field Source must not be empty"));
    }
    let default = BindOptions::default();
    let options = mount.bind_options.as_ref().unwrap_or(&default);
    let recursion = [
        ("BindOptions.NonRecursive", options.non_recursive),
        (
            "BindOptions.ReadOnlyNonRecursive",
            options.read_only_non_recursive,
        ),
        (
            "BindOptions.ReadOnlyForceRecursive",
            options.read_only_force_recursive,
        ),
    ];
    if let Some((name, _)) = recursion.iter().find(|(_, asked)| *asked) {
        return Err(ApiError::unsupported_option(name, "binds are recursive"));
    }
    let propagation = options.propagation.clone();
    if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation.as_str()) {
        return Err(invalid(
            mount,
            &format!("invalid propagation mode: {propagation}"),
        ));
    }
    let source = absolute(&mount.source)
        .map_err(|_| invalid(mount, "invalid mount path: mount path must be absolute"))?;
    Ok(MountKind::Bind {
        source,
        propagation,
        create_source: options.create_mountpoint,
    })
}

fn tmpfs(options: Option<&TmpfsOptions>) -> MountKind {
    let mut words = Vec::new();
    if let Some(options) = options {
        if options.size_bytes > 0 {
            words.push(format!("size={}", options.size_bytes));
        }
        if options.mode != 0 {
            words.push(format!("mode={:o}", options.mode));
        }
        words.extend(options.options.iter().map(|pair| pair.join("=")));
    }
    MountKind::Tmpfs {
        options: words.join(","),
    }
}

fn invalid(mount: &Mount, why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "invalid mount config for type {:?}: {why}",
        mount.r#type
    ))
}

/// An absolute path without `.` and `..`; a target of `/` is none.
fn absolute(text: &str) -> Result<PathBuf, ApiError> {
    let path = Path::new(text);
    let plain = path
        .components()
        .all(|part| !matches!(part, Component::ParentDir));
    if !path.is_absolute() || !plain || text.contains('\0') {
        let message = format!(
            "invalid mount config: invalid mount path: '{text}' mount path must be absolute"
        );
        return Err(ApiError::bad_request(message));
    }
    Ok(path.components().collect())
}
