//! Requests and answers about the kernel's WireGuard (`linux/wireguard.h`), by generic netlink.

use super::{Attrs, Batch, Body, Socket, addr::with_octets, link, wire::get_u16};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};
use vw_hoststate::{Netns, WireguardKey, WireguardPeer};
use vw_model::{IfName, IpNet, PublicKey};

/// The family that knows the others (`linux/genetlink.h`).
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// What stands before a request's attributes.
const GENLMSGHDR: usize = 4;

const GET_DEVICE: u8 = 0;
const SET_DEVICE: u8 = 1;
const VERSION: u8 = 1;
/// More than a request with a key has.
const ROOM: usize = 512;

/// `WGDEVICE_A_*`.
mod device {
    pub(super) const IFNAME: u16 = 2;
    pub(super) const PRIVATE_KEY: u16 = 3;
    pub(super) const PUBLIC_KEY: u16 = 4;
    pub(super) const LISTEN_PORT: u16 = 6;
    pub(super) const PEERS: u16 = 8;
}

/// `WGPEER_A_*` and `WGPEER_F_*`.
mod peer {
    pub(super) const PUBLIC_KEY: u16 = 1;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const ENDPOINT: u16 = 4;
    pub(super) const LAST_HANDSHAKE: u16 = 6;
    pub(super) const ALLOWED: u16 = 9;
    pub(super) const REMOVE: u32 = 1;
    pub(super) const REPLACE_ALLOWED: u32 = 2;
}

/// `WGALLOWEDIP_A_*`.
mod allowed {
    pub(super) const FAMILY: u16 = 1;
    pub(super) const ADDRESS: u16 = 2;
    pub(super) const LENGTH: u16 = 3;
}

/// A socket of generic netlink with WireGuard's number in it.
struct Wireguard {
    socket: Socket,
    family: u16,
}

impl Wireguard {
    /// Opens one in the calling thread's namespace; `Unsupported` where the kernel lacks it.
    fn open() -> io::Result<Self> {
        let mut socket = Socket::open_generic()?;
        let asked = socket.get(CONTROL, |body| {
            command(body, GET_FAMILY);
            body.attr_str(FAMILY_NAME, "wireguard");
        });
        let answer = match asked {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            other => other?,
        };
        let family = answer.and_then(|answer| {
            let mut attrs = Attrs::after(&answer, GENLMSGHDR);
            attrs.find_map(|(kind, value)| (kind == FAMILY_ID).then(|| get_u16(value, 0)))
        });
        let family = family.ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self { socket, family })
    }

    fn set(&mut self, body: impl FnOnce(&mut Body<'_>)) -> io::Result<()> {
        let mut batch = Batch::with_room(ROOM);
        batch.push(self.family, 0, body);
        let answered = self.socket.transact(&mut batch);
        // It may have held a key.
        batch.wipe();
        match answered?.pop() {
            Some(refusal) => Err(refusal.into_error()),
            None => Ok(()),
        }
    }
}

/// Whether the kernel has WireGuard, or loads it when it is asked for it.
pub(crate) fn is_there() -> bool {
    // The controller looks for the family's module (`net-pf-16-proto-16-family-wireguard`) before it
    // says that there is none (`ctrl_getfamily`), and nothing is made.
    Wireguard::open().is_ok()
}

/// Gives a device of the calling thread's namespace its key and its port: the port first, so that
/// one that is taken leaves both as they were.
pub(crate) fn set_key(name: &IfName, private: &[u8; 32], port: u16) -> io::Result<()> {
    Wireguard::open()?.set(|body| key_request(body, name, private, port))
}

/// Takes the key of a device, which then has no sessions; one that is not there is no error.
pub(crate) fn remove_key(name: &IfName) -> io::Result<()> {
    without_device(Wireguard::open()?.set(|body| no_key_request(body, name)))
}

/// Adds a peer, or makes it what is told.
pub(crate) fn set_peer(told: &WireguardPeer) -> io::Result<()> {
    Wireguard::open()?.set(|body| peer_request(body, told))
}

/// Removes a peer; one that is not there is no error.
pub(crate) fn remove_peer(told: &WireguardPeer) -> io::Result<()> {
    without_device(Wireguard::open()?.set(|body| removal_request(body, told)))
}

fn without_device(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

/// What devices know. Private keys are not read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// One a device that has a key.
    pub(crate) keys: Vec<WireguardKey>,
    /// Of all devices.
    pub(crate) peers: Vec<WireguardPeer>,
    /// Those of the peers' keys by which a session was agreed.
    pub(crate) agreed: BTreeSet<PublicKey>,
}

/// What all devices of ours in the calling thread's namespace know.
pub(crate) fn seen(links: &[link::Seen]) -> io::Result<Seen> {
    let of_us =
        |link: &&link::Seen| link.kind == "wireguard" && link.is_ours() && !link.is_doomed();
    let mut all = Seen::default();
    for link in links.iter().filter(of_us) {
        let Ok(name) = link.name.parse() else {
            continue;
        };
        let mut of_one = read(&name)?;
        all.keys.append(&mut of_one.keys);
        all.peers.append(&mut of_one.peers);
    }
    Ok(all)
}

/// The UDP port of a device of the calling thread's namespace that has a key: without one it has
/// some port since it came up (`wg_open`).
pub(crate) fn port(name: &IfName) -> io::Result<Option<u16>> {
    Ok(read(name)?.keys.first().map(|key| key.port))
}

/// Those keys of peers of a device of the calling thread's namespace by which a session was agreed.
pub(crate) fn agreed(name: &IfName) -> io::Result<BTreeSet<PublicKey>> {
    Ok(read(name)?.agreed)
}

fn read(name: &IfName) -> io::Result<Seen> {
    let Wireguard { socket, family } = Wireguard::open()?;
    let ask = |body: &mut Body<'_>| {
        command(body, GET_DEVICE);
        body.attr_str(device::IFNAME, name.as_str());
    };
    let mut seen = Seen::default();
    // The answers have the private key in them.
    socket.dump_secret(family, ask, |payload| parse(payload, name, &mut seen))?;
    Ok(seen)
}

fn command(body: &mut Body<'_>, command: u8) {
    body.bytes(&[command, VERSION, 0, 0]);
}

fn key_request(body: &mut Body<'_>, name: &IfName, private: &[u8; 32], port: u16) {
    command(body, SET_DEVICE);
    body.attr_str(device::IFNAME, name.as_str());
    body.attr(device::PRIVATE_KEY, private);
    body.attr(device::LISTEN_PORT, &port.to_ne_bytes());
}

fn no_key_request(body: &mut Body<'_>, name: &IfName) {
    command(body, SET_DEVICE);
    body.attr_str(device::IFNAME, name.as_str());
    body.attr(device::PRIVATE_KEY, &[0; 32]);
}

fn peer_request(body: &mut Body<'_>, told: &WireguardPeer) {
    about_peer(body, told, peer::REPLACE_ALLOWED, |body| {
        body.attr(peer::ENDPOINT, &sockaddr(told.endpoint));
        body.nest(peer::ALLOWED, |body| {
            for (place, net) in told.allowed.iter().enumerate() {
                body.nest(place as u16, |body| {
                    let family = match net.addr() {
                        IpAddr::V4(_) => libc::AF_INET,
                        IpAddr::V6(_) => libc::AF_INET6,
                    };
                    body.attr(allowed::FAMILY, &(family as u16).to_ne_bytes());
                    with_octets(net.addr(), |octets| body.attr(allowed::ADDRESS, octets));
                    body.attr(allowed::LENGTH, &[net.prefix_len()]);
                });
            }
        });
    });
}

fn removal_request(body: &mut Body<'_>, told: &WireguardPeer) {
    about_peer(body, told, peer::REMOVE, |_| {});
}

fn about_peer(
    body: &mut Body<'_>,
    told: &WireguardPeer,
    flags: u32,
    more: impl FnOnce(&mut Body<'_>),
) {
    command(body, SET_DEVICE);
    body.attr_str(device::IFNAME, told.link.as_str());
    body.nest(device::PEERS, |body| {
        body.nest(0, |body| {
            body.attr(peer::PUBLIC_KEY, told.public.as_bytes());
            body.attr_u32(peer::FLAGS, flags);
            more(body);
        });
    });
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn sockaddr(addr: SocketAddr) -> Vec<u8> {
    let family = match addr {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let mut bytes = (family as u16).to_ne_bytes().to_vec();
    bytes.extend(addr.port().to_be_bytes());
    match addr {
        SocketAddr::V4(addr) => {
            bytes.extend(addr.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(addr) => {
            bytes.extend([0; 4]);
            bytes.extend(addr.ip().octets());
            bytes.extend(addr.scope_id().to_ne_bytes());
        }
    }
    bytes
}

fn parse_sockaddr(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    let ip = match i32::from(get_u16(bytes, 0)) {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?),
        libc::AF_INET6 => IpAddr::from(Ipv6Addr::from(
            <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?,
        )),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Reads one message of a dump: the first one tells of the device itself. A peer whose addresses did
/// not fit goes on in the next one.
fn parse(payload: &[u8], link: &IfName, seen: &mut Seen) {
    let (mut public, mut port) = (None, 0);
    for (kind, value) in Attrs::after(payload, GENLMSGHDR) {
        match kind {
            device::LISTEN_PORT if value.len() >= 2 => port = get_u16(value, 0),
            device::PUBLIC_KEY => public = value.try_into().ok().map(PublicKey::from_bytes),
            device::PEERS => parse_peers(value, link, seen),
            _ => {}
        }
    }
    seen.keys.extend(public.map(|public| WireguardKey {
        netns: Netns::Tunnel,
        link: link.clone(),
        public,
        port,
    }));
}

fn parse_peers(peers: &[u8], link: &IfName, seen: &mut Seen) {
    for (_, attrs) in Attrs::of(peers) {
        let Some(found) = parse_peer(attrs, link) else {
            continue;
        };
        // A `struct __kernel_timespec`, of zeros while there was none.
        let has_agreed = |(kind, value): (u16, &[u8])| {
            kind == peer::LAST_HANDSHAKE && value.iter().any(|byte| *byte != 0)
        };
        if Attrs::of(attrs).any(has_agreed) {
            seen.agreed.insert(found.public);
        }
        match seen.peers.last_mut() {
            Some(last) if last.public == found.public => last.allowed.extend(found.allowed),
            _ => seen.peers.push(found),
        }
    }
}

fn parse_peer(attrs: &[u8], link: &IfName) -> Option<WireguardPeer> {
    let mut public = None;
    // A continuation does not repeat it; a peer without one is not what we made.
    let mut endpoint = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut nets = BTreeSet::new();
    for (kind, value) in Attrs::of(attrs) {
        match kind {
            peer::PUBLIC_KEY => public = value.try_into().ok().map(PublicKey::from_bytes),
            peer::ENDPOINT => endpoint = parse_sockaddr(value).unwrap_or(endpoint),
            peer::ALLOWED => nets.extend(Attrs::of(value).filter_map(|(_, net)| parse_net(net))),
            _ => {}
        }
    }
    Some(WireguardPeer {
        netns: Netns::Tunnel,
        link: link.clone(),
        public: public?,
        endpoint,
        allowed: nets,
    })
}

fn parse_net(attrs: &[u8]) -> Option<IpNet> {
    let (mut addr, mut length) = (None, None);
    for (kind, value) in Attrs::of(attrs) {
        match kind {
            allowed::ADDRESS => addr = super::addr::ip(value),
            allowed::LENGTH => length = value.first().copied(),
            _ => {}
        }
    }
    IpNet::new(addr?, length?).ok()
}

#[cfg(test)]
mod tests;
