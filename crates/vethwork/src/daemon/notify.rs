//! systemd's readiness protocol (sd_notify(3)): one datagram to a socket named by the environment.

use std::{env, os::unix::net::UnixDatagram};

/// Says that the API answers.
pub(crate) fn ready() {
    send("READY=1");
}

/// Says that the daemon ends.
pub(crate) fn stopping() {
    send("STOPPING=1");
}

fn send(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(name) => to_abstract(name, state),
        None => UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path)),
    };
    if let Err(error) = sent {
        tracing::warn!("cannot tell the service manager {state}: {error}");
    }
}

fn to_abstract(name: &str, state: &str) -> std::io::Result<usize> {
    use std::os::linux::net::SocketAddrExt;
    let addr = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &addr)
}
