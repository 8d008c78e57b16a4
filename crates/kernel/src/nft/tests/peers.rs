//! Beside the real firewalls of other programs, over their reloads.

use super::super::{Changed, Monitor};
use super::host::Host;
use super::ns::{LONG, Ns};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

/// A program that runs in a namespace until the test ends, and its directory.
struct Peer {
    child: Child,
    dir: PathBuf,
}

impl Peer {
    /// Starts `program` with what `arguments` makes of its directory, in a mount namespace of its
    /// own; `None`, with a reason printed, when it is not installed.
    fn start(ns: &Ns, program: &str, arguments: impl Fn(&str) -> String) -> Option<Self> {
        Self::start_with(ns, "", program, arguments)
    }

    fn start_with(
        ns: &Ns,
        environment: &str,
        program: &str,
        arguments: impl Fn(&str) -> String,
    ) -> Option<Self> {
        if !ns.has(program) {
            println!("SKIP: {program} is not installed");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("vw-{program}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let arguments = arguments(dir.to_str().unwrap());
        let script =
            format!("{environment} exec unshare -m --propagation private {program} {arguments}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = ns.run(|| command.spawn().unwrap());
        Some(Self { child, dir })
    }

    /// Ends it as its service manager would.
    fn stop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Waits until a command succeeds in the namespace.
fn until(ns: &Ns, script: &str) {
    let deadline = Instant::now() + LONG;
    while !ns.succeeds(script) {
        assert!(Instant::now() < deadline, "not in time: {script}");
    }
}

#[test]
fn docker() {
    let Some(mut world) = Host::new() else { return };
    let start = |ns: &Ns| {
        Peer::start(ns, "dockerd", |dir| {
            format!(
                "--data-root {dir}/data --exec-root {dir}/run --pidfile {dir}/pid -H unix://{dir}/s --storage-driver vfs"
            )
        })
    };
    let ready = |ns: &Ns, peer: &Peer| {
        until(
            ns,
            &format!("docker -H unix://{}/s version", peer.dir.display()),
        )
    };
    // Docker sets the policy to drop where forwarding is its own doing.
    world.host.sh("sysctl -qw net.ipv4.ip_forward=0");
    let Some(mut docker) = start(&world.host) else {
        return;
    };
    ready(&world.host, &docker);
    world.passes(false);
    world.adjust().unwrap();
    world.passes(true);
    docker.stop();
    drop(docker);
    let docker = start(&world.host).unwrap();
    ready(&world.host, &docker);
    world.passes(true);
    let listed = world.host.sh("iptables -S DOCKER-USER");
    assert_eq!(listed.matches("vethwork: ").count(), 1, "{listed}");
}

#[test]
fn ufw() {
    let Some(mut world) = Host::new() else { return };
    if !world.host.has("ufw") {
        return println!("SKIP: ufw is not installed");
    }
    let ufw = |script: &str| {
        let etc = "cp -a /etc/ufw /run/vw-ufw; mount --bind /run/vw-ufw /etc/ufw";
        format!(
            "unshare -m --propagation private sh -ec 'mount -t tmpfs tmpfs /run; {etc}; {script}'"
        )
    };
    world.host.sh(&ufw("ufw --force enable"));
    world.passes(false);
    world.adjust().unwrap();
    world.passes(true);
    world.host.sh(&ufw("ufw --force enable; ufw reload"));
    world.passes(true);
    let listed = world.host.sh("iptables -S FORWARD");
    assert_eq!(listed.matches("vethwork: ").count(), 1, "{listed}");
}

#[test]
fn firewalld() {
    let Some(mut world) = Host::new() else { return };
    const BUS: &str = "<busconfig><type>system</type><listen>unix:path=DIR/bus</listen><auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>";
    let bus = Peer::start(&world.host, "dbus-daemon", |dir| {
        fs::write(format!("{dir}/conf"), BUS.replace("DIR", dir)).unwrap();
        format!("--config-file={dir}/conf --nofork")
    });
    let Some(bus) = bus else { return };
    until(&world.host, &format!("test -S {}/bus", bus.dir.display()));
    let address = format!(
        "DBUS_SYSTEM_BUS_ADDRESS=unix:path={}/bus",
        bus.dir.display()
    );
    let firewalld = Peer::start_with(&world.host, &address, "firewalld", |_| {
        "--nofork --nopid --log-target console".to_owned()
    });
    let Some(firewalld) = firewalld else { return };
    until(&world.host, &format!("{address} firewall-cmd --state"));
    let mut monitor = world.host.run(|| Monitor::open().unwrap());
    monitor.ignore(world.nft.port().unwrap());
    world.adjust().unwrap();
    let leaves = |world: &Host| world.container.ask("192.0.2.2:80", LONG);
    assert_eq!(leaves(&world), "192.0.2.1");
    world.host.sh(&format!("{address} firewall-cmd --reload"));
    let foreign = Changed {
        ours: false,
        foreign: true,
    };
    assert_eq!(monitor.next(Some(LONG)).unwrap(), foreign);
    world.adjust().unwrap();
    assert_eq!(leaves(&world), "192.0.2.1");
    drop(firewalld);
}
