//! Query to answer.
//!
//! Owns which questions are answered here, with what, and which are passed on. It must not
//! do I/O or wait; it allocates nothing but what the reply's buffer grows.
//!
//! - A name that anybody here has is answered here for every type: no question about it
//!   leaves the host, and a type that it lacks gets an empty NOERROR.
//! - Everything else is passed on to the view's upstreams; without any it fails (SERVFAIL),
//!   as Docker's server does on internal networks.
//! - Reverse names: an address held here gives `name.network`; one that nobody holds, in a
//!   subnet that is ours alone, does not exist (RFC 6303's reasoning: no one else can know,
//!   and asking would tell the world about us). Others are passed on, also private ones:
//!   the site's own server may know them.
//! - Services: `_PORT._PROTO.NAME`, where PORT is a number or a registered name, exist for
//!   the exposed ports of whoever has NAME.

use crate::{
    Query, Rcode, Rng, Transport, View,
    special::{Service, reverse},
    wire::{CLASS_IN, Reply, rtype},
    zone::Host,
};
use std::sync::Arc;
use vw_model::PortKey;

/// How long a client may keep our answers, in seconds.
///
/// Docker says 600, which is why the world is told to put `resolver 127.0.0.11 valid=…`
/// into nginx: who keeps an answer keeps the address of a container that was replaced. We
/// say what Kubernetes' name server does: asking again costs microseconds.
pub const TTL: u32 = 5;

/// What becomes of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The reply has been written.
    Reply,
    /// It is for the view's upstreams, of which there is at least one.
    Forward,
}

/// Answers `query` as the sandbox of `view` sees the world; the reply goes into `out`.
///
/// `out`'s content is lost in either case. Several addresses come in an order drawn from
/// `rng`.
pub fn answer(
    view: &View,
    query: &Query<'_>,
    transport: Transport,
    rng: &mut Rng,
    out: &mut Vec<u8>,
) -> Verdict {
    let mut reply = Reply::new(query, transport, out);
    if query.edns().is_some_and(|edns| edns.version != 0) {
        reply.finish(Rcode::BadVers);
        return Verdict::Reply;
    }
    // Other classes ask about the server itself (`version.bind`), not about hosts.
    if query.qclass() != CLASS_IN || rtype::META.contains(&query.qtype()) {
        reply.finish(Rcode::Refused);
        return Verdict::Reply;
    }
    let local = by_name(view, query, &mut reply, rng)
        .or_else(|| by_address(view, query, &mut reply))
        .or_else(|| by_service(view, query, &mut reply, rng));
    match local {
        Some(rcode) => reply.finish(rcode),
        None if holds_back(view, query) => reply.finish(Rcode::NoError),
        None if view.upstreams().is_empty() => reply.finish(Rcode::ServFail),
        None => return Verdict::Forward,
    }
    Verdict::Reply
}

/// Writes a reply that says nothing but `rcode`.
pub fn refuse(query: &Query<'_>, transport: Transport, rcode: Rcode, out: &mut Vec<u8>) {
    Reply::new(query, transport, out).finish(rcode);
}

/// Docker's rule for `ndots` above 0; see [`crate::Policy::hold_single_labels`].
fn holds_back(view: &View, query: &Query<'_>) -> bool {
    view.holds_single_labels()
        && [rtype::A, rtype::AAAA].contains(&query.qtype())
        && crate::name::labels(query.name()).nth(1).is_none()
}

fn wants(query: &Query<'_>, rtype: u16) -> bool {
    query.qtype() == rtype || query.qtype() == rtype::ANY
}

/// The first zone that has addresses for the name gives them all.
fn by_name(
    view: &View,
    query: &Query<'_>,
    reply: &mut Reply<'_, '_>,
    rng: &mut Rng,
) -> Option<Rcode> {
    let known = view.find(query.name(), |hosts| {
        let mut found = false;
        if wants(query, rtype::A) {
            let addresses = hosts.iter().flat_map(|host| &host.v4);
            found |= reply.addresses(rtype::A, TTL, addresses.map(|a| a.octets()), rng);
        }
        if wants(query, rtype::AAAA) {
            let addresses = hosts.iter().flat_map(|host| &host.v6);
            found |= reply.addresses(rtype::AAAA, TTL, addresses.map(|a| a.octets()), rng);
        }
        found
    });
    known.then_some(Rcode::NoError)
}

fn by_address(view: &View, query: &Query<'_>, reply: &mut Reply<'_, '_>) -> Option<Rcode> {
    let addr = reverse(query.name())?;
    let mut owned = false;
    for zone in view.zones() {
        let zone = zone.load();
        owned |= zone.owns(addr);
        let Some(host) = zone.by_address(addr) else {
            continue;
        };
        if wants(query, rtype::PTR)
            && let Some(name) = &host.canonical
        {
            reply.answer(rtype::PTR, TTL, name.as_wire());
        }
        return Some(Rcode::NoError);
    }
    owned.then_some(Rcode::NxDomain)
}

fn by_service(
    view: &View,
    query: &Query<'_>,
    reply: &mut Reply<'_, '_>,
    rng: &mut Rng,
) -> Option<Rcode> {
    let service = Service::parse(query.name())?;
    let mut serves = false;
    let known = view.find(service.host, |hosts| {
        let port = service.number().map(|port| PortKey {
            port,
            protocol: service.protocol,
        });
        let serving = || {
            hosts
                .iter()
                .filter(|host| port.is_some_and(|port| host.ports.contains(&port)))
        };
        serves = serving().next().is_some();
        if let Some(port) = port
            && wants(query, rtype::SRV)
        {
            services(serving().collect(), port.port, reply, rng);
        }
        serves
    });
    known.then_some(if serves {
        Rcode::NoError
    } else {
        Rcode::NxDomain
    })
}

/// One SRV record a host, all of the same priority, and their addresses beside: in an order drawn
/// anew, because many clients take the first.
fn services(mut hosts: Vec<&Arc<Host>>, port: u16, reply: &mut Reply<'_, '_>, rng: &mut Rng) {
    const BEFORE_TARGET: usize = 6;
    let mut data = Vec::new();
    let mut targets = Vec::new();
    // Among others than endpoints of services a weight would say nothing.
    let weighted = hosts.iter().all(|host| host.weight > 0);
    for last in (1..hosts.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        hosts.swap(last, rng.below(bound) as usize);
    }
    for host in hosts {
        let Some(target) = &host.canonical else {
            continue;
        };
        data.clear();
        data.extend_from_slice(&[0, 0]);
        let weight = if weighted { host.weight } else { 0 };
        data.extend_from_slice(&weight.to_be_bytes());
        data.extend_from_slice(&port.to_be_bytes());
        data.extend_from_slice(target.as_wire());
        if let Some(at) = reply.answer(rtype::SRV, TTL, &data) {
            targets.push((at + BEFORE_TARGET, host));
        }
    }
    for (owner, host) in targets {
        for addr in &host.v4 {
            reply.additional(owner, rtype::A, TTL, &addr.octets());
        }
        for addr in &host.v6 {
            reply.additional(owner, rtype::AAAA, TTL, &addr.octets());
        }
    }
}

#[cfg(test)]
mod tests;
