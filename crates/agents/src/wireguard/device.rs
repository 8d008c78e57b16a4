//! A running device: its threads between the TUN link and the sockets.
//!
//! Owns the threads, the two descriptors' reading, and their end.

use super::{
    Peer, PrivateKey, Stats,
    engine::{Engine, HEADROOM},
    outbox::Outbox,
    socket::{self, Batch},
    tun::{self, Inbox},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    rand::{GetRandomFlags, getrandom},
};
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};
use vw_model::PublicKey;

/// How often the protocol's clocks are looked at; its shortest is five seconds.
const TICK: Duration = Duration::from_millis(250);

/// An open TUN link, that nobody else reads.
#[derive(Debug)]
pub struct Tun {
    /// The descriptor.
    pub fd: OwnedFd,
    /// Whether packets carry the ten bytes of `struct virtio_net_hdr` (IFF_VNET_HDR); no offload
    /// of what is read may have been asked for.
    pub headers: bool,
}

/// Why a device did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refused something that it needs.
    #[error("cannot {action} for the encrypted tunnel")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A device that carries packets until it is dropped.
#[derive(Debug)]
pub struct Device {
    wires: Arc<Wires>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
struct Wires {
    engine: Engine,
    tun: Tun,
    sockets: Vec<(UdpSocket, SocketAddr)>,
    /// Readable from the moment that the threads shall end.
    stop: OwnedFd,
}

impl std::fmt::Debug for Wires {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wires")
            .field("tun", &self.tun)
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Starts a device without peers: it takes nothing and sends nothing until it has some.
    ///
    /// The sockets are bound UDP sockets, at most one a family; a peer whose endpoint's family has
    /// none is not reached.
    ///
    /// # Errors
    /// When the system gives no threads or descriptors, or the sockets are none.
    pub fn start(
        tun: Tun,
        sockets: Vec<UdpSocket>,
        private: PrivateKey,
    ) -> Result<Self, StartError> {
        let during = |action| move |source| StartError::System { action, source };
        let mut seed = [0; 4];
        getrandom(&mut seed, GetRandomFlags::empty())
            .map_err(|errno| during("find randomness")(errno.into()))?;
        let flags =
            fcntl_getfl(&tun.fd).and_then(|flags| fcntl_setfl(&tun.fd, flags | OFlags::NONBLOCK));
        flags.map_err(|errno| during("prepare the link")(errno.into()))?;
        let sockets = sockets.into_iter().map(|socket| {
            socket::prepare(&socket)?;
            let local = socket.local_addr()?;
            Ok((socket, local))
        });
        let sockets = sockets
            .collect::<io::Result<Vec<_>>>()
            .map_err(during("prepare the sockets"))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| during("make an event")(errno.into()))?;
        let mut device = Self {
            wires: Arc::new(Wires {
                engine: Engine::new(private, u32::from_ne_bytes(seed)),
                tun,
                sockets,
                stop,
            }),
            threads: Vec::new(),
        };
        // Dropping a device that has begun ends what has begun.
        device
            .spawn("wg-out", Wires::carry_out)
            .map_err(during("start a thread"))?;
        for at in 0..device.wires.sockets.len() {
            device
                .spawn("wg-in", move |wires| wires.carry_in(at))
                .map_err(during("start a thread"))?;
        }
        device
            .spawn("wg-clock", Wires::keep_time)
            .map_err(during("start a thread"))?;
        Ok(device)
    }

    /// Replaces the peers; one that keeps a key keeps its sessions, and no packet is lost.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.wires.engine.set_peers(peers);
    }

    /// Replaces those peers alone that use one of these keys, or share one with these peers; as
    /// [`Self::set_peers`], at the cost of what changes.
    pub fn change_peers(&self, former: Vec<PublicKey>, peers: Vec<Peer>) {
        self.wires.engine.change_peers(former, peers);
    }

    /// Uses another key from now on, which the peers must know already (as their `next`).
    ///
    /// No packet is lost: sessions under the former key carry on until new ones stand.
    pub fn rotate(&self, private: PrivateKey) {
        let mut out = Outbox::default();
        self.wires.engine.rotate(private, &mut out);
        self.wires.send(&mut out);
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.wires.engine.stats()
    }

    /// Whether its link or a socket was deleted under it: it carries nothing any more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.wires.engine.counters.lost.get() > 0
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Wires) + Send + 'static) -> io::Result<()> {
        let wires = Arc::clone(&self.wires);
        let thread = thread::Builder::new().name(name.to_owned());
        self.threads.push(thread.spawn(move || work(&wires))?);
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // The counter cannot overflow by one: it is written once.
        let _ = rustix::io::write(&self.wires.stop, &1_u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Wires {
    /// Packets from inside, to the peers.
    fn carry_out(&self) {
        let mut room = vec![0; tun::LARGEST];
        let mut out = Outbox::default();
        loop {
            match tun::take(&self.tun.fd, self.tun.headers, &mut room) {
                Ok(Some(packet)) => {
                    self.engine.send(packet, &mut out);
                    if out.is_full() {
                        self.send(&mut out);
                    }
                    continue;
                }
                Ok(None) => self.send(&mut out),
                Err(error) => return self.lost("the link", error),
            }
            if !self.wait(Some(self.tun.fd.as_fd()), None) {
                return;
            }
        }
    }

    /// Datagrams of one socket, to the inside.
    fn carry_in(&self, at: usize) {
        let socket = &self.sockets[at].0;
        let mut batch = Batch::new();
        let mut room = vec![0; usize::from(u16::MAX) + HEADROOM];
        let (mut inbox, mut out) = (Inbox::default(), Outbox::default());
        loop {
            let received = batch.receive(socket, |datagram, from| {
                let room = &mut room[..datagram.len() + HEADROOM];
                if let Some(packet) = self.engine.receive(datagram, from, room, &mut out) {
                    inbox.push(packet);
                }
            });
            let refused = inbox.write(&self.tun.fd, self.tun.headers);
            self.engine.counters.unsent.add(refused);
            self.send(&mut out);
            let more = match received {
                Ok(more) => more,
                Err(error) => return self.lost("a socket", error),
            };
            if !more && !self.wait(Some(socket.as_fd()), None) {
                return;
            }
        }
    }

    /// What the protocol does by itself, as time passes.
    fn keep_time(&self) {
        let mut out = Outbox::default();
        while self.wait(None, Some(TICK)) {
            self.engine.tick(&mut out);
            self.send(&mut out);
        }
    }

    fn send(&self, out: &mut Outbox) {
        out.drain(|run, bytes| {
            let family =
                |(_, local): &&(UdpSocket, SocketAddr)| local.is_ipv4() == run.to.is_ipv4();
            let unsent = match self.sockets.iter().find(family) {
                Some((socket, _)) => socket::send(socket, run, bytes),
                None => run.bytes.div_ceil(run.size) as u64,
            };
            self.engine.counters.unsent.add(unsent);
        });
    }

    /// Waits until a descriptor is readable or time is up; `false` when it is time to end.
    fn wait(&self, fd: Option<std::os::fd::BorrowedFd<'_>>, time: Option<Duration>) -> bool {
        let mut fds = vec![PollFd::new(&self.stop, PollFlags::IN)];
        fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let time = time.map(|time| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => fds[0].revents().is_empty(),
            Err(_) => false,
        }
    }

    /// The link or a socket is gone: the namespace was deleted under the device.
    fn lost(&self, what: &str, error: Errno) {
        if self.wait(None, Some(Duration::ZERO)) {
            self.engine.counters.lost.add(1);
            tracing::error!(%error, "the encrypted tunnel stands still: {what} cannot be read");
        }
    }
}
