//! `/info`: moby's `system.Info`, in its order.

use super::Host;
use crate::{server::ApiConfig, time, version::ApiVersion};
use serde::Serialize;
use std::{collections::BTreeMap, time::SystemTime};
use vw_controller::view::InfoView;

/// What the engine tells about itself and the machine, in groups that keep moby's order.
#[derive(Serialize)]
pub(super) struct Info<'a> {
    #[serde(flatten)]
    objects: Objects<'a>,
    #[serde(flatten)]
    abilities: Abilities,
    #[serde(flatten)]
    machine: Machine<'a>,
    #[serde(flatten)]
    daemon: Daemon<'a>,
}

/// What it holds.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Objects<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    containers: usize,
    containers_running: usize,
    containers_paused: usize,
    containers_stopped: usize,
    images: usize,
    driver: &'static str,
    driver_status: [[&'static str; 2]; 0],
    plugins: Plugins<'a>,
}

/// Which options of containers have their effect.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Abilities {
    memory_limit: bool,
    swap_limit: bool,
    cpu_cfs_period: bool,
    cpu_cfs_quota: bool,
    #[serde(rename = "CPUShares")]
    cpu_shares: bool,
    #[serde(rename = "CPUSet")]
    cpu_set: bool,
    pids_limit: bool,
    #[serde(rename = "IPv4Forwarding")]
    ipv4_forwarding: bool,
    debug: bool,
    n_fd: usize,
    oom_kill_disable: bool,
    n_goroutines: usize,
    system_time: String,
    logging_driver: &'static str,
    cgroup_driver: &'static str,
    cgroup_version: &'static str,
    n_events_listener: usize,
}

/// What it runs on.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Machine<'a> {
    kernel_version: &'a str,
    operating_system: &'a str,
    #[serde(rename = "OSVersion")]
    os_version: &'a str,
    #[serde(rename = "OSType")]
    os_type: &'static str,
    architecture: &'static str,
    index_server_address: &'static str,
    registry_config: Option<()>,
    #[serde(rename = "NCPU")]
    n_cpu: usize,
    mem_total: u64,
    generic_resources: Option<()>,
    docker_root_dir: String,
    http_proxy: &'static str,
    https_proxy: &'static str,
    no_proxy: &'static str,
    name: &'a str,
    labels: Vec<String>,
}

/// How it is set up.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Daemon<'a> {
    experimental_build: bool,
    server_version: &'a str,
    runtimes: BTreeMap<&'a str, Runtime<'a>>,
    default_runtime: &'a str,
    swarm: Swarm,
    live_restore_enabled: bool,
    isolation: &'static str,
    init_binary: &'static str,
    containerd_commit: Commit,
    runc_commit: Commit,
    init_commit: Commit,
    security_options: [&'static str; 0],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    default_address_pools: Vec<AddressPool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    firewall_backend: Option<Firewall<'a>>,
    #[serde(rename = "CDISpecDirs")]
    cdi_spec_dirs: [&'static str; 0],
    warnings: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Plugins<'a> {
    volume: [&'static str; 0],
    network: &'a [String],
    authorization: Option<()>,
    log: [&'static str; 1],
}

#[derive(Serialize)]
struct Runtime<'a> {
    path: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Swarm {
    #[serde(rename = "NodeID")]
    node_id: &'static str,
    node_addr: &'static str,
    local_node_state: &'static str,
    control_available: bool,
    error: &'static str,
    remote_managers: Option<()>,
}

#[derive(Serialize)]
struct Commit {
    #[serde(rename = "ID")]
    id: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AddressPool<'a> {
    base: &'a str,
    size: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Firewall<'a> {
    driver: &'a str,
}

/// The answer.
pub(super) fn render<'a>(
    view: &'a InfoView,
    host: &'a Host,
    config: &'a ApiConfig,
    version: ApiVersion,
) -> Info<'a> {
    Info {
        objects: objects(view),
        abilities: abilities(view, host),
        machine: machine(view, host),
        daemon: daemon(view, config, version),
    }
}

/// Adopted sandboxes count as running containers, as lists show them.
fn objects(view: &InfoView) -> Objects<'_> {
    let running = view.running + view.adopted;
    Objects {
        id: &view.id,
        containers: running + view.stopped,
        containers_running: running,
        containers_paused: 0,
        containers_stopped: view.stopped,
        images: view.images,
        driver: "overlay2",
        driver_status: [],
        plugins: Plugins {
            volume: [],
            network: &view.network_drivers,
            authorization: None,
            log: ["json-file"],
        },
    }
}

fn abilities(view: &InfoView, host: &Host) -> Abilities {
    Abilities {
        memory_limit: true,
        swap_limit: false,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: false,
        pids_limit: true,
        ipv4_forwarding: view.forwarding,
        debug: view.debug,
        n_fd: 0,
        oom_kill_disable: false,
        n_goroutines: 0,
        system_time: time::rfc3339(SystemTime::now()),
        logging_driver: "json-file",
        cgroup_driver: "cgroupfs",
        cgroup_version: if host.unified { "2" } else { "1" },
        n_events_listener: 0,
    }
}

fn machine<'a>(view: &'a InfoView, host: &'a Host) -> Machine<'a> {
    Machine {
        kernel_version: &host.kernel,
        operating_system: &host.os,
        os_version: &host.os_version,
        os_type: "linux",
        architecture: std::env::consts::ARCH,
        index_server_address: "",
        registry_config: None,
        n_cpu: host.processors,
        mem_total: host.memory,
        generic_resources: None,
        docker_root_dir: view.data_root.display().to_string(),
        http_proxy: "",
        https_proxy: "",
        no_proxy: "",
        name: &host.name,
        labels: view
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
    }
}

fn daemon<'a>(view: &'a InfoView, config: &'a ApiConfig, version: ApiVersion) -> Daemon<'a> {
    let path = view
        .runtime
        .split_ascii_whitespace()
        .next()
        .unwrap_or_default();
    let runtime = path.rsplit('/').next().unwrap_or_default();
    let runtimes = Some(runtime).filter(|name| !name.is_empty());
    let pools = view.address_pools.iter();
    let firewall = Firewall {
        driver: &config.firewall_backend,
    };
    Daemon {
        experimental_build: false,
        server_version: &config.version,
        runtimes: runtimes
            .map(|name| (name, Runtime { path }))
            .into_iter()
            .collect(),
        default_runtime: runtime,
        swarm: Swarm {
            node_id: "",
            node_addr: "",
            local_node_state: "inactive",
            control_available: false,
            error: "",
            remote_managers: None,
        },
        live_restore_enabled: true,
        isolation: "",
        init_binary: "",
        containerd_commit: Commit { id: "" },
        runc_commit: Commit { id: "" },
        init_commit: Commit { id: "" },
        security_options: [],
        default_address_pools: pools
            .map(|(base, size)| AddressPool { base, size: *size })
            .collect(),
        firewall_backend: Some(firewall).filter(|_| version >= ApiVersion::v1(49)),
        cdi_spec_dirs: [],
        warnings: &view.warnings,
    }
}
