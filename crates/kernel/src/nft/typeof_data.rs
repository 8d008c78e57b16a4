//! How `nft` is told the types of a map of slots.
//!
//! A number that was drawn has a type of no name, so the types of such a map are given by examples
//! (`typeof` in nftables' language), kept in the set's user data (`set_make_key` of nftables'
//! `src/netlink.c`). The kernel does not look at it; without it, what `nft` lists could not be fed
//! to it again.

use vw_firewall::{DataType, ServiceSet};

/// `NFTNL_UDATA_SET_*` of libnftnl.
const KEY_BYTE_ORDER: u8 = 0;
const DATA_BYTE_ORDER: u8 = 1;
const KEY_TYPEOF: u8 = 3;
const DATA_TYPEOF: u8 = 4;
/// `NFTNL_UDATA_SET_TYPEOF_*`.
const EXPRESSION: u8 = 0;
const DATA: u8 = 1;

/// `enum expr_types` of nftables.
const PAYLOAD: u32 = 7;
const META: u32 = 9;
const CONCAT: u32 = 13;
const NUMGEN: u32 = 23;

/// `enum proto_desc_id` with the field of that header, of nftables.
const IPV4_DESTINATION: (u32, u32) = (12, 12);
const IPV6_DESTINATION: (u32, u32) = (13, 9);
const TRANSPORT_DESTINATION: (u32, u32) = (11, 2);
const TCP_DESTINATION: (u32, u32) = (8, 2);

/// `NFT_META_L4PROTO`; `NFT_NG_RANDOM`.
const L4PROTO: u32 = 16;
const RANDOM: u32 = 1;

/// `BYTEORDER_INVALID`, of what has several fields, and `BYTEORDER_BIG_ENDIAN`.
const MIXED: u32 = 0;
const BIG_ENDIAN: u32 = 2;

/// The user data of a map of slots.
pub(super) fn typeof_data(set: ServiceSet) -> Vec<u8> {
    let data_order = match set.value() {
        [_] => BIG_ENDIAN,
        _ => MIXED,
    };
    [
        number(KEY_BYTE_ORDER, MIXED),
        number(DATA_BYTE_ORDER, data_order),
        entry(KEY_TYPEOF, &several(set.key(), TRANSPORT_DESTINATION)),
        // Beside `th dport` in the key, `nft` takes the same in the value for a contradiction.
        entry(DATA_TYPEOF, &several(set.value(), TCP_DESTINATION)),
    ]
    .concat()
}

/// One entry: type, length, value.
fn entry(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, value.len() as u8], value].concat()
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    entry(kind, &value.to_ne_bytes())
}

fn expression(kind: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    [number(EXPRESSION, kind), entry(DATA, &parts.concat())].concat()
}

fn several(types: &[DataType], port: (u32, u32)) -> Vec<u8> {
    if let [one] = types {
        return example(*one, port);
    }
    let parts: Vec<_> = (0..)
        .zip(types)
        .map(|(at, ty)| entry(at, &example(*ty, port)))
        .collect();
    expression(CONCAT, &parts)
}

fn example(ty: DataType, port: (u32, u32)) -> Vec<u8> {
    let payload = |(header, field)| expression(PAYLOAD, &[number(0, header), number(1, field)]);
    match ty {
        DataType::Ipv4Addr => payload(IPV4_DESTINATION),
        DataType::Ipv6Addr => payload(IPV6_DESTINATION),
        DataType::InetService => payload(port),
        DataType::InetProto => expression(META, &[number(0, L4PROTO)]),
        // A draw below two, with nothing added.
        _ => expression(NUMGEN, &[number(0, RANDOM), number(1, 2), number(2, 0)]),
    }
}
