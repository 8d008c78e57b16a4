//! moby's `container.Config` and `container.HostConfig`, field by field in moby's order.
//!
//! Read from create requests and written by inspect, so that what was given comes back as
//! Docker's engine would give it back.

use crate::{
    endpoint::EndpointSettings,
    json::{go_struct, is_zero},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use vw_model::Options;

/// A set, as Go writes it: `{"80/tcp":{}}`.
pub(crate) type Set = BTreeMap<String, Map<String, Value>>;

/// Host sides by container port; a `null` list counts as one unspecified host side.
pub(crate) type PortBindings = BTreeMap<String, Option<Vec<PortBinding>>>;

/// `POST /containers/create`: the configuration, and two objects beside its fields.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct CreateRequest {
    #[serde(flatten)]
    pub(crate) config: Config,
    pub(crate) host_config: Option<HostConfig>,
    pub(crate) networking_config: Option<NetworkingConfig>,
}

go_struct! {
    /// Endpoints by network.
    NetworkingConfig {
        endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
    }

    /// What does not depend on the host.
    Config {
        hostname: String,
        domainname: String,
        user: String,
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        #[serde(skip_serializing_if = "is_zero")]
        exposed_ports: Set,
        tty: bool,
        open_stdin: bool,
        stdin_once: bool,
        env: Option<Vec<String>>,
        cmd: Option<Words>,
        #[serde(skip_serializing_if = "is_zero")]
        healthcheck: Option<Healthcheck>,
        image: String,
        volumes: Option<Set>,
        working_dir: String,
        entrypoint: Option<Words>,
        #[serde(skip_serializing_if = "is_zero")]
        network_disabled: bool,
        #[serde(skip_serializing_if = "is_zero")]
        mac_address: String,
        on_build: Option<Vec<String>>,
        labels: Options,
        #[serde(skip_serializing_if = "is_zero")]
        stop_signal: String,
        #[serde(skip_serializing_if = "is_zero")]
        stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "is_zero")]
        shell: Option<Words>,
    }

    /// A health check.
    Healthcheck {
        #[serde(skip_serializing_if = "is_zero")]
        test: Vec<String>,
        #[serde(skip_serializing_if = "is_zero")]
        interval: i64,
        #[serde(skip_serializing_if = "is_zero")]
        timeout: i64,
        #[serde(skip_serializing_if = "is_zero")]
        start_period: i64,
        #[serde(skip_serializing_if = "is_zero")]
        start_interval: i64,
        #[serde(skip_serializing_if = "is_zero")]
        retries: i64,
    }

    /// What depends on the host.
    HostConfig {
        binds: Option<Vec<String>>,
        #[serde(rename = "ContainerIDFile")]
        container_id_file: String,
        log_config: LogConfig,
        network_mode: String,
        port_bindings: PortBindings,
        restart_policy: RestartPolicy,
        auto_remove: bool,
        volume_driver: String,
        volumes_from: Option<Vec<String>>,
        console_size: [u32; 2],
        #[serde(skip_serializing_if = "is_zero")]
        annotations: Options,
        cap_add: Option<Vec<String>>,
        cap_drop: Option<Vec<String>>,
        cgroupns_mode: String,
        dns: Option<Vec<String>>,
        dns_options: Option<Vec<String>>,
        dns_search: Option<Vec<String>>,
        extra_hosts: Option<Vec<String>>,
        group_add: Option<Vec<String>>,
        ipc_mode: String,
        cgroup: String,
        links: Option<Vec<String>>,
        oom_score_adj: i64,
        pid_mode: String,
        privileged: bool,
        publish_all_ports: bool,
        readonly_rootfs: bool,
        security_opt: Option<Vec<String>>,
        #[serde(skip_serializing_if = "is_zero")]
        storage_opt: Options,
        #[serde(skip_serializing_if = "is_zero")]
        tmpfs: Options,
        #[serde(rename = "UTSMode")]
        uts_mode: String,
        userns_mode: String,
        shm_size: i64,
        #[serde(skip_serializing_if = "is_zero")]
        sysctls: Options,
        #[serde(skip_serializing_if = "is_zero")]
        runtime: String,
        isolation: String,
        cpu_shares: i64,
        memory: i64,
        nano_cpus: i64,
        cgroup_parent: String,
        blkio_weight: u16,
        blkio_weight_device: Option<Vec<Value>>,
        blkio_device_read_bps: Option<Vec<Value>>,
        blkio_device_write_bps: Option<Vec<Value>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        blkio_device_read_iops: Option<Vec<Value>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        blkio_device_write_iops: Option<Vec<Value>>,
        cpu_period: i64,
        cpu_quota: i64,
        cpu_realtime_period: i64,
        cpu_realtime_runtime: i64,
        cpuset_cpus: String,
        cpuset_mems: String,
        devices: Option<Vec<Value>>,
        device_cgroup_rules: Option<Vec<String>>,
        device_requests: Option<Vec<Value>>,
        #[serde(skip_serializing_if = "is_zero")]
        kernel_memory: i64,
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_zero")]
        kernel_memory_tcp: i64,
        memory_reservation: i64,
        memory_swap: i64,
        memory_swappiness: Option<i64>,
        oom_kill_disable: Option<bool>,
        pids_limit: Option<i64>,
        ulimits: Option<Vec<Ulimit>>,
        cpu_count: i64,
        cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        io_maximum_bandwidth: u64,
        #[serde(skip_serializing_if = "is_zero")]
        mounts: Vec<Mount>,
        masked_paths: Option<Vec<String>>,
        readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "is_zero")]
        init: Option<bool>,
    }

    /// Where output goes.
    LogConfig {
        r#type: String,
        config: Options,
    }

    /// Whether it starts again when it ended.
    RestartPolicy {
        name: String,
        maximum_retry_count: i64,
    }

    /// One host side of a published port.
    PortBinding {
        host_ip: String,
        host_port: String,
    }

    /// One limit.
    Ulimit {
        name: String,
        hard: i64,
        soft: i64,
    }

    /// One mount.
    Mount {
        #[serde(skip_serializing_if = "is_zero")]
        r#type: String,
        #[serde(skip_serializing_if = "is_zero")]
        source: String,
        #[serde(skip_serializing_if = "is_zero")]
        target: String,
        #[serde(skip_serializing_if = "is_zero")]
        read_only: bool,
        #[serde(skip_serializing_if = "is_zero")]
        consistency: String,
        #[serde(skip_serializing_if = "is_zero")]
        bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "is_zero")]
        volume_options: Option<Value>,
        #[serde(skip_serializing_if = "is_zero")]
        image_options: Option<Value>,
        #[serde(skip_serializing_if = "is_zero")]
        tmpfs_options: Option<TmpfsOptions>,
        #[serde(skip_serializing_if = "is_zero")]
        cluster_options: Option<Value>,
    }

    /// Of bind mounts.
    BindOptions {
        #[serde(skip_serializing_if = "is_zero")]
        propagation: String,
        #[serde(skip_serializing_if = "is_zero")]
        non_recursive: bool,
        #[serde(skip_serializing_if = "is_zero")]
        create_mountpoint: bool,
        #[serde(skip_serializing_if = "is_zero")]
        read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "is_zero")]
        read_only_force_recursive: bool,
    }

    /// Of file systems in memory.
    TmpfsOptions {
        #[serde(skip_serializing_if = "is_zero")]
        size_bytes: i64,
        #[serde(skip_serializing_if = "is_zero")]
        mode: u32,
        #[serde(skip_serializing_if = "is_zero")]
        options: Vec<Vec<String>>,
    }
}

/// Words of a command: a list, or one text which is one word (moby's `strslice`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            One(String),
            Many(Vec<String>),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::One(word) => Self(vec![word]),
            Either::Many(words) => Self(words),
        })
    }
}
