//! Rules as expressions of the kernel's machine.
//!
//! Fields are loaded side by side into its sixteen 32-bit registers and compared or looked up
//! there; so is what maps give back.

use super::abi::verdict as code;
use super::expr::{
    CSUM_INET, CSUM_SCTP, CT_STATE, CT_STATUS, Checksum, DADDR, DNAT, EQ, FIRST, NEQ, NETWORK,
    SADDR, SNAT, TRANSPORT, VERDICT, bitwise, compare, connection, constant, immediate, key,
    lookup, meta, nat, payload, route_type, set_mark, write,
};
use super::expr::{hash, random, reject, reset};
use super::wire::{expression, nfproto, width};
use crate::netlink::Body;
use std::net::{IpAddr, Ipv6Addr};
use vw_firewall::DataType;
use vw_firewall::foreign::TableFamily;
use vw_firewall::spec::{Field, Match, Rule, Statement};
use vw_model::{Family, IpNet, Protocol};

/// `IPPROTO_ICMP`, `IPPROTO_ICMPV6`.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// `IPPROTO_TCP`; where its flags stand, and which of them begin and end a connection (RFC 9293).
const TCP: u8 = 6;
const TCP_FLAGS: u32 = 13;
const FIN_SYN_RST: u8 = 0b111;
const SYN: u8 = 0b10;

/// A bridge's kind of link (`br_link_ops`), in `IFNAMSIZ` octets.
const BRIDGE: [u8; 16] = *b"bridge\0\0\0\0\0\0\0\0\0\0";
/// `LOOPBACK_IFINDEX`.
const LOOPBACK: u32 = 1;
/// `RTN_LOCAL`, `RTN_BROADCAST`.
const RTN_LOCAL: u32 = 2;
const RTN_BROADCAST: u32 = 3;

/// `NF_CT_STATE_BIT` of established and related; `NF_CT_STATE_INVALID_BIT`; `IPS_DST_NAT`.
const ESTABLISHED_RELATED: u32 = 1 << 1 | 1 << 2;
const INVALID: u32 = 1;
const DST_NAT: u32 = 1 << 5;

/// Appends the expressions of a rule to their list, in a table of that family.
pub(super) fn expressions(list: &mut Body<'_>, family: TableFamily, rule: &Rule) {
    let mut known = Known {
        family: match family {
            TableFamily::Ip => Some(Family::V4),
            TableFamily::Ip6 => Some(Family::V6),
            TableFamily::Inet => None,
        },
    };
    for matched in &rule.when {
        encode_match(list, &mut known, matched);
    }
    encode_statement(list, &mut known, &rule.then);
}

/// What a rule has asked so far, or its table: it is not asked twice, as every expression takes its
/// time of each packet.
struct Known {
    family: Option<Family>,
}

fn encode_match(list: &mut Body<'_>, known: &mut Known, matched: &Match) {
    match matched {
        Match::Loopback => {
            meta(list, key::IIF, FIRST);
            compare(list, EQ, &LOOPBACK.to_ne_bytes());
        }
        Match::NoIif => {
            meta(list, key::IIF, FIRST);
            compare(list, EQ, &[0; 4]);
        }
        Match::Bridged => {
            meta(list, key::IIFKIND, FIRST);
            compare(list, EQ, &BRIDGE);
        }
        Match::Family(family) => is_family(list, known, *family),
        Match::Source(net) => within(list, known, *net, Side::Source),
        Match::Destination(net) => within(list, known, *net, Side::Destination),
        Match::NotFromLocal => address_type(list, SADDR, NEQ, RTN_LOCAL),
        Match::ToLocal => address_type(list, DADDR, EQ, RTN_LOCAL),
        Match::ToBroadcast => address_type(list, DADDR, EQ, RTN_BROADCAST),
        Match::Icmp(Family::V4) => is_protocol(list, ICMP),
        Match::Icmp(Family::V6) => is_protocol(list, ICMPV6),
        Match::Transport(protocol) => is_protocol(list, protocol.number()),
        Match::Midstream => has_none(list, FIN_SYN_RST),
        Match::Begun => has_none(list, SYN),
        Match::Sport(protocol, port) => has_port(list, *protocol, Side::Source, *port),
        Match::Dport(protocol, port) => has_port(list, *protocol, Side::Destination, *port),
        Match::Established => any_bit(list, CT_STATE, ESTABLISHED_RELATED),
        Match::Invalid => any_bit(list, CT_STATE, INVALID),
        Match::Translated => any_bit(list, CT_STATUS, DST_NAT),
        Match::OifPrefix(prefix) => {
            meta(list, key::OIFNAME, FIRST);
            compare(list, EQ, prefix.as_bytes());
        }
        Match::In(fields, set) => {
            load(list, known, fields);
            lookup(list, *set, None);
        }
    }
}

/// It is TCP with none of these flags.
fn has_none(list: &mut Body<'_>, flags: u8) {
    is_protocol(list, TCP);
    payload(list, TRANSPORT, TCP_FLAGS, 1, FIRST);
    bitwise(list, &[flags], &[0]);
    compare(list, EQ, &[0]);
}

fn encode_statement(list: &mut Body<'_>, known: &mut Known, statement: &Statement) {
    match statement {
        Statement::Accept => immediate(list, code::ACCEPT, None),
        Statement::AcceptUntracked => {
            expression(list, "notrack", |_| {});
            immediate(list, code::ACCEPT, None);
        }
        Statement::Drop => immediate(list, code::DROP, None),
        Statement::Reject(family) => reject(list, *family),
        Statement::Reset => reset(list),
        Statement::Return => immediate(list, code::RETURN, None),
        Statement::Jump(chain) => immediate(list, code::JUMP, Some(chain)),
        Statement::Goto(chain) => immediate(list, code::GOTO, Some(chain)),
        Statement::Verdict(fields, set) => {
            load(list, known, fields);
            lookup(list, *set, Some(VERDICT));
        }
        Statement::Dnat(family, fields, set) => {
            load(list, known, fields);
            lookup(list, *set, Some(FIRST));
            let with_port = set.value().contains(&DataType::InetService);
            nat(list, DNAT, *family, with_port);
        }
        Statement::Snat(family, fields, set) => {
            load(list, known, fields);
            lookup(list, *set, Some(FIRST));
            let with_port = false;
            nat(list, SNAT, *family, with_port);
        }
        Statement::SnatTo6(addr) => {
            constant(list, &addr.octets());
            nat(list, SNAT, Family::V6, false);
        }
        Statement::Masquerade => expression(list, "masq", |_| {}),
        Statement::Mark(bits) => mark(list, *bits),
        Statement::SetSport(protocol, port) => set_port(list, *protocol, Side::Source, *port),
        Statement::SetDport(protocol, port) => {
            set_port(list, *protocol, Side::Destination, *port);
        }
        Statement::SetSource6(addr) => set_address(list, Side::Source, *addr),
        Statement::SetDestination6(addr) => set_address(list, Side::Destination, *addr),
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

fn is_family(list: &mut Body<'_>, known: &mut Known, family: Family) {
    if known.family.replace(family) == Some(family) {
        return;
    }
    meta(list, key::NFPROTO, FIRST);
    compare(list, EQ, &[nfproto(family)]);
}

fn is_protocol(list: &mut Body<'_>, number: u8) {
    meta(list, key::L4PROTO, FIRST);
    compare(list, EQ, &[number]);
}

fn within(list: &mut Body<'_>, known: &mut Known, net: IpNet, side: Side) {
    let family = Family::of(net.addr());
    let (addr, mask) = match (net.network(), net.netmask()) {
        (IpAddr::V4(addr), IpAddr::V4(mask)) => (addr.octets().to_vec(), mask.octets().to_vec()),
        (IpAddr::V6(addr), IpAddr::V6(mask)) => (addr.octets().to_vec(), mask.octets().to_vec()),
        _ => return,
    };
    is_family(list, known, family);
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

fn has_port(list: &mut Body<'_>, protocol: Protocol, side: Side, port: u16) {
    is_protocol(list, protocol.number());
    payload(list, TRANSPORT, side.port(), 2, FIRST);
    compare(list, EQ, &port.to_be_bytes());
}

/// Loads fields side by side.
fn load(list: &mut Body<'_>, known: &mut Known, fields: &[Field]) {
    let family = fields.iter().find_map(|field| match field {
        Field::Saddr(family) | Field::Daddr(family) | Field::SourceHash { family, .. } => {
            Some(*family)
        }
        _ => None,
    });
    if let Some(family) = family {
        is_family(list, known, family);
    }
    let mut register = FIRST;
    for field in fields {
        let ty = match field {
            Field::IifName => {
                meta(list, key::IIFNAME, register);
                DataType::IfName
            }
            Field::OifName => {
                meta(list, key::OIFNAME, register);
                DataType::IfName
            }
            Field::NfProto => {
                meta(list, key::NFPROTO, register);
                DataType::NfProto
            }
            Field::L4Proto => {
                meta(list, key::L4PROTO, register);
                DataType::InetProto
            }
            Field::Dport => {
                payload(list, TRANSPORT, Side::Destination.port(), 2, register);
                DataType::InetService
            }
            Field::Saddr(family) => address(list, Side::Source, *family, register),
            Field::Daddr(family) => address(list, Side::Destination, *family, register),
            Field::Random(modulus) => {
                random(list, *modulus, register);
                DataType::Slot
            }
            Field::SourceHash {
                family,
                modulus,
                seed,
            } => {
                let ty = address(list, Side::Source, *family, register);
                hash(list, register, width(ty) as u32, *modulus, *seed);
                DataType::Slot
            }
        };
        register += width(ty) as u32 / 4;
    }
}

/// Loads an address.
fn address(list: &mut Body<'_>, side: Side, family: Family, register: u32) -> DataType {
    let (ty, len) = match family {
        Family::V4 => (DataType::Ipv4Addr, 4),
        Family::V6 => (DataType::Ipv6Addr, 16),
    };
    payload(list, NETWORK, side.address(family), len, register);
    ty
}

/// Compares the kind of route that leads to an address.
fn address_type(list: &mut Body<'_>, which: u32, operation: u32, kind: u32) {
    route_type(list, which);
    compare(list, operation, &kind.to_ne_bytes());
}

fn any_bit(list: &mut Body<'_>, key: u32, bits: u32) {
    connection(list, key);
    bitwise(list, &bits.to_ne_bytes(), &[0; 4]);
    compare(list, NEQ, &[0; 4]);
}

fn mark(list: &mut Body<'_>, bits: u32) {
    meta(list, key::MARK, FIRST);
    bitwise(list, &(!bits).to_ne_bytes(), &bits.to_ne_bytes());
    set_mark(list);
}

fn set_port(list: &mut Body<'_>, protocol: Protocol, side: Side, port: u16) {
    let checksum = match protocol {
        Protocol::Udp => Checksum::At(CSUM_INET, 6),
        Protocol::Tcp => Checksum::At(CSUM_INET, 16),
        Protocol::Sctp => Checksum::At(CSUM_SCTP, 8),
    };
    constant(list, &port.to_be_bytes());
    write(list, (TRANSPORT, side.port(), 2), checksum);
}

fn set_address(list: &mut Body<'_>, side: Side, addr: Ipv6Addr) {
    constant(list, &addr.octets());
    let place = (NETWORK, side.address(Family::V6), 16);
    write(list, place, Checksum::OfTransport);
}
