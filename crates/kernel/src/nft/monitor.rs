//! Tells when somebody else changed our table, or a firewall beside it.

use super::abi::{GROUP, INET, IPV6, Message, SUBSYSTEM, chain, rule, table};
use super::foreign::{DOCKER_USER, names};
use super::socket::{attrs, open};
use super::wire::{find, text};
use crate::filter;
use crate::netlink::{get_u32, messages, receive};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt,
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};
use vw_firewall::{HostTable, SERVICE_TABLE, USER_CHAIN, foreign};

/// What a change of ten thousand elements takes.
const BUFFER: usize = 8 << 20;

/// What others changed since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// Our table: compare it, and mend it.
    pub ours: bool,
    /// Base chains of other tables, or our rules in them: look at the firewalls anew.
    pub foreign: bool,
}

/// A listener to the changes of all nftables in a namespace.
///
/// Changes made by one's own sockets are left out, by the ports that `ignore` named.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
    own: Vec<u32>,
    buf: Vec<u8>,
}

impl Monitor {
    /// Opens one in the namespace of the calling thread; what changes from now on is told.
    ///
    /// # Errors
    /// The system's answer.
    pub fn open() -> io::Result<Self> {
        let fd = open(1 << (GROUP - 1))?;
        // A burst that does not fit is told as a change of everything, so this only saves work.
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, BUFFER);
        Ok(Self {
            fd,
            own: Vec::new(),
            buf: Vec::new(),
        })
    }

    /// Leaves out what the socket with that netlink port changes.
    pub fn ignore(&mut self, port: u32) {
        self.own.push(port);
        // It only spares wake-ups: what comes through without it is left out all the same.
        if let Err(error) = filter::not_of(&self.fd, &self.own) {
            tracing::debug!(%error, "our own changes of nftables wake their watcher");
        }
    }

    /// Waits until somebody else changed something, at most `timeout`; without a change in that
    /// time, nothing is set.
    ///
    /// Changes that come together are told together. When so many came that the kernel lost some,
    /// everything counts as changed.
    ///
    /// # Errors
    /// The system's answer.
    pub fn next(&mut self, timeout: Option<Duration>) -> io::Result<Changed> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut changed = Changed::default();
        loop {
            let some = changed != Changed::default();
            let left = match deadline {
                _ if some => Some(Duration::ZERO),
                Some(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
                None => None,
            };
            if !self.wait(left)? {
                return Ok(changed);
            }
            match receive(&self.fd, &mut self.buf) {
                Ok(datagram) => look(datagram, &self.own, &mut changed),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    (changed.ours, changed.foreign) = (true, true);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether there is something to read within that time.
    fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        loop {
            match poll(&mut fds, timeout.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn look(datagram: &[u8], own: &[u32], changed: &mut Changed) {
    // Every message of a datagram comes from one transaction, hence from one sender.
    if own.contains(&get_u32(datagram, 12)) {
        return;
    }
    for message in messages(datagram) {
        let [subsystem, kind] = message.kind.to_be_bytes();
        let family = message.payload.first().copied().unwrap_or_default();
        if subsystem != SUBSYSTEM {
            continue;
        }
        // The first attribute of every kind of object is the name of its table.
        let in_table = find(attrs(message.payload), table::NAME).map(text);
        let ours = match family {
            INET => [HostTable::NAME, SERVICE_TABLE].as_slice(),
            IPV6 => &[HostTable::NAME],
            _ => &[],
        };
        if in_table.is_some_and(|name| ours.contains(&name)) {
            changed.ours |= !is_administrators(kind, message.payload);
        } else {
            changed.foreign |= matters(kind, message.payload);
        }
    }
}

fn is_administrators(kind: u8, payload: &[u8]) -> bool {
    let name = match kind {
        _ if kind == Message::NewRule as u8 || kind == Message::DelRule as u8 => rule::CHAIN,
        _ => return false,
    };
    find(attrs(payload), name).map(text) == Some(USER_CHAIN)
}

/// Whether a change in another table may stop our traffic: a base chain that appears or changes,
/// a chain or table that goes, a rule of ours that goes, or the one that leads to where it is.
fn matters(kind: u8, payload: &[u8]) -> bool {
    match kind {
        _ if kind == Message::NewChain as u8 => find(attrs(payload), chain::HOOK).is_some(),
        _ if kind == Message::DelChain as u8 || kind == Message::DelTable as u8 => true,
        _ if kind == Message::DelRule as u8 => {
            names(payload, foreign::TAG) || names(payload, DOCKER_USER)
        }
        _ => false,
    }
}
