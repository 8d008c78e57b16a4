//! The way to the other hosts: how long a packet takes, and the largest that gets through.
//!
//! Owns a UDP socket at this host's end of the tunnels, which answers the other hosts' questions
//! and asks them. It takes the path of tunnelled packets, in the size that they would have, and
//! forbids routers to cut it up. It must not know what a tunnel carries.

mod packet;

use packet::{Kind, Packet};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};
use vw_model::PROBE_PORT as PORT;

/// What has not answered within this did not get the question.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often a host is asked whether it is there: one packet may be lost on a way that is good.
const TRIES: usize = 3;
/// The least that a tunnel over IPv6 leaves for what it carries, and far below what any lets by.
const LEAST: u32 = 1200;
/// The largest packet, less its own header; what else it carries does not matter.
const LARGEST: usize = 65_535;

/// The way to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// There and back.
    pub latency: Duration,
    /// The largest packet in bytes, inside a tunnel, that got there and back whole.
    pub mtu: u32,
}

/// Asks other hosts, and answers them.
#[derive(Debug)]
pub struct Prober {
    socket: Arc<UdpSocket>,
    /// Whom answers are given: nobody else may use this host to send packets elsewhere.
    known: Arc<Mutex<BTreeSet<IpAddr>>>,
    asking: Mutex<Asking>,
}

/// The one who asks now.
#[derive(Debug)]
struct Asking {
    answers: mpsc::Receiver<Answer>,
    number: u64,
}

#[derive(Debug)]
struct Answer {
    from: IpAddr,
    number: u64,
    at: Instant,
}

impl Prober {
    /// Listens at this host's end of the tunnels, until the process ends.
    ///
    /// # Errors
    /// When the address is not this host's, the port is taken, or there is no thread.
    pub fn start(addr: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(addr, PORT))?;
        forbid_fragments(&socket, addr)?;
        let socket = Arc::new(socket);
        let known = Arc::new(Mutex::new(BTreeSet::new()));
        let (tell, answers) = mpsc::channel();
        let (ears, ours) = (Arc::clone(&socket), Arc::clone(&known));
        thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || listen(&ears, &ours, &tell))?;
        Ok(Self {
            socket,
            known,
            asking: Mutex::new(Asking { answers, number: 0 }),
        })
    }

    /// Answers these hosts from now on, and no others.
    pub fn answer(&self, hosts: impl IntoIterator<Item = IpAddr>) {
        *lock(&self.known) = hosts.into_iter().collect();
    }

    /// Asks all these hosts at once; those that do not answer are left out.
    ///
    /// `mtu` in bytes is what a tunnel should let by. Takes the time of a packet and its answer
    /// where all is well, three times 200 ms where a host does not answer, and up to nine times more
    /// where a path is narrower.
    #[must_use]
    pub fn ask(&self, hosts: &[IpAddr], mtu: u32) -> BTreeMap<IpAddr, Path> {
        let mut asking = lock(&self.asking);
        let mut paths = self.present(&mut asking, hosts);
        // The whole first, which most paths take; then by halves.
        let mut tried: BTreeMap<IpAddr, u32> = paths.keys().map(|host| (*host, mtu)).collect();
        let mut refused: BTreeMap<IpAddr, u32> = BTreeMap::new();
        while !tried.is_empty() {
            let sizes: Vec<(IpAddr, u32)> = tried.iter().map(|(h, size)| (*h, *size)).collect();
            let passed = self.round(&mut asking, &sizes);
            tried.clear();
            for (host, size) in sizes {
                let Some(path) = paths.get_mut(&host) else {
                    continue;
                };
                match passed.contains_key(&host) {
                    true => path.mtu = size,
                    false => {
                        refused.insert(host, size);
                    }
                }
                if let Some(next) = between(path.mtu, refused.get(&host).copied()) {
                    tried.insert(host, next);
                }
            }
        }
        paths
    }

    /// Those of these hosts that answer at all.
    fn present(&self, asking: &mut Asking, hosts: &[IpAddr]) -> BTreeMap<IpAddr, Path> {
        let mut paths: BTreeMap<IpAddr, Path> = BTreeMap::new();
        for _ in 0..TRIES {
            let silent = hosts.iter().filter(|host| !paths.contains_key(host));
            let silent: Vec<(IpAddr, u32)> = silent.map(|host| (*host, LEAST)).collect();
            if silent.is_empty() {
                break;
            }
            for (host, latency) in self.round(asking, &silent) {
                let path = Path {
                    latency,
                    mtu: LEAST,
                };
                paths.insert(host, path);
            }
        }
        paths
    }

    /// Sends each host a packet, and tells when the answers came.
    fn round(&self, asking: &mut Asking, sizes: &[(IpAddr, u32)]) -> BTreeMap<IpAddr, Duration> {
        asking.number += 1;
        let number = asking.number;
        let mut sent = BTreeMap::new();
        for (host, size) in sizes {
            let question = Packet {
                kind: Kind::Question,
                number,
            };
            let bytes = question.bytes(payload(*size));
            sent.insert(*host, Instant::now());
            // What is too large for the link is refused at once: as good as lost on the way.
            if self.socket.send_to(&bytes, (*host, PORT)).is_err() {
                sent.remove(host);
            }
        }
        let until = Instant::now() + PATIENCE;
        let mut found = BTreeMap::new();
        while found.len() < sent.len() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(answer) = asking.answers.recv_timeout(left) else {
                break;
            };
            if answer.number != number {
                continue;
            }
            if let Some(at) = sent.get(&answer.from) {
                found.insert(answer.from, answer.at.duration_since(*at));
            }
        }
        found
    }
}

/// What to try next between what passed and what did not; nothing when they meet.
fn between(passed: u32, refused: Option<u32>) -> Option<u32> {
    let middle = passed + refused?.saturating_sub(passed) / 2;
    (middle > passed).then_some(middle)
}

/// The bytes of UDP that make a packet as large as a tunnelled one that carries `mtu` bytes: its
/// Ethernet header (14) and VXLAN's (8) more. Outer IP and UDP headers are alike.
fn payload(mtu: u32) -> usize {
    mtu as usize + 14 + 8
}

/// Answers questions of those who are known, and passes answers on.
fn listen(socket: &UdpSocket, known: &Mutex<BTreeSet<IpAddr>>, tell: &mpsc::Sender<Answer>) {
    let mut bytes = vec![0; LARGEST];
    loop {
        let (length, from) = match socket.recv_from(&mut bytes) {
            Ok(received) => received,
            // An earlier answer met nobody (ICMP); the socket is as good as before.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return tracing::error!("the probe's socket: {error}"),
        };
        let at = Instant::now();
        let from_ip = from.ip();
        if !lock(known).contains(&from_ip) {
            continue;
        }
        match Packet::parse(&bytes[..length]) {
            Some(Packet {
                kind: Kind::Question,
                number,
            }) => {
                let kind = Kind::Answer;
                let answer = Packet { kind, number }.bytes(length);
                // Who asked asks again.
                let _ = socket.send_to(&answer, from);
            }
            Some(Packet {
                kind: Kind::Answer,
                number,
            }) => {
                let from = from_ip;
                if tell.send(Answer { from, number, at }).is_err() {
                    return;
                }
            }
            None => {}
        }
    }
}

/// Packets are sent whole or not at all, whatever was learned of the path (ip(7), ipv6(7)).
fn forbid_fragments(socket: &UdpSocket, addr: IpAddr) -> io::Result<()> {
    let (level, option, value) = match addr {
        IpAddr::V4(_) => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        ),
        IpAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        ),
    };
    let length = libc::socklen_t::try_from(size_of_val(&value)).unwrap_or_default();
    // SAFETY: the descriptor is open for the call, and the value lives as long and is as long as
    // the call is told.
    let set = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(socket),
            level,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
