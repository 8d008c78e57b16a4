//! The processes of a container: its first one, and those of `exec`.
//!
//! Owns command line, environment, user, working directory.

use super::{
    Inputs, WindowSize, caps, limits,
    oci::{Capabilities, ConsoleSize, Process, User},
    read_inside, user,
};
use crate::{
    error::{Context, Error, Result},
    exec::ExecSpec,
    inroot,
};
use rustix::fd::BorrowedFd;
use std::path::Path;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The container's first process.
pub(super) fn first(
    inputs: &Inputs<'_>,
    capabilities: &caps::Set,
    root: BorrowedFd<'_>,
) -> Result<Process> {
    let spec = inputs.spec;
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={}", inputs.hostname)];
    env.extend(spec.tty.then(|| "TERM=xterm".to_owned()));
    merge_env(&mut env, &spec.env);
    let found = find_user(&spec.user, &spec.groups, root)?;
    set_home(&mut env, &found.home);
    Ok(Process {
        terminal: spec.tty,
        console_size: inputs.console.map(size),
        user: found.user,
        args: command_line(spec.entrypoint.as_deref(), &spec.cmd)?,
        env,
        cwd: working_dir(&spec.working_dir, root)?,
        capabilities: all_sets(capabilities),
        rlimits: limits::rlimits(&spec.limits.ulimits)?,
        no_new_privileges: spec.no_new_privileges,
    })
}

/// A further process: what the container's first one has, and what the request changes.
pub(crate) fn exec(
    request: &ExecSpec,
    console: Option<WindowSize>,
    first: Process,
    root: BorrowedFd<'_>,
) -> Result<Process> {
    let mut env = first.env;
    env.retain(|entry| !entry.starts_with("TERM="));
    env.extend(request.tty.then(|| "TERM=xterm".to_owned()));
    merge_env(&mut env, &request.env);
    let user = if request.user.is_empty() {
        first.user
    } else {
        env.retain(|entry| !entry.starts_with("HOME="));
        let found = find_user(&request.user, &[], root)?;
        set_home(&mut env, &found.home);
        found.user
    };
    let cwd = match request.working_dir.as_str() {
        "" => first.cwd,
        asked => absolute(asked)?,
    };
    Ok(Process {
        terminal: request.tty,
        console_size: console.map(size),
        user,
        args: command_line(None, &request.cmd)?,
        env,
        cwd,
        capabilities: if request.privileged {
            all_sets(caps::own())
        } else {
            first.capabilities
        },
        rlimits: first.rlimits,
        no_new_privileges: first.no_new_privileges,
    })
}

/// The one program of the runtime's trial.
pub(super) fn trial(program: &Path, capabilities: &caps::Set) -> Process {
    Process {
        terminal: false,
        console_size: None,
        user: User {
            uid: 0,
            gid: 0,
            additional_gids: Vec::new(),
        },
        args: vec![program.to_string_lossy().into_owned()],
        env: vec![PATH.to_owned()],
        cwd: "/".to_owned(),
        capabilities: all_sets(capabilities),
        rlimits: Vec::new(),
        no_new_privileges: false,
    }
}

fn all_sets(set: &caps::Set) -> Capabilities {
    let names: Vec<String> = set.iter().map(|name| (*name).to_owned()).collect();
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
    }
}

const fn size(window: WindowSize) -> ConsoleSize {
    ConsoleSize {
        height: window.rows,
        width: window.cols,
    }
}

/// Entry point, then command; an entry point of one empty word takes the image's away.
pub(super) fn command_line(entrypoint: Option<&[String]>, cmd: &[String]) -> Result<Vec<String>> {
    let entrypoint = entrypoint.unwrap_or_default();
    let reset = matches!(entrypoint, [only] if only.is_empty());
    let entrypoint = if reset { &[] } else { entrypoint };
    let line = [entrypoint, cmd].concat();
    match line.first() {
        None => Err(Error::NoCommand),
        Some(_) => Ok(line),
    }
}

/// Sets each variable, in its place when it is there; a name without `=` is taken away.
pub(crate) fn merge_env(env: &mut Vec<String>, changes: &[String]) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for change in changes {
        let wanted = name(change);
        let place = env.iter().position(|entry| name(entry) == wanted);
        match (place, change.contains('=')) {
            (Some(place), true) => env[place].clone_from(change),
            (Some(place), false) => drop(env.remove(place)),
            (None, true) => env.push(change.clone()),
            (None, false) => {}
        }
    }
}

fn set_home(env: &mut Vec<String>, home: &str) {
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        let home = if home.is_empty() { "/" } else { home };
        env.push(format!("HOME={home}"));
    }
}

fn find_user(wanted: &str, groups: &[String], root: BorrowedFd<'_>) -> Result<user::Found> {
    let passwd = read_inside(root, "/etc/passwd")?;
    let group = read_inside(root, "/etc/group")?;
    user::lookup(wanted, groups, &passwd, &group)
}

fn absolute(path: &str) -> Result<String> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(Error::InvalidSpec(format!(
            "the working directory '{path}' is invalid, it needs to be an absolute path"
        )))
    }
}

/// The working directory, made when it is absent.
fn working_dir(asked: &str, root: BorrowedFd<'_>) -> Result<String> {
    if asked.is_empty() {
        return Ok("/".to_owned());
    }
    let path = absolute(asked)?;
    match inroot::make_dirs(root, Path::new(&path)) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Err(Error::InvalidSpec(
            format!("Cannot mkdir: {path} is not a directory"),
        )),
        Err(error) => {
            Err(error).context(|| format!("make the working directory {path} in the container"))
        }
    }
}
