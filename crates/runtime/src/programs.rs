//! Which OCI runtime really runs a container on this machine.
//!
//! Owns the trial: a tiny container made of read-only views of the host's own programs,
//! in a control group and under the seccomp profile that real ones get. A runtime that is
//! installed may still refuse (crun refuses hybrid control groups), and only a trial tells.
//! The result is kept in a file with what it depends on, so that a restart costs nothing.

use crate::{
    cgroup::Cgroups,
    command,
    error::{Collected, Error, Result},
    files,
    layout::Layout,
    spec,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Directories that a dynamically linked program needs.
const PROGRAM_DIRS: [&str; 7] = ["/bin", "/usr", "/lib", "/lib32", "/lib64", "/nix", "/gnu"];

/// The programs that run containers here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The OCI runtime.
    pub runtime: PathBuf,
    /// conmon.
    pub conmon: PathBuf,
}

/// What a kept result depends on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trial {
    candidates: Vec<String>,
    runtime: PathBuf,
    conmon: PathBuf,
    stamps: Vec<(i64, i64, u64)>,
    boot_id: String,
}

/// Picks the first candidate that runs a container, by trial or from the kept result.
///
/// # Errors
/// [`Error::NoRuntime`] with what each candidate said, [`Error::NoConmon`].
pub(crate) fn probe(
    layout: &Layout,
    cgroups: &Cgroups,
    candidates: &[String],
    conmon: &str,
) -> Result<Programs> {
    let kept = layout.exec().join("probe.json");
    // A damaged result is no result.
    let trial: Option<Trial> = files::read_json(&kept).unwrap_or_default();
    if let Some(trial) = trial
        && trial.candidates == candidates
        && trial.boot_id == boot_id()
        && command::find(conmon).as_ref() == Some(&trial.conmon)
        && stamps(&trial.runtime, &trial.conmon) == trial.stamps
    {
        return Ok(Programs {
            runtime: trial.runtime,
            conmon: trial.conmon,
        });
    }
    let conmon = find_conmon(conmon)?;
    let runtime = first_that_runs(layout, cgroups, candidates)?;
    let trial = Trial {
        candidates: candidates.to_owned(),
        stamps: stamps(&runtime, &conmon),
        boot_id: boot_id(),
        runtime: runtime.clone(),
        conmon: conmon.clone(),
    };
    files::replace(&kept, &files::to_json(&kept, &trial)?)?;
    Ok(Programs { runtime, conmon })
}

fn find_conmon(conmon: &str) -> Result<PathBuf> {
    let refuse = |said: String| Error::NoConmon {
        program: conmon.to_owned(),
        said,
    };
    let path = command::find(conmon).ok_or_else(|| refuse("not found".to_owned()))?;
    command::run(&path, "--version", &["--version"]).map_err(|error| refuse(error.to_string()))?;
    Ok(path)
}

fn first_that_runs(layout: &Layout, cgroups: &Cgroups, candidates: &[String]) -> Result<PathBuf> {
    let mut tried = Vec::new();
    for candidate in candidates {
        let Some(path) = command::find(candidate) else {
            tried.push(format!("{candidate}: not found"));
            continue;
        };
        match attempt(layout, cgroups, &path) {
            Ok(()) => return Ok(path),
            Err(error) => tried.push(error.to_string()),
        }
    }
    Err(Error::NoRuntime {
        tried: tried.join("; "),
    })
}

/// Runs `true` in a container of its own and removes all traces.
fn attempt(layout: &Layout, cgroups: &Cgroups, runtime: &Path) -> Result<()> {
    let name = format!("probe-{}", std::process::id());
    let bundle = layout.exec().join(&name);
    files::make_dir(&bundle.join("rootfs"))?;
    let mut collected = Collected::default();
    collected.note(run(&bundle, runtime, &name, cgroups));
    collected.note(cgroups.remove_named(&name));
    collected.note(files::remove_tree(&bundle));
    cgroups.remove_parents();
    collected.finish()
}

fn run(bundle: &Path, runtime: &Path, name: &str, cgroups: &Cgroups) -> Result<()> {
    let programs = command::find("true").ok_or_else(|| Error::NoRuntime {
        tried: "the program `true` was not found".to_owned(),
    })?;
    let directories = PROGRAM_DIRS.iter().filter(|dir| Path::new(dir).exists());
    let directories: Vec<&str> = directories.copied().collect();
    let config = spec::trial(&programs, &directories, cgroups.named_path(name));
    let path = bundle.join("config.json");
    files::replace(&path, &files::to_json(&path, &config)?)?;
    let root = bundle.join("state");
    let args: [&std::ffi::OsStr; 6] = [
        "--root".as_ref(),
        root.as_ref(),
        "run".as_ref(),
        "--bundle".as_ref(),
        bundle.as_ref(),
        name.as_ref(),
    ];
    command::run(runtime, "run", &args).map(drop)
}

/// When the programs last changed: time of modification and inode.
fn stamps(runtime: &Path, conmon: &Path) -> Vec<(i64, i64, u64)> {
    let stamp = |path: &Path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.mtime(), meta.mtime_nsec(), meta.ino()))
    };
    [runtime, conmon].into_iter().filter_map(stamp).collect()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
