//! Tells when a link of ours goes, or goes out of service, by somebody else's hand; and when one
//! that others own and we depend on comes back.

use crate::netlink::{Socket, link::Seen, messages};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with},
};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

/// `RTMGRP_LINK`.
const GROUP: u32 = 1;
const RECEIVE: usize = 64 << 10;

/// What happened to links of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It was deleted, and not because we took it out of service.
    Removed(String),
    /// It is down; a bridge of ours also when it is made, before it is brought up.
    Down(String),
    /// The link that is followed besides was down, and is up.
    Back(String),
    /// So much happened that the kernel lost some of it: look at everything.
    Lost,
}

/// A listener to the links of ours in a namespace.
#[derive(Debug)]
pub struct LinkMonitor {
    fd: OwnedFd,
    buf: Vec<u8>,
    events: VecDeque<LinkEvent>,
    besides: Option<u32>,
    was_down: bool,
}

impl LinkMonitor {
    /// Opens one in the namespace of the calling thread; what happens from now on is told.
    /// `besides` is a link that somebody else owns, and that is followed as long as it is that one.
    ///
    /// # Errors
    /// The system's answer.
    pub fn open(besides: Option<&str>) -> io::Result<Self> {
        let besides = besides.map(|name| Socket::open()?.index_of(name));
        let besides = besides.transpose()?;
        let fd = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is 0, the default.
            None,
        )?;
        // It only spares wake-ups: what comes through without it is looked at all the same.
        if let Err(error) = only_losses(&fd, besides) {
            tracing::debug!(%error, "every change of a link wakes its watcher");
        }
        bind(&fd, &netlink::SocketAddrNetlink::new(0, GROUP))?;
        Ok(Self {
            fd,
            buf: vec![0; RECEIVE],
            events: VecDeque::new(),
            besides,
            // What it is now is not asked: the first news of it tells.
            was_down: true,
        })
    }

    /// Waits for the next event, at most `timeout`; `None` when that passed without one.
    ///
    /// # Errors
    /// The system's answer.
    pub fn next(&mut self, timeout: Option<Duration>) -> io::Result<Option<LinkEvent>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(0) => return Ok(None),
                Ok(_) => self.read()?,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        match recv(&self.fd, self.buf.as_mut_slice(), RecvFlags::empty()) {
            Ok((_, len)) => {
                for message in messages(&self.buf[..len]) {
                    let seen = Seen::parse(message.payload);
                    self.events.extend(event(message.kind, &seen));
                    if Some(seen.index) == self.besides {
                        let was_down = std::mem::replace(&mut self.was_down, !seen.up);
                        let back = (was_down && seen.up).then_some(LinkEvent::Back(seen.name));
                        self.events.extend(back);
                    }
                }
                Ok(())
            }
            Err(rustix::io::Errno::NOBUFS) => {
                self.events.push_back(LinkEvent::Lost);
                Ok(())
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Has the kernel pass on only links that were deleted or are down, and the one that is followed.
///
/// Making a pair tells of it sixteen times, with its maker waiting; waking a thread for each cost
/// a tenth of an attachment. `RTM_NEWLINK` of a link that is up concerns nobody here.
fn only_losses(fd: &OwnedFd, besides: Option<u32>) -> io::Result<()> {
    const ACCEPT: u32 = u32::MAX;
    // The filter reads numbers in network order, netlink has them in the host's.
    let deleted = u32::from(u16::from_be_bytes(libc::RTM_DELLINK.to_ne_bytes()));
    let flags = if cfg!(target_endian = "little") {
        24
    } else {
        27
    };
    let load = |size: u32, at: u32| (libc::BPF_LD | size | libc::BPF_ABS, 0, 0, at);
    let jump = |test: u32, yes: u8, no: u8, value: u32| {
        (libc::BPF_JMP | test | libc::BPF_K, yes, no, value)
    };
    let answer = |value: u32| (libc::BPF_RET | libc::BPF_K, 0, 0, value);
    // No link has the index 0.
    let besides = u32::from_be_bytes(besides.unwrap_or_default().to_ne_bytes());
    let program = [
        // `nlmsg_type`, `ifi_index`, then the first byte of `ifi_flags`, which has IFF_UP.
        load(libc::BPF_H, 4),
        jump(libc::BPF_JEQ, 4, 0, deleted),
        load(libc::BPF_W, 20),
        jump(libc::BPF_JEQ, 2, 0, besides),
        load(libc::BPF_B, flags),
        jump(libc::BPF_JSET, 1, 0, libc::IFF_UP as u32),
        answer(ACCEPT),
        answer(0),
    ];
    let mut filter = program.map(|(code, jt, jf, k)| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    });
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: program and filter live through the call, which copies them; sizes are given.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn event(kind: u16, seen: &Seen) -> Option<LinkEvent> {
    match kind {
        _ if !seen.is_ours() => None,
        libc::RTM_DELLINK => Some(LinkEvent::Removed(seen.name.clone())),
        libc::RTM_NEWLINK if !seen.up => Some(LinkEvent::Down(seen.name.clone())),
        _ => None,
    }
}
