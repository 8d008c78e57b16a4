//! From what the kernel shows to what plans say.

use crate::netlink::{link, route};
use vw_hoststate::{
    BridgeOptions, Link, LinkKind, Netns, Peer, PortOptions, Route, RouteKind, VxlanOptions,
};
use vw_model::IfName;

/// Whether two links are the ends of one pair.
pub(crate) fn are_pair(near: &link::Seen, far: &link::Seen) -> bool {
    near.kind == "veth"
        && far.kind == "veth"
        && far.other == Some(near.index)
        && near.other == Some(far.index)
}

/// A link as plans say it; `None` for kinds that they do not know.
///
/// `far` is the other end of a pair and where it lies, `bridge` the name of the link's master.
pub(crate) fn link(
    netns: Netns,
    seen: &link::Seen,
    far: Option<(Netns, &link::Seen)>,
    bridge: Option<&IfName>,
) -> Option<Link> {
    let kind = match seen.kind.as_str() {
        "bridge" => LinkKind::Bridge(BridgeOptions {
            mcast_snooping: seen.mcast_snooping,
        }),
        "dummy" => LinkKind::Dummy,
        "tun" => LinkKind::Tun,
        "wireguard" => LinkKind::Wireguard,
        "vxlan" => {
            let (vni, port, local) = seen.tunnel;
            let local = local?;
            LinkKind::Vxlan(VxlanOptions {
                vni,
                port,
                local,
                gro: seen.gro,
            })
        }
        "veth" => {
            let (netns, far) = far?;
            LinkKind::Veth(Peer {
                netns,
                name: far.name.parse().ok()?,
                mac: far.mac?,
            })
        }
        _ => return None,
    };
    Some(Link {
        netns,
        name: seen.name.parse().ok()?,
        kind,
        mac: seen.mac,
        mtu: seen.mtu,
        port: bridge.map(|bridge| PortOptions {
            bridge: bridge.clone(),
            isolated: seen.port.isolated,
            hairpin: seen.port.hairpin,
        }),
        alias: seen.alias.clone(),
    })
}

/// A pair whose other end cannot be seen, so that it can be named and removed.
pub(crate) fn half_pair(netns: Netns, seen: &link::Seen) -> Option<Link> {
    let here = (seen.kind == "veth").then_some(netns)?;
    link(netns, seen, Some((here, seen)), None)
}

/// Whether a link is up and leaves its addresses to us.
pub(crate) const fn in_service(seen: &link::Seen) -> bool {
    seen.up && !(seen.autoconf && link::has_ipv6(seen.mtu))
}

/// A route as plans say it; `None` for what they do not know. `wanted` is the metric to take
/// IPv6's default for.
pub(crate) fn route(
    netns: Netns,
    seen: &route::Seen,
    link: Option<IfName>,
    wanted: u32,
) -> Option<Route> {
    let kind = seen.route_kind()?;
    let table = match kind {
        RouteKind::Local => libc::RT_TABLE_LOCAL,
        RouteKind::Unicast | RouteKind::Unreachable => libc::RT_TABLE_MAIN,
    };
    if seen.table != u32::from(table) {
        return None;
    }
    let is_default = seen.metric == 0 && seen.dst.addr().is_ipv6();
    Some(Route {
        netns,
        dst: seen.dst,
        kind,
        via: seen.via,
        // IPv6 shows the loopback as the link of what it refuses.
        link: link.filter(|_| kind != RouteKind::Unreachable),
        metric: if is_default && wanted == route::IPV6_DEFAULT_METRIC {
            wanted
        } else {
            seen.metric
        },
        mtu: seen.mtu,
    })
}
