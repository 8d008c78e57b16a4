//! Requests and answers about links (`net/core/rtnetlink.c`, `drivers/net/veth.c`,
//! `net/bridge/br_netlink.c`).

use super::{
    Attrs, Batch, Body, GROUP_DOOMED, GROUP_LIVE, Socket,
    wire::{get_i32, get_str, get_u32},
};
use std::{io, os::fd::RawFd};
use vw_hoststate::{Link, LinkKind, Peer};
use vw_model::MacAddr;

const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_MODE: u16 = 4;
/// `IFLA_BRPORT_STATE`; `BR_STATE_FORWARDING`.
const IFLA_BRPORT_STATE: u16 = 1;
const FORWARDING: u8 = 3;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFINFOMSG: usize = 16;
const UP: u32 = libc::IFF_UP as u32;
/// IPv6 gives a link below this no state to configure (`IPV6_MIN_MTU`, RFC 8200 5).
const IPV6_MIN_MTU: u32 = 1280;

/// Which link a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// By its index in the socket's namespace.
    Index(u32),
    /// By its name, where the index is not known yet.
    Name(&'a str),
}

/// What a request changes; absent fields stay.
#[derive(Debug, Default)]
pub(crate) struct Settings<'a> {
    /// `IFF_UP`.
    pub(crate) up: Option<bool>,
    /// The bridge's index; 0 leaves it.
    pub(crate) master: Option<u32>,
    /// The link group.
    pub(crate) group: Option<u32>,
    /// A new name; only with [`Which::Index`].
    pub(crate) name: Option<&'a str>,
    /// The link-layer address.
    pub(crate) mac: Option<MacAddr>,
    /// Bytes.
    pub(crate) mtu: Option<u32>,
    /// The alias.
    pub(crate) alias: Option<&'a str>,
    /// As a bridge's port: (isolated, hairpin).
    pub(crate) port: Option<(bool, bool)>,
    /// Sets `addr_gen_mode none`.
    pub(crate) no_autoconf: bool,
    /// Attributes of a bridge: multicast snooping.
    pub(crate) mcast_snooping: Option<bool>,
}

/// Whether a link of this MTU has IPv6 state whose mode can be set.
pub(crate) const fn has_ipv6(mtu: u32) -> bool {
    mtu >= IPV6_MIN_MTU
}

/// Creates a link, with its peer where that belongs; it fails when the name is taken.
///
/// A pair's host end is up at once: it has no carrier until its peer is up too. Everything that
/// the kernel does not look at while it creates a link is left to [`change`].
pub(crate) fn create(batch: &mut Batch, link: &Link, master: Option<u32>, peer_ns: Option<RawFd>) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    batch.push(libc::RTM_NEWLINK, flags, |body| {
        let up = matches!(link.kind, LinkKind::Veth(_));
        header(body, 0, up.then_some(true));
        body.attr_str(libc::IFLA_IFNAME, link.name.as_str());
        if let Some(mac) = link.mac {
            body.attr(libc::IFLA_ADDRESS, &mac.0);
        }
        body.attr_u32(libc::IFLA_GROUP, GROUP_LIVE);
        if let Some(master) = master {
            body.attr_u32(libc::IFLA_MASTER, master);
        }
        match &link.kind {
            LinkKind::Bridge(options) => body.nest(libc::IFLA_LINKINFO, |info| {
                info.attr(libc::IFLA_INFO_KIND, b"bridge");
                info.nest(libc::IFLA_INFO_DATA, |data| {
                    data.attr(IFLA_BR_MCAST_SNOOPING, &[u8::from(options.mcast_snooping)]);
                });
            }),
            LinkKind::Dummy => body.nest(libc::IFLA_LINKINFO, |info| {
                info.attr(libc::IFLA_INFO_KIND, b"dummy");
            }),
            LinkKind::Veth(peer) => {
                body.attr_u32(libc::IFLA_MTU, link.mtu);
                one_queue(body);
                body.nest(libc::IFLA_LINKINFO, |info| {
                    info.attr(libc::IFLA_INFO_KIND, b"veth");
                    info.nest(libc::IFLA_INFO_DATA, |data| {
                        data.nest(VETH_INFO_PEER, |end| far_end(end, peer, link.mtu, peer_ns));
                    });
                });
            }
        }
    });
}

fn far_end(body: &mut Body<'_>, peer: &Peer, mtu: u32, netns: Option<RawFd>) {
    header(body, 0, None);
    body.attr_str(libc::IFLA_IFNAME, peer.name.as_str());
    body.attr(libc::IFLA_ADDRESS, &peer.mac.0);
    body.attr_u32(libc::IFLA_MTU, mtu);
    one_queue(body);
    if let Some(fd) = netns {
        body.attr_u32(libc::IFLA_NET_NS_FD, fd.cast_unsigned());
    }
}

fn one_queue(body: &mut Body<'_>) {
    body.attr_u32(libc::IFLA_NUM_TX_QUEUES, 1);
    body.attr_u32(libc::IFLA_NUM_RX_QUEUES, 1);
}

/// Changes a link that exists.
///
/// Attributes of a port or a bridge are only taken by `RTM_NEWLINK` (`rtnl_changelink`). The kernel
/// puts `IFF_UP` before the address mode, so a link that must not configure itself wants them in
/// two requests.
pub(crate) fn change(batch: &mut Batch, which: Which<'_>, settings: &Settings<'_>) {
    batch.push(libc::RTM_NEWLINK, 0, |body| {
        match which {
            Which::Index(index) => header(body, index, settings.up),
            Which::Name(name) => {
                header(body, 0, settings.up);
                body.attr_str(libc::IFLA_IFNAME, name);
            }
        }
        if let Some(name) = settings.name {
            body.attr_str(libc::IFLA_IFNAME, name);
        }
        if let Some(mac) = settings.mac {
            body.attr(libc::IFLA_ADDRESS, &mac.0);
        }
        let numbers = [
            (libc::IFLA_MTU, settings.mtu),
            (libc::IFLA_GROUP, settings.group),
            (libc::IFLA_MASTER, settings.master),
        ];
        for (kind, value) in numbers {
            if let Some(value) = value {
                body.attr_u32(kind, value);
            }
        }
        if let Some(alias) = settings.alias {
            body.attr(libc::IFLA_IFALIAS, alias.as_bytes());
        }
        if settings.no_autoconf {
            body.nest(libc::IFLA_AF_SPEC, |families| {
                families.nest(libc::AF_INET6 as u16, |inet6| {
                    inet6.attr(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
                });
            });
        }
        kind_settings(body, settings);
    });
}

fn kind_settings(body: &mut Body<'_>, settings: &Settings<'_>) {
    if let Some(snooping) = settings.mcast_snooping {
        body.nest(libc::IFLA_LINKINFO, |info| {
            info.attr(libc::IFLA_INFO_KIND, b"bridge");
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.attr(IFLA_BR_MCAST_SNOOPING, &[u8::from(snooping)]);
            });
        });
    }
    if let Some((isolated, hairpin)) = settings.port {
        body.nest(libc::IFLA_LINKINFO, |info| {
            info.attr(libc::IFLA_INFO_SLAVE_KIND, b"bridge");
            info.nest(libc::IFLA_INFO_SLAVE_DATA, |data| {
                data.attr(IFLA_BRPORT_MODE, &[u8::from(hairpin)]);
                data.attr(IFLA_BRPORT_ISOLATED, &[u8::from(isolated)]);
            });
        });
    }
}

/// Deletes every link of the socket's namespace that is out of service; `ENODEV` when none is.
pub(crate) fn delete_doomed(batch: &mut Batch) {
    batch.push(libc::RTM_DELLINK, 0, |body| {
        header(body, 0, None);
        body.attr_u32(libc::IFLA_GROUP, GROUP_DOOMED);
    });
}

fn header(body: &mut Body<'_>, index: u32, up: Option<bool>) {
    let mut bytes = [0; IFINFOMSG];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        let flags = if up { UP } else { 0 };
        bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
        bytes[12..16].copy_from_slice(&UP.to_ne_bytes());
    }
    body.bytes(&bytes);
}

/// A link as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// `ifi_index`.
    pub(crate) index: u32,
    /// `IFF_UP`.
    pub(crate) up: bool,
    /// `IFLA_IFNAME`.
    pub(crate) name: String,
    /// `IFLA_ADDRESS`, where it has six octets.
    pub(crate) mac: Option<MacAddr>,
    /// `IFLA_MTU`.
    pub(crate) mtu: u32,
    /// `IFLA_MASTER`.
    pub(crate) master: Option<u32>,
    /// `IFLA_LINK`: a pair's other end, by its index where it lies.
    pub(crate) other: Option<u32>,
    /// `IFLA_GROUP`.
    pub(crate) group: u32,
    /// `IFLA_IFALIAS`.
    pub(crate) alias: String,
    /// `IFLA_INFO_KIND`; empty for hardware.
    pub(crate) kind: String,
    /// `IFLA_BR_MCAST_SNOOPING`.
    pub(crate) mcast_snooping: bool,
    /// As a bridge's port: (isolated, hairpin).
    pub(crate) port: (bool, bool),
    /// As a bridge's port: it does not forward, or not yet.
    pub(crate) held: bool,
    /// Whether it gives itself IPv6 addresses; not so without IPv6 state.
    pub(crate) autoconf: bool,
}

impl Seen {
    /// Reads an `RTM_NEWLINK` or `RTM_DELLINK` payload.
    pub(crate) fn parse(payload: &[u8]) -> Self {
        let mut seen = Self {
            index: get_u32(payload, 4),
            up: get_u32(payload, 8) & UP != 0,
            ..Self::default()
        };
        for (kind, value) in Attrs::after(payload, IFINFOMSG) {
            match kind {
                libc::IFLA_IFNAME => seen.name = get_str(value),
                libc::IFLA_ADDRESS => seen.mac = value.try_into().ok().map(MacAddr),
                libc::IFLA_MTU => seen.mtu = get_u32(value, 0),
                libc::IFLA_MASTER => seen.master = Some(get_u32(value, 0)),
                libc::IFLA_LINK => seen.other = u32::try_from(get_i32(value, 0)).ok(),
                libc::IFLA_GROUP => seen.group = get_u32(value, 0),
                libc::IFLA_IFALIAS => seen.alias = get_str(value),
                libc::IFLA_LINKINFO => seen.parse_info(value),
                libc::IFLA_AF_SPEC => seen.parse_families(value),
                _ => {}
            }
        }
        seen
    }

    fn parse_info(&mut self, info: &[u8]) {
        let truth = |value: &[u8]| value.first().is_some_and(|byte| *byte != 0);
        for (kind, value) in Attrs::of(info) {
            match kind {
                libc::IFLA_INFO_KIND => self.kind = get_str(value),
                libc::IFLA_INFO_DATA if self.kind == "bridge" => {
                    self.mcast_snooping = Attrs::of(value)
                        .any(|(kind, value)| kind == IFLA_BR_MCAST_SNOOPING && truth(value));
                }
                libc::IFLA_INFO_SLAVE_DATA => {
                    for (kind, value) in Attrs::of(value) {
                        match kind {
                            IFLA_BRPORT_STATE => self.held = value.first() != Some(&FORWARDING),
                            IFLA_BRPORT_ISOLATED => self.port.0 = truth(value),
                            IFLA_BRPORT_MODE => self.port.1 = truth(value),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn parse_families(&mut self, families: &[u8]) {
        let inet6 = Attrs::of(families).find(|(family, _)| *family == libc::AF_INET6 as u16);
        self.autoconf = inet6.is_some_and(|(_, inet6)| {
            Attrs::of(inet6).any(|(kind, value)| {
                kind == IFLA_INET6_ADDR_GEN_MODE && value != [IN6_ADDR_GEN_MODE_NONE]
            })
        });
    }

    /// Whether it is marked as ours and in service.
    pub(crate) fn is_ours(&self) -> bool {
        self.group == GROUP_LIVE
            || (self.group != GROUP_DOOMED && self.alias.starts_with("vethwork:"))
    }

    /// Whether it is out of service.
    pub(crate) const fn is_doomed(&self) -> bool {
        self.group == GROUP_DOOMED
    }
}

/// All links of the socket's namespace.
pub(crate) fn dump(socket: &mut Socket) -> io::Result<Vec<Seen>> {
    let mut links = Vec::new();
    let body = |body: &mut Body<'_>| {
        header(body, 0, None);
        body.attr_u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    };
    socket.dump(libc::RTM_GETLINK, body, |payload| {
        links.push(Seen::parse(payload));
    })?;
    Ok(links)
}

/// One link; `None` when there is none of that name.
pub(crate) fn get(socket: &mut Socket, name: &str) -> io::Result<Option<Seen>> {
    let body = |body: &mut Body<'_>| {
        header(body, 0, None);
        body.attr_str(libc::IFLA_IFNAME, name);
        body.attr_u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    };
    let found = socket.get(libc::RTM_GETLINK, body)?;
    Ok(found.map(|payload| Seen::parse(&payload)))
}
