//! Packets of a transport protocol as they are, for what no socket of that protocol sends.

use crate::Host;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto,
    socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::Duration,
};

/// A socket for all packets of one protocol and family that come to a host.
pub(super) struct Raw {
    socket: OwnedFd,
    v4: bool,
}

impl Raw {
    pub(super) fn open(
        host: &Host,
        v4: bool,
        protocol: Protocol,
        patience: Duration,
    ) -> io::Result<Self> {
        let family = if v4 {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = host.enter(|| socket_with(family, kind, flags, Some(protocol)))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
        Ok(Self { socket, v4 })
    }

    pub(super) fn send(&self, packet: &[u8], to: IpAddr) -> io::Result<()> {
        // The port of a raw socket's peer means the protocol.
        let peer = SocketAddr::new(to, 0);
        sendto(&self.socket, packet, SendFlags::empty(), &peer)?;
        Ok(())
    }

    /// The next packet without its IP header, and who sent it.
    pub(super) fn receive(&self) -> io::Result<(Vec<u8>, IpAddr)> {
        let mut bytes = vec![0; 1500];
        let (_, length, peer) = recvfrom(&self.socket, &mut bytes[..], RecvFlags::empty())?;
        let peer: Option<SocketAddr> = peer.and_then(|peer| peer.try_into().ok());
        bytes.truncate(length);
        // IPv4's header comes along, and tells its length in words.
        let first = bytes.first().copied().unwrap_or_default();
        let header = usize::from(self.v4) * usize::from(first & 15) * 4;
        bytes.drain(..header.min(length));
        let peer = peer.ok_or(io::ErrorKind::InvalidData)?;
        Ok((bytes, peer.ip()))
    }
}
