//! The sockets by which hosts are asked, and where a host is for each of them.
//!
//! Owns what makes a packet as large as a tunnelled one. It must not know what packets say.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};
use vw_model::{HostId, MacAddr, PROBE_PORT as PORT, station_address};

/// What frames say that they carry: nobody else's inside the tunnels that they pass in
/// (IEEE 802, local experimental EtherType 1).
pub const FRAMES: u16 = 0x88b5;
/// What tells where frames go to and come from (`packet(7)`).
const STATION: usize = 6;

/// A socket by which hosts are asked.
#[derive(Debug)]
pub enum Wire {
    /// Datagrams between the hosts' addresses.
    Datagrams(UdpSocket),
    /// Frames of [`FRAMES`] by a tunnel that knows where each host's [`station_address`] lies.
    Frames {
        /// A packet socket without headers (`SOCK_DGRAM`), bound to the tunnel and to [`FRAMES`].
        socket: OwnedFd,
        /// The tunnel's index.
        link: u32,
    },
}

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Address(IpAddr),
    Station(MacAddr),
}

impl Wire {
    /// Takes the path of tunnelled packets, in the size that they would have, and forbids routers to
    /// cut them up.
    ///
    /// # Errors
    /// When the address is not this host's, or the port is taken.
    pub fn datagrams(addr: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(addr, PORT))?;
        forbid_fragments(&socket, addr)?;
        Ok(Self::Datagrams(socket))
    }

    /// Where a host is on this wire.
    pub(super) fn place(&self, id: HostId, addr: IpAddr) -> Place {
        match self {
            Self::Datagrams(_) => Place::Address(addr),
            Self::Frames { .. } => Place::Station(station_address(id)),
        }
    }

    /// The bytes that make a packet as large as one inside a tunnel of `mtu` bytes. Beside the
    /// tunnels these are its Ethernet header (14) and VXLAN's (8) more; outer IP and UDP headers
    /// are alike.
    pub(super) fn size(&self, mtu: u32) -> usize {
        match self {
            Self::Datagrams(_) => mtu as usize + 14 + 8,
            Self::Frames { .. } => mtu as usize,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(socket) => socket.as_fd(),
            Self::Frames { socket, .. } => socket.as_fd(),
        }
    }

    pub(super) fn send(&self, bytes: &[u8], to: Place) -> io::Result<()> {
        match (self, to) {
            (Self::Datagrams(socket), Place::Address(addr)) => {
                socket.send_to(bytes, (addr, PORT)).map(drop)
            }
            (Self::Frames { socket, link }, Place::Station(mac)) => {
                send_frame(socket, *link, bytes, mac)
            }
            _ => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Takes a packet that has come.
    ///
    /// # Errors
    /// `WouldBlock` when none has; others when none will.
    pub(super) fn receive(&self, room: &mut [u8]) -> io::Result<(usize, Place)> {
        match self {
            Self::Datagrams(socket) => {
                let flags = rustix::net::RecvFlags::DONTWAIT;
                let (_, length, from) = rustix::net::recvfrom(socket, room, flags)?;
                let from = from.ok_or(io::ErrorKind::InvalidData)?;
                let from = SocketAddr::try_from(from)?;
                Ok((length, Place::Address(from.ip())))
            }
            Self::Frames { socket, .. } => receive_frame(socket, room),
        }
    }
}

fn send_frame(socket: &OwnedFd, link: u32, bytes: &[u8], to: MacAddr) -> io::Result<()> {
    let mut addr = empty();
    addr.sll_protocol = FRAMES.to_be();
    addr.sll_ifindex = link.cast_signed();
    addr.sll_halen = STATION as u8;
    addr.sll_addr[..STATION].copy_from_slice(&to.0);
    // SAFETY: bytes and address live through the call and their sizes are given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const addr).cast(),
            size_of_val(&addr) as libc::socklen_t,
        )
    };
    match sent {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn receive_frame(socket: &OwnedFd, room: &mut [u8]) -> io::Result<(usize, Place)> {
    let mut addr = empty();
    let mut size = size_of_val(&addr) as libc::socklen_t;
    // SAFETY: the room and the address live through the call and their sizes are given.
    let received = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            room.as_mut_ptr().cast(),
            room.len(),
            libc::MSG_DONTWAIT,
            (&raw mut addr).cast(),
            &raw mut size,
        )
    };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let mut mac = MacAddr([0; STATION]);
    mac.0.copy_from_slice(&addr.sll_addr[..STATION]);
    Ok((length, Place::Station(mac)))
}

const fn empty() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// Packets are sent whole or not at all, whatever was learned of the path (ip(7), ipv6(7)).
fn forbid_fragments(socket: &UdpSocket, addr: IpAddr) -> io::Result<()> {
    let (level, option, value) = match addr {
        IpAddr::V4(_) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
        IpAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        ),
    };
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the descriptor is open for the call, and the value lives as long and is as long as
    // the call is told.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
