//! The DNS server's sockets, made by the executor in the namespace where they belong.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    sync::Arc,
};
use vw_dns_server::{Place, SocketFactory};
use vw_kernel::{Kernel, SocketKind, SocketPlace};
use vw_model::Family;

/// Makes sockets by the executor.
pub(crate) struct KernelSockets<K>(pub(crate) Arc<K>);

impl<K: Kernel> KernelSockets<K> {
    fn make(&self, place: Place, kind: SocketKind) -> io::Result<OwnedFd> {
        let place = match place {
            Place::Host => SocketPlace::Host,
            Place::Sandbox(id) => SocketPlace::Sandbox(id),
        };
        self.0.socket(place, kind).map_err(io::Error::other)
    }
}

const fn any(family: Family) -> SocketAddr {
    let ip = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

impl<K: Kernel> SocketFactory for KernelSockets<K> {
    fn udp(&self, place: Place, family: Family) -> io::Result<UdpSocket> {
        self.make(place, SocketKind::Udp(any(family)))
            .map(UdpSocket::from)
    }

    fn tcp(&self, place: Place, family: Family) -> io::Result<OwnedFd> {
        self.make(place, SocketKind::TcpUnbound(any(family)))
    }
}
