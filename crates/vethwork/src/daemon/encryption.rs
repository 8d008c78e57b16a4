//! The encrypted tunnel as the daemon has it: a process of user space, and this host's keys.
//!
//! Owns which process carries packets, its port, and the file of keys. The process lives on when
//! the daemon ends, and is found by its socket.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use vw_agents::wireguard::{
    KeyRing, Peer, PrivateKey, Rotation, Step, Tun,
    agent::{Agent, AgentError, Greeting},
};
use vw_controller::{Tunnel, kernel_error};
use vw_kernel::{HostFacts, Kernel};
use vw_model::{Error, HostId, Kind, RemoteHost, Result, TunnelKeys, inner_address};

/// WireGuard's usual port.
const PORT: u16 = 51_820;
/// How long a key is used.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a process may take to end.
const END: Duration = Duration::from_secs(5);
/// How long a host may leave a next key unanswered before it is named.
const ANSWER: Duration = Duration::from_secs(60);
/// Where links of user space are made.
const DEVICE: &str = "/dev/net/tun";

/// This host's end of the tunnel.
pub(super) struct UserSpace {
    kernel: Arc<dyn Kernel>,
    /// Our address for other hosts, which datagrams come from.
    addr: IpAddr,
    program: PathBuf,
    socket: PathBuf,
    file: PathBuf,
    state: Mutex<State>,
}

struct State {
    ring: KeyRing,
    rotation: Rotation,
    port: u16,
    /// The process that was told last, and what.
    told: Option<(u32, Vec<Peer>)>,
    awaiting: Option<Awaiting>,
}

/// A next key that hosts have not answered for.
struct Awaiting {
    since: Instant,
    /// Whether they were named.
    said: bool,
}

/// Whether the kernel has what an encrypted tunnel needs.
pub(super) fn is_possible(facts: &HostFacts) -> bool {
    let ipv6 = facts.sysctls.contains_key("net/ipv6/conf/all/forwarding");
    // Opening it loads the module where that can be.
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    ipv6 && device.is_ok()
}

impl UserSpace {
    /// With this host's keys, which are made at the first start.
    ///
    /// # Errors
    /// When there is no file of keys and none can be made, or it cannot be read.
    pub(super) fn open(
        kernel: Arc<dyn Kernel>,
        addr: IpAddr,
        data_root: &Path,
        exec_root: &Path,
    ) -> Result<Self> {
        let file = data_root.join("tunnel.key");
        let ring = KeyRing::open(&file, SystemTime::now()).map_err(keys_failed)?;
        let program = std::env::current_exe().map_err(|e| {
            Error::internal("program-unknown", "cannot find this program").because(e)
        })?;
        Ok(Self {
            kernel,
            addr,
            program,
            socket: exec_root.join("wireguard.sock"),
            file,
            state: Mutex::new(State {
                ring,
                rotation: Rotation::new(period()),
                port: PORT,
                told: None,
                awaiting: None,
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under it is made whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that carries packets by the present key: the one that does, else a new one.
    fn process(&self, state: &mut State) -> Result<(Agent, u32)> {
        match Agent::find(&self.socket) {
            Ok((agent, found)) if self.fits(&found) => {
                state.port = found.endpoints.first().map_or(state.port, SocketAddr::port);
                if found.public != Some(state.ring.current.public()) {
                    agent.rotate(&state.ring.current).map_err(failed)?;
                }
                return Ok((agent, found.pid));
            }
            Err(AgentError::Away { .. }) if state.told.is_none() => {}
            Err(AgentError::Away { .. }) => {
                tracing::warn!("the encrypted tunnel's process is gone: another one is started");
            }
            Ok(_) | Err(_) => {
                tracing::info!("the encrypted tunnel's process does not fit: it is replaced");
                self.stop()?;
            }
        }
        state.told = None;
        let link = vw_drivers::tunnel_link()?;
        let fd = self.kernel.open_tun(&link).map_err(kernel_error)?;
        let socket = self.bind(state.port)?;
        let agent = Agent::spawn(&self.program, &self.socket).map_err(failed)?;
        let tun = Tun { fd, headers: true };
        let started = agent.start(&tun, &[socket], &state.ring.current);
        let found = started.and_then(|()| Agent::find(&self.socket));
        let (agent, found) = found.map_err(failed)?;
        state.port = found.endpoints.first().map_or(state.port, SocketAddr::port);
        Ok((agent, found.pid))
    }

    /// Whether a process carries packets as this daemon would have it.
    fn fits(&self, found: &Greeting) -> bool {
        let at = |endpoint: &SocketAddr| endpoint.ip() == self.addr;
        !found.lost && !found.endpoints.is_empty() && found.endpoints.iter().all(at)
    }

    /// Binds a port, or any where somebody else has that.
    fn bind(&self, port: u16) -> Result<UdpSocket> {
        let bound = UdpSocket::bind((self.addr, port));
        let bound = match bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!("UDP port {port} is taken: encrypted packets use another one");
                UdpSocket::bind((self.addr, 0))
            }
            bound => bound,
        };
        bound.map_err(|e| {
            let sentence = format!("cannot bind {} for encrypted packets", self.addr);
            Error::new(Kind::Unavailable, "encryption-failed", sentence).because(e)
        })
    }

    /// Ends the process and waits until it has ended: its link and its port are free then.
    fn stop(&self) -> Result<()> {
        let found = Agent::find(&self.socket).ok();
        let process = found.and_then(|(_, found)| {
            let pid = Pid::from_raw(i32::try_from(found.pid).ok()?)?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        });
        Agent::stop(&self.socket).map_err(failed)?;
        if let Some(process) = process {
            let time = Timespec {
                tv_sec: END.as_secs() as i64,
                tv_nsec: 0,
            };
            let mut ended = [PollFd::new(&process, PollFlags::IN)];
            if !matches!(poll(&mut ended, Some(&time)), Ok(1)) {
                let sentence = "the encrypted tunnel's process does not end";
                return Err(Error::new(Kind::Unavailable, "encryption-failed", sentence));
            }
        }
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(super::run::cannot("remove", &self.socket, error))
            }
            _ => Ok(()),
        }
    }

    /// Another host as the process knows it; `None` while it has told no key.
    fn peer(&self, host: &RemoteHost) -> Option<Peer> {
        let keys = host.keys.as_ref()?;
        Some(Peer {
            public: keys.public,
            next: keys.next,
            endpoint: SocketAddr::new(host.tunnel, keys.port),
            allowed: vec![IpAddr::V6(inner_address(host.id)).into()],
        })
        .filter(|peer| peer.endpoint.is_ipv4() == self.addr.is_ipv4())
    }
}

impl Tunnel for UserSpace {
    fn keys(&self) -> TunnelKeys {
        let state = self.state();
        TunnelKeys {
            public: state.ring.current.public(),
            next: state.ring.next.as_ref().map(PrivateKey::public),
            port: state.port,
            taken: BTreeSet::new(),
        }
    }

    fn change(&self, others: &[RemoteHost]) -> Result<Duration> {
        let mut state = self.state();
        loop {
            let now = SystemTime::now();
            let step = state
                .rotation
                .step(&state.ring, now, &answers(&state.ring, others));
            match step {
                Step::Wait(time) => return Ok(time),
                Step::Begin => {
                    let key = PrivateKey::generate().map_err(|e| {
                        Error::internal("key-failed", "cannot make a key").because(e)
                    })?;
                    let mut ring = state.ring.clone();
                    ring.begin(key);
                    ring.save(&self.file).map_err(keys_failed)?;
                    state.ring = ring;
                }
                // Whoever asks for the keys tells them; that they arrived is what is waited for.
                Step::Tell => state.rotation.told(TOLD),
                Step::Await(hosts) => {
                    state.name_silent(&hosts, others);
                    return Ok(ANSWER);
                }
                Step::Use => {
                    let mut ring = state.ring.clone();
                    ring.advance(now);
                    ring.save(&self.file).map_err(keys_failed)?;
                    state.ring = ring;
                    state.rotation.used();
                    state.awaiting = None;
                    tracing::info!("the encrypted tunnel has another key");
                }
            }
        }
    }

    fn carry(&self, others: &[RemoteHost]) -> Result<()> {
        let mut state = self.state();
        let (agent, pid) = self.process(&mut state)?;
        let peers = others.iter().filter_map(|host| self.peer(host)).collect();
        let told = Some((pid, peers));
        if let Some((_, peers)) = told.as_ref().filter(|_| state.told != told) {
            agent.set_peers(peers).map_err(failed)?;
            state.told = told;
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        let mut state = self.state();
        state.told = None;
        self.stop()
    }
}

/// What counts as a revision here: hosts answer for the key itself, not for a record's version.
const TOLD: u64 = 1;

/// Which of the other hosts accept the next key.
fn answers(ring: &KeyRing, others: &[RemoteHost]) -> BTreeMap<HostId, u64> {
    let next = ring.next.as_ref().map(PrivateKey::public);
    let mut answers = BTreeMap::new();
    for host in others {
        // One without keys has no tunnel.
        if let Some(keys) = &host.keys {
            let accepts = next.is_some_and(|next| keys.taken.contains(&next));
            answers.insert(host.id, if accepts { TOLD } else { 0 });
        }
    }
    answers
}

impl State {
    /// Says, once, which hosts leave a next key unanswered for long.
    fn name_silent(&mut self, silent: &BTreeSet<HostId>, others: &[RemoteHost]) {
        let awaiting = self.awaiting.get_or_insert_with(|| Awaiting {
            since: Instant::now(),
            said: false,
        });
        if awaiting.said || awaiting.since.elapsed() < ANSWER {
            return;
        }
        awaiting.said = true;
        let silent = others.iter().filter(|host| silent.contains(&host.id));
        let names: Vec<&str> = silent.map(|host| host.name.as_str()).collect();
        tracing::warn!(
            "the encrypted tunnel keeps its key, as hosts do not take in the next one: {}",
            names.join(", ")
        );
    }
}

/// How long a key is used; a debug build is told otherwise by `VETHWORK_TUNNEL_KEY_PERIOD`, in
/// seconds.
#[cfg(debug_assertions)]
fn period() -> Duration {
    let asked = std::env::var("VETHWORK_TUNNEL_KEY_PERIOD").ok();
    let seconds = asked.and_then(|text| text.parse().ok());
    seconds.map_or(PERIOD, Duration::from_secs)
}

/// How long a key is used.
#[cfg(not(debug_assertions))]
const fn period() -> Duration {
    PERIOD
}

fn failed(error: AgentError) -> Error {
    let sentence = "encrypted packets cannot be carried";
    Error::new(Kind::Unavailable, "encryption-failed", sentence).because(error)
}

fn keys_failed(error: vw_agents::wireguard::KeyFileError) -> Error {
    let sentence = "the keys of encrypted networks are not to be had";
    Error::internal("keys-unusable", sentence).because(error)
}
