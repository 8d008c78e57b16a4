//! Options of a create request that vethwork has no effect for.
//!
//! One table: an option stands here with the value that changes nothing, and is refused by name
//! with any other. An option that gets its effect loses its row.

use super::config::{Config, HostConfig};
use crate::errors::ApiError;

/// Refuses the first option that would have no effect.
///
/// # Errors
/// 501 naming it.
pub(super) fn unsupported(config: &Config, host: &HostConfig) -> Result<(), ApiError> {
    let asked = of_config(config)
        .into_iter()
        .chain(namespaces(host))
        .chain(resources(host))
        .chain(storage(host))
        .find(|(_, asked, _)| *asked);
    match asked {
        Some((name, _, why)) => Err(ApiError::unsupported_option(name, why)),
        None => Ok(()),
    }
}

/// An option's name in the request, whether it was asked for, and what to do instead.
type Row = (&'static str, bool, &'static str);

fn of_config(config: &Config) -> Vec<Row> {
    let health = config
        .healthcheck
        .as_ref()
        .map(|check| check.test.as_slice());
    let volumes = config
        .volumes
        .as_ref()
        .is_some_and(|volumes| !volumes.is_empty());
    vec![
        (
            "Healthcheck",
            !matches!(health, None | Some([])) && health != Some(&["NONE".to_owned()]),
            "health checks are not run",
        ),
        (
            "Volumes",
            volumes,
            "there are no volumes; bind a folder or use a tmpfs",
        ),
        (
            "NetworkDisabled",
            config.network_disabled,
            "use the network none",
        ),
        (
            "StopTimeout",
            config
                .stop_timeout
                .is_some_and(|seconds| u32::try_from(seconds).is_err()),
            "give a number of seconds from 0",
        ),
    ]
}

fn namespaces(host: &HostConfig) -> Vec<Row> {
    let private = "each container has its own";
    vec![
        (
            "CgroupnsMode",
            !is_one_of(&host.cgroupns_mode, &["", "private"]),
            private,
        ),
        (
            "IpcMode",
            !is_one_of(&host.ipc_mode, &["", "private", "shareable"]),
            private,
        ),
        ("PidMode", !host.pid_mode.is_empty(), private),
        ("UTSMode", !host.uts_mode.is_empty(), private),
        (
            "UsernsMode",
            !is_one_of(&host.userns_mode, &["", "host"]),
            "users are not remapped",
        ),
        (
            "Isolation",
            !is_one_of(&host.isolation, &["", "default"]),
            "it is an option of Windows",
        ),
        ("Cgroup", !host.cgroup.is_empty(), private),
        (
            "CgroupParent",
            !host.cgroup_parent.is_empty(),
            "control groups lie under the daemon's",
        ),
        (
            "Runtime",
            !host.runtime.is_empty(),
            "the daemon chooses the OCI runtime",
        ),
        ("Annotations", !host.annotations.is_empty(), "use labels"),
        (
            "MaskedPaths",
            host.masked_paths.is_some(),
            "use --privileged to unmask",
        ),
        (
            "ReadonlyPaths",
            host.readonly_paths.is_some(),
            "use --privileged to make them writable",
        ),
    ]
}

fn resources(host: &HostConfig) -> Vec<Row> {
    let block_io = [
        &host.blkio_weight_device,
        &host.blkio_device_read_bps,
        &host.blkio_device_write_bps,
        &host.blkio_device_read_iops,
        &host.blkio_device_write_iops,
    ];
    let limited = host.blkio_weight != 0 || block_io.iter().any(|list| some(list));
    let realtime = host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0;
    let cpu = "limit processors with --cpus";
    let memory = "limit memory with --memory";
    let devices = some(&host.devices)
        || some(&host.device_requests)
        || host
            .device_cgroup_rules
            .as_ref()
            .is_some_and(|rules| !rules.is_empty());
    vec![
        ("Blkio", limited, "block devices are not limited"),
        ("CpuPeriod", host.cpu_period != 0, cpu),
        ("CpuQuota", host.cpu_quota != 0, cpu),
        ("CpuRealtimePeriod", realtime, cpu),
        ("CpusetCpus", !host.cpuset_cpus.is_empty(), cpu),
        ("CpusetMems", !host.cpuset_mems.is_empty(), cpu),
        (
            "CpuCount",
            host.cpu_count != 0 || host.cpu_percent != 0,
            cpu,
        ),
        (
            "Devices",
            devices,
            "use --privileged for the host's devices",
        ),
        (
            "KernelMemory",
            host.kernel_memory != 0 || host.kernel_memory_tcp != 0,
            memory,
        ),
        ("MemoryReservation", host.memory_reservation != 0, memory),
        ("MemorySwap", host.memory_swap != 0, memory),
        (
            "MemorySwappiness",
            host.memory_swappiness.is_some_and(|value| value != -1),
            memory,
        ),
        (
            "OomKillDisable",
            host.oom_kill_disable == Some(true),
            memory,
        ),
        ("OomScoreAdj", host.oom_score_adj != 0, memory),
        (
            "IOMaximumIOps",
            host.io_maximum_iops != 0 || host.io_maximum_bandwidth != 0,
            "it is an option of Windows",
        ),
    ]
}

fn storage(host: &HostConfig) -> Vec<Row> {
    let volumes = "there are no volumes; bind a folder or use a tmpfs";
    let from = host
        .volumes_from
        .as_ref()
        .is_some_and(|list| !list.is_empty());
    let plain_log =
        is_one_of(&host.log_config.r#type, &["", "json-file"]) && host.log_config.config.is_empty();
    vec![
        (
            "LogConfig",
            !plain_log,
            "output goes to one file a container, without rotation",
        ),
        (
            "StorageOpt",
            !host.storage_opt.is_empty(),
            "root file systems have no size limit",
        ),
        ("VolumeDriver", !host.volume_driver.is_empty(), volumes),
        ("VolumesFrom", from, volumes),
    ]
}

fn some<T>(list: &Option<Vec<T>>) -> bool {
    list.as_ref().is_some_and(|list| !list.is_empty())
}

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.contains(&text)
}
