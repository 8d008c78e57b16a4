//! The stage of a scenario: a host with a daemon, and what every scenario ends with.
//!
//! Owns the order of the end: a restart that must repair nothing, the removal of all
//! that was made, and the look at what stayed.

use std::{path::Path, time::Duration};
use vw_testkit::{Daemon, Host, Lab, Snapshot, eventually, poll};

/// Slow deletion of links and namespaces follows within this.
const SETTLE: Duration = Duration::from_secs(10);

/// The host's address on the wire to [`Scene::outside`].
pub(crate) const HOST: &str = "192.0.2.1";

/// The address of [`Scene::outside`] on that wire.
pub(crate) const OUTSIDE: &str = "192.0.2.2";

/// As [`HOST`], of IPv6.
pub(crate) const HOST6: &str = "2001:db8::1";

/// As [`OUTSIDE`], of IPv6.
pub(crate) const OUTSIDE6: &str = "2001:db8::2";

/// Returns from the test, with the reason, where a scenario cannot be played.
#[macro_export]
macro_rules! require_stage {
    () => {
        vw_testkit::require_root!();
        vw_testkit::require_programs!("docker", "conmon", "ip", "nft", "dig", "busybox");
    };
}

/// Whether a line of a difference is of the host's tables, which stay: the chain `user` is the
/// administrator's.
pub(crate) fn is_of_the_tables(line: &str) -> bool {
    let tables = ["nft inet vethwork:", "nft ip6 vethwork:"];
    tables.iter().any(|table| line.contains(table))
}

/// A host that runs a daemon, and another on the same wire. Its last field is dropped last.
pub(crate) struct Scene {
    /// The daemon.
    pub(crate) daemon: Daemon,
    /// Where it runs.
    pub(crate) host: Host,
    /// Another host on the same wire.
    pub(crate) outside: Host,
    before: Snapshot,
    data: Snapshot,
    /// What holds all of it.
    pub(crate) lab: Lab,
}

impl Scene {
    /// A daemon without flags.
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A daemon with flags.
    #[track_caller]
    pub(crate) fn with(flags: &[&str]) -> Self {
        let lab = Lab::new();
        let (host, outside) = (lab.host("host"), lab.host("outside"));
        // Looking for duplicate addresses would take seconds of every scenario.
        let detect = |on: u8| {
            for end in [&host, &outside] {
                end.sh(&format!(
                    "echo {on} >/proc/sys/net/ipv6/conf/default/accept_dad"
                ))
                .must();
            }
        };
        detect(0);
        lab.link(&host, "wire", &outside, "wire");
        detect(1);
        for (end, v4, v6) in [(&host, HOST, HOST6), (&outside, OUTSIDE, OUTSIDE6)] {
            end.ip(&format!("addr add {v4}/24 dev wire"));
            end.ip(&format!("addr add {v6}/64 dev wire nodad"));
        }
        // Addresses by which IPv6 calls itself would come and go otherwise.
        settle(&host);
        let before = Snapshot::take(&[&host], &[]);
        let daemon = Daemon::start_with(&lab, &host, flags);
        let data = Snapshot::take(&[], &[&daemon.data_root()]);
        Self {
            daemon,
            host,
            outside,
            before,
            data,
            lab,
        }
    }

    /// Runs docker, which must succeed: `scene.docker("network create blue")`.
    #[track_caller]
    pub(crate) fn docker(&self, line: &str) -> String {
        self.daemon.docker(line.split_whitespace()).ok()
    }

    /// Runs docker, which must be refused, and returns the refusal.
    #[track_caller]
    pub(crate) fn refused(&self, line: &str) -> String {
        self.daemon.docker(line.split_whitespace()).refused()
    }

    /// Runs our own command line, which must succeed.
    #[track_caller]
    pub(crate) fn cli(&self, line: &str) -> String {
        self.daemon.cli(line.split_whitespace()).ok()
    }

    /// Runs our own command line, which must be refused, and returns the refusal.
    #[track_caller]
    pub(crate) fn cli_refused(&self, line: &str) -> String {
        self.daemon.cli(line.split_whitespace()).refused()
    }

    /// Starts a container that waits, with these arguments of `docker run`, and enters its namespace.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, arguments: &str) -> Host {
        self.docker(&format!("run -d --name {name} {arguments} host sleep 1000"));
        self.inside(name)
    }

    /// Starts a container that waits, of an image with a shell.
    #[track_caller]
    pub(crate) fn start_from(&self, image: &str, name: &str) {
        self.docker(&format!("run -d --name {name} {image} sleep 1000"));
    }

    /// The network namespace of a running container or adopted sandbox.
    #[track_caller]
    pub(crate) fn inside(&self, name: &str) -> Host {
        let key = self.docker(&format!(
            "inspect -f {{{{.NetworkSettings.SandboxKey}}}} {name}"
        ));
        self.lab.at(name, Path::new(&key))
    }

    /// The address of a container on a network.
    #[track_caller]
    pub(crate) fn address(&self, name: &str, network: &str) -> String {
        self.endpoint(name, network, "IPAddress")
    }

    /// The IPv6 address of a container on a network.
    #[track_caller]
    pub(crate) fn address6(&self, name: &str, network: &str) -> String {
        self.endpoint(name, network, "GlobalIPv6Address")
    }

    /// A field of a container's endpoint on a network.
    #[track_caller]
    pub(crate) fn endpoint(&self, name: &str, network: &str, field: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").{field}}}}}");
        self.daemon.docker(["inspect", "-f", &format, name]).ok()
    }

    /// All that the networks are, by the API.
    #[track_caller]
    pub(crate) fn networks(&self) -> serde_json::Value {
        self.daemon.api("GET", "/networks", None).json()
    }

    /// The daemon dies at a named point of an operation, and is started again.
    #[track_caller]
    pub(crate) fn die_at(&mut self, point: &str, line: &str) {
        self.daemon.set_env("VETHWORK_CRASH_AT", Some(point));
        self.daemon.restart();
        let output = self.daemon.cli(line.split_whitespace());
        assert!(!output.success(), "{line} did not reach {point}");
        self.daemon.wait_for_end(SETTLE);
        self.daemon.set_env("VETHWORK_CRASH_AT", None);
        self.daemon.restart();
    }

    /// Kills the daemon, starts it again, and fails the test when there was anything to repair.
    #[track_caller]
    pub(crate) fn forget(&mut self) {
        let known = self.daemon.log().len();
        self.daemon.restart();
        let log = self.daemon.log().split_off(known);
        let repairs: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("repairing"))
            .collect();
        assert!(repairs.is_empty(), "{}", repairs.join("\n"));
    }

    /// Ends the scenario: nothing to repair, and nothing left of what was made.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.forget();
        self.remove_all();
        self.daemon.stop();
        let clean = poll(SETTLE, || self.left().is_empty().then_some(()));
        assert!(
            clean.is_some(),
            "left behind (+) or lost (-):\n{}",
            self.left().join("\n")
        );
    }

    /// What stays on the host, without the empty firewall table: its chain `user` is the
    /// administrator's; nor the files that come with the first container and image.
    fn left(&self) -> Vec<String> {
        let mut difference = self.before.difference();
        difference += &self.data.difference();
        let is_empty_table = |line: &str| is_of_the_tables(line) && !line.contains("elements");
        let is_first = |line: &str| {
            ["/data/containers", "/data/images/repositories.json"]
                .iter()
                .any(|end| line.ends_with(end))
        };
        difference
            .lines()
            .filter(|line| !is_empty_table(line) && !is_first(line))
            .map(str::to_owned)
            .collect()
    }

    /// Removes all containers, adopted sandboxes and networks.
    #[track_caller]
    pub(crate) fn remove_all(&self) {
        let adopted = self.docker("ps -aq --filter label=vethwork.adopted");
        for id in adopted.lines() {
            self.cli(&format!("release {id}"));
        }
        let containers = self.docker("ps -aq");
        if !containers.is_empty() {
            let words = ["rm", "-f"].into_iter().chain(containers.lines());
            self.daemon.docker(words).must();
        }
        for service in self.cli("service ls -q").lines() {
            self.cli(&format!("service rm {service}"));
        }
        self.docker("network prune -f");
    }
}

/// Waits until the kernel has made all that follows from the wire's addresses.
#[track_caller]
fn settle(host: &Host) {
    eventually("the wire's addresses are usable", SETTLE, || {
        let shown = host.ip("-6 addr show dev wire");
        let routes = host.ip("-6 route show table local");
        shown.contains("fe80")
            && !shown.contains("tentative")
            && routes.contains(HOST6)
            && routes.contains("local fe80")
    });
}
