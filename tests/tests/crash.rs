//! `kill -9` of the real daemon at each named point between two effects, and in the midst of a plan,
//! then a new start.
//!
//! The operation that was cut off is whole afterwards, or was never begun: then nothing of it is
//! left in any namespace or folder, and it can be done again. Either way it has the address that
//! it would have had, a further start finds nothing to repair, and what was made can be removed
//! without a trace.
//!
//! The points are in the controller's debug builds alone: `VETHWORK_CRASH_AT` names one.

use std::{path::Path, time::Duration};
use vw_testkit::{Daemon, Host, Lab, Snapshot, eventually, poll, traffic};

/// The operation reaches its point within this.
const DEATH: Duration = Duration::from_secs(20);

/// Restarted containers are up again within this.
const SETTLE: Duration = Duration::from_secs(10);

/// A machine with a daemon, and two namespaces of others.
struct Stage {
    daemon: Daemon,
    host: Host,
    guest: Host,
    idle: Snapshot,
    lab: Lab,
}

/// An operation, and the points at which the daemon dies in it.
struct Case {
    /// What is done before.
    given: &'static [&'static str],
    /// The operation.
    line: &'static str,
    points: &'static [&'static str],
    /// Where it was not done, all is as before; a forced removal kills the container first.
    or_as_before: bool,
    /// Whether it is done.
    done: fn(&Stage) -> bool,
    /// What must hold when it is.
    works: fn(&Stage),
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let (host, guest, peer) = (lab.host("host"), lab.host("guest"), lab.host("peer"));
        let mut daemon = Daemon::start(&lab, &host);
        // Once around, so that folders which stay are there.
        let stage = |daemon: &Daemon, line: &str| daemon.cli(line.split(' ')).must();
        stage(&daemon, "run --name first host true");
        stage(&daemon, "rm first");
        daemon.restart();
        eventually("slow deletions end", SETTLE, || {
            !host.ip("-o link").contains("vwx")
        });
        let (data, exec) = (daemon.data_root(), daemon.exec_root());
        let idle = Snapshot::take(&[&host, &guest, &peer], &[&data, &exec]);
        Self {
            daemon,
            host,
            guest,
            idle,
            lab,
        }
    }

    /// Runs a line, with the paths of the namespaces filled in.
    fn run(&self, line: &str) -> vw_testkit::Output {
        let netns = |name: &str| format!("/run/netns/{}-{name}", self.lab.name());
        let line = line
            .replace("GUEST", &netns("guest"))
            .replace("PEER", &netns("peer"));
        self.daemon.cli(line.split(' '))
    }

    fn says(&self, line: &str) -> bool {
        self.run(line).success()
    }

    /// The daemon dies at a point of an operation, and is started again.
    fn crash(&mut self, point: &str, line: &str) {
        self.daemon.set_env("VETHWORK_CRASH_AT", Some(point));
        self.daemon.restart();
        let output = self.run(line);
        assert!(!output.success(), "{line} did not reach {point}");
        self.daemon.wait_for_end(DEATH);
        self.daemon.set_env("VETHWORK_CRASH_AT", None);
        self.daemon.restart();
    }

    /// Fails the test when a start has anything to repair.
    fn forget(&mut self) {
        let known = self.daemon.log().len();
        self.daemon.restart();
        let log = self.daemon.log().split_off(known);
        let repairs: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("repairing"))
            .collect();
        assert!(repairs.is_empty(), "{}", repairs.join("\n"));
    }

    fn remove_all(&self) {
        // Some of them are not there: what stays is seen by the snapshot.
        for line in [
            "rm -f box",
            "release guest",
            "release peer",
            "service rm web",
            "network rm blue",
            "network rm green",
        ] {
            let _ = self.run(line);
        }
    }

    /// The address of one on a network; none when it is not on it.
    fn address(&self, name: &str, network: &str) -> String {
        let format = format!(
            "{{{{with index .NetworkSettings.Networks \"{network}\"}}}}{{{{.IPAddress}}}}{{{{end}}}}"
        );
        let output = self.daemon.cli(["inspect", "-f", &format, name]);
        output.stdout.trim().to_owned()
    }

    /// A running container's namespace.
    fn inside(&self, name: &str) -> Host {
        let format = "{{.NetworkSettings.SandboxKey}}";
        let key = self.daemon.cli(["inspect", "-f", format, name]).ok();
        self.lab.at(name, Path::new(&key))
    }

    fn is_running(&self, name: &str) -> bool {
        let output = self
            .daemon
            .cli(["inspect", "-f", "{{.State.Status}}", name]);
        output.stdout.trim() == "running"
    }
}

/// Every point of every case in turn, over one daemon's folders.
fn play(cases: &[Case]) {
    let mut stage = Stage::new();
    for case in cases {
        for point in case.points {
            println!("{} dies at {point}", case.line);
            for line in case.given {
                stage.run(line).must();
            }
            // What a container keeps in the data directory goes with it, at the end.
            let exec = stage.daemon.exec_root();
            let before = Snapshot::take(&[&stage.host, &stage.guest], &[&exec]);
            stage.crash(point, case.line);
            if !(case.done)(&stage) {
                if case.or_as_before {
                    assert_restored(&before);
                }
                stage.run(case.line).must();
                assert!((case.done)(&stage), "{} is not done", case.line);
            }
            (case.works)(&stage);
            stage.forget();
            (case.works)(&stage);
            stage.remove_all();
            assert_restored(&stage.idle);
        }
    }
}

/// Fails the test with what is more or less, but for routes that the kernel gives a link some time
/// after it is up.
fn assert_restored(snapshot: &Snapshot) {
    let difference = || -> Vec<String> {
        let lines = snapshot.difference();
        let lines = lines
            .lines()
            .filter(|line| !line.contains("route ff00::/8"));
        lines.map(str::to_owned).collect()
    };
    if poll(SETTLE, || difference().is_empty().then_some(())).is_none() {
        panic!("left behind (+) or lost (-):\n{}", difference().join("\n"));
    }
}

fn nothing_more(_: &Stage) {}

const BLUE: &str = "network create --subnet 10.77.0.0/24 blue";
const GREEN: &str = "network create --subnet 10.78.0.0/24 green";
const PEER: &str = "adopt --netns PEER --name peer --network blue";
const GUEST: &str = "adopt --netns GUEST --name guest --network blue -p 8080:80";

const ATTACH: [&str; 3] = ["attach.recorded", "attach.applied", "attach.ready"];

/// The guest has the second address, reaches the peer, and is reached by its port.
fn guest_is_on_blue(stage: &Stage) {
    assert_eq!(stage.address("guest", "blue"), "10.77.0.3");
    assert!(traffic::ping(&stage.guest, "10.77.0.2"));
    let _server = traffic::Server::tcp(&stage.guest, "guest", "0.0.0.0:80");
    traffic::tcp(&stage.host, "127.0.0.1:8080").unwrap();
}

fn guest_left_blue(stage: &Stage) {
    assert_eq!(stage.address("guest", "blue"), "");
    assert!(!traffic::ping(&stage.guest, "10.77.0.2"));
    let links = stage.guest.ip("-o link");
    assert!(!links.contains("eth0"), "{links}");
}

const NETWORKS_AND_ADOPTED_SANDBOXES: &[Case] = &[
    Case {
        given: &[],
        line: BLUE,
        points: &["network.recorded", "apply.halfway", "network.applied"],
        or_as_before: true,
        done: |stage| stage.says("network inspect blue"),
        works: nothing_more,
    },
    Case {
        given: &[BLUE],
        line: "network rm blue",
        points: &["network.removed", "apply.halfway"],
        or_as_before: true,
        done: |stage| !stage.says("network inspect blue"),
        works: nothing_more,
    },
    Case {
        given: &[BLUE, PEER],
        line: GUEST,
        points: &[
            "sandbox.recorded",
            "sandbox.pinned",
            ATTACH[0],
            ATTACH[1],
            ATTACH[2],
            "adopt.built",
            "apply.halfway",
        ],
        or_as_before: true,
        done: |stage| stage.says("inspect guest"),
        works: guest_is_on_blue,
    },
    Case {
        given: &[BLUE, PEER, GUEST],
        line: "release guest",
        points: &[
            "release.recorded",
            "detach.recorded",
            "detach.applied",
            "detach.forgotten",
            "sandbox.unpinned",
            "apply.halfway",
        ],
        or_as_before: true,
        done: |stage| !stage.says("inspect guest"),
        works: |stage| assert!(!traffic::ping(&stage.guest, "10.77.0.2")),
    },
];

const GUEST_ON_GREEN: &str = "adopt --netns GUEST --name guest --network green -p 8080:80";

const ENDPOINTS_OF_ADOPTED_SANDBOXES: &[Case] = &[
    Case {
        given: &[BLUE, GREEN, PEER, GUEST_ON_GREEN],
        line: "network connect blue guest",
        points: &[ATTACH[0], ATTACH[1], ATTACH[2], "apply.halfway"],
        or_as_before: true,
        done: |stage| !stage.address("guest", "blue").is_empty(),
        works: guest_is_on_blue,
    },
    Case {
        given: &[BLUE, GREEN, PEER, GUEST, "network connect green guest"],
        line: "network disconnect blue guest",
        points: &[
            "disconnect.recorded",
            "detach.recorded",
            "detach.applied",
            "detach.forgotten",
            "apply.halfway",
        ],
        or_as_before: true,
        done: |stage| stage.address("guest", "blue").is_empty(),
        works: |stage| {
            guest_left_blue(stage);
            // The port moved to the network that stays.
            let _server = traffic::Server::tcp(&stage.guest, "guest", "0.0.0.0:80");
            traffic::tcp(&stage.host, "127.0.0.1:8080").unwrap();
        },
    },
];

const BOX: &str = "run -d --name box --network blue host sleep 1000";

fn box_is_on_blue(stage: &Stage) {
    eventually("the container runs", SETTLE, || stage.is_running("box"));
    assert_eq!(stage.address("box", "blue"), "10.77.0.3");
    assert!(traffic::ping(&stage.inside("box"), "10.77.0.2"));
}

const CONTAINERS: &[Case] = &[
    Case {
        given: &[BLUE, PEER],
        line: "create --name box --network blue host sleep 1000",
        points: &["container.recorded"],
        or_as_before: true,
        done: |stage| stage.says("inspect box"),
        works: nothing_more,
    },
    Case {
        given: &[
            BLUE,
            PEER,
            "create --name box --network blue host sleep 1000",
        ],
        line: "start box",
        points: &[
            "start.recorded",
            "sandbox.recorded",
            "sandbox.pinned",
            ATTACH[0],
            ATTACH[1],
            ATTACH[2],
            "start.networked",
            "start.created",
            "start.started",
            "apply.halfway",
        ],
        or_as_before: true,
        done: |stage| stage.is_running("box"),
        works: box_is_on_blue,
    },
    Case {
        given: &[
            BLUE,
            PEER,
            "create --name box --restart always --network blue host sleep 1000",
        ],
        line: "start box",
        points: &[
            "start.recorded",
            ATTACH[1],
            "start.created",
            "start.started",
        ],
        or_as_before: true,
        // The policy goes on where the start was cut off.
        done: |stage| {
            eventually("the container runs", SETTLE, || stage.is_running("box"));
            true
        },
        works: box_is_on_blue,
    },
    Case {
        given: &[BLUE, PEER, BOX],
        line: "rm -f box",
        points: &[
            "detach.recorded",
            "detach.applied",
            "detach.forgotten",
            "sandbox.unpinned",
            "remove.recorded",
            "remove.deleted",
            "apply.halfway",
        ],
        or_as_before: false,
        done: |stage| !stage.says("inspect box"),
        works: |stage| assert!(!traffic::ping(&stage.host, "10.77.0.3")),
    },
];

const BOX_ON_GREEN: &str = "run -d --name box --network green host sleep 1000";

const ENDPOINTS_OF_RUNNING_CONTAINERS: &[Case] = &[
    Case {
        given: &[BLUE, GREEN, PEER, BOX_ON_GREEN],
        line: "network connect blue box",
        points: &[
            "connect.recorded",
            ATTACH[0],
            ATTACH[1],
            ATTACH[2],
            "apply.halfway",
        ],
        or_as_before: true,
        done: |stage| !stage.address("box", "blue").is_empty(),
        works: box_is_on_blue,
    },
    Case {
        given: &[BLUE, GREEN, PEER, BOX, "network connect green box"],
        line: "network disconnect blue box",
        points: &[
            "disconnect.recorded",
            "detach.recorded",
            "detach.applied",
            "detach.forgotten",
            "apply.halfway",
        ],
        or_as_before: true,
        done: |stage| stage.address("box", "blue").is_empty(),
        works: |stage| {
            let links = stage.inside("box").ip("-o link");
            assert!(!links.contains("eth0"), "{links}");
            assert!(stage.is_running("box"));
        },
    },
];

const WEB: &str = "service create --name web --network blue -p 8081:80 --drain 0s";
const GUEST_IN_WEB: &str = "adopt --netns GUEST --name guest --network blue --service web";

/// The guest answers at the service's address, which is the third, and at its port.
fn web_leads_to_the_guest(stage: &Stage) {
    let _server = traffic::Server::tcp(&stage.guest, "guest", "0.0.0.0:80");
    traffic::tcp(&stage.host, "10.77.0.3:80").unwrap();
    traffic::tcp(&stage.host, "127.0.0.1:8081").unwrap();
}

fn web_leads_nowhere(stage: &Stage) {
    for to in ["10.77.0.3:80", "127.0.0.1:8081"] {
        assert!(traffic::tcp(&stage.host, to).is_err(), "{to}");
    }
}

const SERVICES: &[Case] = &[
    Case {
        given: &[BLUE, PEER],
        line: WEB,
        points: &["service.recorded", "apply.halfway", "service.applied"],
        or_as_before: true,
        done: |stage| stage.says("service inspect web"),
        works: web_leads_nowhere,
    },
    Case {
        given: &[BLUE, PEER, WEB],
        line: GUEST_IN_WEB,
        points: &[ATTACH[0], ATTACH[1], ATTACH[2], "apply.halfway"],
        or_as_before: true,
        done: |stage| stage.says("inspect guest"),
        works: web_leads_to_the_guest,
    },
    Case {
        given: &[BLUE, PEER, WEB, GUEST_IN_WEB],
        line: "service update --publish-add 8082:80 web",
        points: &["service.updated"],
        or_as_before: true,
        done: |stage| stage.run("service ls").stdout.contains("8082"),
        works: |stage| {
            web_leads_to_the_guest(stage);
            let _server = traffic::Server::tcp(&stage.guest, "guest", "0.0.0.0:80");
            traffic::tcp(&stage.host, "127.0.0.1:8082").unwrap();
        },
    },
    Case {
        given: &[BLUE, PEER, WEB, GUEST_IN_WEB],
        line: "network disconnect blue guest",
        points: &["detach.recorded", "service.noted", "detach.applied"],
        or_as_before: true,
        done: |stage| stage.address("guest", "blue").is_empty(),
        works: web_leads_nowhere,
    },
    Case {
        given: &[BLUE, PEER, WEB, GUEST_IN_WEB],
        line: "service rm web",
        points: &["service.removed", "apply.halfway"],
        or_as_before: true,
        done: |stage| !stage.says("service inspect web"),
        works: web_leads_nowhere,
    },
];

#[test]
fn services() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("conmon", "ip", "nft", "busybox");
    play(SERVICES);
}

#[test]
fn networks_and_adopted_sandboxes() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("conmon", "ip", "nft", "busybox");
    play(NETWORKS_AND_ADOPTED_SANDBOXES);
}

#[test]
fn endpoints_of_adopted_sandboxes() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("conmon", "ip", "nft", "busybox");
    play(ENDPOINTS_OF_ADOPTED_SANDBOXES);
}

#[test]
fn containers() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("conmon", "ip", "nft", "busybox");
    play(CONTAINERS);
}

#[test]
fn endpoints_of_running_containers() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("conmon", "ip", "nft", "busybox");
    play(ENDPOINTS_OF_RUNNING_CONTAINERS);
}
