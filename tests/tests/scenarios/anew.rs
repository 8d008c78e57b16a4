//! The daemon handed its socket by a service manager, and begun anew in its own place where its
//! interface has another address: alone, as its cluster's store is away.

use crate::require_stage;
use std::{io::Write, os::unix::net::UnixStream, time::Duration};
use vw_testkit::{Daemon, Host, Lab, eventually, stays};

/// Five looks, a second apart, and what comes after.
const FOLLOWS: Duration = Duration::from_secs(30);
/// For some looks, and not for all.
const MOMENT: Duration = Duration::from_secs(3);
/// Longer than it looks before it follows.
const LOOKS: Duration = Duration::from_secs(7);

const OLD: &str = "192.0.2.1/24";
const NEW: &str = "192.0.2.22/24";

const CLUSTER: [&str; 4] = [
    "--cluster-store",
    "etcd://192.0.2.99",
    "--cluster-advertise",
    "wire",
];

/// A host at the old address.
fn host(lab: &Lab) -> Host {
    let (host, outside) = (lab.host("host"), lab.host("outside"));
    lab.link(&host, "wire", &outside, "wire");
    host.ip(&format!("addr add {OLD} dev wire"));
    host
}

fn moves(host: &Host) {
    host.ip(&format!("addr del {OLD} dev wire"));
    host.ip(&format!("addr add {NEW} dev wire"));
}

/// How often it started.
fn starts(daemon: &Daemon) -> usize {
    daemon.log().matches("API listens").count()
}

#[test]
fn a_daemon_serves_on_the_socket_that_it_is_handed_each_time() {
    require_stage!();
    let lab = Lab::new();
    let host = host(&lab);
    let mut daemon = Daemon::start_activated(&lab, &host, &CLUSTER);
    assert!(daemon.answers());
    daemon.stop();
    assert!(daemon.socket().exists(), "it is the service manager's");
    daemon.restart();
    assert_eq!(starts(&daemon), 2);
    moves(&host);
    eventually("it begins anew", FOLLOWS, || starts(&daemon) == 3);
    assert!(daemon.answers());
    assert!(daemon.log().contains("begins anew with 192.0.2.22 of wire"));
    daemon.stop();
    assert!(daemon.socket().exists());
}

#[test]
fn an_address_that_is_gone_for_a_moment_changes_nothing() {
    require_stage!();
    let lab = Lab::new();
    let host = host(&lab);
    let mut daemon = Daemon::start_with(&lab, &host, &CLUSTER);
    // Of another subnet: it does not go with the first.
    let other = "198.51.100.22/24";
    host.ip(&format!("addr add {other} dev wire"));
    host.ip(&format!("addr del {OLD} dev wire"));
    host.ip("link set wire down");
    host.ip("link set wire up");
    stays("it waits", MOMENT, || starts(&daemon) == 1);
    host.ip(&format!("addr del {other} dev wire"));
    // With none at all it stays, and says so.
    let none = "wire has none that they could reach now";
    eventually("it is told", FOLLOWS, || daemon.log().contains(none));
    host.ip(&format!("addr add {OLD} dev wire"));
    // Another one beside it is none to follow.
    host.ip(&format!("addr add {other} dev wire"));
    stays("the daemon is the same", LOOKS, || starts(&daemon) == 1);
    assert_eq!(daemon.log().matches(none).count(), 1, "{}", daemon.log());
    daemon.stop();
}

#[test]
fn a_daemon_that_could_not_start_again_stays_and_says_why() {
    require_stage!();
    let lab = Lab::new();
    let host = host(&lab);
    let mut flags = CLUSTER.to_vec();
    flags.extend(["--host", "tcp://192.0.2.1:2375"]);
    let mut daemon = Daemon::start_with(&lab, &host, &flags);
    daemon.configure("no settings");
    moves(&host);
    let invalid = "its settings are no longer valid";
    eventually("it tells", FOLLOWS, || daemon.log().contains(invalid));
    daemon.configure("{}");
    let bound = "no address for --host tcp://192.0.2.1:2375 any more; give another one";
    eventually("it tells", FOLLOWS, || daemon.log().contains(bound));
    assert!(daemon.answers());
    assert_eq!(starts(&daemon), 1);
    daemon.stop();
}

#[test]
fn a_daemon_that_is_asked_to_stop_while_it_begins_anew_stops() {
    require_stage!();
    let lab = Lab::new();
    let host = host(&lab);
    let mut daemon = Daemon::start_with(&lab, &host, &CLUSTER);
    // Whoever is at half of a request is waited for, which gives the time to ask.
    let mut half = UnixStream::connect(daemon.socket()).unwrap();
    half.write_all(b"GET /_ping HTTP/1.1\r\n").unwrap();
    moves(&host);
    eventually("it begins anew", FOLLOWS, || {
        daemon.log().contains("begins anew")
    });
    daemon.terminate();
    assert_eq!(starts(&daemon), 1, "{}", daemon.log());
}
