//! Host ports that no socket of the kernel can hold: who of this process has which.
//!
//! Owns no port: nobody else is kept from one. A claim lasts until what was handed out is closed.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream},
};
use vw_model::Protocol;

/// A port of a protocol at an address.
pub(crate) type Place = (Protocol, SocketAddr);

/// What is claimed, each with the far end of what was handed out.
#[derive(Debug, Default)]
pub(crate) struct Claims(Vec<(Place, UnixStream)>);

impl Claims {
    /// Claims a port that is not `taken` by others, some port where 0 is asked for.
    ///
    /// # Errors
    /// `AddrInUse`, or the system's answer.
    pub(crate) fn hold(
        &mut self,
        (protocol, addr): Place,
        taken: impl Fn(Place) -> bool,
    ) -> io::Result<(SocketAddr, OwnedFd)> {
        let held = self.held();
        let free = |addr: &SocketAddr| {
            let ours = |(theirs, held): &Place| *theirs == protocol && meet(*held, *addr);
            !held.iter().any(ours) && !taken((protocol, *addr))
        };
        let chosen = match addr.port() {
            0 => (32768..=60999)
                .map(|port| SocketAddr::new(addr.ip(), port))
                .find(free),
            _ => Some(addr).filter(free),
        };
        let addr = chosen.ok_or(io::ErrorKind::AddrInUse)?;
        let (near, far) = UnixStream::pair()?;
        self.0.push(((protocol, addr), far));
        Ok((addr, near.into()))
    }

    /// What is claimed now.
    pub(crate) fn held(&mut self) -> Vec<Place> {
        self.0.retain(|(_, far)| {
            let mut fds = [PollFd::new(far, PollFlags::RDHUP)];
            let closed = poll(&mut fds, Some(&Timespec::default()));
            !matches!(closed, Ok(1..))
        });
        self.0.iter().map(|(place, _)| *place).collect()
    }
}

/// Whether two bound addresses exclude each other; IPv6 sockets hold IPv6 alone.
pub(crate) fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && vw_model::meet(a.ip(), b.ip())
}
