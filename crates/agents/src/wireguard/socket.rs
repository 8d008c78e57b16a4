//! Datagrams in batches: many in one call to the system, each way.
//!
//! Owns the calls (`sendmsg` with UDP_SEGMENT, `recvmmsg` with UDP_GRO). What they are is
//! [`super::outbox`]'s and [`super::engine`]'s.

use super::outbox::Run;
use rustix::io::Errno;
use std::{
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
};

/// Calls' worth of datagrams that are read at once.
const BATCH: usize = 8;
/// Bytes that one of them may have: joined datagrams (UDP_GRO) come as one.
const LARGEST: usize = 65_536;
/// What waits in a socket while the device is busy: some milliseconds of a fast link.
const BUFFER: libc::c_int = 4 << 20;
/// A control message with an integer, with room to spare.
const CONTROL: usize = 64;

/// A control message's bytes, aligned as the system wants them.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

/// Prepares a socket: big buffers, and joined datagrams where the kernel has them.
pub(crate) fn prepare(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    for (level, name, value) in [
        (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER),
        (libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER),
        (libc::SOL_UDP, libc::UDP_GRO, 1),
    ] {
        // SAFETY: the value outlives the call, and its size is told.
        let _ = unsafe {
            // Each only makes it faster: without them datagrams come one by one.
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
    }
    Ok(())
}

/// Sends a run in one call, or one by one where the kernel or the way cannot take it as one.
///
/// Answers how many were not sent.
pub(crate) fn send(socket: &UdpSocket, run: &Run, bytes: &[u8]) -> u64 {
    if run.bytes > run.size && send_joined(socket, run, bytes).is_ok() {
        return 0;
    }
    let each = bytes.chunks(run.size);
    each.filter(|datagram| socket.send_to(datagram, run.to).is_err())
        .count() as u64
}

fn send_joined(socket: &UdpSocket, run: &Run, bytes: &[u8]) -> io::Result<()> {
    let (mut address, length) = to_raw(run.to);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control([0; CONTROL]);
    let size = run.size as u16;
    // SAFETY: zeroes are a valid header, and all that it points to outlives the call; the control
    // buffer is aligned and holds the one message that is written into it.
    let sent = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = length;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_UDP;
        (*header).cmsg_type = libc::UDP_SEGMENT;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(header).cast::<u16>().write_unaligned(size);
        libc::sendmsg(socket.as_raw_fd(), &raw const message, 0)
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Buffers for one batch of datagrams.
pub(crate) struct Batch {
    buffers: Vec<u8>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; BATCH * LARGEST],
        }
    }

    /// Reads what waits, without waiting; hands over each datagram with its sender.
    ///
    /// Answers whether there was any.
    pub(crate) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(&[u8], SocketAddr),
    ) -> Result<bool, Errno> {
        // SAFETY: zeroes are valid for all of these.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { mem::zeroed() };
        let mut controls = [Control([0; CONTROL]); BATCH];
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (at, buffer) in self.buffers.chunks_exact_mut(LARGEST).enumerate() {
            parts[at].iov_base = buffer.as_mut_ptr().cast();
            parts[at].iov_len = buffer.len();
            let header = &mut messages[at].msg_hdr;
            header.msg_name = (&raw mut names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut parts[at];
            header.msg_iovlen = 1;
            header.msg_control = controls[at].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: each header points to buffers of its own, with their sizes, that outlive the
        // call; no time-out is given.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => {
                return match Errno::from_io_error(&io::Error::last_os_error()) {
                    // What a former datagram met (port unreachable) says nothing of this one.
                    Some(Errno::AGAIN | Errno::INTR) | None => Ok(false),
                    Some(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => Ok(true),
                    Some(error) => Err(error),
                };
            }
        };
        for (at, message) in messages[..count].iter().enumerate() {
            let bytes = &self.buffers[at * LARGEST..][..message.msg_len as usize];
            let Some(from) = from_raw(&names[at]) else {
                continue;
            };
            let size = segment_size(&message.msg_hdr).unwrap_or(bytes.len()).max(1);
            bytes.chunks(size).for_each(|datagram| each(datagram, from));
        }
        Ok(count > 0)
    }
}

/// The size of the datagrams that came as one, where there are several.
fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control buffer that the header points to, and its length.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_UDP && (*message).cmsg_type == libc::UDP_GRO {
                let size = libc::CMSG_DATA(message)
                    .cast::<libc::c_int>()
                    .read_unaligned();
                return usize::try_from(size).ok().filter(|size| *size > 0);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

fn to_raw(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: zeroes are a valid address of no family.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is aligned for, and as large as, any address.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
            size_of_val(&raw)
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
            size_of_val(&raw)
        }
    };
    (storage, length as libc::socklen_t)
}

fn from_raw(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let raw = &raw const *storage;
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one of these, and the storage is large enough.
            let raw = unsafe { &*raw.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::from((ip, u16::from_be(raw.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { &*raw.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
