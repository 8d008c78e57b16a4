//! Capabilities: Docker's default set, `--cap-add`, `--cap-drop`, `--privileged`.
//!
//! Owns the names and the arithmetic. What this process itself lacks is left out:
//! the runtime could not give it, and would refuse the whole container.

use crate::error::{Error, Result};
use std::{collections::BTreeSet, sync::OnceLock};

/// Every capability by its number (capability.h of Linux 5.9 and later).
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What Docker gives every container.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A set of capabilities by their full names.
pub(crate) type Set = BTreeSet<&'static str>;

/// The set that a container gets, within `own`.
pub(crate) fn resolve(add: &[String], drop: &[String], privileged: bool, own: &Set) -> Result<Set> {
    let (add, all_added) = parse("CapAdd", add)?;
    let (drop, all_dropped) = parse("CapDrop", drop)?;
    let mut set: Set = if privileged || all_added {
        own.clone()
    } else if all_dropped {
        Set::new()
    } else {
        DEFAULT.into_iter().collect()
    };
    // Docker: privileged ignores both lists; `--cap-add ALL --cap-drop X` is all but X,
    // `--cap-drop ALL --cap-add X` is X alone.
    if !privileged {
        set.retain(|name| !drop.contains(name));
        set.extend(add);
    }
    Ok(set.intersection(own).copied().collect())
}

/// The named capabilities, and whether `ALL` was among them.
fn parse(option: &str, names: &[String]) -> Result<(Set, bool)> {
    let mut set = Set::new();
    let mut all = false;
    for name in names {
        let upper = name.to_ascii_uppercase();
        if upper == "ALL" || upper == "CAP_ALL" {
            all = true;
            continue;
        }
        let known = NAMES
            .iter()
            .find(|known| **known == upper || known.strip_prefix("CAP_") == Some(&upper));
        set.insert(*known.ok_or_else(|| {
            Error::InvalidSpec(format!("invalid {option}: unknown capability: {name:?}"))
        })?);
    }
    Ok((set, all))
}

/// What this process could pass on: its bounding and permitted sets.
pub(crate) fn own() -> &'static Set {
    static OWN: OnceLock<Set> = OnceLock::new();
    OWN.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        own_of(&status)
    })
}

fn own_of(status: &str) -> Set {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(u64::MAX)
    };
    let mask = field("CapBnd:") & field("CapPrm:");
    let numbered = NAMES.iter().enumerate();
    numbered
        .filter(|(number, _)| mask & (1 << number) != 0)
        .map(|(_, name)| *name)
        .collect()
}
