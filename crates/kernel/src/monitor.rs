//! Tells when a link of ours goes, or goes out of service, by somebody else's hand; and of one that
//! others own and we depend on, when it comes back, or loses what we put on it; and of addresses.

mod addresses;
mod running;

pub use addresses::AddressMonitor;
pub(crate) use running::Running;

use crate::filter;
use crate::netlink::{Socket, addr, link, link::Seen, messages, route};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with},
};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};
use vw_hoststate::{Key, Netns};
use vw_model::IfName;

/// `RTMGRP_LINK`.
const LINKS: u32 = 1;
/// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE`: what a
/// link that is followed has besides.
const BESIDES: u32 = 0x10 | 0x40 | 0x100 | 0x400;
const RECEIVE: usize = 64 << 10;

/// What happened to links of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// It was deleted, and not because we took it out of service.
    Removed(String),
    /// It was up and is down.
    Down(String),
    /// The link that is followed besides was down and is up, or has another address. With its last
    /// IPv4 address the kernel flushes the routes over a link, and tells of none (`fib_disable_ip`).
    Back(String),
    /// An address, or a route of ours, was taken off the link that is followed besides while that
    /// is up; by whom is not told.
    Gone(Key),
    /// So much happened that the kernel lost some of it: look at everything.
    Lost,
}

/// A listener to the links of ours in a namespace.
#[derive(Debug)]
pub struct LinkMonitor {
    fd: OwnedFd,
    buf: Vec<u8>,
    events: VecDeque<LinkEvent>,
    besides: Option<Besides>,
}

/// A link that somebody else owns.
#[derive(Debug)]
struct Besides {
    /// `None` while there is none of its name.
    index: Option<u32>,
    name: IfName,
    up: bool,
}

impl LinkMonitor {
    /// Opens one in the namespace of the calling thread; what happens from now on is told.
    /// `besides` is a link that somebody else owns, and that is followed also when it is made anew.
    ///
    /// # Errors
    /// The system's answer.
    pub fn open(besides: Option<&str>) -> io::Result<Self> {
        let besides = besides.map(Besides::find).transpose()?;
        let fd = socket()?;
        // It only spares wake-ups: what comes through without it is looked at all the same.
        let index = besides.as_ref().and_then(|link| link.index);
        spared(filter::only_losses(&fd, index));
        let groups = besides.as_ref().map_or(LINKS, |_| LINKS | BESIDES);
        bind(&fd, &netlink::SocketAddrNetlink::new(0, groups))?;
        Ok(Self {
            fd,
            buf: vec![0; RECEIVE],
            events: VecDeque::new(),
            besides,
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
                    self.events.extend(event(message.kind, message.payload));
                    let besides = self.besides.as_mut();
                    let told = besides.and_then(|link| link.event(message.kind, message.payload));
                    self.events.extend(told);
                }
                let gone = self.besides.as_mut().filter(|link| link.index.is_none());
                self.events
                    .extend(gone.and_then(|link| link.again(&self.fd)));
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

fn spared(filtered: io::Result<()>) {
    if let Err(error) = filtered {
        tracing::debug!(%error, "every change of a link wakes its watcher");
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        // NETLINK_ROUTE is 0, the default.
        None,
    )?)
}

impl AsFd for LinkMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Besides {
    fn find(name: &str) -> io::Result<Self> {
        let mut socket = Socket::open()?;
        let index = socket.index_of(name)?;
        let found = link::get(&mut socket, name)?;
        Ok(Self {
            index: Some(index),
            name: name.parse().map_err(io::Error::other)?,
            up: found.is_some_and(|seen| seen.up),
        })
    }

    /// Looks for it after it was deleted; whatever comes is listened to as long as it is not there.
    fn again(&mut self, fd: &OwnedFd) -> Option<LinkEvent> {
        spared(filter::everything(fd));
        *self = Self::find(self.name.as_str()).ok()?;
        spared(filter::only_losses(fd, self.index));
        self.up.then(|| LinkEvent::Back(self.name.to_string()))
    }

    fn event(&mut self, kind: u16, payload: &[u8]) -> Option<LinkEvent> {
        let back = || Some(LinkEvent::Back(self.name.to_string()));
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                let seen = Seen::parse(payload);
                if Some(seen.index) != self.index {
                    return None;
                }
                // One of the family `AF_BRIDGE` tells that it left a bridge.
                if kind == libc::RTM_DELLINK && payload.first() == Some(&(libc::AF_UNSPEC as u8)) {
                    (self.index, self.up) = (None, false);
                    return None;
                }
                let returns = !self.up && seen.up;
                let back = if returns { back() } else { None };
                self.up = seen.up;
                back
            }
            libc::RTM_NEWADDR => {
                let seen = addr::parse(payload)?;
                // What we put there ourselves is no news.
                (Some(seen.index) == self.index && !seen.ours)
                    .then(back)
                    .flatten()
            }
            // A link that goes down loses all at once, and nothing can be put back before it is up.
            _ if !self.up => None,
            libc::RTM_DELADDR => {
                let seen = addr::parse(payload)?;
                let key = Key::Address(Netns::Host, self.name.clone(), seen.addr);
                (Some(seen.index) == self.index).then_some(LinkEvent::Gone(key))
            }
            libc::RTM_DELROUTE => {
                let seen = route::parse(payload)?;
                let ours = seen.ours && seen.link.is_some() && seen.link == self.index;
                let link = Some(self.name.clone());
                let key = Key::Route(Netns::Host, seen.dst, seen.metric, link);
                ours.then_some(LinkEvent::Gone(key))
            }
            _ => None,
        }
    }
}

fn event(kind: u16, payload: &[u8]) -> Option<LinkEvent> {
    if !matches!(kind, libc::RTM_NEWLINK | libc::RTM_DELLINK) {
        return None;
    }
    let seen = Seen::parse(payload);
    match kind {
        _ if !seen.is_ours() => None,
        libc::RTM_DELLINK => Some(LinkEvent::Removed(seen.name)),
        _ if seen.went_down() => Some(LinkEvent::Down(seen.name)),
        _ => None,
    }
}
