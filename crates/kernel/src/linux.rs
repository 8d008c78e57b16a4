//! The executor on the real kernel.
//!
//! Owns what lasts between calls: open namespaces, the nftables socket of the host, the threads
//! that delete and announce. What a call does lies in its modules.

mod apply;
mod connections;
mod ends;
mod links;
mod names;
mod parameters;
mod policy;
mod queue;
mod steps;
mod tunnel;
mod verify;
mod ways;

use crate::{
    Failure, FrameSocket, HostFacts, Kernel, KernelError, Leads, Led, Nft, Observed, PortClaim,
    PortHolder, SocketKind, SocketPlace, TunnelFacts, TunnelKey,
    announce::Announcer,
    claims::Claims,
    conntrack::Conntrack,
    facts, holders,
    monitor::Running,
    netlink::wireguard,
    netns::{self, Namespaces, lock},
    observe,
    peers::{Ends, accepted, any_open},
    reaper::Reaper,
    shortcuts, sockets, solicited, translator,
};
use rustix::thread::{CapabilitySet, capabilities};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use vw_hoststate::{Netns, Object, Objects, Plan};
use vw_model::{
    EndpointSpec, Family, IfName, IpNet, NetworkId, PortKey, Protocol, PublicKey, SandboxId,
};

/// How soon, and how seldom, one who waits for connections to end looks again.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// For how long nothing may be open: who leads to the sandbox from another host hears a moment
/// later that it must not.
const QUIET: Duration = Duration::from_secs(1);

/// A port forwards within a millisecond, on a busy machine some more.
const FORWARDING_SOON: Duration = Duration::from_secs(2);

/// What the executor must be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Namespaces are pinned under `netns` in this folder; it should lie on a tmpfs.
    pub exec_root: PathBuf,
}

/// A port over UDP or SCTP, at one address or over a family.
type OpenedPort = (Family, Option<IpAddr>, PortKey);

/// The executor on the real kernel.
///
/// The thread that opens it decides which namespace is the host's; any thread may call then.
#[derive(Debug)]
pub struct LinuxKernel {
    namespaces: Arc<Namespaces>,
    announcer: Announcer,
    reaper: Reaper,
    /// Held by whoever changes links, so that the kernel's own lock (RTNL) is free when it is asked
    /// for.
    turn: Mutex<()>,
    nft: Mutex<Option<Nft>>,
    conntrack: Mutex<Option<Conntrack>>,
    claims: Arc<Mutex<Claims>>,
    /// The private keys that plans may name.
    keys: Mutex<Vec<TunnelKey>>,
    ipv6: bool,
    /// Whether packets are translated by a link of ours.
    translates: AtomicBool,
    /// Why they are not, though a plan wanted it.
    untranslated: Mutex<Option<String>>,
}

impl LinuxKernel {
    /// Opens it in the namespace of the calling thread, and deletes the links that a former
    /// process took out of service.
    ///
    /// # Errors
    /// [`KernelError::Privilege`] without `CAP_NET_ADMIN` or `CAP_SYS_ADMIN`; else the system's
    /// answer.
    pub fn open(config: &Config) -> Result<Self, KernelError> {
        check_privilege()?;
        let started = |source| names::call("start", "the executor's threads", source);
        let namespaces = Arc::new(Namespaces::prepare(config.exec_root.join("netns"))?);
        Ok(Self {
            announcer: Announcer::start(Arc::clone(&namespaces)).map_err(started)?,
            reaper: Reaper::start(Arc::clone(&namespaces)).map_err(started)?,
            turn: Mutex::default(),
            nft: Mutex::default(),
            conntrack: Mutex::default(),
            claims: Arc::default(),
            keys: Mutex::default(),
            ipv6: Path::new("/proc/sys/net/ipv6").is_dir(),
            translates: AtomicBool::default(),
            untranslated: Mutex::default(),
            namespaces,
        })
    }

    /// Takes back what it made for itself, when no namespace is pinned; for the daemon's end.
    ///
    /// # Errors
    /// The system's answer.
    pub fn withdraw(&self) -> Result<(), KernelError> {
        let failed = |source| names::call("unmount", "the folder of namespaces", source);
        self.namespaces.withdraw().map_err(failed)
    }

    /// Waits until every link that was taken out of service is deleted.
    ///
    /// # Errors
    /// The system's answer.
    pub fn flush_reaper(&self) -> Result<(), KernelError> {
        let failed = |source| names::call("delete", "links out of service", source);
        self.reaper.flush().map_err(failed)
    }

    /// Claims the host's namespace for this daemon, as long as the answer lives.
    ///
    /// # Errors
    /// `Call` with `AddrInUse` when another daemon has it.
    pub fn claim_netns(&self) -> Result<OwnedFd, KernelError> {
        let claimed = self.namespaces.run(self.namespaces.host(), sockets::claim);
        let failed = |source| names::call("claim", "this network namespace", source);
        claimed.map_err(failed)?.map_err(failed)
    }

    /// Whether frames can take shortcuts ([`Shortcuts`](vw_hoststate::Shortcuts)): tried in a
    /// namespace of its own, without effect on any other.
    ///
    /// # Errors
    /// What the kernel lacks, or forbids.
    pub fn shortcuts(&self) -> Result<(), KernelError> {
        let probed = shortcuts::hidden()
            .and_then(|()| netns::make().map(Arc::new))
            .and_then(|place| self.namespaces.with_socket(&place, shortcuts::probe));
        let failed = |source| names::call("attach", "a program to frames", source);
        probed.map_err(failed)
    }

    /// Whether packets can be translated ([`Translator`](vw_hoststate::Translator)): tried as
    /// [`Self::shortcuts`] is.
    ///
    /// # Errors
    /// What the kernel lacks, or forbids.
    pub fn translation(&self) -> Result<(), KernelError> {
        let probed = netns::make()
            .map(Arc::new)
            .and_then(|place| self.namespaces.with_socket(&place, translator::probe));
        let failed = |source| names::call("attach", "a program to packets", source);
        probed.map_err(failed)
    }

    /// Runs `f` with the nftables socket of the host; others wait meanwhile.
    ///
    /// # Errors
    /// The system's answer when the socket cannot be opened.
    pub fn with_nft<T>(&self, f: impl FnOnce(&mut Nft) -> T) -> io::Result<T> {
        let mut slot = lock(&self.nft);
        let nft = match &mut *slot {
            Some(nft) => nft,
            empty => empty.insert(self.namespaces.run(self.namespaces.host(), Nft::open)??),
        };
        Ok(f(nft))
    }

    fn addresses_in(&self, netns: Netns) -> Result<BTreeSet<IpAddr>, KernelError> {
        let place = self.namespaces.place(netns)?;
        let dump = crate::netlink::addr::dump;
        let found = self.namespaces.with_socket(&place, dump);
        let found = found.map_err(|source| names::call("list", "addresses", source))?;
        let usable = found.into_iter().filter(|seen| seen.usable);
        Ok(usable.map(|seen| seen.addr.addr()).collect())
    }

    /// Waits until a link passes what is sent through it; one that is gone is not waited for.
    ///
    /// A pair's ends come up together, but what is sent is dropped until `linkwatch_do_dev` has
    /// given each its queue, on a thread of the kernel that has all its links to see to.
    fn await_running(
        &self,
        netns: Netns,
        link: &IfName,
        until: Instant,
    ) -> Result<(), KernelError> {
        let failed = |source| names::call("await", format!("link {link}"), source);
        let place = self.namespaces.place(netns)?;
        let look = || {
            let get = |socket: &mut _| crate::netlink::link::get(socket, link.as_str());
            let seen = self.namespaces.with_socket(&place, get).map_err(failed)?;
            Ok(seen.filter(|seen| !seen.passes_frames()))
        };
        let Some(held) = look()? else {
            return Ok(());
        };
        let opened = self
            .namespaces
            .run(&place, move || Running::open(held.index));
        let told = opened.and_then(|opened| opened).map_err(failed)?;
        // What came before is not told.
        match look()? {
            None => Ok(()),
            Some(_) => told.wait(until).map_err(failed),
        }
    }

    /// Waits until who looks for an endpoint's IPv6 addresses is heard.
    fn await_solicited(&self, endpoint: &EndpointSpec, until: Instant) -> Result<(), KernelError> {
        let addresses = endpoint.addresses.iter().filter_map(|net| match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some(net.addr()),
        });
        let addresses: Vec<Ipv6Addr> = addresses.collect();
        let object = || format!("groups of {}", endpoint.ifname);
        let mut pause = Duration::from_millis(1);
        while !addresses.is_empty() {
            let (link, asked) = (endpoint.ifname.clone(), addresses.clone());
            let look = move || solicited::hears(&link, &asked);
            if self.run_in(Netns::Sandbox(endpoint.sandbox), "await", object, look)? {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(names::call(
                    "await",
                    object(),
                    io::ErrorKind::TimedOut.into(),
                ));
            }
            std::thread::sleep(pause.min(left));
            pause = LONGEST_LOOK.min(pause * 2);
        }
        Ok(())
    }

    fn run_in<T: Send + 'static>(
        &self,
        netns: Netns,
        operation: &'static str,
        object: impl Fn() -> String,
        f: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, KernelError> {
        let place = self.namespaces.place(netns)?;
        let result = self.namespaces.run(&place, f).and_then(|result| result);
        result.map_err(|source| names::call(operation, object(), source))
    }
}

impl Kernel for LinuxKernel {
    fn apply(&self, plan: &Plan) -> Result<(), Failure> {
        apply::apply(self, plan)
    }

    fn observe(&self, expected: &Objects) -> Result<Observed, KernelError> {
        let observed = observe::observe(&self.namespaces, expected)?;
        let mut objects = observed.objects.values();
        if objects.any(|object| matches!(object, Object::Translator(_))) {
            self.translates.store(true, Ordering::Relaxed);
        }
        Ok(observed)
    }

    fn facts(&self) -> Result<HostFacts, KernelError> {
        let identity = self.namespaces.host().identity();
        let object = || "the host's network".to_owned();
        let facts = self.run_in(Netns::Host, "read", object, facts::read)?;
        Ok(HostFacts {
            netns: identity,
            ..facts
        })
    }

    fn socket(&self, place: SocketPlace, kind: SocketKind) -> Result<OwnedFd, KernelError> {
        let netns = match place {
            SocketPlace::Host => Netns::Host,
            SocketPlace::Sandbox(sandbox) => Netns::Sandbox(sandbox),
        };
        let object = || sockets::describe(kind);
        self.run_in(netns, "open socket", object, move || sockets::open(kind))
    }

    fn sockets(
        &self,
        wanted: &[(SandboxId, Vec<SocketKind>)],
    ) -> Vec<Result<Vec<OwnedFd>, KernelError>> {
        let visits = wanted.iter().cloned();
        let visits = visits
            .map(|(sandbox, kinds)| (Netns::Sandbox(sandbox), kinds))
            .collect();
        self.namespaces.visit_all(visits, |kinds: Vec<SocketKind>| {
            let open = |kind: SocketKind| {
                let named = |source| names::call("open socket", sockets::describe(kind), source);
                sockets::open(kind).map_err(named)
            };
            let made: Result<Vec<OwnedFd>, _> = kinds.into_iter().map(open).collect();
            made
        })
    }

    fn frame_socket(
        &self,
        network: NetworkId,
        link: &IfName,
        ethertype: u16,
    ) -> Result<FrameSocket, KernelError> {
        let object = || format!("link {link} of {}", network.short());
        let name = link.clone();
        let open = move || sockets::frames(&name, ethertype);
        self.run_in(Netns::Network(network), "listen on", object, open)
    }

    fn claim_port(&self, protocol: Protocol, addr: SocketAddr) -> Result<PortClaim, KernelError> {
        let object = || format!("{addr}/{protocol}");
        let unknown = Arc::clone(&self.claims);
        let claim = move || sockets::claim_port(protocol, addr, &unknown);
        let (addr, socket) = self.run_in(Netns::Host, "reserve port", object, claim)?;
        Ok(PortClaim {
            addr,
            protocol,
            socket,
        })
    }

    fn host_addresses(&self) -> Result<BTreeSet<IpAddr>, KernelError> {
        self.addresses_in(Netns::Host)
    }

    fn port_holder(&self, protocol: Protocol, addr: SocketAddr) -> Option<PortHolder> {
        let object = || format!("{addr}/{protocol}");
        let look = move || holders::sockets(protocol, addr);
        let sockets = self.run_in(Netns::Host, "look for", object, look).ok()?;
        holders::process_of(&sockets, std::process::id())
    }

    fn open_tun(&self, name: &IfName) -> Result<OwnedFd, KernelError> {
        let place = self.namespaces.place(Netns::Tunnel)?;
        let opened = name.clone();
        let opened = self
            .namespaces
            .run(&place, move || tunnel::open_existing(&opened));
        let opened = opened.and_then(|opened| opened);
        opened.map_err(|source| tunnel::failed("open", name, source))
    }

    fn know_tunnel_keys(&self, keys: Vec<TunnelKey>) {
        *lock(&self.keys) = keys;
    }

    fn tunnel_facts(&self, name: &IfName) -> Result<TunnelFacts, KernelError> {
        tunnel::facts(&self.namespaces, name)
    }

    fn tunnel_sessions(&self, name: &IfName) -> Result<BTreeSet<PublicKey>, KernelError> {
        let asked = name.clone();
        let object = || format!("link {name} of the encrypted tunnel");
        self.run_in(Netns::Tunnel, "read", object, move || {
            wireguard::agreed(&asked)
        })
    }

    fn netns_path(&self, sandbox: SandboxId) -> PathBuf {
        self.namespaces.path(Netns::Sandbox(sandbox))
    }

    fn await_forwarding(&self, outer: Netns, endpoint: &EndpointSpec) -> Result<(), KernelError> {
        let until = Instant::now() + FORWARDING_SOON;
        self.await_running(outer, &endpoint.host_ifname, until)?;
        let inside = Netns::Sandbox(endpoint.sandbox);
        self.await_running(inside, &endpoint.ifname, until)?;
        self.await_solicited(endpoint, until)
    }

    fn untranslated(&self) -> Option<String> {
        lock(&self.untranslated).clone()
    }

    fn await_quiet(&self, each: &[(Led, Duration)]) -> Result<(), KernelError> {
        let object = || "connections".to_owned();
        let mut conntrack = self.run_in(Netns::Host, "list", object, Conntrack::open)?;
        let each: Vec<_> = each
            .iter()
            .map(|(led, longest)| (self.led_with_mapped(led), *longest))
            .collect();
        let waited = conntrack.await_quiet(&each);
        waited.map_err(|source| names::call("list", object(), source))
    }

    fn await_closed(
        &self,
        sandbox: SandboxId,
        peers: &[IpAddr],
        longest: Duration,
    ) -> Result<(), KernelError> {
        let begun = Instant::now();
        let (until, mut quiet) = (begun + longest, begun);
        let mut pause = FIRST_LOOK;
        let object = || format!("connections of {}", sandbox.short());
        let netns = Netns::Sandbox(sandbox);
        let ends = self.run_in(netns, "watch", object, Ends::watch)?;
        let (told, mut before) = (ends.is_some(), None);
        loop {
            let asked = peers.to_vec();
            // Without ends that are told, whoever was accepted may have been one of them.
            let look = move || Ok((any_open(&asked)?, if told { 0 } else { accepted()? }));
            let now = Instant::now();
            let (open, count) = self.run_in(netns, "list", object, look)?;
            let ended = ends.as_ref().map_or(Ok(false), |ends| ends.any(peers));
            let ended = ended.map_err(|source| names::call("list", object(), source))?;
            if open || ended || before.replace(count).is_some_and(|before| before != count) {
                quiet = now;
            }
            let left = until.saturating_duration_since(now);
            if left.is_zero() || now >= quiet + QUIET {
                return Ok(());
            }
            std::thread::sleep(pause.min(left));
            pause = LONGEST_LOOK.min(pause * 2);
        }
    }

    fn forget_led(&self, netns: Netns, led: &Led) -> Result<(), KernelError> {
        let led = match netns {
            Netns::Host => self.led_with_mapped(led),
            _ => led.clone(),
        };
        let object = || format!("connections of {netns:?}");
        self.run_in(netns, "forget", object, move || {
            Conntrack::open()?.forget_led(&led)
        })
    }

    fn forget_led_elsewhere(&self, netns: Netns, leads: &Leads) -> Result<(), KernelError> {
        let leads = leads.clone();
        let object = || format!("connections of {netns:?}");
        self.run_in(netns, "forget", object, move || {
            Conntrack::open()?.forget_led_elsewhere(&leads)
        })
    }

    fn answering(&self, netns: Netns) -> Result<BTreeSet<IpAddr>, KernelError> {
        let object = || format!("connections of {netns:?}");
        self.run_in(netns, "list", object, || Conntrack::open()?.answering())
    }

    fn forget_all(&self, netns: Netns, addrs: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
        let addrs: Vec<IpAddr> = addrs.iter().copied().collect();
        let object = || format!("connections of {netns:?}");
        self.run_in(netns, "forget", object, move || {
            Conntrack::open()?.forget(&addrs)
        })
    }

    fn interfaces(&self, sandbox: SandboxId) -> Result<Vec<IfName>, KernelError> {
        let place = self.namespaces.place(Netns::Sandbox(sandbox))?;
        let links = self
            .namespaces
            .with_socket(&place, crate::netlink::link::dump)
            .map_err(|source| names::call("list interfaces of", sandbox.short(), source))?;
        let names = links.iter().map(|link| link.name.parse());
        // What the kernel calls an interface is a name unless it predates our rules for names.
        Ok(names.filter_map(Result::ok).collect())
    }

    fn has_interface(&self, sandbox: SandboxId, name: &IfName) -> Result<bool, KernelError> {
        let place = self.namespaces.place(Netns::Sandbox(sandbox))?;
        let failed = |source| names::call("look for an interface of", sandbox.short(), source);
        let found = self
            .namespaces
            .with_socket(&place, |socket| Ok(socket.index_of(name.as_str())))
            .map_err(failed)?;
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

fn check_privilege() -> Result<(), KernelError> {
    let held = capabilities(None)
        .map_err(|error| names::call("read", "the capabilities of this process", error.into()))?;
    let needed = [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    ];
    match needed
        .iter()
        .find(|(bit, _)| !held.effective.contains(*bit))
    {
        Some((_, capability)) => Err(KernelError::Privilege { capability }),
        None => Ok(()),
    }
}
