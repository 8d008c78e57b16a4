//! Encrypted overlay networks as they are planned, made and carried, asserted by packets.
//!
//! What a stranger does is done to a network in clear text as well, where it succeeds: a test that
//! shows nothing there would show nothing here.

mod host;
mod stranger;

use host::{Host, pair};
use std::{net::UdpSocket, time::Duration};
use stranger::{frame, seen_by, tunnelled};
use vw_agents::wireguard::PrivateKey;
use vw_testkit::{Lab, require_programs, require_root, stays, traffic, wire::Wire};

const PATIENCE: Duration = Duration::from_secs(15);
const WHILE: Duration = Duration::from_millis(700);
/// What must not be seen.
const MARK: &[u8] = b"clear-text-of-an-encrypted-network";

fn listen(host: &Host) -> UdpSocket {
    let socket = host.pod.enter(|| UdpSocket::bind((host.addr, 9))).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn hears(socket: &UdpSocket) -> bool {
    socket
        .recv(&mut [0; 2000])
        .is_ok_and(|size| size == MARK.len())
}

/// Says the mark from one container to another.
fn whisper(from: &Host, to: &Host) {
    let socket = from.pod.enter(|| UdpSocket::bind((from.addr, 0))).unwrap();
    // That it cannot be sent is not what is asked.
    let _ = socket.send_to(MARK, (to.addr, 9));
}

fn reaches(from: &Host, to: &Host) -> bool {
    traffic::ping(&from.pod, &to.addr.to_string())
}

#[test]
fn containers_reach_one_another_and_no_wire_shows_it() {
    require_root!();
    require_programs!("tcpdump");
    for encrypted in [true, false] {
        let lab = Lab::new();
        let ([mut a, b], switch) = pair(&lab, encrypted);
        let ear = listen(&b);
        let wire = Wire::watch(&lab, &switch);
        vw_testkit::eventually("they reach one another", PATIENCE, || reaches(&a, &b));
        whisper(&a, &b);
        vw_testkit::eventually("it is heard", PATIENCE, || hears(&ear));
        let seen = seen_by(&switch, wire);
        assert_eq!(seen.holds(MARK), !encrypted);
        assert_eq!(seen.packets_to(4789) > 0, !encrypted);
        assert_eq!(seen.packets_to(51_820) > 0, encrypted);
        // Without anybody who carries them, encrypted packets go nowhere.
        a.stop();
        let wire = Wire::watch(&lab, &switch);
        if encrypted {
            stays("it is silent", WHILE, || {
                whisper(&a, &b);
                !hears(&ear)
            });
            assert!(!reaches(&b, &a));
        } else {
            assert!(reaches(&a, &b));
        }
        let seen = seen_by(&switch, wire);
        assert!(!seen.holds(MARK));
        assert_eq!(seen.packets_to(4789) > 0, !encrypted);
        // And pass again once there is somebody: the link has stood.
        a.start();
        a.knows(&[&b]);
        vw_testkit::eventually("they reach one another again", PATIENCE, || reaches(&a, &b));
    }
}

#[test]
fn a_host_alone_and_one_with_a_wrong_key_are_silent() {
    require_root!();
    require_programs!("tcpdump");
    let lab = Lab::new();
    let ([a, b], switch) = pair(&lab, true);
    vw_testkit::eventually("they reach one another", PATIENCE, || reaches(&a, &b));
    let ear = listen(&b);
    for wrong in [false, true] {
        match wrong {
            false => a.knows(&[]),
            true => a.believes(&b, PrivateKey::generate().unwrap().public()),
        }
        let wire = Wire::watch(&lab, &switch);
        stays("it is silent", WHILE, || {
            whisper(&a, &b);
            !hears(&ear)
        });
        let seen = seen_by(&switch, wire);
        assert!(!seen.holds(MARK));
        assert_eq!(seen.packets_to(4789), 0);
    }
}

#[test]
fn what_a_stranger_sends_in_clear_text_does_not_come_in() {
    require_root!();
    for encrypted in [true, false] {
        let lab = Lab::new();
        let ([a, mut b], switch) = pair(&lab, encrypted);
        vw_testkit::eventually("they reach one another", PATIENCE, || reaches(&a, &b));
        let ear = listen(&b);
        switch.ip("addr add 192.0.2.99/24 dev br0");
        let socket = switch.enter(|| UdpSocket::bind("192.0.2.99:4789")).unwrap();
        let inside = tunnelled(host::VNI, &frame(&a, &b, MARK));
        for alive in [true, false] {
            if !alive {
                b.stop();
            }
            let comes_in = || {
                for port in [4789, 51_820] {
                    // Nobody may listen there: that is what is to be shown.
                    let _ = socket.send_to(&inside, (b.underlay, port));
                }
                hears(&ear)
            };
            match encrypted {
                true => stays("nothing comes in", WHILE, || !comes_in()),
                false => vw_testkit::eventually("it comes in", PATIENCE, comes_in),
            }
        }
    }
}
