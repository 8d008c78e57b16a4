//! One way over which hosts are asked: a thread that answers and hears, and rounds of questions.
//!
//! Owns which answer belongs to which question. It must not know what is asked for, nor which way
//! its packets take.

use super::{
    LEAST, Path, Told, Way, lock,
    packet::{Kind, Packet},
    wire::{Place, Wire},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::{Errno, write},
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use vw_model::HostId;

/// What has not answered within this did not get the question.
const PATIENCE: Duration = Duration::from_millis(200);
/// How many answers may wait to be counted: more hosts than a cluster has. What comes beyond is as
/// good as lost on the way.
pub(super) const WAITING: usize = 4096;
/// The largest packet, less its own header; what else it carries does not matter.
const LARGEST: usize = 65_535;

/// The socket, and the thread that hears what comes by it.
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    asking: Mutex<Asking>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    wire: Wire,
    hosts: Mutex<Hosts>,
    told: Arc<Mutex<Told>>,
    /// The number of the questions whose answers are waited for.
    asked: AtomicU64,
    /// Wakes the thread.
    wake: OwnedFd,
    /// Nothing is heard any more.
    over: AtomicBool,
}

/// Who is where.
#[derive(Debug, Default)]
struct Hosts {
    places: HashMap<HostId, Place>,
    ids: HashMap<Place, HostId>,
}

/// The one who asks now.
#[derive(Debug)]
struct Asking {
    answers: Receiver<Answer>,
    number: u64,
}

#[derive(Debug)]
struct Answer {
    from: HostId,
    number: u64,
    at: Instant,
    told: Told,
}

impl Line {
    pub(super) fn start(way: Way, wire: Wire, told: Arc<Mutex<Told>>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            wire,
            hosts: Mutex::default(),
            told,
            asked: AtomicU64::new(0),
            wake: eventfd(0, EventfdFlags::CLOEXEC)?,
            over: AtomicBool::new(false),
        });
        let (tell, answers) = sync_channel(WAITING);
        let ears = Arc::clone(&shared);
        let thread = thread::Builder::new().name("probe".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = ears.listen(&tell) {
                tracing::debug!("the way to other hosts is no longer tried: {error}");
            }
            ears.over.store(true, Ordering::Release);
            let mut told = lock(&ears.told);
            match way {
                Way::Beside => {}
                Way::Clear => told.clear = None,
                Way::Encrypted => told.encrypted = false,
            }
        })?;
        Ok(Self {
            shared,
            asking: Mutex::new(Asking { answers, number: 0 }),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Whether nothing is heard any more.
    pub(super) fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire)
    }

    /// Ends it; who is asking gets no answers any more.
    pub(super) fn end(&self) {
        self.shared.over.store(true, Ordering::Release);
        // The counter is far from full, which alone would refuse.
        let _ = write(&self.shared.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = lock(&self.thread).take() {
            // It does not panic, and there is nothing to be done if it did.
            let _ = thread.join();
        }
    }

    /// Answers these hosts from now on, and no others.
    pub(super) fn answer(&self, known: &BTreeMap<HostId, IpAddr>) {
        let place = |(id, addr): (&HostId, &IpAddr)| (*id, self.shared.wire.place(*id, *addr));
        let places: HashMap<HostId, Place> = known.iter().map(place).collect();
        let ids = places.iter().map(|(id, place)| (*place, *id)).collect();
        *lock(&self.shared.hosts) = Hosts { places, ids };
    }

    /// The right to ask, which one has at a time.
    pub(super) fn asking(&self) -> Rounds<'_> {
        Rounds {
            shared: &self.shared,
            asking: lock(&self.asking),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks, round after round.
pub(super) struct Rounds<'a> {
    shared: &'a Shared,
    asking: MutexGuard<'a, Asking>,
}

impl Rounds<'_> {
    /// Sends each host a packet of a size in bytes, inside a tunnel, and tells what came back.
    pub(super) fn ask(&mut self, sizes: &[(HostId, u32)]) -> BTreeMap<HostId, Path> {
        self.asking.number += 1;
        let number = self.asking.number;
        self.shared.asked.store(number, Ordering::Release);
        let mut sent = BTreeMap::new();
        for (host, size) in sizes {
            let place = lock(&self.shared.hosts).places.get(host).copied();
            let Some(place) = place else { continue };
            let question = Packet {
                kind: Kind::Question,
                number,
                told: Told::default(),
            };
            let bytes = question.bytes(self.shared.wire.size(*size));
            sent.insert(*host, Instant::now());
            // What is too large for the link is refused at once: as good as lost on the way.
            if self.shared.wire.send(&bytes, place).is_err() {
                sent.remove(host);
            }
        }
        let until = Instant::now() + PATIENCE;
        let mut found = BTreeMap::new();
        while found.len() < sent.len() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(answer) = self.asking.answers.recv_timeout(left) else {
                break;
            };
            if answer.number != number {
                continue;
            }
            if let Some(at) = sent.get(&answer.from) {
                let path = Path {
                    latency: answer.at.duration_since(*at),
                    mtu: LEAST,
                    told: answer.told,
                };
                found.insert(answer.from, path);
            }
        }
        found
    }
}

impl Shared {
    /// Answers questions of those who are known, and passes answers on that are waited for.
    fn listen(&self, tell: &SyncSender<Answer>) -> io::Result<()> {
        let mut room = vec![0; LARGEST];
        loop {
            let (length, place) = match self.wire.receive(&mut room) {
                Ok(received) => received,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.wait()?;
                        if self.over.load(Ordering::Acquire) {
                            return Ok(());
                        }
                        continue;
                    }
                    // An earlier answer met nobody (ICMP); the socket is as good as before.
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted => continue,
                    _ => return Err(error),
                },
            };
            let at = Instant::now();
            let from = lock(&self.hosts).ids.get(&place).copied();
            let packet = Packet::parse(&room[..length]);
            if let (Some(from), Some(packet)) = (from, packet) {
                self.heard(packet, length, place, from, at, tell);
            }
        }
    }

    fn heard(
        &self,
        packet: Packet,
        length: usize,
        place: Place,
        from: HostId,
        at: Instant,
        tell: &SyncSender<Answer>,
    ) {
        let Packet { kind, number, told } = packet;
        match kind {
            Kind::Question => {
                let answer = Packet {
                    kind: Kind::Answer,
                    number,
                    told: *lock(&self.told),
                };
                // Who asked asks again.
                let _ = self.wire.send(&answer.bytes(length), place);
            }
            Kind::Answer if number == self.asked.load(Ordering::Acquire) => {
                let answer = Answer {
                    from,
                    number,
                    at,
                    told,
                };
                // Without room it is as good as lost on the way.
                let _ = tell.try_send(answer);
            }
            Kind::Answer => {}
        }
    }

    /// Waits until something comes, or the line is ended.
    fn wait(&self) -> io::Result<()> {
        let mut ready = [
            PollFd::from_borrowed_fd(self.wire.fd(), PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
