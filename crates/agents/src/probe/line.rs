//! One way over which hosts are asked: a thread that answers and hears, and rounds of questions.
//!
//! Owns which answer belongs to which question. It must not know what is asked for, nor which way
//! its packets take.

use super::{
    Path, Told, Way, lock,
    packet::{Kind, Packet},
    width::{LEAST, Width},
    wire::{Place, Wire},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::{Errno, write},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use vw_model::HostId;

/// How long a host is waited for that was asked whether it is there, each time: one packet may be
/// lost on a way that is good, and a way may be long.
const PATIENCE: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(1000),
];
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
    /// The number of the first questions whose answers are waited for.
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
    /// Two hosts may have told the same place: one that was copied, or lost its disk. The last that
    /// came is heard.
    ids: HashMap<Place, Vec<HostId>>,
}

/// The one who asks now.
#[derive(Debug)]
struct Asking {
    answers: Receiver<Answer>,
    number: u64,
}

/// When whom was asked by which number.
type Sent = HashMap<(u64, HostId), Instant>;

/// A size that is being tried.
struct Try {
    width: Width,
    number: u64,
    /// When it counts as refused.
    due: Instant,
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
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // It does not panic, and there is nothing to be done if it did.
            let _ = thread.join();
        }
    }

    /// Answers a host at this address from now on, or no more.
    pub(super) fn know(&self, id: HostId, addr: Option<IpAddr>) {
        let place = addr.map(|addr| self.shared.wire.place(id, addr));
        lock(&self.shared.hosts).know(id, place);
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
    /// Asks each host whether it is there, by the least packet, and again those that are silent. An
    /// answer counts whichever of the questions it is to.
    pub(super) fn find(&mut self, hosts: &[HostId], until: Instant) -> BTreeMap<HostId, Path> {
        let (mut sent, mut found) = (Sent::new(), BTreeMap::new());
        let first = self.asking.number + 1;
        for patience in PATIENCE {
            let silent = hosts.iter().filter(|host| !found.contains_key(*host));
            let silent: Vec<(HostId, u32)> = silent.map(|host| (*host, LEAST)).collect();
            if silent.is_empty() {
                break;
            }
            self.send(&silent, first, &mut sent);
            self.hear(&sent, until.min(Instant::now() + patience), &mut found);
        }
        found
    }

    /// Tries how large a packet of up to `whole` bytes, inside a tunnel, comes back from each host that
    /// was found. Each is waited for as long as its own way takes: one that is long holds up no other.
    pub(super) fn measure(
        &mut self,
        paths: &mut BTreeMap<HostId, Path>,
        whole: u32,
        until: Instant,
    ) {
        let first = self.asking.number + 1;
        let mut tries: HashMap<HostId, Try> = HashMap::new();
        let mut next: Vec<(HostId, Width)> = Vec::new();
        next.extend(paths.keys().map(|host| (*host, Width::new(whole))));
        loop {
            self.attempt(&mut next, paths, first, &mut tries);
            let due = tries.values().map(|tried| tried.due).min();
            let Some(due) = due.filter(|_| Instant::now() < until) else {
                return;
            };
            let left = due.min(until).saturating_duration_since(Instant::now());
            let over: Vec<(HostId, bool)> = match self.asking.answers.recv_timeout(left) {
                Ok(answer) => {
                    let tried = tries.get(&answer.from);
                    let is_it = tried.is_some_and(|tried| tried.number == answer.number);
                    is_it.then_some((answer.from, true)).into_iter().collect()
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    let late = tries.iter().filter(|(_, tried)| tried.due <= now);
                    late.map(|(host, _)| (*host, false)).collect()
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for (host, passed) in over {
                let Some(mut tried) = tries.remove(&host) else {
                    continue;
                };
                match (tried.width.learn(passed), paths.get_mut(&host)) {
                    (Some(width), Some(path)) => path.mtu = Some(width),
                    _ => next.push((host, tried.width)),
                }
            }
        }
    }

    /// Sends each host what is to be tried next.
    fn attempt(
        &mut self,
        next: &mut Vec<(HostId, Width)>,
        paths: &BTreeMap<HostId, Path>,
        first: u64,
        tries: &mut HashMap<HostId, Try>,
    ) {
        if next.is_empty() {
            return;
        }
        let sizes: Vec<_> = next
            .iter()
            .map(|(host, width)| (*host, width.tried))
            .collect();
        let mut sent = Sent::new();
        self.send(&sizes, first, &mut sent);
        let number = self.asking.number;
        for (host, width) in next.drain(..) {
            let latency = paths.get(&host).map_or(Duration::ZERO, |path| path.latency);
            // What did not leave comes back from nobody.
            let at = sent.remove(&(number, host));
            let due = at.map(|at| at + PATIENCE[0].max(latency * 2));
            let tried = Try {
                width,
                number,
                due: due.unwrap_or_else(Instant::now),
            };
            tries.insert(host, tried);
        }
    }

    fn send(&mut self, sizes: &[(HostId, u32)], first: u64, sent: &mut Sent) {
        self.asking.number += 1;
        let number = self.asking.number;
        self.shared.asked.store(first, Ordering::Release);
        let question = Packet {
            kind: Kind::Question,
            number,
            told: Told::default(),
        };
        for (host, size) in sizes {
            let place = lock(&self.shared.hosts).places.get(host).copied();
            let Some(place) = place else { continue };
            let bytes = question.bytes(self.shared.wire.size(*size));
            let at = Instant::now();
            // What is too large for the link is refused at once: as good as lost on the way.
            if self.shared.wire.send(&bytes, place).is_ok() {
                sent.insert((number, *host), at);
            }
        }
    }

    fn hear(&mut self, sent: &Sent, until: Instant, found: &mut BTreeMap<HostId, Path>) {
        let asked = sent.keys().map(|(_, host)| *host);
        let mut silent: HashSet<HostId> = asked.filter(|host| !found.contains_key(host)).collect();
        while !silent.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(answer) = self.asking.answers.recv_timeout(left) else {
                break;
            };
            let Some(at) = sent.get(&(answer.number, answer.from)) else {
                continue;
            };
            if silent.remove(&answer.from) {
                let path = Path {
                    latency: answer.at.saturating_duration_since(*at),
                    mtu: None,
                    told: answer.told,
                };
                found.insert(answer.from, path);
            }
        }
    }
}

impl Hosts {
    /// Has a host be at a place, or nowhere.
    fn know(&mut self, id: HostId, place: Option<Place>) {
        let former = self.places.get(&id).copied();
        if former == place {
            return;
        }
        if let Some(former) = former
            && let Some(there) = self.ids.get_mut(&former)
        {
            there.retain(|other| *other != id);
            if there.is_empty() {
                self.ids.remove(&former);
            }
        }
        match place {
            Some(place) => {
                self.places.insert(id, place);
                self.ids.entry(place).or_default().push(id);
            }
            None => drop(self.places.remove(&id)),
        }
    }

    /// Who is heard from a place.
    fn at(&self, place: Place) -> Option<HostId> {
        self.ids.get(&place)?.last().copied()
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
            let from = lock(&self.hosts).at(place);
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
            Kind::Answer if number >= self.asked.load(Ordering::Acquire) => {
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
