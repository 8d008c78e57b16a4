//! The API's sockets: those that the service manager handed over, or those of `--host`.

use super::{
    run::cannot,
    settings::{DaemonSettings, HostAddr},
};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use std::{
    env, fs, io,
    ops::Range,
    os::{
        fd::{BorrowedFd, RawFd},
        unix::{
            fs::{PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::Path,
};
use vw_engine_api::Listener;
use vw_model::{Error, Result};

/// The first descriptor of socket activation (sd_listen_fds(3)).
const FIRST_FD: RawFd = 3;

/// Opens what is to be served on.
///
/// # Errors
/// When an address cannot be bound, or another daemon answers there.
pub(crate) fn listeners(settings: &DaemonSettings) -> Result<Vec<Listener>> {
    let activated = activated()?;
    if !activated.is_empty() {
        return Ok(activated);
    }
    settings
        .hosts
        .iter()
        .map(|host| open(host, settings))
        .collect()
}

/// Removes the socket files that were made here.
pub(crate) fn forget(settings: &DaemonSettings) {
    if is_activated() {
        return;
    }
    for host in &settings.hosts {
        if let HostAddr::Unix(path) = host
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!("{}: {error}", path.display());
        }
    }
}

/// Whether the service manager handed over what is served on.
pub(crate) fn is_activated() -> bool {
    !handed_over().is_empty()
}

/// The descriptors that the service manager handed over to this process.
fn handed_over() -> Range<RawFd> {
    let number = |name| env::var(name).ok()?.parse::<i32>().ok();
    let for_us = number("LISTEN_PID") == Some(std::process::id().cast_signed());
    let count = number("LISTEN_FDS").filter(|count| for_us && *count > 0);
    FIRST_FD..FIRST_FD + count.unwrap_or(0)
}

/// Leaves what the service manager handed over to the program that takes this one's place.
pub(crate) fn hand_on() {
    for fd in handed_over() {
        // SAFETY: as in `activated`: they stay open.
        let passed = unsafe { BorrowedFd::borrow_raw(fd) };
        if let Err(error) = fcntl_setfd(passed, FdFlags::empty()) {
            tracing::warn!("descriptor {fd} of socket activation is lost: {error}");
        }
    }
}

fn activated() -> Result<Vec<Listener>> {
    let adopt = |fd: RawFd| {
        // SAFETY: the service manager passed these descriptors for us alone, and nobody closes them.
        let passed = unsafe { BorrowedFd::borrow_raw(fd) };
        // A daemon that begins anew finds it again; no container does.
        let listener = fcntl_setfd(passed, FdFlags::CLOEXEC)
            .and_then(|()| fcntl_dupfd_cloexec(passed, 0))
            .map(UnixListener::from);
        let listener = listener.map_err(io::Error::from).and_then(tokio);
        listener.map_err(|e| {
            Error::internal(
                "activation-failed",
                format!("descriptor {fd} of socket activation is not a listening unix socket"),
            )
            .because(e)
        })
    };
    handed_over().map(adopt).collect()
}

fn tokio(listener: UnixListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener).map(Listener::Unix)
}

fn open(host: &HostAddr, settings: &DaemonSettings) -> Result<Listener> {
    match host {
        HostAddr::Unix(path) => {
            let listener = bind(path)?;
            protect(path, settings.group.as_deref())?;
            tokio(listener).map_err(|e| cannot("listen on", path, e))
        }
        HostAddr::Tcp(addr) => {
            tracing::warn!("the API on {addr} has no protection: whoever reaches it is root here");
            let refuse = |e| {
                Error::internal("listen-failed", format!("cannot listen on tcp://{addr}"))
                    .because(e)
            };
            let listener = std::net::TcpListener::bind(addr).map_err(refuse)?;
            listener.set_nonblocking(true).map_err(refuse)?;
            tokio::net::TcpListener::from_std(listener)
                .map(Listener::Tcp)
                .map_err(refuse)
        }
    }
}

/// Binds a socket file, taking the place of one that nobody answers on.
fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| cannot("make", folder, e))?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            let message = format!(
                "another daemon answers on {}: stop it, or choose another --host",
                path.display()
            );
            return Err(Error::conflict("socket-in-use", message));
        }
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|e| cannot("remove", path, e))?;
        }
        Err(_) => {}
    }
    UnixListener::bind(path).map_err(|e| cannot("listen on", path, e))
}

fn protect(path: &Path, group: Option<&str>) -> Result<()> {
    if let Some(name) = group {
        match group_id(name)? {
            Some(gid) => {
                chown(path, None, Some(gid)).map_err(|e| cannot("change the group of", path, e))?
            }
            None => tracing::warn!(
                "there is no group {name}: only root can use {}",
                path.display()
            ),
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .map_err(|e| cannot("protect", path, e))
}

/// A group's number, from its name or as it stands (group(5)).
fn group_id(name: &str) -> Result<Option<u32>> {
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let file = Path::new("/etc/group");
    let text = fs::read_to_string(file).map_err(|e| cannot("read", file, e))?;
    let entry = text
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name));
    Ok(entry.and_then(|fields| fields.get(2)?.parse().ok()))
}
