//! Tells the neighbours of a new address: gratuitous ARP (RFC 5227 2.3) and unsolicited
//! neighbour advertisements (RFC 4861 7.2.6).
//!
//! Runs behind the reply of an attachment. It must not announce an address that is gone again.

mod frame;
#[cfg(test)]
mod tests;

use crate::{
    alarm::Alarm,
    netlink::{neigh, route},
    netns::{Namespaces, Place, lock},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};
use vw_hoststate::Netns;
use vw_model::{IfName, MacAddr};

/// `ANNOUNCE_NUM` of RFC 5227; at most `MAX_NEIGHBOR_ADVERTISEMENT` (3) of RFC 4861.
const ROUNDS: u32 = 2;
/// `ANNOUNCE_INTERVAL` of RFC 5227; at least `RetransTimer` (1 s) of RFC 4861.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the kernel's link watch takes at least to open a bridge's port after its carrier.
const SETTLE: Duration = Duration::from_millis(2);
/// After so many doublings of [`SETTLE`] (two seconds) a link without carrier is given up.
const PATIENCE: u32 = 9;
/// Packet sockets that wait for their closing.
const CLOSING: usize = 256;

/// Addresses that appeared on a link, or are answered for on it from now on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Appeared {
    /// The namespace.
    pub(crate) netns: Netns,
    /// The link.
    pub(crate) link: IfName,
    /// The addresses.
    pub(crate) addrs: Vec<IpAddr>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shot {
    due: Instant,
    round: u32,
    tries: u32,
    what: Appeared,
}

/// The thread that announces; it ends with this.
#[derive(Debug)]
pub(crate) struct Announcer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shots: Mutex<BinaryHeap<Reverse<Shot>>>,
    alarm: Alarm,
    ended: AtomicBool,
}

impl Shared {
    /// Plans a shot; the alarm is always set to the first.
    fn plan(&self, shot: Shot) {
        let mut shots = lock(&self.shots);
        if shots
            .peek()
            .is_none_or(|Reverse(first)| shot.due < first.due)
        {
            let delay = shot.due.saturating_duration_since(Instant::now());
            self.alarm.set(delay);
        }
        shots.push(Reverse(shot));
    }

    /// The next shot that is due; without one the alarm is set to the first.
    fn due(&self) -> Option<Shot> {
        let mut shots = lock(&self.shots);
        let now = Instant::now();
        match shots.peek() {
            Some(Reverse(first)) if first.due <= now => shots.pop().map(|Reverse(shot)| shot),
            Some(Reverse(first)) => {
                self.alarm.set(first.due - now);
                None
            }
            None => None,
        }
    }
}

impl Announcer {
    /// Starts it.
    pub(crate) fn start(namespaces: Arc<Namespaces>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            shots: Mutex::default(),
            alarm: Alarm::new()?,
            ended: AtomicBool::new(false),
        });
        let (closing, closed) = mpsc::sync_channel::<OwnedFd>(CLOSING);
        // Closing a packet socket waits for an RCU grace period, 8 to 20 ms.
        let closer = thread::Builder::new().name("packet-close".into());
        closer.spawn(move || closed.into_iter().for_each(drop))?;
        let announcer = Self(Arc::clone(&shared));
        let builder = thread::Builder::new().name("announce".into());
        builder.spawn(move || work(&namespaces, &shared, &closing))?;
        Ok(announcer)
    }

    /// Has addresses announced; returns at once, waking nobody.
    pub(crate) fn announce(&self, what: Appeared) {
        self.0.plan(Shot {
            due: Instant::now() + SETTLE,
            round: 1,
            tries: 0,
            what,
        });
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.alarm.set(Duration::ZERO);
    }
}

fn work(namespaces: &Namespaces, shared: &Shared, closing: &SyncSender<OwnedFd>) {
    loop {
        if let Err(error) = shared.alarm.wait() {
            tracing::warn!(%error, "addresses are no longer announced");
            return;
        }
        if shared.ended.load(Ordering::Acquire) {
            return;
        }
        while let Some(shot) = shared.due() {
            if let Some(next) = fire(namespaces, shot, closing) {
                shared.plan(next);
            }
        }
    }
}

/// Announces once; answers with the next time, if there is one.
fn fire(namespaces: &Namespaces, shot: Shot, closing: &SyncSender<OwnedFd>) -> Option<Shot> {
    let place = namespaces.place(shot.what.netns).ok()?;
    match announce(namespaces, &place, &shot.what) {
        Ok(Some(socket)) => {
            // Without the other thread it is closed here.
            let _ = closing.send(socket);
            (shot.round < ROUNDS).then(|| Shot {
                due: Instant::now() + INTERVAL,
                round: shot.round + 1,
                tries: 0,
                ..shot
            })
        }
        Ok(None) => (shot.tries < PATIENCE).then(|| Shot {
            due: Instant::now() + SETTLE * (1 << shot.tries),
            tries: shot.tries + 1,
            ..shot
        }),
        // The link or its address is gone: nothing to tell.
        Err(error) => {
            tracing::debug!(link = %shot.what.link, %error, "not announced");
            None
        }
    }
}

/// Sends the announcements; `None` when the link has no carrier yet.
fn announce(
    namespaces: &Namespaces,
    place: &Arc<Place>,
    what: &Appeared,
) -> io::Result<Option<OwnedFd>> {
    let name = what.link.as_str();
    let found = namespaces.with_socket(place, |socket| {
        let index = socket.index_of(name)?;
        let Some(mac) = socket.ready_mac(name)? else {
            return Ok(None);
        };
        let addrs = what.addrs.iter().copied();
        let stands = addrs.filter(|ip| {
            route::is_held(socket, index, *ip) || neigh::is_proxied(socket, index, *ip)
        });
        Ok(Some((index, mac, stands.collect::<Vec<IpAddr>>())))
    })?;
    let Some((index, mac, addrs)) = found else {
        return Ok(None);
    };
    let sent = namespaces.run(place, move || send_all(index, mac, &addrs))??;
    Ok(Some(sent))
}

fn send_all(index: u32, mac: MacAddr, addrs: &[IpAddr]) -> io::Result<OwnedFd> {
    // Protocol 0: it never receives.
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for addr in addrs {
        match addr {
            IpAddr::V4(addr) => send(&socket, index, &frame::arp(mac, *addr))?,
            IpAddr::V6(addr) => send(&socket, index, &frame::advertisement(mac, *addr))?,
        }
    }
    Ok(socket)
}

fn send(socket: &OwnedFd, index: u32, frame: &[u8]) -> io::Result<()> {
    let to = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: u16::from_ne_bytes([frame[12], frame[13]]),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: frame and address live through the call and their sizes are given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
