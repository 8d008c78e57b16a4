//! Every request that the controller can carry out, as plain data.
//!
//! A surface parses its own grammar into one of these and renders the output. Texts that name an
//! object (`…Ref`) are a full id, a name, or an unambiguous prefix of an id, as Docker resolves
//! them: an exact id first, then a name, then a prefix.

use std::{
    io::{self, Read},
    path::PathBuf,
    sync::mpsc,
    time::{Duration, SystemTime},
};
use vw_model::{
    ContainerName, ContainerSpec, DnsSettings, EndpointSettings, HostEntry, NetworkName, Options,
    PortKey, PortRequest, Result,
};

/// A request and the type of its answer.
///
/// Implemented in this crate alone; surfaces call [`Controller::submit`](crate::Controller::submit).
pub trait Command: std::fmt::Debug + Send {
    /// What a successful request answers.
    type Output;
    /// The operation as errors and logs name it, such as `network create`.
    const OPERATION: &'static str;
    /// Carries it out.
    ///
    /// # Errors
    /// With a kind, a stable reason and a sentence; nothing is changed then unless the sentence
    /// says so.
    fn run(self, controller: &crate::Controller) -> Result<Self::Output>;
}

/// One address range asked for a network, as text: the address manager checks it in Docker's words.
pub use vw_ipam::PoolConfig as PoolRequest;

/// `network create`.
#[derive(Debug, Clone)]
pub struct NetworkCreate {
    /// Its name.
    pub name: NetworkName,
    /// `--driver`; `bridge` when absent.
    pub driver: Option<String>,
    /// `--scope`; the driver's when absent.
    pub scope: Option<vw_model::Scope>,
    /// Whether endpoints get IPv4 addresses; yes when absent.
    pub ipv4: Option<bool>,
    /// `--ipv6`; the daemon's default when absent.
    pub ipv6: Option<bool>,
    /// `--internal`.
    pub internal: bool,
    /// `--attachable`.
    pub attachable: bool,
    /// `--ingress`, `--config-only`, `--config-from`: what of these was asked, refused by name.
    pub unsupported: Vec<String>,
    /// `--ipam-driver`.
    pub ipam_driver: Option<String>,
    /// `--ipam-opt`.
    pub ipam_options: Options,
    /// `--subnet` and what belongs to it.
    pub pools: Vec<PoolRequest>,
    /// `--opt`.
    pub options: Options,
    /// `--label`.
    pub labels: Options,
}

/// `network inspect`.
#[derive(Debug, Clone)]
pub struct NetworkInspect {
    /// The network.
    pub network: String,
}

/// `network ls`: all of them; the surface filters.
#[derive(Debug, Clone)]
pub struct NetworkList;

/// `network rm`.
#[derive(Debug, Clone)]
pub struct NetworkRemove {
    /// The network.
    pub network: String,
}

/// `network prune`: removes those that nothing uses and for which `keep` is false.
#[derive(Debug, Clone)]
pub struct NetworkPrune {
    /// Only networks created before this.
    pub until: Option<SystemTime>,
    /// Only those with all of these labels; an empty value matches any.
    pub labels: Vec<(String, Option<String>)>,
    /// Only those without any of these.
    pub not_labels: Vec<(String, Option<String>)>,
}

/// `cluster status`.
#[derive(Debug, Clone)]
pub struct ClusterStatus;

/// `cluster forget`: gives a host up that will not return.
#[derive(Debug, Clone)]
pub struct ClusterForget {
    /// The host, by id, name or unambiguous prefix of an id.
    pub host: String,
}

/// `network connect`.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The network.
    pub network: String,
    /// The container or adopted sandbox.
    pub sandbox: String,
    /// What is asked for the endpoint.
    pub settings: EndpointSettings,
}

/// `network disconnect`.
#[derive(Debug, Clone)]
pub struct Disconnect {
    /// The network.
    pub network: String,
    /// The container or adopted sandbox.
    pub sandbox: String,
    /// `--force`: also when the sandbox's namespace is gone.
    pub force: bool,
}

pub use crate::service_command::{
    HealthTimes, Publication, ServiceCreate, ServiceInspect, ServiceList, ServiceRemove,
    ServiceReport, ServiceUpdate,
};

/// What is to be adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdoptSource {
    /// `--pid`.
    Pid(u32),
    /// `--netns`.
    Netns(PathBuf),
}

/// What a container and an adopted sandbox have in common.
#[derive(Debug, Clone, Default)]
pub struct SandboxRequest {
    /// `--hostname`; the short id (or what stands in the adopted one) when absent.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: String,
    /// `--dns` and its kin.
    pub dns: DnsSettings,
    /// `--add-host`.
    pub extra_hosts: Vec<HostEntry>,
    /// Names of `--add-host NAME:host-gateway`: they find the daemon's host gateway addresses.
    pub host_gateway_names: Vec<String>,
    /// `--publish`.
    pub ports: Vec<PortRequest>,
    /// `--expose` and the image's.
    pub exposed: Vec<PortKey>,
    /// `--publish-all`.
    pub publish_all: bool,
    /// `--label`.
    pub labels: Options,
    /// `--network` in the order given, with what is asked for each endpoint.
    pub networks: Vec<(String, EndpointSettings)>,
}

/// `adopt`.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// What is to be adopted.
    pub source: AdoptSource,
    /// `--name`; made from the source when absent.
    pub name: Option<ContainerName>,
    /// Its configuration.
    pub sandbox: SandboxRequest,
    /// `--resolv-conf`: replace its resolver file until release.
    pub resolv_conf: bool,
}

/// `release`.
#[derive(Debug, Clone)]
pub struct Release {
    /// The adopted sandbox.
    pub sandbox: String,
}

/// `--network` of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// The predefined `bridge`, or the networks named in the request.
    #[default]
    Networks,
    /// `host`.
    Host,
    /// `none`.
    None,
    /// `container:REF`: the sandbox of another.
    Container(String),
}

/// `create`.
#[derive(Debug, Clone)]
pub struct ContainerCreate {
    /// `--name`; made up when absent.
    pub name: Option<ContainerName>,
    /// What runs.
    pub container: ContainerSpec,
    /// Its network configuration.
    pub sandbox: SandboxRequest,
    /// Whose namespace it uses.
    pub mode: NetworkMode,
    /// The network mode as it was written, echoed (`HostConfig.NetworkMode`).
    pub mode_text: String,
    /// The request's `HostConfig` as given, echoed by inspect.
    pub host_config: serde_json::Value,
    /// The request's `Config` as given, echoed by inspect.
    pub config: serde_json::Value,
}

macro_rules! on_container {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name {
            /// The container.
            pub container: String,
            $($(#[$fdoc])* pub $field: $ty,)*
        }
    )*};
}

on_container! {
    /// `start`.
    ContainerStart {}
    /// `stop`.
    ContainerStop {
        /// How long to wait before SIGKILL; the container's own setting when absent.
        timeout: Option<i64>,
        /// `--signal`.
        signal: Option<String>,
    }
    /// `restart`.
    ContainerRestart {
        /// As in [`ContainerStop`].
        timeout: Option<i64>,
        /// `--signal`.
        signal: Option<String>,
    }
    /// `kill`.
    ContainerKill {
        /// `--signal`; SIGKILL when empty.
        signal: String,
    }
    /// `rm`.
    ContainerRemove {
        /// `--force`.
        force: bool,
        /// `--link`: refused by name.
        link: bool,
    }
    /// `rename`.
    ContainerRename {
        /// The new name.
        name: ContainerName,
    }
    /// `inspect`.
    ContainerInspect {}
    /// `wait`: the receiver gets one answer, when the condition holds, and `None` now and then
    /// before: what waits ends once nobody receives.
    ContainerWait {
        /// What to wait for.
        condition: WaitCondition,
    }
    /// `logs`.
    ContainerLogs {
        /// What is asked.
        options: LogOptions,
    }
    /// `attach`.
    ContainerAttach {
        /// Forward standard input.
        stdin: bool,
        /// Replay what was written before.
        logs: bool,
        /// Stay for what is written from now on.
        stream: bool,
    }
    /// The terminal's size.
    ContainerResize {
        /// Rows.
        height: u16,
        /// Columns.
        width: u16,
    }
    /// `exec`: prepares one.
    ExecCreate {
        /// What runs.
        exec: ExecRequest,
    }
}

/// `ps`: all containers and adopted sandboxes; the surface filters.
#[derive(Debug, Clone)]
pub struct ContainerList;

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Until it does not run (at once when it does not).
    #[default]
    NotRunning,
    /// Until it ends the next time.
    NextExit,
    /// Until it is removed.
    Removed,
}

/// What of a container's output is wanted.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Stay and follow.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Only from then on.
    pub since: Option<SystemTime>,
    /// Only until then.
    pub until: Option<SystemTime>,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
    /// A time stamp before each line.
    pub timestamps: bool,
}

/// What `exec` runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command.
    pub cmd: Vec<String>,
    /// More of the environment.
    pub env: Vec<String>,
    /// `--user`; the container's when empty.
    pub user: String,
    /// `--workdir`; the container's when empty.
    pub working_dir: String,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub stdin: bool,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted.
    pub stderr: bool,
    /// `--privileged`.
    pub privileged: bool,
}

/// Starts a prepared `exec`.
#[derive(Debug, Clone)]
pub struct ExecStart {
    /// The exec's id.
    pub exec: String,
    /// Do not stay attached.
    pub detach: bool,
    /// The terminal's size, rows and columns.
    pub size: Option<(u16, u16)>,
}

/// The size of an exec's terminal.
#[derive(Debug, Clone)]
pub struct ExecResize {
    /// The exec's id.
    pub exec: String,
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// How an exec stands.
#[derive(Debug, Clone)]
pub struct ExecInspect {
    /// The exec's id.
    pub exec: String,
}

/// `import`.
pub struct ImageImport {
    /// A tar stream, or a folder of this host.
    pub source: ImageSource,
    /// The name it gets.
    pub name: String,
    /// `--change`.
    pub changes: Vec<String>,
    /// `--message`.
    pub message: String,
}

/// Where an image comes from.
pub enum ImageSource {
    /// A tar stream, compressed or not.
    Tar(Box<dyn Read + Send>),
    /// A folder of this host.
    Folder(PathBuf),
}

impl std::fmt::Debug for ImageImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageImport")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// `load`.
pub struct ImageLoad {
    /// The archive.
    pub archive: Box<dyn Read + Send>,
}

impl std::fmt::Debug for ImageLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImageLoad")
    }
}

/// `images`.
#[derive(Debug, Clone)]
pub struct ImageList;

/// An image's configuration.
#[derive(Debug, Clone)]
pub struct ImageInspect {
    /// The image.
    pub image: String,
}

/// `rmi`.
#[derive(Debug, Clone)]
pub struct ImageRemove {
    /// The image.
    pub image: String,
    /// `--force`.
    pub force: bool,
}

/// `tag`.
#[derive(Debug, Clone)]
pub struct ImageTag {
    /// The image.
    pub image: String,
    /// The further name.
    pub name: String,
}

/// `info`.
#[derive(Debug, Clone)]
pub struct Info;

/// A two-way stream to a container's or an exec's standard streams.
pub struct Attached {
    /// Whether it has a terminal: then everything is standard output, without frames.
    pub tty: bool,
    /// What it writes; closed when it ends.
    pub output: mpsc::Receiver<io::Result<Chunk>>,
    /// Its standard input, when asked for; dropping it half-closes.
    pub input: Option<Box<dyn io::Write + Send>>,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Whether it came from standard error.
    pub stderr: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// How long `stop` waits when nobody said.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);
