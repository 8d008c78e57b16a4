//! The seam to namespaces: who makes sockets where.

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::{
    io,
    net::{TcpListener, UdpSocket},
    os::fd::OwnedFd,
};
use vw_model::{Family, SandboxId};

/// A namespace from which an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The host's.
    Host,
    /// A sandbox's.
    Sandbox(SandboxId),
}

/// The sockets of one sandbox's server, bound inside of it.
#[derive(Debug)]
pub struct SandboxSockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For streams, listening.
    pub tcp: TcpListener,
}

/// Makes sockets in namespaces. Called on the server's thread, so it must not wait longer
/// than entering a namespace takes.
pub trait SocketFactory: Send + Sync {
    /// An unbound datagram socket.
    ///
    /// # Errors
    /// The system's, or that the sandbox is gone.
    fn udp(&self, place: Place, family: Family) -> io::Result<UdpSocket>;

    /// An unbound, unconnected stream socket.
    ///
    /// # Errors
    /// The system's, or that the sandbox is gone.
    fn tcp(&self, place: Place, family: Family) -> io::Result<OwnedFd>;
}

/// Makes sockets in the namespace of the calling thread; it knows no sandboxes.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostSockets;

impl HostSockets {
    fn socket(place: Place, family: Family, kind: SocketType) -> io::Result<OwnedFd> {
        if let Place::Sandbox(id) = place {
            let text = format!("sandbox {} has no namespace here", id.short());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let family = match family {
            Family::V4 => AddressFamily::INET,
            Family::V6 => AddressFamily::INET6,
        };
        Ok(net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?)
    }
}

impl SocketFactory for HostSockets {
    fn udp(&self, place: Place, family: Family) -> io::Result<UdpSocket> {
        Ok(Self::socket(place, family, SocketType::DGRAM)?.into())
    }

    fn tcp(&self, place: Place, family: Family) -> io::Result<OwnedFd> {
        Self::socket(place, family, SocketType::STREAM)
    }
}
