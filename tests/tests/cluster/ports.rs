//! The UDP port of tunnels: what passes there, and who is let in.

use crate::{
    over_one_store,
    stage::{Kind, SOON, Stage},
};
use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};
use vw_testkit::{Host, eventually, traffic};

over_one_store! {
    tunnels_end_at_the_port_that_their_network_names,
    tunnels_end_at_the_port_that_is_advertised_where_their_network_is_made,
}

/// An endpoint as a frame names it.
pub(crate) struct Station {
    mac: [u8; 6],
    pub(crate) addr: Ipv4Addr,
}

impl Station {
    pub(crate) fn of(stage: &Stage, host: &str, name: &str, network: &str) -> Self {
        let settings = stage.api(host, &format!("/containers/{name}/json"));
        let settings = &settings["NetworkSettings"]["Networks"][network];
        let mac = settings["MacAddress"].as_str().expect("it has one");
        let mut bytes = mac
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).unwrap());
        Self {
            mac: std::array::from_fn(|_| bytes.next().unwrap()),
            addr: settings["IPAddress"].as_str().unwrap().parse().unwrap(),
        }
    }

    /// Its MAC address as `ip` takes it.
    pub(crate) fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// The port that the endpoints listen at.
const DOOR: u16 = 9;

/// A datagram between two endpoints as it is in a tunnel of that number (RFC 7348, section 5).
pub(crate) fn tunnelled(vni: u32, from: &Station, to: &Station, text: &str) -> Vec<u8> {
    let [_, high, middle, low] = vni.to_be_bytes();
    let mut udp = Vec::new();
    let length = u16::try_from(8 + text.len()).unwrap();
    // Over IPv4 it needs no checksum.
    for field in [DOOR, DOOR, length, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(text.as_bytes());
    let [total_high, total_low] = (20 + length).to_be_bytes();
    let mut ip = vec![0x45, 0, total_high, total_low, 0, 0, 0, 0, 64, 17, 0, 0];
    ip.extend(from.addr.octets());
    ip.extend(to.addr.octets());
    let words = ip
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    ip[10..12].copy_from_slice(&folded.to_be_bytes());
    let vxlan = [8, 0, 0, 0, high, middle, low, 0];
    [&vxlan[..], &to.mac, &from.mac, &[8, 0], &ip, &udp].concat()
}

/// The number of a network's tunnel.
#[track_caller]
pub(crate) fn vni(stage: &Stage, network: &str) -> u32 {
    let options = stage.api("b", &format!("/networks/{network}"))["Options"].clone();
    let vni = options["com.docker.network.driver.overlay.vxlanid_list"].as_str();
    vni.expect("it has a number").parse().unwrap()
}

/// Where an endpoint hears what comes in such datagrams.
pub(crate) fn door(inside: &Host) -> UdpSocket {
    let door = inside.enter(|| UdpSocket::bind(("0.0.0.0", DOOR))).unwrap();
    door.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    door
}

/// What was said there next.
pub(crate) fn hear(door: &UdpSocket) -> Option<String> {
    let mut heard = [0; 64];
    let length = door.recv(&mut heard).ok()?;
    Some(String::from_utf8_lossy(&heard[..length]).into_owned())
}

/// Two endpoints on a network that reach each other, and what passes between their hosts.
fn meet(stage: &Stage, network: &str) -> [Host; 2] {
    let [one, two] = ["a", "b"].map(|host| {
        eventually("the network is there", SOON, || stage.knows(host, network));
        let name = format!("{network}-{host}");
        stage.start(host, &name, &format!("--network {network}"))
    });
    let there = stage.address("b", &format!("{network}-b"), network);
    eventually("they reach each other", SOON, || {
        traffic::ping(&one, &there)
    });
    let back = stage.address("a", &format!("{network}-a"), network);
    eventually("both ways", SOON, || traffic::ping(&two, &back));
    [one, two]
}

/// Fails unless what passes between the endpoints of a network passes at this port alone, and hosts
/// of the cluster alone are let in there.
#[track_caller]
fn tunnels_end_at(stage: &Stage, stranger: &Host, network: &str, port: u16) {
    let [one, two] = meet(stage, network);
    let wire = stage.watch();
    let there = stage.address("b", &format!("{network}-b"), network);
    assert!(traffic::ping(&one, &there));
    let seen = wire.seen(stage.host("a"), &stage.addr("b"));
    for other in [4789, 5789, 6789] {
        let packets = seen.packets_to(other);
        assert_eq!(
            packets > 0,
            other == port,
            "{network}: {packets} to {other}"
        );
    }
    let vni = vni(stage, network);
    let [from, to] = ["a", "b"].map(|host| {
        let name = format!("{network}-{host}");
        Station::of(stage, host, &name, network)
    });
    let door = door(&two);
    let b = stage.addr("b");
    for (host, text) in [(stranger, "stranger"), (stage.host("a"), "member")] {
        // Once it knows where b is, what it sends is there before what comes later.
        assert!(traffic::ping(host, &b));
        let socket = host.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let frame = tunnelled(vni, &from, &to, text);
        socket.send_to(&frame, (b.as_str(), port)).unwrap();
    }
    assert_eq!(hear(&door).as_deref(), Some("member"), "{network}");
    assert_eq!(hear(&door), None, "{network}: nobody else is let in");
}

fn tunnels_end_at_the_port_that_their_network_names(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    let stranger = stage.stranger();
    stage.docker(
        "a",
        "network create -d overlay -o vethwork.overlay.port=5789 named",
    );
    tunnels_end_at(&stage, &stranger, "named", 5789);
    // Beside one that names none.
    stage.docker("a", "network create -d overlay plain");
    tunnels_end_at(&stage, &stranger, "plain", 4789);
    for taken in ["0", "4788", "51820", "65536"] {
        let refused = stage.refused(
            "a",
            &format!("network create -d overlay -o vethwork.overlay.port={taken} bad"),
        );
        assert!(refused.contains("vethwork.overlay.port"), "{refused}");
    }
    stage.end();
}

fn tunnels_end_at_the_port_that_is_advertised_where_their_network_is_made(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    let stranger = stage.stranger();
    let address = format!("{}:6789", stage.addr("a"));
    stage.readvertise("a", &address);
    stage.docker("a", "network create -d overlay of-a");
    tunnels_end_at(&stage, &stranger, "of-a", 6789);
    stage.docker(
        "a",
        "network create -d overlay -o vethwork.overlay.port=5789 named",
    );
    tunnels_end_at(&stage, &stranger, "named", 5789);
    stage.docker("b", "network create -d overlay of-b");
    tunnels_end_at(&stage, &stranger, "of-b", 4789);
    stage.end();
}
