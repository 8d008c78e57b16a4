//! Reads what the daemon must know of the host; the calling thread must be in its namespace.

use crate::{
    HostFacts, HostRoute,
    netlink::{Socket, addr, link, route},
    sysctl,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

const DEFAULT_MTU: u32 = 1500;
/// `net.ipv4.ip_local_port_range` of a kernel that was not told otherwise.
const EPHEMERAL: (u16, u16) = (32768, 60999);
/// What the daemon may have to switch for its networks to work.
const SWITCHES: [&str; 4] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
];
/// `LOOPBACK_IFINDEX`.
const LOOPBACK: u32 = 1;
/// Kinds of links that hand on what other links take in.
const ON_HARDWARE: [&str; 6] = ["bond", "bridge", "ipvlan", "macvlan", "team", "vlan"];
/// Addresses for documentation (RFC 5737, RFC 3849), which only a default route leads to.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// Reads all but the namespace's identity.
pub(crate) fn read() -> io::Result<HostFacts> {
    let mut socket = Socket::open()?;
    let routes = route::dump(&mut socket)?;
    let addresses = lasting_first(addr::dump(&mut socket)?);
    let links = links_of(&mut socket, &routes, &addresses)?;
    let bridges = link::dump_bridges(&mut socket)?;
    let named = |index| links.get(&index).map(|seen| seen.name.clone());
    let default = routes.iter().filter(|seen| is_default(seen));
    let default_mtu = default
        .min_by_key(|seen| (seen.dst.addr().is_ipv6(), seen.metric))
        .and_then(|seen| links.get(&seen.link?))
        .map_or(DEFAULT_MTU, |seen| seen.mtu);
    let has_default = |ip: &&IpAddr| {
        let mut routes = routes.iter().filter(|seen| is_default(seen));
        routes.any(|seen| seen.dst.addr().is_ipv6() == ip.is_ipv6())
    };
    let foreign = bridges.iter().filter(|seen| !seen.is_ours());
    let foreign_bridges: Vec<String> = foreign.map(|seen| seen.name.clone()).collect();
    let local = foreign_bridges
        .iter()
        .map(|name| format!("net/ipv4/conf/{name}/route_localnet"));
    let switches = SWITCHES.into_iter().map(str::to_owned).chain(local);
    Ok(HostFacts {
        routes: routes
            .iter()
            .filter_map(|seen| specific(seen, &links))
            .collect(),
        addresses: addresses
            .iter()
            .filter_map(|seen| Some((named(seen.index)?, seen.addr)))
            .collect(),
        passing: passing(&addresses),
        default_mtu,
        mtus: links
            .values()
            .map(|seen| (seen.name.clone(), seen.mtu))
            .collect(),
        merging: merging(&socket, &links),
        default_source: ELSEWHERE
            .iter()
            .filter(has_default)
            .filter_map(|ip| source_for(*ip))
            .collect(),
        ephemeral_ports: ephemeral_ports()?,
        bridge_netfilter: bridge_netfilter()?,
        sysctls: switches
            .filter_map(|path| {
                let value = sysctl::read(&path).transpose()?;
                Some(Ok((path, value)))
            })
            .map(|entry: io::Result<(String, io::Result<String>)>| {
                entry.and_then(|(path, value)| Ok((path, value?)))
            })
            .collect::<io::Result<_>>()?,
        foreign_bridges,
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")?
            .trim_end()
            .to_owned(),
        netns: (0, 0),
    })
}

fn lasting_first(mut addresses: Vec<addr::Seen>) -> Vec<addr::Seen> {
    addresses.sort_by_key(|seen| (!seen.usable, seen.passing));
    addresses
}

/// Of IPv4 a secondary address has the flag of a temporary one of IPv6, and serves as well as the first.
fn passing(addresses: &[addr::Seen]) -> BTreeSet<IpAddr> {
    let passing = addresses.iter().filter(|seen| !seen.usable || seen.passing);
    let passing = passing.map(|seen| seen.addr.addr());
    passing.filter(IpAddr::is_ipv6).collect()
}

/// The links that routes and addresses name: few, while sandboxes' links are many, and showing one
/// takes the kernel 20 to 40 us.
fn links_of(
    socket: &mut Socket,
    routes: &[route::Seen],
    addresses: &[addr::Seen],
) -> io::Result<HashMap<u32, link::Seen>> {
    let outside = routes.iter().filter(|seen| !is_aside(seen));
    let named = outside.filter_map(|seen| seen.link);
    let named: BTreeSet<u32> = named
        .chain(addresses.iter().map(|seen| seen.index))
        .collect();
    let mut links = HashMap::new();
    for index in named {
        if let Some(seen) = link::by_index(socket, index)? {
            links.insert(index, seen);
        }
    }
    Ok(links)
}

/// The links of others' making by which segments come in joined.
///
/// A pair's other end hands over what was sent as it was. Else packets come in by hardware, or by
/// what stands on hardware, whose own switch is what counts then; of the rest nothing is known.
fn merging(socket: &Socket, links: &HashMap<u32, link::Seen>) -> BTreeSet<String> {
    let joins = |seen: &link::Seen| socket.joins_segments(&seen.name).unwrap_or(false);
    let merges = |seen: &&link::Seen| match seen.kind.as_str() {
        "veth" => true,
        "" => seen.index != LOOPBACK && joins(seen),
        kind => ON_HARDWARE.contains(&kind) && joins(seen),
    };
    let others = links.values().filter(|seen| !seen.is_ours());
    others
        .filter(merges)
        .map(|seen| seen.name.clone())
        .collect()
}

fn is_default(seen: &route::Seen) -> bool {
    seen.dst.prefix_len() == 0 && seen.kind == libc::RTN_UNICAST
}

/// A route that address pools must keep clear of: neither a default route, nor the host's own
/// addresses, broadcast and multicast, nor what every link has.
fn specific(seen: &route::Seen, links: &HashMap<u32, link::Seen>) -> Option<HostRoute> {
    if is_aside(seen) || seen.dst.prefix_len() == 0 {
        return None;
    }
    let link = seen.link.and_then(|index| links.get(&index));
    Some(HostRoute {
        dst: seen.dst,
        link: link.map(|link| link.name.clone()),
        ours: seen.ours || link.is_some_and(link::Seen::is_ours),
    })
}

/// Whether a route is of the kind that every host and every link has.
fn is_aside(seen: &route::Seen) -> bool {
    let local = seen.table == u32::from(libc::RT_TABLE_LOCAL);
    let aside = [
        libc::RTN_BROADCAST,
        libc::RTN_ANYCAST,
        libc::RTN_MULTICAST,
        libc::RTN_LOCAL,
    ];
    let everywhere = match seen.dst.addr() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_loopback() || v6.is_multicast(),
    };
    local || aside.contains(&seen.kind) || everywhere
}

/// The address that packets to `ip` would come from: a connected socket knows, and sends nothing.
fn source_for(ip: IpAddr) -> Option<IpAddr> {
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    rustix::net::connect(&socket, &SocketAddr::new(ip, 9)).ok()?;
    let local = rustix::net::getsockname(&socket).ok()?;
    SocketAddr::try_from(local).ok().map(|addr| addr.ip())
}

fn ephemeral_ports() -> io::Result<(u16, u16)> {
    let text = sysctl::read("net/ipv4/ip_local_port_range")?.unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Ok(match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => (first, last),
        _ => EPHEMERAL,
    })
}

fn bridge_netfilter() -> io::Result<Option<(bool, bool)>> {
    let read = |path| Ok(sysctl::read(path)?.map(|value| value != "0"));
    let v4: io::Result<Option<bool>> = read("net/bridge/bridge-nf-call-iptables");
    let v6: io::Result<Option<bool>> = read("net/bridge/bridge-nf-call-ip6tables");
    Ok(v4?.zip(v6?))
}
