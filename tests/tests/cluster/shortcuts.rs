//! Frames of overlay networks that pass the bridges by.
//!
//! A bridge that is down forwards nothing: what is reached then is reached by a shortcut.

use crate::{
    over_one_store,
    services::{addresses, alike, answer, network},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{Host, eventually, gro, traffic};

over_one_store! {
    frames_pass_the_bridges_by,
    frames_pass_the_bridges_by_between_hosts_of_ipv6,
    services_are_reached_past_the_bridges,
    a_host_that_has_none_goes_by_the_bridge_and_says_so,
    an_address_that_moves_is_found_on_its_host,
    what_is_lost_while_nobody_looks_is_put_right_at_the_start,
}

/// Makes a debug build find no shortcuts.
const HIDE: &str = "VETHWORK_NO_SHORTCUTS";

/// Does something in the namespace of every network that a host has, and tells what it says.
pub(crate) fn inside(stage: &Stage, host: &str, what: &str) -> String {
    let netns = stage.daemon(host).exec_root().join("netns");
    // Not in those that hosts try the way by.
    let each = "for net in $(ls -d $FOLDER/net-* | grep -v net-00000000); do nsenter --net=$net sh -c \"$WHAT\" || exit; done";
    let line = format!("FOLDER={}; WHAT='{what}'; {each}", netns.display());
    stage.host(host).sh(&line).ok()
}

/// The namespace of a network on a host.
pub(crate) fn place(stage: &Stage, host: &str, network: &str) -> Host {
    let id = stage.docker(host, &format!("network inspect -f {{{{.Id}}}} {network}"));
    let folder = stage.daemon(host).exec_root().join("netns");
    stage
        .lab()
        .at(network, &folder.join(format!("net-{}", id.trim())))
}

/// Puts the bridges of some hosts down, or up again.
fn bridges(stage: &Stage, hosts: &[&str], state: &str) {
    for host in hosts {
        inside(stage, host, &format!("ip link set br0 {state}"));
    }
}

fn told(stage: &Stage, host: &str) -> String {
    let info = stage.cli(host, "info");
    let mut lines = info.lines();
    let line = lines.find_map(|line| line.strip_prefix("Overlay Shortcuts: "));
    line.unwrap_or_default().to_owned()
}

/// Returns from the test, with the reason, where frames cannot pass bridges by.
macro_rules! require_shortcuts {
    ($stage:expr) => {
        let told = told(&$stage, "a");
        vw_testkit::require!(told == "taken", "the kernel has no shortcuts: {told}");
    };
}

/// By every protocol, and much of it.
#[track_caller]
fn talk(stage: &Stage, from: &Host, to: &Host, name: &str, families: &[&str]) {
    for family in families {
        let mut addr = String::new();
        eventually("the name is known", SOON, || {
            addr = stage.resolve(from, name, family);
            !addr.is_empty()
        });
        eventually("it is reached", SOON, || traffic::ping(from, &addr));
        let any = match *family {
            "A" => "0.0.0.0:0",
            _ => "[::]:0",
        };
        let bracketed = if *family == "A" {
            addr
        } else {
            format!("[{addr}]")
        };
        let server = traffic::Server::tcp(to, name, any);
        let mut talk = traffic::Conversation::open(from, &format!("{bracketed}:{}", server.port()))
            .unwrap_or_else(|error| panic!("{name} by TCP over {family}: {error}"));
        talk.say(&"x".repeat(300_000)).expect("it echoes much");
        let server = traffic::Server::udp(to, name, any);
        let answered = traffic::udp(from, &format!("{bracketed}:{}", server.port()));
        assert!(answered.is_ok(), "{name} by UDP over {family}");
    }
}

/// Two on one host and one on another, once with bridges and then without.
#[track_caller]
fn pass_by(stage: &Stage, options: &str, families: &[&str]) {
    stage.docker("a", &format!("network create -d overlay {options} shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let near = stage.start("a", "near", "--network shop");
    let far = stage.start("b", "far", "--network shop");
    for state in ["up", "down"] {
        bridges(stage, &["a", "b"], state);
        talk(stage, &near, &web, "web", families);
        talk(stage, &far, &web, "web", families);
        talk(stage, &web, &far, "far", families);
    }
    bridges(stage, &["a", "b"], "up");
    for (host, name) in [("a", "web"), ("a", "near"), ("b", "far")] {
        stage.docker(host, &format!("rm -f {name}"));
    }
    stage.docker("a", "network rm shop");
    eventually("it is gone", SOON, || !stage.knows("b", "shop"));
}

fn frames_pass_the_bridges_by(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    require_shortcuts!(stage);
    for options in ["--ipv6", "--ipv6 -o encrypted"] {
        pass_by(&stage, options, &["A", "AAAA"]);
    }
    stage.end();
}

fn frames_pass_the_bridges_by_between_hosts_of_ipv6(kind: Kind) {
    let stage = Stage::over_ipv6(kind, &["a", "b"]);
    require_shortcuts!(stage);
    for options in ["--ipv6 --ipv4=false", "--ipv6 -o encrypted"] {
        let families: &[&str] = match options.contains("ipv4=false") {
            true => &["AAAA"],
            false => &["A", "AAAA"],
        };
        pass_by(&stage, options, families);
    }
    stage.end();
}

fn services_are_reached_past_the_bridges(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    require_shortcuts!(stage);
    network(&stage, "--ipv6", "shop");
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    eventually("b knows the service", SOON, || {
        stage.cli("b", "service ls").contains("web")
    });
    let label = "--network shop --label vethwork.service=web";
    let one = stage.start("a", "one", label);
    let two = stage.start("b", "two", label);
    let near = stage.start("b", "near", "--network shop");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 2);
    let vips = addresses(&stage, "b", "web");
    let both = ["one", "two"];
    let outside = format!("{}:8080", stage.addr("b"));
    let stranger = stage.stranger();
    for state in ["up", "down"] {
        bridges(&stage, &["a", "b"], state);
        for from in [&near, &two] {
            answer(from, &format!("{}:80", vips[0]), &both);
            answer(from, &format!("[{}]:80", vips[1]), &both);
        }
        answer(&stranger, &outside, &both);
    }
    bridges(&stage, &["a", "b"], "up");
    stage.end();
}

fn a_host_that_has_none_goes_by_the_bridge_and_says_so(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    require_shortcuts!(stage);
    stage.docker("a", "network create -d overlay --ipv6 shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let far = stage.start("b", "far", "--network shop");
    let both = ["A", "AAAA"];
    // As an older daemon leaves a network, and as one finds it on a kernel that has none.
    stage.set_env("b", HIDE, Some("1"));
    assert!(
        told(&stage, "b").starts_with("none: "),
        "{}",
        told(&stage, "b")
    );
    assert_eq!(told(&stage, "a"), "taken");
    inside(&stage, "b", "! tc qdisc show | grep -q ingress");
    let beside = stage.start("b", "beside", "--network shop");
    talk(&stage, &far, &web, "web", &both);
    talk(&stage, &web, &far, "far", &both);
    talk(&stage, &far, &beside, "beside", &both);
    stage.forget("b");
    bridges(&stage, &["b"], "down");
    let to = stage.address("a", "web", "shop");
    assert!(!traffic::ping(&far, &to), "its bridge is down");
    bridges(&stage, &["b"], "up");
    stage.set_env("b", HIDE, None);
    assert_eq!(told(&stage, "b"), "taken");
    for state in ["up", "down"] {
        bridges(&stage, &["a", "b"], state);
        talk(&stage, &far, &web, "web", &both);
        talk(&stage, &far, &beside, "beside", &both);
    }
    bridges(&stage, &["a", "b"], "up");
    stage.end();
}

fn an_address_that_moves_is_found_on_its_host(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    require_shortcuts!(stage);
    stage.docker("a", "network create -d overlay --subnet 10.42.0.0/24 shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let clients = [
        stage.start("a", "one", "--network shop"),
        stage.start("b", "two", "--network shop"),
    ];
    let first = stage.start("a", "moving", "--network shop");
    let addr = stage.address("a", "moving", "shop");
    let shown = first.ip("-br link show eth0");
    let mac = shown
        .split_whitespace()
        .nth(2)
        .expect("it has one")
        .to_owned();
    drop(first);
    stage.docker("a", "rm -f moving");
    for host in ["b", "a", "b"] {
        let line = format!("--network shop --ip {addr} --mac-address {mac}");
        let moved = stage.start(host, "moving", &line);
        let server = traffic::Server::tcp(&moved, host, "0.0.0.0:80");
        for client in &clients {
            eventually("it is reached where it is", SOON, || {
                traffic::tcp(client, &format!("{addr}:80")).is_ok_and(|answer| answer.name == host)
            });
        }
        bridges(&stage, &["a", "b"], "down");
        for client in &clients {
            assert!(traffic::ping(client, &addr), "on {host}, past the bridges");
        }
        bridges(&stage, &["a", "b"], "up");
        drop(server);
        stage.docker(host, "rm -f moving");
    }
    stage.end();
}

fn what_is_lost_while_nobody_looks_is_put_right_at_the_start(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    require_shortcuts!(stage);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let far = stage.start("b", "far", "--network shop");
    talk(&stage, &far, &web, "web", &["A"]);
    let addr = stage.address("a", "web", "shop");
    let tunnel = place(&stage, "a", "shop");
    for lost in [
        "tc qdisc del dev vxlan0 ingress",
        "tc filter del block 30327",
        "for dev in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do tc qdisc del dev $dev ingress 2>/dev/null; done; true",
    ] {
        stage.kill("a");
        inside(&stage, "a", lost);
        // As networks of a former version have it.
        tunnel.enter(|| gro::set("vxlan0", true));
        assert!(traffic::ping(&far, &addr), "by the bridge still");
        stage.restart_with("a", &[]);
        assert!(!tunnel.enter(|| gro::joins("vxlan0")), "hosts are pairs");
        talk(&stage, &far, &web, "web", &["A"]);
        bridges(&stage, &["a", "b"], "down");
        talk(&stage, &far, &web, "web", &["A"]);
        bridges(&stage, &["a", "b"], "up");
        stage.forget("a");
    }
    // A daemon that dies while an endpoint comes leaves nothing of it.
    stage.die_at(
        "a",
        "apply.halfway",
        "run -d --name half --network shop host sleep 1000",
    );
    talk(&stage, &far, &web, "web", &["A"]);
    // It stands or does not.
    stage.daemon("a").docker(["rm", "-f", "half"]);
    stage.forget("a");
    stage.end();
}
