//! Limits and device rules of a container's control group, and its rlimits.
//!
//! Owns Docker's defaults. The kernel enforces; the OCI runtime writes.

use super::oci::{Cpu, DeviceRule, Memory, Pids, Resources, Rlimit};
use crate::error::{Error, Result};
use std::path::Path;
use vw_model::{ResourceLimits, Ulimit};

/// The period that `--cpus` is counted in, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// Docker's smallest memory limit.
const MIN_MEMORY: i64 = 6 << 20;

/// Names of resources for `--ulimit`, without the `RLIMIT_` that the OCI adds.
const RLIMITS: [&str; 15] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
];

/// The control group's part.
pub(crate) fn resources(limits: &ResourceLimits, privileged: bool) -> Result<Resources> {
    if limits.memory != 0 && limits.memory < MIN_MEMORY {
        return Err(Error::InvalidSpec(
            "Minimum memory limit allowed is 6MB".to_owned(),
        ));
    }
    let memory = (limits.memory > 0).then(|| Memory {
        limit: limits.memory,
        // Docker lets as much again be swapped, where the kernel counts swap.
        swap: counts_swap().then(|| limits.memory.saturating_mul(2)),
    });
    let quota = (limits.nano_cpus > 0).then_some(limits.nano_cpus / 10_000);
    if quota.is_some_and(|quota| quota < 1_000) {
        return Err(Error::InvalidSpec(
            "range of CPUs is from 0.01 upwards: that is too few".to_owned(),
        ));
    }
    let shares = u64::try_from(limits.cpu_shares).ok().filter(|n| *n > 0);
    let cpu = (quota.is_some() || shares.is_some()).then_some(Cpu {
        shares,
        quota,
        period: quota.map(|_| CPU_PERIOD),
    });
    Ok(Resources {
        devices: if privileged {
            every_device()
        } else {
            devices()
        },
        memory,
        cpu,
        pids: (limits.pids > 0).then_some(Pids { limit: limits.pids }),
    })
}

/// No limits, no devices but the harmless ones.
pub(crate) fn none() -> Resources {
    Resources {
        devices: devices(),
        memory: None,
        cpu: None,
        pids: None,
    }
}

fn counts_swap() -> bool {
    // Version 2 always does where the controller is there; version 1 by a kernel option.
    !Path::new("/sys/fs/cgroup/memory").exists()
        || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

const fn rule(
    allow: bool,
    kind: Option<&'static str>,
    major: Option<u32>,
    minor: Option<u32>,
    access: &'static str,
) -> DeviceRule {
    DeviceRule {
        allow,
        kind,
        major,
        minor,
        access,
    }
}

fn every_device() -> Vec<DeviceRule> {
    vec![rule(true, None, None, None, "rwm")]
}

/// Making any node is allowed, opening only the harmless ones: null, zero, full,
/// random, urandom, tty, console, ptmx and pseudo-terminals.
fn devices() -> Vec<DeviceRule> {
    let character = |major, minor| rule(true, Some("c"), Some(major), minor, "rwm");
    vec![
        rule(false, None, None, None, "rwm"),
        rule(true, Some("c"), None, None, "m"),
        rule(true, Some("b"), None, None, "m"),
        character(1, Some(3)),
        character(1, Some(5)),
        character(1, Some(7)),
        character(1, Some(8)),
        character(1, Some(9)),
        character(5, Some(0)),
        character(5, Some(1)),
        character(5, Some(2)),
        character(136, None),
    ]
}

/// `--ulimit`.
pub(crate) fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<Rlimit>> {
    let one = |ulimit: &Ulimit| {
        let name = ulimit.name.to_ascii_lowercase();
        if !RLIMITS.contains(&name.as_str()) {
            return Err(Error::InvalidSpec(format!(
                "invalid ulimit type: {}",
                ulimit.name
            )));
        }
        if ulimit.soft > ulimit.hard {
            return Err(Error::InvalidSpec(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            )));
        }
        Ok(Rlimit {
            kind: format!("RLIMIT_{}", name.to_ascii_uppercase()),
            hard: ulimit.hard,
            soft: ulimit.soft,
        })
    };
    ulimits.iter().map(one).collect()
}
