//! The encrypted tunnel as the daemon has it: a process of user space, and this host's keys.
//!
//! Owns which process carries packets, its port, and the file of keys. The process lives on when
//! the daemon ends, and is found by its socket.

use super::settings::DaemonSettings;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, pidfd_send_signal},
};
use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use vw_agents::wireguard::{
    KeyHolder, Peer, Tun,
    agent::{Agent, AgentError, Greeting, PATIENCE, PeerChanges},
};
use vw_controller::{KernelTunnel, Tunnel, carrier, encryption_port, kernel_error};
use vw_drivers::Carrier;
use vw_kernel::{HostFacts, Kernel, LinuxKernel, TunnelFacts};
use vw_model::{
    ENCRYPTION_PORTS, Error, HostId, Kind, OtherHosts, PublicKey, RemoteHost, Result, TunnelKeys,
    inner_address,
};

/// Where the process serves.
const SOCKET: &str = "wireguard.sock";
/// How long a key is used.
const PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a process may take to end.
const END: Duration = Duration::from_secs(5);

/// This host's end of the tunnel.
pub(super) struct UserSpace {
    kernel: Arc<dyn Kernel>,
    /// Our address for other hosts, which datagrams come from.
    addr: IpAddr,
    program: PathBuf,
    socket: PathBuf,
    state: Mutex<State>,
}

struct State {
    keys: KeyHolder,
    port: u16,
    /// Whether a process had the port, for as long as the tunnel is wanted: others know it by that.
    chosen: bool,
    /// What the process knows; `None` where nobody is sure of it.
    told: Option<Told>,
    /// It did not say who it is when it was asked last.
    silent: bool,
    /// Until when it may be at a request that it did not answer in time.
    busy_until: Option<Instant>,
}

/// What a process was told.
struct Told {
    pid: u32,
    /// How often it was told by then.
    count: u64,
    peers: BTreeMap<HostId, Peer>,
}

impl Told {
    /// Whether nobody told it anything else since.
    const fn is_of(&self, found: &Greeting) -> bool {
        self.pid == found.pid && self.count == found.told
    }

    /// Takes what hosts are now, and gives what of it the process does not know.
    fn take(&mut self, now: impl IntoIterator<Item = (HostId, Option<Peer>)>) -> PeerChanges {
        let mut changes = PeerChanges::default();
        for (id, peer) in now {
            if self.peers.get(&id) == peer.as_ref() {
                continue;
            }
            changes.peers.extend(peer.clone());
            let former = match peer {
                Some(peer) => self.peers.insert(id, peer),
                None => self.peers.remove(&id),
            };
            changes.former.extend(former.map(|former| former.public));
        }
        changes
    }
}

impl State {
    /// Whether a process that does not say who it is goes on: one that is only slow, on a host that
    /// is short of memory or of time, would lose all sessions.
    fn spares_silent(&mut self) -> bool {
        let was_silent = std::mem::replace(&mut self.silent, true);
        let now = Instant::now();
        !was_silent || self.busy_until.is_some_and(|until| now < until)
    }

    /// Others are told the port of the process that carries packets.
    fn use_port_of(&mut self, found: &Greeting) {
        if let Some(endpoint) = found.endpoints.first() {
            (self.port, self.chosen) = (endpoint.port(), true);
        }
    }

    /// Takes what came of a request.
    fn heard<T>(&mut self, outcome: std::result::Result<T, AgentError>) -> Result<T> {
        if matches!(outcome, Err(AgentError::Silent { .. })) {
            self.busy_until = Some(Instant::now() + PATIENCE);
        }
        outcome.map_err(failed)
    }
}

/// Who carries packets of encrypted networks, where that can be: who does already, else the kernel
/// where it has WireGuard, else a process. What is chosen stays until the daemon starts again.
///
/// # Errors
/// When this host's keys are not to be had, or the kernel cannot be read.
pub(super) fn open(
    kernel: &Arc<LinuxKernel>,
    facts: &HostFacts,
    addr: IpAddr,
    settings: &DaemonSettings,
) -> Result<Option<Arc<dyn Tunnel>>> {
    if !facts.sysctls.contains_key("net/ipv6/conf/all/forwarding") {
        return Ok(None);
    }
    let found = kernel.tunnel_facts(&vw_drivers::tunnel_link()?);
    let found = asked_for(found.map_err(kernel_error)?);
    let Some(carrier) = carrier(&found) else {
        return Ok(None);
    };
    let keys = KeyHolder::open(settings.data_root.join("tunnel.key"), period());
    let keys = keys.map_err(keys_failed)?;
    let user_space = |keys| UserSpace::new(kernel.clone(), addr, keys, &settings.exec_root);
    Ok(Some(match carrier {
        Carrier::UserSpace => Arc::new(user_space(keys)),
        Carrier::Kernel => {
            // A process may be left of a daemon that died while it ended the tunnel.
            stop(&settings.exec_root.join(SOCKET))?;
            Arc::new(KernelTunnel::new(kernel.clone(), addr, keys, &found))
        }
    }))
}

impl UserSpace {
    fn new(kernel: Arc<dyn Kernel>, addr: IpAddr, keys: KeyHolder, exec_root: &Path) -> Self {
        Self {
            kernel,
            addr,
            program: super::anew::THIS_PROGRAM.into(),
            socket: exec_root.join(SOCKET),
            state: Mutex::new(State {
                keys,
                port: *ENCRYPTION_PORTS.start(),
                chosen: false,
                told: None,
                silent: false,
                busy_until: None,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under it is made whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that carries packets by the present key: the one that does, else a new one.
    fn process(&self, state: &mut State) -> Result<(Agent, Greeting)> {
        match Agent::find(&self.socket) {
            Ok((agent, found)) if self.fits(&found) => {
                state.use_port_of(&found);
                (state.silent, state.busy_until) = (false, None);
                if found.public != Some(state.keys.current().public()) {
                    let rotated = agent.rotate(state.keys.current());
                    state.heard(rotated)?;
                }
                return Ok((agent, found));
            }
            Err(AgentError::Away { .. }) if state.told.is_none() => {}
            Err(AgentError::Away { .. }) => {
                tracing::warn!("the encrypted tunnel's process is gone: another one is started");
            }
            Err(error @ AgentError::Silent { .. }) => {
                if state.spares_silent() {
                    return Err(failed(error));
                }
                end_silent(&self.socket, &error)?;
            }
            Ok(_) | Err(_) => {
                tracing::info!("the encrypted tunnel's process does not fit: it is replaced");
                stop(&self.socket)?;
            }
        }
        state.told = None;
        (state.silent, state.busy_until) = (false, None);
        let link = vw_drivers::tunnel_link()?;
        let fd = self.kernel.open_tun(&link).map_err(kernel_error)?;
        let socket = self.bind(state)?;
        let agent = Agent::spawn(&self.program, &self.socket).map_err(failed)?;
        let tun = Tun { fd, headers: true };
        let started = agent.succeed(&tun, &[socket], &state.keys);
        let found = started.and_then(|()| Agent::find(&self.socket));
        let (agent, found) = state.heard(found)?;
        state.use_port_of(&found);
        Ok((agent, found))
    }

    /// Whether a process carries packets as this daemon would have it.
    fn fits(&self, found: &Greeting) -> bool {
        let at = |endpoint: &SocketAddr| endpoint.ip() == self.addr;
        !found.lost && !found.endpoints.is_empty() && found.endpoints.iter().all(at)
    }

    /// Binds the port that others know, where they know one, else the first that is free.
    fn bind(&self, state: &State) -> Result<UdpSocket> {
        let bind = |port| match UdpSocket::bind((self.addr, port)) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => {
                let sentence = format!("cannot bind {} for encrypted packets", self.addr);
                Err(Error::new(Kind::Unavailable, "encryption-failed", sentence).because(error))
            }
        };
        let kept = state.chosen.then_some(state.port);
        encryption_port(&*self.kernel, self.addr, kept, bind).map(|(_, socket)| socket)
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
    fn carrier(&self) -> Carrier {
        Carrier::UserSpace
    }

    fn keys(&self) -> TunnelKeys {
        let state = self.state();
        state.keys.keys(state.port)
    }

    fn change(&self, others: &OtherHosts, told: Option<PublicKey>) -> Result<Duration> {
        self.state().keys.change(others, told).map_err(keys_failed)
    }

    fn carry(&self, others: &OtherHosts) -> Result<()> {
        let mut state = self.state();
        let (agent, found) = self.process(&mut state)?;
        let peer = |id| {
            (
                id,
                others.with_own_keys(id).and_then(|host| self.peer(&host)),
            )
        };
        // What becomes of a request that is not answered nobody knows: the next one tells all.
        let told = state.told.take().filter(|told| told.is_of(&found));
        let (taken, told) = match told {
            Some(mut told) => {
                let changes = told.take(others.changed().into_iter().map(peer));
                if changes.is_empty() {
                    state.told = Some(told);
                    return Ok(());
                }
                (agent.change_peers(&changes), told)
            }
            None => {
                let mut told = Told {
                    pid: found.pid,
                    count: found.told,
                    peers: BTreeMap::new(),
                };
                let all = told.take(others.known().into_iter().map(peer));
                (agent.set_peers(&all.peers), told)
            }
        };
        state.heard(taken)?;
        let count = told.count + 1;
        state.told = Some(Told { count, ..told });
        Ok(())
    }

    fn end(&self) -> Result<()> {
        let mut state = self.state();
        (state.told, state.chosen) = (None, false);
        stop(&self.socket)
    }
}

/// Nothing encrypted stands here: who carried it for a daemon before this one ends, or the next one
/// would find it by a link that is none of its own.
pub(super) fn do_without(settings: &DaemonSettings) {
    if let Err(error) = stop(&settings.exec_root.join(SOCKET)) {
        tracing::warn!("{}", error.chain());
    }
}

/// Ends the process, which may hang, and waits until it has ended.
fn stop(socket: &Path) -> Result<()> {
    let process = Agent::process(socket);
    match (Agent::stop(socket), process) {
        (Ok(()), None) => remove(socket),
        (Ok(()), Some(process)) => ended(socket, &process),
        (Err(error @ AgentError::Silent { .. }), _) => end_silent(socket, &error),
        (Err(error), _) => Err(failed(error)),
    }
}

/// Ends a process that does not answer. One that cannot be told is left without its socket.
fn end_silent(socket: &Path, error: &AgentError) -> Result<()> {
    let Some(process) = Agent::process(socket) else {
        tracing::warn!("{error}: nobody knows which it is, and it is left alone");
        return remove(socket);
    };
    end(socket, &process)?;
    tracing::warn!("{error}: it was ended");
    Ok(())
}

/// Ends a process that does not hear.
fn end(socket: &Path, process: &OwnedFd) -> Result<()> {
    // One that has ended meanwhile is what was wanted.
    let _ = pidfd_send_signal(process, Signal::KILL);
    ended(socket, process)
}

/// Waits until a process has ended: its link and its port are free then.
fn ended(socket: &Path, process: &OwnedFd) -> Result<()> {
    let time = Timespec {
        tv_sec: END.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    if !matches!(poll(&mut ended, Some(&time)), Ok(1)) {
        let sentence = "the encrypted tunnel's process does not end";
        return Err(Error::new(Kind::Unavailable, "encryption-failed", sentence));
    }
    remove(socket)
}

fn remove(socket: &Path) -> Result<()> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(super::run::cannot("remove", socket, error))
        }
        _ => Ok(()),
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

/// What there is, as a test would have it: a debug build takes the kernel for one without WireGuard
/// where `VETHWORK_TUNNEL_CARRIER` is `user-space`.
#[cfg(debug_assertions)]
fn asked_for(found: TunnelFacts) -> TunnelFacts {
    let asked = std::env::var("VETHWORK_TUNNEL_CARRIER");
    let wireguard = found.wireguard && asked.as_deref() != Ok("user-space");
    TunnelFacts { wireguard, ..found }
}

/// What there is.
#[cfg(not(debug_assertions))]
const fn asked_for(found: TunnelFacts) -> TunnelFacts {
    found
}

fn failed(error: AgentError) -> Error {
    let sentence = "encrypted packets cannot be carried";
    Error::new(Kind::Unavailable, "encryption-failed", sentence).because(error)
}

fn keys_failed(error: vw_agents::wireguard::KeyFileError) -> Error {
    let sentence = "the keys of encrypted networks are not to be had";
    Error::internal("keys-unusable", sentence).because(error)
}

#[cfg(test)]
mod tests;
