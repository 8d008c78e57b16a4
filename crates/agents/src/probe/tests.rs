//! Two hosts ask each other, over paths of every width.

use super::{
    packet::{Kind, Packet},
    *,
};
use std::{
    collections::VecDeque,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};
use vw_model::PROBE_PORT;
use vw_testkit::{Host, Lab, eventually, require_root, traffic};

/// What takes longer never comes.
const SOON: Duration = Duration::from_secs(10);
/// How long hosts are asked at most.
const LONGEST: Duration = Duration::from_millis(4500);

/// Two hosts with a router between them, whose second link takes `mtu` bytes.
fn hosts(lab: &Lab, mtu: u32) -> (Host, Host) {
    let (a, router, b) = (lab.host("a"), lab.host("router"), lab.host("b"));
    lab.link(&a, "wire", &router, "left");
    lab.link(&b, "wire", &router, "right");
    a.ip("addr add 192.0.2.1/25 dev wire");
    router.ip("addr add 192.0.2.2/25 dev left");
    router.ip("addr add 192.0.2.129/25 dev right");
    b.ip("addr add 192.0.2.130/25 dev wire");
    a.ip("route add default via 192.0.2.2");
    b.ip("route add default via 192.0.2.129");
    router.sh("echo 1 >/proc/sys/net/ipv4/ip_forward").must();
    router.ip(&format!("link set right mtu {mtu}"));
    b.ip(&format!("link set wire mtu {mtu}"));
    (a, b)
}

/// A prober of the host with this number at an address of that, which knows the other one.
fn prober(host: &Host, addr: IpAddr, other: (HostId, IpAddr)) -> Prober {
    let prober = Prober::default();
    let wire = host.enter(|| Wire::datagrams(addr)).unwrap();
    prober.open(Way::Beside, wire).unwrap();
    prober.know(other.0, Some(other.1));
    prober
}

/// A packet that this host would cut up itself does not pass.
#[test]
fn a_link_of_this_hosts_own_is_a_part_of_the_path() {
    require_root!();
    let [first, second] = [1, 2].map(|number| HostId::from_bytes([number; 32]));
    // Less the headers of IP, UDP and VXLAN, and Ethernet's inside.
    for (own, other, length, passes) in [
        ("192.0.2.1", "192.0.2.2", 24, 1400 - 20 - 8 - 8 - 14),
        ("2001:db8::1", "2001:db8::2", 64, 1400 - 40 - 8 - 8 - 14),
    ] {
        let lab = Lab::new();
        let (a, b) = (lab.host("a"), lab.host("b"));
        lab.link(&a, "wire", &b, "wire");
        for (host, addr) in [(&a, own), (&b, other)] {
            host.ip("link set wire mtu 1400");
            let nodad = if length == 64 { "nodad" } else { "" };
            host.ip(&format!("addr add {addr}/{length} dev wire {nodad}"));
        }
        let [own, other]: [IpAddr; 2] = [own, other].map(|addr| addr.parse().unwrap());
        let asker = prober(&a, own, (second, other));
        let _other = prober(&b, other, (first, own));
        eventually("they know where each other is", SOON, || {
            traffic::ping(&a, &other.to_string())
        });
        let found = asker.ask(Way::Beside, &[second], 1450, LONGEST).unwrap();
        let found = found.get(&second).and_then(|path| path.mtu);
        assert_eq!(found, Some(passes), "to {other}");
    }
}

#[test]
fn the_path_is_as_wide_as_its_narrowest_link() {
    require_root!();
    let [first, second, nobody] = [1, 2, 3].map(|number| HostId::from_bytes([number; 32]));
    for (mtu, passes) in [(1500, 1450), (1400, 1350), (1281, 1231), (576, 526)] {
        let lab = Lab::new();
        let (a, b) = hosts(&lab, mtu);
        let (at, to): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 130].into());
        let asker = prober(&a, at, (second, to));
        let other = prober(&b, to, (first, at));
        asker.know(nobody, Some([192, 0, 2, 131].into()));
        let told = Told {
            clear: Some(4789),
            encrypted: true,
        };
        other.tell(told);
        let ask = |hosts: &[HostId]| asker.ask(Way::Beside, hosts, 1450, LONGEST).unwrap();
        let found = ask(&[second, nobody]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[&second].mtu, Some(passes), "over a link of {mtu}");
        assert_eq!(found[&second].told, told);
        assert!(found[&second].latency < Duration::from_millis(200));
        // A way that loses the first packet of all is a good one.
        let rules = "add table inet lose; \
                     add chain inet lose in { type filter hook input priority 0; }; \
                     add rule inet lose in udp dport 4788 quota until 150 bytes drop";
        b.run(["nft", rules]).must();
        assert!(ask(&[second]).contains_key(&second), "asked again");
        b.run(["nft", "delete", "table", "inet", "lose"]).must();
        other.know(first, None);
        assert!(ask(&[second]).is_empty(), "a stranger gets no answer");
        other.know(first, Some(at));
        assert!(ask(&[second]).contains_key(&second));
        other.close(Way::Beside);
        assert!(!other.is_open(Way::Beside));
        assert!(ask(&[second]).is_empty(), "it listens no more");
        drop(prober(&b, to, (first, at)));
        assert_eq!(asker.ask(Way::Clear, &[second], 1450, LONGEST), None);
    }
}

/// Answers each question so long after it came, as over a long way, until it is told to end; none
/// that is larger than `largest`.
fn answer_late(socket: &UdpSocket, after: Duration, largest: usize, over: &AtomicBool) {
    let mut late: VecDeque<(Instant, Vec<u8>, SocketAddr)> = VecDeque::new();
    let mut room = [0; 2000];
    while !over.load(Ordering::Acquire) {
        let now = Instant::now();
        while let Some((_, bytes, to)) = late.pop_front_if(|(due, _, _)| *due <= now) {
            socket.send_to(&bytes, to).unwrap();
        }
        let next = late.front().map(|(due, _, _)| due.duration_since(now));
        let next = next.unwrap_or(Duration::from_millis(20));
        socket.set_read_timeout(Some(next)).unwrap();
        let received = socket.recv_from(&mut room);
        if let Ok((length, from)) = received
            && length <= largest
        {
            let question = Packet::parse(&room[..length]).unwrap();
            let kind = Kind::Answer;
            let answer = Packet { kind, ..question };
            late.push_back((Instant::now() + after, answer.bytes(length), from));
        }
    }
}

#[test]
fn a_way_may_be_long() {
    require_root!();
    let [first, second] = [1, 2].map(|number| HostId::from_bytes([number; 32]));
    let lab = Lab::new();
    let host = lab.host("a");
    host.ip("link set lo up");
    let [at, there] = [1, 2].map(|number| IpAddr::from([127, 0, 0, number]));
    let asker = prober(&host, at, (second, there));
    asker.know(first, Some(at));
    let socket = host.enter(|| UdpSocket::bind((there, PROBE_PORT))).unwrap();
    for milliseconds in [10, 300, 1200] {
        let after = Duration::from_millis(milliseconds);
        let over = AtomicBool::new(false);
        let found = thread::scope(|scope| {
            scope.spawn(|| answer_late(&socket, after, usize::MAX, &over));
            let found = asker.ask(Way::Beside, &[second], 1450, LONGEST).unwrap();
            over.store(true, Ordering::Release);
            found
        });
        let found = found.get(&second).expect("it answers");
        assert!(found.latency >= after && found.latency < after + Duration::from_millis(150));
        assert_eq!(found.mtu, Some(1450), "after {after:?}");
    }
}

/// Answers as [`answer_late`], and nothing that is larger than this.
fn asked_beside_a_long_way(largest: usize) -> (Duration, Vec<Option<Option<u32>>>) {
    let ids = [1, 2, 3].map(|number| HostId::from_bytes([number; 32]));
    let lab = Lab::new();
    let host = lab.host("a");
    host.ip("link set lo up");
    let [at, far, narrow] = [1, 2, 3].map(|number| IpAddr::from([127, 0, 0, number]));
    let asker = prober(&host, at, (ids[1], far));
    asker.know(ids[2], Some(narrow));
    let bind = |addr| host.enter(|| UdpSocket::bind((addr, PROBE_PORT))).unwrap();
    let (slow, quick) = (bind(far), bind(narrow));
    let over = AtomicBool::new(false);
    let late = Duration::from_millis(1200);
    thread::scope(|scope| {
        scope.spawn(|| answer_late(&slow, late, largest, &over));
        scope.spawn(|| answer_late(&quick, Duration::ZERO, 600, &over));
        let began = Instant::now();
        let found = asker.ask(Way::Beside, &ids[1..], 1450, LONGEST).unwrap();
        let took = began.elapsed();
        over.store(true, Ordering::Release);
        let mtu = |id| found.get(id).map(|path| path.mtu);
        (took, ids[1..].iter().map(mtu).collect())
    })
}

#[test]
fn a_long_way_holds_up_no_other() {
    require_root!();
    // At the socket a packet has 22 bytes more than inside a tunnel.
    let narrow = Some(Some(578));
    let (took, found) = asked_beside_a_long_way(usize::MAX);
    assert_eq!(found, [Some(Some(1450)), narrow]);
    assert!(took < LONGEST, "{took:?}");
    // One that is narrow as well is not measured in time, and is there.
    let (took, found) = asked_beside_a_long_way(600);
    assert_eq!(found, [Some(None), narrow]);
    assert!(took < LONGEST + Duration::from_millis(500), "{took:?}");
}

/// Of hosts that told the same address one is heard, whichever goes.
#[test]
fn who_comes_and_goes_changes_no_other() {
    require_root!();
    let [first, second, third] = [1, 2, 3].map(|number| HostId::from_bytes([number; 32]));
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.link(&a, "wire", &b, "wire");
    a.ip("addr add 192.0.2.1/24 dev wire");
    b.ip("addr add 192.0.2.2/24 dev wire");
    let [at, to]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
    let asker = prober(&a, at, (second, to));
    let _other = prober(&b, to, (first, at));
    let answers = |host| {
        let found = asker.ask(Way::Beside, &[host], 1450, LONGEST).unwrap();
        found.contains_key(&host)
    };
    assert!(answers(second));
    asker.know(third, Some(to));
    assert!(answers(third), "it told the same address");
    asker.know(third, None);
    assert!(answers(second) && !answers(third));
    asker.know(second, Some([192, 0, 2, 3].into()));
    assert!(!answers(second), "nobody is there");
    asker.know(second, Some(to));
    assert!(answers(second));
}
