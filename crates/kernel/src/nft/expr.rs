//! Expressions of the kernel's machine, one function each.
//!
//! Each numbers its attributes by itself; the numbers stand where they are used.

use super::wire::{be32, expression, nfproto, value, verdict, width};
use crate::netlink::Body;
use vw_firewall::{DataType, SetName};
use vw_model::Family;

/// `NFT_REG_VERDICT`, and `NFT_REG32_00`, the first of sixteen 32-bit registers.
pub(super) const VERDICT: u32 = 0;
pub(super) const FIRST: u32 = 8;

/// `NFT_META_*`.
pub(super) mod key {
    pub(crate) const MARK: u32 = 3;
    pub(crate) const IIF: u32 = 4;
    pub(crate) const IIFNAME: u32 = 6;
    pub(crate) const OIFNAME: u32 = 7;
    pub(crate) const NFPROTO: u32 = 15;
    pub(crate) const L4PROTO: u32 = 16;
    pub(crate) const IIFKIND: u32 = 26;
}

/// `NFT_CT_*`.
pub(super) const CT_STATE: u32 = 0;
pub(super) const CT_STATUS: u32 = 2;

/// `NFT_PAYLOAD_*_HEADER`.
pub(super) const NETWORK: u32 = 1;
pub(super) const TRANSPORT: u32 = 2;

/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
pub(super) const EQ: u32 = 0;
pub(super) const NEQ: u32 = 1;

/// `NFTA_FIB_F_*`: which address is looked up.
pub(super) const SADDR: u32 = 1 << 0;
pub(super) const DADDR: u32 = 1 << 1;

/// `NFT_PAYLOAD_CSUM_*`.
pub(super) const CSUM_INET: u32 = 1;
pub(super) const CSUM_SCTP: u32 = 2;

/// `NFT_NAT_SNAT`, `NFT_NAT_DNAT`.
pub(super) const SNAT: u32 = 0;
pub(super) const DNAT: u32 = 1;

/// Loads something that goes with the packet.
pub(super) fn meta(list: &mut Body<'_>, key: u32, register: u32) {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    expression(list, "meta", |body| {
        be32(body, KEY, key);
        be32(body, DREG, register);
    });
}

/// Stores the first register as the packet's mark.
pub(super) fn set_mark(list: &mut Body<'_>) {
    const KEY: u16 = 2;
    const SREG: u16 = 3;
    expression(list, "meta", |body| {
        be32(body, KEY, key::MARK);
        be32(body, SREG, FIRST);
    });
}

/// Goes on when the first registers compare so with the bytes.
pub(super) fn compare(list: &mut Body<'_>, operation: u32, bytes: &[u8]) {
    const SREG: u16 = 1;
    const OP: u16 = 2;
    const DATA: u16 = 3;
    expression(list, "cmp", |body| {
        be32(body, SREG, FIRST);
        be32(body, OP, operation);
        value(body, DATA, bytes);
    });
}

/// Masks the first registers, and flips bits in them.
pub(super) fn bitwise(list: &mut Body<'_>, mask: &[u8], xor: &[u8]) {
    const SREG: u16 = 1;
    const DREG: u16 = 2;
    const LEN: u16 = 3;
    const MASK: u16 = 4;
    const XOR: u16 = 5;
    expression(list, "bitwise", |body| {
        be32(body, SREG, FIRST);
        be32(body, DREG, FIRST);
        be32(body, LEN, mask.len() as u32);
        value(body, MASK, mask);
        value(body, XOR, xor);
    });
}

/// Loads bytes of a header.
pub(super) fn payload(list: &mut Body<'_>, base: u32, offset: u32, len: u32, register: u32) {
    const DREG: u16 = 1;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;
    expression(list, "payload", |body| {
        be32(body, DREG, register);
        be32(body, BASE, base);
        be32(body, OFFSET, offset);
        be32(body, LEN, len);
    });
}

/// Which checksum follows what is written, where the packet has one yet.
pub(super) enum Checksum {
    /// The header's own: its kind, and where it stands.
    At(u32, u32),
    /// The transport header's, which covers addresses too (`NFT_PAYLOAD_L4CSUM_PSEUDOHDR`).
    OfTransport,
}

/// Writes bytes of the first registers into a header: which, from where, how many.
pub(super) fn write(list: &mut Body<'_>, (base, offset, len): (u32, u32, u32), checksum: Checksum) {
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;
    const SREG: u16 = 5;
    const CSUM_TYPE: u16 = 6;
    const CSUM_OFFSET: u16 = 7;
    const CSUM_FLAGS: u16 = 8;
    const PSEUDO_HEADER: u32 = 1;
    expression(list, "payload", |body| {
        be32(body, SREG, FIRST);
        be32(body, BASE, base);
        be32(body, OFFSET, offset);
        be32(body, LEN, len);
        match checksum {
            Checksum::At(kind, at) => {
                be32(body, CSUM_TYPE, kind);
                be32(body, CSUM_OFFSET, at);
            }
            Checksum::OfTransport => be32(body, CSUM_FLAGS, PSEUDO_HEADER),
        }
    });
}

/// Loads the kind of route (`RTN_*`) that leads to an address of the packet.
pub(super) fn route_type(list: &mut Body<'_>, which: u32) {
    const DREG: u16 = 1;
    const RESULT: u16 = 2;
    const FLAGS: u16 = 3;
    const ADDRESS_TYPE: u32 = 3;
    expression(list, "fib", |body| {
        be32(body, DREG, FIRST);
        be32(body, RESULT, ADDRESS_TYPE);
        be32(body, FLAGS, which);
    });
}

/// Loads something of the packet's connection.
pub(super) fn connection(list: &mut Body<'_>, key: u32) {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    expression(list, "ct", |body| {
        be32(body, KEY, key);
        be32(body, DREG, FIRST);
    });
}

/// Looks the first registers up in a set, or replaces them by what a map has for them.
pub(super) fn lookup(list: &mut Body<'_>, set: SetName, into: Option<u32>) {
    const SET: u16 = 1;
    const SREG: u16 = 2;
    const DREG: u16 = 3;
    expression(list, "lookup", |body| {
        body.attr_str(SET, set.name());
        be32(body, SREG, FIRST);
        if let Some(register) = into {
            be32(body, DREG, register);
        }
    });
}

/// Draws a number below `modulus` at random.
pub(super) fn random(list: &mut Body<'_>, modulus: u32, register: u32) {
    const DREG: u16 = 1;
    const MODULUS: u16 = 2;
    const TYPE: u16 = 3;
    const OFFSET: u16 = 4;
    /// `NFT_NG_RANDOM`.
    const RANDOM: u32 = 1;
    expression(list, "numgen", |body| {
        be32(body, DREG, register);
        be32(body, MODULUS, modulus);
        be32(body, TYPE, RANDOM);
        be32(body, OFFSET, 0);
    });
}

/// Replaces `len` bytes from a register on by a number below `modulus` that follows from them.
pub(super) fn hash(list: &mut Body<'_>, register: u32, len: u32, modulus: u32, seed: u32) {
    const SREG: u16 = 1;
    const DREG: u16 = 2;
    const LEN: u16 = 3;
    const MODULUS: u16 = 4;
    const SEED: u16 = 5;
    const OFFSET: u16 = 6;
    const TYPE: u16 = 7;
    /// `NFT_HASH_JENKINS`.
    const JENKINS: u32 = 0;
    expression(list, "hash", |body| {
        be32(body, SREG, register);
        be32(body, DREG, register);
        be32(body, LEN, len);
        be32(body, MODULUS, modulus);
        be32(body, SEED, seed);
        be32(body, OFFSET, 0);
        be32(body, TYPE, JENKINS);
    });
}

/// `NFTA_REJECT_TYPE`.
const REJECT_TYPE: u16 = 1;

/// Tells the sender that nobody listens on that port, by ICMP of its family.
pub(super) fn reject(list: &mut Body<'_>, family: Family) {
    const CODE: u16 = 2;
    /// `NFT_REJECT_ICMP_UNREACH`.
    const UNREACHABLE: u32 = 0;
    // `ICMP_PORT_UNREACH`, `ICMPV6_PORT_UNREACH`.
    let port: u8 = match family {
        Family::V4 => 3,
        Family::V6 => 4,
    };
    expression(list, "reject", |body| {
        be32(body, REJECT_TYPE, UNREACHABLE);
        body.attr(CODE, &[port]);
    });
}

/// Tells the sender the same of a connection over TCP, by that.
pub(super) fn reset(list: &mut Body<'_>) {
    /// `NFT_REJECT_TCP_RST`.
    const RESET: u32 = 1;
    expression(list, "reject", |body| be32(body, REJECT_TYPE, RESET));
}

/// Gives a verdict.
pub(super) fn immediate(list: &mut Body<'_>, code: i32, chain: Option<&str>) {
    const DREG: u16 = 1;
    const DATA: u16 = 2;
    expression(list, "immediate", |body| {
        be32(body, DREG, VERDICT);
        verdict(body, DATA, code, chain);
    });
}

/// Loads bytes that the rule knows.
pub(super) fn constant(list: &mut Body<'_>, bytes: &[u8]) {
    const DREG: u16 = 1;
    const DATA: u16 = 2;
    expression(list, "immediate", |body| {
        be32(body, DREG, FIRST);
        value(body, DATA, bytes);
    });
}

/// Translates to the address that a map left in the first registers, and the port behind it.
pub(super) fn nat(list: &mut Body<'_>, kind: u32, family: Family, with_port: bool) {
    const TYPE: u16 = 1;
    const FAMILY: u16 = 2;
    const ADDR_MIN: u16 = 3;
    const ADDR_MAX: u16 = 4;
    const PROTO_MIN: u16 = 5;
    const PROTO_MAX: u16 = 6;
    let address = match family {
        Family::V4 => DataType::Ipv4Addr,
        Family::V6 => DataType::Ipv6Addr,
    };
    expression(list, "nat", |body| {
        be32(body, TYPE, kind);
        be32(body, FAMILY, u32::from(nfproto(family)));
        be32(body, ADDR_MIN, FIRST);
        be32(body, ADDR_MAX, FIRST);
        if with_port {
            let port = FIRST + width(address) as u32 / 4;
            be32(body, PROTO_MIN, port);
            be32(body, PROTO_MAX, port);
        }
    });
}
