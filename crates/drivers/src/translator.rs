//! What translates IPv6 into IPv4 for ports that are published for endpoints without IPv6.
//!
//! Owns the link that does so, the same for all such ports of the host and there as long as one is,
//! and the ways that lead to it. Who is led there is said by the firewall.

use crate::DriverContext;
use std::net::IpAddr;
use vw_firewall::{STAND_IN, TRANSLATED, TRANSLATOR, mapped, mapped_net, translator};
use vw_hoststate::{
    BridgeOptions, Link, LinkKind, Neighbor, Netns, Object, Route, RouteKind, Sysctl, Translator,
};
use vw_model::{Family, IfName, IpNet, MacAddr};

/// Its own, which all that it sends is for.
const MAC: MacAddr = MacAddr([0x02, 0x76, 0x77, 0x36, 0x34, 0x00]);
/// As much as a packet can be: segments that travel together come here too, and those of this host.
const MTU: u32 = 65535;
/// No bridge's.
const METRIC: u32 = u32::MAX - 1;
/// The least MTU of IPv6.
const LEAST: u32 = 1280;
/// Whether routes by a link without a carrier are passed over.
const CARRIER: &str = "ignore_routes_with_linkdown";
/// What an IPv6 header is longer by.
const LONGER: u32 = 20;

/// The objects: the same for each that wants them.
///
/// The link is a bridge without ports, which every host can have that has networks of ours. It asks
/// nobody for a neighbour: what leaves by it is translated, and comes in by it again.
///
/// # Panics
/// Never: the link's name can be an interface's.
#[must_use]
pub fn plan(cx: &DriverContext) -> Vec<Object> {
    let link: IfName = TRANSLATOR
        .parse()
        .expect("13 octets, and none that an interface's may not have");
    let neighbor = |addr: IpAddr| {
        Object::Neighbor(Neighbor {
            netns: Netns::Host,
            link: link.clone(),
            addr,
            mac: MAC,
        })
    };
    let sysctl = |version: &str, name: &str, value: &str| {
        Object::Sysctl(Sysctl {
            netns: Netns::Host,
            path: format!("net/{version}/conf/{link}/{name}"),
            value: value.to_owned(),
            previous: None,
        })
    };
    let mut objects = vec![
        Object::Link(Link {
            netns: Netns::Host,
            name: link.clone(),
            kind: LinkKind::Bridge(BridgeOptions {
                mcast_snooping: false,
            }),
            mac: Some(MAC),
            mtu: MTU,
            port: None,
            alias: "vethwork:translator".to_owned(),
        }),
        sysctl("ipv6", "accept_ra", "0"),
        sysctl("ipv6", "disable_ipv6", "0"),
        // A bridge without ports has no carrier.
        sysctl("ipv4", CARRIER, "0"),
        sysctl("ipv6", CARRIER, "0"),
        neighbor(TRANSLATED.into()),
        neighbor(mapped(TRANSLATED).into()),
        Object::Translator(Translator {
            netns: Netns::Host,
            link: link.clone(),
        }),
    ];
    objects.extend(ways(cx, &link));
    objects.extend(translator(&link).into_iter().map(Object::Element));
    objects
}

/// What leads to the link. An answer grows on its way to who asked: the MTU of that way is such that it
/// fits then.
fn ways(cx: &DriverContext, link: &IfName) -> [Object; 4] {
    let way = |dst: IpNet| Route {
        netns: Netns::Host,
        dst,
        kind: RouteKind::Unicast,
        via: None,
        link: Some(link.clone()),
        metric: 0,
        mtu: None,
    };
    let alone = |addr: IpAddr| IpNet::from(addr);
    let asking = IpAddr::from(mapped(TRANSLATED));
    let answer = Route {
        mtu: Some(cx.mtu.max(LEAST) - LONGER),
        ..way(alone(TRANSLATED.into()))
    };
    let led = Route {
        via: Some(asking),
        ..way(mapped_net().into())
    };
    // As on each bridge that publishes by IPv6.
    let localhost = Route {
        kind: RouteKind::Local,
        metric: METRIC,
        ..way(alone(STAND_IN.into()))
    };
    [answer, way(alone(asking)), led, localhost].map(Object::Route)
}

/// Whether the daemon's settings have who asks over IPv6 led to IPv4 addresses, where the host can.
#[must_use]
pub const fn may_translate(cx: &DriverContext) -> bool {
    cx.ipv6 && cx.filters(Family::V4) && cx.filters(Family::V6)
}

/// Whether who asks over IPv6 can be led to IPv4 addresses.
#[must_use]
pub const fn translates(cx: &DriverContext) -> bool {
    cx.no_translation.is_none() && may_translate(cx)
}
