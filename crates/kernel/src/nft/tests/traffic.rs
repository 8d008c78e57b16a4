//! Real packets through real pairs: what each policy lets pass, and from which source.

use super::super::{Change, Nft};
use super::ns::{LONG, Ns, SHORT};
use super::{bridge, published, spec, stand};
use vw_firewall::{Element, GatewayMode, NetworkPolicy, PortPolicy, STAND_IN, network, port};

/// A host with bridges `vw-a` (10.1), `vw-b` (10.2) and `vw-i` (10.3), each with two containers,
/// and a machine outside that routes to all of them.
struct World {
    host: Ns,
    outside: Ns,
    containers: Vec<(&'static str, Ns)>,
    nft: Nft,
}

const CONTAINERS: [(&str, &str, &str); 6] = [
    ("a1", "vw-a", "1.0.2"),
    ("a2", "vw-a", "1.0.3"),
    ("b1", "vw-b", "2.0.2"),
    ("b2", "vw-b", "2.0.3"),
    ("i1", "vw-i", "3.0.2"),
    ("i2", "vw-i", "3.0.3"),
];

const DROPPED: &str = "TimedOut";

impl World {
    fn new() -> Option<Self> {
        let (host, outside) = (Ns::new()?, Ns::new()?);
        host.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0
             ip link add eth0 type veth peer name eth0 netns {}
             ip addr add 192.0.2.1/24 dev eth0
             ip addr add 2001:db8::1/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 192.0.2.2",
            outside.path()
        ));
        outside.sh(
            "ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad
             ip link set eth0 up
             ip route add 10.0.0.0/8 via 192.0.2.1
             ip -6 route add fd00::/16 via 2001:db8::1",
        );
        for (name, v4) in [("vw-a", "1.0.1"), ("vw-b", "2.0.1"), ("vw-i", "3.0.1")] {
            host.sh(&format!(
                "ip link add {name} type bridge; ip link set {name} up
                 ip addr add 10.{v4}/24 dev {name}; ip addr add {}/64 dev {name} nodad
                 sysctl -qw net.ipv4.conf.{name}.route_localnet=1
                 ip -6 route add local {STAND_IN} dev {name} table local metric {}",
                v6(v4),
                1000 + u32::from(name.as_bytes()[3]),
            ));
        }
        let containers = CONTAINERS.map(|one| container(&host, one));
        let containers: Option<Vec<_>> = containers.into_iter().collect();
        outside.serve("0.0.0.0:80");
        outside.serve("[::]:81");
        let mut nft = host.run(|| Nft::open().unwrap());
        stand(&mut nft);
        Some(Self {
            host,
            outside,
            containers: containers?,
            nft,
        })
    }

    fn networks(&mut self, policies: [NetworkPolicy; 3]) {
        let elements: Vec<Element> = policies.iter().flat_map(network).collect();
        let changes: Vec<Change<'_>> = elements.iter().map(Change::Add).collect();
        self.nft.change(&changes).unwrap();
    }

    fn publish(&mut self, policy: &PortPolicy) {
        let elements = port(policy).unwrap();
        let changes: Vec<Change<'_>> = elements.iter().map(Change::Add).collect();
        self.nft.change(&changes).unwrap();
    }

    fn at(&self, name: &str) -> &Ns {
        match name {
            "host" => &self.host,
            "outside" => &self.outside,
            _ => &self.containers.iter().find(|one| one.0 == name).unwrap().1,
        }
    }

    /// Asks from each place for each address; what the server saw, or how it failed.
    #[track_caller]
    fn check(&self, table: &[(&str, &str, &str)]) {
        let mut wrong = Vec::new();
        for (from, to, expected) in table {
            let patience = if *expected == DROPPED { SHORT } else { LONG };
            let found = self.at(from).ask(to, patience);
            if found != *expected {
                wrong.push(format!("{from} -> {to}: {found}, not {expected}"));
            }
        }
        let rules = || self.host.sh("nft list ruleset");
        assert!(wrong.is_empty(), "{wrong:#?}\n{}", rules());
    }
}

/// `1.0.2` is `fd00:1::2`.
fn v6(v4: &str) -> String {
    let (network, host) = v4.split_once(".0.").unwrap();
    format!("fd00:{network}::{host}")
}

fn container(
    host: &Ns,
    (name, bridge, v4): (&'static str, &str, &str),
) -> Option<(&'static str, Ns)> {
    let ns = Ns::new()?;
    host.sh(&format!(
        "ip link add {name} type veth peer name eth0 netns {}
         ip link set {name} master {bridge} up",
        ns.path()
    ));
    let network = v4.split('.').next().unwrap();
    ns.sh(&format!(
        "ip addr add 10.{v4}/24 dev eth0; ip addr add {}/64 dev eth0 nodad; ip link set eth0 up
         ip route add default via 10.{network}.0.1; ip -6 route add default via fd00:{network}::1",
        v6(v4)
    ));
    ns.serve("0.0.0.0:80");
    ns.serve("[::]:81");
    Some((name, ns))
}

fn internal() -> NetworkPolicy {
    NetworkPolicy {
        internal: true,
        ..bridge("vw-i")
    }
}

#[test]
fn networks_are_isolated_and_hidden() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.networks([bridge("vw-a"), bridge("vw-b"), internal()]);
    world.check(&[
        // Neighbours.
        ("a1", "10.1.0.3:80", "10.1.0.2"),
        ("a1", "[fd00:1::3]:81", "fd00:1::2"),
        ("i1", "10.3.0.3:80", "10.3.0.2"),
        // The host is not masqueraded towards its containers.
        ("host", "10.1.0.2:80", "10.1.0.1"),
        ("host", "[fd00:1::2]:81", "fd00:1::1"),
        ("host", "10.3.0.2:80", "10.3.0.1"),
        // Out, by the host's address.
        ("a1", "192.0.2.2:80", "192.0.2.1"),
        ("a1", "[2001:db8::2]:81", "2001:db8::1"),
        // Not to other networks, not out of an internal one, not in.
        ("a1", "10.2.0.2:80", DROPPED),
        ("b1", "10.1.0.2:80", DROPPED),
        ("a1", "[fd00:2::2]:81", DROPPED),
        ("a1", "10.3.0.2:80", DROPPED),
        ("i1", "10.1.0.2:80", DROPPED),
        ("i1", "192.0.2.2:80", DROPPED),
        ("i1", "[2001:db8::2]:81", DROPPED),
        ("outside", "10.1.0.2:80", DROPPED),
        ("outside", "[fd00:1::2]:81", DROPPED),
        ("outside", "10.3.0.2:80", DROPPED),
    ]);
}

#[test]
fn the_same_where_bridged_packets_pass_the_ip_hooks() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.host.sh(
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1",
    );
    world.networks([bridge("vw-a"), bridge("vw-b"), internal()]);
    world.publish(&published("0.0.0.0:8080", "10.1.0.2:80"));
    world.publish(&published("[::]:8081", "[fd00:1::2]:81"));
    world.host.sh("bridge link set dev a1 hairpin on");
    world.check(&[
        ("a1", "10.1.0.3:80", "10.1.0.2"),
        ("a1", "192.0.2.1:8080", "10.1.0.1"),
        ("i1", "10.3.0.3:80", "10.3.0.2"),
        ("a1", "10.2.0.2:80", DROPPED),
        ("outside", "10.1.0.2:80", DROPPED),
        ("outside", "192.0.2.1:8080", "192.0.2.2"),
        ("host", "127.0.0.1:8080", "10.1.0.1"),
        ("a2", "192.0.2.1:8080", "10.1.0.1"),
        ("a1", "[fd00:1::3]:81", "fd00:1::2"),
        ("a1", "[2001:db8::1]:8081", "fd00:1::1"),
        ("a2", "[2001:db8::1]:8081", "fd00:1::1"),
        ("outside", "[2001:db8::1]:8081", "2001:db8::2"),
        ("host", "[::1]:8081", "fd00:1::1"),
    ]);
}

#[test]
fn published_ports_are_reached_from_everywhere() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.networks([bridge("vw-a"), bridge("vw-b"), internal()]);
    world.publish(&published("0.0.0.0:8080", "10.1.0.2:80"));
    world.publish(&published("[::]:8081", "[fd00:1::2]:81"));
    world.publish(&published("192.0.2.1:9090", "10.1.0.2:80"));
    world.check(&[
        ("outside", "192.0.2.1:8080", "192.0.2.2"),
        ("outside", "[2001:db8::1]:8081", "2001:db8::2"),
        ("outside", "192.0.2.1:9090", "192.0.2.2"),
        // The host by any of its addresses.
        ("host", "192.0.2.1:8080", "192.0.2.1"),
        ("host", "[2001:db8::1]:8081", "2001:db8::1"),
        ("host", "10.1.0.1:8080", "10.1.0.1"),
        ("host", "127.0.0.1:8080", "10.1.0.1"),
        ("host", "127.9.9.9:8080", "10.1.0.1"),
        ("host", "[::1]:8081", "fd00:1::1"),
        // Itself and a neighbour, by the host's address and by the gateway's.
        ("a1", "192.0.2.1:8080", "10.1.0.1"),
        ("a2", "192.0.2.1:8080", "10.1.0.1"),
        ("a2", "10.1.0.1:8080", "10.1.0.1"),
        ("a1", "[2001:db8::1]:8081", "fd00:1::1"),
        ("a2", "[2001:db8::1]:8081", "fd00:1::1"),
        // Another network, by the host's address alone.
        ("b1", "192.0.2.1:8080", "10.1.0.1"),
        ("b1", "[2001:db8::1]:8081", "fd00:1::1"),
        ("b1", "10.1.0.2:80", DROPPED),
        // Not the container's own port, not an internal network, not another address.
        ("outside", "10.1.0.2:80", DROPPED),
        ("i1", "10.3.0.1:8080", DROPPED),
        ("host", "127.0.0.1:9090", "ConnectionRefused"),
        ("outside", "192.0.2.1:80", "ConnectionRefused"),
    ]);
}

#[test]
fn localhost_stays_local() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.networks([bridge("vw-a"), bridge("vw-b"), internal()]);
    world.publish(&published("127.0.0.1:8080", "10.1.0.2:80"));
    world.publish(&published("[::1]:8081", "[fd00:1::2]:81"));
    world.host.serve("127.0.0.1:7070");
    world.check(&[
        ("host", "127.0.0.1:8080", "10.1.0.1"),
        ("host", "[::1]:8081", "fd00:1::1"),
        ("host", "127.0.0.1:7070", "127.0.0.1"),
        ("outside", "192.0.2.1:8080", "ConnectionRefused"),
        ("outside", "[2001:db8::1]:8081", "ConnectionRefused"),
    ]);
    // A container and a neighbour on the wire that send 127.0.0.1 to the host.
    let wire =
        "ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local
                sysctl -qw net.ipv4.conf.all.route_localnet=1; ip route add 127.0.0.0/8 via ";
    world.at("a1").sh(&format!("{wire} 10.1.0.1 src 10.1.0.2"));
    world.outside.sh(&format!("{wire} 192.0.2.1 src 192.0.2.2"));
    world
        .host
        .sh("sysctl -qw net.ipv4.conf.eth0.route_localnet=1");
    world.check(&[
        ("a1", "127.0.0.1:8080", DROPPED),
        ("a1", "127.0.0.1:7070", DROPPED),
        ("outside", "127.0.0.1:8080", DROPPED),
        ("outside", "127.0.0.1:7070", DROPPED),
    ]);
    let guard = world.host.sh("nft list chain inet vethwork guard");
    assert!(guard.contains("127.0.0.0/8 drop"), "{guard}");
}

#[test]
fn gateway_modes_differ() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (mut routed, mut open) = (bridge("vw-a"), bridge("vw-b"));
    routed.v4.mode = GatewayMode::Routed;
    open.v4.mode = GatewayMode::NatUnprotected;
    world.networks([routed, open, internal()]);
    world.at("a1").serve("0.0.0.0:8888");
    world.publish(&PortPolicy {
        mode: GatewayMode::Routed,
        ..published("0.0.0.0:0", "10.1.0.2:80")
    });
    world.check(&[
        ("outside", "10.1.0.2:80", "192.0.2.2"),
        ("b1", "10.1.0.2:80", "10.1.0.1"),
        ("outside", "10.1.0.2:8888", DROPPED),
        ("outside", "10.1.0.3:80", DROPPED),
        ("a1", "192.0.2.2:80", "10.1.0.2"),
        // IPv6 of the same network is behind translation.
        ("outside", "[fd00:1::2]:81", DROPPED),
        // Unprotected: from outside, but not from our other networks.
        ("outside", "10.2.0.2:80", "192.0.2.2"),
        ("a1", "10.2.0.2:80", DROPPED),
        ("b1", "192.0.2.2:80", "192.0.2.1"),
    ]);
    assert!(
        world.outside.ping("10.1.0.3", LONG),
        "ICMP to a routed network"
    );
    assert!(
        !world.at("a1").ping("10.2.0.2", SHORT),
        "ICMP to a network behind translation"
    );
}

#[test]
fn without_icc_only_published_ports_are_shared() {
    let Some(mut world) = World::new() else {
        return;
    };
    let apart = NetworkPolicy {
        icc: false,
        ..bridge("vw-a")
    };
    world.networks([apart, bridge("vw-b"), internal()]);
    for port in ["a1", "a2"] {
        world
            .host
            .sh(&format!("bridge link set dev {port} isolated on"));
    }
    world.publish(&published("0.0.0.0:8080", "10.1.0.2:80"));
    // Sent to the gateway instead of the neighbour, a packet must not come back to the bridge.
    for (one, other) in [("a1", "10.1.0.3"), ("a2", "10.1.0.2")] {
        world
            .at(one)
            .sh(&format!("ip route add {other} via 10.1.0.1"));
    }
    world.check(&[
        ("a2", "10.1.0.2:80", DROPPED),
        ("a2", "192.0.2.1:8080", "10.1.0.1"),
        ("b1", "192.0.2.1:8080", "10.1.0.1"),
        ("a2", "192.0.2.2:80", "192.0.2.1"),
    ]);
}

#[test]
fn the_source_address_can_be_chosen() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.host.sh("ip addr add 192.0.2.7/24 dev eth0");
    let mut chosen = bridge("vw-a");
    chosen.v4.snat = Some([192, 0, 2, 7].into());
    let mut bare = bridge("vw-b");
    bare.v4.masquerade = false;
    world.networks([chosen, bare, internal()]);
    world.publish(&published("0.0.0.0:8080", "10.1.0.2:80"));
    world.check(&[
        ("a1", "192.0.2.2:80", "192.0.2.7"),
        ("b1", "192.0.2.2:80", "10.2.0.2"),
        ("a2", "192.0.2.1:8080", "10.1.0.1"),
        ("a1", "10.1.0.3:80", "10.1.0.2"),
    ]);
}

#[test]
fn the_administrator_speaks_first() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.networks([bridge("vw-a"), bridge("vw-b"), internal()]);
    world.publish(&published("0.0.0.0:8080", "10.1.0.2:80"));
    world.host.sh("nft 'add rule inet vethwork user ip saddr 192.0.2.2 drop; add rule inet vethwork user ip saddr 10.1.0.3 ip daddr 10.2.0.2 accept'");
    world.check(&[
        ("outside", "192.0.2.1:8080", DROPPED),
        ("a2", "10.2.0.2:80", "10.2.0.1"),
        ("a1", "10.2.0.2:80", DROPPED),
    ]);
}

#[test]
fn connections_outlive_a_mended_table() {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let Some(mut world) = World::new() else {
        return;
    };
    world.networks([bridge("vw-a"), bridge("vw-b"), internal()]);
    world.publish(&published("0.0.0.0:8080", "10.1.0.2:7000"));
    let server = world
        .at("a1")
        .run(|| TcpListener::bind("0.0.0.0:7000").unwrap());
    let connect = || TcpStream::connect("192.0.2.1:8080").unwrap();
    let mut client = world.outside.run(connect);
    let mut served = server.accept().unwrap().0;
    let mut exchange = || {
        client.write_all(b"x").unwrap();
        served.read_exact(&mut [0]).unwrap();
    };
    exchange();
    world.host.sh("nft flush chain inet vethwork forward");
    world.nft.ensure(&spec()).unwrap();
    exchange();
    // The whole rule set flushed and made anew: the kernel keeps what it translated.
    world.host.sh("nft flush ruleset");
    world.nft.ensure(&spec()).unwrap();
    world.networks([bridge("vw-a"), bridge("vw-b"), internal()]);
    exchange();
}
