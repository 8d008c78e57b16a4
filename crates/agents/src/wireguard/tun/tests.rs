//! Which packets go in one write, byte by byte.

use super::*;
use proptest::prelude::*;
use rustix::pipe::{PipeFlags, pipe_with};

/// An IPv6 datagram, as a tunnel sends them.
fn datagram(source_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16 + 8).to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], 17, 64];
    packet.extend([0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(source_port.to_be_bytes());
    packet.extend(4789_u16.to_be_bytes());
    packet.extend(length);
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// What is written for these packets, each write by itself.
fn written(packets: &[Vec<u8>], headers: bool) -> Vec<Vec<u8>> {
    let (reader, writer) = pipe_with(PipeFlags::DIRECT | PipeFlags::NONBLOCK).unwrap();
    let mut inbox = Inbox::default();
    packets.iter().for_each(|packet| inbox.push(packet));
    assert_eq!(inbox.write(&writer, headers), 0);
    let mut room = vec![0; 4096];
    std::iter::from_fn(|| {
        let size = read(&reader, &mut room).ok()?;
        Some(room[..size].to_vec())
    })
    .collect()
}

#[test]
fn datagrams_of_one_flow_and_size_are_written_as_one() {
    let packets = [
        datagram(7, b"aaaa"),
        datagram(7, b"bbbb"),
        datagram(7, b"cc"),
    ];
    let [one] = &written(&packets, true)[..] else {
        panic!("not one write");
    };
    // needs a checksum, UDP, headers of 48, pieces of 4, the checksum at 40 + 6.
    let mut header = vec![1, 5];
    for value in [48_u16, 4, 40, 6] {
        header.extend(value.to_ne_bytes());
    }
    assert_eq!(one[..HEADER], header);
    let mut expected = datagram(7, b"aaaabbbbcc");
    // 2 * fd01 + 1 + 2 + 18 + 17, carried around.
    expected[UDP_CHECKSUM..PAYLOAD].copy_from_slice(&[0xfa, 0x29]);
    assert_eq!(one[HEADER..], expected);
}

#[test]
fn what_differs_is_written_alone() {
    let mut other_class = datagram(7, b"bbbb");
    other_class[1] = 0x20;
    let mut not_udp = datagram(7, b"bbbb");
    not_udp[6] = 58;
    let mut lying = datagram(7, b"bbbb");
    lying[UDP_LENGTH + 1] = 9;
    let four = vec![0x45; 60];
    for other in [
        datagram(8, b"bbbb"),
        datagram(7, b"bbbbb"),
        other_class,
        not_udp,
        lying,
        four,
        vec![0x60],
    ] {
        let packets = [datagram(7, b"aaaa"), other.clone()];
        let expected = packets
            .each_ref()
            .map(|packet| [&[0; HEADER], &packet[..]].concat());
        assert_eq!(written(&packets, true), expected, "{other:?}");
    }
}

#[test]
fn a_shorter_datagram_ends_what_is_joined() {
    let packets = [datagram(7, b"aaaa"), datagram(7, b"b"), datagram(7, b"c")];
    let sizes: Vec<_> = written(&packets, true).iter().map(Vec::len).collect();
    assert_eq!(sizes, [HEADER + 48 + 5, HEADER + 48 + 1]);
}

#[test]
fn a_packet_is_read_without_its_header() {
    for headers in [true, false] {
        let (reader, writer) = pipe_with(PipeFlags::DIRECT | PipeFlags::NONBLOCK).unwrap();
        let mut room = vec![0; 200];
        assert!(take(&reader, headers, &mut room).unwrap().is_none());
        let before = if headers { &[0; HEADER][..] } else { &[] };
        put(&writer, &[before, b"packet"].concat()).unwrap();
        assert_eq!(
            take(&reader, headers, &mut room).unwrap().unwrap(),
            b"packet"
        );
    }
}

proptest! {
    #[test]
    fn no_packet_is_too_strange_to_be_put_in(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..8)
    ) {
        let mut inbox = Inbox::default();
        for packet in &packets {
            inbox.push(packet);
            let mut other = datagram(7, packet);
            inbox.push(&other);
            other.truncate(packet.len());
            inbox.push(&other);
        }
    }
}
