//! What is forgotten, and what is kept, of connections really tracked.

use super::{Conntrack, Entry, of_port};
use crate::{Beside, Leads, Led, LedBy, netlink::Body};
use rustix::net::{AddressFamily, SendFlags, SocketType};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};
use vw_model::{Family, HostPort, PortKey, Protocol};

impl Conntrack {
    /// How many the kernel tells of by this filter.
    fn count_of(&mut self, filter: impl FnOnce(&mut Body<'_>)) -> usize {
        let told = self.list(filter, |payload| Some(Entry::parse(payload)));
        told.expect("they are told").len()
    }

    /// What was sent where over UDP and led elsewhere, by the last byte of its address.
    fn led_over_udp(&mut self) -> Vec<String> {
        let udp = Protocol::Udp.number();
        let led = |entry: &Entry| entry.translated && entry.protocol == udp;
        let take = |payload: &[u8]| Some(Entry::parse(payload)).filter(led);
        let told = self.list(|body| body.bytes(&[0; 4]), take);
        let to = told.expect("they are told").into_iter();
        let to = to.filter_map(|entry| entry.to);
        let mut to: Vec<String> = to
            .map(|(addr, port)| format!("{}:{port}", addr.to_string().replace("192.0.2.", "")))
            .collect();
        to.sort();
        to
    }
}

fn run(program: &str, args: &str) {
    let output = Command::new(program)
        .args(args.split(' '))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{program} {args}: {output:?}");
}

/// Translates what is sent.
fn led(rule: &str) {
    let chain = "add chain inet t n { type nat hook output priority -100 ; }";
    run("nft", chain);
    run("nft", &format!("add rule inet t n {rule}"));
}

fn send(to: &str) {
    let any = if to.starts_with('[') {
        "[::]:0"
    } else {
        "192.0.2.1:0"
    };
    let client = UdpSocket::bind(any).expect("an address of ours");
    client.send_to(b"x", to).expect("it is sent");
}

fn talk(from: &str, to: &str) {
    // A process that another test starts has a copy of what was open, until it is another program.
    let server = vw_testkit::poll(Duration::from_secs(5), || UdpSocket::bind(to).ok());
    let server = server.expect("an address of ours");
    let client = UdpSocket::bind((from, 0)).expect("an address of ours");
    let patience = Some(Duration::from_secs(1));
    server.set_read_timeout(patience).expect("a time");
    // A machine that has much to do loses some on its loopback too.
    let come = (0..20).any(|_| {
        let sent = client.send_to(b"x", server.local_addr().expect("bound"));
        sent.expect("it is sent");
        server.recv(&mut [0; 8]).is_ok()
    });
    assert!(come, "from {from} to {to}");
}

/// Sends the first packet of an association of SCTP; a kernel without such sockets sends it all the
/// same.
pub(crate) fn init(from: &str, to: &str, port: u16) {
    const INIT: u8 = 1;
    sctp((from, ASKS), (to, port), 0, INIT);
}

/// The port that who begins an association sends from, and the tag by which he is to be answered.
const ASKS: u16 = 40_000;
const TAG: u32 = 1;

/// Sends the first or the second packet of an association.
fn sctp((from, source): (&str, u16), (to, port): (&str, u16), tag: u32, kind: u8) {
    let (from, to): (IpAddr, IpAddr) = (from.parse().expect("one"), to.parse().expect("one"));
    let family = match from {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let raw = rustix::net::socket(family, SocketType::RAW, Some(rustix::net::ipproto::SCTP))
        .expect("root may");
    rustix::net::bind(&raw, &SocketAddr::new(from, 0)).expect("an address of ours");
    let mut packet = source.to_be_bytes().to_vec();
    packet.extend(port.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    // One chunk: its length, a tag, a window, streams, the first number.
    packet.extend([kind, 0, 0, 20]);
    packet.extend(TAG.to_be_bytes());
    packet.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = checksum(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    rustix::net::sendto(&raw, &packet, SendFlags::empty(), &SocketAddr::new(to, 0))
        .expect("it is sent");
}

/// How many associations are tracked in the namespace of the calling thread.
pub(crate) fn associations() -> usize {
    let mut conntrack = Conntrack::open().expect("a socket");
    let mut of = |family| {
        let filter = |body: &mut Body<'_>| of_port(body, family, Protocol::Sctp, None);
        conntrack.count_of(filter)
    };
    of(Family::V4) + of(Family::V6)
}

/// CRC32c (RFC 9260, appendix A).
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 * (sum & 1))
        })
    })
}

/// A namespace with these addresses, in which connections are tracked.
fn enter(addresses: &[&str]) -> Conntrack {
    // SAFETY: this thread alone leaves its namespace, and nothing else runs on it.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a namespace of our own");
    run("ip", "link set lo up");
    for addr in addresses {
        run("ip", &format!("addr add {addr} dev lo nodad"));
    }
    // Connections are tracked once a rule asks for their state.
    run("nft", "add table inet t");
    run(
        "nft",
        "add chain inet t c { type filter hook output priority 0 ; }",
    );
    run("nft", "add rule inet t c ct state new accept");
    Conntrack::open().expect("a socket")
}

#[test]
fn what_was_led_nowhere_is_forgotten_by_its_port() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let mut conntrack = enter(&[
        "192.0.2.1/32",
        "192.0.2.2/32",
        "192.0.2.3/32",
        "2001:db8::2/128",
    ]);
    led("udp dport 9 ip daddr 192.0.2.3 dnat ip to 192.0.2.2:8");
    talk("192.0.2.1", "192.0.2.2:9");
    talk("192.0.2.1", "192.0.2.1:9");
    talk("192.0.2.1", "192.0.2.2:10");
    talk("2001:db8::2", "[2001:db8::2]:9");
    send("192.0.2.3:9");
    init("192.0.2.1", "192.0.2.2", 9);
    let mut told = |protocol, port| {
        let filter = |body: &mut Body<'_>| of_port(body, Family::V4, protocol, port);
        conntrack.count_of(filter)
    };
    let udp = [None, Some(9), Some(10)].map(|port| told(Protocol::Udp, port));
    assert_eq!(udp, [4, 3, 1]);
    assert_eq!(told(Protocol::Sctp, None), 1);
    let mut forget = |family, protocol, ports: &[u16]| {
        let ours = |addr: IpAddr, port: PortKey| {
            addr != IpAddr::from([192, 0, 2, 1]) && ports.contains(&port.port)
        };
        let opened = ports.iter().map(|port| PortKey {
            port: *port,
            protocol,
        });
        let opened = opened.collect();
        let forgotten = conntrack.forget_unled(family, &opened, ours);
        forgotten.expect("they go");
        conntrack.count().expect("a number")
    };
    let udp = Protocol::Udp;
    assert_eq!(forget(Family::V4, udp, &[9]), 5, "one, led nowhere");
    assert_eq!(forget(Family::V6, udp, &[8, 9]), 4, "the other family");
    let many: Vec<u16> = (1..=10).collect();
    assert_eq!(forget(Family::V4, udp, &many), 3, "one of many ports");
    let sctp = Protocol::Sctp;
    assert_eq!(forget(Family::V4, sctp, &[8]), 3, "another port");
    assert_eq!(forget(Family::V4, sctp, &many), 2, "the other protocol");
    init("192.0.2.1", "192.0.2.2", 9);
    assert_eq!(forget(Family::V4, sctp, &[9]), 2, "also by itself");
}

#[test]
fn what_is_led_to_nobody_is_forgotten_unless_it_is_a_connection() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let mut conntrack = enter(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"]);
    run("ip", "link add wire type veth peer name end");
    run("ip", "link set end up");
    run("ip", "addr add 198.51.100.1/24 dev wire");
    run("ip", "link set wire up");
    run(
        "ip",
        "neigh add 198.51.100.2 lladdr 02:00:00:00:00:02 dev wire",
    );
    led("ip daddr 192.0.2.3 dnat ip to 192.0.2.2");
    led("ip daddr 192.0.2.1 tcp dport 7 dnat ip to 198.51.100.2");
    send("192.0.2.3:9");
    talk("192.0.2.1", "192.0.2.2:9");
    let server = TcpListener::bind("192.0.2.2:7").expect("an address of ours");
    let _open = TcpStream::connect("192.0.2.3:7").expect("it is led");
    drop(server.accept().expect("it comes"));
    let (patience, to) = (Duration::from_millis(1), "192.0.2.1:7".parse());
    TcpStream::connect_timeout(&to.expect("an address"), patience).expect_err("nobody answers");
    init("192.0.2.1", "192.0.2.3", 9);
    assert_eq!(conntrack.count().expect("a number"), 5);
    let gone = ["192.0.2.2", "198.51.100.2"].map(|addr| addr.parse().expect("an address"));
    assert_eq!(conntrack.answering().expect("those"), gone.into());
    let mut left = |to: &[IpAddr]| {
        let to = to.iter().copied().collect();
        let forgotten = conntrack.forget_led(&Led { to, by: None });
        forgotten.expect("they go");
        conntrack.count().expect("a number")
    };
    assert_eq!(left(&gone[..1]), 3, "one over UDP, and one over SCTP");
    // Of many they are told at once.
    let many = (10..20).map(|number| IpAddr::from([203, 0, 113, number]));
    let many: Vec<IpAddr> = many.chain(gone).collect();
    assert_eq!(
        left(&many),
        2,
        "what was sent there itself, and a connection"
    );
}

#[test]
fn what_was_answered_stays_though_it_has_not_begun_yet() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let mut conntrack = enter(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"]);
    led("ip daddr 192.0.2.3 dnat ip to 192.0.2.2");
    // Nothing that follows the first packet of a connection is tracked.
    let before = "add chain inet t b { type filter hook output priority -300 ; }";
    run("nft", before);
    run(
        "nft",
        "add rule inet t b tcp dport 7 tcp flags & (syn | ack) == ack drop",
    );
    let _server = TcpListener::bind("192.0.2.2:7").expect("an address of ours");
    let _answered = TcpStream::connect("192.0.2.3:7").expect("it is led");
    init("192.0.2.1", "192.0.2.3", 9);
    const INIT_ACK: u8 = 2;
    sctp(("192.0.2.2", 9), ("192.0.2.1", ASKS), TAG, INIT_ACK);
    let states = |conntrack: &mut Conntrack| {
        let all = conntrack.list(|body| body.bytes(&[0; 4]), |told| Some(Entry::parse(told)));
        let all = all.expect("they are told").into_iter();
        let mut states: Vec<_> = all.map(|entry| (entry.tcp, entry.sctp)).collect();
        states.sort_unstable();
        states
    };
    // `SCTP_CONNTRACK_COOKIE_WAIT` and `TCP_CONNTRACK_SYN_RECV`.
    let answered = [(0, 2), (2, 0)];
    assert_eq!(states(&mut conntrack), answered);
    let to = BTreeSet::from([IpAddr::from([192, 0, 2, 2])]);
    let forgotten = conntrack.forget_led(&Led { to, by: None });
    forgotten.expect("those that were not go");
    assert_eq!(states(&mut conntrack), answered);
}

#[test]
fn over_ipv6_too_and_who_is_led_elsewhere_stays() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let nets = [1, 2, 3, 4, 5].map(|number| format!("2001:db8::{number}/128"));
    let mut conntrack = enter(&nets.each_ref().map(String::as_str));
    led("ip6 daddr 2001:db8::3 dnat ip6 to 2001:db8::2");
    led("ip6 daddr 2001:db8::5 dnat ip6 to 2001:db8::4");
    let ends = [2, 4].map(|number| {
        let server = TcpListener::bind(format!("[2001:db8::{number}]:7")).expect("it is ours");
        send(&format!("[2001:db8::{}]:9", number + 1));
        let to = format!("[2001:db8::{}]:7", number + 1);
        let open = TcpStream::connect(to).expect("it is led");
        let accepted = server.accept().expect("it comes");
        (open, accepted)
    });
    assert_eq!(conntrack.count().expect("a number"), 4);
    let to = BTreeSet::from(["2001:db8::2".parse().expect("an address")]);
    let led = Led { to, by: None };
    let begun = Instant::now();
    let longest = Duration::from_millis(200);
    conntrack
        .await_quiet(&[(led.clone(), longest)])
        .expect("it is waited");
    assert!(begun.elapsed() >= longest, "it is open");
    conntrack.forget_led(&led).expect("they go");
    assert_eq!(conntrack.count().expect("a number"), 3, "one over UDP");
    drop(ends);
    let begun = Instant::now();
    let longest = Duration::from_secs(60);
    conntrack
        .await_quiet(&[(led.clone(), longest)])
        .expect("it is waited");
    assert!(begun.elapsed() < longest, "it has ended");
}

#[test]
fn what_others_lead_there_stays_and_is_not_waited_for() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let mut conntrack = enter(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"]);
    led("ip daddr 192.0.2.3 dnat ip to 192.0.2.2");
    send("192.0.2.3:9");
    let server = TcpListener::bind("192.0.2.2:7").expect("an address of ours");
    let _open = TcpStream::connect("192.0.2.3:7").expect("it is led");
    drop(server.accept().expect("it comes"));
    let udp_at = |host: Option<&str>, port| HostPort {
        host: host.map(|host| host.parse().expect("an address")),
        port: PortKey {
            port,
            protocol: Protocol::Udp,
        },
    };
    let udp = |port| udp_at(None, port);
    let by = |addr: [u8; 4], port: HostPort| Led {
        to: [IpAddr::from([192, 0, 2, 2])].into(),
        by: Some(LedBy {
            addrs: [IpAddr::from(addr)].into(),
            ports: [port].into(),
            ..LedBy::default()
        }),
    };
    let mut except = by([192, 0, 2, 4], udp(9));
    let led_by = except.by.as_mut().expect("by some");
    led_by.except.insert([192, 0, 2, 3].into());
    let (others, patience) = (by([192, 0, 2, 4], udp(7)), Duration::from_millis(200));
    for (led, waits, left) in [
        (&others, false, 2),
        (&by([192, 0, 2, 4], udp_at(Some("192.0.2.4"), 9)), false, 2),
        (&by([192, 0, 2, 4], udp_at(Some("::"), 9)), false, 2),
        (&except, false, 2),
        (&by([192, 0, 2, 4], udp(9)), false, 1),
        (&by([192, 0, 2, 3], udp(7)), true, 1),
    ] {
        let begun = Instant::now();
        conntrack
            .await_quiet(&[(led.clone(), patience)])
            .expect("it is told");
        assert_eq!(begun.elapsed() >= patience, waits, "{led:?}");
        conntrack.forget_led(led).expect("they go");
        assert_eq!(conntrack.count().expect("a number"), left, "{led:?}");
    }
}

#[test]
fn of_all_that_services_led_what_they_would_lead_elsewhere_is_forgotten_alone() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let addresses = [1, 2, 3, 4].map(|number| format!("192.0.2.{number}/32"));
    let mut conntrack = enter(&addresses.each_ref().map(String::as_str));
    // The address of a service is .3; .4 is the host's.
    led("ip daddr 192.0.2.3 dnat ip to 192.0.2.2");
    led("ip daddr 192.0.2.4 udp dport 53 dnat ip to 192.0.2.2:1053");
    led("ip daddr 192.0.2.4 udp dport 99 dnat ip to 192.0.2.2:99");
    let server = TcpListener::bind("192.0.2.2:7").expect("an address of ours");
    let _open = TcpStream::connect("192.0.2.3:7").expect("it is led");
    drop(server.accept().expect("it comes"));
    let ip = |number: u8| IpAddr::from([192, 0, 2, number]);
    let at = |host, port| HostPort {
        host,
        port: PortKey {
            port,
            protocol: Protocol::Udp,
        },
    };
    let leads = |to: u8, port: u16, beside| Leads {
        addrs: [(ip(3), [ip(to)].into())].into(),
        ports: [(at(None, 53), [SocketAddr::new(ip(2), port)].into())].into(),
        beside,
    };
    let near = Beside {
        within: vec!["192.0.2.0/24".parse().expect("a network")],
        alone: BTreeSet::new(),
    };
    let alone = Beside {
        alone: [ip(2)].into(),
        ..near.clone()
    };
    let others = Beside {
        within: vec!["10.0.0.0/8".parse().expect("a network")],
        ..alone.clone()
    };
    for (leads, gone) in [
        (leads(2, 1053, Some(near.clone())), &[][..]),
        (leads(1, 1053, Some(near.clone())), &["3:9"]),
        (leads(2, 1054, Some(near.clone())), &["4:53"]),
        (leads(1, 1054, Some(others)), &["4:99"]),
        (leads(2, 1053, Some(alone)), &["4:99"]),
        (leads(2, 1053, None), &["4:99"]),
    ] {
        let sent = ["3:9", "4:53", "4:99"];
        for to in sent {
            send(&format!("192.0.2.{to}"));
        }
        // Led nowhere.
        send("192.0.2.2:53");
        let before = conntrack.count().expect("a number");
        conntrack.forget_led_elsewhere(&leads).expect("they go");
        let stay = sent.into_iter().filter(|to| !gone.contains(to));
        let stay: Vec<_> = stay.collect();
        assert_eq!(conntrack.led_over_udp(), stay, "{leads:?}");
        let went = before - conntrack.count().expect("a number");
        assert_eq!(went > 0, !gone.is_empty(), "the connection stays");
        conntrack.forget(&[ip(2)]).expect("they go");
    }
}

#[test]
fn connections_of_an_address_go_either_way_and_others_stay() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let mut conntrack = enter(&[
        "192.0.2.1/32",
        "192.0.2.2/32",
        "192.0.2.3/32",
        "2001:db8::1/128",
        "2001:db8::2/128",
        "2001:db8::3/128",
    ]);
    talk("192.0.2.1", "192.0.2.2:9");
    talk("192.0.2.2", "192.0.2.3:9");
    talk("192.0.2.1", "192.0.2.3:9");
    talk("2001:db8::1", "[2001:db8::2]:9");
    talk("2001:db8::2", "[2001:db8::3]:9");
    talk("2001:db8::1", "[2001:db8::3]:9");
    assert_eq!(conntrack.count().expect("a number"), 6);
    conntrack
        .forget(&["192.0.2.2".parse().expect("an address")])
        .expect("they go");
    assert_eq!(
        conntrack.count().expect("a number"),
        4,
        "one began, one answered"
    );
    conntrack
        .forget(&["2001:db8::2".parse().expect("an address")])
        .expect("they go");
    assert_eq!(
        conntrack.count().expect("a number"),
        2,
        "the other family stays, and another's"
    );
    let all = conntrack
        .list(
            |body| body.bytes(&[0; 4]),
            |payload| Some(Entry::parse(payload)),
        )
        .expect("those");
    let mut to: Vec<String> = all
        .iter()
        .filter_map(|entry| Some(entry.to?.0.to_string()))
        .collect();
    to.sort();
    assert_eq!(to, ["192.0.2.3", "2001:db8::3"]);
}

#[test]
fn each_is_waited_for_no_longer_than_it_may_take() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let mut conntrack = enter(&[
        "192.0.2.1/32",
        "192.0.2.2/32",
        "192.0.2.3/32",
        "192.0.2.4/32",
    ]);
    led("ip daddr 192.0.2.3 dnat ip to 192.0.2.1");
    led("ip daddr 192.0.2.4 dnat ip to 192.0.2.2");
    let open = [1, 2].map(|number| {
        let server = TcpListener::bind(format!("192.0.2.{number}:7")).expect("it is ours");
        let client = TcpStream::connect(format!("192.0.2.{}:7", number + 2));
        (
            server.accept().expect("it comes"),
            client.expect("it is led"),
        )
    });
    let [short, long] = [1, 2].map(|number| Led {
        to: [IpAddr::from([192, 0, 2, number])].into(),
        by: None,
    });
    let moment = Duration::from_millis(200);
    let never = Duration::from_secs(60);
    let each = [(short, moment), (long, never)];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || {
            let waited = conntrack.await_quiet(&each);
            waited.expect("it is waited");
        });
        vw_testkit::stays("it waits for the other", moment * 2, || {
            !waits.is_finished()
        });
        // Its own end alone is waited for: the first is open still.
        let [first, second] = open;
        drop(second);
        waits.join().expect("it ends");
        drop(first);
    });
    assert!(begun.elapsed() < never, "it waited for the first");
}

/// The most memory that the process had since it was last asked to forget that, in bytes.
fn most() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is told");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.map(|number: usize| number << 10).expect("a number")
}

#[test]
fn what_is_led_to_nobody_of_these_takes_no_memory() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    const MANY: u16 = 40_000;
    let mut conntrack = enter(&["192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"]);
    led("ip daddr 192.0.2.3 dnat ip to 192.0.2.2");
    let client = UdpSocket::bind("192.0.2.1:0").expect("an address of ours");
    for port in 1..=MANY {
        // That nobody listens is told of the one before.
        let _ = client.send_to(b"x", ("192.0.2.1", port));
    }
    send("192.0.2.3:9");
    let tracked = conntrack.count().expect("a number");
    assert!(tracked > u32::from(MANY) / 2, "{tracked}");
    let to = (2..12).map(|number| IpAddr::from([192, 0, 2, number]));
    let led = Led {
        to: to.collect(),
        by: None,
    };
    // How much it had until now is of no matter (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").expect("it forgets");
    let before = most();
    conntrack.forget_led(&led).expect("they go");
    let more = most().saturating_sub(before);
    assert!(more < 4 << 20, "{more} bytes");
    assert_eq!(conntrack.count().expect("a number"), tracked - 1);
}

#[test]
fn what_is_led_is_told_of_alone() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    let mut conntrack = enter(&["2001:db8::1/128", "2001:db8::2/128"]);
    led("ip6 daddr 2001:db8::1 udp dport 8080 dnat to 2001:db8::2");
    let (all, of_led) = (&super::of_ipv6, &|body: &mut Body<'_>| {
        super::of_led(body, 10);
    });
    send("[2001:db8::1]:8080");
    send("[2001:db8::1]:8081");
    send("[2001:db8::2]:8080");
    assert_eq!(conntrack.count_of(all), 3);
    assert_eq!(conntrack.count_of(of_led), 1);
}
