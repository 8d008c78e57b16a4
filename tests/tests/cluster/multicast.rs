//! What is for groups or for all: where it goes, and where it does not.

use crate::{
    over_one_store,
    stage::{Kind, LEASE, SOON, Stage},
};
use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};
use vw_testkit::{Host, eventually};

over_one_store! {
    groups_and_all_are_spoken_to_over_hosts_where_that_was_asked_for,
    what_is_for_all_is_sent_to_a_host_as_long_as_somebody_is_there,
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 42, 42, 42);
const PORT: u16 = 4242;

/// Listens inside a container to what is for all and to what is for the group.
fn listen(inside: &Host, own: &str) -> UdpSocket {
    let own: Ipv4Addr = own.parse().unwrap();
    let socket = inside.enter(|| UdpSocket::bind(("0.0.0.0", PORT))).unwrap();
    socket.join_multicast_v4(&GROUP, &own).unwrap();
    let patience = Duration::from_secs(1);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

/// Whether this comes in a second.
fn hears(socket: &UdpSocket, text: &str) -> bool {
    let mut datagram = [0; 64];
    while let Ok(length) = socket.recv(&mut datagram) {
        if &datagram[..length] == text.as_bytes() {
            return true;
        }
    }
    false
}

/// Sends a text from a container to an address.
fn say(inside: &Host, own: &str, to: Ipv4Addr, text: &str) {
    let socket = inside.enter(|| UdpSocket::bind((own, 0))).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.send_to(text.as_bytes(), (to, PORT)).unwrap();
}

/// A container of a network of that third byte, and its address; what is for groups goes to its
/// network.
fn start(stage: &Stage, host: &str, name: &str, network: &str) -> (Host, String) {
    let inside = stage.start(host, name, &format!("--network {network}"));
    inside.ip("route add 224.0.0.0/4 dev eth0");
    let address = stage.address(host, name, network);
    (inside, address)
}

fn groups_and_all_are_spoken_to_over_hosts_where_that_was_asked_for(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    let networks = [
        ("loud", 1, "-o vethwork.overlay.multicast=true"),
        ("quiet", 2, ""),
    ];
    for (network, third, option) in networks {
        let subnet = format!("10.42.{third}.0/24");
        stage.docker(
            "a",
            &format!("network create -d overlay --subnet {subnet} {option} {network}"),
        );
        eventually("the network is there", SOON, || stage.knows("b", network));
        let (one, one_at) = start(&stage, "a", &format!("{network}-one"), network);
        let (near, near_at) = start(&stage, "a", &format!("{network}-near"), network);
        let (two, two_at) = start(&stage, "b", &format!("{network}-two"), network);
        eventually("they reach each other", SOON, || {
            vw_testkit::traffic::ping(&one, &two_at)
        });
        let [near, two] = [(near, near_at), (two, two_at)].map(|(host, at)| listen(&host, &at));
        let elsewhere = stage.tunnelled("c");
        for (kind, to) in [("all", Ipv4Addr::new(10, 42, third, 255)), ("group", GROUP)] {
            let text = format!("for {kind} on {network}");
            let wire = stage.watch();
            say(&one, &one_at, to, &text);
            assert!(hears(&near, &text), "{text}: on its own host");
            assert_eq!(hears(&two, &text), network == "loud", "{text}");
            let seen = wire.seen(stage.host("a"), &stage.addr("b"));
            assert_eq!(seen.holds(&text), network == "loud", "{text}: on the wire");
        }
        assert_eq!(
            stage.tunnelled("c"),
            elsewhere,
            "nothing goes to a host that has nobody on the network"
        );
    }
    stage.end();
}

fn what_is_for_all_is_sent_to_a_host_as_long_as_somebody_is_there(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.docker(
        "a",
        "network create -d overlay --subnet 10.42.0.0/24 -o vethwork.overlay.multicast=true shop",
    );
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    let (one, own) = start(&stage, "a", "one", "shop");
    // Each time by other words; those are on the wire between the hosts or they are not.
    let crosses = |stage: &Stage| {
        let wire = stage.watch();
        say(&one, &own, Ipv4Addr::new(10, 42, 0, 255), "who is there");
        let seen = wire.seen(stage.host("a"), &stage.addr("b"));
        seen.holds("who is there")
    };
    assert!(!crosses(&stage), "nobody is there yet");
    let two = stage.start("b", "two", "--network shop");
    eventually("somebody is there", SOON, || crosses(&stage));
    let three = stage.start("b", "three", "--network shop");
    drop(two);
    stage.docker("b", "rm -f two");
    eventually("a knows that one is gone", SOON, || {
        !stage
            .docker("a", "network inspect shop")
            .contains("\"two\"")
    });
    assert!(crosses(&stage), "there is another one");
    drop(three);
    stage.docker("b", "rm -f three");
    eventually("the last one is gone", SOON, || !crosses(&stage));
    drop(stage.start("b", "four", "--network shop"));
    eventually("one came back", SOON, || crosses(&stage));
    stage.kill("b");
    // Nor does its kernel say that it lives.
    let deaf = "add table inet deaf; add chain inet deaf in { type filter hook input priority 0; }; add rule inet deaf in icmp type echo-request drop";
    stage.host("b").run(["nft", deaf]).must();
    assert!(crosses(&stage), "its lease is not over");
    eventually("the host is dead", LEASE, || !crosses(&stage));
    stage.start_inside("b");
    eventually("the host is back, and who is on it", LEASE, || {
        crosses(&stage)
    });
    stage.end();
}
