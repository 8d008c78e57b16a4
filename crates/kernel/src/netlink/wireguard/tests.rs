//! Requests byte by byte, as `linux/wireguard.h` has them, and what is read from answers.

use super::*;
use expect_test::{Expect, expect};

fn name() -> IfName {
    "vw-wg".parse().unwrap()
}

fn told() -> WireguardPeer {
    WireguardPeer {
        netns: Netns::Tunnel,
        link: name(),
        public: PublicKey::from_bytes(std::array::from_fn(|at| at as u8)),
        endpoint: SocketAddr::from(([192, 0, 2, 7], 51_820)),
        allowed: ["fd76:6574:6877::7/128", "10.0.0.0/8"]
            .map(|net| net.parse().unwrap())
            .into(),
    }
}

/// A request's payload, without the header that every one has.
fn payload(request: impl FnOnce(&mut Body<'_>)) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.push(0x1c, 0, request);
    batch.whole(1, 0)[16..].to_vec()
}

fn bytes(request: impl FnOnce(&mut Body<'_>), expected: Expect) {
    let lines = payload(request)
        .chunks(16)
        .map(|line| {
            let digits: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            digits.join(" ") + "\n"
        })
        .collect::<String>();
    expected.assert_eq(&lines);
}

#[test]
fn a_key_and_a_port_are_given() {
    bytes(
        |body| key_request(body, &name(), &[0xab; 32], 51_820),
        expect![[r#"
            01 01 00 00 0a 00 02 00 76 77 2d 77 67 00 00 00
            24 00 03 00 ab ab ab ab ab ab ab ab ab ab ab ab
            ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab
            ab ab ab ab 06 00 06 00 6c ca 00 00
        "#]],
    );
}

#[test]
fn a_peer_is_told_with_its_place_and_its_addresses() {
    bytes(
        |body| peer_request(body, &told()),
        expect![[r#"
        01 01 00 00 0a 00 02 00 76 77 2d 77 67 00 00 00
        90 00 08 80 8c 00 00 80 24 00 01 00 00 01 02 03
        04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13
        14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 08 00 03 00
        02 00 00 00 14 00 04 00 02 00 ca 6c c0 00 02 07
        00 00 00 00 00 00 00 00 48 00 09 80 1c 00 00 80
        06 00 01 00 02 00 00 00 08 00 02 00 0a 00 00 00
        05 00 03 00 08 00 00 00 28 00 01 80 06 00 01 00
        0a 00 00 00 14 00 02 00 fd 76 65 74 68 77 00 00
        00 00 00 00 00 00 00 07 05 00 03 00 80 00 00 00
    "#]],
    );
}

#[test]
fn over_ipv6_the_place_is_longer() {
    let told = WireguardPeer {
        endpoint: "[2001:db8::7]:9".parse().unwrap(),
        allowed: BTreeSet::new(),
        ..told()
    };
    bytes(
        |body| peer_request(body, &told),
        expect![[r#"
        01 01 00 00 0a 00 02 00 76 77 2d 77 67 00 00 00
        58 00 08 80 54 00 00 80 24 00 01 00 00 01 02 03
        04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13
        14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 08 00 03 00
        02 00 00 00 20 00 04 00 0a 00 00 09 00 00 00 00
        20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 07
        00 00 00 00 04 00 09 80
    "#]],
    );
}

#[test]
fn a_peer_is_removed_by_its_key() {
    bytes(
        |body| removal_request(body, &told()),
        expect![[r#"
        01 01 00 00 0a 00 02 00 76 77 2d 77 67 00 00 00
        34 00 08 80 30 00 00 80 24 00 01 00 00 01 02 03
        04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13
        14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 08 00 03 00
        01 00 00 00
    "#]],
    );
}

#[test]
fn a_key_is_taken_by_zeroes() {
    bytes(
        |body| no_key_request(body, &name()),
        expect![[r#"
        01 01 00 00 0a 00 02 00 76 77 2d 77 67 00 00 00
        24 00 03 00 00 00 00 00 00 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
        00 00 00 00
    "#]],
    );
}

fn parsed(messages: &[Vec<u8>]) -> Seen {
    let mut seen = Seen::default();
    for message in messages {
        parse(message, &name(), &mut seen);
    }
    seen
}

/// A dump's first message, as `wg_get_device_dump` begins it.
#[test]
fn the_key_is_read_by_its_public_half() {
    let key = PublicKey::from_bytes([9; 32]);
    let first = payload(|body| {
        command(body, GET_DEVICE);
        body.attr(device::LISTEN_PORT, &51_820_u16.to_ne_bytes());
        body.attr_u32(7, 0);
        body.attr_u32(1, 5);
        body.attr_str(device::IFNAME, "vw-wg");
        body.attr(device::PRIVATE_KEY, &[0xab; 32]);
        body.attr(device::PUBLIC_KEY, key.as_bytes());
        body.nest(device::PEERS, |_| {});
    });
    let seen = parsed(&[first, payload(|body| peer_request(body, &told()))]);
    let wanted = WireguardKey {
        netns: Netns::Tunnel,
        link: name(),
        public: key,
        port: 51_820,
    };
    assert_eq!((seen.keys, seen.peers), (vec![wanted], vec![told()]));
}

/// The kernel answers with the attributes that it takes (`get_peer`, `get_allowedips`).
#[test]
fn what_was_told_is_read_back() {
    for endpoint in ["192.0.2.7:51820", "[2001:db8::7]:9"] {
        let told = WireguardPeer {
            endpoint: endpoint.parse().unwrap(),
            ..told()
        };
        let seen = parsed(&[payload(|body| peer_request(body, &told))]);
        assert_eq!(seen.peers, [told]);
    }
}

#[test]
fn a_peer_may_go_on_in_the_next_message() {
    let (mut first, mut second) = (told(), told());
    first.allowed = ["10.0.0.0/8".parse().unwrap()].into();
    second.allowed = ["fd76:6574:6877::7/128".parse().unwrap()].into();
    let parts = [&first, &second].map(|part| payload(|body| peer_request(body, part)));
    assert_eq!(parsed(&parts).peers, [told()]);
}

/// `struct __kernel_timespec`: seconds and nanoseconds, zeros while there was no handshake.
#[test]
fn a_key_is_agreed_once_there_was_a_handshake() {
    for (seconds, agreed) in [(0_i64, 0), (1_700_000_000, 1)] {
        let mut time = seconds.to_ne_bytes().to_vec();
        time.extend(0_i64.to_ne_bytes());
        let message = payload(|body| {
            about_peer(body, &told(), 0, |body| {
                body.attr(peer::LAST_HANDSHAKE, &time);
            });
        });
        assert_eq!(parsed(&[message]).agreed.len(), agreed);
    }
}

#[test]
fn what_is_cut_short_is_no_peer() {
    let whole = payload(|body| peer_request(body, &told()));
    for length in 0..whole.len() {
        parsed(&[whole[..length].to_vec()]);
    }
}
