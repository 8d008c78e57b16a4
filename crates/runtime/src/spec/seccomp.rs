//! The default seccomp profile: what is refused to a container that was not given
//! the capability for it.
//!
//! It is a deny list: system calls are allowed unless named here. Docker's profile is
//! the other way round, an allow list with the same conditions; what both refuse is the
//! same apart from system calls newer than this file, which Docker refuses and this
//! allows, and `personality(2)`, of which Docker allows five values and this all.
//! `--privileged` and `--security-opt seccomp=unconfined` leave it out.

use super::{
    caps::Set,
    oci::{Seccomp, SeccompArg, SeccompRule},
};

const EPERM: u32 = 1;
/// Tells the C library to fall back to an older call.
const ENOSYS: u32 = 38;
const AF_VSOCK: u64 = 40;

/// Refused unless the container has one of the capabilities.
const CONDITIONAL: &[(&[&str], &[&str])] = &[
    (
        &["CAP_SYS_ADMIN"],
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"], &["setns"]),
    (&["CAP_SYS_ADMIN", "CAP_BPF"], &["bpf"]),
    (&["CAP_SYS_ADMIN", "CAP_PERFMON"], &["perf_event_open"]),
    (&["CAP_SYS_ADMIN", "CAP_SYSLOG"], &["syslog"]),
    (&["CAP_DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (&["CAP_SYS_BOOT"], &["reboot"]),
    (&["CAP_SYS_CHROOT"], &["chroot"]),
    (
        &["CAP_SYS_MODULE"],
        &["delete_module", "finit_module", "init_module"],
    ),
    (
        &["CAP_SYS_NICE"],
        &[
            "get_mempolicy",
            "mbind",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    (&["CAP_SYS_PACCT"], &["acct"]),
    (
        &["CAP_SYS_PTRACE"],
        &["kcmp", "pidfd_getfd", "process_madvise"],
    ),
    (&["CAP_SYS_RAWIO"], &["ioperm", "iopl"]),
    (
        &["CAP_SYS_TIME"],
        &["clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
    (&["CAP_SYS_TTY_CONFIG"], &["vhangup"]),
];

/// Refused whatever the capabilities: not namespaced, or a large attack surface.
const ALWAYS: &[&str] = &[
    "_sysctl",
    "add_key",
    "create_module",
    "get_kernel_syms",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "migrate_pages",
    "move_pages",
    "nfsservctl",
    "pivot_root",
    "query_module",
    "request_key",
    "swapoff",
    "swapon",
    "sysfs",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
];

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID`, `NEWNET` (sched.h).
const NAMESPACE_FLAGS: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];

/// The profile for a container with these capabilities.
pub(crate) fn profile(capabilities: &Set) -> Seccomp {
    let mut refused = ALWAYS.to_vec();
    for (any_of, calls) in CONDITIONAL {
        if !any_of.iter().any(|name| capabilities.contains(name)) {
            refused.extend_from_slice(calls);
        }
    }
    refused.sort_unstable();
    let mut syscalls = vec![deny(refused, EPERM, Vec::new())];
    if !capabilities.contains("CAP_SYS_ADMIN") {
        // clone3's flags lie behind a pointer, which a filter cannot follow.
        syscalls.push(deny(vec!["clone3"], ENOSYS, Vec::new()));
        // One rule a flag: runtimes differ on whether several conditions on one
        // argument are joined by AND or by OR.
        syscalls.extend(NAMESPACE_FLAGS.iter().map(|flag| {
            let any_bit = SeccompArg {
                index: 0,
                value: *flag,
                value_two: *flag,
                op: "SCMP_CMP_MASKED_EQ",
            };
            deny(vec!["clone"], EPERM, vec![any_bit])
        }));
    }
    // vsock is not namespaced: it would reach the hypervisor.
    let vsock = SeccompArg {
        index: 0,
        value: AF_VSOCK,
        value_two: 0,
        op: "SCMP_CMP_EQ",
    };
    syscalls.push(deny(vec!["socket"], EPERM, vec![vsock]));
    Seccomp {
        default_action: "SCMP_ACT_ALLOW",
        architectures: architectures(),
        syscalls,
    }
}

fn deny(names: Vec<&'static str>, errno_ret: u32, args: Vec<SeccompArg>) -> SeccompRule {
    SeccompRule {
        names,
        action: "SCMP_ACT_ERRNO",
        errno_ret,
        args,
    }
}

/// The machine's own architecture and those that its kernel also runs; a call by any
/// other is killed by the filter.
fn architectures() -> Vec<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => vec!["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        "riscv64" => vec!["SCMP_ARCH_RISCV64"],
        "s390x" => vec!["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
        "powerpc64" => vec!["SCMP_ARCH_PPC64LE"],
        _ => Vec::new(),
    }
}
