//! Services by real packets: who is led where, how evenly, and at what cost.

mod localhost;

use super::super::{Change, Nft};
use super::ns::{LONG, Ns};
use super::{bridge, stand};
use crate::conntrack::{
    Conntrack,
    tests::{associations, init},
};
use std::{
    collections::BTreeMap,
    io::Read,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};
use vw_firewall::{
    Element, STAND_IN, ServicePolicy, ServicePort, Slot, network, port, service, service_table,
};
use vw_model::{Family, Protocol};

const REFUSED: &str = "ConnectionRefused";
const VIP4: &str = "10.1.0.100";
const VIP6: &str = "fd00:1::100";

/// A host with the bridges `vw-a` and `vw-b`, a service on the first, a client on each, and a
/// machine outside. The endpoints are addresses of one namespace, each with its own server.
struct World {
    host: Ns,
    near: Ns,
    far: Ns,
    outside: Ns,
    endpoints: Ns,
    nft: Nft,
    standing: Vec<Element>,
}

fn link(host: &Ns, name: &str, bridge: &str, addresses: &[String], gateway: u8) -> Option<Ns> {
    let ns = Ns::new()?;
    host.sh(&format!(
        "ip link add {name} type veth peer name eth0 netns {}
         ip link set {name} master {bridge} up",
        ns.path()
    ));
    for addr in addresses {
        ns.sh(&format!("ip addr add {addr} dev eth0 nodad"));
    }
    ns.sh(&format!(
        "ip link set eth0 up; ip route add default via 10.{gateway}.0.1
         ip -6 route add default via fd00:{gateway}::1"
    ));
    Some(ns)
}

impl World {
    fn new(endpoints: u8) -> Option<Self> {
        let (host, outside) = (Ns::new()?, Ns::new()?);
        host.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0
             ip link add eth0 type veth peer name eth0 netns {}
             ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad
             ip link set eth0 up",
            outside.path()
        ));
        outside.sh(
            "ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad
             ip link set eth0 up
             ip route add 10.0.0.0/8 via 192.0.2.1; ip -6 route add fd00::/16 via 2001:db8::1",
        );
        for (name, number) in [("vw-a", 1), ("vw-b", 2)] {
            host.sh(&format!(
                "ip link add {name} type bridge; ip link set {name} up
                 ip addr add 10.{number}.0.1/24 dev {name}
                 ip addr add fd00:{number}::1/64 dev {name} nodad
                 sysctl -qw net.ipv4.conf.{name}.route_localnet=1
                 ip -6 route add local {STAND_IN} dev {name} table local metric {}",
                1000 + number
            ));
        }
        host.sh(&format!(
            "ip addr add {VIP4}/32 dev vw-a; ip addr add {VIP6}/128 dev vw-a nodad preferred_lft 0"
        ));
        let all: Vec<String> = (0..endpoints)
            .flat_map(|number| [format!("{}/24", v4(number)), format!("{}/64", v6(number))])
            .collect();
        let endpoints_ns = link(&host, "ends", "vw-a", &all, 1)?;
        let one = |name, bridge, number: u8| {
            let all = [
                format!("10.{number}.0.200/24"),
                format!("fd00:{number}::200/64"),
            ];
            link(&host, name, bridge, &all, number)
        };
        let (near, far) = (one("near", "vw-a", 1)?, one("far", "vw-b", 2)?);
        let mut nft = host.run(|| Nft::open().unwrap());
        stand(&mut nft);
        nft.ensure(&service_table()).unwrap();
        let policies = [network(&bridge("vw-a")), network(&bridge("vw-b"))].concat();
        let changes: Vec<Change<'_>> = policies.iter().map(Change::Add).collect();
        nft.change(&changes).unwrap();
        let world = Self {
            host,
            near,
            far,
            outside,
            endpoints: endpoints_ns,
            nft,
            standing: Vec::new(),
        };
        for number in 0..endpoints {
            world.serve(v4(number), number);
            world.serve(v6(number), number);
        }
        Some(world)
    }

    /// Answers every connection with its number and the address that it came from.
    fn serve(&self, addr: IpAddr, number: u8) {
        let listener = self
            .endpoints
            .run(|| TcpListener::bind(SocketAddr::new(addr, 8080)).unwrap());
        thread::spawn(move || {
            use std::io::Write;
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = write!(stream, "{number} {}", peer.ip());
            }
        });
    }

    /// Sends back what it is sent.
    fn serve_udp(&self, addr: IpAddr) {
        let socket = self
            .endpoints
            .run(|| UdpSocket::bind((addr, 8080)).unwrap());
        thread::spawn(move || {
            let mut text = [0; 8];
            while let Ok((len, peer)) = socket.recv_from(&mut text) {
                let _ = socket.send_to(&text[..len], peer);
            }
        });
    }

    /// What the service is now, in one transaction.
    fn want(&mut self, policy: &ServicePolicy) {
        self.want_all(service(policy));
    }

    fn want_all(&mut self, wanted: Vec<Element>) -> usize {
        let gone = self.standing.iter().filter(|one| !wanted.contains(one));
        let new = wanted.iter().filter(|one| !self.standing.contains(one));
        let changes: Vec<_> = gone
            .map(Change::Remove)
            .chain(new.map(Change::Add))
            .collect();
        self.nft.change(&changes).unwrap();
        let count = changes.len();
        self.standing = wanted;
        count
    }

    #[track_caller]
    fn check(&self, from: &Ns, to: &str, expected: &str) {
        let found = from.ask(to, LONG);
        let rules = || self.host.sh("nft list ruleset | grep -v _of_");
        assert_eq!(found, expected, "{to}\n{}", rules());
    }
}

fn v4(number: u8) -> IpAddr {
    IpAddr::from([10, 1, 0, 2 + number])
}

fn v6(number: u8) -> IpAddr {
    format!("fd00:1::{:x}", 2 + u16::from(number))
        .parse()
        .unwrap()
}

fn slots(numbers: &[u8]) -> Vec<Slot> {
    let slot = |number: &u8| match (v4(*number), v6(*number)) {
        (IpAddr::V4(v4), IpAddr::V6(v6)) => Slot {
            v4: Some(v4),
            v6: Some(v6),
        },
        _ => Slot::default(),
    };
    numbers.iter().map(slot).collect()
}

fn policy(numbers: &[u8]) -> ServicePolicy {
    ServicePolicy {
        vips: vec![VIP4.parse().unwrap(), VIP6.parse().unwrap()],
        home: Some("vw-a".parse().unwrap()),
        ports: vec![ServicePort {
            host: None,
            published: 80,
            target: 8080,
            protocol: Protocol::Tcp,
        }],
        families: vec![Family::V4, Family::V6],
        affinity: false,
        slots: slots(numbers),
    }
}

#[test]
fn everyone_who_may_reaches_a_service_and_nobody_else() {
    let Some(mut world) = World::new(1) else {
        return;
    };
    world.want(&policy(&[0]));
    let (near, host, outside, far) = (&world.near, &world.host, &world.outside, &world.far);
    for (from, to, seen) in [
        (near, "10.1.0.100:8080", "0 10.1.0.1"),
        (near, "[fd00:1::100]:8080", "0 fd00:1::1"),
        (&world.endpoints, "10.1.0.100:8080", "0 10.1.0.1"),
        (host, "10.1.0.100:8080", "0 10.1.0.100"),
        (host, "[fd00:1::100]:8080", "0 fd00:1::100"),
        (outside, "192.0.2.1:80", "0 192.0.2.2"),
        (outside, "[2001:db8::1]:80", "0 2001:db8::2"),
        (host, "127.0.0.1:80", "0 10.1.0.1"),
        (host, "[::1]:80", "0 fd00:1::1"),
        (host, "192.0.2.1:80", "0 192.0.2.1"),
        (near, "192.0.2.1:80", "0 10.1.0.1"),
        (near, "[2001:db8::1]:80", "0 fd00:1::1"),
        (far, "192.0.2.1:80", "0 10.1.0.1"),
        // The address is for neighbours and this host alone.
        (far, "10.1.0.100:8080", REFUSED),
        (far, "[fd00:1::100]:8080", REFUSED),
        (outside, "10.1.0.100:8080", REFUSED),
        (outside, "[fd00:1::100]:8080", REFUSED),
    ] {
        world.check(from, to, seen);
    }
    assert!(near.ping(VIP4, LONG), "the host answers for the address");
}

#[test]
fn a_service_without_endpoints_leads_nowhere_else() {
    let Some(mut world) = World::new(1) else {
        return;
    };
    world.host.serve("0.0.0.0:8080");
    world.host.serve("[::]:8081");
    let mapping = super::published("0.0.0.0:9000", "10.1.0.2:8080");
    let published = port(&mapping).unwrap();
    world.want_all([service(&policy(&[])), published].concat());
    for to in ["10.1.0.100:8080", "[fd00:1::100]:8081", "10.1.0.100:9000"] {
        let begun = Instant::now();
        world.check(&world.near, to, REFUSED);
        // Not only by what is sent again after a second.
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(800), "{to}: {took:?}");
        world.check(&world.host, to, REFUSED);
    }
    world.check(&world.outside, "192.0.2.1:80", REFUSED);
    world.check(&world.outside, "192.0.2.1:9000", "0 192.0.2.2");
}

#[test]
fn one_who_sends_before_an_endpoint_serves_is_led_to_it_then() {
    let Some(mut world) = World::new(1) else {
        return;
    };
    let port = |host: Option<&str>, published| ServicePort {
        host: host.map(|host| host.parse().unwrap()),
        published,
        target: 8080,
        protocol: Protocol::Udp,
    };
    let with = |numbers: &[u8]| ServicePolicy {
        ports: vec![
            port(None, 80),
            port(Some("192.0.2.1"), 81),
            port(Some("2001:db8::1"), 81),
        ],
        ..policy(numbers)
    };
    world.want(&with(&[]));
    let udp = |ns: &Ns, addr: &str| ns.run(|| UdpSocket::bind((addr, 0)).unwrap());
    world.serve_udp(v4(0));
    world.serve_udp(v6(0));
    let senders = [
        (&world.outside, "192.0.2.1:80"),
        (&world.outside, "[2001:db8::1]:80"),
        (&world.outside, "192.0.2.1:81"),
        (&world.outside, "[2001:db8::1]:81"),
        (&world.near, "192.0.2.1:80"),
        (&world.near, "10.1.0.100:8080"),
        (&world.host, "127.0.0.1:80"),
        (&world.host, "[::1]:80"),
    ]
    .map(|(from, to)| {
        let any = if to.starts_with('[') { "::" } else { "0.0.0.0" };
        let socket = udp(from, any);
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        (to, socket)
    });
    let ask = |socket: &UdpSocket| {
        let sent = socket.send(b"x").map(|_| ());
        sent.and_then(|()| socket.recv(&mut [0; 8]).map(|_| ()))
            .map_err(|error| format!("{:?}", error.kind()))
    };
    for (to, socket) in &senders {
        // What this host itself may not send, it is told at once.
        let local = to.starts_with("127.") || to.starts_with("[::1]");
        let told = if local { "PermissionDenied" } else { REFUSED };
        assert_eq!(ask(socket), Err(told.to_owned()), "{to}");
        // It was told in both ways.
        drop(socket.take_error());
    }
    world.want(&with(&[0]));
    for (to, socket) in &senders {
        assert_eq!(ask(socket), Ok(()), "{to}");
    }
}

#[test]
fn an_association_that_nobody_serves_is_not_tracked() {
    let Some(mut world) = World::new(1) else {
        return;
    };
    let port = |host: Option<&str>| ServicePort {
        host: host.map(|host| host.parse().unwrap()),
        published: 80,
        target: 8080,
        protocol: Protocol::Sctp,
    };
    let with = |host, numbers: &[u8]| ServicePolicy {
        ports: vec![port(host)],
        ..policy(numbers)
    };
    let tracked = |world: &World| {
        world.outside.run(|| {
            init("192.0.2.2", "192.0.2.1", 80);
            init("2001:db8::2", "2001:db8::1", 80);
        });
        world.host.run(associations)
    };
    for host in [None, Some("192.0.2.1"), Some("2001:db8::1")] {
        world.want(&with(host, &[]));
        let others = usize::from(host.is_some());
        assert_eq!(tracked(&world), others, "nobody serves, at {host:?}");
        world.want(&with(host, &[0]));
        assert_eq!(tracked(&world), 2, "it is led, at {host:?}");
        let all = ["192.0.2.2", "2001:db8::2"].map(|addr| addr.parse().unwrap());
        world.host.run(|| {
            let mut conntrack = Conntrack::open().unwrap();
            conntrack.forget(&all).unwrap();
        });
    }
}

/// Pearson's statistic of what was found against what was expected.
fn chi_squared(found: &[(f64, f64)]) -> f64 {
    found
        .iter()
        .map(|(seen, expected)| (seen - expected).powi(2) / expected)
        .sum()
}

/// Counts answers of many connections, by endpoint.
fn answers(from: &Ns, to: &str, count: usize, endpoints: usize) -> Vec<f64> {
    let mut counts = vec![0.0; endpoints];
    let addr: SocketAddr = to.parse().unwrap();
    from.run(|| {
        for _ in 0..count {
            let mut stream = TcpStream::connect_timeout(&addr, LONG).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let number: usize = text.split(' ').next().unwrap().parse().unwrap();
            counts[number] += 1.0;
        }
    });
    counts
}

#[test]
fn connections_spread_evenly_and_by_weight() {
    const COUNT: usize = 3000;
    let Some(mut world) = World::new(5) else {
        return;
    };
    world.near.sh("sysctl -qw net.ipv4.tcp_tw_reuse=1");
    // Each number of slots, and the value that one in ten thousand runs of an even draw exceeds.
    for (chosen, limit) in [
        (&[0, 1, 2][..], 18.4),
        (&[0, 1, 2, 3, 4][..], 23.5),
        (&[0, 0, 0, 1, 2, 2][..], 18.4),
    ] {
        world.want(&policy(chosen));
        for to in ["10.1.0.100:8080", "[fd00:1::100]:8080"] {
            let counts = answers(&world.near, to, COUNT, 5);
            let share = |number: usize| {
                chosen
                    .iter()
                    .filter(|one| usize::from(**one) == number)
                    .count() as f64
                    / chosen.len() as f64
            };
            let pairs: Vec<(f64, f64)> = counts
                .iter()
                .enumerate()
                .map(|(number, seen)| (*seen, share(number) * COUNT as f64))
                .filter(|(_, expected)| *expected > 0.0)
                .collect();
            let total: f64 = pairs.iter().map(|(seen, _)| seen).sum();
            assert_eq!(total, COUNT as f64, "{counts:?}");
            let value = chi_squared(&pairs);
            assert!(
                value < limit,
                "{chosen:?} by {to}: {counts:?}, chi-squared {value:.1}"
            );
        }
    }
}

#[test]
fn a_client_sticks_to_its_endpoint_where_asked() {
    let Some(mut world) = World::new(5) else {
        return;
    };
    let affine = ServicePolicy {
        affinity: true,
        ..policy(&[0, 1, 2, 3, 4])
    };
    world.want(&affine);
    world
        .near
        .sh("for n in $(seq 30 60); do ip addr add 10.1.0.$n/24 dev eth0; done");
    let counts = answers(&world.near, "10.1.0.100:8080", 20, 5);
    assert_eq!(
        counts.iter().filter(|count| **count > 0.0).count(),
        1,
        "{counts:?}"
    );
    let mut led = BTreeMap::new();
    for number in 30..=60_u8 {
        let from = format!("10.1.0.{number}");
        world.near.sh(&format!(
            "ip route replace 10.1.0.100/32 dev eth0 src {from}"
        ));
        let counts = answers(&world.near, "10.1.0.100:8080", 3, 5);
        let to = counts.iter().position(|count| *count == 3.0);
        *led.entry(to.expect("three times the same")).or_insert(0) += 1;
    }
    assert!(led.len() > 2, "clients are not told apart: {led:?}");
    // What is published leads outsiders likewise.
    let counts = answers(&world.outside, "192.0.2.1:80", 20, 5);
    assert_eq!(
        counts.iter().filter(|count| **count > 0.0).count(),
        1,
        "{counts:?}"
    );
}

#[test]
fn a_change_of_one_endpoint_breaks_no_connection_and_is_a_few_elements() {
    let Some(mut world) = World::new(5) else {
        return;
    };
    world.want(&policy(&[0, 1, 2]));
    let addr: SocketAddr = "10.1.0.100:8080".parse().unwrap();
    let mut open = world
        .near
        .run(|| TcpStream::connect_timeout(&addr, LONG).unwrap());
    // Per family and entry one slot, and at the change of a class two more.
    assert!(world.want_all(service(&policy(&[0, 1, 2, 3]))) <= 4);
    assert!(world.want_all(service(&policy(&[0, 1, 2, 3, 4]))) <= 4 * 3);
    assert!(world.want_all(service(&policy(&[4, 1, 2, 3]))) <= 4 * 5);
    world.want(&policy(&[]));
    let mut text = String::new();
    open.set_read_timeout(Some(LONG)).unwrap();
    open.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("10.1.0.1"), "{text}");
}

#[test]
fn elements_of_services_are_read_back_and_the_table_is_listed() {
    let Some(mut world) = World::new(1) else {
        return;
    };
    let many: Vec<u8> = (0..200).collect();
    let affine = ServicePolicy {
        affinity: true,
        ..policy(&many)
    };
    world.want(&affine);
    let mut found = world.nft.elements().unwrap();
    let mut expected = [
        service(&affine),
        network(&bridge("vw-a")),
        network(&bridge("vw-b")),
    ]
    .concat();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    world.host.sh("nft list ruleset | nft -c -f -");
}

/// Prints what one change, one connection and the table cost, with ten services and ten thousand.
#[test]
fn ten_thousand_services_cost_what_ten_do() {
    const ROUNDS: usize = 7;
    let Some(mut world) = World::new(3) else {
        return;
    };
    let other = |number: usize| {
        let [_, _, high, low] = (number as u32).to_be_bytes();
        ServicePolicy {
            vips: vec![IpAddr::from([10, 9, high, low])],
            home: Some("vw-b".parse().unwrap()),
            ports: Vec::new(),
            ..policy(&[0, 1, 2])
        }
    };
    let began = Instant::now();
    let ns = Ns::new().unwrap();
    ns.run(|| Nft::open().unwrap().ensure(&service_table()).unwrap());
    let made = began.elapsed();
    world.want(&policy(&[0, 1, 2]));
    let measure = |world: &mut World| {
        let began = Instant::now();
        for _ in 0..50 {
            world.want_all(service(&policy(&[0, 1])));
            world.want_all(service(&policy(&[0, 1, 2])));
        }
        let change = began.elapsed() / 100;
        let began = Instant::now();
        answers(&world.near, "10.1.0.100:8080", 300, 3);
        (change, began.elapsed() / 300)
    };
    let add = |world: &mut World, from: usize, to: usize| {
        let elements: Vec<Element> = (from..to)
            .flat_map(|number| service(&other(number)))
            .collect();
        let changes: Vec<_> = elements.iter().map(Change::Add).collect();
        world.nft.change(&changes).unwrap();
    };
    let best = |world: &mut World| {
        let rounds: Vec<(Duration, Duration)> = (0..ROUNDS).map(|_| measure(world)).collect();
        let change = rounds.iter().map(|round| round.0).min().unwrap_or_default();
        let connection = rounds.iter().map(|round| round.1).min().unwrap_or_default();
        (change, connection)
    };
    add(&mut world, 0, 9);
    let few = best(&mut world);
    add(&mut world, 9, 9_999);
    let many = best(&mut world);
    println!(
        "the table {made:?}; a change and a connection: {few:?} with 10, {many:?} with 10,000"
    );
    // Loaded machines are slow now and then, so that only what grows with services is caught.
    assert!(many.0 < few.0 * 5, "a change: {few:?}, {many:?}");
    assert!(many.1 < few.1 * 2, "a connection: {few:?}, {many:?}");
}
