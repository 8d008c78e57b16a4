//! Requests and answers about routes (`net/ipv4/fib_frontend.c`, `net/ipv6/route.c`).

use super::{
    Attrs, Batch, Body, PROTOCOL, Socket,
    addr::{family, ip, with_octets},
    wire::get_u32,
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use vw_hoststate::{Route, RouteKind};
use vw_model::IpNet;

const RTMSG: usize = 12;
/// What IPv6 gives a route without a metric (`IP6_RT_PRIO_USER`).
pub(crate) const IPV6_DEFAULT_METRIC: u32 = 1024;
const RTM_F_CLONED: u32 = 0x200;
/// Missing from `libc`: to be shown the route itself and not where it leads (Linux 4.13).
const RTM_F_FIB_MATCH: u32 = 0x2000;
/// Missing from `libc`: a next hop of another family than the destination's (Linux 5.2).
const RTA_VIA: u16 = 18;
/// Missing from `libc`: the MTU among a route's metrics.
const RTAX_MTU: u16 = 2;

/// Adds a route; it fails when one to the same destination with the same metric is there.
pub(crate) fn create(batch: &mut Batch, route: &Route, link: Option<u32>) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    batch.push(libc::RTM_NEWROUTE, flags, |body| encode(body, route, link));
}

/// Adds a route, in the place of one to the same destination with the same metric.
pub(crate) fn replace(batch: &mut Batch, route: &Route, link: Option<u32>) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    batch.push(libc::RTM_NEWROUTE, flags, |body| encode(body, route, link));
}

/// Removes a route of ours.
pub(crate) fn delete(batch: &mut Batch, route: &Route, link: Option<u32>) {
    batch.push(libc::RTM_DELROUTE, 0, |body| encode(body, route, link));
}

fn encode(body: &mut Body<'_>, route: &Route, link: Option<u32>) {
    let (kind, table) = match route.kind {
        RouteKind::Unicast => (libc::RTN_UNICAST, libc::RT_TABLE_MAIN),
        RouteKind::Local => (libc::RTN_LOCAL, libc::RT_TABLE_LOCAL),
        RouteKind::Unreachable => (libc::RTN_UNREACHABLE, libc::RT_TABLE_MAIN),
    };
    let scope = match (route.kind, route.via) {
        (RouteKind::Local, _) => libc::RT_SCOPE_HOST,
        (RouteKind::Unicast, None) => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let mut bytes = [0; RTMSG];
    bytes[0] = family(route.dst.addr());
    bytes[1] = route.dst.prefix_len();
    bytes[4] = table;
    bytes[5] = PROTOCOL;
    bytes[6] = scope;
    bytes[7] = kind;
    body.bytes(&bytes);
    if route.dst.prefix_len() > 0 {
        with_octets(route.dst.network(), |octets| {
            body.attr(libc::RTA_DST, octets);
        });
    }
    match route.via {
        Some(via) if via.is_ipv4() == route.dst.addr().is_ipv4() => {
            with_octets(via, |octets| body.attr(libc::RTA_GATEWAY, octets));
        }
        // `struct rtvia`: the family and the address.
        Some(via) => with_octets(via, |octets| {
            let mut value = u16::from(family(via)).to_ne_bytes().to_vec();
            value.extend_from_slice(octets);
            body.attr(RTA_VIA, &value);
        }),
        None => {}
    }
    if let Some(link) = link {
        body.attr_u32(libc::RTA_OIF, link);
    }
    if route.metric != 0 {
        body.attr_u32(libc::RTA_PRIORITY, route.metric);
    }
    if let Some(mtu) = route.mtu {
        body.nest(libc::RTA_METRICS, |body| body.attr_u32(RTAX_MTU, mtu));
    }
}

/// A route as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The destination.
    pub(crate) dst: IpNet,
    /// `rtm_type`.
    pub(crate) kind: u8,
    /// The table.
    pub(crate) table: u32,
    /// Whether it has our protocol number.
    pub(crate) ours: bool,
    /// The next hop.
    pub(crate) via: Option<IpAddr>,
    /// The link's index.
    pub(crate) link: Option<u32>,
    /// The metric as plans have it: 0 for IPv6's default.
    pub(crate) metric: u32,
    /// The source address it prefers.
    pub(crate) source: Option<IpAddr>,
    /// The MTU that was set for it.
    pub(crate) mtu: Option<u32>,
}

impl Seen {
    /// What it does, where plans know that.
    pub(crate) fn route_kind(&self) -> Option<RouteKind> {
        match self.kind {
            libc::RTN_UNICAST => Some(RouteKind::Unicast),
            libc::RTN_LOCAL => Some(RouteKind::Local),
            libc::RTN_UNREACHABLE => Some(RouteKind::Unreachable),
            _ => None,
        }
    }
}

/// All routes of the socket's namespace.
pub(crate) fn dump(socket: &mut Socket) -> io::Result<Vec<Seen>> {
    let mut routes = Vec::new();
    let body = |body: &mut Body<'_>| body.bytes(&[0; RTMSG]);
    socket.dump(libc::RTM_GETROUTE, body, |payload| {
        routes.extend(parse(payload));
    })?;
    Ok(routes)
}

/// Whether a link has an address, by the route that the kernel made for it: one look-up, however many
/// addresses there are, where a list of them would hold the lock (RTNL) of whoever attaches.
pub(crate) fn is_held(socket: &mut Socket, index: u32, addr: IpAddr) -> bool {
    let mut bytes = [0; RTMSG];
    bytes[0] = family(addr);
    bytes[1] = IpNet::from(addr).prefix_len();
    bytes[8..].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    let body = |body: &mut Body<'_>| {
        body.bytes(&bytes);
        with_octets(addr, |octets| body.attr(libc::RTA_DST, octets));
    };
    let found = socket.get(libc::RTM_GETROUTE, body).ok().flatten();
    let found = found.and_then(|payload| parse(&payload));
    found.is_some_and(|seen| seen.kind == libc::RTN_LOCAL && seen.link == Some(index))
}

/// A route from what the kernel tells of it; none of a cached one.
pub(crate) fn parse(payload: &[u8]) -> Option<Seen> {
    let (family, prefix) = (*payload.first()?, *payload.get(1)?);
    let any: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    if get_u32(payload, 8) & RTM_F_CLONED != 0 {
        return None;
    }
    let mut dst = any;
    let mut seen = Seen {
        dst: IpNet::new(any, 0).ok()?,
        kind: *payload.get(7)?,
        table: u32::from(*payload.get(4)?),
        ours: *payload.get(5)? == PROTOCOL,
        via: None,
        link: None,
        metric: 0,
        source: None,
        mtu: None,
    };
    for (kind, value) in Attrs::after(payload, RTMSG) {
        match kind {
            libc::RTA_DST => dst = ip(value)?,
            libc::RTA_GATEWAY => seen.via = ip(value),
            RTA_VIA => seen.via = value.get(2..).and_then(ip),
            libc::RTA_OIF => seen.link = Some(get_u32(value, 0)),
            libc::RTA_PRIORITY => seen.metric = get_u32(value, 0),
            libc::RTA_TABLE => seen.table = get_u32(value, 0),
            libc::RTA_PREFSRC => seen.source = ip(value),
            libc::RTA_METRICS => {
                let mtu = Attrs::of(value).find(|(kind, _)| *kind == RTAX_MTU);
                seen.mtu = mtu.map(|(_, value)| get_u32(value, 0));
            }
            _ => {}
        }
    }
    if any.is_ipv6() && seen.metric == IPV6_DEFAULT_METRIC {
        seen.metric = 0;
    }
    seen.dst = IpNet::new(dst, prefix).ok()?;
    Some(seen)
}
