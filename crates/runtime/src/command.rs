//! Running a helper program to its end.
//!
//! Owns finding programs and turning their failure into a sentence. What lives on
//! (conmon) is started elsewhere.

use crate::error::{Context, Error, Result};
use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where programs are looked for beside `$PATH`: a unit's may be short.
const MORE_PATHS: [&str; 4] = [
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/usr/libexec/podman",
];

/// Finds an executable by name, or checks the one at a path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_executable(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_PATHS.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A command with nothing of our environment but a path: `NOTIFY_SOCKET` and `LISTEN_FDS`
/// would make an OCI runtime wait for, or take, what is ours.
pub(crate) fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Runs a program and returns its output.
///
/// # Errors
/// [`Error::Program`] with what it said when it ends with a status other than 0.
pub(crate) fn run<A: AsRef<OsStr>>(program: &Path, action: &str, args: &[A]) -> Result<String> {
    let output = bare(program)
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .context(|| format!("run {}", program.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = match said.trim() {
        "" => output.status.to_string(),
        words => words.to_owned(),
    };
    Err(Error::Program {
        program: program.display().to_string(),
        action: action.to_owned(),
        said,
    })
}
