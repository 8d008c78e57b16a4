//! Requests and answers about addresses (`net/ipv4/devinet.c`, `net/ipv6/addrconf.c`).

use super::{Attrs, Batch, Body, PROTOCOL, Socket, wire::get_u32};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};
use vw_model::IpNet;

const IFADDRMSG: usize = 8;
/// Missing from `libc`; ignored by kernels before 5.18, which show no owner then.
const IFA_PROTO: u16 = 11;

/// Missing from `libc`.
const IFA_CACHEINFO: u16 = 6;
/// `struct ifa_cacheinfo`: preferred for no time, valid for ever, and when it came and changed. An
/// address that stands for a service is no source of what the host sends or masquerades.
const NEVER_A_SOURCE: [u8; 16] = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];

/// Adds an address, usable at once; it fails when it is there. An IPv6 address of full length is
/// for being asked alone: another is the source of what is sent, where there is one.
pub(crate) fn create(batch: &mut Batch, index: u32, addr: IpNet) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    batch.push(libc::RTM_NEWADDR, flags, |body| {
        header(body, index, addr);
        if let IpNet::V4(net) = addr
            && net.prefix_len() < 31
        {
            body.attr(libc::IFA_BROADCAST, &net.broadcast().octets());
        }
        if matches!(addr, IpNet::V6(net) if net.prefix_len() == 128) {
            body.attr(IFA_CACHEINFO, &NEVER_A_SOURCE);
        }
        body.attr_u32(libc::IFA_FLAGS, libc::IFA_F_NODAD);
        body.attr(IFA_PROTO, &[PROTOCOL]);
    });
}

/// Removes an address.
pub(crate) fn delete(batch: &mut Batch, index: u32, addr: IpNet) {
    batch.push(libc::RTM_DELADDR, 0, |body| header(body, index, addr));
}

fn header(body: &mut Body<'_>, index: u32, addr: IpNet) {
    let mut bytes = [0; IFADDRMSG];
    bytes[0] = family(addr.addr());
    bytes[1] = addr.prefix_len();
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    body.bytes(&bytes);
    with_octets(addr.addr(), |octets| {
        body.attr(libc::IFA_LOCAL, octets);
        body.attr(libc::IFA_ADDRESS, octets);
    });
}

/// An address as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its link.
    pub(crate) index: u32,
    /// The address and its prefix length.
    pub(crate) addr: IpNet,
    /// Whether we made it.
    pub(crate) ours: bool,
    /// Whether it can be bound: no twin of it is looked for any more, and none was found.
    pub(crate) usable: bool,
    /// Whether it is there for a time alone, or for nothing new any more: a temporary address of IPv6
    /// (RFC 8981), a deprecated one (RFC 4862), a secondary one of IPv4.
    pub(crate) passing: bool,
}

/// All addresses of the socket's namespace.
pub(crate) fn dump(socket: &mut Socket) -> io::Result<Vec<Seen>> {
    let mut addresses = Vec::new();
    let body = |body: &mut Body<'_>| body.bytes(&[0; IFADDRMSG]);
    socket.dump(libc::RTM_GETADDR, body, |payload| {
        addresses.extend(parse(payload));
    })?;
    Ok(addresses)
}

/// An address from what the kernel tells of it.
pub(crate) fn parse(payload: &[u8]) -> Option<Seen> {
    let prefix = *payload.get(1)?;
    let (mut addr, mut local, mut ours) = (None, None, false);
    for (kind, value) in Attrs::after(payload, IFADDRMSG) {
        match kind {
            libc::IFA_ADDRESS => addr = ip(value),
            // On a point-to-point link the other is the peer's; IPv6 shows only that one else.
            libc::IFA_LOCAL => local = ip(value),
            IFA_PROTO => ours = value == [PROTOCOL],
            _ => {}
        }
    }
    // Those that matter here are among the first eight.
    let flags = u32::from(*payload.get(2)?);
    let looked_for = flags & libc::IFA_F_TENTATIVE != 0 && flags & libc::IFA_F_OPTIMISTIC == 0;
    Some(Seen {
        index: get_u32(payload, 4),
        addr: IpNet::new(local.or(addr)?, prefix).ok()?,
        ours,
        usable: !looked_for && flags & libc::IFA_F_DADFAILED == 0,
        passing: flags & (libc::IFA_F_TEMPORARY | libc::IFA_F_DEPRECATED) != 0,
    })
}

/// The address family's number.
pub(crate) const fn family(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// Hands out the octets of an address.
pub(crate) fn with_octets<T>(addr: IpAddr, f: impl FnOnce(&[u8]) -> T) -> T {
    match addr {
        IpAddr::V4(v4) => f(&v4.octets()),
        IpAddr::V6(v6) => f(&v6.octets()),
    }
}

/// An address from its octets.
pub(crate) fn ip(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets)
            .ok()
            .map(|v4| Ipv4Addr::from(v4).into()),
        16 => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
