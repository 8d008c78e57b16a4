//! Requests and answers about links (`net/core/rtnetlink.c`, `drivers/net/veth.c`,
//! `net/bridge/br_netlink.c`).

use super::{
    Attrs, Batch, Body, GROUP_DOOMED, GROUP_LIVE, Socket,
    addr::ip,
    wire::{get_i32, get_str, get_u16, get_u32},
};
use std::{io, net::IpAddr, os::fd::RawFd};
use vw_hoststate::{Link, LinkKind, Peer, VxlanOptions};
use vw_model::MacAddr;

const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IFLA_INET6_CONF: u16 = 2;
/// Parameters of a link in `IFLA_INET6_CONF`, by their place (`DEVCONF_*` of `linux/ipv6.h`).
const DEVCONF: [(&str, usize); 2] = [("accept_ra", 3), ("disable_ipv6", 26)];
const VETH_INFO_PEER: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_MODE: u16 = 4;
/// `IFLA_BRPORT_STATE`; `BR_STATE_FORWARDING`.
const IFLA_BRPORT_STATE: u16 = 1;
const FORWARDING: u8 = 3;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFINFOMSG: usize = 16;
const UP: u32 = libc::IFF_UP as u32;
const RUNNING: u32 = libc::IFF_RUNNING as u32;
/// IPv6 gives a link below this no state to configure (`IPV6_MIN_MTU`, RFC 8200 5).
const IPV6_MIN_MTU: u32 = 1280;

/// `IFLA_VXLAN_*` of `linux/if_link.h`.
mod vxlan {
    pub(super) const ID: u16 = 1;
    pub(super) const LOCAL: u16 = 4;
    pub(super) const TOS: u16 = 6;
    pub(super) const LEARNING: u16 = 7;
    pub(super) const PROXY: u16 = 11;
    pub(super) const PORT: u16 = 15;
    pub(super) const LOCAL6: u16 = 17;
    pub(super) const UDP_ZERO_CSUM6_TX: u16 = 19;
    pub(super) const UDP_ZERO_CSUM6_RX: u16 = 20;
    pub(super) const DF: u16 = 29;
    /// `VXLAN_DF_SET`; a kernel before 5.0 passes it over.
    pub(super) const DF_SET: u8 = 1;
}

/// The outer packet has the inner one's class of service (`ip_tunnel_get_dsfield`).
const TOS_INHERIT: u8 = 1;

/// What the index of a tunnel begins with. Before Linux 6.13 the kernel looks in the namespace of
/// the request for a link of that name, and would find a stranger's; one that is asked for by
/// index it looks for by that alone. Below lie the 24 bits of the number, above what the kernel
/// counts up to by itself.
pub(crate) const TUNNEL_INDEX: u32 = 0x7e00_0000;
/// Likewise that of an encrypted tunnel, of which a host has one.
const ENCRYPTED_INDEX: u32 = 0x7f00_0000;

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
    /// As a bridge's port.
    pub(crate) port: Option<PortSettings>,
    /// Sets `addr_gen_mode none`.
    pub(crate) no_autoconf: bool,
    /// Attributes of a bridge: multicast snooping.
    pub(crate) mcast_snooping: Option<bool>,
    /// The address that a tunnel sends from.
    pub(crate) tunnel_local: Option<IpAddr>,
}

/// What a link is as a bridge's port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PortSettings {
    /// Frames do not pass between isolated ports.
    pub(crate) isolated: bool,
    /// A frame may leave by the port it came in.
    pub(crate) hairpin: bool,
    /// What lies behind it is told, not learned, and what was not told does not lie there.
    pub(crate) tunnel: bool,
}

/// Whether a link of this MTU has IPv6 state whose mode can be set.
pub(crate) const fn has_ipv6(mtu: u32) -> bool {
    mtu >= IPV6_MIN_MTU
}

/// Creates a link, with its peer where that belongs; it fails when the name is taken.
///
/// A pair's host end is up at once: it has no carrier until its peer is up too. Everything that
/// the kernel does not look at while it creates a link is left to [`change`].
///
/// `other` is the namespace of a pair's other end, and for a tunnel the one that it belongs to: its
/// socket lies where the request comes from.
pub(crate) fn create(batch: &mut Batch, link: &Link, master: Option<u32>, other: Option<RawFd>) {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    batch.push(libc::RTM_NEWLINK, flags, |body| {
        let up = matches!(link.kind, LinkKind::Veth(_));
        let index = match &link.kind {
            LinkKind::Vxlan(options) => TUNNEL_INDEX | options.vni,
            LinkKind::Wireguard => ENCRYPTED_INDEX,
            _ => 0,
        };
        header(body, index, up.then_some(true));
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
                        data.nest(VETH_INFO_PEER, |end| far_end(end, peer, link.mtu, other));
                    });
                });
            }
            // No request makes one (`tun_validate`): it is made through its device.
            LinkKind::Tun => {}
            LinkKind::Wireguard => {
                body.attr_u32(libc::IFLA_MTU, link.mtu);
                netns_fd(body, other);
                body.nest(libc::IFLA_LINKINFO, |info| {
                    info.attr(libc::IFLA_INFO_KIND, b"wireguard");
                });
            }
            LinkKind::Vxlan(options) => {
                body.attr_u32(libc::IFLA_MTU, link.mtu);
                netns_fd(body, other);
                body.nest(libc::IFLA_LINKINFO, |info| {
                    info.attr(libc::IFLA_INFO_KIND, b"vxlan");
                    info.nest(libc::IFLA_INFO_DATA, |data| vxlan(data, options));
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
    netns_fd(body, netns);
}

fn netns_fd(body: &mut Body<'_>, netns: Option<RawFd>) {
    if let Some(fd) = netns {
        body.attr_u32(libc::IFLA_NET_NS_FD, fd.cast_unsigned());
    }
}

/// A tunnel without a destination of its own. Over IPv6 the outer checksum is left out, as RFC 6935
/// lets tunnels; over IPv4 it costs nothing (`lco_csum`) and lets receivers merge segments.
fn vxlan(data: &mut Body<'_>, options: &VxlanOptions) {
    data.attr_u32(vxlan::ID, options.vni);
    data.attr(vxlan::PORT, &options.port.to_be_bytes());
    vxlan_local(data, options.local);
    data.attr(vxlan::LEARNING, &[0]);
    data.attr(vxlan::PROXY, &[1]);
    data.attr(vxlan::TOS, &[TOS_INHERIT]);
    if options.is_whole() {
        data.attr(vxlan::DF, &[vxlan::DF_SET]);
    }
    if options.local.is_ipv6() {
        data.attr(vxlan::UDP_ZERO_CSUM6_TX, &[1]);
        data.attr(vxlan::UDP_ZERO_CSUM6_RX, &[1]);
    }
}

fn vxlan_local(data: &mut Body<'_>, local: IpAddr) {
    match local {
        IpAddr::V4(addr) => data.attr(vxlan::LOCAL, &addr.octets()),
        IpAddr::V6(addr) => data.attr(vxlan::LOCAL6, &addr.octets()),
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

/// All in one attribute: of two of a kind the kernel reads the last alone.
fn kind_settings(body: &mut Body<'_>, settings: &Settings<'_>) {
    let of_kind = settings.mcast_snooping.is_some() || settings.tunnel_local.is_some();
    if !of_kind && settings.port.is_none() {
        return;
    }
    body.nest(libc::IFLA_LINKINFO, |info| {
        if let Some(snooping) = settings.mcast_snooping {
            info.attr(libc::IFLA_INFO_KIND, b"bridge");
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.attr(IFLA_BR_MCAST_SNOOPING, &[u8::from(snooping)]);
            });
        }
        if let Some(local) = settings.tunnel_local {
            info.attr(libc::IFLA_INFO_KIND, b"vxlan");
            info.nest(libc::IFLA_INFO_DATA, |data| vxlan_local(data, local));
        }
        if let Some(port) = settings.port {
            info.attr(libc::IFLA_INFO_SLAVE_KIND, b"bridge");
            info.nest(libc::IFLA_INFO_SLAVE_DATA, |data| {
                data.attr(IFLA_BRPORT_MODE, &[u8::from(port.hairpin)]);
                data.attr(IFLA_BRPORT_ISOLATED, &[u8::from(port.isolated)]);
                if port.tunnel {
                    data.attr(IFLA_BRPORT_LEARNING, &[0]);
                    data.attr(IFLA_BRPORT_UNICAST_FLOOD, &[0]);
                }
            });
        }
    });
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
    /// `ifi_change`: the flags that are told because they changed.
    changed: u32,
    /// `IFF_RUNNING`: what is sent is queued, not dropped (`rfc2863_policy`, before `dev_activate`
    /// under one lock).
    pub(crate) running: bool,
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
    /// As a bridge's port.
    pub(crate) port: PortSettings,
    /// As a bridge's port: it does not forward, or not yet.
    pub(crate) held: bool,
    /// `IFLA_VXLAN_*`: number, port and address.
    pub(crate) tunnel: (u32, u16, Option<IpAddr>),
    /// Whether a VXLAN device joins segments that come in, which is told apart from all else.
    pub(crate) gro: bool,
    /// Whether it gives itself IPv6 addresses; not so without IPv6 state.
    pub(crate) autoconf: bool,
    /// Its parameters of [`DEVCONF`]; none without IPv6 state.
    devconf: [Option<i32>; DEVCONF.len()],
}

impl Seen {
    /// Reads an `RTM_NEWLINK` or `RTM_DELLINK` payload.
    pub(crate) fn parse(payload: &[u8]) -> Self {
        let mut seen = Self {
            index: get_u32(payload, 4),
            up: get_u32(payload, 8) & UP != 0,
            changed: get_u32(payload, 12),
            running: get_u32(payload, 8) & RUNNING != 0,
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

    /// Adds what no message about links tells.
    fn complete(&mut self, socket: &Socket) {
        if self.kind == "vxlan" {
            // One that is gone by now had it as every new one has.
            self.gro = socket.joins_segments(&self.name).unwrap_or(true);
        }
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
                libc::IFLA_INFO_DATA if self.kind == "vxlan" => {
                    for (kind, value) in Attrs::of(value) {
                        match kind {
                            vxlan::ID => self.tunnel.0 = get_u32(value, 0),
                            vxlan::PORT => self.tunnel.1 = u16::from_be(get_u16(value, 0)),
                            vxlan::LOCAL | vxlan::LOCAL6 => self.tunnel.2 = ip(value),
                            _ => {}
                        }
                    }
                }
                libc::IFLA_INFO_SLAVE_DATA => {
                    for (kind, value) in Attrs::of(value) {
                        match kind {
                            IFLA_BRPORT_STATE => self.held = value.first() != Some(&FORWARDING),
                            IFLA_BRPORT_ISOLATED => self.port.isolated = truth(value),
                            IFLA_BRPORT_MODE => self.port.hairpin = truth(value),
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
        for (kind, value) in inet6.into_iter().flat_map(|(_, inet6)| Attrs::of(inet6)) {
            match kind {
                IFLA_INET6_ADDR_GEN_MODE => self.autoconf = value != [IN6_ADDR_GEN_MODE_NONE],
                IFLA_INET6_CONF => {
                    let at = |(_, place): (&str, usize)| {
                        (value.len() >= 4 * place + 4).then(|| get_i32(value, 4 * place))
                    };
                    self.devconf = DEVCONF.map(at);
                }
                _ => {}
            }
        }
    }

    /// A parameter of IPv6 on it, where the kernel told it with the link.
    pub(crate) fn ipv6_parameter(&self, name: &str) -> Option<i32> {
        let place = DEVCONF.iter().position(|(known, _)| *known == name)?;
        self.devconf[place]
    }

    /// Whether it is told because it was put down. All flags count as changed of one that was just
    /// made (`rtnl_configure_link`), and none when something else of it changed.
    pub(crate) const fn went_down(&self) -> bool {
        !self.up && self.changed & UP != 0 && self.changed != u32::MAX
    }

    /// Whether what is sent through it is not dropped.
    pub(crate) const fn passes_frames(&self) -> bool {
        self.running && !self.held
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
    links.iter_mut().for_each(|seen| seen.complete(socket));
    Ok(links)
}

/// The bridges of the socket's namespace; the kernel passes over all else, which costs a
/// hundredth of showing it.
pub(crate) fn dump_bridges(socket: &mut Socket) -> io::Result<Vec<Seen>> {
    let mut bridges = Vec::new();
    let body = |body: &mut Body<'_>| {
        header(body, 0, None);
        body.attr_u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        body.nest(libc::IFLA_LINKINFO, |info| {
            info.attr(libc::IFLA_INFO_KIND, b"bridge");
        });
    };
    socket.dump(libc::RTM_GETLINK, body, |payload| {
        let seen = Seen::parse(payload);
        // A kernel that knows no bridges, or no filter, shows all.
        if seen.kind == "bridge" {
            bridges.push(seen);
        }
    })?;
    Ok(bridges)
}

/// One link; `None` when there is none of that name.
pub(crate) fn get(socket: &mut Socket, name: &str) -> io::Result<Option<Seen>> {
    one(socket, Which::Name(name))
}

/// One link; `None` when there is none of that index.
pub(crate) fn by_index(socket: &mut Socket, index: u32) -> io::Result<Option<Seen>> {
    one(socket, Which::Index(index))
}

fn one(socket: &mut Socket, which: Which<'_>) -> io::Result<Option<Seen>> {
    let body = |body: &mut Body<'_>| {
        match which {
            Which::Index(index) => header(body, index, None),
            Which::Name(name) => {
                header(body, 0, None);
                body.attr_str(libc::IFLA_IFNAME, name);
            }
        }
        body.attr_u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    };
    let found = socket.get(libc::RTM_GETLINK, body)?;
    Ok(found.map(|payload| {
        let mut seen = Seen::parse(&payload);
        seen.complete(socket);
        seen
    }))
}
