//! Headers of one IP version made from those of the other (RFC 7915, 4.1 and 5.1), on the stack of a
//! program.

use crate::bpf::{Assembler, Is, Label, Register, Size};
use std::net::Ipv4Addr;
use vw_firewall::mapped;

/// Functions (`enum bpf_func_id`).
const GET_PRANDOM_U32: i32 = 7;
const CSUM_DIFF: i32 = 28;

/// Larger ones must not be cut up on their way, and are told to be too large (RFC 7915, 5.1).
const LARGE: i32 = 1260;
/// `IP_DF`.
const WHOLE: u16 = 0x4000;

/// A number as a packet has it.
pub(super) fn in_order(number: u16) -> i32 {
    i32::from(number.to_be())
}

/// Where something lies on the stack.
pub(super) type Place = i16;

pub(super) const fn on_stack(place: Place) -> (Register, i16) {
    (Register::Frame, place)
}

/// Goes elsewhere unless these octets lie there: an even number of them.
pub(super) fn expect(code: &mut Assembler, at: Place, octets: &[u8], otherwise: Label) {
    for (place, half) in (at..).step_by(2).zip(octets.chunks_exact(2)) {
        code.load(Size::Half, Register::R0, on_stack(place));
        let half = i32::from(u16::from_ne_bytes([half[0], half[1]]));
        code.jump_if(Register::R0, Is::Not(half), otherwise);
    }
}

/// What stands before an IPv4 address.
pub(super) fn prefix() -> [u8; 12] {
    let octets = mapped(Ipv4Addr::UNSPECIFIED).octets();
    octets.first_chunk().copied().unwrap_or_default()
}

/// Goes elsewhere unless an IPv6 address stands for an IPv4 one.
pub(super) fn expect_mapped(code: &mut Assembler, at: Place, otherwise: Label) {
    expect(code, at, &prefix(), otherwise);
}

/// Puts octets there, of which there are whole words.
pub(super) fn put(code: &mut Assembler, at: Place, octets: &[u8]) {
    for (place, word) in (at..).step_by(4).zip(octets.chunks_exact(4)) {
        let word = i32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        code.store_number(Size::Word, on_stack(place), word);
    }
}

pub(super) fn copy(code: &mut Assembler, size: Size, from: Place, to: Place) {
    code.load(size, Register::R0, on_stack(from));
    code.store(size, on_stack(to), Register::R0);
}

/// Makes an IPv6 header of an IPv4 one.
pub(super) fn to_six(code: &mut Assembler, four: Place, six: Place) {
    code.load(Size::Byte, Register::R0, on_stack(four + 1));
    code.shift_left(Register::R0, 20);
    code.set(Register::R1, 6 << 28);
    code.or(Register::R0, Register::R1);
    code.swap(Register::R0, 32);
    code.store(Size::Word, on_stack(six), Register::R0);
    code.load(Size::Half, Register::R0, on_stack(four + 2));
    code.swap(Register::R0, 16);
    code.add(Register::R0, -20);
    code.swap(Register::R0, 16);
    code.store(Size::Half, on_stack(six + 4), Register::R0);
    copy(code, Size::Byte, four + 9, six + 6);
    copy(code, Size::Byte, four + 8, six + 7);
    for (from, to) in [(four + 12, six + 8), (four + 16, six + 24)] {
        put(code, to, &prefix());
        copy(code, Size::Word, from, to + 12);
    }
}

/// Makes an IPv4 header of an IPv6 one, without its checksum. One that is `alone` is that of a packet
/// on its way, else of one that an error tells of.
pub(super) fn to_four(code: &mut Assembler, six: Place, four: Place, alone: bool) {
    code.load(Size::Word, Register::R0, on_stack(six));
    code.swap(Register::R0, 32);
    code.shift_right(Register::R0, 20);
    code.store(Size::Byte, on_stack(four + 1), Register::R0);
    code.store_number(Size::Byte, on_stack(four), 0x45);
    code.load(Size::Half, Register::R7, on_stack(six + 4));
    code.swap(Register::R7, 16);
    code.add(Register::R7, 20);
    code.copy(Register::R0, Register::R7);
    code.swap(Register::R0, 16);
    code.store(Size::Half, on_stack(four + 2), Register::R0);
    code.store_number(Size::Half, on_stack(four + 4), 0);
    code.store_number(Size::Half, on_stack(four + 6), in_order(WHOLE));
    if alone {
        let large = code.label();
        code.jump_if(Register::R7, Is::Greater(LARGE), large);
        code.call(GET_PRANDOM_U32);
        code.store(Size::Half, on_stack(four + 4), Register::R0);
        code.store_number(Size::Half, on_stack(four + 6), 0);
        code.place(large);
    }
    copy(code, Size::Byte, six + 7, four + 8);
    copy(code, Size::Byte, six + 6, four + 9);
    code.store_number(Size::Half, on_stack(four + 10), 0);
    copy(code, Size::Word, six + 20, four + 12);
    copy(code, Size::Word, six + 36, four + 16);
}

/// Puts the sum of so many octets into its place, where zero lies; `seed` is what is counted besides.
pub(super) fn sum(code: &mut Assembler, from: Place, length: i32, seed: i32, at: Place) {
    code.set(Register::R1, 0);
    code.set(Register::R2, 0);
    code.copy(Register::R3, Register::Frame);
    code.add(Register::R3, from.into());
    code.set(Register::R4, length);
    code.set(Register::R5, seed);
    code.call(CSUM_DIFF);
    for _ in 0..2 {
        code.copy(Register::R1, Register::R0);
        code.shift_right(Register::R1, 16);
        code.mask(Register::R0, 0xffff);
        code.mask(Register::R1, 0xffff);
        code.plus(Register::R0, Register::R1);
    }
    code.flip(Register::R0, 0xffff);
    code.store(Size::Half, on_stack(at), Register::R0);
}
