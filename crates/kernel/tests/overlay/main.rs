//! Overlay networks as packets see them: hosts on one segment, each with an executor of its own
//! that applies what the driver plans.

mod cluster;
mod shortcuts;
mod wire;

use cluster::{Cluster, Underlay, station};
use std::time::Duration;
use vw_hoststate::Owner;
use vw_model::HostId;
use vw_testkit::{Host, eventually, require_root, stays, traffic};
use wire::{Capture, Inner};

/// The kernel opens a new port in its own time, later when others keep it busy.
fn reaches(from: &Host, addr: &str) {
    eventually(
        &format!("{addr} is reached"),
        Duration::from_secs(10),
        || traffic::ping(from, addr),
    );
}

/// Both ways, over both IP versions, with and without a handshake, and as large as it fits.
fn all_talk(cluster: &Cluster, mtu: usize) {
    for (at, from) in cluster.containers().enumerate() {
        for (there, to) in cluster
            .containers()
            .enumerate()
            .filter(|(there, _)| *there != at)
        {
            let (v4, v6) = (station(there).v4(), station(there).v6());
            for addr in [&v4, &v6] {
                reaches(from, addr);
            }
            let size = (mtu - 28).to_string();
            let ping = ["busybox", "ping", "-c", "1", "-W", "1", "-s", &size, &v4];
            assert!(from.run(ping).success(), "{mtu} octets fit");
            for addr in [format!("{v4}:0"), format!("[{v6}]:0")] {
                let server = traffic::Server::tcp(to, "far", &addr);
                let target = server.address().to_string();
                let mut talk = traffic::Conversation::open(from, &target).expect("it answers");
                let long = "x".repeat(200_000);
                talk.say(&long).expect("it echoes");
            }
        }
    }
}

fn reach(underlay: Underlay, mtu: usize) {
    let cluster = Cluster::new(3, underlay, &[]);
    let capture = Capture::start(cluster.switch());
    all_talk(&cluster, mtu);
    let frames = capture.tunnelled();
    assert!(frames.len() > 100, "{}", frames.len());
    // Segments travel together: nothing on the way cuts what the sender's kernel did not.
    assert!(frames.iter().any(|frame| frame.length > 10_000));
    assert!(frames.iter().all(|frame| !frame.fragment), "it fits");
    let asked = frames.iter().find(|frame| frame.is_resolution());
    assert_eq!(asked, None, "nobody asks across hosts who has an address");
    assert!(frames.iter().all(|frame| frame.vni == cluster::VNI));
    for member in cluster.members() {
        assert_eq!(member.missing(), [], "it stands as it was planned");
    }
}

#[test]
fn endpoints_reach_one_another_over_ipv4() {
    require_root!();
    reach(Underlay::V4, 1450);
}

#[test]
fn endpoints_reach_one_another_over_ipv6() {
    require_root!();
    reach(Underlay::V6, 1430);
}

/// What nobody is known to want, sent from the first container.
fn send_to_many_and_none(cluster: &Cluster) {
    let from = cluster.container(0);
    from.ip("neigh replace 10.5.0.77 lladdr 02:aa:aa:aa:aa:aa dev eth0");
    from.ip("route replace 224.0.0.0/4 dev eth0");
    for nobody in ["10.5.0.77", "10.5.0.99", "fd05::99"] {
        assert!(!traffic::ping(from, nobody), "{nobody} is nobody");
    }
    from.enter(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.set_broadcast(true).expect("it may");
        for to in ["10.5.0.255:9", "224.0.0.251:5353"] {
            socket.send_to(b"all", to).expect("it is sent");
        }
    });
}

fn is_many(frame: &Inner) -> bool {
    frame.dst.0[0] & 1 == 1
}

fn is_nobody(frame: &Inner) -> bool {
    frame.dst.0[1] == 0xaa
}

#[test]
fn nothing_is_flooded() {
    require_root!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let capture = Capture::start(cluster.switch());
    send_to_many_and_none(&cluster);
    reaches(cluster.container(0), &station(1).v4());
    let frames = capture.tunnelled();
    assert!(!frames.is_empty(), "the last echo is seen");
    let flooded = frames
        .iter()
        .find(|frame| is_many(frame) || is_nobody(frame));
    assert_eq!(flooded, None);
}

#[test]
fn groups_cross_where_that_was_asked_for_and_unknown_stations_do_not() {
    require_root!();
    let multicast = [("vethwork.overlay.multicast", "true")];
    let cluster = Cluster::new(3, Underlay::V4, &multicast);
    let capture = Capture::start(cluster.switch());
    let heard: Vec<_> = (1..3).map(|at| cluster.listen(at, "0.0.0.0:9")).collect();
    send_to_many_and_none(&cluster);
    for socket in heard {
        let mut datagram = [0; 16];
        let length = socket.recv(&mut datagram).expect("it is heard");
        assert_eq!(&datagram[..length], b"all");
    }
    let frames = capture.tunnelled();
    assert!(frames.iter().any(is_many));
    assert_eq!(frames.iter().find(|frame| is_nobody(frame)), None);
    let asked = |frame: &&Inner| frame.is_question();
    assert_eq!(
        frames.iter().find(asked),
        None,
        "who has an address is still known here"
    );
}

#[test]
fn the_socket_of_a_tunnel_is_the_hosts() {
    require_root!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let bound = |host: &Host| {
        let sockets = host.sh("cat /proc/net/udp /proc/net/udp6").ok();
        sockets.contains(&format!(":{:04X} ", 4789))
    };
    let member = &cluster.members()[0];
    assert!(bound(member.host()));
    assert!(!bound(&cluster.inside(0)));
}

fn strangers(underlay: Underlay) {
    let cluster = Cluster::new(2, underlay, &[]);
    let socket = cluster.listen(0, "0.0.0.0:7777");
    let forged = wire::forged(cluster::VNI, &station(1), &station(0), 7777);
    let target = std::net::SocketAddr::new(cluster.tunnel(0), 4789);
    let send = |host: &Host| {
        host.enter(|| {
            let socket = std::net::UdpSocket::bind(("::", 0)).expect("a socket");
            let target = match target {
                std::net::SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
                v6 @ std::net::SocketAddr::V6(_) => v6,
            };
            socket.send_to(&forged, target).expect("it is sent");
        });
    };
    let mut datagram = [0; 64];
    // From another host of the cluster it is what a tunnel sends.
    send(cluster.members()[1].host());
    let length = socket.recv(&mut datagram).expect("it arrives");
    assert_eq!(&datagram[..length], b"forged");
    send(cluster.switch());
    send(cluster.members()[0].host());
    assert!(
        socket.recv(&mut datagram).is_err(),
        "strangers are not heard"
    );
    // Once the other host has left the cluster, it is a stranger too.
    let left = Owner::Peer(HostId::from_bytes([1; 32]));
    cluster.members()[0].want(vec![(left, Vec::new().into())]);
    send(cluster.members()[1].host());
    assert!(socket.recv(&mut datagram).is_err(), "nor is who left");
}

#[test]
fn a_stranger_cannot_send_into_a_network_over_ipv4() {
    require_root!();
    strangers(Underlay::V4);
}

#[test]
fn a_stranger_cannot_send_into_a_network_over_ipv6() {
    require_root!();
    strangers(Underlay::V6);
}

#[test]
fn a_container_that_pretends_to_be_a_host_is_not_heard() {
    require_root!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let (host, socket) = (
        cluster.members()[0].host(),
        cluster.listen(0, "0.0.0.0:7777"),
    );
    let liar = cluster.lab().host("liar");
    cluster.lab().link(host, "port", &liar, "eth0");
    host.ip("link add own0 type bridge");
    for link in ["port master own0", "own0"] {
        host.ip(&format!("link set {link} up"));
    }
    let (to, other) = (cluster.tunnel(0), cluster.tunnel(1));
    liar.ip(&format!("addr add {other}/32 dev eth0"));
    liar.ip(&format!("route add {to} dev eth0"));
    let shown = host.ip("-o link show own0");
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "link/ether");
    let mac = words.next().expect("a bridge has one");
    liar.ip(&format!("neigh add {to} lladdr {mac} dev eth0"));
    let forged = wire::forged(cluster::VNI, &station(1), &station(0), 7777);
    let send = || {
        liar.enter(|| {
            let socket = std::net::UdpSocket::bind((other, 0)).expect("it has the address");
            socket.send_to(&forged, (to, 4789)).expect("it is sent");
        });
    };
    let mut datagram = [0; 64];
    // A bridge that is none of ours leads to a host.
    send();
    socket.recv(&mut datagram).expect("it arrives");
    let own = vw_firewall::Element {
        set: vw_firewall::SetName::Bridges,
        key: vec![vw_firewall::Datum::Interface(
            "own0".parse().expect("a name"),
        )],
        value: Vec::new(),
    };
    let own = vec![vw_hoststate::Object::Element(own)];
    let network = Owner::Network(vw_model::NetworkId::from_bytes([9; 32]));
    cluster.members()[0].want(vec![(network, own.into())]);
    send();
    assert!(socket.recv(&mut datagram).is_err(), "it is no host");
}

#[test]
fn a_container_does_not_speak_for_its_host() {
    require_root!();
    vw_testkit::require_programs!("nft");
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let (host, socket) = (
        cluster.members()[0].host(),
        cluster.listen(1, "0.0.0.0:7777"),
    );
    let guest = cluster.lab().host("guest");
    cluster.lab().link(host, "port", &guest, "eth0");
    host.ip("addr add 10.9.0.1/24 dev port");
    guest.ip("addr add 10.9.0.2/24 dev eth0");
    guest.ip("route add default via 10.9.0.1");
    host.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"]).must();
    let masquerade = "add table ip lab; add chain ip lab post { type nat hook postrouting priority 100; }; add rule ip lab post ip saddr 10.9.0.2 masquerade";
    host.run(["nft", masquerade]).must();
    let forged = wire::forged(cluster::VNI, &station(0), &station(1), 7777);
    let send = |to: std::net::IpAddr| {
        guest.enter(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("it has an address");
            socket.send_to(&forged, (to, 4789)).expect("it is sent");
        });
    };
    let there = cluster.members()[1].host();
    there.ip("addr add 192.0.2.77/24 dev eth0");
    let (end, other) = (cluster.tunnel(1), "192.0.2.77".parse().expect("an address"));
    let mut datagram = [0; 64];
    for to in [end, other] {
        send(to);
        assert!(socket.recv(&mut datagram).is_err(), "it is no host: {to}");
    }
    // Without the rules it is taken for its host.
    host.run(["nft", "flush chain inet vethwork tunnel"]).must();
    send(end);
    socket.recv(&mut datagram).expect("it arrives");
    send(other);
    assert!(socket.recv(&mut datagram).is_err(), "no host sends there");
    there
        .run(["nft", "flush chain inet vethwork tunnel"])
        .must();
    send(other);
    socket.recv(&mut datagram).expect("it arrives");
}

#[test]
fn no_connection_is_recorded_for_what_tunnels_send() {
    require_root!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    reaches(cluster.container(0), &station(1).v4());
    for member in cluster.members() {
        let count = "/proc/sys/net/netfilter/nf_conntrack_count";
        let count = member.host().enter(|| std::fs::read_to_string(count));
        assert_eq!(count.expect("the table looks at connections").trim(), "0");
    }
}

#[test]
fn what_others_change_in_a_tunnel_is_put_right() {
    require_root!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let member = &cluster.members()[0];
    let (mac, addr) = (station(1).mac, station(1).v4());
    reaches(cluster.container(0), &addr);
    for broken in [
        format!("bridge fdb del {mac} dev vxlan0 dst 192.0.2.2 self"),
        format!("bridge fdb del {mac} dev vxlan0 master"),
        format!("ip neigh del {addr} dev vxlan0"),
        // Left by a daemon that ended between two tables.
        "bridge fdb add 02:00:00:00:00:aa dev vxlan0 master static".to_owned(),
    ] {
        cluster.inside(0).sh(&broken).must();
        let steps = member.missing();
        assert!(!steps.is_empty(), "{broken}");
        member.repair(steps);
        assert_eq!(member.missing(), [], "{broken}");
        reaches(cluster.container(0), &addr);
    }
}

#[test]
fn an_endpoint_that_moves_is_found_where_it_is() {
    require_root!();
    let mut cluster = Cluster::new(3, Underlay::V4, &[]);
    let addr = station(1).v4();
    reaches(cluster.container(0), &addr);
    cluster.move_station(1, 1, 2);
    reaches(cluster.container(0), &addr);
    cluster.move_station(1, 2, 0);
    reaches(cluster.container(2), &addr);
    // Whose neighbour it is now was told of another host before.
    reaches(cluster.container(0), &addr);
}

#[test]
fn a_container_cannot_take_what_lies_elsewhere() {
    require_root!();
    let cluster = Cluster::new(2, Underlay::V4, &[]);
    let (victim, thief) = (cluster.container(0), cluster.add(7, 0));
    reaches(victim, &station(1).v4());
    // It sends as if it were the endpoint on the other host.
    thief.ip(&format!("link set eth0 address {}", station(1).mac));
    assert!(!traffic::ping(&thief, &station(0).v4()), "answers go there");
    stays("the way is the same", Duration::from_secs(1), || {
        traffic::ping(victim, &station(1).v4())
    });
}

#[test]
fn what_goes_leaves_nothing() {
    require_root!();
    for underlay in [Underlay::V4, Underlay::V6] {
        let cluster = Cluster::new(2, underlay, &[]);
        reaches(cluster.container(0), &station(1).v4());
        cluster.leave();
    }
}
