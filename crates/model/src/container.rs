//! A container's configuration apart from its network: what the OCI runtime is told.

use crate::Options;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `--restart`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Always, also when the daemon starts.
    Always,
    /// As `Always`, but not once a person stopped it.
    UnlessStopped,
    /// When it ends with a status other than 0; at most so many times (0: no limit).
    OnFailure {
        /// The most restarts.
        max_retries: u32,
    },
}

/// What stands behind a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the host.
    Bind {
        /// That path, absolute.
        source: PathBuf,
        /// The bind propagation, such as `rprivate`; empty for the default.
        propagation: String,
        /// Make the source a directory when it is missing (`-v`), rather than refuse (`--mount`).
        #[serde(default)]
        create_source: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Mount options, such as `size=64m`.
        options: String,
    },
}

/// One mount inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What stands behind it.
    pub kind: MountKind,
    /// Where it appears, absolute.
    pub target: PathBuf,
    /// Whether it may not be written.
    pub read_only: bool,
}

/// One `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// `--memory`, `--cpus`, `--pids-limit` and the like; zero is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceLimits {
    /// Bytes.
    pub memory: i64,
    /// Billionths of a processor.
    pub nano_cpus: i64,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Processes.
    pub pids: i64,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
}

/// A health check, echoed from the image or the request; not run before it is supported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD …`, or `CMD-SHELL …`.
    pub test: Vec<String>,
}

/// What the OCI runtime runs, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image as it was named.
    pub image: String,
    /// `--entrypoint` and the image's, when it has one; `None` when neither said anything.
    pub entrypoint: Option<Vec<String>>,
    /// The command's words after the entry point.
    pub cmd: Vec<String>,
    /// `NAME=VALUE`, the image's merged in.
    pub env: Vec<String>,
    /// `--workdir`.
    pub working_dir: String,
    /// `--user`: `name|uid[:group|gid]`.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// `-t`.
    pub tty: bool,
    /// `-i`: standard input is kept open.
    pub open_stdin: bool,
    /// Standard input closes when the one attached client leaves.
    pub stdin_once: bool,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--rm`.
    pub auto_remove: bool,
    /// `--privileged`.
    pub privileged: bool,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--security-opt seccomp=unconfined`.
    pub seccomp_unconfined: bool,
    /// `--shm-size` in bytes; zero for the default of 64 MiB.
    pub shm_size: i64,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--init`.
    pub init: bool,
    /// Sysctls of the namespace (`net.*`) and others.
    pub sysctls: Options,
    /// `--stop-signal`; the image's, or `SIGTERM`.
    pub stop_signal: String,
    /// `--stop-timeout`, in seconds.
    pub stop_timeout: Option<u32>,
    /// Limits.
    pub limits: ResourceLimits,
}
