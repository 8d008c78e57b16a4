//! What an executor promises.

mod leads;

pub use leads::{Beside, Leads};

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    path::PathBuf,
    time::Duration,
};
use vw_hoststate::{LinkKind, Netns, Objects, Plan};
use vw_model::{
    EndpointSpec, HostPort, IfName, IpNet, NetworkId, PortKey, Protocol, PublicKey, SandboxId,
};
use zeroize::Zeroizing;

/// A plan that failed: what took effect, and what did not.
#[derive(Debug)]
pub struct Failure {
    /// For each step of the plan, whether it took effect; the caller applies
    /// [`Plan::undo`](vw_hoststate::Plan::undo) of it.
    pub done: Vec<bool>,
    /// The first step that failed, by its place in the plan.
    pub step: usize,
    /// Why.
    pub source: KernelError,
}

/// Why the kernel refused, or what it lacks.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A call failed on an object.
    #[error("cannot {operation} {object}")]
    Call {
        /// Such as `create link`.
        operation: &'static str,
        /// The object, as people name it.
        object: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The namespace to work in is not there (its process ended, its file is gone).
    #[error("network namespace {name} is gone")]
    NamespaceGone {
        /// Which one.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The kernel lacks a feature.
    #[error("this kernel has no {feature}: {remedy}")]
    Missing {
        /// Such as `veth` or `nf_tables`.
        feature: &'static str,
        /// What would help.
        remedy: &'static str,
    },
    /// The process lacks a capability.
    #[error("permission denied: vethwork needs {capability}; run the daemon as root")]
    Privilege {
        /// Such as `CAP_NET_ADMIN`.
        capability: &'static str,
    },
}

impl KernelError {
    /// Whether the cause is that a pinned namespace is gone.
    #[must_use]
    pub const fn is_namespace_gone(&self) -> bool {
        matches!(self, Self::NamespaceGone { .. })
    }
}

/// What is led to endpoints by translation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Led {
    /// To which addresses.
    pub to: BTreeSet<IpAddr>,
    /// What was sent to others than these is left out; `None` leaves out nothing.
    pub by: Option<LedBy>,
}

/// Where clients are led from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedBy {
    /// All that is sent to these addresses.
    pub addrs: BTreeSet<IpAddr>,
    /// What is sent to these ports of this host, each at its address or at any.
    pub ports: BTreeSet<HostPort>,
    /// But not to these of them.
    pub but: BTreeSet<HostPort>,
    /// Nor by any port what is sent to these addresses.
    pub except: BTreeSet<IpAddr>,
}

impl LedBy {
    /// Whether what is sent there is led.
    #[must_use]
    pub fn leads(&self, addr: IpAddr, port: PortKey) -> bool {
        let among = |ports: &BTreeSet<HostPort>| {
            let mut spellings = spellings(addr, port);
            spellings.any(|at| ports.contains(&at))
        };
        let by_port = among(&self.ports) && !among(&self.but) && !self.except.contains(&addr);
        self.addrs.contains(&addr) || by_port
    }
}

/// As what a port at an address may be published.
fn spellings(addr: IpAddr, port: PortKey) -> impl Iterator<Item = HostPort> {
    let every = match addr {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let hosts = [None, Some(addr), Some(every)].into_iter();
    hosts.map(move |host| HostPort { host, port })
}

/// What stands in the kernel of what we make.
#[derive(Debug, Default)]
pub struct Observed {
    /// Objects of ours, by key, in the same normal form as plans have them.
    pub objects: Objects,
    /// Pinned namespaces that were asked about and are not there.
    pub gone: Vec<Netns>,
}

/// A route of the host that address pools must keep clear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// The destination; never a default route.
    pub dst: IpNet,
    /// The link it leads to, where it names one.
    pub link: Option<String>,
    /// Whether it is ours (by its link's name or its protocol number).
    pub ours: bool,
}

/// What the daemon must know of the host before it plans.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// On-link and other specific routes of all tables that are looked up.
    pub routes: Vec<HostRoute>,
    /// Addresses of this host, by link: first those that can be bound, and of these first
    /// those that are neither temporary nor deprecated.
    pub addresses: Vec<(String, IpNet)>,
    /// Those of them that nobody should begin to use, all of IPv6: not bound yet or never, as a twin is
    /// looked for or was found, temporary (RFC 8981) or deprecated (RFC 4862).
    pub passing: BTreeSet<IpAddr>,
    /// The MTU of the link that the default route uses; 1500 without one.
    pub default_mtu: u32,
    /// The MTU in bytes of each link of this host that has an address or a route.
    pub mtus: BTreeMap<String, u32>,
    /// Those links of this host with an address, and not of our making, that hand on the segments of
    /// a connection joined: they do so themselves (GRO), or the other end of their pair never cut
    /// them. Of a link that may not be what packets come in by (the loopback, a dummy, a tunnel)
    /// that is not known.
    pub merging: BTreeSet<String>,
    /// The source address of the default routes, IPv4 and IPv6.
    pub default_source: Vec<IpAddr>,
    /// The ports that the kernel takes for itself: `net.ipv4.ip_local_port_range`.
    pub ephemeral_ports: (u16, u16),
    /// Whether bridged packets pass the IP hooks (`bridge-nf-call-iptables`, `-ip6tables`);
    /// `None` where br_netfilter is absent.
    pub bridge_netfilter: Option<(bool, bool)>,
    /// Bridges that somebody else has here, who may rely on those switches.
    pub foreign_bridges: Vec<String>,
    /// Current values of the parameters that we may have to switch, by path.
    pub sysctls: BTreeMap<String, String>,
    /// The boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The identity of the daemon's network namespace: device and inode of its nsfs file.
    pub netns: (u64, u64),
}

/// What a host has for an encrypted tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TunnelFacts {
    /// Whether the kernel has WireGuard.
    pub wireguard: bool,
    /// Whether links of user space can be made (`/dev/net/tun`).
    pub tun: bool,
    /// The kind of the tunnel's link that stands, and the UDP port of one of the kernel that
    /// has a key.
    pub standing: Option<(LinkKind, Option<u16>)>,
}

/// A private key of an encrypted tunnel, and the public one that objects name it by.
pub struct TunnelKey {
    /// What objects name it by.
    pub public: PublicKey,
    private: Zeroizing<[u8; 32]>,
}

impl TunnelKey {
    /// A key of these halves, which the caller knows to belong together.
    #[must_use]
    pub const fn new(public: PublicKey, private: Zeroizing<[u8; 32]>) -> Self {
        Self { public, private }
    }

    pub(crate) const fn private(&self) -> &Zeroizing<[u8; 32]> {
        &self.private
    }
}

impl fmt::Debug for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelKey({}, ..)", self.public)
    }
}

/// In which namespace a socket is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketPlace {
    /// The daemon's own.
    Host,
    /// A sandbox's.
    Sandbox(SandboxId),
}

/// What kind of socket is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// A bound UDP socket.
    Udp(SocketAddr),
    /// A bound, listening TCP socket.
    TcpListen(SocketAddr),
    /// A TCP socket, not bound and not connected, of the address's family.
    TcpUnbound(SocketAddr),
}

/// A host port that is held as long as this lives; nobody else can bind it meanwhile, and nobody
/// could where the kernel does not know the protocol: then it is held against this process's own.
#[derive(Debug)]
pub struct PortClaim {
    /// The address and port held; the kernel's choice where port 0 was asked for.
    pub addr: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// What holds it: the bound socket, or what stands for one.
    pub socket: OwnedFd,
}

/// A process that has a host port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// Its number, as this process sees it.
    pub process: u32,
    /// Its program, by the first 15 octets of its name.
    pub program: String,
}

/// A packet socket without headers (`packet(7)`, `SOCK_DGRAM`), bound to one link and to what its
/// frames say that they carry. While it is open the link's namespace stays.
#[derive(Debug)]
pub struct FrameSocket {
    /// It blocks, and is closed on exec.
    pub socket: OwnedFd,
    /// The link's index in its namespace.
    pub link: u32,
}

/// An executor. All calls block; any number of threads may call at once.
pub trait Kernel: Send + Sync {
    /// Carries out a plan, one netlink batch and one nftables transaction a namespace.
    ///
    /// Creating what is there with equal attributes and deleting what is gone succeed, so a plan
    /// may be applied again. Deleting a pair takes it out of service at once (down, off its
    /// bridge, names free) and lets the deletion itself follow.
    ///
    /// # Errors
    /// [`Failure`] with what took effect; nothing is undone by itself.
    fn apply(&self, plan: &Plan) -> Result<(), Failure>;

    /// Reads what stands of `expected`, and whatever else is ours: but of a sandbox without an expected
    /// neighbour, which no driver gives one, no neighbours.
    ///
    /// # Errors
    /// When the kernel cannot be read at all; a namespace that is gone is told in the answer.
    fn observe(&self, expected: &Objects) -> Result<Observed, KernelError>;

    /// Reads the facts of the host.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    fn facts(&self) -> Result<HostFacts, KernelError>;

    /// Makes a socket in a namespace, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`], or the system's answer (address in use, …).
    fn socket(&self, place: SocketPlace, kind: SocketKind) -> Result<OwnedFd, KernelError>;

    /// Makes sockets in several sandboxes, of each sandbox in one visit; the answers are in their
    /// order, all of a sandbox's sockets or none.
    ///
    /// # Errors
    /// As [`Kernel::socket`], for each sandbox by itself.
    fn sockets(
        &self,
        wanted: &[(SandboxId, Vec<SocketKind>)],
    ) -> Vec<Result<Vec<OwnedFd>, KernelError>> {
        let of_one = |(sandbox, kinds): &(SandboxId, Vec<SocketKind>)| {
            let place = SocketPlace::Sandbox(*sandbox);
            kinds.iter().map(|kind| self.socket(place, *kind)).collect()
        };
        wanted.iter().map(of_one).collect()
    }

    /// Makes a socket for frames of one EtherType by a link in a network's namespace.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`]; the system's answer when there is no such link, or it is down.
    fn frame_socket(
        &self,
        network: NetworkId,
        link: &IfName,
        ethertype: u16,
    ) -> Result<FrameSocket, KernelError>;

    /// Holds a host port. An unspecified IPv6 address holds IPv6 only.
    ///
    /// # Errors
    /// `Call` with `AddrInUse` when somebody has it.
    fn claim_port(&self, protocol: Protocol, addr: SocketAddr) -> Result<PortClaim, KernelError>;

    /// The addresses of this host, of all its links, that can be bound: one that is still looked for
    /// a twin is not among them yet.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    fn host_addresses(&self) -> Result<BTreeSet<IpAddr>, KernelError>;

    /// A process other than this one that keeps a host port from being held, where it can be found: for
    /// people alone.
    fn port_holder(&self, protocol: Protocol, addr: SocketAddr) -> Option<PortHolder>;

    /// Opens an encrypted tunnel of user space ([`LinkKind::Tun`](vw_hoststate::LinkKind)), for the
    /// process that carries its packets.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`]; `Call` when there is no such link, or with `ResourceBusy`
    /// when a process has it open.
    fn open_tun(&self, name: &IfName) -> Result<OwnedFd, KernelError>;

    /// Has these private keys known from now on, and no others: a
    /// [`WireguardKey`](vw_hoststate::WireguardKey) names one by its public half, and is refused
    /// when that is none of these.
    fn know_tunnel_keys(&self, keys: Vec<TunnelKey>);

    /// What there is for an encrypted tunnel, and what stands under this name. Leaves nothing but
    /// modules that the kernel loads when it is asked for what they bring.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    fn tunnel_facts(&self, name: &IfName) -> Result<TunnelFacts, KernelError>;

    /// Those keys of other hosts by which an encrypted tunnel of the kernel has agreed on sessions:
    /// who has the private half uses it.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`]; the system's answer when there is no such link.
    fn tunnel_sessions(&self, name: &IfName) -> Result<BTreeSet<PublicKey>, KernelError>;

    /// The file that pins a sandbox's namespace, for OCI runtimes and `ip netns`.
    fn netns_path(&self, sandbox: SandboxId) -> PathBuf;

    /// Waits until an endpoint passes frames, by its end in `outer` and that in its sandbox: the
    /// kernel lets each a moment after it came up, and drops what is sent before; and until who looks
    /// for one of its IPv6 addresses is heard. An end that is gone is not waited for.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`], the system's answer, or `TimedOut`.
    fn await_forwarding(&self, outer: Netns, endpoint: &EndpointSpec) -> Result<(), KernelError>;

    /// Why what a plan had translated ([`Translator`](vw_hoststate::Translator)) is not, where the kernel
    /// refused that: what leads there was left out, and the next comparison tries again.
    fn untranslated(&self) -> Option<String>;

    /// Waits until no connection that the host led so is open, for each at most so long, all from now
    /// on; what has no connections (UDP) is not waited for.
    ///
    /// # Errors
    /// The system's answer.
    fn await_quiet(&self, each: &[(Led, Duration)]) -> Result<(), KernelError>;

    /// Waits until for a second no TCP connection of a sandbox with one of these peers was open or
    /// has ended, at most so long.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`], or the system's answer.
    fn await_closed(
        &self,
        sandbox: SandboxId,
        peers: &[IpAddr],
        longest: Duration,
    ) -> Result<(), KernelError>;

    /// Forgets what the host, or a sandbox, leads so to where nobody is to be led any more: what goes
    /// on over UDP, and what was not answered yet over TCP. Who sends again is led elsewhere.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`], or the system's answer.
    fn forget_led(&self, netns: Netns, led: &Led) -> Result<(), KernelError>;

    /// The same of what services led in a namespace, and would lead to others, or nowhere, as they stand.
    /// Its tracked connections are looked at once, however many services there are.
    ///
    /// # Errors
    /// As [`Kernel::forget_led`].
    fn forget_led_elsewhere(&self, netns: Netns, leads: &Leads) -> Result<(), KernelError>;

    /// The addresses that answer what a sandbox leads, as far as it tracks that: what was sent to another
    /// address.
    ///
    /// # Errors
    /// As [`Kernel::forget_led`].
    fn answering(&self, netns: Netns) -> Result<BTreeSet<IpAddr>, KernelError>;

    /// Forgets all that a sandbox tracks of these addresses, which nobody has any more: who was led there
    /// is refused when he sends again.
    ///
    /// # Errors
    /// As [`Kernel::forget_led`].
    fn forget_all(&self, netns: Netns, addrs: &BTreeSet<IpAddr>) -> Result<(), KernelError>;

    /// Names of the interfaces that a sandbox has, ours or not.
    ///
    /// # Errors
    /// [`KernelError::NamespaceGone`], or the system's answer.
    fn interfaces(&self, sandbox: SandboxId) -> Result<Vec<IfName>, KernelError>;

    /// Whether a sandbox has an interface of this name, ours or not.
    ///
    /// # Errors
    /// As [`Kernel::interfaces`].
    fn has_interface(&self, sandbox: SandboxId, name: &IfName) -> Result<bool, KernelError> {
        Ok(self.interfaces(sandbox)?.contains(name))
    }
}

#[cfg(test)]
mod tests;
