//! Requests and answers about forwarding entries (`drivers/net/vxlan`, `net/bridge/br_fdb.c`).
//!
//! What a tunnel forwards stands in two tables: in the tunnel's, which tells the host, and in its
//! bridge's, which tells the tunnel: a bridge floods to every port what it does not know.

use super::{
    Attrs, Batch, Body, Socket,
    addr::{ip, with_octets},
    wire::{get_u16, get_u32},
};
use std::{io, net::IpAddr};
use vw_hoststate::Forward;
use vw_model::MacAddr;

const NDMSG: usize = 12;
/// The port does not lose the entry to another one that its address is seen on.
const NTF_STICKY: u8 = 1 << 6;

/// Adds an entry to the tunnel's table: of a station in the place of what it had, of a group
/// besides.
pub(crate) fn add(batch: &mut Batch, forward: &Forward, index: u32) {
    let how = match is_station(forward.mac) {
        true => libc::NLM_F_REPLACE,
        false => libc::NLM_F_APPEND,
    };
    batch.push(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | how, |body| {
        header(body, index, libc::NUD_PERMANENT, libc::NTF_SELF);
        body.attr(libc::NDA_LLADDR, &forward.mac.0);
        with_octets(forward.dst, |octets| body.attr(libc::NDA_DST, octets));
    });
}

/// Removes an entry from the tunnel's table.
pub(crate) fn delete(batch: &mut Batch, forward: &Forward, index: u32) {
    batch.push(libc::RTM_DELNEIGH, 0, |body| {
        header(body, index, 0, libc::NTF_SELF);
        body.attr(libc::NDA_LLADDR, &forward.mac.0);
        with_octets(forward.dst, |octets| body.attr(libc::NDA_DST, octets));
    });
}

/// Asks for a station's entry in the tunnel's table; refused when there is none.
///
/// A removal does not tell: of an entry that has another host it removes nothing, and succeeds.
pub(crate) fn ask(batch: &mut Batch, mac: MacAddr, index: u32) {
    batch.push(libc::RTM_GETNEIGH, 0, |body| {
        header(body, index, 0, libc::NTF_SELF);
        body.attr(libc::NDA_LLADDR, &mac.0);
    });
}

/// Tells the bridge that a station is behind the tunnel; `EOPNOTSUPP` when that is no port.
pub(crate) fn add_to_bridge(batch: &mut Batch, mac: MacAddr, index: u32) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    batch.push(libc::RTM_NEWNEIGH, flags, |body| {
        header(body, index, libc::NUD_NOARP, libc::NTF_MASTER | NTF_STICKY);
        body.attr(libc::NDA_LLADDR, &mac.0);
    });
}

/// Makes the bridge forget that.
pub(crate) fn delete_from_bridge(batch: &mut Batch, mac: MacAddr, index: u32) {
    batch.push(libc::RTM_DELNEIGH, 0, |body| {
        header(body, index, 0, libc::NTF_MASTER);
        body.attr(libc::NDA_LLADDR, &mac.0);
    });
}

/// Whether an address is one interface's: neither a group nor the zero that stands for the rest.
pub(crate) fn is_station(mac: MacAddr) -> bool {
    mac.0[0] & 1 == 0 && mac.0 != [0; 6]
}

fn header(body: &mut Body<'_>, index: u32, state: u16, flags: u8) {
    let mut bytes = [0; NDMSG];
    bytes[0] = libc::AF_BRIDGE as u8;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..10].copy_from_slice(&state.to_ne_bytes());
    bytes[10] = flags;
    body.bytes(&bytes);
}

/// A static entry as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The tunnel, or the bridge's port.
    pub(crate) index: u32,
    /// The frames' destination.
    pub(crate) mac: MacAddr,
    /// In whose table it stands.
    pub(crate) of: Table,
}

/// Whose table an entry stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// A tunnel's, with the host.
    Tunnel(IpAddr),
    /// A bridge's.
    Bridge,
}

/// All static entries of the socket's namespace.
pub(crate) fn dump(socket: &mut Socket) -> io::Result<Vec<Seen>> {
    let mut entries = Vec::new();
    let body = |body: &mut Body<'_>| header(body, 0, 0, 0);
    socket.dump(libc::RTM_GETNEIGH, body, |payload| {
        entries.extend(parse(payload));
    })?;
    Ok(entries)
}

fn parse(payload: &[u8]) -> Option<Seen> {
    let state = get_u16(payload, 8);
    let (mut mac, mut dst, mut bridged) = (None, None, false);
    for (kind, value) in Attrs::after(payload, NDMSG) {
        match kind {
            libc::NDA_LLADDR => mac = value.try_into().ok().map(MacAddr),
            libc::NDA_DST => dst = ip(value),
            libc::NDA_MASTER => bridged = true,
            _ => {}
        }
    }
    let of = match dst {
        Some(host) if state & libc::NUD_PERMANENT != 0 => Table::Tunnel(host),
        None if bridged && state & libc::NUD_NOARP != 0 => Table::Bridge,
        _ => return None,
    };
    Some(Seen {
        index: get_u32(payload, 4),
        mac: mac?,
        of,
    })
}
