//! What is promised of what the OCI runtime is told, on examples.

use super::{Inputs, caps, config, limits, mounts, process, seccomp, trial, user};
use crate::inroot;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use rustix::fd::AsFd;
use std::path::{Path, PathBuf};
use vw_model::{ContainerSpec, Mount, MountKind, ResourceLimits, Ulimit};

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A root file system with a user, removed with the value.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vw-spec-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("etc")).unwrap();
        std::fs::write(path.join("etc/passwd"), "web:x:33:34::/srv:/bin/sh\n").unwrap();
        Self(path)
    }

    fn config(&self, spec: &ContainerSpec, netns: Option<&Path>) -> serde_json::Value {
        let root = inroot::open_root(&self.0).unwrap();
        let inputs = Inputs {
            spec,
            hostname: "box",
            domainname: "example",
            netns,
            files: &[("/data/hosts".into(), "/etc/hosts".into())],
            console: None,
            rootfs: Path::new("/run/rootfs"),
            cgroups_path: "/vethwork/c1".to_owned(),
            host_view: false,
            unified: true,
        };
        let mut value = serde_json::to_value(config(&inputs, root.as_fd()).unwrap()).unwrap();
        // What depends on the machine that the test runs on.
        value["linux"]["seccomp"] = serde_json::Value::from("…");
        value["process"]["capabilities"] = serde_json::Value::from("…");
        value
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn compact(value: &serde_json::Value) -> String {
    let lines = value
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(key, value)| match value {
            serde_json::Value::Object(fields) => fields
                .iter()
                .map(|(k, v)| format!("{key}.{k}: {v}\n"))
                .collect(),
            serde_json::Value::Array(items) => items
                .iter()
                .map(|item| format!("{key}: {item}\n"))
                .collect(),
            other => vec![format!("{key}: {other}\n")],
        });
    lines.collect()
}

#[test]
fn a_plain_container() {
    let root = Root::new("plain");
    let spec = ContainerSpec {
        entrypoint: Some(strings(&["/entry"])),
        cmd: strings(&["a", "b"]),
        env: strings(&["X=1", "PATH=/bin"]),
        user: "web".to_owned(),
        working_dir: "/made/dir".to_owned(),
        tty: true,
        ..ContainerSpec::default()
    };
    let value = root.config(&spec, Some(Path::new("/run/netns/n")));
    assert!(root.0.join("made/dir").is_dir());
    expect![[r#"
        hostname: "box"
        linux.cgroupsPath: "/vethwork/c1"
        linux.maskedPaths: ["/proc/acpi","/proc/asound","/proc/interrupts","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/sched_debug","/proc/scsi","/proc/timer_list","/proc/timer_stats","/sys/devices/virtual/powercap","/sys/firmware"]
        linux.namespaces: [{"type":"mount"},{"type":"uts"},{"type":"pid"},{"type":"ipc"},{"path":"/run/netns/n","type":"network"},{"type":"cgroup"}]
        linux.readonlyPaths: ["/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger"]
        linux.resources: {"devices":[{"access":"rwm","allow":false},{"access":"m","allow":true,"type":"c"},{"access":"m","allow":true,"type":"b"},{"access":"rwm","allow":true,"major":1,"minor":3,"type":"c"},{"access":"rwm","allow":true,"major":1,"minor":5,"type":"c"},{"access":"rwm","allow":true,"major":1,"minor":7,"type":"c"},{"access":"rwm","allow":true,"major":1,"minor":8,"type":"c"},{"access":"rwm","allow":true,"major":1,"minor":9,"type":"c"},{"access":"rwm","allow":true,"major":5,"minor":0,"type":"c"},{"access":"rwm","allow":true,"major":5,"minor":1,"type":"c"},{"access":"rwm","allow":true,"major":5,"minor":2,"type":"c"},{"access":"rwm","allow":true,"major":136,"type":"c"}]}
        linux.seccomp: "…"
        linux.sysctl: {"kernel.domainname":"example","net.ipv4.ip_unprivileged_port_start":"0","net.ipv4.ping_group_range":"0 2147483647"}
        mounts: {"destination":"/proc","options":["nosuid","noexec","nodev"],"source":"proc","type":"proc"}
        mounts: {"destination":"/dev","options":["nosuid","strictatime","mode=755","size=65536k"],"source":"tmpfs","type":"tmpfs"}
        mounts: {"destination":"/dev/pts","options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"],"source":"devpts","type":"devpts"}
        mounts: {"destination":"/sys","options":["nosuid","noexec","nodev","ro"],"source":"sysfs","type":"sysfs"}
        mounts: {"destination":"/sys/fs/cgroup","options":["nosuid","noexec","nodev","ro"],"source":"cgroup","type":"cgroup"}
        mounts: {"destination":"/dev/mqueue","options":["nosuid","noexec","nodev"],"source":"mqueue","type":"mqueue"}
        mounts: {"destination":"/dev/shm","options":["nosuid","noexec","nodev","mode=1777","size=67108864"],"source":"shm","type":"tmpfs"}
        mounts: {"destination":"/etc/hosts","options":["rbind","rprivate"],"source":"/data/hosts","type":"bind"}
        ociVersion: "1.0.2"
        process.args: ["/entry","a","b"]
        process.capabilities: "…"
        process.cwd: "/made/dir"
        process.env: ["PATH=/bin","HOSTNAME=box","TERM=xterm","X=1","HOME=/srv"]
        process.noNewPrivileges: false
        process.terminal: true
        process.user: {"additionalGids":[34],"gid":34,"uid":33}
        root.path: "/run/rootfs"
        root.readonly: false
    "#]].assert_eq(&compact(&value));
}

#[test]
fn a_privileged_one_with_the_hosts_network() {
    let root = Root::new("privileged");
    let spec = ContainerSpec {
        cmd: strings(&["a"]),
        privileged: true,
        read_only: true,
        ..ContainerSpec::default()
    };
    let mut value = root.config(&spec, None);
    value["linux"]["devices"] = serde_json::Value::from("…");
    value["mounts"] = serde_json::Value::from("…");
    expect![[r#"
        hostname: "box"
        linux.cgroupsPath: "/vethwork/c1"
        linux.devices: "…"
        linux.maskedPaths: []
        linux.namespaces: [{"type":"mount"},{"type":"uts"},{"type":"pid"},{"type":"ipc"}]
        linux.readonlyPaths: []
        linux.resources: {"devices":[{"access":"rwm","allow":true}]}
        linux.seccomp: "…"
        linux.sysctl: {"kernel.domainname":"example"}
        mounts: "…"
        ociVersion: "1.0.2"
        process.args: ["a"]
        process.capabilities: "…"
        process.cwd: "/"
        process.env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","HOSTNAME=box","HOME=/"]
        process.noNewPrivileges: false
        process.terminal: false
        process.user: {"additionalGids":[0],"gid":0,"uid":0}
        root.path: "/run/rootfs"
        root.readonly: true
    "#]].assert_eq(&compact(&value));
}

#[test]
fn capabilities() {
    let own: caps::Set = caps::resolve(&strings(&["ALL"]), &[], true, caps::own())
        .unwrap()
        .into_iter()
        .chain(["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_CHOWN", "CAP_SYS_ADMIN"])
        .collect();
    let check = |add: &[&str], drop: &[&str], privileged, has: &[&str], lacks: &[&str]| {
        let set = caps::resolve(&strings(add), &strings(drop), privileged, &own).unwrap();
        assert!(
            has.iter().all(|name| set.contains(name)),
            "{add:?} {drop:?}: {set:?}"
        );
        assert!(
            !lacks.iter().any(|name| set.contains(name)),
            "{add:?} {drop:?}: {set:?}"
        );
    };
    check(&[], &[], false, &["CAP_NET_RAW"], &["CAP_NET_ADMIN"]);
    check(
        &["net_admin"],
        &["CAP_NET_RAW"],
        false,
        &["CAP_NET_ADMIN"],
        &["CAP_NET_RAW"],
    );
    check(
        &["NET_ADMIN"],
        &["ALL"],
        false,
        &["CAP_NET_ADMIN"],
        &["CAP_CHOWN"],
    );
    check(
        &["ALL"],
        &["SYS_ADMIN"],
        false,
        &["CAP_NET_ADMIN"],
        &["CAP_SYS_ADMIN"],
    );
    check(&[], &["ALL"], true, &["CAP_SYS_ADMIN"], &[]);
    let error = caps::resolve(&strings(&["FOO"]), &[], false, &own).unwrap_err();
    expect![[r#"invalid CapAdd: unknown capability: "FOO""#]].assert_eq(&error.to_string());
    // What this process lacks cannot be given.
    let none = caps::resolve(&strings(&["ALL"]), &[], true, &caps::Set::new()).unwrap();
    assert!(none.is_empty());
}

#[test]
fn users() {
    let passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nweb:x:33:34::/srv:/bin/sh\n7:x:8:9::/seven:\nbroken\n";
    let group = "root:x:0:\nextra:x:77:other,web\nmore:x:78:web\n";
    let check = |wanted: &str, extra: &[&str], expected: Expect| {
        let text = match user::lookup(wanted, &strings(extra), passwd, group) {
            Ok(found) => {
                let ids = found.user;
                format!(
                    "{}:{} {:?} {}",
                    ids.uid, ids.gid, ids.additional_gids, found.home
                )
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&text);
    };
    check("", &[], expect!["0:0 [0] /root"]);
    check("web", &[], expect!["33:34 [34, 77, 78] /srv"]);
    check("33", &["extra", "5"], expect!["33:34 [34, 77, 78, 5] /srv"]);
    check("web:extra", &[], expect!["33:77 [77] /srv"]);
    check("web:", &[], expect!["33:34 [34, 77, 78] /srv"]);
    check("7", &[], expect!["8:9 [9] /seven"]);
    check("1000:1001", &[], expect!["1000:1001 [1001] "]);
    check(
        "nobody",
        &[],
        expect!["unable to find user nobody: no matching entries in passwd file"],
    );
    check(
        "web:none",
        &[],
        expect!["unable to find group none: no matching entries in group file"],
    );
    check(
        "4294967295",
        &[],
        expect!["uids and gids must be in range 0-2147483647"],
    );
    check(
        "99999999999",
        &[],
        expect!["uids and gids must be in range 0-2147483647"],
    );
}

proptest! {
    #[test]
    fn no_file_of_a_container_makes_the_lookup_panic(
        wanted in "\\PC{0,12}", passwd in "[a-z0-9:\\n,]{0,80}", group in "[a-z0-9:\\n,]{0,80}"
    ) {
        let _ = user::lookup(&wanted, &[], &passwd, &group);
    }
}

#[test]
fn environment() {
    let mut env = strings(&["PATH=/bin", "A=1", "B=2"]);
    process::merge_env(&mut env, &strings(&["A=3", "B", "C=4", "D"]));
    assert_eq!(env, strings(&["PATH=/bin", "A=3", "C=4"]));
}

#[test]
fn command_lines() {
    let line = |entry: Option<&[&str]>, cmd: &[&str]| {
        process::command_line(entry.map(strings).as_deref(), &strings(cmd))
            .map_err(|e| e.to_string())
    };
    assert_eq!(line(None, &["a", "b"]), Ok(strings(&["a", "b"])));
    assert_eq!(line(Some(&["e"]), &["a"]), Ok(strings(&["e", "a"])));
    assert_eq!(line(Some(&[""]), &["a"]), Ok(strings(&["a"])));
    assert_eq!(line(Some(&[]), &[]), Err("no command specified".to_owned()));
}

#[test]
fn mounts_that_are_refused() {
    let bind = |source: &str, target: &str, propagation: &str| Mount {
        kind: MountKind::Bind {
            source: source.into(),
            propagation: propagation.to_owned(),
            create_source: false,
        },
        target: target.into(),
        read_only: false,
    };
    for (mount, expected) in [
        (
            bind("/", "relative", ""),
            expect!["invalid mount path: 'relative' mount path must be absolute"],
        ),
        (
            bind("/", "/", ""),
            expect!["invalid specification: destination can't be '/'"],
        ),
        (
            bind("etc", "/x", ""),
            expect![[
                r#"invalid mount config for type "bind": invalid mount path: 'etc' mount path must be absolute"#
            ]],
        ),
        (
            bind("/no/such", "/x", ""),
            expect![[
                r#"invalid mount config for type "bind": bind source path does not exist: /no/such"#
            ]],
        ),
        (
            bind("/", "/x", "odd"),
            expect![[r#"invalid mount config for type "bind": invalid propagation mode: odd"#]],
        ),
    ] {
        expected.assert_eq(&mounts::asked(&[mount]).unwrap_err().to_string());
    }
    let deep = [bind("/", "/a/b", "rslave"), bind("/", "/a", "")];
    let order: Vec<_> = mounts::asked(&deep)
        .unwrap()
        .into_iter()
        .map(|m| m.destination)
        .collect();
    assert_eq!(order, ["/a", "/a/b"]);
}

#[test]
fn limits_that_are_refused() {
    let memory = ResourceLimits {
        memory: 1,
        ..ResourceLimits::default()
    };
    let error = limits::resources(&memory, false).unwrap_err();
    expect!["Minimum memory limit allowed is 6MB"].assert_eq(&error.to_string());
    let ulimit = |name: &str, soft, hard| {
        limits::rlimits(&[Ulimit {
            name: name.to_owned(),
            soft,
            hard,
        }])
    };
    assert_eq!(ulimit("nofile", 1, 2).unwrap()[0].kind, "RLIMIT_NOFILE");
    expect!["invalid ulimit type: odd"].assert_eq(&ulimit("odd", 1, 2).unwrap_err().to_string());
    expect!["ulimit soft limit must be less than or equal to hard limit: 2 > 1"]
        .assert_eq(&ulimit("nofile", 2, 1).unwrap_err().to_string());
}

#[test]
fn the_seccomp_profile_follows_the_capabilities() {
    let refuses = |set: &caps::Set, call: &str| {
        let profile = seccomp::profile(set);
        profile
            .syscalls
            .iter()
            .any(|rule| rule.args.is_empty() && rule.names.contains(&call))
    };
    let none = caps::Set::new();
    let admin: caps::Set = ["CAP_SYS_ADMIN"].into();
    for call in [
        "mount",
        "setns",
        "bpf",
        "clone3",
        "kexec_load",
        "reboot",
        "init_module",
    ] {
        assert!(refuses(&none, call), "{call}");
    }
    for call in ["mount", "setns", "bpf", "clone3"] {
        assert!(!refuses(&admin, call), "{call}");
    }
    assert!(refuses(&admin, "kexec_load") && refuses(&admin, "reboot"));
}

#[test]
fn the_trial_is_a_container() {
    let config = trial(
        Path::new("/bin/true"),
        &["/bin"],
        "/vethwork/probe".to_owned(),
    );
    assert_eq!(config.process.args, ["/bin/true"]);
    assert!(config.linux.seccomp.is_some());
}
