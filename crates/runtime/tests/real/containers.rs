//! Containers by the real runtime and conmon of this machine.

use crate::support::{
    Fixture, PATIENCE, busybox_tar, eventually, random_id, request, settings, shell,
};
use rustix::{fd::OwnedFd, process::Signal};
use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};
use vw_model::{ContainerSpec, Mount, MountKind, ResourceLimits};
use vw_runtime::{CreateRequest, Error, Runtime, State};

#[test]
fn output_exit_code_and_surroundings() {
    let Some(fixture) = Fixture::new("output") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let (event, out, err) = fixture.run(&watcher, &shell("echo out; echo err >&2; exit 7"));
    assert_eq!(
        (event.code, event.oom, event.monitor_lost),
        (7, false, false)
    );
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));

    let spec = ContainerSpec {
        env: vec!["A=1".to_owned(), "PATH=/bin".to_owned()],
        user: "web".to_owned(),
        working_dir: "/made/here".to_owned(),
        ..shell(
            "id; pwd; hostname; env; mount | grep ' / '; cat /proc/self/status | grep -E 'Cap(Bnd|Eff)|Seccomp:'",
        )
    };
    let (event, out, err) = fixture.run(&watcher, &spec);
    assert_eq!((event.code, err.as_str()), (0, ""));
    for expected in [
        "uid=33(web) gid=34(web) groups=34(web),77(extra)\n",
        "/made/here\n",
        "box\n",
        "A=1\n",
        "PATH=/bin\n",
        "HOME=/home/web\n",
        "HOSTNAME=box\n",
        "CapEff:\t0000000000000000\n",
        "CapBnd:\t00000000a80425fb\n",
        "Seccomp:\t2\n",
    ] {
        assert!(out.contains(expected), "{expected:?} in {out}");
    }
    fixture.assert_nothing_left();
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing() {
    let Some(fixture) = Fixture::new("refused") else {
        return;
    };
    let command = |words: &[&str]| ContainerSpec {
        cmd: words.iter().map(|word| (*word).to_owned()).collect(),
        ..ContainerSpec::default()
    };
    let user = ContainerSpec {
        user: "nobody-here".to_owned(),
        ..command(&["true"])
    };
    let bind = ContainerSpec {
        mounts: vec![Mount {
            kind: MountKind::Bind {
                source: "/no/such/thing".into(),
                propagation: String::new(),
                create_source: false,
            },
            target: "/mnt".into(),
            read_only: false,
        }],
        ..command(&["true"])
    };
    for (spec, exit_code, sentence) in [
        (
            command(&["foo"]),
            127,
            "exec: \"foo\": executable file not found in $PATH: unknown",
        ),
        (
            command(&["/bin/foo"]),
            127,
            "exec: \"/bin/foo\": stat /bin/foo: no such file or directory: unknown",
        ),
        (
            command(&["/etc/notes"]),
            126,
            "exec: \"/etc/notes\": permission denied: unknown",
        ),
        (
            command(&["/etc"]),
            126,
            "exec: \"/etc\": permission denied: unknown",
        ),
        (command(&[]), 125, "no command specified"),
        (
            user,
            125,
            "unable to find user nobody-here: no matching entries in passwd file",
        ),
        (bind, 125, "bind source path does not exist: /no/such/thing"),
    ] {
        let id = fixture.prepare();
        let error = fixture.runtime.create(id, &request(&spec)).unwrap_err();
        assert!(error.to_string().ends_with(sentence), "{error}");
        assert_eq!(error.exit_code(), exit_code, "{error}");
        assert_eq!(fixture.runtime.state(id).unwrap(), State::Absent);
        fixture.runtime.delete(id).unwrap();
    }
    fixture.assert_nothing_left();
}

#[test]
fn states_signals_and_a_second_run_of_the_same_root() {
    let Some(fixture) = Fixture::new("states") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let runtime = &fixture.runtime;
    let spec = shell(
        "echo $((1 + $(cat /count 2>/dev/null || echo 0))) > /count; cat /count; exec sleep 1000",
    );
    let id = fixture.prepare();
    assert_eq!(runtime.state(id).unwrap(), State::Absent);
    for round in 1..=2 {
        let pid = runtime.create(id, &request(&spec)).unwrap();
        assert_eq!(runtime.state(id).unwrap(), State::Created);
        assert!(matches!(
            runtime.create(id, &request(&spec)),
            Err(Error::AlreadyCreated(_))
        ));
        runtime.start(id).unwrap();
        assert_eq!(runtime.state(id).unwrap(), State::Running { pid });
        eventually("it counts", || {
            fixture.output(id).0.lines().count() == round
        });
        runtime.signal(id, Signal::KILL).unwrap();
        assert_eq!(watcher.events().recv_timeout(PATIENCE).unwrap().code, 137);
        assert!(matches!(
            runtime.state(id).unwrap(),
            State::Exited {
                code: 137,
                oom: false,
                ..
            }
        ));
        assert!(matches!(
            runtime.signal(id, Signal::TERM),
            Err(Error::NotRunning(_))
        ));
        runtime.cleanup(id).unwrap();
        runtime.cleanup(id).unwrap();
        assert_eq!(runtime.state(id).unwrap(), State::Absent);
    }
    assert_eq!(fixture.output(id).0, "1\n2\n");
    runtime.delete(id).unwrap();
    runtime.delete(id).unwrap();
    fixture.assert_nothing_left();
}

fn bind(source: PathBuf, target: &str, read_only: bool) -> Mount {
    Mount {
        kind: MountKind::Bind {
            source,
            propagation: String::new(),
            create_source: true,
        },
        target: target.into(),
        read_only,
    }
}

#[test]
fn mounts_limits_and_namespaces() {
    let Some(fixture) = Fixture::new("mounts") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let runtime = &fixture.runtime;
    let hosts = fixture.dir.join("hosts");
    std::fs::write(&hosts, "127.0.0.1 me\n").unwrap();
    let spec = ContainerSpec {
        mounts: vec![
            bind(fixture.dir.join("made"), "/made", false),
            bind(fixture.dir.join("made"), "/fixed", true),
            Mount {
                kind: MountKind::Tmpfs {
                    options: "size=1m".to_owned(),
                },
                target: "/scratch".into(),
                read_only: false,
            },
        ],
        limits: ResourceLimits {
            memory: 64 << 20,
            pids: 50,
            nano_cpus: 500_000_000,
            ..ResourceLimits::default()
        },
        read_only: true,
        ..shell(
            "echo hi > /made/file; echo no > /fixed/file; echo no > /file; echo yes > /scratch/file && cat /etc/hosts; ls /sys/class/net",
        )
    };
    let netns = Netns::new();
    let id = fixture.prepare();
    let files = [(hosts, PathBuf::from("/etc/hosts"))];
    let place = netns.path();
    let asked = CreateRequest {
        netns: Some(&place),
        files: &files,
        domainname: "example",
        ..request(&spec)
    };
    runtime.create(id, &asked).unwrap();
    runtime.start(id).unwrap();
    assert_eq!(watcher.events().recv_timeout(PATIENCE).unwrap().code, 0);
    let (out, err) = fixture.output(id);
    assert_eq!(out, "127.0.0.1 me\nlo\n");
    assert_eq!(err.matches("Read-only file system").count(), 2, "{err}");
    assert_eq!(
        std::fs::read_to_string(fixture.dir.join("made/file")).unwrap(),
        "hi\n"
    );
    runtime.delete(id).unwrap();
    fixture.assert_nothing_left();
}

#[test]
fn memory_beyond_the_limit_is_told() {
    let Some(fixture) = Fixture::new("oom") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let spec = ContainerSpec {
        limits: ResourceLimits {
            memory: 8 << 20,
            ..ResourceLimits::default()
        },
        ..shell(
            "exec head -c 200000000 /dev/zero | cat > /dev/shm/big; exec sh -c 'x=$(head -c 50000000 /dev/zero | busybox tr \"\\0\" x)'",
        )
    };
    let (event, _, _) = fixture.run(&watcher, &spec);
    assert!(event.oom, "{event:?}");
    fixture.assert_nothing_left();
}

#[test]
fn privileges() {
    let Some(fixture) = Fixture::new("privileges") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let try_mount = "mount -t tmpfs x /tmp && echo mounted; ls /dev";
    let (_, out, err) = fixture.run(&watcher, &shell(try_mount));
    assert!(
        !out.contains("mounted") && err.contains("denied") || err.contains("not permitted"),
        "{out}{err}"
    );
    let spec = ContainerSpec {
        privileged: true,
        ..shell(try_mount)
    };
    let (_, out, err) = fixture.run(&watcher, &spec);
    assert!(out.starts_with("mounted\n"), "{out}{err}");
    let spec = ContainerSpec {
        cap_drop: vec!["all".to_owned()],
        cap_add: vec!["net_admin".to_owned()],
        no_new_privileges: true,
        ..shell("grep -E 'CapEff|NoNewPrivs' /proc/self/status")
    };
    let (_, out, _) = fixture.run(&watcher, &spec);
    assert_eq!(out, "CapEff:\t0000000000001000\nNoNewPrivs:\t1\n");
    fixture.assert_nothing_left();
}

#[test]
fn the_image_host_is_private_and_keeps_secrets() {
    let Some(fixture) = Fixture::new("host") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let runtime = &fixture.runtime;
    let image = runtime.images().get("host").unwrap();
    let id = random_id();
    runtime.create_rootfs(id, &image.id).unwrap();
    let script = format!(
        "touch /etc/made-inside /usr/made-inside; ls -d {dir} {dir}/data; head -1 /etc/shadow; ls /root/.ssh; ls /run; ls /proc/self/ns/net; df / | tail -1",
        dir = fixture.dir.display()
    );
    runtime.create(id, &request(&shell(&script))).unwrap();
    runtime.start(id).unwrap();
    assert_eq!(watcher.events().recv_timeout(PATIENCE).unwrap().code, 0);
    let (out, err) = fixture.output(id);
    assert!(out.contains("root:*:"), "{out}");
    assert!(
        !out.contains(&format!("{}/data", fixture.dir.display())),
        "{out}"
    );
    assert!(err.contains("data"), "{err}");
    assert!(!std::path::Path::new("/etc/made-inside").exists());
    runtime.delete(id).unwrap();
    fixture.assert_nothing_left();
}

#[test]
fn a_lost_monitor_ends_its_container() {
    let Some(fixture) = Fixture::new("lost") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    let runtime = &fixture.runtime;
    let id = fixture.create(&shell("exec sleep 1000")).unwrap();
    runtime.start(id).unwrap();
    let State::Running { pid } = runtime.state(id).unwrap() else {
        panic!("it runs");
    };
    let monitor = fixture
        .dir
        .join("run/containers")
        .join(id.to_string())
        .join("conmon.pid");
    let monitor: i32 = std::fs::read_to_string(monitor).unwrap().parse().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
    rustix::process::kill_process(monitor, Signal::KILL).unwrap();
    let event = watcher.events().recv_timeout(PATIENCE).unwrap();
    assert_eq!((event.id, event.code, event.monitor_lost), (id, 137, true));
    eventually("the container ends", || {
        !std::path::Path::new(&format!("/proc/{pid}/root/bin/busybox")).exists()
    });
    assert!(matches!(
        runtime.state(id).unwrap(),
        State::Exited { code: 137, .. }
    ));
    runtime.delete(id).unwrap();
    fixture.assert_nothing_left();
}

#[test]
fn a_data_root_that_overlayfs_cannot_write_on_is_refused() {
    let Some(fixture) = Fixture::new("stacked") else {
        return;
    };
    let place = fixture.dir.join("stacked");
    for part in ["upper", "work", "at"] {
        std::fs::create_dir_all(place.join(part)).unwrap();
    }
    let options = format!(
        "lowerdir=/usr,upperdir={0}/upper,workdir={0}/work",
        place.display()
    );
    let mounted = Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &options])
        .arg(place.join("at"))
        .status()
        .unwrap();
    assert!(mounted.success());
    let settings = settings(&place.join("at"));
    let runtime = Runtime::open(settings).unwrap();
    let tar = busybox_tar();
    let image = runtime.images().import(tar.as_slice(), None, &[]).unwrap();
    let id = random_id();
    runtime.create_rootfs(id, &image.id).unwrap();
    let error = runtime
        .create(id, &request(&shell("true")))
        .unwrap_err()
        .to_string();
    runtime.delete(id).unwrap();
    runtime.remove_empty_cgroups();
    // Until it runs its own program, a child of another test has what is open there open too.
    eventually("it is unmounted", || {
        let mut unmount = Command::new("umount");
        let unmounted = unmount.arg(place.join("at")).status();
        unmounted.unwrap().success()
    });
    assert!(error.contains("choose a --data-root on"), "{error}");
}

/// Not a check: prints what creating, starting and deleting cost here.
#[test]
fn timing() {
    let Some(fixture) = Fixture::new("timing") else {
        return;
    };
    let watcher = fixture.runtime.watch().unwrap();
    fixture.runtime.probe().unwrap();
    let names = ["rootfs", "create", "start", "delete"];
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..10 {
        let mut moments = vec![Instant::now()];
        let id = fixture.prepare();
        moments.push(Instant::now());
        let spec = shell("exec sleep 100");
        fixture.runtime.create(id, &request(&spec)).unwrap();
        moments.push(Instant::now());
        fixture.runtime.start(id).unwrap();
        moments.push(Instant::now());
        fixture.runtime.delete(id).unwrap();
        moments.push(Instant::now());
        for (times, step) in times.iter_mut().zip(moments.windows(2)) {
            times.push(step[1] - step[0]);
        }
    }
    for (name, times) in names.iter().zip(&mut times) {
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{name}: median {median:?}, worst {worst:?}");
    }
    drop(watcher);
    fixture.assert_nothing_left();
}

#[test]
fn a_runtime_that_hangs_is_ended_and_nothing_is_left() {
    let Some(fixture) = Fixture::new("hangs") else {
        return;
    };
    let gate = fixture.dir.join("gate");
    let made = Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    let program = fixture.dir.join("hanging");
    // Who opens a pipe to read waits for one who writes, and there is none.
    let lines = format!(
        "#!/bin/sh\ncase \" $* \" in *' create '*) read line < {};; esac\nexec {} \"$@\"\n",
        gate.display(),
        fixture.runtime.probe().unwrap().runtime.display()
    );
    std::fs::write(&program, lines).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let hanging = Runtime::open(vw_runtime::Settings {
        runtimes: vec![program.display().to_string()],
        patience: Duration::from_secs(1),
        ..settings(&fixture.dir)
    });
    let hanging = hanging.unwrap();
    let id = fixture.prepare();
    let refused = hanging.create(id, &request(&shell("true")));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("did not make it within 1 s"), "{refused}");
    assert_eq!(hanging.state(id).unwrap(), State::Absent);
    hanging.delete(id).unwrap();
    fixture.assert_nothing_left();
}

/// A network namespace of its own, which ends with the value.
struct Netns {
    child: std::process::Child,
    _stdin: OwnedFd,
}

impl Netns {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let stdin = OwnedFd::from(child.stdin.take().unwrap());
        Self {
            child,
            _stdin: stdin,
        }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.child.id()))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
