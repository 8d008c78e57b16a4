//! From what all namespaces show to objects of ours.

use super::{inside::Inside, normal, ways};
use crate::{
    netlink::{fdb, link, route},
    sysctl,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};
use vw_hoststate::{
    Address, Forward, Key, Link, LinkKind, Neighbor, Netns, Object, Objects, Proxy, Sysctl,
};
use vw_model::{IfName, MacAddr};

/// Ends of pairs, by their own index and that of the end across.
type Ends<'a> = HashMap<(u32, u32), Vec<(Netns, &'a link::Seen)>>;

/// Adds every object that is ours or expected to `found`.
pub(super) fn gather(insides: &BTreeMap<Netns, Inside>, expected: &Objects, found: &mut Objects) {
    let mut ends = Ends::new();
    for (netns, inside) in insides {
        for seen in inside.links.iter().filter(|seen| seen.kind == "veth") {
            let Some(other) = seen.other else { continue };
            let ends = ends.entry((seen.index, other)).or_default();
            ends.push((*netns, seen));
        }
    }
    for (netns, inside) in insides {
        let scene = Scene {
            netns: *netns,
            inside,
            expected,
            names: inside
                .links
                .iter()
                .filter_map(|seen| Some((seen.index, seen.name.parse().ok()?)))
                .collect(),
        };
        scene.links(&ends, found);
        scene.addresses(found);
        scene.routes(found);
        scene.neighbors(found);
        scene.proxies(found);
        scene.forwards(found);
        ways::gather(*netns, inside, &scene.names, expected, found);
        ways::translators(*netns, inside, &scene.names, found);
        scene.wireguard(found);
        scene.sysctls(found);
        let tables = inside.table.iter().chain(&inside.services);
        let table = tables.cloned().map(Object::Table);
        let elements = inside.elements.iter().cloned();
        let elements = elements.map(|element| match netns {
            Netns::Sandbox(sandbox) => Object::Balance(*sandbox, element),
            _ => Object::Element(element),
        });
        for object in table.chain(elements) {
            found.insert(object.key(), object);
        }
    }
}

struct Scene<'a> {
    netns: Netns,
    inside: &'a Inside,
    expected: &'a Objects,
    names: HashMap<u32, IfName>,
}

impl Scene<'_> {
    fn is_expected(&self, key: &Key) -> bool {
        self.expected.contains_key(key)
    }

    fn links(&self, ends: &Ends<'_>, found: &mut Objects) {
        for seen in self.inside.links.iter().filter(|seen| !seen.is_doomed()) {
            let Some(name) = self.names.get(&seen.index) else {
                continue;
            };
            let key = Key::Link(self.netns, name.clone());
            let wanted = match self.expected.get(&key) {
                Some(Object::Link(link)) => Some(link),
                _ => None,
            };
            if wanted.is_none() && !seen.is_ours() {
                continue;
            }
            let far = far_end(self.netns, seen, wanted, ends);
            let bridge = seen.master.and_then(|master| self.names.get(&master));
            let link = normal::link(self.netns, seen, far, bridge);
            let Some(link) = link.or_else(|| normal::half_pair(self.netns, seen)) else {
                continue;
            };
            let object = Object::Link(link);
            let in_service =
                normal::in_service(seen) && far.is_none_or(|(_, far)| normal::in_service(far));
            // One that only must be brought up is as if it were not there: making it does that.
            let wanted = wanted.cloned().map(Object::Link);
            if in_service || !wanted.is_some_and(|wanted| wanted.matches(&object)) {
                found.insert(key, object);
            }
        }
    }

    fn addresses(&self, found: &mut Objects) {
        for seen in &self.inside.addresses {
            let Some(link) = self.names.get(&seen.index) else {
                continue;
            };
            let object = Object::Address(Address {
                netns: self.netns,
                link: link.clone(),
                addr: seen.addr,
            });
            // An end that is out of service keeps its addresses until it goes.
            let doomed = link.as_str().starts_with("vwx");
            if (seen.ours && !doomed) || self.is_expected(&object.key()) {
                found.insert(object.key(), object);
            }
        }
    }

    fn routes(&self, found: &mut Objects) {
        let object = |seen: &route::Seen, metric| {
            let link = seen.link.and_then(|index| self.names.get(&index));
            normal::route(self.netns, seen, link.cloned(), metric).map(Object::Route)
        };
        // Ours last: under one key they count.
        let (ours, others): (Vec<_>, Vec<_>) =
            self.inside.routes.iter().partition(|seen| seen.ours);
        for seen in others.into_iter().chain(ours) {
            let explicit = object(seen, route::IPV6_DEFAULT_METRIC)
                .filter(|object| self.is_expected(&object.key()));
            let Some(object) = explicit.or_else(|| object(seen, 0)) else {
                continue;
            };
            if seen.ours || self.is_expected(&object.key()) {
                found.insert(object.key(), object);
            }
        }
    }

    fn neighbors(&self, found: &mut Objects) {
        for seen in &self.inside.neighbors {
            let Some(link) = self.names.get(&seen.index) else {
                continue;
            };
            let object = Object::Neighbor(Neighbor {
                netns: self.netns,
                link: link.clone(),
                addr: seen.addr,
                mac: seen.mac,
            });
            if seen.ours || self.is_expected(&object.key()) {
                found.insert(object.key(), object);
            }
        }
    }

    fn proxies(&self, found: &mut Objects) {
        for seen in &self.inside.proxies {
            let Some(link) = self.names.get(&seen.index) else {
                continue;
            };
            let object = Object::Proxy(Proxy {
                netns: self.netns,
                link: link.clone(),
                addr: seen.addr,
            });
            if seen.ours || self.is_expected(&object.key()) {
                found.insert(object.key(), object);
            }
        }
    }

    /// What tunnels of ours forward. An entry that one of the two tables lacks is as if it were
    /// not there; one of the bridge's alone leads nowhere.
    fn forwards(&self, found: &mut Objects) {
        let mut bridged: HashSet<(u32, MacAddr)> = HashSet::new();
        let mut tunnelled = Vec::new();
        for seen in &self.inside.forwards {
            match seen.of {
                fdb::Table::Bridge => drop(bridged.insert((seen.index, seen.mac))),
                fdb::Table::Tunnel(host) => tunnelled.push((seen.index, seen.mac, host)),
            }
        }
        for link in self.inside.links.iter().filter(|link| link.kind == "vxlan") {
            let Some(name) = self.names.get(&link.index).filter(|_| link.is_ours()) else {
                continue;
            };
            let mut tell = |mac, dst| {
                let object = Object::Forward(Forward {
                    netns: self.netns,
                    link: name.clone(),
                    mac,
                    dst,
                });
                found.insert(object.key(), object);
            };
            let here = |index: u32| index == link.index;
            let wanted = self.expected.get(&Key::Link(self.netns, name.clone()));
            let is_port = link.master.is_some()
                || matches!(wanted, Some(Object::Link(wanted)) if wanted.port.is_some());
            let mut doomed = self.inside.links.iter().filter(|link| link.is_doomed());
            let on_its_way_out = doomed.any(|bridge| Some(bridge.index) == link.master);
            let mut known = HashSet::new();
            for (_, mac, host) in tunnelled.iter().filter(|(index, ..)| here(*index)) {
                known.insert(*mac);
                let whole = !is_port
                    || !fdb::is_station(*mac)
                    || (bridged.contains(&(link.index, *mac)) && !on_its_way_out);
                if whole {
                    tell(*mac, *host);
                }
            }
            let nowhere = match link.tunnel.2 {
                Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            };
            for (_, mac) in bridged.iter().filter(|(index, _)| here(*index)) {
                if !known.contains(mac) {
                    tell(*mac, nowhere);
                }
            }
        }
    }

    /// The keys and the peers of encrypted tunnels of ours.
    fn wireguard(&self, found: &mut Objects) {
        let keys = self.inside.wireguard.keys.iter().cloned();
        let peers = self.inside.wireguard.peers.iter().cloned();
        let objects = keys.map(Object::WireguardKey);
        for object in objects.chain(peers.map(Object::WireguardPeer)) {
            found.insert(object.key(), object);
        }
    }

    fn sysctls(&self, found: &mut Objects) {
        for (path, value) in &self.inside.sysctls {
            let key = Key::Sysctl(self.netns, path.clone());
            let object = match self.expected.get(&key) {
                Some(Object::Sysctl(wanted)) if sysctl::same(&wanted.value, value) => {
                    wanted.clone()
                }
                _ => Sysctl {
                    netns: self.netns,
                    path: path.clone(),
                    value: value.clone(),
                    previous: None,
                },
            };
            found.insert(key, Object::Sysctl(object));
        }
    }
}

/// The other end of a pair. Indexes may meet by chance in many namespaces: the one where it is
/// expected comes first. In networks' namespaces, whose few links have the same few indexes, they
/// do meet, and no guess is made.
fn far_end<'a>(
    netns: Netns,
    seen: &link::Seen,
    wanted: Option<&Link>,
    ends: &Ends<'a>,
) -> Option<(Netns, &'a link::Seen)> {
    let candidates = ends.get(&(seen.other?, seen.index))?;
    let home = match wanted.map(|link| &link.kind) {
        Some(LinkKind::Veth(peer)) => Some(peer.netns),
        _ => None,
    };
    let expected = candidates.iter().find(|(netns, _)| Some(*netns) == home);
    let guess = || match netns {
        Netns::Network(_) => None,
        Netns::Host | Netns::Sandbox(_) | Netns::Tunnel => candidates.first(),
    };
    expected.or_else(guess).copied()
}
