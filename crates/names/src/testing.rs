//! What the tests of this crate share: messages made and read by another implementation
//! (the `domain` crate), so that ours is not its own judge.

use crate::{
    EndpointNames, Malformed, Query, Rng, SharedZone, Transport, Verdict, View, Zone, answer,
};
use domain::{
    base::{Message, MessageBuilder, Name, RecordData, Rtype, iana::Class, record::Record},
    rdata::AllRecordData,
};
use std::fmt::Write as _;
use vw_model::EndpointId;

/// A query for `name` as a stub resolver sends it.
pub(crate) fn ask(name: &str, qtype: &str) -> Vec<u8> {
    ask_class(name, qtype, Class::IN)
}

pub(crate) fn ask_class(name: &str, qtype: &str, class: Class) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    let name: Name<Vec<u8>> = name.parse().unwrap();
    let qtype: Rtype = qtype.parse().unwrap();
    builder.push((name, qtype, class)).unwrap();
    builder.finish()
}

/// The same with EDNS.
pub(crate) fn ask_edns(name: &str, qtype: &str, size: u16, dnssec_ok: bool) -> Vec<u8> {
    let plain = ask(name, qtype);
    let mut builder = MessageBuilder::new_vec().question();
    *builder.header_mut() = Message::from_octets(plain.as_slice()).unwrap().header();
    let question = Message::from_octets(plain.clone()).unwrap();
    builder.push(question.sole_question().unwrap()).unwrap();
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(size);
            opt.set_dnssec_ok(dnssec_ok);
            Ok(())
        })
        .unwrap();
    builder.finish()
}

/// A message as text: code, flags, then each record on a line, by section.
pub(crate) fn dump(message: &[u8]) -> String {
    let message = Message::from_octets(message).expect("a reply has a header");
    let header = message.header();
    let mut text = format!("{}", message.opt_rcode());
    for (name, set) in [
        (" qr", header.qr()),
        (" aa", header.aa()),
        (" tc", header.tc()),
        (" rd", header.rd()),
        (" ra", header.ra()),
        (" ad", header.ad()),
        (" cd", header.cd()),
    ] {
        text.push_str(if set { name } else { "" });
    }
    text.push('\n');
    for question in message.question() {
        let question = question.expect("the question can be read");
        writeln!(text, "? {} {}", question.qname(), question.qtype()).unwrap();
    }
    let (_, answer, authority, additional) = message.sections().expect("the sections can be read");
    for (mark, section) in [("=", answer), ("#", authority), ("+", additional)] {
        for record in section {
            let record = record.expect("the record can be read");
            if record.rtype() == Rtype::OPT {
                continue;
            }
            let record: Record<_, AllRecordData<_, _>> = record
                .into_record()
                .expect("the data can be read")
                .expect("it is of a known type");
            let (owner, ttl, data) = (record.owner(), record.ttl().as_secs(), record.data());
            writeln!(text, "{mark} {owner} {ttl} {} {data}", data.rtype()).unwrap();
        }
    }
    if let Some(opt) = message.opt() {
        let dnssec = if opt.dnssec_ok() { " do" } else { "" };
        writeln!(text, "+ OPT {}{dnssec}", opt.udp_payload_size()).unwrap();
    }
    text
}

/// What becomes of a message, as text.
pub(crate) fn respond(view: &View, message: &[u8], transport: Transport) -> String {
    respond_by(view, message, transport, &mut Rng::new(7))
}

/// The same, in an order drawn from `rng`.
pub(crate) fn respond_by(
    view: &View,
    message: &[u8],
    transport: Transport,
    rng: &mut Rng,
) -> String {
    let mut out = Vec::new();
    match Query::parse(message) {
        Ok(query) => match answer(view, &query, transport, rng, &mut out) {
            Verdict::Reply => dump(&out),
            Verdict::Forward => "forward\n".to_owned(),
        },
        Err(malformed) => match Malformed::reply(malformed, &mut out) {
            true => dump(&out),
            false => "drop\n".to_owned(),
        },
    }
}

/// An endpoint by number, with its names and addresses.
pub(crate) fn endpoint(
    number: u8,
    name: &str,
    aliases: &[&str],
    addresses: &[&str],
) -> EndpointNames {
    EndpointNames {
        endpoint: EndpointId::from_bytes([number; 32]),
        name: name.to_owned(),
        aliases: aliases.iter().map(|&alias| alias.to_owned()).collect(),
        short_id: EndpointId::from_bytes([number; 32]).short(),
        addresses: addresses.iter().map(|addr| addr.parse().unwrap()).collect(),
        ports: vec!["80/tcp".parse().unwrap(), "53/udp".parse().unwrap()],
        weight: 0,
    }
}

/// A network `mynet` of 172.18.0.0/16 and fd00:18::/64 with these endpoints.
pub(crate) fn zone(endpoints: &[EndpointNames]) -> SharedZone {
    let owned = ["172.18.0.0/16", "fd00:18::/64"].map(|subnet| subnet.parse().unwrap());
    let empty = Zone::new("mynet", owned);
    SharedZone::new(endpoints.iter().fold(empty, |zone, names| zone.with(names)))
}
