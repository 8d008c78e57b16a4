//! What does not pass: anything that is not encrypted, and anything from who is not a peer.

use crate::place::{Member, pair};
use std::{net::UdpSocket, time::Duration};
use vw_agents::wireguard::PrivateKey;
use vw_testkit::{Host, Lab, require_programs, require_root, stays, traffic};

/// What marks the packets that must not be seen.
const MARK: &str = "clear-text-of-an-encrypted-network";
const WHILE: Duration = Duration::from_millis(700);

/// Listens inside for what a stranger may have brought in.
fn listen(member: &Member) -> UdpSocket {
    let socket = member
        .inside
        .enter(|| UdpSocket::bind(("::", 4789)))
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn hears(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 2000]).is_ok()
}

/// Says the mark from the inside of one host to another.
fn whisper(from: &Member, to: &Member) {
    let socket = from.inside.enter(|| UdpSocket::bind(("::", 0))).unwrap();
    // Whether it is refused at once or lost on the way is not asked.
    let _ = socket.send_to(MARK.as_bytes(), (to.inner, 4789));
}

/// Watches the switch for the mark while `work` is done.
fn overhear(lab: &Lab, switch: &Host, work: impl FnOnce()) -> (bool, usize) {
    let file = lab.folder().join("seen.pcap");
    let watcher = switch.spawn(["tcpdump", "-U", "-i", "br0", "-w", file.to_str().unwrap()]);
    let begun = || std::fs::metadata(&file).is_ok_and(|file| file.len() >= 24);
    vw_testkit::eventually("tcpdump listens", Duration::from_secs(10), begun);
    work();
    let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
    // What was sent is in the file once a later packet is.
    let before = size();
    switch.ip("addr replace 192.0.2.99/24 dev br0");
    let _ = traffic::ping(switch, "192.0.2.1");
    vw_testkit::eventually("the file grows", Duration::from_secs(10), || {
        size() > before
    });
    drop(watcher);
    let seen = std::fs::read(&file).unwrap();
    let count = |needle: &[u8]| {
        seen.windows(needle.len())
            .filter(|part| part == &needle)
            .count()
    };
    (count(MARK.as_bytes()) > 0, count(&51_820_u16.to_be_bytes()))
}

#[test]
fn the_wire_never_shows_what_is_said() {
    require_root!();
    require_programs!("tcpdump");
    let lab = Lab::new();
    let ([mut a, mut b], switch) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    let ear = listen(&b);
    let (clear, sealed) = overhear(&lab, &switch, || {
        assert!(a.reaches(&b));
        whisper(&a, &b);
        vw_testkit::eventually("it arrives", Duration::from_secs(5), || hears(&ear));
    });
    assert!(!clear, "with both devices");
    assert!(sealed > 0, "nothing was watched");
    for (what, change) in [
        (
            "a wrong key",
            &mut wrong_key as &mut dyn FnMut(&mut Member, &Member),
        ),
        ("no peers", &mut |a: &mut Member, _: &Member| a.knows(&[])),
        ("a dead device", &mut |a: &mut Member, _: &Member| {
            a.device = None
        }),
    ] {
        change(&mut a, &b);
        let (clear, _) = overhear(&lab, &switch, || {
            whisper(&a, &b);
            stays("silent", WHILE, || !hears(&ear));
        });
        assert!(!clear, "with {what}");
    }
    b.device = None;
}

/// The peer's record has a key that is not the peer's.
fn wrong_key(a: &mut Member, b: &Member) {
    let mut record = b.as_peer();
    record.public = PrivateKey::generate().unwrap().public();
    a.device.as_ref().unwrap().set_peers(vec![record]);
}

#[test]
fn a_stranger_brings_nothing_in() {
    require_root!();
    let lab = Lab::new();
    let ([a, mut b], switch) = pair(&lab, ["192.0.2.1", "192.0.2.2"], 24);
    assert!(a.reaches(&b));
    switch.ip("addr add 192.0.2.99/24 dev br0");
    let mut stranger = Member::new(&lab, "c", 3, "192.0.2.3");
    lab.link(&stranger.host, "eth0", &switch, "port9");
    switch.ip("link set port9 master br0");
    stranger.host.ip("addr add 192.0.2.3/24 dev eth0");
    stranger.inner = a.inner;
    stranger.start();
    stranger.knows(&[&b]);
    let ear = listen(&b);
    for alive in [true, false] {
        if !alive {
            b.device = None;
        }
        stays("silent", WHILE, || {
            whisper(&stranger, &b);
            let socket = stranger
                .host
                .enter(|| UdpSocket::bind(("192.0.2.3", 0)))
                .unwrap();
            for port in [4789, 51_820] {
                // Nobody may listen there: that is what is to be shown.
                let _ = socket.send_to(MARK.as_bytes(), (b.underlay, port));
            }
            !hears(&ear)
        });
    }
    // The host forwards nothing either, though it may be asked to.
    b.host.sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    stranger.host.ip("addr add 2001:db8::3/64 dev eth0 nodad");
    b.host.ip("addr add 2001:db8::2/64 dev eth0 nodad");
    stranger
        .host
        .ip(&format!("route add {} via 2001:db8::2", b.inner));
    let socket = stranger.host.enter(|| UdpSocket::bind(("::", 0))).unwrap();
    stays("silent", WHILE, || {
        let _ = socket.send_to(MARK.as_bytes(), (b.inner, 4789));
        !hears(&ear)
    });
}
