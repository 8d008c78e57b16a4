//! Which process has a port of this host, for whoever is refused it (`/proc/net/tcp` and its like, and
//! the descriptors of processes).
//!
//! Owns no answer that anything rests on: a socket that is bound and does not listen is in no such
//! file, and a process may be gone before it is told.

use crate::{PortHolder, peers::address};
use std::{fs, io, net::SocketAddr, path::Path};
use vw_model::{Protocol, meet};

/// `TCP_LISTEN` of `net/tcp_states.h`.
const LISTENS: &str = "0A";

/// The sockets that keep others from a port, in the namespace of the calling thread: those first that
/// listen.
pub(crate) fn sockets(protocol: Protocol, addr: SocketAddr) -> io::Result<Vec<String>> {
    let names = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
        // Of those no file tells in the same form.
        Protocol::Sctp => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for name in names {
        match fs::read_to_string(format!("/proc/thread-self/net/{name}")) {
            Ok(text) => found.extend(text.lines().skip(1).filter_map(|line| holds(line, addr))),
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|(listens, _)| !listens);
    Ok(found.into_iter().map(|(_, inode)| inode).collect())
}

/// Whether a line's socket listens, and its inode, where it keeps others from a port.
fn holds(line: &str, wanted: SocketAddr) -> Option<(bool, String)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
        return None;
    };
    let (at, port) = local.split_once(':')?;
    let at = address(at)?;
    // One on all of IPv6 may be on all of IPv4 as well: nothing tells.
    let on_both = at.is_unspecified() && at.is_ipv6();
    let same = u16::from_str_radix(port, 16) == Ok(wanted.port())
        && (meet(at, wanted.ip()) || (on_both && wanted.is_ipv4()));
    same.then(|| (state == LISTENS, inode.to_owned()))
}

/// The process that has one of these sockets, other than `but`.
pub(crate) fn process_of(sockets: &[String], but: u32) -> Option<PortHolder> {
    let sockets = sockets.iter();
    let links: Vec<String> = sockets.map(|inode| format!("socket:[{inode}]")).collect();
    if links.is_empty() {
        return None;
    }
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found = numbers.filter_map(|process| {
        let folder = Path::new("/proc").join(process.to_string());
        // One that has ended meanwhile has none.
        let open = fs::read_dir(folder.join("fd")).ok()?.flatten();
        let targets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        let mut of = targets.filter_map(|to| links.iter().position(|link| to == Path::new(link)));
        let first = of.next()?;
        let program = fs::read_to_string(folder.join("comm")).ok()?;
        let program = program.trim_end().to_owned();
        (process != but).then_some((first, PortHolder { process, program }))
    });
    let first = found.next()?;
    let best = found.fold(
        first,
        |best, next| if next.0 < best.0 { next } else { best },
    );
    Some(best.1)
}

#[cfg(test)]
mod tests;
