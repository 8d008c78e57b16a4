//! What the program does with a packet: stateless translation (RFC 7915) of TCP, UDP and SCTP, and of
//! ICMP errors about them.
//!
//! The addresses of both sides have the same sum, so that no checksum of a transport protocol is
//! touched: neither one that the hardware is to make, nor those of segments that travel together.
//! Whatever else comes is dropped: fragments too. Connection tracking puts them together before, and the
//! kernel takes them apart again on their way here.

use super::packet::{
    Place, copy, expect, expect_mapped, in_order, on_stack, put, sum, to_four, to_six,
};
use crate::bpf::{Assembler, Is, Label, Register, Size, Word};
use vw_firewall::TRANSLATED;

/// Fields of a packet (`struct __sk_buff`).
const MARK: i16 = 8;
const PROTOCOL: i16 = 16;
const IFINDEX: i16 = 40;

/// Functions (`enum bpf_func_id`).
const SKB_STORE_BYTES: i32 = 9;
const REDIRECT: i32 = 23;
const SKB_LOAD_BYTES: i32 = 26;
const SKB_CHANGE_PROTO: i32 = 31;
const SKB_CHANGE_TAIL: i32 = 38;

/// `BPF_F_RECOMPUTE_CSUM`: a sum of the whole packet, where there is one, is kept right.
const RECOMPUTE_CSUM: i32 = 1;
/// `BPF_F_INGRESS`.
const INGRESS: i32 = 1;
/// `TC_ACT_SHOT`.
const DROP: i32 = 2;

const CONTEXT: Register = Register::R6;

/// What stands before the IP header, and the lengths of headers.
const ETHERNET: i16 = 14;
const SIX_HEADER: i16 = 40;
const FOUR_HEADER: i16 = 20;
const ICMP_HEADER: i16 = 8;
/// As much of a packet's transport header as an error tells (RFC 792); all have the ports there.
const TOLD: i16 = 8;

/// An error over IPv6 and over IPv4, of the length that it always has here.
const SIX_ERROR: i16 = 2 * SIX_HEADER + ICMP_HEADER + TOLD;
const FOUR_ERROR: i16 = 2 * FOUR_HEADER + ICMP_HEADER + TOLD;

/// Where they lie on the stack, one whole behind the other, and an Ethernet type.
const SIX: Place = -SIX_ERROR;
const FOUR: Place = SIX - FOUR_ERROR;
const ETHERTYPE: Place = FOUR - 8;

const ICMP4: i32 = 1;
const ICMP6: i32 = 58;
/// TCP, UDP, SCTP.
const TRANSPORTS: [i32; 3] = [6, 17, 132];

/// The program.
pub(super) fn program() -> Vec<Word> {
    let mut code = Assembler::default();
    let (six, drop) = (code.label(), code.label());
    code.copy(CONTEXT, Register::R1);
    code.load(Size::Word, Register::R0, (CONTEXT, PROTOCOL));
    code.jump_if(Register::R0, Is::Equal(kind(libc::ETH_P_IPV6)), six);
    code.jump_if(Register::R0, Is::Not(kind(libc::ETH_P_IP)), drop);
    from_four(&mut code, drop);
    code.place(six);
    from_six(&mut code, drop);
    code.place(drop);
    code.set(Register::R0, DROP);
    code.exit();
    code.finish()
}

fn kind(kind: i32) -> i32 {
    in_order(kind as u16)
}

/// From an endpoint, or of one that is on its way, to who asked over IPv6.
fn from_four(code: &mut Assembler, drop: Label) {
    let error = code.label();
    read(code, ETHERNET, FOUR, FOUR_HEADER, drop);
    is_plain_four(code, FOUR, drop);
    expect(code, FOUR + 16, &TRANSLATED.octets(), drop);
    code.load(Size::Byte, Register::R0, on_stack(FOUR + 9));
    code.jump_if(Register::R0, Is::Equal(ICMP4), error);
    is_transport(code, drop);
    to_six(code, FOUR, SIX);
    become_kind(code, libc::ETH_P_IPV6, drop);
    write(code, ETHERNET, SIX, SIX_HEADER, drop);
    come_in(code);

    code.place(error);
    read(
        code,
        ETHERNET + FOUR_HEADER,
        FOUR + FOUR_HEADER,
        FOUR_ERROR - FOUR_HEADER,
        drop,
    );
    let told = FOUR + FOUR_HEADER + ICMP_HEADER;
    is_plain_four(code, told, drop);
    expect(code, told + 12, &TRANSLATED.octets(), drop);
    code.load(Size::Byte, Register::R0, on_stack(told + 9));
    is_transport(code, drop);
    to_six(code, FOUR, SIX);
    let message = SIX + SIX_HEADER;
    to_six(code, told, message + ICMP_HEADER);
    for word in [0, 4] {
        let to = message + ICMP_HEADER + SIX_HEADER + word;
        copy(code, Size::Word, told + FOUR_HEADER + word, to);
    }
    let length = SIX_ERROR - SIX_HEADER;
    code.store_number(Size::Half, on_stack(SIX + 4), in_order(length as u16));
    code.store_number(Size::Byte, on_stack(SIX + 6), ICMP6);
    error_to_six(code, FOUR + FOUR_HEADER, message, drop);
    // With the addresses, the length and the next header (RFC 8200, 8.1).
    let besides = in_order(length as u16 + ICMP6 as u16);
    sum(code, SIX + 8, (length + 32).into(), besides, message + 2);
    become_kind(code, libc::ETH_P_IPV6, drop);
    resize(code, ETHERNET + SIX_ERROR, drop);
    write(code, ETHERNET, SIX, SIX_ERROR, drop);
    come_in(code);
}

/// From who asked over IPv6 to an endpoint. An error may come from anywhere, and tell of a packet to
/// whoever asked, whose address stands in it before it is translated: by all of them `TRANSLATED` is
/// meant.
fn from_six(code: &mut Assembler, drop: Label) {
    let error = code.label();
    read(code, ETHERNET, SIX, SIX_HEADER, drop);
    expect_mapped(code, SIX + 24, drop);
    // It would be sent back here.
    let other = code.label();
    expect(code, SIX + 36, &TRANSLATED.octets(), other);
    code.set(Register::R0, DROP);
    code.exit();
    code.place(other);
    code.load(Size::Byte, Register::R0, on_stack(SIX + 6));
    code.jump_if(Register::R0, Is::Equal(ICMP6), error);
    is_transport(code, drop);
    expect_mapped(code, SIX + 8, drop);
    to_four(code, SIX, FOUR, true);
    sum(code, FOUR, FOUR_HEADER.into(), 0, FOUR + 10);
    become_kind(code, libc::ETH_P_IP, drop);
    write(code, ETHERNET, FOUR, FOUR_HEADER, drop);
    come_in(code);

    code.place(error);
    let message = SIX + SIX_HEADER;
    let length = SIX_ERROR - SIX_HEADER;
    read(code, ETHERNET + SIX_HEADER, message, length, drop);
    let told = message + ICMP_HEADER;
    expect_mapped(code, told + 8, drop);
    code.load(Size::Byte, Register::R0, on_stack(told + 6));
    is_transport(code, drop);
    to_four(code, SIX, FOUR, false);
    let inner = FOUR + FOUR_HEADER + ICMP_HEADER;
    to_four(code, told, inner, false);
    put(code, inner + 16, &TRANSLATED.octets());
    sum(code, inner, FOUR_HEADER.into(), 0, inner + 10);
    for word in [0, 4] {
        let to = inner + FOUR_HEADER + word;
        copy(code, Size::Word, told + SIX_HEADER + word, to);
    }
    put(code, FOUR + 12, &TRANSLATED.octets());
    let total = in_order(FOUR_ERROR as u16);
    code.store_number(Size::Half, on_stack(FOUR + 2), total);
    code.store_number(Size::Byte, on_stack(FOUR + 9), ICMP4);
    sum(code, FOUR, FOUR_HEADER.into(), 0, FOUR + 10);
    let length = (FOUR_ERROR - FOUR_HEADER).into();
    error_to_four(code, message, FOUR + FOUR_HEADER, drop);
    sum(code, FOUR + FOUR_HEADER, length, 0, FOUR + FOUR_HEADER + 2);
    become_kind(code, libc::ETH_P_IP, drop);
    resize(code, ETHERNET + FOUR_ERROR, drop);
    write(code, ETHERNET, FOUR, FOUR_ERROR, drop);
    come_in(code);
}

/// The header of an error over IPv6, from one over IPv4 (RFC 7915, 4.2), with zero for its sum.
fn error_to_six(code: &mut Assembler, four: Place, six: Place, drop: Label) {
    const MIN_MTU: i32 = 1280;
    let (late, large, done) = (code.label(), code.label(), code.label());
    let told = |code: &mut Assembler, kind: i32, number: i32| {
        code.store_number(Size::Byte, on_stack(six), kind);
        code.store_number(Size::Byte, on_stack(six + 1), number);
    };
    code.store_number(Size::Half, on_stack(six + 2), 0);
    code.store_number(Size::Word, on_stack(six + 4), 0);
    code.load(Size::Byte, Register::R1, on_stack(four));
    code.load(Size::Byte, Register::R0, on_stack(four + 1));
    code.jump_if(Register::R1, Is::Equal(11), late);
    code.jump_if(Register::R1, Is::Not(3), drop);
    code.jump_if(Register::R0, Is::Equal(4), large);
    // Of the codes of IPv4: no port (3), forbidden (9, 10, 13), and else no way there.
    code.jump_if(Register::R0, Is::Equal(2), drop);
    told(code, 1, 4);
    code.jump_if(Register::R0, Is::Equal(3), done);
    told(code, 1, 1);
    for forbidden in [9, 10, 13] {
        code.jump_if(Register::R0, Is::Equal(forbidden), done);
    }
    told(code, 1, 0);
    code.jump_if(Register::R0, Is::Greater(0), done);
    code.jump_if(Register::R0, Is::Equal(0), done);

    code.place(large);
    told(code, 2, 0);
    let enough = code.label();
    code.load(Size::Half, Register::R0, on_stack(four + 6));
    code.swap(Register::R0, 16);
    code.add(Register::R0, 20);
    code.jump_if(Register::R0, Is::Greater(MIN_MTU), enough);
    code.set(Register::R0, MIN_MTU);
    code.place(enough);
    code.swap(Register::R0, 32);
    code.store(Size::Word, on_stack(six + 4), Register::R0);
    code.jump_if(Register::R1, Is::Equal(3), done);

    code.place(late);
    told(code, 3, 0);
    code.store(Size::Byte, on_stack(six + 1), Register::R0);
    code.place(done);
}

/// The same the other way (RFC 7915, 5.2).
fn error_to_four(code: &mut Assembler, six: Place, four: Place, drop: Label) {
    let (late, large, done) = (code.label(), code.label(), code.label());
    let told = |code: &mut Assembler, kind: i32, number: i32| {
        code.store_number(Size::Byte, on_stack(four), kind);
        code.store_number(Size::Byte, on_stack(four + 1), number);
    };
    code.store_number(Size::Half, on_stack(four + 2), 0);
    code.store_number(Size::Word, on_stack(four + 4), 0);
    code.load(Size::Byte, Register::R1, on_stack(six));
    code.load(Size::Byte, Register::R0, on_stack(six + 1));
    code.jump_if(Register::R1, Is::Equal(2), large);
    code.jump_if(Register::R1, Is::Equal(3), late);
    code.jump_if(Register::R1, Is::Not(1), drop);
    // No port (4), forbidden (1), and else no way there.
    told(code, 3, 3);
    code.jump_if(Register::R0, Is::Equal(4), done);
    told(code, 3, 10);
    code.jump_if(Register::R0, Is::Equal(1), done);
    told(code, 3, 1);
    code.jump_if(Register::R1, Is::Equal(1), done);

    code.place(large);
    told(code, 3, 4);
    let fits = code.label();
    code.load(Size::Word, Register::R0, on_stack(six + 4));
    code.swap(Register::R0, 32);
    // No link of IPv6 takes less (RFC 8201, 4), and what one client says goes for all.
    let enough = code.label();
    code.set(Register::R2, 1280);
    code.jump_if(Register::R0, Is::Above(Register::R2), enough);
    code.set(Register::R0, 1280);
    code.place(enough);
    code.add(Register::R0, -20);
    code.set(Register::R2, 0xffff);
    code.jump_if(Register::R2, Is::Above(Register::R0), fits);
    code.set(Register::R0, 0xffff);
    code.place(fits);
    code.swap(Register::R0, 16);
    code.store(Size::Half, on_stack(four + 6), Register::R0);
    code.jump_if(Register::R1, Is::Equal(2), done);

    code.place(late);
    told(code, 11, 0);
    code.store(Size::Byte, on_stack(four + 1), Register::R0);
    code.place(done);
}

/// Goes elsewhere where an IPv4 header has options, or is that of a fragment.
fn is_plain_four(code: &mut Assembler, four: Place, otherwise: Label) {
    code.load(Size::Byte, Register::R0, on_stack(four));
    code.jump_if(Register::R0, Is::Not(0x45), otherwise);
    code.load(Size::Half, Register::R0, on_stack(four + 6));
    code.jump_if(Register::R0, Is::Has(in_order(0x3fff)), otherwise);
}

/// Goes elsewhere unless `R0` is a protocol that has ports.
fn is_transport(code: &mut Assembler, otherwise: Label) {
    let yes = code.label();
    let [first @ .., last] = TRANSPORTS;
    for protocol in first {
        code.jump_if(Register::R0, Is::Equal(protocol), yes);
    }
    code.jump_if(Register::R0, Is::Not(last), otherwise);
    code.place(yes);
}

/// Reads from the packet to the stack.
fn read(code: &mut Assembler, from: i16, to: Place, length: i16, drop: Label) {
    code.copy(Register::R1, CONTEXT);
    code.set(Register::R2, from.into());
    code.copy(Register::R3, Register::Frame);
    code.add(Register::R3, to.into());
    code.set(Register::R4, length.into());
    code.call(SKB_LOAD_BYTES);
    code.jump_if(Register::R0, Is::Not(0), drop);
}

/// Writes into the packet from the stack.
fn write(code: &mut Assembler, to: i16, from: Place, length: i16, drop: Label) {
    code.copy(Register::R1, CONTEXT);
    code.set(Register::R2, to.into());
    code.copy(Register::R3, Register::Frame);
    code.add(Register::R3, from.into());
    code.set(Register::R4, length.into());
    code.set(Register::R5, RECOMPUTE_CSUM);
    code.call(SKB_STORE_BYTES);
    code.jump_if(Register::R0, Is::Not(0), drop);
}

/// Makes the packet one of the other IP version, whose header is to be written.
fn become_kind(code: &mut Assembler, other: i32, drop: Label) {
    code.copy(Register::R1, CONTEXT);
    code.set(Register::R2, kind(other));
    code.set(Register::R3, 0);
    code.call(SKB_CHANGE_PROTO);
    code.jump_if(Register::R0, Is::Not(0), drop);
    code.store_number(Size::Half, on_stack(ETHERTYPE), kind(other));
    write(code, ETHERNET - 2, ETHERTYPE, 2, drop);
}

/// Cuts the packet to a length, or draws it out.
fn resize(code: &mut Assembler, length: i16, drop: Label) {
    code.copy(Register::R1, CONTEXT);
    code.set(Register::R2, length.into());
    code.set(Register::R3, 0);
    code.call(SKB_CHANGE_TAIL);
    code.jump_if(Register::R0, Is::Not(0), drop);
}

/// Ends with the packet coming in by the link that it was to leave by, as a new one: without a mark,
/// and of no connection yet (`skb_scrub_packet`).
fn come_in(code: &mut Assembler) {
    code.set(Register::R0, 0);
    code.store(Size::Word, (CONTEXT, MARK), Register::R0);
    code.load(Size::Word, Register::R1, (CONTEXT, IFINDEX));
    code.set(Register::R2, INGRESS);
    code.call(REDIRECT);
    code.exit();
}
