//! Many endpoints on one host: all attach, answer by name, survive a restart, and leave nothing.

use std::time::{Duration, Instant};
use vw_testkit::{Daemon, Host, Lab, traffic};

/// How many, unless `VETHWORK_TEST_ENDPOINTS` says otherwise.
const ENDPOINTS: usize = 200;

/// A Linux bridge takes 1,023 ports.
const NETWORKS: [&str; 2] = ["blue", "green"];

fn count() -> usize {
    let asked = std::env::var("VETHWORK_TEST_ENDPOINTS");
    asked.ok().and_then(|n| n.parse().ok()).unwrap_or(ENDPOINTS)
}

#[track_caller]
fn resolves(from: &Host, name: &str) {
    let answer = from
        .run(["dig", "@127.0.0.11", "+short", "+tries=1", name])
        .ok();
    assert!(answer.starts_with("10."), "{name}: {answer:?}");
}

#[test]
fn many_endpoints_attach_and_survive_a_restart() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("docker", "ip", "dig", "busybox");
    let count = count();
    let lab = Lab::new();
    let host = lab.host("host");
    let mut daemon = Daemon::start(&lab, &host);
    for (number, network) in NETWORKS.iter().enumerate() {
        let subnet = format!("10.{}.0.0/16", 9 + number);
        daemon
            .docker(["network", "create", "--subnet", &subnet, network])
            .must();
    }
    let sandboxes: Vec<Host> = (0..count).map(|n| lab.host(&format!("s{n}"))).collect();
    let began = Instant::now();
    for (number, sandbox) in sandboxes.iter().enumerate() {
        let path = sandbox.netns().display();
        let network = NETWORKS[number % NETWORKS.len()];
        let line = format!("adopt --netns {path} --name s{number} --network {network}");
        daemon.cli(line.split_whitespace()).must();
    }
    println!("{count} adopted in {:?}", began.elapsed());
    let (first, last) = (&sandboxes[0], &sandboxes[count - 2]);
    resolves(first, &format!("s{}", count - 2));
    resolves(last, "s0");
    assert!(traffic::ping(first, &address(&daemon, count - 2)));

    let known = daemon.log().len();
    daemon.restart();
    resolves(last, "s0");
    let log = daemon.log().split_off(known);
    assert!(!log.contains("repairing"), "{log}");
    let names = log.lines().find(|line| line.contains("names answer"));
    println!("after a restart: {}", names.expect("it is logged"));

    let began = Instant::now();
    for number in 0..count {
        daemon.cli(["release", &format!("s{number}")]).must();
    }
    println!("{count} released in {:?}", began.elapsed());
    for network in NETWORKS {
        daemon.docker(["network", "rm", network]).must();
    }
    daemon.stop();
    let links = vw_testkit::poll(Duration::from_secs(20), || {
        let links = host.ip("-o link show");
        (links.lines().count() == 1).then_some(links)
    });
    assert!(links.is_some(), "{}", host.ip("-o link show"));
}

#[track_caller]
fn address(daemon: &Daemon, number: usize) -> String {
    let network = NETWORKS[number % NETWORKS.len()];
    let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    let name = format!("s{number}");
    daemon.docker(["inspect", "-f", &format, &name]).ok()
}
