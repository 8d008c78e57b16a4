//! Values as nf_tables has them: numbers big-endian in attributes, data in registers' layout.

use super::abi::{data, expr, set, verdict};
use crate::netlink::{Attrs, Body};
use std::net::{Ipv4Addr, Ipv6Addr};
use vw_firewall::{Chain, DataType, Datum};
use vw_model::{Family, Protocol};

/// `IFNAMSIZ`.
const IFNAME: usize = 16;

/// Appends a number as attributes of nf_tables have it.
pub(super) fn be32(body: &mut Body<'_>, kind: u16, value: u32) {
    body.attr(kind, &value.to_be_bytes());
}

/// The number in such an attribute; 0 when it is too short.
pub(super) fn get_be32(value: &[u8]) -> u32 {
    let value = value.first_chunk().copied();
    u32::from_be_bytes(value.unwrap_or_default())
}

/// The text of an attribute, up to its zero; empty when it is not UTF-8.
pub(super) fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0);
    let value = &value[..end.unwrap_or(value.len())];
    std::str::from_utf8(value).unwrap_or_default()
}

/// The value of the first attribute of that type.
pub(super) fn find(mut attrs: Attrs<'_>, kind: u16) -> Option<&[u8]> {
    attrs
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// Appends an expression to a list of them.
pub(super) fn expression(list: &mut Body<'_>, name: &str, content: impl FnOnce(&mut Body<'_>)) {
    list.nest(super::abi::LIST_ELEM, |one| {
        one.attr_str(expr::NAME, name);
        one.nest(expr::DATA, content);
    });
}

/// Appends `NFTA_DATA_VALUE` within `kind`.
pub(super) fn value(body: &mut Body<'_>, kind: u16, bytes: &[u8]) {
    body.nest(kind, |body| body.attr(data::VALUE, bytes));
}

/// Appends `NFTA_DATA_VERDICT` within `kind`.
pub(super) fn verdict(body: &mut Body<'_>, kind: u16, code: i32, chain: Option<&str>) {
    body.nest(kind, |body| {
        body.nest(data::VERDICT, |body| {
            be32(body, data::CODE, code.cast_unsigned());
            if let Some(chain) = chain {
                body.attr_str(data::CHAIN, chain);
            }
        });
    });
}

/// How many bytes a field takes in a key or value: whole registers of four.
pub(super) const fn width(ty: DataType) -> usize {
    match ty {
        DataType::IfName | DataType::Ipv6Addr => 16,
        DataType::NfProto
        | DataType::Ipv4Addr
        | DataType::InetProto
        | DataType::InetService
        | DataType::Slot
        | DataType::Verdict => 4,
    }
}

/// How many bytes fields take together: a lone one has its own length, several are padded to
/// registers.
pub(super) fn length(types: &[DataType]) -> usize {
    match types {
        [DataType::InetProto | DataType::NfProto] => 1,
        [DataType::InetService] => 2,
        types => types.iter().map(|ty| width(*ty)).sum(),
    }
}

/// The number by which `nft` knows the types of a set (`enum datatypes`, six bits each).
pub(super) fn type_id(types: &[DataType]) -> u32 {
    types.iter().fold(0, |id, ty| {
        let number = match ty {
            DataType::NfProto => 2,
            DataType::Slot => 4,
            DataType::Ipv4Addr => 7,
            DataType::Ipv6Addr => 8,
            DataType::InetProto => 12,
            DataType::InetService => 13,
            DataType::IfName => 41,
            DataType::Verdict => return set::DATA_VERDICT,
        };
        id << 6 | number
    })
}

/// The bytes of a field, padded to whole registers; none for a verdict.
fn field(out: &mut Vec<u8>, datum: &Datum) {
    let start = out.len();
    match datum {
        Datum::Interface(name) => out.extend_from_slice(name.as_str().as_bytes()),
        Datum::Family(family) => out.push(nfproto(*family)),
        Datum::V4(addr) => out.extend_from_slice(&addr.octets()),
        Datum::V6(addr) => out.extend_from_slice(&addr.octets()),
        Datum::Protocol(protocol) => out.push(protocol.number()),
        Datum::Port(port) => out.extend_from_slice(&port.to_be_bytes()),
        // As `numgen` and `hash` leave it in a register.
        Datum::Slot(number) => out.extend_from_slice(&number.to_ne_bytes()),
        Datum::Jump(_) => return,
    }
    out.resize(start + width(datum.data_type()), 0);
}

/// The bytes of a key or value.
pub(super) fn fields(data: &[Datum]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() * IFNAME);
    data.iter().for_each(|datum| field(&mut out, datum));
    if let [lone] = data {
        out.truncate(length(&[lone.data_type()]));
    }
    out
}

/// Reads fields of the given types back; `None` when one is not of the kind that we make.
pub(super) fn parse_fields(types: &[DataType], mut bytes: &[u8]) -> Option<Vec<Datum>> {
    let mut data = Vec::with_capacity(types.len());
    for ty in types {
        let (bytes_of, rest) = bytes.split_at_checked(width(*ty)).or_else(|| {
            // A key of one short field is not padded in dumps.
            (types.len() == 1).then_some((bytes, &[][..]))
        })?;
        data.push(parse_field(*ty, bytes_of)?);
        bytes = rest;
    }
    Some(data)
}

fn parse_field(ty: DataType, bytes: &[u8]) -> Option<Datum> {
    Some(match ty {
        DataType::IfName => Datum::Interface(text(bytes).parse().ok()?),
        DataType::NfProto => Datum::Family(match *bytes.first()? {
            super::abi::IPV4 => Family::V4,
            super::abi::IPV6 => Family::V6,
            _ => return None,
        }),
        DataType::Ipv4Addr => Datum::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        DataType::Ipv6Addr => Datum::V6(Ipv6Addr::from(*bytes.first_chunk::<16>()?)),
        DataType::InetProto => {
            let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
            let number = *bytes.first()?;
            let protocol = all.into_iter().find(|known| known.number() == number);
            Datum::Protocol(protocol?)
        }
        DataType::InetService => Datum::Port(u16::from_be_bytes(*bytes.first_chunk()?)),
        DataType::Slot => Datum::Slot(u32::from_ne_bytes(*bytes.first_chunk()?)),
        DataType::Verdict => return None,
    })
}

/// Reads `NFTA_DATA_*` of the given types back.
pub(super) fn parse_data(types: &[DataType], attrs: Attrs<'_>) -> Option<Vec<Datum>> {
    if let [DataType::Verdict] = types {
        let verdict = Attrs::of(find(attrs, data::VERDICT)?);
        let code = get_be32(find(verdict, data::CODE)?).cast_signed();
        let chain = Chain::from_name(text(find(verdict, data::CHAIN)?))?;
        return (code == verdict::JUMP).then(|| vec![Datum::Jump(chain)]);
    }
    parse_fields(types, find(attrs, data::VALUE)?)
}

/// `NFPROTO_*` of a family.
pub(super) const fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => super::abi::IPV4,
        Family::V6 => super::abi::IPV6,
    }
}
