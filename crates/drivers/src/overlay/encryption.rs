//! The encrypted tunnel between hosts, as networks and the host see it.
//!
//! Owns what stands on a host for it, and which way a network's tunnel takes. An encrypted network
//! has inner addresses alone: its sockets lie in a namespace that nothing but the tunnel leads out
//! of, so no packet of its can be in clear text on a wire, whatever fails.

use super::options::ENCRYPTED;
use crate::{Carrier, Underlay};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};
use vw_hoststate::{
    Address, Fragment, Link, LinkKind, Namespace, NamespaceSource, Netns, Object, WireguardKey,
    WireguardPeer,
};
use vw_model::{
    Error, HostId, IfName, IpNet, Ipv6Net, Kind, NetworkSpec, PublicKey, RemoteHost, Result,
    inner_address,
};

/// What WireGuard puts around a packet: 32 of its own, UDP 8, and IPv4 20 or IPv6 40.
const OVERHEAD: (u32, u32) = (60, 80);
/// RFC 8200, section 5: the tunnel's own packets are IPv6.
const LEAST_MTU: u32 = 1280;
/// The length of the prefix that all inner addresses share.
const PREFIX: u8 = 48;

/// How the packets of a network's tunnel go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// The address that they are sent from.
    pub(super) local: IpAddr,
    /// The MTU in bytes of the link that they take.
    pub(super) mtu: u32,
    /// Whether that is the encrypted tunnel.
    pub(super) encrypted: bool,
    /// Whether segments that come in that way are joined before a network's tunnel sees them.
    pub(super) merges: bool,
}

impl Way {
    pub(super) const fn clear(underlay: &Underlay) -> Self {
        Self {
            local: underlay.addr,
            mtu: underlay.mtu,
            encrypted: false,
            merges: underlay.merges,
        }
    }

    /// Another host's end of it.
    pub(super) fn end(&self, host: HostId, tunnel: IpAddr) -> IpAddr {
        match self.encrypted {
            true => inner_address(host).into(),
            false => tunnel,
        }
    }
}

/// The MTU in bytes of the encrypted tunnel over this underlay.
#[must_use]
pub const fn tunnel_mtu(underlay: &Underlay) -> u32 {
    let overhead = match underlay.addr {
        IpAddr::V4(_) => OVERHEAD.0,
        IpAddr::V6(_) => OVERHEAD.1,
    };
    underlay.mtu.saturating_sub(overhead)
}

/// The name of the encrypted tunnel's link.
///
/// # Errors
/// Never: it is an interface's name.
pub fn tunnel_link() -> Result<IfName> {
    "vw-wg"
        .parse()
        .map_err(|_| Error::internal("name-invalid", "a name of our own cannot be an interface's"))
}

/// What stands on a host for the encrypted tunnel: a namespace, the one link in it, and this
/// host's inner address.
///
/// The keys and the other hosts are no part of it: see [`plan_tunnel_key`] and [`plan_tunnel_peer`].
///
/// # Errors
/// As [`tunnel_link`].
pub fn plan_tunnel(inner: Ipv6Addr, mtu: u32, carrier: Carrier) -> Result<Fragment> {
    let kind = match carrier {
        Carrier::Kernel => LinkKind::Wireguard,
        Carrier::UserSpace => LinkKind::Tun,
    };
    let (netns, link) = (Netns::Tunnel, tunnel_link()?);
    let net = Ipv6Net::new_assert(inner, PREFIX);
    let objects = [
        Object::Namespace(Namespace {
            netns,
            source: NamespaceSource::New,
        }),
        Object::Link(Link {
            netns,
            name: link.clone(),
            kind,
            mac: None,
            mtu,
            port: None,
            alias: String::new(),
        }),
        Object::Address(Address {
            netns,
            link,
            addr: IpNet::V6(net),
        }),
    ];
    Ok(objects.into_iter().collect())
}

/// What a tunnel of the kernel must know besides: this host's key and port.
///
/// # Errors
/// As [`tunnel_link`].
pub fn plan_tunnel_key(public: PublicKey, port: u16) -> Result<Object> {
    Ok(Object::WireguardKey(WireguardKey {
        netns: Netns::Tunnel,
        link: tunnel_link()?,
        public,
        port,
    }))
}

/// And of another host, where that told its keys.
///
/// A host has one inner address and the kernel gives an address to one key, so a key that a host
/// will use next is a peer without any: it may ask for sessions, and what comes by them is dropped.
/// It has the address once it is among those `agreed`, by which sessions stand: then the host uses
/// it, whatever its record says.
///
/// # Errors
/// As [`tunnel_link`].
pub fn plan_tunnel_peer(
    host: &RemoteHost,
    addr: IpAddr,
    agreed: &BTreeSet<PublicKey>,
) -> Result<Fragment> {
    let (netns, link) = (Netns::Tunnel, tunnel_link()?);
    let mut fragment = Fragment::default();
    let beside = host.tunnel.is_ipv4() == addr.is_ipv4();
    let Some(keys) = host.keys.as_ref().filter(|_| beside) else {
        return Ok(fragment);
    };
    let inner = IpNet::V6(inner_address(host.id).into());
    let next_is_used = keys.next.is_some_and(|next| agreed.contains(&next));
    let next = keys.next.map(|next| (next, next_is_used));
    for (public, is_used) in next.into_iter().chain([(keys.public, !next_is_used)]) {
        fragment.insert(Object::WireguardPeer(WireguardPeer {
            netns,
            link: link.clone(),
            public,
            endpoint: SocketAddr::new(host.tunnel, keys.port),
            allowed: is_used.then_some(inner).into_iter().collect(),
        }));
    }
    Ok(fragment)
}

/// The way of an encrypted network.
///
/// # Errors
/// When this host has no encrypted tunnel, or the underlay leaves it too little.
pub(super) fn way(network: &NetworkSpec, underlay: &Underlay) -> Result<Way> {
    let Some(way) = tunnel_way(underlay) else {
        let sentence = format!(
            "network {} cannot be encrypted: this host has no encrypted tunnel, which needs IPv6 in the kernel, WireGuard there or /dev/net/tun, and a file of keys that can be used (`vethwork info` warns of one that cannot); load the module `wireguard` or `tun` and start the daemon again, or leave the option {ENCRYPTED} out",
            network.name
        );
        return Err(Error::new(
            Kind::Unavailable,
            "encryption-missing",
            sentence,
        ));
    };
    if way.mtu < LEAST_MTU {
        let sentence = format!(
            "network {} cannot be encrypted: the link of {} leaves the encrypted tunnel an MTU of {}, and it needs {LEAST_MTU}; raise the link's MTU",
            network.name, underlay.addr, way.mtu
        );
        return Err(Error::invalid("mtu-invalid", sentence));
    }
    Ok(way)
}

/// The way through the encrypted tunnel; `None` where this host has none.
pub(super) fn tunnel_way(underlay: &Underlay) -> Option<Way> {
    let inner = underlay.inner?;
    Some(Way {
        local: inner.into(),
        mtu: tunnel_mtu(underlay),
        encrypted: true,
        // In user space no other device sees what is inside before the network's does; of the kernel's
        // it was not measured what is left to join.
        merges: false,
    })
}
