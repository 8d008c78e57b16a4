//! Beside the real ufw and firewalld, whose policies are to drop: over their reloads, adjusted
//! or only told.
//!
//! Owns how each of them runs with files of its own inside a host of the laboratory.

use crate::{
    require_stage,
    scene::{HOST, HOST6, OUTSIDE, Scene},
};
use std::{fs, path::PathBuf, time::Duration};
use vw_testkit::{Host, Running, eventually, traffic};

const SOON: Duration = Duration::from_secs(20);

/// A container with a published port behind the firewall, and who is to reach it.
struct Traffic {
    host: Host,
    outside: Host,
    web: Host,
    near: Host,
    _servers: [traffic::Server; 3],
    /// What the firewall itself must keep closed.
    closed: String,
}

impl Traffic {
    /// A network `blue` with the containers `web`, published at 8080, and `near`.
    #[track_caller]
    fn start(scene: &Scene) -> Self {
        scene.docker("network create --subnet 10.9.0.0/24 blue");
        let web = scene.start("web", "--network blue -p 8080:80");
        let near = scene.start("near", "--network blue");
        Self {
            _servers: [
                traffic::Server::tcp(&web, "web", "0.0.0.0:80"),
                traffic::Server::tcp(&scene.outside, "wide", "0.0.0.0:7000"),
                traffic::Server::tcp(&scene.host, "private", "0.0.0.0:7001"),
            ],
            closed: format!("{HOST}:7001"),
            host: scene.host.clone(),
            outside: scene.outside.clone(),
            web,
            near,
        }
    }

    /// The published port answers from everywhere, and the container reaches the outside.
    fn passes(&self) -> Result<(), String> {
        for (from, to, name) in [
            (&self.outside, format!("{HOST}:8080"), "web"),
            (&self.web, format!("{OUTSIDE}:7000"), "wide"),
            (&self.host, format!("{HOST}:8080"), "web"),
            (&self.host, "127.0.0.1:8080".to_owned(), "web"),
            // It has no IPv6: who asks over that is translated.
            (&self.outside, format!("[{HOST6}]:8080"), "web"),
            (&self.host, "[::1]:8080".to_owned(), "web"),
            (&self.near, format!("{HOST}:8080"), "web"),
            (&self.web, format!("{HOST}:8080"), "web"),
        ] {
            let answer = traffic::tcp(from, &to);
            if !answer.as_ref().is_ok_and(|answer| answer.name == name) {
                return Err(format!("from {} to {to}: {answer:?}", from.name()));
            }
        }
        Ok(())
    }

    /// Waits until all of it passes; the firewall must go on to guard the host itself.
    #[track_caller]
    fn settles(&self, when: &str) {
        let passed = vw_testkit::poll(SOON, || self.passes().ok());
        assert!(passed.is_some(), "{when}: {:?}", self.passes());
        let private = traffic::tcp(&self.outside, &self.closed);
        assert!(private.is_err(), "{when}: the firewall guards as before");
    }

    /// The container does not get out; what is translated from outside firewalld lets pass.
    #[track_caller]
    fn is_stopped(&self) {
        let outward = traffic::tcp(&self.web, &format!("{OUTSIDE}:7000"));
        assert!(outward.is_err(), "{outward:?}");
    }
}

/// How many rules of ours others' tables hold; `nft` does not show the comments of iptables'.
fn tagged(host: &Host) -> usize {
    let rules = host.sh("nft -s list ruleset; iptables-save; ip6tables-save");
    rules.ok().matches("vethwork: let pass").count()
}

/// Under `adjust`: traffic passes, over a reload too, and a clean end takes the rules back.
#[track_caller]
fn is_adjusted(scene: &mut Scene, reload: impl Fn(&Scene)) {
    let traffic = Traffic::start(scene);
    traffic.settles("at first");
    let rules = tagged(&scene.host);
    assert!(rules > 0);
    reload(scene);
    traffic.settles("after a reload");
    scene.forget();
    traffic.settles("after a restart");
    assert_eq!(tagged(&scene.host), rules, "none is put there twice");
    drop(traffic);
    clear(scene);
    scene.daemon.stop();
    assert_eq!(tagged(&scene.host), 0, "the rules go with us");
}

/// Under `warn`: nothing passes and nothing is touched, until the administrator runs what
/// `vethwork info` says.
#[track_caller]
fn is_warned(scene: &mut Scene) {
    scene.daemon.restart_with(&["--foreign-firewall=warn"]);
    let traffic = Traffic::start(scene);
    traffic.is_stopped();
    assert_eq!(tagged(&scene.host), 0, "only told");
    let info = scene.daemon.cli(["info"]);
    let begins = ["iptables -t", "ip6tables -t", "nft insert"];
    let commands: Vec<&str> = info
        .stderr
        .lines()
        .filter_map(|line| Some(&line[begins.iter().find_map(|begin| line.find(begin))?..]))
        .collect();
    assert!(!commands.is_empty(), "{info:?}");
    for command in commands {
        scene.host.sh(command.trim()).must();
    }
    traffic.settles("once the administrator followed");
    drop(traffic);
    clear(scene);
    scene.daemon.stop();
}

/// Removes what [`Traffic::start`] made.
#[track_caller]
fn clear(scene: &Scene) {
    scene.docker("rm -f web near");
    scene.docker("network rm blue");
}

/// Runs a line of shell where `/etc/ufw` and `/run` are copies of ufw's.
#[track_caller]
fn ufw(scene: &Scene, line: &str) {
    let etc = scene.lab.folder().join("ufw");
    if !etc.exists() {
        let copy = format!("cp -a /etc/ufw {}", etc.display());
        scene.host.sh(&copy).must();
    }
    let inside = format!(
        "mount -t tmpfs tmpfs /run; mount --bind {} /etc/ufw; {line}",
        etc.display()
    );
    let words = [
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-ec",
        &inside,
    ];
    scene.host.run(words).must();
}

#[test]
fn ufw_is_adjusted_or_told() {
    require_stage!();
    vw_testkit::require_programs!("ufw", "iptables");
    let mut scene = Scene::new();
    ufw(&scene, "ufw --force enable");
    is_adjusted(&mut scene, |scene| ufw(scene, "ufw reload"));
    is_warned(&mut scene);
    ufw(&scene, "ufw --force disable");
    for table in ["ip filter", "ip6 filter"] {
        scene.host.sh(&format!("nft delete table {table}")).must();
    }
    scene.daemon.restart_with(&[]);
    scene.end();
}

/// firewalld and the message bus that it is asked by.
struct Firewalld {
    host: Host,
    address: String,
    running: Running,
    bus: Running,
}

/// A bus on which anyone may say anything.
const BUS: &str = r#"<busconfig><type>system</type><listen>unix:path=SOCKET</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_type="method_call"/><allow send_destination="*"/><allow receive_sender="*"/>
</policy></busconfig>"#;

impl Firewalld {
    #[track_caller]
    fn start(scene: &Scene) -> Self {
        let folder: PathBuf = scene.lab.folder().join("firewalld");
        fs::create_dir(&folder).expect("the laboratory's folder is ours");
        let (conf, socket) = (folder.join("bus.conf"), folder.join("bus"));
        let text = BUS.replace("SOCKET", &socket.display().to_string());
        fs::write(&conf, text).expect("the folder is ours");
        let config = format!("--config-file={}", conf.display());
        let bus = scene.host.spawn(["dbus-daemon", &config, "--nofork"]);
        eventually("the bus is there", SOON, || socket.exists());
        let address = format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path={}", socket.display());
        // Its folder /run/firewalld is the machine's.
        let line = format!(
            "mount -t tmpfs tmpfs /run; {address} exec firewalld --nofork --nopid --log-target console"
        );
        let words = [
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-ec",
            &line,
        ];
        let firewalld = Self {
            running: scene.host.spawn(words),
            bus,
            host: scene.host.clone(),
            address,
        };
        eventually("firewalld answers", SOON, || firewalld.ask("--state"));
        firewalld
    }

    fn ask(&self, question: &str) -> bool {
        let line = format!("{} firewall-cmd {question}", self.address);
        self.host.sh(&line).success()
    }
}

#[test]
fn firewalld_is_adjusted_or_told() {
    require_stage!();
    vw_testkit::require_programs!("firewalld", "firewall-cmd", "dbus-daemon", "iptables");
    let mut scene = Scene::new();
    let mut firewalld = Firewalld::start(&scene);
    is_adjusted(&mut scene, |_| assert!(firewalld.ask("--reload")));
    is_warned(&mut scene);
    firewalld.running.terminate(SOON);
    firewalld.bus.terminate(SOON);
    scene.daemon.restart_with(&[]);
    scene.end();
}
