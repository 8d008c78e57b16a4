//! The daemon's flags: what each changes for containers and packets.

use crate::{
    require_stage,
    scene::{HOST, OUTSIDE, Scene, is_of_the_tables},
};
use std::time::Duration;
use vw_testkit::{Daemon, Host, Snapshot, eventually, traffic};

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

/// Makes the bridge `lan` with the host on it at .1, and a machine at .9.
fn foreign_bridge(scene: &Scene) -> Host {
    let machine = scene.lab.host("machine");
    scene.host.ip("link add lan type bridge");
    scene.host.ip("link set lan up");
    scene.lab.link(&scene.host, "port", &machine, "eth0");
    scene.host.ip("link set port master lan");
    for (end, link, last) in [(&scene.host, "lan", 1), (&machine, "eth0", 9)] {
        end.ip(&format!("addr add 10.77.0.{last}/24 dev {link}"));
        end.ip(&format!("addr add fd00:77::{last}/64 dev {link} nodad"));
    }
    machine
}

#[test]
fn bridges_that_cannot_be_stood_on_are_refused() {
    require_stage!();
    let mut scene = Scene::new();
    scene.daemon.stop();
    foreign_bridge(&scene);
    for (flags, sentence) in [
        ("--bridge=nonsense", "bridge nonsense is not there"),
        ("--bridge=wire", "bridge wire is not there"),
        ("--bridge=vw7", "names that begin with vw are our own"),
        (
            "--bridge=lan --bip=10.77.0.1/24",
            "mutually exclusive options",
        ),
        ("--bridge=lan --fixed-cidr=10.78.0.0/24", "10.78.0.0/24"),
    ] {
        let flags: Vec<&str> = flags.split(' ').collect();
        let said = Daemon::refused(&scene.lab, &scene.host, &flags);
        assert!(said.contains(sentence), "{flags:?}: {said}");
    }
    scene.host.ip("link del lan");
    scene.host.ip("link del port");
    scene.daemon.restart();
    scene.end();
}

#[test]
fn containers_stand_on_a_bridge_of_somebody_elses() {
    require_stage!();
    let mut scene = Scene::new();
    scene.daemon.stop();
    let machine = foreign_bridge(&scene);
    let theirs = Snapshot::take(&[&scene.host], &[]);
    let host = scene.host.clone();
    let local = || {
        host.sh("cat /proc/sys/net/ipv4/conf/lan/route_localnet")
            .ok()
    };
    assert_eq!(local(), "0");
    scene
        .daemon
        .restart_with(&["--bridge=lan", "--ipv6", "--fixed-cidr=10.77.0.128/25"]);
    let web = scene.start("web", "-p 8080:80");
    let _server = traffic::Server::tcp(&web, "web", "[::]:80");
    let address = scene.address("web", "bridge");
    assert!(address.starts_with("10.77.0.1"), "{address}");
    assert!(web.ip("route show default").contains("via 10.77.0.1"));
    assert!(web.ip("-6 route show default").contains("via fd00:77::1"));
    for to in [address, scene.address6("web", "bridge")] {
        assert!(traffic::ping(&machine, &to), "{to}");
    }
    for to in ["10.77.0.9", "fd00:77::9", OUTSIDE] {
        assert!(traffic::ping(&web, to), "{to}");
    }
    for (from, to) in [
        (&scene.outside, format!("{HOST}:8080")),
        (&scene.host, "127.0.0.1:8080".to_owned()),
        (&scene.host, "[::1]:8080".to_owned()),
        (&machine, "10.77.0.1:8080".to_owned()),
        (&web, format!("{HOST}:8080")),
    ] {
        let answer = traffic::tcp(from, &to);
        let name = answer.as_ref().map(|answer| answer.name.as_str());
        assert_eq!(name.ok(), Some("web"), "from {} to {to}", from.name());
    }
    scene.forget();
    scene.docker("rm -f web");
    scene.daemon.stop();
    // The administrator's table stays, and links' own addresses come by themselves.
    let is_expected = |line: &str| is_of_the_tables(line) || line.contains("fe80::");
    let left = theirs.difference();
    assert!(left.lines().all(is_expected), "{left}");
    assert_eq!(local(), "0", "put back");
    scene.host.ip("link del lan");
    scene.host.ip("link del port");
    scene.daemon.restart_with(&[]);
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
fn a_service_that_was_made_with_rules_is_not_led_to_without() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.cli("service create --name web --network blue -p 8080:80");
    scene.cli("service create --name over4 --network blue -p 0.0.0.0:82:80");
    let one = scene.start("one", "--network blue --label vethwork.service=web");
    let _server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    let published = format!("{HOST}:8080");
    let answers = |scene: &Scene| {
        eventually("it answers", Duration::from_secs(10), || {
            traffic::tcp(&scene.outside, &published).is_ok()
        });
    };
    answers(&scene);
    let ports = |scene: &Scene| scene.cli("service ls --format {{.Ports}}");
    assert!(!ports(&scene).contains("not on"), "{}", ports(&scene));

    // A port at all addresses is not split by one that is asked for at some.
    scene.cli("service create --name split --network blue -p 83:81");
    scene.cli("service update --publish-add host_ip=0.0.0.0,target=81 split");
    scene.cli("service update --drain 5s split");
    scene.cli("service rm split");

    let flags = ["--iptables=false", "--ip6tables=false"];
    scene.daemon.restart_with(&flags);
    assert_eq!(scene.host.run(["nft", "list", "ruleset"]).ok(), "");
    assert!(ports(&scene).contains("(not on"), "{}", ports(&scene));
    let warnings = scene.daemon.api("GET", "/info", None).json()["Warnings"].to_string();
    let warned = warnings.contains("service web: nobody is led to it");
    assert!(warned, "{warnings}");

    // What was asked for over one IP version stays there.
    scene.daemon.restart_with(&["--ip6tables=false"]);
    scene.cli("service update --drain 5s over4");

    scene.daemon.restart_with(&[]);
    let shown = ports(&scene);
    assert!(
        !shown.contains("not on") && shown.contains("0.0.0.0:82->80/tcp"),
        "{shown}"
    );
    answers(&scene);
    scene.end();
}

#[test]
fn who_was_started_with_a_port_lives_on_without_rules_and_has_it_again_with_them() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue -p 8080:80");
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let published = format!("{HOST}:8080");
    assert!(traffic::tcp(&scene.outside, &published).is_ok());

    scene
        .daemon
        .restart_with(&["--iptables=false", "--ip6tables=false"]);
    assert_eq!(scene.host.run(["nft", "list", "ruleset"]).ok(), "");
    let names = web.run(["dig", "+short", "@127.0.0.11", "web"]).ok();
    assert_eq!(names, scene.address("web", "blue"), "it lives on");
    let ports = |scene: &Scene| scene.docker("ps --format {{.Ports}}");
    assert_eq!(ports(&scene).trim(), "80/tcp");
    let warnings = scene.daemon.api("GET", "/info", None).json()["Warnings"].to_string();
    let warned = warnings.contains("web is not published at 0.0.0.0:8080");
    assert!(warned, "{warnings}");
    let with_rules = |scene: &mut Scene| {
        scene.daemon.restart_with(&[]);
        assert!(ports(scene).contains("0.0.0.0:8080->80/tcp"));
        assert!(traffic::tcp(&scene.outside, &published).is_ok());
    };
    with_rules(&mut scene);

    // Also where its networks change meanwhile, and another program had the port for a time.
    scene
        .daemon
        .restart_with(&["--iptables=false", "--ip6tables=false"]);
    drop(traffic::Server::tcp(&scene.host, "other", "0.0.0.0:8080"));
    scene.docker("network create other");
    scene.docker("network connect other web");
    with_rules(&mut scene);
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
