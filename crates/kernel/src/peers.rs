//! Which TCP connections are open in a namespace, and with whom, and which have ended: as the kernel
//! tells (`net/core/sock_diag.c`), or, of one without `inet_diag`, by a list of all (`/proc/net/tcp`,
//! `tcp6`) and the count of those accepted (`/proc/net/snmp`). Others than those asked about count for nothing: a sandbox
//! has connections of its own, and we ask it whether it is well.

use crate::netlink::{Batch, addr, messages};
use rustix::{
    io::{Errno, ioctl_fionbio},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send,
        socket_with, sockopt,
    },
};
use std::{fs, io, net::IpAddr, os::fd::OwnedFd};

/// `TCP_ESTABLISHED`, `TCP_SYN_RECV`, `TCP_FIN_WAIT1`, `TCP_FIN_WAIT2`, `TCP_CLOSE_WAIT` and
/// `TCP_LAST_ACK` of `net/tcp_states.h`: what the other end has not heard the end of.
const OPEN: [u8; 6] = [1, 3, 4, 5, 8, 9];

/// `SKNLGRP_INET_TCP_DESTROY` and `SKNLGRP_INET6_TCP_DESTROY` of `linux/sock_diag.h`.
const ENDS: u32 = 1 << 0 | 1 << 2;
/// Octets for what is told between two looks: a few thousand connections that have nothing to do
/// with those asked about, as those of a sandbox that talks to itself.
const ROOM: usize = 16 << 20;

/// `SOCK_DIAG_BY_FAMILY`, and the octets of `struct inet_diag_req_v2`.
const BY_FAMILY: u16 = 20;
const REQUEST: usize = 56;

/// `TCPF_NEW_SYN_RECV`: what is shown as `TCP_SYN_RECV` before it is accepted.
const NEW: u32 = 1 << 12;

/// `idiag_dst` of `struct inet_diag_msg`, behind four octets, two ports and the source.
const PEER: std::ops::Range<usize> = 24..40;

/// Tells of connections that are over in one namespace, those too that begin and end between two
/// looks.
#[derive(Debug)]
pub(crate) struct Ends(OwnedFd);

impl Ends {
    /// Those of the calling thread's namespace, from now on; nothing where the kernel tells of none.
    pub(crate) fn watch() -> io::Result<Option<Self>> {
        if told(&sock_diag()?, libc::AF_INET, 0, &[])?.is_none() {
            return Ok(None);
        }
        let fd = sock_diag()?;
        ioctl_fionbio(&fd, true)?;
        // Where it may not be had, what does not fit counts as one of those asked about.
        let _ = sockopt::set_socket_recv_buffer_size_force(&fd, ROOM);
        bind(&fd, &netlink::SocketAddrNetlink::new(0, ENDS))?;
        Ok(Some(Self(fd)))
    }

    /// Whether a connection with one of these has ended since the last call, or may have.
    pub(crate) fn any(&self, peers: &[IpAddr]) -> io::Result<bool> {
        let (mut any, mut buf) = (false, vec![0; 8 << 10]);
        loop {
            match recv(&self.0, buf.as_mut_slice(), RecvFlags::empty()) {
                Ok((len, _)) => {
                    let mut told = messages(&buf[..len]);
                    any |= told.any(|message| was_with(message.payload, peers));
                }
                Err(Errno::AGAIN) => return Ok(any),
                // More than there was room for.
                Err(Errno::NOBUFS) => any = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn sock_diag() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?)
}

/// Whether the kernel tells of a connection with one of these in one of the states; nothing where it
/// has not what tells of TCP connections, which it may load for this.
fn told(fd: &OwnedFd, family: i32, states: u32, peers: &[IpAddr]) -> io::Result<Option<bool>> {
    let mut batch = Batch::default();
    batch.push(BY_FAMILY, libc::NLM_F_DUMP, |body| {
        body.bytes(&[family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
        body.bytes(&states.to_ne_bytes());
        body.bytes(&[0; REQUEST - 8]);
    });
    send(fd, batch.whole(1, 0), SendFlags::empty())?;
    let (mut found, mut buf) = (false, vec![0; 32 << 10]);
    loop {
        let (len, _) = recv(fd, buf.as_mut_slice(), RecvFlags::empty())?;
        for message in messages(&buf[..len]) {
            let ends = [libc::NLMSG_ERROR as u16, libc::NLMSG_DONE as u16];
            if ends.contains(&message.kind) {
                let code = message.payload.first_chunk().copied();
                let refused = code.map(i32::from_ne_bytes).is_some_and(|code| code < 0);
                return Ok((!refused).then_some(found));
            }
            found |= was_with(message.payload, peers);
        }
    }
}

/// How many TCP connections the calling thread's namespace has accepted, of whomever.
pub(crate) fn accepted() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut tcp = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (tcp.next(), tcp.next());
    let pairs = names.zip(values).into_iter().flat_map(|(names, values)| {
        let names = names.split_whitespace();
        names.zip(values.split_whitespace())
    });
    let mut counted = pairs.filter(|(name, _)| *name == "PassiveOpens");
    let count = counted.next().and_then(|(_, value)| value.parse().ok());
    count.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether what is told of a connection says that it was with one of these.
fn was_with(payload: &[u8], peers: &[IpAddr]) -> bool {
    let (Some(family), Some(octets)) = (payload.first(), payload.get(PEER)) else {
        return false;
    };
    let peer = match i32::from(*family) {
        libc::AF_INET => addr::ip(&octets[..4]),
        _ => addr::ip(octets).map(|addr| addr.to_canonical()),
    };
    peer.is_some_and(|peer| peers.contains(&peer))
}

/// Whether a connection is open with one of these, in the namespace of the calling thread.
pub(crate) fn any_open(peers: &[IpAddr]) -> io::Result<bool> {
    let states = OPEN.iter().fold(NEW, |all, state| all | 1 << state);
    let fd = sock_diag()?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        match told(&fd, family, states, peers)? {
            Some(false) => {}
            Some(true) => return Ok(true),
            None => return any_listed(peers),
        }
    }
    Ok(false)
}

/// The same by all that there are, whatever their state.
fn any_listed(peers: &[IpAddr]) -> io::Result<bool> {
    for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match fs::read_to_string(file) {
            Ok(text) if text.lines().skip(1).any(|line| is_open_with(line, peers)) => {
                return Ok(true);
            }
            Ok(_) => {}
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Whether a line of such a file is of a connection that is open with one of these.
fn is_open_with(line: &str, peers: &[IpAddr]) -> bool {
    let mut fields = line.split_whitespace().skip(2);
    let (Some(remote), Some(state)) = (fields.next(), fields.next()) else {
        return false;
    };
    let state = u8::from_str_radix(state, 16).is_ok_and(|state| OPEN.contains(&state));
    let remote = remote.split(':').next().and_then(address);
    state && remote.is_some_and(|remote| peers.contains(&remote))
}

/// An address of such a file: words of the machine's byte order, in hexadecimal.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let words =
        (0..text.len() / 8).map(|at| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok());
    let bytes: Vec<u8> = words
        .collect::<Option<Vec<u32>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        // A socket of IPv6 may talk IPv4.
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
