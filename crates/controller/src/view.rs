//! What requests answer: plain data for surfaces to render.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, SystemTime},
};
use vw_model::{
    ContainerSpec, EndpointId, EndpointSettings, HostId, HostPort, IpNet, Ipv4Net, Ipv6Net,
    MacAddr, NetworkId, NetworkSpec, Options, PortKey, PortMapping, SandboxId, SandboxSpec,
    ServiceSpec,
};

/// Something new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id, 64 digits.
    pub id: String,
    /// What the user should know, in Docker's words where it has them.
    pub warnings: Vec<String>,
}

/// What `prune` removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names.
    pub removed: Vec<String>,
}

/// One endpoint as a network shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Its name.
    pub name: String,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its link-layer address.
    pub mac: MacAddr,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Net>,
}

/// A host of the cluster that has endpoints on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its name.
    pub name: String,
    /// Its address for the others.
    pub addr: IpAddr,
}

/// The cluster as this host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// The kind of its store.
    pub store: String,
    /// Why this host does not take part in the cluster as it should; `None` where it does.
    pub trouble: Option<String>,
    /// The store's servers.
    pub servers: Vec<ServerView>,
    /// The hosts, in the order of their names.
    pub hosts: Vec<HostView>,
    /// Who carries packets of encrypted networks here: as [`InfoView::encryption`] tells.
    pub encryption: &'static str,
}

/// One server of the cluster's store, asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    /// Where it was asked.
    pub address: String,
    /// How long its answer took, or why there was none.
    pub answer: Result<Duration, String>,
    /// Whether it leads, where it tells.
    pub leader: Option<bool>,
    /// Its version, where it tells.
    pub version: Option<String>,
}

/// One host of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its address for the others.
    pub addr: IpAddr,
    /// Its version.
    pub version: String,
    /// It is this one.
    pub this: bool,
    /// It was heard of within its lease; this one: the others can hear of it.
    pub alive: bool,
    /// It was not, and its kernel answers all the same.
    pub away: bool,
    /// Whether it answers over every way that networks take to it; `None` where that was not tried.
    pub reachable: Option<bool>,
    /// How many endpoints of global networks lie on it.
    pub endpoints: usize,
    /// How many blocks of addresses it has; `None` while the store does not tell.
    pub blocks: Option<usize>,
    /// The way there, as it was last tried; `None` for this host and for one that did not answer.
    pub path: Option<PathView>,
    /// Whether it answers through the encrypted tunnel; `None` where that was not tried, as one of
    /// the two has none now.
    pub encrypted: Option<bool>,
    /// The way in there.
    pub encrypted_path: Option<PathView>,
    /// What of what it is asked does not pass, in words.
    pub trouble: Option<String>,
}

/// The way to another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathView {
    /// How long a packet and its answer took.
    pub latency: Duration,
    /// The largest packet in bytes, inside the tunnel, that got through; `None` where that was not
    /// found in time.
    pub mtu: Option<u32>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    /// As it stands.
    pub spec: NetworkSpec,
    /// Who is on it now, of a global network on every host.
    pub members: Vec<MemberView>,
    /// The hosts that have endpoints on a global network.
    pub peers: Vec<PeerView>,
    /// Whether a container, running or not, is configured to be on it.
    pub in_use: bool,
}

/// One endpoint as a container shows it; zero ids and no addresses while it does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// The network's name.
    pub network: String,
    /// The network.
    pub network_id: Option<NetworkId>,
    /// The endpoint, while it stands.
    pub endpoint: Option<EndpointId>,
    /// The interface inside.
    pub ifname: String,
    /// IPv4 gateway.
    pub gateway4: Option<Ipv4Addr>,
    /// IPv6 gateway.
    pub gateway6: Option<Ipv6Addr>,
    /// IPv4 address.
    pub ipv4: Option<Ipv4Net>,
    /// IPv6 address.
    pub ipv6: Option<Ipv6Net>,
    /// Link-layer address.
    pub mac: Option<MacAddr>,
    /// What was asked.
    pub settings: EndpointSettings,
    /// The names that the embedded DNS knows it by on this network.
    pub dns_names: Vec<String>,
}

/// How a container stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Status {
    /// Made, never started.
    #[default]
    Created,
    /// Running.
    Running,
    /// Ended, and about to be started again.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// An adopted sandbox whose process is gone, or a container that cannot be removed.
    Dead,
}

/// A container's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateView {
    /// How it stands.
    pub status: Status,
    /// Its first process while it runs.
    pub pid: u32,
    /// Its last exit code.
    pub exit_code: i32,
    /// Why it did not start.
    pub error: String,
    /// The kernel killed it for its memory limit.
    pub oom_killed: bool,
    /// When it was last started.
    pub started: Option<SystemTime>,
    /// When it last ended.
    pub finished: Option<SystemTime>,
}

/// A container or an adopted sandbox.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerView {
    /// Its sandbox.
    pub sandbox: SandboxSpec,
    /// What runs; `None` for adopted sandboxes.
    pub container: Option<ContainerSpec>,
    /// Its state.
    pub state: StateView,
    /// How often it was restarted by its policy.
    pub restart_count: u32,
    /// The image's id, `sha256:…`; empty for adopted sandboxes.
    pub image_id: String,
    /// The network mode as written.
    pub mode_text: String,
    /// Its endpoints by the network's name.
    pub endpoints: Vec<EndpointView>,
    /// Ports as they are published now; an exposed, unpublished one has no mapping.
    pub ports: BTreeMap<PortKey, Vec<PortMapping>>,
    /// The pinned namespace file.
    pub netns: PathBuf,
    /// `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` as files of the host.
    pub hosts_path: PathBuf,
    /// See `hosts_path`.
    pub hostname_path: PathBuf,
    /// See `hosts_path`.
    pub resolv_conf_path: PathBuf,
    /// The log file.
    pub log_path: PathBuf,
    /// `HostConfig` as it was given.
    pub host_config: Value,
    /// `Config` as it was given.
    pub config: Value,
    /// Ids of running execs.
    pub execs: Vec<String>,
}

/// The end of a wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitView {
    /// The exit code.
    pub code: i64,
    /// Why waiting failed; empty otherwise.
    pub error: String,
}

/// How an exec stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecView {
    /// Its id.
    pub id: String,
    /// Its container.
    pub container: SandboxId,
    /// Whether it runs.
    pub running: bool,
    /// Its exit code once it ended.
    pub exit_code: Option<i32>,
    /// Its process; 0 before it runs.
    pub pid: u32,
    /// What was asked.
    pub request: crate::command::ExecRequest,
}

/// An image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageView {
    /// `sha256:…`.
    pub id: String,
    /// `name:tag`.
    pub tags: Vec<String>,
    /// When it was made.
    pub created: Option<SystemTime>,
    /// Bytes on disk.
    pub size: u64,
    /// The OCI/Docker image configuration's `config` object.
    pub config: Value,
    /// Architecture.
    pub architecture: String,
    /// Operating system.
    pub os: String,
    /// Layer digests (`RootFS.Layers`).
    pub layers: Vec<String>,
    /// Containers that use it.
    pub containers: usize,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// As it stands.
    pub spec: ServiceSpec,
    /// Its network's name.
    pub network: String,
    /// Its endpoints.
    pub members: Vec<ServiceMemberView>,
    /// What hosts lack of it, by the host's name and the reason.
    pub unpublished: Vec<UnpublishedView>,
}

/// What a host does not publish of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpublishedView {
    /// The host's name.
    pub host: String,
    /// The service's addresses, where nothing there reaches them.
    pub vips: Vec<IpNet>,
    /// The host's ports.
    pub ports: Vec<HostPort>,
    /// Why, for people.
    pub reason: &'static str,
}

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceMemberView {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The container or adopted sandbox.
    pub sandbox: SandboxId,
    /// The name of its host; empty outside a cluster.
    pub host: String,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its weight.
    pub weight: u32,
    /// `running` (nobody asks it), `starting`, `healthy`, `unhealthy`, `draining`, or `waiting` for
    /// room in the service.
    pub state: &'static str,
    /// Whether new connections are led to it.
    pub serves: bool,
    /// Its last answers to checks, the oldest first; none from before the daemon's start.
    pub checks: Vec<CheckView>,
}

/// A check of an endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckView {
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// 0 where all was well; -1 of a command that could not run, or of what took too long.
    pub code: i32,
    /// What was said, cut, or why nothing was.
    pub output: String,
}

/// `info`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InfoView {
    /// This daemon's id.
    pub id: String,
    /// Containers by state: running, stopped, adopted.
    pub running: usize,
    /// See `running`.
    pub stopped: usize,
    /// See `running`.
    pub adopted: usize,
    /// Images.
    pub images: usize,
    /// Networks.
    pub networks: usize,
    /// Data directory.
    pub data_root: PathBuf,
    /// The OCI runtime in use and its version; empty when none runs.
    pub runtime: String,
    /// Names of drivers.
    pub network_drivers: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Sysctls that the daemon changed: path, former value, value.
    pub sysctls: Vec<(String, String, String)>,
    /// The resolver's addresses that are forwarded to.
    pub upstreams: Vec<IpAddr>,
    /// Default address pools: base and size.
    pub address_pools: Vec<(String, u8)>,
    /// The daemon's labels.
    pub labels: Options,
    /// Whether debug logging is on.
    pub debug: bool,
    /// Whether the host forwards IPv4.
    pub forwarding: bool,
    /// Who carries packets of encrypted networks here: `kernel`, `user space`, or `none` where
    /// nobody can; empty outside a cluster.
    pub encryption: &'static str,
    /// Whether frames of overlay networks take shortcuts past the bridge, or why not; nothing
    /// outside a cluster.
    pub shortcuts: Option<std::result::Result<(), String>>,
}
