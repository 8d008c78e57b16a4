//! One netlink socket, route or generic: batches with a single ACK, dumps, and interface indexes.
//!
//! A socket belongs to the namespace that its thread was in when it was opened, and keeps that
//! namespace alive.

use super::wire::{Attrs, Batch, Body, get_i32, get_str, messages};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};
use vw_model::MacAddr;
use zeroize::{Zeroize, Zeroizing};

/// A send must fit into the socket's send buffer (`net.core.wmem_default`, 208 KiB), and as many
/// refusals into its receive buffer, of which each takes 768 octets or more (`netlink_ack`): what
/// does not fit is lost, and with it what was told.
const CHUNK: (usize, usize) = (128, 64 << 10);
/// The kernel makes dump datagrams of at most 32 KiB (`netlink_dump`).
const RECEIVE: usize = 64 << 10;
/// A dump that saw a change under way is repeated; on a busy host the last one is taken as it is.
const DUMP_TRIES: usize = 8;

/// `linux/ethtool.h`.
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A request that the kernel refused, by what tells it from others.
#[derive(Debug)]
pub(crate) struct Refusal<P = usize> {
    /// Its place in the batch.
    pub(crate) message: P,
    /// The error number.
    pub(crate) errno: i32,
    /// The kernel's sentence, where it gave one (`NLMSGERR_ATTR_MSG`).
    pub(crate) detail: Option<String>,
}

impl<P> Refusal<P> {
    /// Reads an answer (`struct nlmsgerr`); nothing where it says that all is well.
    pub(crate) fn read(message: P, payload: &[u8]) -> Option<Self> {
        let errno = errno(payload);
        (errno != 0).then(|| Self {
            message,
            errno,
            detail: detail(payload),
        })
    }

    /// The refusal as an error; the kernel's sentence stands after the system's.
    pub(crate) fn into_error(self) -> io::Error {
        let error = io::Error::from_raw_os_error(self.errno);
        match self.detail {
            Some(detail) => io::Error::new(error.kind(), format!("{error}: {detail}")),
            None => error,
        }
    }
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    seq: u32,
    buf: Vec<u8>,
    /// Whether every request got its last answer.
    settled: bool,
}

impl Socket {
    /// Opens one in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        Self::of(None)
    }

    /// Opens one of generic netlink there.
    pub(crate) fn open_generic() -> io::Result<Self> {
        Self::of(Some(rustix::net::netlink::GENERIC))
    }

    fn of(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        answer_well(fd.as_fd());
        Ok(Self {
            fd,
            seq: 1,
            buf: Vec::new(),
            settled: true,
        })
    }

    /// Whether no answer is outstanding, so that it can be used again.
    pub(crate) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Sends all requests and waits until the kernel went through them.
    ///
    /// The kernel works on every request, also behind one that it refused.
    pub(crate) fn transact(&mut self, batch: &mut Batch) -> io::Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        let mut first = 0;
        while first < batch.len() {
            let seq = self.seq;
            let (bytes, next) = batch.chunk(first, CHUNK, seq);
            self.seq = seq.wrapping_add((next - first) as u32);
            self.settled = false;
            send(&self.fd, bytes, SendFlags::empty())?;
            self.collect(seq, first, next, &mut refusals)?;
            first = next;
        }
        Ok(refusals)
    }

    fn collect(
        &mut self,
        seq: u32,
        first: usize,
        next: usize,
        refusals: &mut Vec<Refusal>,
    ) -> io::Result<()> {
        loop {
            let datagram = receive(&self.fd, &mut self.buf)?;
            for message in messages(datagram) {
                let place = first + message.seq.wrapping_sub(seq) as usize;
                if message.kind != NLMSG_ERROR || !(first..next).contains(&place) {
                    continue;
                }
                refusals.extend(Refusal::read(place, message.payload));
                if place + 1 == next {
                    self.settled = true;
                    return Ok(());
                }
            }
        }
    }

    /// Asks for all objects of a kind; `each` gets the payloads of the answers.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Body<'_>),
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let found: Vec<Vec<u8>> = self.dumped(kind, body)?;
        found.iter().for_each(|payload| each(payload));
        Ok(())
    }

    /// As [`Self::dump`], of what nobody else may read: the answers are overwritten, also those of a
    /// dump that fails or is repeated.
    pub(crate) fn dump_secret(
        mut self,
        kind: u16,
        body: impl Fn(&mut Body<'_>),
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let found: io::Result<Vec<Zeroizing<Vec<u8>>>> = self.dumped(kind, body);
        self.buf.zeroize();
        found?.iter().for_each(|payload| each(payload));
        Ok(())
    }

    /// The answers, each in what its owner keeps it in, on every path.
    fn dumped<T: From<Vec<u8>>>(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Body<'_>),
    ) -> io::Result<Vec<T>> {
        for attempt in 1..=DUMP_TRIES {
            let mut found = Vec::new();
            let mut changed = false;
            self.ask(kind, libc::NLM_F_DUMP, &body, |payload, flags| {
                changed |= flags & NLM_F_DUMP_INTR != 0;
                found.push(T::from(payload.to_vec()));
            })?;
            if !changed || attempt == DUMP_TRIES {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Asks for one object; `None` when the kernel has none such (`ENODEV`).
    pub(crate) fn get(
        &mut self,
        kind: u16,
        body: impl Fn(&mut Body<'_>),
    ) -> io::Result<Option<Vec<u8>>> {
        let mut found = None;
        match self.ask(kind, libc::NLM_F_ACK, &body, |payload, _| {
            found = Some(payload.to_vec());
        }) {
            Ok(()) => Ok(found),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: i32,
        body: &impl Fn(&mut Body<'_>),
        mut each: impl FnMut(&[u8], u16),
    ) -> io::Result<()> {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let mut batch = Batch::default();
        batch.push(kind, flags, body);
        self.settled = false;
        send(&self.fd, batch.chunk(0, CHUNK, seq).0, SendFlags::empty())?;
        loop {
            let datagram = receive(&self.fd, &mut self.buf)?;
            for message in messages(datagram).filter(|message| message.seq == seq) {
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        self.settled = true;
                        return match get_i32(message.payload, 0) {
                            0 => Ok(()),
                            errno => Err(io::Error::from_raw_os_error(-errno)),
                        };
                    }
                    _ => each(message.payload, message.flags),
                }
            }
        }
    }

    /// The index of an interface in the socket's namespace (`SIOCGIFINDEX`).
    ///
    /// Takes no lock in the kernel, and is served on a netlink socket too: `sock_ioctl` falls
    /// back to `dev_ioctl` in the namespace of whatever socket it is.
    pub(crate) fn index_of(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.fd, name)?)
    }

    /// The link-layer address of an interface that has its carrier; `None` before.
    pub(crate) fn ready_mac(&self, name: &str) -> io::Result<Option<MacAddr>> {
        let flags = self.request(name, libc::SIOCGIFFLAGS as _)?;
        // SAFETY: SIOCGIFFLAGS fills this field.
        let flags = unsafe { flags.ifr_ifru.ifru_flags };
        if i32::from(flags) & libc::IFF_RUNNING == 0 {
            return Ok(None);
        }
        let address = self.request(name, libc::SIOCGIFHWADDR as _)?;
        // SAFETY: SIOCGIFHWADDR fills this field.
        let octets = unsafe { address.ifr_ifru.ifru_hwaddr }.sa_data;
        let mut mac = MacAddr([0; 6]);
        for (to, from) in mac.0.iter_mut().zip(octets) {
            *to = from.to_ne_bytes()[0];
        }
        Ok(Some(mac))
    }

    /// Whether an interface joins segments that come in (GRO).
    pub(crate) fn joins_segments(&self, name: &str) -> io::Result<bool> {
        Ok(self.ethtool(name, ETHTOOL_GGRO, 0)? != 0)
    }

    /// Has an interface join segments that come in, or not; nothing is lost meanwhile.
    pub(crate) fn join_segments(&self, name: &str, on: bool) -> io::Result<()> {
        self.ethtool(name, ETHTOOL_SGRO, u32::from(on)).map(drop)
    }

    /// Asks an interface for a number, or tells it one: one call on the socket that is there. By
    /// ethtool's generic netlink it would be a socket more, a number of that to be asked for, and
    /// nothing before Linux 5.6.
    fn ethtool(&self, name: &str, command: u32, number: u32) -> io::Result<u32> {
        // `struct ethtool_value`.
        let mut value = [command, number];
        let mut ifreq = named(name);
        ifreq.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: these commands read and write the two numbers alone, which live through the call.
        unsafe { self.ioctl(&mut ifreq, libc::SIOCETHTOOL as _)? };
        Ok(value[1])
    }

    fn request(&self, name: &str, request: libc::Ioctl) -> io::Result<libc::ifreq> {
        let mut ifreq = named(name);
        // SAFETY: what is asked for is written into the `ifreq`.
        unsafe { self.ioctl(&mut ifreq, request)? };
        Ok(ifreq)
    }

    /// # Safety
    /// What the `ifreq` points to must be what the request takes.
    unsafe fn ioctl(&self, ifreq: &mut libc::ifreq, request: libc::Ioctl) -> io::Result<()> {
        // SAFETY: an `ifreq` that lives through the call is what the request takes.
        match unsafe { libc::ioctl(self.fd.as_raw_fd(), request, &raw mut *ifreq) } {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// A request about an interface.
fn named(name: &str) -> libc::ifreq {
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last octet stays zero; a longer name is no interface's.
    let room = ifreq.ifr_name.len() - 1;
    for (to, from) in ifreq.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    ifreq
}

/// Has answers not repeat the request, and say more than a number. Both only inform, so a kernel
/// that does not know them (before 4.12) is no reason to fail.
pub(crate) fn answer_well(fd: BorrowedFd<'_>) {
    for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK] {
        let on: libc::c_int = 1;
        // SAFETY: `on` lives through the call and its size is given.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            );
        }
    }
}

/// Reads one datagram.
pub(crate) fn receive<'a>(fd: &OwnedFd, buf: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    buf.resize(RECEIVE, 0);
    loop {
        match recv(fd, buf.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, len)) if len > RECEIVE => {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            Ok((_, len)) => return Ok(&buf[..len]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The error number that an answer begins with, positive.
pub(crate) fn errno(payload: &[u8]) -> i32 {
    get_i32(payload, 0).wrapping_neg()
}

/// The kernel's sentence in an answer without the request (`NETLINK_CAP_ACK`): the error number
/// and the request's header come first.
fn detail(payload: &[u8]) -> Option<String> {
    Attrs::after(payload, 4 + 16)
        .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
        .map(|(_, value)| get_str(value))
        .filter(|text| !text.is_empty())
}
