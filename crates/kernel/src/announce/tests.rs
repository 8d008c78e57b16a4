//! What an announcement says on the wire, on examples.

use super::frame;
use expect_test::{Expect, expect};
use vw_model::MacAddr;

const MAC: MacAddr = MacAddr([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]);

fn check(frame: &[u8], expected: Expect) {
    let lines = frame.chunks(14).map(|chunk| {
        let octets: Vec<_> = chunk.iter().map(|octet| format!("{octet:02x}")).collect();
        octets.join(" ") + "\n"
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn an_arp_announcement_asks_for_its_own_address() {
    let addr = "172.17.0.2".parse().expect("an address");
    check(
        &frame::arp(MAC, addr),
        expect![[r#"
        ff ff ff ff ff ff 02 42 ac 11 00 02 08 06
        00 01 08 00 06 04 00 01 02 42 ac 11 00 02
        ac 11 00 02 00 00 00 00 00 00 ac 11 00 02
    "#]],
    );
}

#[test]
fn an_advertisement_overrides_what_neighbours_know() {
    let addr = "fd00::2".parse().expect("an address");
    check(
        &frame::advertisement(MAC, addr),
        expect![[r#"
        33 33 00 00 00 01 02 42 ac 11 00 02 86 dd
        60 00 00 00 00 20 3a ff fd 00 00 00 00 00
        00 00 00 00 00 00 00 00 00 02 ff 02 00 00
        00 00 00 00 00 00 00 00 00 00 00 01 88 00
        ae 44 20 00 00 00 fd 00 00 00 00 00 00 00
        00 00 00 00 00 00 00 02 02 01 02 42 ac 11
        00 02
    "#]],
    );
}
