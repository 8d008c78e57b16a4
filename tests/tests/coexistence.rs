//! Beside other engines in one namespace: theirs go on as before, and ours pass their rules.
//!
//! Owns its own dockerd: it never asks one of the machine.

use std::time::Duration;
use vw_testkit::{
    Daemon, Host, Lab,
    engines::{Dockerd, inside},
    eventually, traffic,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Two hosts on a wire; the first is to run the engines.
fn hosts(lab: &Lab) -> (Host, Host) {
    let (host, outside) = (lab.host("host"), lab.host("outside"));
    lab.link(&host, "wire", &outside, "wire");
    for (end, address) in [(&host, "192.0.2.1/24"), (&outside, "192.0.2.2/24")] {
        end.ip(&format!("addr add {address} dev wire"));
    }
    (host, outside)
}

#[track_caller]
fn reaches(from: &Host, to: &str, name: &str) {
    eventually(&format!("{name} at {to}"), PATIENCE, || {
        traffic::tcp(from, to).is_ok_and(|answer| answer.name == name)
    });
}

/// A published service, and where its own addresses are asked.
#[track_caller]
fn front(daemon: &Daemon) -> Vec<String> {
    let create = "service create --name front --network blue -p 8090:80";
    daemon.cli(create.split_whitespace()).must();
    let front = daemon.api("GET", "/vethwork/services/front", None).json();
    let vips = front["VirtualIPs"].as_array().expect("a list").iter();
    let vips = vips.filter_map(|net| net.as_str()?.split('/').next());
    let vips: Vec<String> = vips
        .map(|addr| match addr.contains(':') {
            true => format!("[{addr}]:80"),
            false => format!("{addr}:80"),
        })
        .collect();
    assert_eq!(vips.len(), 2, "{front}");
    vips
}

#[test]
fn a_container_of_docker_is_adopted_beside_docker_and_its_drop_policy() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("docker", "dockerd", "ip", "iptables", "busybox", "runc");
    let lab = Lab::new();
    let (host, outside) = hosts(&lab);
    let docker = Dockerd::start(&lab, &host);
    let theirs = docker.run("run -d -p 8081:80 box sleep 1000");
    let bare = docker.run("run -d --net=none box sleep 1000");
    let docked = inside(&lab, "docked", docker.pid(&theirs));
    let adopted = inside(&lab, "adopted", docker.pid(&bare));
    let _docked = traffic::Server::tcp(&docked, "docked", "0.0.0.0:80");
    let _closed = traffic::Server::tcp(&docked, "closed", "0.0.0.0:81");
    let _adopted = traffic::Server::tcp(&adopted, "adopted", "[::]:80");
    let _outside = traffic::Server::tcp(&outside, "outside", "0.0.0.0:80");
    reaches(&outside, "192.0.2.1:8081", "docked");

    let mut daemon = Daemon::start(&lab, &host);
    let create = "network create --ipv6 --subnet 10.9.0.0/24 blue";
    daemon.docker(create.split(' ')).must();
    // Bridged packets pass Docker's rules as before.
    let switch = host.sh("cat /proc/sys/net/bridge/bridge-nf-call-ip6tables");
    assert_eq!(switch.ok(), "1");
    let vips = front(&daemon);
    let adopt = format!(
        "adopt --pid {} --name web --network blue -p 8080:80 --label vethwork.service=front",
        docker.pid(&bare)
    );
    daemon.cli(adopt.split_whitespace()).must();
    let address = docker.run(&format!(
        "inspect -f {{{{.NetworkSettings.IPAddress}}}} {theirs}"
    ));
    let holds = || {
        reaches(&outside, "192.0.2.1:8080", "adopted");
        reaches(&host, "127.0.0.1:8080", "adopted");
        reaches(&host, "[::1]:8080", "adopted");
        reaches(&adopted, "192.0.2.2:80", "outside");
        reaches(&adopted, "192.0.2.1:8080", "adopted");
        reaches(&outside, "192.0.2.1:8090", "adopted");
        reaches(&host, "[::1]:8090", "adopted");
        for (vip, from) in vips.iter().flat_map(|vip| [(vip, &host), (vip, &adopted)]) {
            reaches(from, vip, "adopted");
        }
        reaches(&outside, "192.0.2.1:8081", "docked");
    };
    holds();
    outside.ip(&format!("route add {address}/32 via 192.0.2.1"));
    assert!(traffic::tcp(&outside, &format!("{address}:81")).is_err());

    host.sh("iptables -F FORWARD; iptables -F DOCKER-USER")
        .must();
    reaches(&outside, "192.0.2.1:8080", "adopted");
    reaches(&outside, "192.0.2.1:8090", "adopted");

    daemon.cli(["release", "web"]).must();
    daemon.cli(["service", "rm", "front"]).must();
    daemon.docker(["network", "rm", "blue"]).must();
    daemon.stop();
    let rules = host.sh("iptables-save").ok();
    assert!(!rules.contains("vethwork"), "{rules}");
    docker.run(&format!("rm -f {theirs} {bare}"));
    docker.stop();
}

#[test]
fn without_iptables_there_are_no_rules_of_ours() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("docker", "ip", "nft");
    let lab = Lab::new();
    let (host, _outside) = hosts(&lab);
    let flags = ["--iptables=false", "--ip6tables=false"];
    let mut daemon = Daemon::start_with(&lab, &host, &flags);
    daemon.docker(["network", "create", "blue"]).must();
    let rules = host.run(["nft", "list", "ruleset"]).ok();
    assert_eq!(rules, "");
    daemon.docker(["network", "rm", "blue"]).must();
    daemon.stop();
}
