//! What passes: packets of any size, streams, over either family, again after a loss.

use crate::place::{Member, PATIENCE, PORT, pair};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};
use vw_agents::wireguard::PrivateKey;
use vw_testkit::{Host, Lab, eventually, require_programs, require_root, traffic};

/// Carries bytes by TCP from one inside to the other, and compares.
fn stream(from: &Member, to: &Member, bytes: usize) {
    let listener = to
        .inside
        .enter(|| TcpListener::bind((to.inner, 0)))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let pattern = |at: usize| (at * 31 + at / 251) as u8;
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen).unwrap();
        seen
    });
    let mut stream = from
        .inside
        .enter(|| TcpStream::connect_timeout(&address, PATIENCE))
        .unwrap();
    let sent: Vec<u8> = (0..bytes).map(pattern).collect();
    stream.write_all(&sent).unwrap();
    drop(stream);
    assert!(
        reader.join().unwrap() == sent,
        "what came is not what was sent"
    );
}

#[test]
fn hosts_reach_one_another_over_either_family() {
    require_root!();
    for (addresses, length) in [
        (["192.0.2.1", "192.0.2.2"], 24),
        (["2001:db8::1", "2001:db8::2"], 64),
    ] {
        let lab = Lab::new();
        let ([a, b], _) = pair(&lab, addresses, length);
        assert!(a.reaches(&b), "{addresses:?}");
        assert!(
            traffic::ping(&b.inside, &a.inner.to_string()),
            "{addresses:?}"
        );
        stream(&a, &b, 5 << 20);
        stream(&b, &a, 5 << 20);
        let stats = a.device.as_ref().unwrap().stats();
        assert_eq!((stats.wrong_source, stats.unsent), (0, 0), "{stats:?}");
    }
}

#[test]
fn the_largest_packet_passes_without_being_cut() {
    require_root!();
    let lab = Lab::new();
    let ([a, b], _) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    assert!(a.reaches(&b));
    let receiver = b.inside.enter(|| UdpSocket::bind((b.inner, 4789))).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = a.inside.enter(|| UdpSocket::bind((a.inner, 0))).unwrap();
    // 1440 less the headers of IPv6 and UDP: the last that fits, and the first that does not.
    for (size, inside) in [(1392, 0), (1393, 2)] {
        sender.send_to(&vec![7; size], (b.inner, 4789)).unwrap();
        let mut room = [0; 2000];
        assert_eq!(receiver.recv(&mut room).unwrap(), size);
        assert_eq!(created(&a.inside, "Ip6FragCreates"), inside);
    }
    // The datagrams that carried them were whole.
    assert_eq!(created(&a.host, "IpFragCreates"), 0);
}

/// The fragments that a namespace has made.
fn created(host: &Host, counter: &str) -> u64 {
    let counters = host.run(["nstat", "-asz", counter]).ok();
    let row = counters.lines().find(|line| line.starts_with(counter));
    row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok())
        .unwrap()
}

#[test]
fn datagrams_of_many_flows_arrive_whole() {
    require_root!();
    let lab = Lab::new();
    let ([a, b], _) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    assert!(a.reaches(&b));
    let receiver = b.inside.enter(|| UdpSocket::bind((b.inner, 4789))).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let senders = [(); 3].map(|()| a.inside.enter(|| UdpSocket::bind((a.inner, 0))).unwrap());
    let mut room = [0; 2000];
    for round in 0..20_u8 {
        let mut expected = Vec::new();
        for (flow, sender) in senders.iter().enumerate() {
            for (at, size) in [1200, 1200, 1200, 700, 1, 1392].into_iter().enumerate() {
                let mut datagram = vec![round; size];
                datagram[0] = (flow * 6 + at) as u8;
                sender.send_to(&datagram, (b.inner, 4789)).unwrap();
                expected.push(datagram);
            }
        }
        let mut seen = Vec::new();
        eventually("all datagrams", PATIENCE, || {
            while let Ok(size) = receiver.recv(&mut room) {
                seen.push(room[..size].to_vec());
            }
            seen.len() >= expected.len()
        });
        expected.sort();
        seen.sort();
        assert!(seen == expected, "round {round}");
    }
}

#[test]
fn a_lost_greeting_is_made_good() {
    require_root!();
    require_programs!("nft");
    let lab = Lab::new();
    let ([a, b], _) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    // The first two messages of a handshake to b do not arrive.
    b.host.sh(
        "nft add table inet t; nft add chain inet t in '{ type filter hook input priority 0; }'; \
         nft add quota inet t lost '{ 300 bytes }'; \
         nft add rule inet t in udp dport 51820 quota name lost drop",
    );
    let before = std::time::Instant::now();
    assert!(a.reaches(&b));
    assert!(before.elapsed().as_secs() >= 4, "none was lost");
}

#[test]
fn a_host_may_begin_anew() {
    require_root!();
    let lab = Lab::new();
    let ([a, mut b], _) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    assert!(a.reaches(&b));
    b.device = None;
    assert!(!traffic::ping(&a.inside, &b.inner.to_string()));
    b.start();
    b.knows(&[&a]);
    // Its own first packet asks for a session.
    assert!(traffic::ping(&b.inside, &a.inner.to_string()));
    assert!(traffic::ping(&a.inside, &b.inner.to_string()));
}

#[test]
fn a_device_whose_link_is_gone_says_so() {
    require_root!();
    let lab = Lab::new();
    let ([a, b], _) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    assert!(a.reaches(&b));
    let lost = || a.device.as_ref().unwrap().stats().lost;
    assert_eq!(lost(), 0);
    a.inside.ip("link del vw-wg");
    eventually("it is told", PATIENCE, || lost() == 1);
}

#[test]
fn keys_change_under_a_stream() {
    require_root!();
    let lab = Lab::new();
    let ([mut a, b], _) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    assert!(a.reaches(&b));
    let listener = b.inside.enter(|| TcpListener::bind((b.inner, 0))).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut near = a
        .inside
        .enter(|| TcpStream::connect_timeout(&address, PATIENCE))
        .unwrap();
    let (mut far, _) = listener.accept().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut say = |text: &[u8; 4]| {
        near.write_all(text).unwrap();
        let mut heard = [0; 4];
        far.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, text);
    };
    say(b"then");
    let former = a.key.public();
    for _ in 0..3 {
        let next = PrivateKey::generate().unwrap();
        let mut record = a.as_peer();
        record.next = Some(next.public());
        b.device.as_ref().unwrap().set_peers(vec![record]);
        say(b"told");
        a.device.as_ref().unwrap().rotate(next.clone());
        a.key = next;
        say(b"used");
        b.knows(&[&a]);
        say(b"done");
    }
    let stats = b.device.as_ref().unwrap().stats();
    assert_eq!(stats.peers[0].public, a.key.public());
    assert_ne!(stats.peers[0].public, former);
    assert_eq!(a.as_peer().endpoint.port(), PORT);
}
