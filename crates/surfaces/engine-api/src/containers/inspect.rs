//! A container by itself, as JSON: Docker's fields in Docker's order.

use super::{
    config::{Config, HostConfig, PortBindings, Words},
    ports, state, summary,
};
use crate::{
    endpoint::{EndpointSettings, text},
    time,
    version::ApiVersion,
};
use serde::Serialize;
use std::collections::BTreeMap;
use vw_controller::view::{ContainerView, Status};
use vw_model::{ContainerSpec, MountKind};

/// A container by itself.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspect {
    id: String,
    created: String,
    path: String,
    args: Vec<String>,
    state: State,
    image: String,
    resolv_conf_path: String,
    hostname_path: String,
    hosts_path: String,
    log_path: String,
    name: String,
    restart_count: u32,
    driver: &'static str,
    platform: &'static str,
    mount_label: &'static str,
    process_label: &'static str,
    app_armor_profile: &'static str,
    #[serde(rename = "ExecIDs")]
    exec_ids: Option<Vec<String>>,
    host_config: HostConfig,
    graph_driver: GraphDriver,
    mounts: Vec<MountPoint>,
    config: Config,
    network_settings: NetworkSettings,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: &'static str,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    dead: bool,
    pid: u32,
    exit_code: i32,
    error: String,
    started_at: String,
    finished_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GraphDriver {
    data: Option<BTreeMap<String, String>>,
    name: &'static str,
}

/// One mount as it stands.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MountPoint {
    r#type: &'static str,
    source: String,
    destination: String,
    mode: String,
    #[serde(rename = "RW")]
    rw: bool,
    propagation: String,
}

impl MountPoint {
    /// Whether it comes from or appears at this path.
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.source == path || self.destination == path
    }
}

/// Network settings; the fields of its own repeat the default network's endpoint.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    bridge: &'static str,
    #[serde(rename = "SandboxID")]
    sandbox_id: String,
    sandbox_key: String,
    ports: PortBindings,
    hairpin_mode: bool,
    #[serde(rename = "LinkLocalIPv6Address")]
    link_local_ipv6_address: &'static str,
    #[serde(rename = "LinkLocalIPv6PrefixLen")]
    link_local_ipv6_prefix_len: u8,
    #[serde(rename = "SecondaryIPAddresses")]
    secondary_ip_addresses: Option<Vec<String>>,
    #[serde(rename = "SecondaryIPv6Addresses")]
    secondary_ipv6_addresses: Option<Vec<String>>,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    global_ipv6_prefix_len: u8,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: String,
    mac_address: String,
    networks: BTreeMap<String, EndpointSettings>,
}

/// A container or an adopted sandbox as inspect shows it.
pub(super) fn inspect(view: &ContainerView, version: ApiVersion) -> Inspect {
    let (path, args) = summary::path_and_args(view.container.as_ref());
    let file = |path: &std::path::Path| path.display().to_string();
    Inspect {
        id: view.sandbox.id.to_string(),
        created: time::rfc3339(view.sandbox.created),
        path,
        args,
        state: self::state(view),
        image: view.image_id.clone(),
        resolv_conf_path: file(&view.resolv_conf_path),
        hostname_path: file(&view.hostname_path),
        hosts_path: file(&view.hosts_path),
        log_path: file(&view.log_path),
        name: format!("/{}", view.sandbox.name),
        restart_count: view.restart_count,
        driver: "overlay2",
        platform: "linux",
        mount_label: "",
        process_label: "",
        app_armor_profile: "",
        exec_ids: Some(view.execs.clone()).filter(|execs| !execs.is_empty()),
        host_config: host_config(view),
        graph_driver: GraphDriver {
            data: None,
            name: "overlay2",
        },
        mounts: mounts(view.container.as_ref()),
        config: config(view),
        network_settings: network_settings(view, version),
    }
}

fn state(view: &ContainerView) -> State {
    let state = &view.state;
    let restarting = state.status == Status::Restarting;
    State {
        status: state::word(&state.status),
        running: state::is_alive(&state.status),
        paused: false,
        restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid,
        exit_code: state.exit_code,
        error: state.error.clone(),
        started_at: time::rfc3339_or_zero(state.started),
        finished_at: time::rfc3339_or_zero(state.finished),
    }
}

/// What was given, as it was kept; a record that no longer reads is shown as if nothing was.
fn host_config(view: &ContainerView) -> HostConfig {
    let mut host: HostConfig = serde_json::from_value(view.host_config.clone()).unwrap_or_default();
    host.network_mode.clone_from(&view.mode_text);
    host
}

/// What was given, completed from the image.
fn config(view: &ContainerView) -> Config {
    let mut config: Config = serde_json::from_value(view.config.clone()).unwrap_or_default();
    let sandbox = &view.sandbox;
    config.hostname.clone_from(&sandbox.hostname);
    config.domainname.clone_from(&sandbox.domainname);
    config.labels = summary::labels(view);
    config.exposed_ports = sandbox
        .exposed
        .iter()
        .map(|port| (port.to_string(), serde_json::Map::new()))
        .collect();
    let Some(spec) = &view.container else {
        return config;
    };
    config.user.clone_from(&spec.user);
    config.tty = spec.tty;
    config.open_stdin = spec.open_stdin;
    config.stdin_once = spec.stdin_once;
    config.env = Some(spec.env.clone());
    config.cmd = Some(spec.cmd.clone())
        .filter(|words| !words.is_empty())
        .map(Words);
    config.entrypoint = spec.entrypoint.clone().map(Words);
    config.working_dir.clone_from(&spec.working_dir);
    config.image.clone_from(&spec.image);
    config.stop_signal.clone_from(&spec.stop_signal);
    config
}

/// The mounts that were asked for.
pub(super) fn mounts(spec: Option<&ContainerSpec>) -> Vec<MountPoint> {
    let mounts = spec.map(|spec| spec.mounts.as_slice()).unwrap_or_default();
    let point = |mount: &vw_model::Mount| {
        let (kind, source, mode, propagation) = match &mount.kind {
            MountKind::Bind {
                source,
                propagation,
                ..
            } => {
                let word = if propagation.is_empty() {
                    "rprivate"
                } else {
                    propagation
                };
                ("bind", source.display().to_string(), "", word)
            }
            MountKind::Tmpfs { options } => ("tmpfs", String::new(), options.as_str(), ""),
        };
        MountPoint {
            r#type: kind,
            source,
            destination: mount.target.display().to_string(),
            mode: mode.to_owned(),
            rw: !mount.read_only,
            propagation: propagation.to_owned(),
        }
    };
    mounts.iter().map(point).collect()
}

fn network_settings(view: &ContainerView, version: ApiVersion) -> NetworkSettings {
    let short_id = [view.sandbox.id.short(), view.sandbox.hostname.clone()];
    let predefined = |name: &str| matches!(name, "bridge" | "host" | "none");
    let networks: BTreeMap<_, _> = view
        .endpoints
        .iter()
        .map(|endpoint| {
            let legacy = version < ApiVersion::v1(45) && !predefined(&endpoint.network);
            let extra: &[String] = if legacy { &short_id } else { &[] };
            (
                endpoint.network.clone(),
                EndpointSettings::of(endpoint, extra),
            )
        })
        .collect();
    let default = networks.get("bridge").cloned().unwrap_or_default();
    let alive = state::is_alive(&view.state.status);
    NetworkSettings {
        bridge: "",
        sandbox_id: text(alive.then_some(view.sandbox.id)),
        sandbox_key: text(alive.then(|| view.netns.display().to_string())),
        ports: ports::bindings(ports::published(view)),
        hairpin_mode: false,
        link_local_ipv6_address: "",
        link_local_ipv6_prefix_len: 0,
        secondary_ip_addresses: None,
        secondary_ipv6_addresses: None,
        endpoint_id: default.endpoint_id,
        gateway: default.gateway,
        global_ipv6_address: default.global_ipv6_address,
        global_ipv6_prefix_len: default.global_ipv6_prefix_len,
        ip_address: default.ip_address,
        ip_prefix_len: default.ip_prefix_len,
        ipv6_gateway: default.ipv6_gateway,
        mac_address: default.mac_address,
        networks,
    }
}
