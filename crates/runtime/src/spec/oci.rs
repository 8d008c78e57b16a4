//! The OCI runtime specification's `config.json`, as far as it is written here
//! (opencontainers/runtime-spec `config.md`, `config-linux.md`, 1.0.2).
//!
//! Owns shapes alone; what goes into them is decided in the modules beside it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) oci_version: &'static str,
    pub(crate) process: Process,
    pub(crate) root: Root,
    pub(crate) hostname: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) linux: Linux,
}

/// Also what `exec` is told, so it is read back from a bundle.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) terminal: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) console_size: Option<ConsoleSize>,
    pub(crate) user: User,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) capabilities: Capabilities,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) no_new_privileges: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ConsoleSize {
    pub(crate) height: u16,
    pub(crate) width: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Capabilities {
    pub(crate) bounding: Vec<String>,
    pub(crate) effective: Vec<String>,
    pub(crate) permitted: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rlimit {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) hard: u64,
    pub(crate) soft: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Root {
    pub(crate) path: String,
    pub(crate) readonly: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Mount {
    pub(crate) destination: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) source: String,
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Linux {
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) cgroups_path: String,
    pub(crate) resources: Resources,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sysctl: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) devices: Vec<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp: Option<Seccomp>,
    pub(crate) masked_paths: Vec<&'static str>,
    pub(crate) readonly_paths: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rootfs_propagation: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) file_mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct Resources {
    pub(crate) devices: Vec<DeviceRule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pids: Option<Pids>,
}

#[derive(Debug, Serialize)]
pub(crate) struct DeviceRule {
    pub(crate) allow: bool,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) major: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) minor: Option<u32>,
    pub(crate) access: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) limit: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) swap: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Cpu {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shares: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) period: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Pids {
    pub(crate) limit: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seccomp {
    pub(crate) default_action: &'static str,
    pub(crate) architectures: Vec<&'static str>,
    pub(crate) syscalls: Vec<SeccompRule>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeccompRule {
    pub(crate) names: Vec<&'static str>,
    pub(crate) action: &'static str,
    pub(crate) errno_ret: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<SeccompArg>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeccompArg {
    pub(crate) index: u32,
    pub(crate) value: u64,
    pub(crate) value_two: u64,
    pub(crate) op: &'static str,
}
