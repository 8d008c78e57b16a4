//! One nfnetlink socket: a batch is one transaction; and dumps that are consistent.

use super::abi::{BATCH_BEGIN, BATCH_END, Message, SUBSYSTEM};
use crate::netlink::{self, Attrs, Batch, Body, answer_well, errno, messages, receive};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, netlink as addresses, send, socket_with,
    sockopt,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// What a send buffer must have above the data (`netlink_sendmsg` asks for 32 bytes more).
const SLACK: usize = 4 << 10;
/// A dump that saw a transaction of somebody's is repeated so many times.
const DUMP_TRIES: usize = 16;

const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;

/// A message that the kernel refused, and with it the whole transaction; by its place among the
/// messages of the transaction, or none when all were well by themselves and the kernel refused
/// them together.
pub(super) type Refusal = netlink::Refusal<Option<usize>>;

/// Messages that take effect together or not at all.
#[derive(Debug)]
pub(super) struct Transaction {
    batch: Batch,
}

impl Transaction {
    pub(super) fn new() -> Self {
        let mut batch = Batch::default();
        batch.push(BATCH_BEGIN, 0, |body| header(body, 0, SUBSYSTEM));
        Self { batch }
    }

    /// Appends a message; answers its place.
    pub(super) fn push(
        &mut self,
        message: Message,
        flags: i32,
        family: u8,
        body: impl FnOnce(&mut Body<'_>),
    ) -> usize {
        let place = self.len();
        // An acknowledgement each costs more than it tells; errors always come, and
        // `Socket::commit` asks for that of the last.
        self.batch.push(message.kind(), flags, |out| {
            header(out, family, 0);
            body(out);
        });
        place
    }

    /// How many messages it has.
    pub(super) fn len(&self) -> usize {
        self.batch.len() - 1
    }
}

/// `struct nfgenmsg`; the resource id is big-endian.
fn header(body: &mut Body<'_>, family: u8, resource: u8) {
    body.bytes(&[family, 0, 0, resource]);
}

/// A socket of the namespace that the calling thread was in when it was opened.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    seq: u32,
    send_buffer: usize,
    buf: Vec<u8>,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let fd = open(0)?;
        let send_buffer = sockopt::socket_send_buffer_size(&fd)?;
        Ok(Self {
            fd,
            seq: 1,
            send_buffer,
            buf: Vec::new(),
        })
    }

    /// The id by which others know who made a change.
    pub(super) fn port(&self) -> io::Result<u32> {
        let addr = rustix::net::getsockname(&self.fd)?;
        let addr = addresses::SocketAddrNetlink::try_from(addr)?;
        Ok(addr.pid())
    }

    /// Commits a transaction.
    ///
    /// Errors of single messages come first, in their order; then nothing took effect.
    pub(super) fn commit(&mut self, mut transaction: Transaction) -> io::Result<Vec<Refusal>> {
        let count = transaction.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let batch = &mut transaction.batch;
        batch.push(BATCH_END, 0, |body| header(body, 0, SUBSYSTEM));
        let seq = self.seq;
        self.seq = seq.wrapping_add(batch.len() as u32);
        let bytes = batch.whole(seq, count);
        if bytes.len() + SLACK > self.send_buffer {
            let wanted = bytes.len() + SLACK;
            sockopt::set_socket_send_buffer_size_force(&self.fd, wanted)?;
            self.send_buffer = sockopt::socket_send_buffer_size(&self.fd)?;
        }
        send(&self.fd, bytes, SendFlags::empty())?;
        self.collect(seq, count)
    }

    fn collect(&mut self, seq: u32, count: usize) -> io::Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        loop {
            let datagram = receive(&self.fd, &mut self.buf)?;
            for message in messages(datagram).filter(|message| message.kind == NLMSG_ERROR) {
                let place = message.seq.wrapping_sub(seq) as usize;
                if place > count {
                    continue;
                }
                let errno = errno(message.payload);
                refusals.extend(Refusal::read(place.checked_sub(1), message.payload));
                if place == count {
                    return Ok(refusals);
                }
                // A batch that is refused as such (no privilege, no memory) is not gone into.
                if place == 0 && matches!(errno, libc::EPERM | libc::ENOMEM | libc::EOPNOTSUPP) {
                    return Ok(refusals);
                }
            }
        }
    }

    /// Asks for all objects of a kind; `each` gets family and attributes of each.
    pub(super) fn dump(
        &mut self,
        message: Message,
        family: u8,
        body: impl Fn(&mut Body<'_>),
        mut each: impl FnMut(u8, Attrs<'_>),
    ) -> io::Result<()> {
        for _ in 0..DUMP_TRIES {
            let mut found = Vec::new();
            if self.dump_once(message, family, &body, &mut found)? {
                for payload in &found {
                    each(payload.first().copied().unwrap_or_default(), attrs(payload));
                }
                return Ok(());
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// Whether nobody changed the rule set meanwhile.
    fn dump_once(
        &mut self,
        message: Message,
        family: u8,
        body: &impl Fn(&mut Body<'_>),
        found: &mut Vec<Vec<u8>>,
    ) -> io::Result<bool> {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        let mut batch = Batch::default();
        batch.push(message.kind(), libc::NLM_F_DUMP, |out| {
            header(out, family, 0);
            body(out);
        });
        send(&self.fd, batch.whole(seq, 0), SendFlags::empty())?;
        let mut consistent = true;
        loop {
            let datagram = receive(&self.fd, &mut self.buf)?;
            for message in messages(datagram).filter(|message| message.seq == seq) {
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match (message.kind, errno(message.payload)) {
                    (NLMSG_ERROR | NLMSG_DONE, 0) => return Ok(consistent),
                    (NLMSG_ERROR | NLMSG_DONE, libc::EINTR | libc::EAGAIN) => return Ok(false),
                    (NLMSG_ERROR | NLMSG_DONE, errno) => {
                        return Err(io::Error::from_raw_os_error(errno));
                    }
                    _ => found.push(message.payload.to_vec()),
                }
            }
        }
    }
}

/// The attributes behind `struct nfgenmsg`.
pub(super) fn attrs(payload: &[u8]) -> Attrs<'_> {
    Attrs::after(payload, 4)
}

/// Opens a socket that listens to `groups` (a mask), in the namespace of the calling thread.
pub(super) fn open(groups: u32) -> io::Result<OwnedFd> {
    let fd = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(addresses::NETFILTER),
    )?;
    rustix::net::bind(&fd, &addresses::SocketAddrNetlink::new(0, groups))?;
    answer_well(fd.as_fd());
    Ok(fd)
}
