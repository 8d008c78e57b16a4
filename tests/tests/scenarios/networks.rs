//! Networks by docker and by us: made, shown, listed, removed.

use crate::{
    require_stage,
    scene::{HOST, OUTSIDE, Scene},
};
use std::time::{Duration, Instant};
use vw_testkit::traffic;

#[test]
fn a_network_is_made_shown_listed_and_removed() {
    require_stage!();
    let scene = Scene::new();
    let id = scene.docker(
        "network create --subnet 10.9.0.0/24 --ip-range 10.9.0.128/25 --gateway 10.9.0.254 \
         --aux-address printer=10.9.0.129 --label site=lab --internal blue",
    );
    assert_eq!(id.len(), 64, "{id}");
    let shown = scene.daemon.api("GET", "/networks/blue", None).json();
    for (pointer, expected) in [
        ("/Id", id.as_str()),
        ("/Name", "blue"),
        ("/Driver", "bridge"),
        ("/Scope", "local"),
        ("/IPAM/Driver", "default"),
        ("/IPAM/Config/0/Subnet", "10.9.0.0/24"),
        ("/IPAM/Config/0/IPRange", "10.9.0.128/25"),
        ("/IPAM/Config/0/Gateway", "10.9.0.254"),
        ("/IPAM/Config/0/AuxiliaryAddresses/printer", "10.9.0.129"),
        ("/Labels/site", "lab"),
    ] {
        assert_eq!(
            shown.pointer(pointer).and_then(|v| v.as_str()),
            Some(expected),
            "{pointer}: {shown}"
        );
    }
    assert_eq!(shown["Internal"], true);

    let names = "network ls --format {{.Name}}|{{.Driver}}|{{.Scope}}";
    let expected = "blue|bridge|local\nbridge|bridge|local\nhost|host|local\nnone|null|local";
    assert_eq!(scene.docker(names), expected);
    assert_eq!(scene.cli(names), expected);
    for (filter, expected) in [
        ("name=blu", "blue"),
        ("label=site=lab", "blue"),
        ("type=custom", "blue"),
        ("driver=null", "none"),
        ("label=site=other", ""),
    ] {
        let line = format!("network ls --filter {filter} --format {{{{.Name}}}}");
        assert_eq!(scene.docker(&line), expected, "{filter}");
        assert_eq!(scene.cli(&line), expected, "{filter}");
    }
    assert_eq!(
        scene.docker(&format!("network ls -q --filter id={}", &id[..12])),
        &id[..12]
    );
    assert_eq!(scene.docker("network rm blue"), "blue");
    scene.end();
}

#[test]
fn what_docker_shows_we_show() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    let shown = |line: &str| {
        let ours: serde_json::Value = serde_json::from_str(&scene.cli(line)).expect("JSON");
        let theirs: serde_json::Value = serde_json::from_str(&scene.docker(line)).expect("JSON");
        assert_eq!(ours, theirs, "{line}");
    };
    scene.start("web", "--network blue -p 8080:80");
    shown("network inspect blue bridge host none");
    shown("inspect web");
    for line in [
        "port web",
        "ps --format {{.Names}}|{{.Ports}}|{{.Image}}",
        "ps -q",
        "network inspect -f {{.Name}} blue",
    ] {
        assert_eq!(scene.cli(line), scene.docker(line), "{line}");
    }
    scene.end();
}

#[test]
fn pruning_takes_what_nobody_uses() {
    require_stage!();
    let scene = Scene::new();
    for network in ["blue", "green", "red"] {
        scene.docker(&format!(
            "network create --label colour={network} {network}"
        ));
    }
    scene.docker("create --name idle --network blue host true");
    scene.start("busy", "--network green");
    let pruned = scene.docker("network prune -f --filter label!=colour=red");
    assert!(
        !pruned.contains("red") && !pruned.contains("green"),
        "{pruned}"
    );
    let pruned = scene.cli("network prune -f");
    assert!(
        pruned.contains("red") && !pruned.contains("green"),
        "{pruned}"
    );
    scene.docker("network inspect green");
    scene.end();
}

#[test]
fn options_have_their_effects() {
    require_stage!();
    let scene = Scene::new();
    scene.docker(
        "network create -o com.docker.network.bridge.name=br-lab -o com.docker.network.driver.mtu=1400 \
         -o com.docker.network.container_iface_prefix=lan -o com.example.free=kept blue",
    );
    let shown = scene.daemon.api("GET", "/networks/blue", None).json();
    assert_eq!(shown["Options"]["com.example.free"], "kept");
    let inside = scene.start("web", "--network blue");
    let link = inside.ip("link show lan0");
    assert!(link.contains("mtu 1400"), "{link}");
    assert!(scene.host.ip("link show br-lab").contains("mtu 1400"));

    scene.docker("network create -o com.docker.network.bridge.enable_icc=false silent");
    let (one, two) = (
        scene.start("one", "--network silent"),
        scene.start("two", "--network silent"),
    );
    assert!(!traffic::ping(&one, &scene.address("two", "silent")));

    scene.docker("network create -o com.docker.network.bridge.enable_ip_masquerade=false plain");
    let three = scene.start("three", "--network plain");
    let server = traffic::Server::tcp(&scene.outside, "out", "0.0.0.0:0");
    let address = scene.address("three", "plain");
    scene
        .outside
        .ip(&format!("route add {address}/32 via {}", HOST));
    let to = format!("{}:{}", OUTSIDE, server.port());
    let answer = traffic::tcp(&three, &to).expect("reachable");
    assert_eq!(answer.seen.ip().to_string(), address, "not masqueraded");
    let answer = traffic::tcp(&two, &to).expect("reachable");
    assert_eq!(answer.seen.ip().to_string(), HOST, "masqueraded");
    scene.end();
}

#[test]
fn pools_are_chosen_without_overlap() {
    require_stage!();
    let scene = Scene::with(&["--default-address-pool", "base=192.0.0.0/22,size=24"]);
    scene.docker("network create blue");
    scene.docker("network create green");
    // 192.0.2.0/24 is on the host's wire.
    for (network, expected) in [
        ("bridge", "192.0.0.0/24"),
        ("blue", "192.0.1.0/24"),
        ("green", "192.0.3.0/24"),
    ] {
        let shown = scene.docker(&format!("network inspect {network}"));
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(shown[0]["IPAM"]["Config"][0]["Subnet"], expected);
    }
    let refusal = scene.refused("network create red");
    assert!(
        refusal.contains("all predefined address pools have been fully subnetted"),
        "{refusal}"
    );
    scene.end();
}

#[test]
fn a_full_pool_refuses_and_recovers() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/30 blue");
    scene.start("one", "--network blue");
    let output = scene
        .daemon
        .docker(["run", "--rm", "--network", "blue", "host", "true"]);
    assert_eq!(output.code(), Some(125));
    assert!(
        output
            .stderr
            .contains("no available IPv4 addresses on this network's address pools: blue"),
        "{output:?}"
    );
    scene.docker("rm -f one");
    scene.docker("run --rm --network blue host true");
    assert_eq!(scene.docker("ps -aq"), "", "what was refused is not kept");
    scene.end();
}

#[test]
fn a_bridge_that_somebody_puts_down_comes_back_with_its_addresses() {
    require_stage!();
    let scene = Scene::new();
    scene.docker(
        "network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 \
         -o com.docker.network.bridge.name=blue0 blue",
    );
    let one = scene.start("one", "--network blue");
    // Of a link that goes down the kernel takes the IPv6 addresses, be it down ever so shortly.
    for turns in [&["down"][..], &["down", "up"]] {
        for turn in turns {
            scene.host.ip(&format!("link set blue0 {turn}"));
        }
        vw_testkit::eventually("its gateways answer", Duration::from_secs(10), || {
            traffic::ping(&one, "10.9.0.1") && traffic::ping(&one, "fd00:9::1")
        });
    }
    scene.end();
}

#[test]
fn an_interface_that_goes_again_and_again_comes_back_ever_later() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let one = scene.start("one", "--network blue");
    let begun = Instant::now();
    // At once, after a second, and after two: to bring it back, all is compared.
    for _ in 0..3 {
        one.ip("link del eth0");
        vw_testkit::eventually("it is back", Duration::from_secs(20), || {
            one.sh("ip link show eth0").code() == Some(0)
        });
    }
    assert!(begun.elapsed() >= Duration::from_secs(3));
    scene.end();
}
