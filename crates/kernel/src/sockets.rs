//! Sockets made for others, host ports held, and the claim on a namespace; the calling thread must
//! be in the right one.

use crate::{FrameSocket, SocketKind, claims::Claims, netns::lock};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
        sockopt,
    },
};
use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    sync::Mutex,
    time::{Duration, Instant},
};
use vw_model::{IfName, Protocol};

const BACKLOG: i32 = 128;
/// How long a claim is waited for that another daemon has.
const GIVEN_UP: Duration = Duration::from_secs(2);
/// How often whoever has a claim may not be there to be waited for.
const REFUSED: u32 = 3;
/// The abstract name that a daemon's claim binds; each network namespace has its own such names
/// (`unix(7)`).
const CLAIM: &[u8] = b"vethwork";

/// Makes a socket, non-blocking and close-on-exec.
pub(crate) fn open(kind: SocketKind) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match kind {
        SocketKind::Udp(addr) => bound(addr, SocketType::DGRAM, flags, None),
        SocketKind::TcpListen(addr) => {
            let socket = socket_with(family(addr), SocketType::STREAM, flags, None)?;
            // A listener that comes back finds its former connections in TIME-WAIT.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            only_v6(&socket, addr)?;
            bind(&socket, &addr)?;
            listen(&socket, BACKLOG)?;
            Ok(socket)
        }
        SocketKind::TcpUnbound(addr) => {
            Ok(socket_with(family(addr), SocketType::STREAM, flags, None)?)
        }
    }
}

/// Makes a socket for frames of one EtherType by a link.
pub(crate) fn frames(link: &IfName, ethertype: u16) -> io::Result<FrameSocket> {
    // Protocol 0: it receives nothing before it is bound to the link.
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let link = rustix::net::netdevice::name_to_index(&socket, link.as_str())?;
    let addr = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: link.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the address lives through the call and its size is given.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const addr).cast(),
            size_of_val(&addr) as libc::socklen_t,
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    // A link that is down is told by the socket (`packet_do_bind`).
    sockopt::socket_error(&socket)??;
    Ok(FrameSocket { socket, link })
}

/// What a socket is, for errors.
pub(crate) fn describe(kind: SocketKind) -> String {
    match kind {
        SocketKind::Udp(addr) => format!("{addr}/udp"),
        SocketKind::TcpListen(addr) | SocketKind::TcpUnbound(addr) => format!("{addr}/tcp"),
    }
}

/// Binds a port so that nobody else can.
///
/// Nothing is received: TCP and SCTP do not listen, UDP drops what comes. A kernel without SCTP
/// cannot give the port to anybody else either, so only `unknown`'s are to be told apart.
pub(crate) fn claim_port(
    protocol: Protocol,
    addr: SocketAddr,
    unknown: &Mutex<Claims>,
) -> io::Result<(SocketAddr, OwnedFd)> {
    match hold(protocol, addr)? {
        Some(socket) => {
            let addr = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
            Ok((addr, socket))
        }
        None => lock(unknown).hold((protocol, addr), |_| false),
    }
}

/// Nothing where the kernel does not know the protocol.
fn hold(protocol: Protocol, addr: SocketAddr) -> io::Result<Option<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    match protocol {
        Protocol::Tcp => bound(addr, SocketType::STREAM, flags, None).map(Some),
        Protocol::Udp => {
            let socket = socket_with(family(addr), SocketType::DGRAM, flags, None)?;
            drop_all(&socket)?;
            only_v6(&socket, addr)?;
            bind(&socket, &addr)?;
            Ok(Some(socket))
        }
        Protocol::Sctp => {
            let sctp = Some(rustix::net::ipproto::SCTP);
            match bound(addr, SocketType::STREAM, flags, sctp) {
                Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(None),
                result => result.map(Some),
            }
        }
    }
}

/// Claims the namespace of the calling thread as long as the answer is open.
///
/// A daemon that was killed may hold it a moment longer: a program that it was starting has all of
/// its descriptors until it is begun.
pub(crate) fn claim() -> io::Result<OwnedFd> {
    let deadline = Instant::now() + GIVEN_UP;
    let name = SocketAddrUnix::new_abstract_name(CLAIM)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = || socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let mut refused = 0;
    loop {
        let socket = open()?;
        let Err(taken) = bind(&socket, &name) else {
            listen(&socket, BACKLOG)?;
            return Ok(socket);
        };
        let waiting = open()?;
        // Nobody accepts it; it ends with the claim. Refused is also what has just been let go.
        if connect(&waiting, &name).is_ok() {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            poll(&mut [PollFd::new(&waiting, PollFlags::HUP)], Some(&timeout))?;
        } else {
            refused += 1;
        }
        if Instant::now() >= deadline || refused > REFUSED {
            return Err(taken.into());
        }
    }
}

fn bound(
    addr: SocketAddr,
    kind: SocketType,
    flags: SocketFlags,
    protocol: Option<rustix::net::Protocol>,
) -> io::Result<OwnedFd> {
    let socket = socket_with(family(addr), kind, flags, protocol)?;
    only_v6(&socket, addr)?;
    bind(&socket, &addr)?;
    Ok(socket)
}

const fn family(addr: SocketAddr) -> AddressFamily {
    match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

fn only_v6(socket: &OwnedFd, addr: SocketAddr) -> io::Result<()> {
    if addr.is_ipv6() {
        sockopt::set_ipv6_v6only(socket, true)?;
    }
    Ok(())
}

/// Attaches a filter that drops every datagram: nobody reads the socket, and what a stranger sends
/// must not lie in kernel memory.
fn drop_all(socket: &OwnedFd) -> io::Result<()> {
    let mut code = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: program and code live through the call and their sizes are given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
