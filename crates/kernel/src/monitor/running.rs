//! Waits until a link passes what is sent through it, by what the kernel tells of it.

use super::{LINKS, RECEIVE, socket};
use crate::{
    filter,
    netlink::{link::Seen, messages},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, bind, netlink, recv},
};
use std::{io, os::fd::OwnedFd, time::Instant};

/// A listener to one link.
///
/// The kernel tells of a link that came up after its port does forward (`linkwatch_do_dev`, whose
/// notifier is `br_port_carrier_check`), so whoever waits goes on at once, and asks for nothing
/// meanwhile that takes the lock (RTNL) that the kernel needs for that.
#[derive(Debug)]
pub(crate) struct Running {
    fd: OwnedFd,
}

impl Running {
    /// Opens one in the namespace of the calling thread; what happens from now on is told.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let fd = socket()?;
        filter::only_link(&fd, index)?;
        bind(&fd, &netlink::SocketAddrNetlink::new(0, LINKS))?;
        Ok(Self { fd })
    }

    /// Waits until it is told to pass frames, or to be gone.
    ///
    /// # Errors
    /// The system's answer, or `TimedOut`.
    pub(crate) fn wait(&self, until: Instant) -> io::Result<()> {
        let mut buf = vec![0; RECEIVE];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let len = match recv(&self.fd, buf.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, len)) => len,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            if messages(&buf[..len]).any(|message| ends(message.kind, message.payload)) {
                return Ok(());
            }
        }
    }
}

/// Whether a message ends the waiting. One of the family `AF_BRIDGE` shows a port otherwise, and
/// before its link is told to run.
fn ends(kind: u16, payload: &[u8]) -> bool {
    let whole = payload.first() == Some(&(libc::AF_UNSPEC as u8));
    match kind {
        libc::RTM_NEWLINK => whole && Seen::parse(payload).passes_frames(),
        libc::RTM_DELLINK => whole,
        _ => false,
    }
}
