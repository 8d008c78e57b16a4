//! What `cluster status` tells when a part of the cluster fails.

use crate::{
    encryption::{create, pair},
    over_every_store, over_one_store,
    stage::{Kind, LEASE, SOON, Stage},
};
use std::{net::UdpSocket, path::Path};
use vw_testkit::{eventually, traffic};

over_every_store! {
    a_server_of_the_store_that_is_down_is_shown_and_does_no_harm,
    while_the_store_is_away_nothing_is_made_up,
    a_host_whose_disk_was_copied_elsewhere_tells_that_it_lost_its_place,
}

over_one_store! {
    a_host_that_lives_and_is_not_reached_is_shown_as_unreachable,
    a_firewall_that_bars_tunnels_alone_is_seen_over_ipv4,
    a_firewall_that_bars_tunnels_alone_is_seen_over_ipv6,
    a_firewall_that_bars_the_encrypted_tunnel_alone_is_seen,
    hosts_whose_tunnels_have_another_port_are_asked_there,
    a_host_on_which_somebody_has_the_tunnels_port_is_asked_beside_it,
    a_port_beside_the_tunnels_that_somebody_had_is_taken_later,
    a_host_is_asked_in_vxlan_again_after_somebody_took_what_it_answers_by,
    a_host_tells_that_the_link_to_the_others_is_no_longer_as_it_was,
    a_host_whose_link_is_narrower_than_a_network_says_so,
    hosts_of_two_ip_versions_name_each_other,
    what_a_host_would_cut_up_itself_does_not_pass_whole,
    what_a_host_of_ipv6_would_cut_up_itself_does_not_pass_whole,
}

/// The words of a line of the tables that begins with, or has in its second column, this.
fn row(status: &str, name: &str) -> Vec<String> {
    let rows = status.lines().map(|line| {
        let words = line.split("  ").map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_owned)
    });
    let mut rows = rows.map(Iterator::collect::<Vec<_>>);
    let found = rows.find(|row| row.get(1).is_some_and(|word| word == name));
    found.unwrap_or_else(|| panic!("{name} is missing: {status}"))
}

/// How a host shows another one: its state, latency, MTU, MTU of encrypted networks, endpoints and
/// blocks.
fn shown(stage: &Stage, host: &str, other: &str) -> [String; 6] {
    let row = row(&stage.cli(host, "cluster status"), other);
    std::array::from_fn(|column| row[column + 3].clone())
}

fn state(stage: &Stage, host: &str, other: &str) -> String {
    let [state, ..] = shown(stage, host, other);
    state
}

fn a_host_that_lives_and_is_not_reached_is_shown_as_unreachable(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    let state = |host: &str, other: &str| state(&stage, host, other);
    for (host, other) in [("a", "b"), ("b", "a"), ("c", "a"), ("c", "b")] {
        eventually("all is well", SOON, || state(host, other) == "alive");
    }
    let (a, b) = (stage.host("a"), stage.addr("b"));
    // Both reach the store, and c.
    let rules = format!(
        "add table inet cut; \
         add chain inet cut in {{ type filter hook input priority -300; }}; \
         add rule inet cut in ip saddr {b} meta l4proto udp drop"
    );
    a.run(["nft", &rules]).must();
    let [seen, latency, mtu, ..] = shown(&stage, "a", "b");
    assert_eq!(
        [seen.as_str(), latency.as_str(), mtu.as_str()],
        ["unreachable", "-", "-"]
    );
    assert_eq!(state("b", "a"), "unreachable");
    for (host, other) in [("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")] {
        assert_eq!(state(host, other), "alive", "{other}, asked on {host}");
    }
    let status = stage.api("a", "/vethwork/cluster");
    let hosts = status["Hosts"].as_array().expect("hosts");
    let told = |name: &str| {
        let host = hosts.iter().find(|host| host["Name"] == name).expect(name);
        (host["Alive"].as_bool(), host["Reachable"].as_bool())
    };
    assert_eq!(told("a"), (Some(true), None), "nobody tries oneself");
    assert_eq!(told("b"), (Some(true), Some(false)));
    assert_eq!(told("c"), (Some(true), Some(true)));
    a.run(["nft", "delete", "table", "inet", "cut"]).must();
    assert_eq!(state("a", "b"), "alive", "as soon as it is reached");
    stage.end();
}

/// Has a host drop what comes in of this kind, and nothing more; until the next such call.
fn drop_only(stage: &Stage, host: &str, what: &str) {
    let host = stage.host(host);
    // There may be none yet.
    host.run(["nft", "delete", "table", "inet", "cut"]);
    let rules = format!(
        "add table inet cut; \
         add chain inet cut in {{ type filter hook input priority -300; }}; \
         add rule inet cut in {what} drop"
    );
    host.run(["nft", &rules]).must();
}

fn drop_nothing(stage: &Stage, host: &str) {
    let delete = ["nft", "delete", "table", "inet", "cut"];
    stage.host(host).run(delete).must();
}

/// What the status warns of.
fn warnings(stage: &Stage, host: &str) -> String {
    let status = stage.cli(host, "cluster status");
    let lines = status.lines().filter(|line| line.starts_with("WARNING: "));
    lines.collect::<Vec<_>>().join("\n")
}

fn a_firewall_that_bars_tunnels_alone_is_seen(stage: &Stage, header: &str) {
    eventually("all is well", SOON, || state(stage, "a", "b") == "alive");
    let whole: u32 = shown(stage, "a", "b")[2].parse().unwrap();
    drop_only(stage, "b", "udp dport 4789");
    for (host, other) in [("a", "b"), ("b", "a")] {
        let [seen, latency, mtu, ..] = shown(stage, host, other);
        assert_eq!([&*seen, &*latency, &*mtu], ["unreachable", "-", "-"]);
        let warned = warnings(stage, host);
        let why = "does not answer in VXLAN (UDP 4789), though it does at UDP 4788";
        assert!(warned.contains(&format!("{other}: it {why}")), "{warned}");
    }
    assert_eq!(state(stage, "a", "c"), "alive");
    // What is larger than the least that is asked for does not come through.
    drop_only(stage, "b", &format!("udp dport 4789 {header} > 1330"));
    let [seen, latency, mtu, ..] = shown(stage, "a", "b");
    assert_eq!((&*seen, latency == "-"), ("alive", false));
    // UDP's header and what it carries: 8, VXLAN's 8 and Ethernet's 14 more than is inside.
    assert_eq!(mtu, "1300", "of {whole}");
    drop_only(stage, "b", "udp dport 4788");
    assert_eq!(shown(stage, "a", "b")[2], whole.to_string());
    assert_eq!(warnings(stage, "a"), "");
    drop_nothing(stage, "b");
}

fn a_firewall_that_bars_tunnels_alone_is_seen_over_ipv4(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    a_firewall_that_bars_tunnels_alone_is_seen(&stage, "udp length");
    // The daemon finds what stood, and goes on answering.
    stage.forget("b");
    assert_eq!(state(&stage, "a", "b"), "alive");
    // Routed networks need no tunnel.
    stage.docker(
        "a",
        "network create -d overlay -o vethwork.overlay.mode=route shop",
    );
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    drop_only(&stage, "b", "udp dport 4789");
    assert_eq!(state(&stage, "a", "b"), "alive");
    stage.docker("a", "network create -d overlay other");
    assert_eq!(state(&stage, "a", "b"), "unreachable");
    drop_nothing(&stage, "b");
    stage.end();
}

fn a_firewall_that_bars_tunnels_alone_is_seen_over_ipv6(kind: Kind) {
    let stage = Stage::over_ipv6(kind, &["a", "b", "c"]);
    a_firewall_that_bars_tunnels_alone_is_seen(&stage, "udp length");
    stage.end();
}

fn a_firewall_that_bars_the_encrypted_tunnel_alone_is_seen(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    create(&stage, "-o encrypted");
    let (_web, client, to) = pair(&stage);
    eventually("all is well", SOON, || {
        let [state, _, mtu, encrypted, ..] = shown(&stage, "a", "b");
        [&*state, &*mtu, &*encrypted] == ["alive", "1450", "1370"]
    });
    assert_eq!(
        shown(&stage, "a", "c")[3],
        "-",
        "nothing encrypted is there"
    );
    drop_only(&stage, "b", "udp dport 51820");
    assert!(!traffic::ping(&client, &to));
    let [state, _, _, encrypted, ..] = shown(&stage, "a", "b");
    assert_eq!([&*state, &*encrypted], ["unreachable", "unreachable"]);
    let warned = warnings(&stage, "a");
    let why = "does not answer through the encrypted tunnel (UDP 51820)";
    assert!(warned.contains(&format!("b: it {why}")), "{warned}");
    let told = stage.api("a", "/vethwork/cluster");
    let b = &told["Hosts"][1];
    assert_eq!(b["EncryptedReachable"], false, "{b}");
    drop_only(&stage, "b", "udp dport 51820 udp length > 1400");
    eventually("what passes is told", SOON, || {
        // UDP's header, WireGuard's, IPv6's, UDP's, VXLAN's and Ethernet's.
        shown(&stage, "a", "b")[3] == (1400 - 8 - 32 - 40 - 8 - 8 - 14).to_string()
    });
    drop_nothing(&stage, "b");
    eventually("all is well again", SOON, || {
        shown(&stage, "b", "a")[3] == "1370"
    });
    stage.docker("b", "rm -f client");
    eventually("nothing encrypted is there", SOON, || {
        shown(&stage, "a", "b")[3] == "-" && self::state(&stage, "a", "b") == "alive"
    });
    stage.end();
}

fn hosts_whose_tunnels_have_another_port_are_asked_there(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    for host in ["a", "b"] {
        stage.readvertise(host, "wire:7777");
        eventually("all is well", SOON, || state(&stage, "a", "b") == "alive");
    }
    drop_only(&stage, "b", "udp dport 4789");
    assert_eq!(state(&stage, "a", "b"), "alive");
    drop_only(&stage, "b", "udp dport 7777");
    assert_eq!(state(&stage, "a", "b"), "unreachable");
    drop_nothing(&stage, "b");
    stage.end();
}

fn a_host_on_which_somebody_has_the_tunnels_port_is_asked_beside_it(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.stop("b");
    let place = (stage.addr("b"), 4789);
    let taken = stage.host("b").enter(|| UdpSocket::bind(place)).unwrap();
    stage.start_inside("b");
    eventually("it is alive", SOON, || state(&stage, "a", "b") == "alive");
    assert_eq!(state(&stage, "b", "a"), "alive");
    drop(taken);
    assert_eq!(state(&stage, "b", "a"), "alive", "it tries again");
    drop_only(&stage, "b", "udp dport 4789");
    assert_eq!(
        state(&stage, "a", "b"),
        "unreachable",
        "it has a tunnel now"
    );
    drop_nothing(&stage, "b");
    stage.end();
}

fn a_port_beside_the_tunnels_that_somebody_had_is_taken_later(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.stop("b");
    let place = (stage.addr("b"), 4788);
    let taken = stage.host("b").enter(|| UdpSocket::bind(place)).unwrap();
    stage.start_inside("b");
    eventually("it is alive", SOON, || state(&stage, "a", "b") == "alive");
    drop_only(&stage, "b", "udp dport 4789");
    assert_eq!(state(&stage, "a", "b"), "unreachable");
    assert_eq!(warnings(&stage, "a"), "", "nothing answers there");
    drop(taken);
    // It tries again when it is to try the way itself.
    assert_eq!(state(&stage, "b", "a"), "unreachable");
    let warned = warnings(&stage, "a");
    assert!(warned.contains("though it does at UDP 4788"), "{warned}");
    drop_nothing(&stage, "b");
    stage.end();
}

fn a_server_of_the_store_that_is_down_is_shown_and_does_no_harm(kind: Kind) {
    let mut stage = Stage::over_three_servers(kind, &["a", "b"]);
    let servers: Vec<String> = stage.api("a", "/vethwork/cluster")["Store"]["Servers"]
        .as_array()
        .expect("servers")
        .iter()
        .map(|server| server["Address"].as_str().expect("an address").to_owned())
        .collect();
    let states = |stage: &Stage| {
        let status = stage.cli("a", "cluster status");
        assert!(!status.contains("WARNING"), "{status}");
        let state = |server: &String| row(&status, server)[2].clone();
        servers.iter().map(state).collect::<Vec<_>>()
    };
    let count = |states: &[String], word: &str| states.iter().filter(|s| *s == word).count();
    let before = states(&stage);
    assert_eq!(count(&before, "leader"), 1, "{before:?}");
    assert_eq!(count(&before, "follower"), 2, "{before:?}");
    // The one whose loss is the worst.
    let lost = before.iter().position(|state| state == "leader").unwrap();
    stage.store.as_mut().unwrap().kill(lost);
    // Until the others have another leader the store as a whole may not answer.
    eventually("the others have a leader", LEASE, || {
        let status = stage.api("a", "/vethwork/cluster");
        let servers = status["Store"]["Servers"].as_array().expect("servers");
        let leads = servers.iter().any(|server| server["Leader"] == true);
        leads && status["Error"] == ""
    });
    let after = states(&stage);
    assert!(
        after[lost].contains("refused"),
        "it tells of the lost one: {after:?}"
    );
    assert_eq!(count(&after, "follower"), 1, "{after:?}");
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    drop(stage.start("b", "web", "--network shop"));
    eventually("what others hold is told", SOON, || {
        let [state, .., endpoints, blocks] = shown(&stage, "a", "b");
        state == "alive" && endpoints == "1" && blocks.parse::<u32>().is_ok_and(|blocks| blocks > 0)
    });
    stage.store.as_mut().unwrap().restart(lost);
    eventually("it is back", LEASE, || {
        count(&states(&stage), "follower") == 2
    });
    stage.end();
}

fn while_the_store_is_away_nothing_is_made_up(kind: Kind) {
    let stage = Stage::over_three_servers(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    drop(stage.start("a", "one", "--network shop"));
    drop(stage.start("b", "two", "--network shop"));
    let blocks = |other: &str| {
        let [.., blocks] = shown(&stage, "a", other);
        blocks
    };
    let before = [blocks("a"), blocks("b")];
    let some = |blocks: &String| blocks.parse::<u32>().is_ok_and(|blocks| blocks > 0);
    assert!(before.iter().all(some), "{before:?}");
    stage.pause_store();
    eventually("it tells that the store is away", LEASE, || {
        stage.cli("a", "cluster status").contains("WARNING: ")
    });
    let status = stage.cli("a", "cluster status");
    let warning = status.lines().last().expect("a line");
    assert!(
        warning.starts_with("WARNING: ") && warning.contains(kind.name()),
        "{status}"
    );
    assert_eq!(row(&status, "a")[8], before[0], "its own it knows");
    assert_eq!(row(&status, "b")[8], "-", "nobody tells that");
    assert_eq!(row(&status, "b")[3], "alive", "it is reached still");
    let told = stage.api("a", "/vethwork/cluster");
    let b = &told["Hosts"][1];
    assert_eq!((&b["Name"], b["Blocks"].is_null()), (&"b".into(), true));
    stage.resume_store();
    eventually("all is told again", LEASE, || {
        blocks("b") == before[1] && !stage.cli("a", "cluster status").contains("WARNING")
    });
    stage.end();
}

fn a_host_whose_disk_was_copied_elsewhere_tells_that_it_lost_its_place(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.stop("b");
    let copy = |from: &Path, to: &Path| {
        let (from, to) = (from.display(), to.display());
        format!("rm -rf {to}; cp -a {from} {to}")
    };
    let line = copy(
        &stage.daemon("a").data_root(),
        &stage.daemon("b").data_root(),
    );
    stage.host("b").sh(&line).must();
    stage.start_inside("b");
    let why = "another daemon runs with this host's id";
    eventually("the first one tells why", LEASE, || {
        let status = stage.cli("a", "cluster status");
        status.contains("this host, not seen by the others")
            && status
                .lines()
                .last()
                .is_some_and(|line| line.starts_with("WARNING: ") && line.contains(why))
    });
    let status = stage.cli("b", "cluster status");
    assert!(
        status.contains("this host ") && !status.contains(why),
        "{status}"
    );
    // What b was before lives as long as one that was stopped.
    let told = status.contains("advertise one address, 192.0.2.2");
    assert!(told, "{status}");
}

fn a_host_is_asked_in_vxlan_again_after_somebody_took_what_it_answers_by(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    eventually("all is well", SOON, || state(&stage, "a", "b") == "alive");
    drop_only(&stage, "b", "udp dport 4788");
    assert_eq!(state(&stage, "a", "b"), "alive", "in VXLAN");
    let netns = stage.daemon("b").exec_root().join("netns");
    let device = "ip -o link show type vxlan | sed 's/^[0-9]*: \\([^@:]*\\).*/\\1/'";
    let line = format!(
        "nsenter --net=$(ls -d {}/net-00000000* | head -1) sh -c \"ip link del \\$({device})\"",
        netns.display()
    );
    stage.host("b").sh(&line).must();
    assert_eq!(state(&stage, "a", "b"), "unreachable");
    // With the next thing that is repaired.
    stage.host("b").run(["nft", "flush", "ruleset"]).must();
    drop_only(&stage, "b", "udp dport 4788");
    eventually("it answers in VXLAN", SOON, || {
        state(&stage, "a", "b") == "alive"
    });
    drop_nothing(&stage, "b");
    stage.end();
}

fn a_host_tells_that_the_link_to_the_others_is_no_longer_as_it_was(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.readvertise("b", "192.0.2.2");
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let addr = stage.address("a", "web", "shop");
    let reached = || traffic::ping(&client, &addr);
    eventually("it is reached", SOON, reached);
    let info = |stage: &Stage| stage.api("b", "/info")["Warnings"].to_string();
    stage.host("b").ip("link set wire mtu 1400");
    let narrower = "the MTU of wire, the link to the other hosts, is 1400 now";
    assert!(info(&stage).contains(narrower), "{}", info(&stage));
    stage.host("b").ip("link set wire mtu 1500");
    assert_eq!(warnings(&stage, "b"), "");
    let b = stage.host("b");
    b.ip("addr del 192.0.2.2/24 dev wire");
    b.ip("addr add 192.0.2.22/24 dev wire");
    let moved = "wire has 192.0.2.22 now";
    assert!(info(&stage).contains(moved), "{}", info(&stage));
    eventually("it asks the store again", LEASE, || {
        warnings(&stage, "b").contains(moved)
    });
    eventually("it is logged", SOON, || {
        stage.daemon("b").log().contains(moved)
    });
    assert!(!traffic::ping(&client, &addr), "its tunnels end nowhere");
    // As it says.
    stage.readvertise("b", "wire");
    eventually("it is reached at its new address", LEASE, reached);
    eventually("the others know it there", LEASE, || {
        row(&stage.cli("a", "cluster status"), "b").contains(&"192.0.2.22".to_owned())
    });
    assert_eq!(warnings(&stage, "b"), "");
    drop((web, client));
    stage.end();
}

/// How wide the path is once the link takes 100 bytes less, in clear text and encrypted.
#[track_caller]
fn narrows(stage: Stage) {
    create(&stage, "-o encrypted");
    let pair = pair(&stage);
    let widths = |host, other| {
        let [_, _, clear, encrypted, ..] = shown(&stage, host, other);
        [clear, encrypted].map(|width| width.parse::<u32>().unwrap_or(0))
    };
    let mut before = [0; 2];
    eventually("both ways are open", SOON, || {
        before = widths("a", "b");
        !before.contains(&0)
    });
    // Both cut up what is larger: questions and answers arrive.
    for host in ["a", "b"] {
        stage.host(host).ip("link set wire mtu 1400");
    }
    let narrower = before.map(|width| width - 100);
    assert_eq!(widths("a", "b"), narrower);
    assert_eq!(widths("b", "a"), narrower);
    for host in ["a", "b"] {
        stage.host(host).ip("link set wire mtu 1500");
    }
    drop(pair);
    stage.end();
}

fn what_a_host_would_cut_up_itself_does_not_pass_whole(kind: Kind) {
    narrows(Stage::new(kind, &["a", "b"]));
}

fn what_a_host_of_ipv6_would_cut_up_itself_does_not_pass_whole(kind: Kind) {
    narrows(Stage::over_ipv6(kind, &["a", "b"]));
}

fn a_host_whose_link_is_narrower_than_a_network_says_so(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.host("a").ip("link set wire mtu 9000");
    stage.start_inside("a");
    stage.docker("a", "network create -d overlay wide");
    eventually("the network is there", SOON, || stage.knows("b", "wide"));
    let told = |host: &str| {
        let warnings = stage.api(host, "/info")["Warnings"].to_string();
        warnings.contains("network wide has an MTU of 8950, of which wire")
    };
    for host in ["a", "b"] {
        drop(stage.start(host, "one", "--network wide"));
    }
    assert_eq!((told("a"), told("b")), (false, true));
    assert!(stage.daemon("b").log().contains("leaves 1450:"));
    stage.docker("b", "rm -f one");
    assert!(!told("b"), "it does not stand there");
    stage.end();
}

fn hosts_of_two_ip_versions_name_each_other(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay -o encrypted shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    stage.host("b").ip("addr add 2001:db8::2/64 dev wire nodad");
    stage.readvertise("b", "2001:db8::2");
    let told = "advertises 2001:db8::2, and this host 192.0.2.1";
    eventually("a names b", LEASE, || warnings(&stage, "a").contains(told));
    assert!(stage.cli("a", "cluster status").contains(told));
    assert!(warnings(&stage, "b").contains("host a ("));
    // Also where the addresses inside a tunnel would be of one version.
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let addr = stage.address("a", "web", "shop");
    eventually("what is there is named too", SOON, || {
        let told = stage.api("a", "/info")["Warnings"].to_string();
        told.contains("host 2001:db8::2 cannot be reached from 192.0.2.1")
    });
    assert!(!traffic::ping(&client, &addr));
    stage.readvertise("b", "192.0.2.2");
    eventually("they reach each other", LEASE, || {
        traffic::ping(&client, &addr)
    });
    for host in ["a", "b"] {
        eventually("nobody is named", SOON, || {
            warnings(&stage, host).is_empty()
        });
    }
    drop(web);
    stage.end();
}
