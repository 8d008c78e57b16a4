//! Tells when an address of a namespace comes or goes, whoever has it do so.

use super::{RECEIVE, socket};
use crate::filter;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, bind, netlink, recv},
};
use std::{io, os::fd::OwnedFd, time::Duration};

/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR`.
const ADDRESSES: u32 = 0x10 | 0x100;

/// A listener to the addresses of a namespace, but those of a link alone.
#[derive(Debug)]
pub struct AddressMonitor {
    fd: OwnedFd,
    buf: Vec<u8>,
}

impl AddressMonitor {
    /// Opens one in the namespace of the calling thread; what happens from now on is told.
    ///
    /// # Errors
    /// The system's answer.
    pub fn open() -> io::Result<Self> {
        let fd = socket()?;
        // It only spares wake-ups.
        if let Err(error) = filter::only_global(&fd) {
            tracing::debug!(%error, "the address of each link wakes who watches addresses");
        }
        bind(&fd, &netlink::SocketAddrNetlink::new(0, ADDRESSES))?;
        Ok(Self {
            fd,
            buf: vec![0; RECEIVE],
        })
    }

    /// Waits until some came or went since the last call, at most `timeout`; says whether. Of IPv6 one
    /// is told once more when it can be bound.
    ///
    /// # Errors
    /// The system's answer.
    pub fn changed(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        loop {
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            match recv(&self.fd, self.buf.as_mut_slice(), RecvFlags::empty()) {
                // What was lost is a change as well.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
