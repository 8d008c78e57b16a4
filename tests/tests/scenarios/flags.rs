//! The daemon's flags: what each changes for containers and packets.

use crate::{
    require_stage,
    scene::{HOST, OUTSIDE, Scene},
};
use std::time::Duration;
use vw_testkit::{Snapshot, eventually, traffic};

#[test]
fn the_default_network_is_as_its_flags_say() {
    require_stage!();
    let scene = Scene::with(&[
        "--bip=10.9.0.1/24",
        "--fixed-cidr=10.9.0.128/25",
        "--ip=127.0.0.1",
        "--dns=192.0.2.53",
        "--dns-search=lab.example",
        "--icc=false",
        "--default-network-opt=bridge=com.docker.network.driver.mtu=1300",
    ]);
    let one = scene.start("one", "-p 8080:80");
    let two = scene.start("two", "");
    let address: std::net::Ipv4Addr = scene.address("one", "bridge").parse().expect("an address");
    let [a, b, c, d] = address.octets();
    assert!(([a, b, c], d >= 128) == ([10, 9, 0], true), "{address}");
    assert!(one.ip("route show default").contains("via 10.9.0.1"));
    assert_eq!(
        scene.docker("port one"),
        "80/tcp -> 127.0.0.1:8080",
        "--ip is the default for publishing"
    );
    let conf = scene.docker("exec one cat /etc/resolv.conf");
    for line in ["nameserver 192.0.2.53", "search lab.example"] {
        assert!(conf.contains(line), "{line}: {conf}");
    }
    assert!(!traffic::ping(&two, &address.to_string()), "--icc=false");
    scene.docker("network create blue");
    let three = scene.start("three", "--network blue");
    assert!(three.ip("link show eth0").contains("mtu 1300"));
    scene.end();
}

#[test]
fn without_iptables_there_are_no_rules() {
    require_stage!();
    let scene = Scene::with(&["--iptables=false", "--ip6tables=false"]);
    scene.docker("network create blue");
    let (one, _two) = (
        scene.start("one", "--network blue"),
        scene.start("two", "--network blue"),
    );
    assert_eq!(scene.host.run(["nft", "list", "ruleset"]).ok(), "");
    let address = scene.address("two", "blue");
    assert!(traffic::ping(&one, &address));
    let name = one.run(["dig", "+short", "@127.0.0.11", "two"]).ok();
    assert_eq!(name, address, "names need rules inside only");
    scene.end();
}

#[test]
fn without_ip_forward_the_switch_stays_as_it_was() {
    require_stage!();
    let scene = Scene::with(&["--ip-forward=false"]);
    scene.docker("network create blue");
    scene.start("one", "--network blue");
    let shown = scene.host.sh("cat /proc/sys/net/ipv4/ip_forward").ok();
    assert_eq!(shown, "0");
    scene.end();
}

/// A firewall of somebody else, whose policy for what is forwarded is to drop.
const FOREIGN: &str = "add table inet other; \
    add chain inet other forward { type filter hook forward priority 0; policy drop; }";

#[test]
fn a_foreign_drop_policy_is_adjusted_or_warned_about() {
    require_stage!();
    let mut scene = Scene::new();
    scene.host.run(["nft", FOREIGN]).must();
    let foreign = || {
        scene
            .host
            .run(["nft", "-s", "list", "table", "inet", "other"])
            .ok()
    };
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue -p 8080:80");
    let server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let wide = traffic::Server::tcp(&scene.outside, "wide", "0.0.0.0:0");
    let (inward, outward) = (format!("{HOST}:8080"), format!("{OUTSIDE}:{}", wide.port()));
    eventually("both ways are open", Duration::from_secs(10), || {
        traffic::tcp(&scene.outside, &inward).is_ok() && traffic::tcp(&web, &outward).is_ok()
    });
    scene.docker("rm -f web");
    scene.docker("network rm blue");
    assert!(foreign().contains("vethwork: let pass"), "{}", foreign());
    scene.daemon.stop();
    let before = foreign();
    assert!(
        !before.contains("vethwork"),
        "the tagged rule goes with us: {before}"
    );

    scene.daemon.restart_with(&["--foreign-firewall=warn"]);
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue -p 8080:80");
    assert!(traffic::tcp(&web, &outward).is_err());
    let foreign = scene
        .host
        .run(["nft", "-s", "list", "table", "inet", "other"])
        .ok();
    assert_eq!(foreign, before, "only warned");
    assert!(
        scene.daemon.log().contains("other"),
        "the warning names the chain"
    );
    scene
        .host
        .run(["nft", "delete", "table", "inet", "other"])
        .must();
    drop((server, wide));
    scene.end();
}

#[test]
fn the_hosts_own_traffic_and_other_links_stay_as_they_are() {
    require_stage!();
    let scene = Scene::new();
    // What others made: a bridge with an address, a route, a table.
    scene.host.ip("link add others type bridge");
    scene.host.ip("addr add 10.77.0.1/24 dev others");
    scene.host.ip("link set others up");
    scene.host.ip("route add 10.78.0.0/24 via 10.77.0.2");
    scene
        .host
        .run(["nft", "add table inet mine; add chain inet mine input"])
        .must();
    let _service = traffic::Server::tcp(&scene.host, "service", "0.0.0.0:7000");
    let others = Snapshot::take(&[&scene.host], &[]);
    for _ in 0..2 {
        scene.docker("network create blue");
        scene.docker("run -d --name web --network blue -p 8080:80 host sleep 1000");
        let answer = traffic::tcp(&scene.outside, &format!("{HOST}:7000"));
        assert!(answer.is_ok_and(|answer| answer.name == "service"));
        scene.docker("rm -f web");
        scene.docker("network prune -f");
    }
    let lost = others.difference();
    let lost: Vec<&str> = lost.lines().filter(|line| line.starts_with('-')).collect();
    assert!(lost.is_empty(), "{lost:?}");
    scene.docker("network create green");
    let subnet = scene.docker("network inspect green");
    assert!(!subnet.contains("10.77.0"), "{subnet}");
    scene.host.ip("link del others");
    scene
        .host
        .run(["nft", "delete", "table", "inet", "mine"])
        .must();
    scene.end();
}
