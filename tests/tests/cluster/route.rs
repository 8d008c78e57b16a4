//! Networks whose packets pass between hosts as they are (`overlay.mode=route`).

use crate::{
    over_every_store, over_one_store,
    stage::{Kind, LEASE, SOON, Stage},
};
use vw_testkit::{Host, eventually, traffic};

over_every_store! {
    the_routes_of_a_host_go_with_it_and_come_back_with_its_wire,
    an_endpoint_that_moves_is_found_by_its_former_neighbours,
}

over_one_store! {
    routed_containers_find_and_reach_each_other_in_no_tunnel,
    routed_networks_are_apart_and_strangers_stay_out,
    a_routed_network_leads_out_by_its_own_bridge,
    routed_packets_pass_where_hosts_speak_ipv6_alone,
    hosts_on_other_segments_are_told_of,
    what_a_routed_network_cannot_be_is_refused,
    what_others_take_off_the_wire_comes_back,
    a_host_that_leaves_the_segment_is_led_to_no_more,
    a_host_that_does_not_forward_takes_no_part_in_a_routed_network,
    a_next_hop_that_shows_no_owner_does_not_outlive_its_network,
}

const ROUTED: &str = "network create -d overlay -o vethwork.overlay.mode=route";

/// Waits for a name inside a container.
#[track_caller]
fn known(stage: &Stage, inside: &Host, name: &str, family: &str) -> String {
    let mut address = String::new();
    eventually("the name is known", SOON, || {
        address = stage.resolve(inside, name, family);
        !address.is_empty()
    });
    address
}

/// The link-layer address that a container has for a neighbour.
fn neighbor(inside: &Host, address: &str) -> String {
    let shown = inside.ip(&format!("neigh show {address}"));
    let mut words = shown.split(' ').skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

fn mac(inside: &Host) -> String {
    let shown = inside.ip("-o link show eth0");
    let mut words = shown.split(' ').skip_while(|word| *word != "link/ether");
    words.nth(1).unwrap_or_default().to_owned()
}

fn routed_containers_find_and_reach_each_other_in_no_tunnel(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    stage.docker("a", &format!("{ROUTED} --ipv6 shop"));
    for host in ["b", "c"] {
        eventually("the network is there", SOON, || stage.knows(host, "shop"));
    }
    let web = stage.start("a", "web", "--network shop");
    let near = stage.start("b", "near", "--network shop");
    let mate = stage.start("b", "mate", "--network shop");
    let far = stage.start("c", "far", "--network shop");
    let _server = traffic::Server::tcp(&web, "passed-in-the-open", "[::]:80");
    let wire = stage.watch();
    for (client, name) in [(&near, "web"), (&far, "near.shop"), (&web, "far")] {
        for family in ["A", "AAAA"] {
            let address = known(&stage, client, name, family);
            assert!(traffic::ping(client, &address), "{name} at {address}");
        }
    }
    let v4 = known(&stage, &near, "web", "A");
    let v6 = known(&stage, &near, "web", "AAAA");
    let own = stage.address("b", "near", "shop");
    let seen = traffic::tcp(&near, &format!("{v4}:80")).expect("the server answers");
    assert_eq!(seen.seen.ip().to_canonical().to_string(), own);
    assert!(traffic::tcp(&far, &format!("[{v6}]:80")).is_ok());
    let seen = wire.seen(stage.host("b"), &stage.addr("a"));
    assert_eq!(seen.packets_to(4789), 0, "no tunnel");
    assert!(seen.holds("passed-in-the-open"), "the packets themselves");
    assert!(web.ip("-o link show eth0").contains("mtu 1500"));
    // The subnet is one: who is beside is reached directly, and who is not by way of the host.
    assert!(near.ip("-4 addr show eth0").contains(&format!("{own}/20")));
    assert!(traffic::ping(&near, &known(&stage, &near, "mate", "A")));
    let beside = stage.address("b", "mate", "shop");
    assert_eq!(neighbor(&near, &beside), mac(&mate));
    assert_ne!(neighbor(&near, &v4), mac(&web));
    stage.forget("b");
    assert!(traffic::ping(&near, &v4), "a new daemon changes nothing");
    stage.docker("a", "rm -f web");
    eventually("the way goes with the endpoint", SOON, || {
        let host = stage.host("b");
        let routes = host.ip("route show") + &host.ip("-6 route show");
        !routes.contains(&v4) && !routes.contains(&v6) && !host.ip("neigh show proxy").contains(&v4)
    });
    assert!(!traffic::ping(&near, &v4));
    stage.end();
}

fn routed_networks_are_apart_and_strangers_stay_out(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    for network in ["blue", "green"] {
        stage.docker("a", &format!("{ROUTED} --ipv6 {network}"));
        for host in ["b", "c"] {
            eventually("the network is there", SOON, || stage.knows(host, network));
        }
    }
    stage.docker(
        "a",
        "network create -o com.docker.network.bridge.enable_ip_masquerade=false local",
    );
    let blue = stage.start("a", "blue", "--network blue");
    let green = stage.start("a", "green", "--network green");
    let local = stage.start("a", "local", "--network local");
    let other = stage.start("b", "other", "--network blue");
    let there = known(&stage, &blue, "other", "A");
    let there6 = known(&stage, &blue, "other", "AAAA");
    eventually("they reach each other", SOON, || {
        traffic::ping(&blue, &there) && traffic::ping(&blue, &there6)
    });
    assert!(!traffic::ping(&green, &there), "of another network");
    assert!(!traffic::ping(&local, &there), "of a bridge of this host");
    assert!(!traffic::ping(stage.host("a"), &there), "this host itself");
    assert!(!traffic::ping(&green, &stage.address("a", "blue", "blue")));
    // With the addresses of somebody who may: not from another network's bridge.
    let here = stage.address("a", "blue", "blue");
    assert!(traffic::ping(&other, &here));
    green.ip(&format!("addr add {there}/32 dev eth0"));
    assert!(!comes(&green, &there, &here, &blue));
    local.ip(&format!("addr add {here}/32 dev eth0"));
    assert!(!comes(&local, &here, &there, &other), "it never leaves");
    // Nor from its own, where it is another host's.
    let third = stage.start("c", "third", "--network blue");
    let third_at = known(&stage, &blue, "third", "A");
    eventually("it is reached", SOON, || {
        comes(&blue, &here, &third_at, &third)
    });
    blue.ip(&format!("addr add {there}/32 dev eth0"));
    assert!(!comes(&blue, &there, &third_at, &third));
    // A stranger on the segment who sends by way of a host.
    let stranger = stage.stranger();
    stranger.ip(&format!("route add {here} via {}", stage.addr("a")));
    stranger.ip(&format!("route add {there} via {}", stage.addr("a")));
    assert!(!traffic::ping(&stranger, &here));
    assert!(!traffic::ping(&stranger, &there), "nor is a host a router");
    stranger.ip("addr add 10.64.200.200/32 dev lo");
    assert!(!comes(&stranger, "10.64.200.200", &here, &blue));
    stranger.ip(&format!("addr add {here}/32 dev lo"));
    assert!(!comes(&stranger, &here, &there, &other), "by way of a");
    // What keeps them apart are the host's rules: without them all of it comes.
    stage.kill("a");
    stage.host("a").run(["nft", "flush", "ruleset"]).must();
    assert!(comes(&stranger, &here, &there, &other));
    // Nobody sends a packet to an address of its own, or takes one from there.
    stranger.ip(&format!("addr del {here}/32 dev lo"));
    blue.ip(&format!("addr del {there}/32 dev eth0"));
    assert!(comes(&stranger, "10.64.200.200", &here, &blue));
    assert!(comes(&green, &there, &here, &blue));
    assert!(comes(&local, &here, &there, &other));
    stage.restart_with("a", &[]);
    assert!(!comes(&green, &there, &here, &blue), "with them again");
    stage.end();
}

/// Whether an echo request from an address comes in, answered or not.
fn comes(host: &Host, from: &str, to: &str, at: &Host) -> bool {
    let before = received(at);
    let words = ["busybox", "ping", "-c", "1", "-W", "1", "-I", from, to];
    host.run(words);
    received(at) > before
}

/// How many echo requests came in.
fn received(inside: &Host) -> u64 {
    let shown = inside.sh("grep '^Icmp:' /proc/net/snmp | tail -1").ok();
    let columns: Vec<&str> = shown.split(' ').collect();
    columns
        .get(9)
        .and_then(|text| text.parse().ok())
        .expect("InEchos")
}

fn a_routed_network_leads_out_by_its_own_bridge(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} shop"));
    stage.docker("a", &format!("{ROUTED} --ipv6 --internal closed"));
    for network in ["shop", "closed"] {
        eventually("the network is there", SOON, || stage.knows("b", network));
    }
    let web = stage.start("a", "web", "--network shop -p 8080:80");
    let client = stage.start("b", "client", "--network shop");
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let _there = traffic::Server::tcp(stage.host("b"), "b", "0.0.0.0:9");
    let (a, b) = (stage.addr("a"), stage.addr("b"));
    assert!(
        traffic::tcp(stage.host("b"), &format!("{a}:8080")).is_ok(),
        "the port is published"
    );
    assert!(
        traffic::tcp(&client, &format!("{a}:8080")).is_ok(),
        "also to the network's own"
    );
    assert!(traffic::tcp(stage.host("a"), "127.0.0.1:8080").is_ok());
    let seen = traffic::tcp(&web, &format!("{b}:9")).expect("the outside is there");
    assert_eq!(seen.seen.ip().to_string(), a, "what leaves is masqueraded");
    assert!(!web.ip("-br link").contains("eth1"), "by no other network");
    // An internal one reaches its own on other hosts, and nobody else.
    let shut = stage.start("a", "shut", "--network closed");
    let in_there = stage.start("b", "in-there", "--network closed");
    for family in ["A", "AAAA"] {
        let address = known(&stage, &shut, "in-there", family);
        eventually("neighbours are reached", SOON, || {
            traffic::ping(&shut, &address)
        });
    }
    assert_eq!(shut.ip("route show default"), "");
    shut.ip("route add default dev eth0");
    shut.ip(&format!(
        "neigh replace {b} dev eth0 lladdr {}",
        neighbor(&shut, &known(&stage, &shut, "in-there", "A"))
    ));
    let from = |name, network| stage.address("a", name, network);
    let outside = stage.host("b");
    assert!(comes(&web, &from("web", "shop"), &b, outside));
    assert!(
        !comes(&shut, &from("shut", "closed"), &b, outside),
        "no way out"
    );
    drop(in_there);
    stage.end();
}

fn the_routes_of_a_host_go_with_it_and_come_back_with_its_wire(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} --ipv6 shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let addresses = ["A", "AAAA"].map(|family| known(&stage, &web, "client", family));
    eventually("it is reached", SOON, || {
        addresses.iter().all(|address| traffic::ping(&web, address))
    });
    stage.cut("b");
    eventually("the dead host's routes go", LEASE, || {
        let host = stage.host("a");
        let routes = host.ip("route show") + &host.ip("-6 route show");
        addresses.iter().all(|address| !routes.contains(address))
    });
    stage.mend("b");
    let back = ["A", "AAAA"].map(|family| {
        let mut address = String::new();
        eventually("it is known again", LEASE, || {
            address = stage.resolve(&client, "web", family);
            !address.is_empty()
        });
        address
    });
    // Its kernel forgot what led over the wire.
    eventually("it reaches others again", LEASE, || {
        back.iter().all(|address| traffic::ping(&client, address))
    });
    stage.end();
}

fn routed_packets_pass_where_hosts_speak_ipv6_alone(kind: Kind) {
    let stage = Stage::over_ipv6(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} --ipv6 shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let _server = traffic::Server::tcp(&web, "web", "[::]:80");
    let v4 = known(&stage, &client, "web", "A");
    let v6 = known(&stage, &client, "web", "AAAA");
    eventually("it is reached", SOON, || traffic::ping(&client, &v6));
    assert!(traffic::tcp(&client, &format!("[{v6}]:80")).is_ok());
    let seen = traffic::tcp(&client, &format!("{v4}:80")).expect("IPv4 goes over IPv6");
    let own = stage.address("b", "client", "shop");
    assert_eq!(seen.seen.ip().to_canonical().to_string(), own);
    stage.end();
}

fn hosts_on_other_segments_are_told_of(kind: Kind) {
    let stage = Stage::on_no_segment(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let address = known(&stage, &client, "web", "A");
    let said = format!("network shop does not reach host {}", stage.addr("a"));
    eventually("it is told", SOON, || {
        stage.api("b", "/info")["Warnings"]
            .to_string()
            .contains(&said)
    });
    assert!(!traffic::ping(&client, &address));
    drop(web);
    stage.docker("a", "rm -f web");
    eventually("it is told no more", SOON, || {
        !stage.api("b", "/info")["Warnings"]
            .to_string()
            .contains(&said)
    });
    stage.end();
}

fn what_a_routed_network_cannot_be_is_refused(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    for option in ["encrypted", "vethwork.overlay.port=4790"] {
        let refused = stage.refused("a", &format!("{ROUTED} -o {option} shop"));
        let name = option.split('=').next().expect("a name");
        assert!(
            refused.contains(&format!("option {name} is about tunnels")),
            "{refused}"
        );
    }
    let refused = stage.refused("a", "network create -d overlay -o overlay.mode=bus shop");
    assert!(refused.contains("use vxlan or route"), "{refused}");
    let refused = stage.refused("a", &format!("{ROUTED} --subnet 192.0.2.0/26 shop"));
    assert!(
        refused.contains("this host's route to 192.0.2.0/24"),
        "{refused}"
    );
    // What b has cannot be known on a; b is not cut off by it.
    stage.docker("b", "network create --subnet 10.42.0.0/24 own");
    stage.docker(
        "a",
        "network create -d overlay -o overlay.mode=route --subnet 10.42.0.0/16 shop",
    );
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let refused = stage.refused("b", "run -d --name web --network shop host sleep 9");
    assert!(refused.contains("10.42.0.0/24 of network own"), "{refused}");
    stage.docker("b", "rm web");
    drop(stage.start("a", "web", "--network shop"));
    let refused = stage.refused("a", "network create --subnet 10.42.7.0/24 late");
    assert!(refused.contains("Pool overlaps"), "{refused}");
    stage.end();
}

fn what_others_take_off_the_wire_comes_back(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} --ipv6 shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let _client = stage.start("b", "client", "--network shop");
    let addresses = ["A", "AAAA"].map(|family| known(&stage, &web, "client", family));
    let reached = || addresses.iter().all(|address| traffic::ping(&web, address));
    eventually("it is reached", SOON, reached);
    let a = stage.host("a");
    let addr = format!("{}/24", stage.addr("a"));
    let own = a.ip("-6 -br addr show dev wire deprecated");
    let own = own.split_whitespace().nth(2).expect("a next hop of others");
    // As systemd-networkd does with what it did not make.
    for line in [
        "route flush dev wire proto 86".to_owned(),
        "-6 route flush dev wire proto 86".to_owned(),
        format!("addr del {own} dev wire"),
    ] {
        a.ip(&line);
        eventually("it is back", SOON, || {
            reached() && a.ip("-6 addr show dev wire").contains(own)
        });
    }
    // As a renewal that failed: the kernel flushes what leads over the link, and tells of none.
    a.ip(&format!("addr del {addr} dev wire"));
    assert!(!a.ip("route show proto 86").contains(&addresses[0]));
    a.ip(&format!("addr add {addr} dev wire"));
    eventually("it is back with the address", SOON, reached);
    // Or one whose answer comes late.
    stage.cut("a");
    a.ip(&format!("addr del {addr} dev wire"));
    let known = stage.daemon("a").log().len();
    stage.mend("a");
    eventually("what is refused is told", SOON, || {
        stage.daemon("a").log()[known..].contains("cannot repair Some(Route(")
    });
    assert!(!stage.daemon("a").log()[known..].contains("other hosts is back"));
    a.ip(&format!("addr add {addr} dev wire"));
    eventually("it is back with the late address", LEASE, reached);
    stage.end();
}

fn a_host_that_leaves_the_segment_is_led_to_no_more(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} --ipv6 shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let _client = stage.start("b", "client", "--network shop");
    let addresses = ["A", "AAAA"].map(|family| known(&stage, &web, "client", family));
    let routes = |stage: &Stage| {
        let a = stage.host("a");
        a.ip("route show") + &a.ip("-6 route show") + &a.ip("neigh show proxy")
    };
    eventually("it is reached", SOON, || {
        addresses.iter().all(|address| traffic::ping(&web, address))
    });
    // It still hears the others, from where they do not expect it.
    stage
        .host("b")
        .ip("addr add 198.51.100.2/24 dev wire metric 1");
    stage.readvertise("b", "198.51.100.2");
    eventually("no route leads to where it was", LEASE, || {
        let routes = routes(&stage);
        addresses.iter().all(|address| !routes.contains(address))
    });
    eventually("it is told", SOON, || {
        stage.api("a", "/info")["Warnings"]
            .to_string()
            .contains("network shop does not reach host 198.51.100.2")
    });
    stage.readvertise("b", "192.0.2.2");
    eventually("it is reached again", LEASE, || {
        addresses.iter().all(|address| traffic::ping(&web, address))
    });
    assert!(
        !stage.api("a", "/info")["Warnings"]
            .to_string()
            .contains("does not reach host")
    );
    stage.end();
}

fn an_endpoint_that_moves_is_found_by_its_former_neighbours(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker(
        "a",
        &format!("{ROUTED} --subnet 10.70.0.0/20 --ipv6 --subnet fd70::/64 shop"),
    );
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let near = stage.start("b", "near", "--network shop");
    let at = ["10.70.1.77", "fd70::4d:77"];
    let where_it_is = format!("--network shop --ip {} --ip6 {}", at[0], at[1]);
    let before = stage.start("b", "moved", &where_it_is);
    for address in at {
        assert!(traffic::ping(&near, address), "{address}");
        assert_eq!(neighbor(&near, address), mac(&before));
    }
    stage.docker("b", "rm -f moved");
    let _after = stage.start("a", "moved", &where_it_is);
    // A neighbour that answered is asked again after half a minute.
    for address in at {
        eventually("it is found", SOON, || traffic::ping(&near, address));
    }
    stage.end();
}

fn a_host_that_does_not_forward_takes_no_part_in_a_routed_network(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} --ipv6 shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    stage.restart_with("b", &["--ip-forward=false"]);
    let switches = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
    for off in switches {
        for switch in switches {
            let value = u8::from(switch != off);
            let path = switch.replace('.', "/");
            stage
                .host("b")
                .sh(&format!("echo {value} > /proc/sys/{path}"))
                .must();
        }
        let refused = stage.refused("b", "run -d --name web --network shop host sleep 9");
        assert!(refused.contains(&format!("set {off}=1")), "{refused}");
        stage.docker("b", "rm web");
    }
    stage
        .host("b")
        .sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        .must();
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    for family in ["A", "AAAA"] {
        let address = known(&stage, &client, "web", family);
        eventually("it is reached", SOON, || traffic::ping(&client, &address));
    }
    drop(web);
    stage.end();
}

fn a_next_hop_that_shows_no_owner_does_not_outlive_its_network(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", &format!("{ROUTED} --ipv6 shop"));
    let shown = || stage.host("a").ip("-6 -br addr show dev wire deprecated");
    let web = stage.start("a", "web", "--network shop");
    let stands = shown();
    let own = stands.split_whitespace().nth(2).expect("a next hop");
    drop(web);
    stage.docker("a", "rm -f web");
    eventually("it goes with the network", SOON, || !shown().contains(own));
    // As kernels before 5.18 show it, left by a daemon that was killed.
    let lifetimes = "valid_lft forever preferred_lft 0 nodad";
    let a = stage.host("a");
    a.ip(&format!("addr add {own} dev wire {lifetimes}"));
    a.ip("addr add fe80::1/128 dev wire valid_lft forever preferred_lft 0 nodad");
    let mut stage = stage;
    stage.restart_with("a", &[]);
    let shown = stage.host("a").ip("-6 -br addr show dev wire deprecated");
    assert!(!shown.contains(own), "{shown}");
    assert!(shown.contains("fe80::1/128"), "another's stays: {shown}");
    stage.host("a").ip("addr del fe80::1/128 dev wire");
    stage.end();
}
