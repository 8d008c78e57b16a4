//! What crosses the hosts, and what does not.

use crate::{
    over_every_store, over_one_store,
    ports::{self, Station},
    stage::{Kind, SOON, Stage},
};
use serde_json::json;
use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    thread,
    time::{Duration, Instant},
};
use vw_testkit::{eventually, traffic};

over_every_store! {
    a_network_made_on_one_host_is_the_same_on_every_other,
    containers_find_and_reach_each_other_by_name,
    addresses_are_given_once_and_as_asked,
}

over_one_store! {
    a_container_reaches_the_outside_and_publishes_ports,
    networks_are_apart,
    hosts_that_speak_ipv6_alone_are_a_cluster_too,
    nothing_is_flooded,
    who_is_named_is_reached_by_the_first_packet,
    packets_are_as_large_as_the_wire_or_the_option_lets,
}

fn a_network_made_on_one_host_is_the_same_on_every_other(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    stage.docker(
        "a",
        "network create -d overlay --subnet 10.42.0.0/24 --label team=blue shop",
    );
    for host in ["b", "c"] {
        eventually("the network is there", SOON, || stage.knows(host, "shop"));
        let there = stage.api(host, "/networks/shop");
        assert_eq!(there, stage.api("a", "/networks/shop"), "as on a");
    }
    let refused = stage.refused("b", "network create -d overlay shop");
    assert!(
        refused.contains("network with name shop already exists"),
        "{refused}"
    );
    let refused = stage.refused(
        "b",
        "network create -d overlay --subnet 10.42.0.128/25 other",
    );
    assert!(
        refused.contains("Pool overlaps with other one on this address space"),
        "{refused}"
    );
    let web = stage.start("a", "web", "--network shop");
    eventually("c sees who is on it", SOON, || {
        stage.api("c", "/networks/shop") == stage.api("a", "/networks/shop")
            && stage.docker("c", "network inspect shop").contains("web")
    });
    drop(web);
    let refused = stage.refused("c", "network rm shop");
    assert!(
        refused.contains("network shop has active endpoints"),
        "{refused}"
    );
    stage.docker("a", "rm -f web");
    eventually("the last endpoint is gone", SOON, || {
        stage
            .daemon("c")
            .docker(["network", "rm", "shop"])
            .success()
    });
    eventually("everywhere", SOON, || !stage.knows("a", "shop"));
    stage.end();
}

fn containers_find_and_reach_each_other_by_name(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    stage.docker("a", "network create -d overlay --ipv6 shop");
    for host in ["b", "c"] {
        eventually("the network is there", SOON, || stage.knows(host, "shop"));
    }
    let peers = |names: &[&str]| {
        let peer = |name: &&str| json!({"Name": name, "IP": stage.addr(name)});
        let peers: Vec<_> = names.iter().map(peer).collect();
        for host in ["a", "b", "c"] {
            eventually("the hosts that run something there are told", SOON, || {
                stage.api(host, "/networks/shop")["Peers"] == json!(peers)
            });
        }
    };
    let web = stage.start("a", "web", "--network shop --network-alias www");
    peers(&["a"]);
    let near = stage.start("b", "near", "--network shop");
    let far = stage.start("c", "far", "--network shop");
    peers(&["a", "b", "c"]);
    let _server = traffic::Server::tcp(&web, "web", "[::]:80");
    for (client, name) in [
        (&near, "web"),
        (&far, "www"),
        (&far, "near.shop"),
        (&web, "far"),
    ] {
        for family in ["A", "AAAA"] {
            let mut address = String::new();
            eventually("the name is known", SOON, || {
                address = stage.resolve(client, name, family);
                !address.is_empty()
            });
            assert!(traffic::ping(client, &address), "{name} at {address}");
        }
    }
    let v4 = stage.resolve(&near, "web", "A");
    let v6 = stage.resolve(&near, "web", "AAAA");
    let seen = traffic::tcp(&near, &format!("{v4}:80"))
        .expect("the server answers")
        .seen;
    assert_eq!(
        seen.ip().to_canonical().to_string(),
        stage.address("b", "near", "shop")
    );
    assert!(traffic::tcp(&far, &format!("[{v6}]:80")).is_ok());
    stage.docker("a", "rename web shopfront");
    eventually("a new name is known", SOON, || {
        stage.resolve(&near, "shopfront", "A") == v4 && stage.resolve(&near, "web", "A").is_empty()
    });
    stage.docker("a", "rm -f shopfront");
    eventually("a name goes with its container", SOON, || {
        stage.resolve(&near, "shopfront", "A").is_empty()
            && stage.resolve(&far, "www", "A").is_empty()
    });
    peers(&["b", "c"]);
    stage.end();
}

fn a_container_reaches_the_outside_and_publishes_ports(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    stage.docker("a", "network create -d overlay --internal closed");
    let web = stage.start("a", "web", "--network shop -p 8080:80");
    let alone = stage.start("a", "alone", "--network closed");
    let _server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let _there = traffic::Server::tcp(stage.host("b"), "b", "0.0.0.0:9");
    let (a, b) = (stage.addr("a"), stage.addr("b"));
    assert!(
        traffic::tcp(stage.host("b"), &format!("{a}:8080")).is_ok(),
        "the port is published"
    );
    assert_eq!(
        traffic::tcp(&web, &format!("{b}:9"))
            .expect("the outside is there")
            .seen
            .ip()
            .to_string(),
        a,
        "and what leaves is masqueraded"
    );
    assert!(
        traffic::tcp(&alone, &format!("{b}:9")).is_err(),
        "an internal network has no way out"
    );
    assert_eq!(alone.ip("route show default"), "");
    let warned = |name: &str, network: &str| {
        let line = format!("create --name {name} --network {network} -p 127.0.0.1:81:80 host true");
        let created = stage.daemon("a").docker(line.split_whitespace());
        created.must();
        created.stderr.contains("publishes ports over IPv4")
    };
    assert!(warned("vain", "closed"), "its port leads nowhere");
    assert!(
        !warned("useful", "shop"),
        "its port leads through vw_gwbridge"
    );
    stage.docker("a", "network create bridged");
    stage.docker("a", "network connect bridged web");
    let links = web.ip("-br link show type veth");
    assert!(
        !links.contains("eth1")
            || !stage
                .docker("a", "network inspect vw_gwbridge")
                .contains("web"),
        "a network with a way out needs no other: {links}"
    );
    assert!(
        traffic::tcp(stage.host("b"), &format!("{a}:8080")).is_ok(),
        "the port has moved along"
    );
    stage.docker("a", "network disconnect bridged web");
    assert!(
        traffic::tcp(stage.host("b"), &format!("{a}:8080")).is_ok(),
        "and back"
    );
    stage.end();
}

fn networks_are_apart(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    for network in ["blue", "green"] {
        stage.docker("a", &format!("network create -d overlay {network}"));
        eventually("the network is there", SOON, || stage.knows("b", network));
    }
    let blue = stage.start("a", "blue", "--network blue");
    let green = stage.start("b", "green", "--network green");
    // Over the same hosts each reaches its own.
    let _blues = stage.start("b", "blues", "--network blue");
    let greens = stage.start("a", "greens", "--network green");
    for (from, name) in [(&blue, "blues"), (&greens, "green")] {
        eventually("neighbours are found and reached", SOON, || {
            let address = stage.resolve(from, name, "A");
            !address.is_empty() && traffic::ping(from, &address)
        });
    }
    assert!(stage.resolve(&blue, "green", "A").is_empty());
    let [one, two] =
        [("a", "blue"), ("b", "green")].map(|(host, name)| Station::of(&stage, host, name, name));
    assert!(!traffic::ping(&blue, &two.addr.to_string()));
    // Nor when both are told by hand where the other is.
    for (from, to) in [(&blue, &two), (&green, &one)] {
        let Station { addr, .. } = to;
        from.ip(&format!("route add {addr} dev eth0"));
        let mac = to.mac_text();
        from.ip(&format!(
            "neigh add {addr} lladdr {mac} dev eth0 nud permanent"
        ));
    }
    assert!(!traffic::ping(&blue, &two.addr.to_string()));
    // Nor by a frame of the other network, though a host of both sends it.
    let door = ports::door(&blue);
    for network in ["green", "blue"] {
        let vni = ports::vni(&stage, network);
        let frame = ports::tunnelled(vni, &two, &one, network);
        let to = (stage.addr("a"), 4789);
        let socket = stage.host("b").enter(|| UdpSocket::bind("0.0.0.0:0"));
        socket.unwrap().send_to(&frame, to).unwrap();
    }
    assert_eq!(ports::hear(&door).as_deref(), Some("blue"));
    assert_eq!(ports::hear(&door), None, "nothing of green's");
    stage.end();
}

fn addresses_are_given_once_and_as_asked(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay --subnet 10.42.0.0/24 shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let mut given = std::collections::BTreeSet::new();
    for number in 0..10 {
        for host in ["a", "b"] {
            let name = format!("{host}{number}");
            drop(stage.start(host, &name, "--network shop"));
            let address = stage.address(host, &name, "shop");
            assert!(given.insert(address.clone()), "{address} is given twice");
        }
    }
    // In a block of a's, asked for on b.
    let block_mate = stage.address("a", "a0", "shop");
    let refused = stage.daemon("b").docker([
        "run",
        "-d",
        "--name",
        "twice",
        "--network",
        "shop",
        "--ip",
        &block_mate,
        "host",
        "sleep",
        "9",
    ]);
    let refused = refused.refused();
    assert!(refused.contains("Address already in use"), "{refused}");
    stage.docker("a", "rm -f a0");
    drop(stage.start("b", "mine", &format!("--network shop --ip {block_mate}")));
    assert_eq!(stage.address("b", "mine", "shop"), block_mate);
    drop(stage.start("a", "a0", "--network shop"));
    assert_ne!(stage.address("a", "a0", "shop"), block_mate);
    let refused = stage.refused(
        "b",
        "run -d --name out --network shop --ip 10.43.0.9 host sleep 9",
    );
    assert!(refused.contains("no configured subnet"), "{refused}");
    stage.end();
}

fn hosts_that_speak_ipv6_alone_are_a_cluster_too(kind: Kind) {
    let stage = Stage::over_ipv6(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay --ipv6 --ipv4=false shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network shop");
    let client = stage.start("b", "client", "--network shop");
    let _server = traffic::Server::tcp(&web, "web", "[::]:80");
    let mut address = String::new();
    eventually("the name is known", SOON, || {
        address = stage.resolve(&client, "web", "AAAA");
        !address.is_empty()
    });
    assert!(traffic::tcp(&client, &format!("[{address}]:80")).is_ok());
    let mtu = client.ip("-o link show eth0");
    assert!(mtu.contains("mtu 1430"), "{mtu}");
    stage.end();
}

fn nothing_is_flooded(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    stage.docker(
        "a",
        "network create -d overlay --subnet 10.42.0.0/24 --ipv6 --subnet fd42::/64 shop",
    );
    for host in ["b", "c"] {
        eventually("the network is there", SOON, || stage.knows(host, "shop"));
    }
    let one = stage.start("a", "one", "--network shop");
    let two = stage.start("b", "two", "--network shop");
    let three = stage.start("c", "three", "--network shop");
    let mut address = String::new();
    eventually("the name is known", SOON, || {
        address = stage.resolve(&one, "two", "A");
        !address.is_empty()
    });
    let held: Vec<String> = [("a", "one"), ("b", "two"), ("c", "three")]
        .map(|(host, name)| stage.address(host, name, "shop"))
        .into();
    let mut free = (2..250).map(|last| format!("10.42.0.{last}"));
    let nobody = free
        .find(|addr| !held.contains(addr))
        .expect("three are held");
    let count = || stage.tunnelled("c");
    let before = count();
    eventually("what is for c comes there", SOON, || {
        traffic::ping(&one, &held[2])
    });
    assert!(count() > before, "and is counted");
    drop(three);
    let before = count();
    assert!(traffic::ping(&one, &address));
    assert!(!traffic::ping(&one, &nobody), "nobody has it");
    assert!(!traffic::ping(&two, "fd42::abcd"), "nor this");
    assert_eq!(
        count(),
        before,
        "not a packet came to a host that it was not for"
    );
    stage.end();
}

/// Asks for a name without a pause until there is an answer, and sends one datagram there as soon as
/// there is; tells whether one came back.
fn reached_by_the_first(name: &str) -> io::Result<bool> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("127.0.0.11:53")?;
    socket.set_read_timeout(Some(SOON))?;
    let mut question = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    question.extend_from_slice(name.as_bytes());
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let mut answer = [0; 512];
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        socket.send(&question)?;
        let length = socket.recv(&mut answer)?;
        if answer[7] == 0 {
            continue;
        }
        // An answer's data stands last.
        let data: [u8; 4] = [4, 3, 2, 1].map(|back| answer[length - back]);
        let there = UdpSocket::bind("0.0.0.0:0")?;
        there.connect((Ipv4Addr::from(data), 7))?;
        // The kernel asks for a neighbour again after a second.
        there.set_read_timeout(Some(Duration::from_millis(900)))?;
        there.send(b"there?")?;
        return Ok(there.recv(&mut answer).is_ok());
    }
    Err(io::Error::other(format!("{name} is never known")))
}

fn who_is_named_is_reached_by_the_first_packet(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay --attachable shop");
    stage.docker("a", "network create home");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let web = stage.start("a", "web", "--network home");
    let near = stage.start("b", "near", "--network shop");
    let _server = traffic::Server::udp(&web, "web", "0.0.0.0:7");
    let mut took = Vec::new();
    for round in 0..10 {
        let name = format!("round{round}");
        let reached = thread::scope(|scope| {
            let asks = scope.spawn(|| near.enter(|| reached_by_the_first(&name)));
            stage.docker("a", &format!("network connect --alias {name} shop web"));
            let there = Instant::now();
            let reached = asks.join().expect("it asks");
            took.push(there.elapsed());
            reached
        });
        assert!(reached.expect("it is known"), "{name}");
        stage.docker("a", "network disconnect shop web");
    }
    // A machine that does much else may keep one or the other waiting.
    took.sort_unstable();
    assert!(took[5] < Duration::from_secs(1), "{took:?}");
    stage.end();
}

fn packets_are_as_large_as_the_wire_or_the_option_lets(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    for host in ["a", "b"] {
        stage.host(host).ip("link set wire mtu 9000");
        stage.narrow(host, 9000);
        // A daemon reads it when it starts.
        stage.start_inside(host);
    }
    let option = "-o com.docker.network.driver.mtu=1400";
    for (network, options, mtu) in [("wide", "", 8950), ("narrow", option, 1400)] {
        stage.docker(
            "a",
            &format!("network create -d overlay {options} {network}"),
        );
        eventually("the network is there", SOON, || stage.knows("b", network));
        let [one, two] = ["a", "b"].map(|host| {
            let name = format!("{network}-{host}");
            stage.start(host, &name, &format!("--network {network}"))
        });
        let there = stage.address("b", two.name(), network);
        eventually("they reach each other", SOON, || {
            traffic::ping(&one, &there)
        });
        for inside in [&one, &two] {
            let link = inside.ip("-o link show eth0");
            assert!(link.contains(&format!("mtu {mtu} ")), "{link}");
        }
        // Less the headers of IPv4 and ICMP; what is larger passes in fragments.
        let largest = mtu - 28;
        for size in [largest, largest + 1] {
            let size = size.to_string();
            let ask = ["busybox", "ping", "-c", "1", "-W", "2", "-s", &size, &there];
            assert!(one.run(ask).success(), "{size} on {network}");
        }
    }
    let small = "network create -d overlay --ipv6 -o com.docker.network.driver.mtu=1279 small";
    let refused = stage.refused("a", small);
    assert!(refused.contains("use 1280 to 65535"), "{refused}");
    // What WireGuard and VXLAN leave of it is less than IPv6 needs.
    stage.host("a").ip("link set wire mtu 1339");
    stage.start_inside("a");
    let refused = stage.refused("a", "network create -d overlay -o encrypted sealed");
    assert!(refused.contains("an MTU of 1279"), "{refused}");
    stage.end();
}
