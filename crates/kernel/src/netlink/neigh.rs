//! Requests and answers about neighbours (`net/core/neighbour.c`).

use super::{
    Attrs, Batch, Body, PROTOCOL, Socket,
    addr::{family, ip, with_octets},
    wire::{get_u16, get_u32},
};
use std::{io, net::IpAddr};
use vw_hoststate::{Neighbor, Proxy};
use vw_model::MacAddr;

const NDMSG: usize = 12;
/// Missing from `libc`.
const NDA_PROTOCOL: u16 = 12;
/// `NTF_PROXY`, and where a message has its flags.
const PROXY: (usize, u8) = (10, 1 << 3);

/// Adds a permanent entry, in the place of whatever the kernel knew of that address.
pub(crate) fn replace(batch: &mut Batch, neighbor: &Neighbor, index: u32) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    batch.push(libc::RTM_NEWNEIGH, flags, |body| {
        header(body, neighbor.addr, index, 0);
        body.attr(libc::NDA_LLADDR, &neighbor.mac.0);
        body.attr(NDA_PROTOCOL, &[PROTOCOL]);
    });
}

/// Removes an entry.
pub(crate) fn delete(batch: &mut Batch, neighbor: &Neighbor, index: u32) {
    batch.push(libc::RTM_DELNEIGH, 0, |body| {
        header(body, neighbor.addr, index, 0);
    });
}

/// Answers for an address on a link. A permanent one, which stays when the link loses its carrier
/// (a bridge without ports has none).
pub(crate) fn create_proxy(batch: &mut Batch, proxy: &Proxy, index: u32) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    batch.push(libc::RTM_NEWNEIGH, flags, |body| {
        header(body, proxy.addr, index, PROXY.1);
        body.attr(NDA_PROTOCOL, &[PROTOCOL]);
    });
}

/// Answers for it no more.
pub(crate) fn delete_proxy(batch: &mut Batch, proxy: &Proxy, index: u32) {
    batch.push(libc::RTM_DELNEIGH, 0, |body| {
        header(body, proxy.addr, index, PROXY.1);
    });
}

fn header(body: &mut Body<'_>, addr: IpAddr, index: u32, flags: u8) {
    let mut bytes = [0; NDMSG];
    bytes[0] = family(addr);
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    bytes[PROXY.0] = flags;
    body.bytes(&bytes);
    with_octets(addr, |octets| body.attr(libc::NDA_DST, octets));
}

/// A permanent neighbour as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its link.
    pub(crate) index: u32,
    /// The network-layer address.
    pub(crate) addr: IpAddr,
    /// The link-layer address.
    pub(crate) mac: MacAddr,
    /// Whether we made it.
    pub(crate) ours: bool,
}

/// All permanent neighbours of the socket's namespace.
pub(crate) fn dump(socket: &mut Socket) -> io::Result<Vec<Seen>> {
    let mut neighbors = Vec::new();
    let body = |body: &mut Body<'_>| body.bytes(&[0; NDMSG]);
    socket.dump(libc::RTM_GETNEIGH, body, |payload| {
        neighbors.extend(parse(payload));
    })?;
    Ok(neighbors)
}

/// An address that is answered for, as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenProxy {
    /// The link that is asked on.
    pub(crate) index: u32,
    /// The address.
    pub(crate) addr: IpAddr,
    /// Whether we made it.
    pub(crate) ours: bool,
}

/// All addresses that the socket's namespace answers for.
pub(crate) fn dump_proxies(socket: &mut Socket) -> io::Result<Vec<SeenProxy>> {
    let mut proxies = Vec::new();
    let mut header = [0; NDMSG];
    header[PROXY.0] = PROXY.1;
    let body = |body: &mut Body<'_>| body.bytes(&header);
    socket.dump(libc::RTM_GETNEIGH, body, |payload| {
        proxies.extend(parse_proxy(payload));
    })?;
    Ok(proxies)
}

/// Whether an address is answered for on a link. A kernel that cannot be asked for one (before
/// Linux 5.0) answers for none.
pub(crate) fn is_proxied(socket: &mut Socket, index: u32, addr: IpAddr) -> bool {
    let mut bytes = [0; NDMSG];
    bytes[0] = family(addr);
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[PROXY.0] = PROXY.1;
    let body = |body: &mut Body<'_>| {
        body.bytes(&bytes);
        with_octets(addr, |octets| body.attr(libc::NDA_DST, octets));
    };
    matches!(socket.get(libc::RTM_GETNEIGH, body), Ok(Some(_)))
}

fn parse_proxy(payload: &[u8]) -> Option<SeenProxy> {
    if payload.get(PROXY.0)? & PROXY.1 == 0 {
        return None;
    }
    let (mut addr, mut ours) = (None, false);
    for (kind, value) in Attrs::after(payload, NDMSG) {
        match kind {
            libc::NDA_DST => addr = ip(value),
            NDA_PROTOCOL => ours = value == [PROTOCOL],
            _ => {}
        }
    }
    Some(SeenProxy {
        index: get_u32(payload, 4),
        addr: addr?,
        ours,
    })
}

fn parse(payload: &[u8]) -> Option<Seen> {
    if get_u16(payload, 8) & libc::NUD_PERMANENT == 0 {
        return None;
    }
    let (mut addr, mut mac, mut ours) = (None, None, false);
    for (kind, value) in Attrs::after(payload, NDMSG) {
        match kind {
            libc::NDA_DST => addr = ip(value),
            libc::NDA_LLADDR => mac = value.try_into().ok().map(MacAddr),
            NDA_PROTOCOL => ours = value == [PROTOCOL],
            _ => {}
        }
    }
    Some(Seen {
        index: get_u32(payload, 4),
        addr: addr?,
        mac: mac?,
        ours,
    })
}
