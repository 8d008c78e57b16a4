//! Packets, as they are written and read.

use super::*;

#[test]
fn a_packet_is_read_as_it_was_written_and_nothing_else_is_one() {
    let mut packet = Packet {
        kind: Kind::Answer,
        number: 42,
        told: Told {
            clear: Some(4789),
            encrypted: true,
        },
    };
    for length in [0, 100] {
        assert_eq!(Packet::parse(&packet.bytes(length)), Some(packet));
    }
    assert_eq!(packet.bytes(100).len(), 100);
    packet.told = Told::default();
    let of_an_older_version = [&MARK[..], &[1], &42_u64.to_be_bytes(), &[0; 1200]].concat();
    assert_eq!(Packet::parse(&of_an_older_version), Some(packet));
    for strange in [
        &b""[..],
        b"vwprobe1",
        b"vwprobe1\x02\0\0\0\0\0\0\0\0\0\0\0",
        b"other",
    ] {
        assert_eq!(Packet::parse(strange), None);
    }
}
