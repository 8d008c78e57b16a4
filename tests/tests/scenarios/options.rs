//! Options of `run`: each has its effect, or is refused by its name.

use crate::{require_stage, scene::Scene};

/// The option, a line of shell inside, and what it prints.
const EFFECTS: &[(&str, &str, &str)] = &[
    ("--read-only", "touch /root/x 2>/dev/null || echo no", "no"),
    ("--tmpfs /mnt", "stat -f -c %T /mnt", "tmpfs"),
    (
        "--mount type=tmpfs,target=/mnt",
        "stat -f -c %T /mnt",
        "tmpfs",
    ),
    (
        "--shm-size 1m",
        "df -k --output=size /dev/shm | tail -1 | tr -d ' '",
        "1024",
    ),
    ("--ulimit nofile=100:200", "ulimit -n", "100"),
    ("--group-add 5", "id -G", "0 5"),
    (
        "--cap-drop ALL",
        "grep CapEff /proc/self/status | cut -f2",
        "0000000000000000",
    ),
    (
        "--security-opt no-new-privileges",
        "grep NoNewPrivs /proc/self/status | cut -f2",
        "1",
    ),
    (
        "--init",
        "test $(cat /proc/1/comm) != sh && echo other",
        "other",
    ),
    (
        "--hostname box --domainname lab.example",
        "cat /etc/hostname",
        "box",
    ),
    (
        "--sysctl net.ipv4.ip_unprivileged_port_start=7",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "7",
    ),
    ("--env-file /dev/null -e A=b", "echo $A", "b"),
    (
        "--add-host near:192.0.2.9",
        "grep near /etc/hosts | cut -f1",
        "192.0.2.9",
    ),
    (
        "--network name=bridge,driver-opt=com.docker.network.endpoint.ifname=lan0",
        "test -d /sys/class/net/lan0 || ip link show lan0 >/dev/null && echo lan0",
        "lan0",
    ),
    ("--network none", "ip -br link | wc -l", "1"),
    ("--expose 80", "echo fine", "fine"),
];

#[test]
fn each_option_has_its_effect() {
    require_stage!();
    let scene = Scene::new();
    let mut wrong = Vec::new();
    for (option, script, expected) in EFFECTS {
        let words = ["run", "--rm"].into_iter().chain(option.split_whitespace());
        let words = words.chain(["host", "sh", "-c", script]);
        let output = scene.daemon.docker(words);
        if output.stdout.trim() != *expected {
            wrong.push(format!("{option}: wanted {expected:?}, got {output:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.end();
}

/// The option and the word by which the refusal names it.
const REFUSED: &[(&str, &str)] = &[
    ("--link web", "Links"),
    ("-v named:/mnt", "named"),
    ("--mount type=volume,target=/mnt", "volume"),
    ("--volumes-from web", "VolumesFrom"),
    ("--pid host", "PidMode"),
    ("--ipc host", "IpcMode"),
    ("--uts host", "UTSMode"),
    ("--device /dev/null", "Devices"),
    ("--gpus all", "Devices"),
    ("--log-driver none", "LogConfig"),
    ("--health-cmd true", "Healthcheck"),
    ("--cgroup-parent x", "CgroupParent"),
    ("--oom-score-adj 5", "OomScoreAdj"),
    ("--storage-opt size=1G", "StorageOpt"),
    ("--runtime nonsense", "Runtime"),
    ("--memory-swap 200m -m 100m", "MemorySwap"),
    ("--annotation a=b", "Annotations"),
    ("--platform linux/nonsense", "linux/nonsense"),
    ("--link-local-ip 169.254.1.1", "169.254.1.1"),
    ("--sysctl kernel.nonsense=1", "kernel.nonsense"),
    (
        "--network name=bridge,driver-opt=com.docker.network.nonsense=1",
        "com.docker.network.nonsense",
    ),
    ("--security-opt nonsense=1", "nonsense"),
    ("--cap-add NONSENSE", "NONSENSE"),
    ("--ulimit nonsense=1", "nonsense"),
    ("--mac-address nonsense", "nonsense"),
    ("--workdir relative", "relative"),
    ("-v /etc:relative", "relative"),
    ("-u nonsense", "nonsense"),
];

#[test]
fn what_cannot_be_is_refused_by_its_name_and_leaves_nothing() {
    require_stage!();
    let scene = Scene::new();
    let mut wrong = Vec::new();
    for (option, word) in REFUSED {
        let words = ["run", "--rm"].into_iter().chain(option.split_whitespace());
        let output = scene.daemon.docker(words.chain(["host", "true"]));
        if output.code() != Some(125) || !output.stderr.contains(word) {
            wrong.push(format!("{option}: wanted {word:?}, got {output:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(scene.docker("ps -aq"), "", "what was refused is not kept");
    scene.end();
}
