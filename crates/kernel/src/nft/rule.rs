//! Rules as expressions of the kernel's machine.
//!
//! Fields are loaded side by side into its sixteen 32-bit registers and compared or looked up
//! there; so is what maps give back.

use super::abi::verdict as code;
use super::wire::{be32, expression, nfproto, value, verdict, width};
use crate::netlink::Body;
use std::net::IpAddr;
use vw_firewall::spec::{Field, Match, Rule, Statement};
use vw_firewall::{DataType, SetName};
use vw_model::{Family, IpNet, Protocol};

/// `NFT_REG_VERDICT` and `NFT_REG32_00`.
const VERDICT: u32 = 0;
const FIRST: u32 = 8;

/// `NFT_META_*`.
const MARK: u32 = 3;
const IIF: u32 = 4;
const IIFNAME: u32 = 6;
const OIFNAME: u32 = 7;
const NFPROTO: u32 = 15;
const L4PROTO: u32 = 16;

/// `NFT_CT_*`, and the bits asked for: `NF_CT_STATE_BIT` of established and related,
/// `IPS_DST_NAT`.
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const ESTABLISHED_RELATED: u32 = 1 << 1 | 1 << 2;
const DST_NAT: u32 = 1 << 5;

/// `NFT_PAYLOAD_*_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

/// `LOOPBACK_IFINDEX`.
const LOOPBACK: u32 = 1;
/// `RTN_LOCAL`, `RTN_BROADCAST`.
const RTN_LOCAL: u32 = 2;
const RTN_BROADCAST: u32 = 3;

/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
const EQ: u32 = 0;
const NEQ: u32 = 1;

/// Appends the expressions of a rule to their list.
pub(super) fn expressions(list: &mut Body<'_>, rule: &Rule) {
    for matched in &rule.when {
        encode_match(list, matched);
    }
    encode_statement(list, &rule.then);
}

fn encode_match(list: &mut Body<'_>, matched: &Match) {
    match matched {
        Match::Loopback => {
            meta(list, IIF, FIRST);
            compare(list, EQ, &LOOPBACK.to_ne_bytes());
        }
        Match::NoIif => {
            meta(list, IIF, FIRST);
            compare(list, EQ, &[0; 4]);
        }
        Match::Family(family) => is_family(list, *family),
        Match::Source(net) => within(list, *net, Side::Source),
        Match::Destination(net) => within(list, *net, Side::Destination),
        Match::NotFromLocal => address_type(list, Side::Source, NEQ, RTN_LOCAL),
        Match::ToLocal => address_type(list, Side::Destination, EQ, RTN_LOCAL),
        Match::ToBroadcast => address_type(list, Side::Destination, EQ, RTN_BROADCAST),
        Match::Icmp(Family::V4) => is_protocol(list, 1),
        Match::Icmp(Family::V6) => is_protocol(list, 58),
        Match::Sport(protocol, port) => has_port(list, *protocol, Side::Source, *port),
        Match::Dport(protocol, port) => has_port(list, *protocol, Side::Destination, *port),
        Match::Established => any_bit(list, CT_STATE, ESTABLISHED_RELATED),
        Match::Translated => any_bit(list, CT_STATUS, DST_NAT),
        Match::OifPrefix(prefix) => {
            meta(list, OIFNAME, FIRST);
            compare(list, EQ, prefix.as_bytes());
        }
        Match::In(fields, set) => {
            load(list, fields);
            lookup(list, *set, None);
        }
    }
}

fn encode_statement(list: &mut Body<'_>, statement: &Statement) {
    match statement {
        Statement::Accept => immediate(list, code::ACCEPT, None),
        Statement::Drop => immediate(list, code::DROP, None),
        Statement::Return => immediate(list, code::RETURN, None),
        Statement::Jump(chain) => immediate(list, code::JUMP, Some(chain)),
        Statement::Goto(chain) => immediate(list, code::GOTO, Some(chain)),
        Statement::Verdict(fields, set) => {
            load(list, fields);
            lookup(list, *set, Some(VERDICT));
        }
        Statement::Dnat(family, fields, set) => {
            load(list, fields);
            lookup(list, *set, Some(FIRST));
            let (destination, with_port) = (1, true);
            nat(list, destination, *family, with_port);
        }
        Statement::Snat(family, fields, set) => {
            load(list, fields);
            lookup(list, *set, Some(FIRST));
            let (source, with_port) = (0, false);
            nat(list, source, *family, with_port);
        }
        Statement::Masquerade => expression(list, "masq", |_| {}),
        Statement::Mark(bits) => mark(list, *bits),
        Statement::SetSport(protocol, port) => set_port(list, *protocol, Side::Source, *port),
        Statement::SetDport(protocol, port) => {
            set_port(list, *protocol, Side::Destination, *port);
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

impl Side {
    /// Where the address stands in the IP header.
    const fn address(self, family: Family) -> u32 {
        match (family, self) {
            (Family::V4, Self::Source) => 12,
            (Family::V4, Self::Destination) => 16,
            (Family::V6, Self::Source) => 8,
            (Family::V6, Self::Destination) => 24,
        }
    }

    /// Where the port stands in the headers of TCP, UDP and SCTP alike.
    const fn port(self) -> u32 {
        match self {
            Self::Source => 0,
            Self::Destination => 2,
        }
    }
}

fn meta(list: &mut Body<'_>, key: u32, register: u32) {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    expression(list, "meta", |body| {
        be32(body, KEY, key);
        be32(body, DREG, register);
    });
}

fn compare(list: &mut Body<'_>, operation: u32, bytes: &[u8]) {
    const SREG: u16 = 1;
    const OP: u16 = 2;
    const DATA: u16 = 3;
    expression(list, "cmp", |body| {
        be32(body, SREG, FIRST);
        be32(body, OP, operation);
        value(body, DATA, bytes);
    });
}

fn payload(list: &mut Body<'_>, base: u32, offset: u32, len: u32, register: u32) {
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

fn bitwise(list: &mut Body<'_>, mask: &[u8], xor: &[u8]) {
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

fn is_family(list: &mut Body<'_>, family: Family) {
    meta(list, NFPROTO, FIRST);
    compare(list, EQ, &[nfproto(family)]);
}

fn is_protocol(list: &mut Body<'_>, number: u8) {
    meta(list, L4PROTO, FIRST);
    compare(list, EQ, &[number]);
}

fn within(list: &mut Body<'_>, net: IpNet, side: Side) {
    let family = Family::of(net.addr());
    let (addr, mask) = match (net.network(), net.netmask()) {
        (IpAddr::V4(addr), IpAddr::V4(mask)) => (addr.octets().to_vec(), mask.octets().to_vec()),
        (IpAddr::V6(addr), IpAddr::V6(mask)) => (addr.octets().to_vec(), mask.octets().to_vec()),
        _ => return,
    };
    is_family(list, family);
    // Whole bytes of a prefix need no mask; `nft` shows this form as a prefix too.
    let (bytes, rest) = (net.prefix_len() / 8, net.prefix_len() % 8);
    let offset = side.address(family);
    if rest == 0 {
        payload(list, NETWORK, offset, u32::from(bytes), FIRST);
        return compare(list, EQ, &addr[..usize::from(bytes)]);
    }
    payload(list, NETWORK, offset, addr.len() as u32, FIRST);
    bitwise(list, &mask, &vec![0; mask.len()]);
    compare(list, EQ, &addr);
}

/// Compares what kind of route (`RTN_*`) leads to an address.
fn address_type(list: &mut Body<'_>, side: Side, operation: u32, route_type: u32) {
    const DREG: u16 = 1;
    const RESULT: u16 = 2;
    const FLAGS: u16 = 3;
    const ADDRESS_TYPE: u32 = 3;
    let which: u32 = match side {
        Side::Source => 1 << 0,
        Side::Destination => 1 << 1,
    };
    expression(list, "fib", |body| {
        be32(body, DREG, FIRST);
        be32(body, RESULT, ADDRESS_TYPE);
        be32(body, FLAGS, which);
    });
    compare(list, operation, &route_type.to_ne_bytes());
}

fn has_port(list: &mut Body<'_>, protocol: Protocol, side: Side, port: u16) {
    is_protocol(list, protocol.number());
    payload(list, TRANSPORT, side.port(), 2, FIRST);
    compare(list, EQ, &port.to_be_bytes());
}

fn any_bit(list: &mut Body<'_>, key: u32, bits: u32) {
    const DREG: u16 = 1;
    const KEY: u16 = 2;
    expression(list, "ct", |body| {
        be32(body, KEY, key);
        be32(body, DREG, FIRST);
    });
    bitwise(list, &bits.to_ne_bytes(), &[0; 4]);
    compare(list, NEQ, &[0; 4]);
}

/// Loads fields side by side.
fn load(list: &mut Body<'_>, fields: &[Field]) {
    for field in fields {
        if let Field::Daddr(family) = field {
            is_family(list, *family);
        }
    }
    let mut register = FIRST;
    for field in fields {
        let ty = match field {
            Field::IifName => {
                meta(list, IIFNAME, register);
                DataType::IfName
            }
            Field::OifName => {
                meta(list, OIFNAME, register);
                DataType::IfName
            }
            Field::NfProto => {
                meta(list, NFPROTO, register);
                DataType::NfProto
            }
            Field::L4Proto => {
                meta(list, L4PROTO, register);
                DataType::InetProto
            }
            Field::Dport => {
                payload(list, TRANSPORT, Side::Destination.port(), 2, register);
                DataType::InetService
            }
            Field::Daddr(family) => {
                let (ty, len) = match family {
                    Family::V4 => (DataType::Ipv4Addr, 4),
                    Family::V6 => (DataType::Ipv6Addr, 16),
                };
                let offset = Side::Destination.address(*family);
                payload(list, NETWORK, offset, len, register);
                ty
            }
        };
        register += width(ty) as u32 / 4;
    }
}

fn lookup(list: &mut Body<'_>, set: SetName, into: Option<u32>) {
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

fn immediate(list: &mut Body<'_>, code: i32, chain: Option<&str>) {
    const DREG: u16 = 1;
    const DATA: u16 = 2;
    expression(list, "immediate", |body| {
        be32(body, DREG, VERDICT);
        verdict(body, DATA, code, chain);
    });
}

/// Translates to the address that a map left in the first registers, and the port behind it.
fn nat(list: &mut Body<'_>, kind: u32, family: Family, with_port: bool) {
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

fn mark(list: &mut Body<'_>, bits: u32) {
    const KEY: u16 = 2;
    const SREG: u16 = 3;
    meta(list, MARK, FIRST);
    bitwise(list, &(!bits).to_ne_bytes(), &bits.to_ne_bytes());
    expression(list, "meta", |body| {
        be32(body, KEY, MARK);
        be32(body, SREG, FIRST);
    });
}

/// Writes a port; the checksum follows where the packet has one yet.
fn set_port(list: &mut Body<'_>, protocol: Protocol, side: Side, port: u16) {
    const IMMEDIATE_DREG: u16 = 1;
    const IMMEDIATE_DATA: u16 = 2;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;
    const SREG: u16 = 5;
    const CSUM_TYPE: u16 = 6;
    const CSUM_OFFSET: u16 = 7;
    // SCTP's checksum covers no pseudo-header and is the kernel's own affair.
    const CSUM_INET: u32 = 1;
    const CSUM_SCTP: u32 = 2;
    let (kind, offset) = match protocol {
        Protocol::Udp => (CSUM_INET, 6),
        Protocol::Tcp => (CSUM_INET, 16),
        Protocol::Sctp => (CSUM_SCTP, 8),
    };
    expression(list, "immediate", |body| {
        be32(body, IMMEDIATE_DREG, FIRST);
        value(body, IMMEDIATE_DATA, &port.to_be_bytes());
    });
    expression(list, "payload", |body| {
        be32(body, SREG, FIRST);
        be32(body, BASE, TRANSPORT);
        be32(body, OFFSET, side.port());
        be32(body, LEN, 2);
        be32(body, CSUM_TYPE, kind);
        be32(body, CSUM_OFFSET, offset);
    });
}
