//! Several networks a container: its interfaces, routes and ports as they come and go.

use crate::{
    require_stage,
    scene::{HOST, Scene},
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use vw_testkit::{Host, eventually, traffic};

const SOON: Duration = Duration::from_secs(10);

#[track_caller]
fn holds_two(inside: &Host) {
    let shown = inside.ip("-br link show type veth");
    for link in ["eth0@", "eth1@"] {
        assert!(shown.contains(link), "{shown}");
    }
}

#[test]
fn interfaces_take_the_lowest_free_number() {
    require_stage!();
    let scene = Scene::new();
    for network in ["blue", "green", "red"] {
        scene.docker(&format!("network create {network}"));
    }
    let web = scene.start("web", "--network blue --network green");
    let holds = |link: &str, network: &str| {
        let shown = web.ip(&format!("-4 addr show {link}"));
        let address = scene.address("web", network);
        assert!(
            shown.contains(&format!("{address}/")),
            "{link} {network}: {shown}"
        );
    };
    holds("eth0", "blue");
    holds("eth1", "green");
    scene.docker("network disconnect blue web");
    scene.docker("network connect red web");
    holds("eth0", "red");
    holds("eth1", "green");
    scene.docker("restart -t 0 web");
    let web = scene.inside("web");
    holds_two(&web);
    for network in ["green", "red"] {
        scene.docker(&format!("network disconnect {network} web"));
    }
    eventually("slow deletion follows", SOON, || {
        web.ip("-br link show type veth").is_empty()
    });
    scene.end();
}

#[test]
fn the_gateway_follows_priority_and_what_is_left() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.docker("network create --subnet 10.8.0.0/24 green");
    scene.docker("network create --subnet 10.7.0.0/24 --internal closed");
    let web = scene.start("web", "--network name=blue,gw-priority=1 --network name=green,gw-priority=2 --network closed -p 8080:80");
    let route = || web.ip("route show default");
    assert!(route().contains("via 10.8.0.1"), "{}", route());
    let server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let to = format!("{HOST}:8080");
    assert!(traffic::tcp(&scene.outside, &to).is_ok());
    scene.docker("network disconnect green web");
    assert!(route().contains("via 10.9.0.1"), "{}", route());
    assert!(
        traffic::tcp(&scene.outside, &to).is_ok(),
        "the port has moved along"
    );
    scene.docker("network disconnect blue web");
    assert_eq!(route(), "");
    assert!(
        traffic::tcp(&scene.outside, &to).is_err(),
        "an internal network publishes nothing"
    );
    scene.docker("network connect green web");
    assert!(route().contains("via 10.8.0.1"), "{}", route());
    assert!(
        traffic::tcp(&scene.outside, &to).is_ok(),
        "the port is back"
    );
    drop(server);
    scene.end();
}

#[test]
fn addresses_macs_and_aliases_are_as_asked() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    scene.docker("network create --ipv6 --subnet 10.8.0.0/24 --subnet fd00:8::/64 green");
    let web = scene.start(
        "web",
        "--network blue --ip 10.9.0.42 --ip6 fd00:9::42 --mac-address 02:00:00:00:00:2a",
    );
    scene.docker("network connect --ip 10.8.0.42 --ip6 fd00:8::42 --alias shop green web");
    for (link, words) in [
        (
            "eth0",
            ["10.9.0.42/24", "fd00:9::42/64", "02:00:00:00:00:2a"],
        ),
        ("eth1", ["10.8.0.42/24", "fd00:8::42/64", "link/ether"]),
    ] {
        let shown = web.ip(&format!("addr show {link}"));
        for word in words {
            assert!(shown.contains(word), "{link} {word}: {shown}");
        }
        assert!(!shown.contains("tentative"), "{shown}");
    }
    let near = scene.start("near", "--network green");
    assert!(traffic::ping(&near, "10.8.0.42") && traffic::ping(&near, "fd00:8::42"));
    assert_eq!(
        near.run(["dig", "+short", "@127.0.0.11", "shop"]).ok(),
        "10.8.0.42"
    );
    scene.docker("stop -t 0 web");
    scene.docker("start web");
    assert_eq!(
        scene.endpoint("web", "blue", "MacAddress"),
        "02:00:00:00:00:2a"
    );
    assert_eq!(
        scene.address("web", "blue"),
        "10.9.0.42",
        "what was asked stays"
    );

    let mac = scene.endpoint("near", "green", "MacAddress");
    let first = u8::from_str_radix(&mac[..2], 16).expect("hexadecimal");
    assert_eq!(first & 3, 2, "locally administered, for one: {mac}");
    scene.docker("restart -t 0 near");
    assert_eq!(
        scene.endpoint("near", "green", "MacAddress"),
        mac,
        "it is stable"
    );
    scene.end();
}

#[test]
fn a_namespace_is_shared_by_containers() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue");
    let server = traffic::Server::tcp(&web, "web", "127.0.0.1:80");
    scene.docker("run -d --name side --network container:web host sleep 1000");
    let pid = scene.docker("inspect -f {{.State.Pid}} side");
    let side = scene
        .lab
        .at("side", &Path::new("/proc").join(pid).join("ns/net"));
    assert!(traffic::tcp(&side, "127.0.0.1:80").is_ok());
    let refusal = scene.refused("network connect bridge side");
    assert!(refusal.contains("container sharing network namespace with another container or host cannot be connected to any other network"), "{refusal}");
    drop(server);
    scene.end();
}

#[test]
fn a_container_that_does_not_run_is_connected_all_the_same() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --subnet 10.9.0.0/24 blue");
    scene.docker("network create --subnet 10.8.0.0/24 green");
    scene.docker("create --name web --network blue host sleep 1000");
    scene.docker("network connect --ip 10.8.0.8 green web");
    scene.docker("network disconnect blue web");
    scene.docker("start web");
    let shown = scene.inside("web").ip("-4 -br addr");
    assert!(
        shown.contains("10.8.0.8/24") && !shown.contains("10.9.0."),
        "{shown}"
    );
    scene.docker("stop -t 0 web");
    scene.docker("network disconnect green web");
    scene.docker("network rm blue green");
    scene.docker("start web");
    scene.end();
}

#[test]
fn many_start_side_by_side_and_find_one_another() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let mut starting: Vec<_> = (0..8)
        .map(|number| {
            let line = format!("run -d --name web{number} --network blue -p 80 host sleep 1000");
            let mut command = scene.daemon.docker_command(line.split_whitespace());
            scene.host.spawn_command(&mut command)
        })
        .collect();
    for running in &mut starting {
        let status =
            vw_testkit::poll(Duration::from_secs(50), || running.ended()).expect("it ends");
        assert!(status.success(), "{}", running.output());
    }
    let mut seen = std::collections::BTreeSet::new();
    let first = scene.inside("web0");
    for number in 0..8 {
        let name = format!("web{number}");
        let address = scene.address(&name, "blue");
        let answer = first.run(["dig", "+short", "@127.0.0.11", &name]).ok();
        assert_eq!(answer, address);
        assert!(traffic::ping(&first, &address), "{name}");
        seen.insert(address);
        seen.insert(scene.docker(&format!("port {name}")));
    }
    assert_eq!(seen.len(), 16, "no address and no port twice: {seen:?}");
    scene.end();
}

/// What everybody does at once while `one` and `two` run on `blue`: each would be refused, or wait,
/// in some order or other.
fn racing() -> Vec<(&'static str, &'static str, Value)> {
    let container = |name: &str| json!({"Container": name});
    vec![
        ("POST", "/networks/green/connect", container("one")),
        ("POST", "/networks/green/disconnect", container("one")),
        ("POST", "/networks/green/connect", container("two")),
        ("POST", "/networks/blue/disconnect", container("two")),
        ("POST", "/networks/blue/connect", container("two")),
        ("POST", "/containers/two/stop?t=0", json!({})),
        ("POST", "/containers/two/start", json!({})),
        ("POST", "/networks/create", json!({"Name": "red"})),
        ("DELETE", "/networks/red", json!({})),
        ("POST", "/networks/red/connect", container("one")),
    ]
}

/// A container, the networks and the kernel tell the same of where it is.
#[track_caller]
fn agrees(scene: &Scene, name: &str) {
    let format = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    let networks = scene.daemon.docker(["inspect", "-f", format, name]).ok();
    let inside = scene.inside(name);
    let links = inside.ip("-o link show type veth");
    let count = networks.split_whitespace().count();
    assert_eq!(links.lines().count(), count, "{name}: {networks}: {links}");
    for network in networks.split_whitespace() {
        let address = format!("{}/", scene.address(name, network));
        assert!(inside.ip("addr").contains(&address), "{name}: {address}");
        let members = scene.docker(&format!("network inspect {network}"));
        assert!(members.contains(&address), "{network}: {members}");
    }
}

#[test]
fn attaching_and_detaching_race_and_agree_in_the_end() {
    require_stage!();
    let scene = Scene::new();
    for network in ["blue", "green"] {
        scene.docker(&format!("network create {network}"));
    }
    for name in ["one", "two"] {
        scene.start(name, "--network blue -p 80");
    }
    let (daemon, requests) = (&scene.daemon, racing());
    std::thread::scope(|scope| {
        for (method, path, body) in &requests {
            scope.spawn(move || {
                for _ in 0..8 {
                    let reply = daemon.api(method, path, Some(body));
                    let told = reply.text();
                    // Docker's status for that is 500.
                    let meant = reply.status < 500 || told.contains("is not connected to");
                    assert!(meant, "{path}: {} {told}", reply.status);
                }
            });
        }
    });
    scene.docker("start two");
    for name in ["one", "two"] {
        agrees(&scene, name);
    }
    scene.end();
}
