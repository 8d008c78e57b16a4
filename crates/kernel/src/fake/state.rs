//! What the fake holds, and what a step does to it.

use super::{Flow, refused};
use crate::{
    HostFacts, KernelError, PortClaim,
    claims::{Claims, Place, meet},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use vw_hoststate::{
    Key, Link, LinkKind, NamespaceSource, Netns, Object, Objects, Step, Sysctl, WireguardKey,
};
use vw_model::{IfName, Protocol, PublicKey, SandboxId};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<Key, Object>,
    pub(super) fail_in: Option<usize>,
    pub(super) tried: usize,
    pub(super) dead: Vec<NamespaceSource>,
    pub(super) facts: HostFacts,
    pub(super) strangers: BTreeSet<Place>,
    /// The public halves of the private keys that are known.
    pub(super) keys: BTreeSet<PublicKey>,
    pub(super) lacks_wireguard: bool,
    /// Why no packets are translated.
    pub(super) untranslated: Option<String>,
    /// Keys of other hosts by which sessions were agreed.
    pub(super) agreed: BTreeSet<PublicKey>,
    pub(super) flows: Vec<Flow>,
    pub(super) awaited: Vec<(Flow, Duration)>,
    pub(super) cut_off: Vec<(Netns, IpAddr)>,
    claims: Claims,
    /// Parameters that nobody wants any more, with the value put back.
    restored: BTreeMap<Key, Sysctl>,
}

impl State {
    pub(super) fn step(&mut self, step: &Step) -> Result<(), KernelError> {
        self.tried += 1;
        match self.fail_in {
            Some(0 | 1) => {
                self.fail_in = None;
                let object = format!("{:?}", step.key());
                return Err(KernelError::Call {
                    operation: "apply step to",
                    object,
                    source: io::Error::other("made to fail"),
                });
            }
            Some(n) => self.fail_in = Some(n - 1),
            None => {}
        }
        match step {
            Step::Create(object) => self.create(object),
            Step::Replace { old, new } => self.replace(old, new),
            Step::Delete(object) => {
                if let (Object::Sysctl(sysctl), true) =
                    (object, self.objects.contains_key(&object.key()))
                    && let Some(previous) = &sysctl.previous
                {
                    let back = Sysctl {
                        value: previous.clone(),
                        previous: None,
                        ..sysctl.clone()
                    };
                    self.restored.insert(object.key(), back);
                }
                self.remove(&object.key());
                Ok(())
            }
        }
    }

    fn create(&mut self, object: &Object) -> Result<(), KernelError> {
        let key = object.key();
        self.check(object)?;
        let overwrites = matches!(
            object,
            Object::Sysctl(_)
                | Object::Neighbor(_)
                | Object::Proxy(_)
                | Object::Table(_)
                | Object::Shortcut(_)
        );
        if let Object::Shortcut(shortcut) = object
            && !self.has_shortcuts(shortcut.netns)
        {
            return Ok(());
        }
        match self.objects.get(&key) {
            Some(stands) if !overwrites && !object.matches(stands) => {
                return Err(refused(
                    "create",
                    format!("{key:?}"),
                    ErrorKind::AlreadyExists,
                ));
            }
            _ => {}
        }
        self.restored.remove(&key);
        self.put(object);
        Ok(())
    }

    /// Puts an object in its place. An address inside the encrypted tunnel is one peer's alone.
    fn put(&mut self, object: &Object) {
        if let Object::WireguardPeer(told) = object {
            for other in self.objects.values_mut() {
                if let Object::WireguardPeer(other) = other
                    && (other.netns, &other.link) == (told.netns, &told.link)
                {
                    other.allowed.retain(|net| !told.allowed.contains(net));
                }
            }
        }
        let is_left_out = match object {
            Object::Translator(_) => true,
            Object::Element(element) => vw_firewall::is_translated(element),
            _ => false,
        };
        if self.untranslated.is_none() || !is_left_out {
            self.objects.insert(object.key(), object.clone());
        }
    }

    fn replace(&mut self, old: &Object, new: &Object) -> Result<(), KernelError> {
        let anew = match (old, new) {
            (Object::Link(old), Object::Link(new)) => !old.kind.becomes(&new.kind),
            _ => false,
        };
        if anew {
            self.remove(&old.key());
        } else if let Object::Link(_) = new
            && !self.objects.contains_key(&new.key())
        {
            let object = format!("{:?}", new.key());
            return Err(refused("change", object, ErrorKind::NotFound));
        }
        self.check(new)?;
        self.put(new);
        Ok(())
    }

    /// Whether what an object needs is there.
    fn check(&self, object: &Object) -> Result<(), KernelError> {
        if let Object::Namespace(namespace) = object {
            let pinned = self.objects.contains_key(&object.key());
            return match self.dead.contains(&namespace.source) && !pinned {
                true => Err(gone(namespace.netns)),
                false => Ok(()),
            };
        }
        object
            .namespaces()
            .into_iter()
            .try_for_each(|netns| self.require(netns))?;
        let there = |operation, netns, link: &IfName| match self.has_link(netns, link) {
            true => Ok(()),
            false => Err(refused(operation, link.to_string(), ErrorKind::NotFound)),
        };
        match object {
            Object::Link(link) => {
                if let Some(port) = &link.port {
                    there("join bridge", link.netns, &port.bridge)?;
                }
                self.check_names(link)?;
                self.check_tunnel(link)
            }
            Object::Address(address) => there("add address to", address.netns, &address.link),
            Object::Neighbor(neighbor) => there("add neighbour to", neighbor.netns, &neighbor.link),
            Object::Proxy(proxy) => there("answer on", proxy.netns, &proxy.link),
            Object::Forward(forward) => there("forward by", forward.netns, &forward.link),
            Object::WireguardKey(key) => self.check_key(key),
            Object::WireguardPeer(peer) => there("add peer to", peer.netns, &peer.link),
            Object::Shortcuts(made) => there("make shortcuts from", made.netns, &made.link),
            Object::Shortcut(made) => there("make shortcut by", made.netns, &made.link),
            Object::Translator(made) => there("translate by", made.netns, &made.link),
            Object::Route(route) => match &route.link {
                Some(link) => there("add route by", route.netns, link),
                None => Ok(()),
            },
            Object::Element(element) if !self.objects.contains_key(&table_of(element.set)) => {
                let table = format!("nftables table inet {}", element.set.table());
                Err(refused("add element to", table, ErrorKind::NotFound))
            }
            Object::Balance(sandbox, _)
                if !self
                    .objects
                    .contains_key(&Key::Table(Netns::Sandbox(*sandbox))) =>
            {
                let table = format!("nftables table of {}", sandbox.short());
                Err(refused("add element to", table, ErrorKind::NotFound))
            }
            Object::Balance(..)
            | Object::Element(_)
            | Object::Sysctl(_)
            | Object::Table(_)
            | Object::Namespace(_) => Ok(()),
        }
    }

    /// The private half must be known, and the tunnel the kernel's.
    fn check_key(&self, key: &WireguardKey) -> Result<(), KernelError> {
        self.require_tunnel(&key.link, &LinkKind::Wireguard)?;
        match self.keys.contains(&key.public) {
            true => Ok(()),
            false => Err(refused("use", key.public.to_string(), ErrorKind::NotFound)),
        }
    }

    /// The names of both ends must be free, or its own.
    fn check_names(&self, link: &Link) -> Result<(), KernelError> {
        let others = || self.links().filter(|other| other.key() != key(link));
        let mut wanted = vec![(link.netns, &link.name)];
        wanted.extend(far_end(link));
        let taken = wanted.into_iter().find(|(netns, name)| {
            others().any(|other| {
                (other.link.netns, &other.link.name) == (*netns, *name)
                    || far_end(other.link) == Some((*netns, *name))
            })
        });
        match taken {
            Some((_, name)) => Err(refused(
                "create link",
                name.to_string(),
                ErrorKind::AlreadyExists,
            )),
            None => Ok(()),
        }
    }

    /// A tunnel's number must be free among those of its port, or its own.
    fn check_tunnel(&self, link: &Link) -> Result<(), KernelError> {
        if link.kind == LinkKind::Wireguard && self.lacks_wireguard {
            return Err(KernelError::Missing {
                feature: "WireGuard",
                remedy: "load the module `wireguard`",
            });
        }
        let number = |kind: &LinkKind| match kind {
            LinkKind::Vxlan(tunnel) => {
                let family = tunnel.local.is_ipv4();
                Some((tunnel.vni, tunnel.port, family, tunnel.socket_netns()))
            }
            _ => None,
        };
        let wanted = number(&link.kind);
        let mut others = self.links().filter(|other| other.key() != key(link));
        match wanted.is_some() && others.any(|other| number(&other.link.kind) == wanted) {
            true => Err(refused(
                "create link",
                link.name.to_string(),
                ErrorKind::AlreadyExists,
            )),
            false => Ok(()),
        }
    }

    fn links(&self) -> impl Iterator<Item = Held<'_>> {
        self.objects.values().filter_map(|object| match object {
            Object::Link(link) => Some(Held { link }),
            _ => None,
        })
    }

    fn has_link(&self, netns: Netns, name: &IfName) -> bool {
        name.as_str() == "lo"
            || self.links().any(|held| {
                (held.link.netns, &held.link.name) == (netns, name)
                    || far_end(held.link) == Some((netns, name))
            })
    }

    /// By the order of keys: of stations there are thousands.
    fn has_shortcuts(&self, netns: Netns) -> bool {
        let Ok(least) = "!".parse() else {
            return false;
        };
        let mut from = self.objects.range(Key::Shortcuts(netns, least)..);
        let first = from.next();
        first.is_some_and(|(key, _)| matches!(key, Key::Shortcuts(of, _) if *of == netns))
    }

    pub(super) fn require(&self, netns: Netns) -> Result<(), KernelError> {
        match netns == Netns::Host || self.objects.contains_key(&Key::Namespace(netns)) {
            true => Ok(()),
            false => Err(gone(netns)),
        }
    }

    pub(super) fn require_link(&self, netns: Netns, name: &IfName) -> Result<(), KernelError> {
        self.require(netns)?;
        match self.objects.contains_key(&Key::Link(netns, name.clone())) {
            true => Ok(()),
            false => Err(refused("listen on", name.to_string(), ErrorKind::NotFound)),
        }
    }

    pub(super) fn require_tunnel(&self, name: &IfName, kind: &LinkKind) -> Result<(), KernelError> {
        self.require(Netns::Tunnel)?;
        let is_it = |held: Held<'_>| {
            let link = held.link;
            (link.netns, &link.name, &link.kind) == (Netns::Tunnel, name, kind)
        };
        match self.links().any(is_it) {
            true => Ok(()),
            false => Err(refused("open", name.to_string(), ErrorKind::NotFound)),
        }
    }

    /// The encrypted tunnel that stands, and its port where that is the kernel's.
    pub(super) fn standing_tunnel(&self, name: &IfName) -> Option<(LinkKind, Option<u16>)> {
        let link = self.objects.get(&Key::Link(Netns::Tunnel, name.clone()));
        let Some(Object::Link(link)) = link else {
            return None;
        };
        let key = Key::WireguardKey(Netns::Tunnel, name.clone());
        let port = match self.objects.get(&key) {
            Some(Object::WireguardKey(key)) => Some(key.port),
            _ => None,
        };
        Some((link.kind.clone(), port))
    }

    /// Removes an object with what cannot be without it.
    pub(super) fn remove(&mut self, key: &Key) {
        match (key, self.objects.remove(key)) {
            (Key::Namespace(lost), _) => {
                let inside = |netns| netns == *lost;
                let along: Vec<Key> = self
                    .objects
                    .iter()
                    .filter(|(_, object)| object.namespaces().into_iter().any(inside))
                    .map(|(key, _)| key.clone())
                    .collect();
                along.iter().for_each(|key| self.remove(key));
            }
            (Key::Table(Netns::Host) | Key::ServiceTable, Some(_)) => {
                self.objects.retain(|held, _| match held {
                    Key::Policy(set, _) | Key::Port(set, _) => table_of(*set) != *key,
                    _ => true,
                });
            }
            (Key::Table(Netns::Sandbox(sandbox)), Some(_)) => {
                self.objects
                    .retain(|held, _| !matches!(held, Key::Balance(on, ..) if on == sandbox));
            }
            (Key::Shortcuts(netns, _), Some(_)) => {
                self.objects
                    .retain(|held, _| !matches!(held, Key::Shortcut(of, ..) if of == netns));
            }
            (Key::Link(..), Some(Object::Link(link))) => {
                let ends = [Some((link.netns, &link.name)), far_end(&link)];
                let lies_on = |netns: &Netns, name: &IfName| ends.contains(&Some((*netns, name)));
                self.objects.retain(|key, _| match key {
                    Key::Address(netns, name, _)
                    | Key::Neighbor(netns, name, _)
                    | Key::Proxy(netns, name, _)
                    | Key::Forward(netns, name, ..)
                    | Key::WireguardKey(netns, name)
                    | Key::WireguardPeer(netns, name, _)
                    | Key::Shortcuts(netns, name)
                    | Key::Shortcut(netns, _, name)
                    | Key::Translator(netns, name)
                    | Key::Route(netns, _, _, Some(name)) => !lies_on(netns, name),
                    // Such as `net/ipv6/conf/eth0/accept_ra`.
                    Key::Sysctl(netns, path) => !ends.iter().flatten().any(|(on, name)| {
                        on == netns && path.split('/').any(|p| p == name.as_str())
                    }),
                    _ => true,
                });
                for object in self.objects.values_mut() {
                    if let Object::Link(port) = object
                        && port.netns == link.netns
                        && port.port.as_ref().is_some_and(|on| on.bridge == link.name)
                    {
                        port.port = None;
                    }
                }
            }
            _ => {}
        }
    }

    /// What an observer sees: everything, and of parameters those that are asked for.
    pub(super) fn observed(&self, expected: &Objects) -> Objects {
        let is_asked = |key: &Key| !matches!(key, Key::Sysctl(..)) || expected.contains_key(key);
        let restored = self.restored.iter();
        let restored = restored.map(|(key, back)| (key.clone(), Object::Sysctl(back.clone())));
        let standing = self.objects.iter();
        let standing = standing.map(|(key, object)| (key.clone(), object.clone()));
        restored
            .chain(standing)
            .filter(|(key, _)| is_asked(key))
            .collect()
    }

    pub(super) fn interfaces(&self, sandbox: SandboxId) -> Result<Vec<IfName>, KernelError> {
        let netns = Netns::Sandbox(sandbox);
        let loopback: IfName = "lo"
            .parse()
            .map_err(|_| refused("name", "lo".into(), ErrorKind::InvalidInput))?;
        let ends = self.links().flat_map(|held| {
            let near = Some((held.link.netns, &held.link.name));
            near.into_iter().chain(far_end(held.link))
        });
        let names = ends.filter(|(place, _)| *place == netns);
        let names = names.map(|(_, name)| name.clone());
        Ok(std::iter::once(loopback).chain(names).collect())
    }

    pub(super) fn claim(
        &mut self,
        protocol: Protocol,
        addr: SocketAddr,
    ) -> Result<PortClaim, KernelError> {
        let strangers = &self.strangers;
        // A device of the kernel's WireGuard listens at every address.
        let tunnels = self.objects.values().filter_map(|object| match object {
            Object::WireguardKey(key) => Some(key.port),
            _ => None,
        });
        let tunnels: Vec<u16> = tunnels.collect();
        let taken = |(protocol, addr): Place| {
            let mut strangers = strangers.iter();
            strangers.any(|(theirs, held)| *theirs == protocol && meet(*held, addr))
                || (protocol == Protocol::Udp && tunnels.contains(&addr.port()))
        };
        let held = self.claims.hold((protocol, addr), taken);
        let (addr, socket) = held.map_err(|source| KernelError::Call {
            operation: "reserve port",
            object: format!("{addr}/{protocol}"),
            source,
        })?;
        Ok(PortClaim {
            addr,
            protocol,
            socket,
        })
    }

    pub(super) fn claimed(&mut self) -> Vec<Place> {
        self.claims.held()
    }
}

struct Held<'a> {
    link: &'a Link,
}

impl Held<'_> {
    fn key(&self) -> Key {
        key(self.link)
    }
}

fn key(link: &Link) -> Key {
    Key::Link(link.netns, link.name.clone())
}

fn far_end(link: &Link) -> Option<(Netns, &IfName)> {
    match &link.kind {
        LinkKind::Veth(peer) => Some((peer.netns, &peer.name)),
        LinkKind::Bridge(_)
        | LinkKind::Dummy
        | LinkKind::Vxlan(_)
        | LinkKind::Tun
        | LinkKind::Wireguard => None,
    }
}

/// The table that a set lies in.
const fn table_of(set: vw_firewall::SetName) -> Key {
    match set {
        vw_firewall::SetName::Service(_) => Key::ServiceTable,
        _ => Key::Table(Netns::Host),
    }
}

fn gone(netns: Netns) -> KernelError {
    KernelError::NamespaceGone {
        name: crate::netns::short(netns),
        source: ErrorKind::NotFound.into(),
    }
}

/// Where a socket of the fake really is bound.
pub(super) const fn loopback(addr: SocketAddr) -> SocketAddr {
    let ip = match addr {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, 0)
}
