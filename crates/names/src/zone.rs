//! The names of one network.
//!
//! Owns which endpoints answer to which name and who holds which address, as a persistent
//! map: a change makes a new snapshot in O(log n) that shares all the rest with the old
//! one, so readers never wait. It must not know who asks, nor the wire format.

use crate::Name;
use arc_swap::ArcSwap;
use imbl::{HashMap, OrdMap};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};
use vw_model::{EndpointId, IpNet, PortKey};

/// What one endpoint is called on its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointNames {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The container's name; what reverse lookups answer.
    pub name: String,
    /// `--alias`, and whatever else it is to be found by.
    pub aliases: Vec<String>,
    /// The first twelve digits of the container's id.
    pub short_id: String,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
    /// The ports it exposes or publishes, as it listens on them.
    pub ports: Vec<PortKey>,
    /// Its share among others of one name, as an SRV record says it; 0 where there is nothing to
    /// choose (RFC 2782).
    pub weight: u16,
}

/// One endpoint as the zone keeps it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Host {
    endpoint: EndpointId,
    /// Every name it is found by, each once.
    names: Vec<Name>,
    /// `name.network`, what PTR and SRV point to.
    pub(crate) canonical: Option<Name>,
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
    pub(crate) ports: Vec<PortKey>,
    pub(crate) weight: u16,
}

/// Who answers to a name: nearly always one, so that one costs no map of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hosts {
    One(Arc<Host>),
    Many(OrdMap<EndpointId, Arc<Host>>),
}

impl Hosts {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Host>> {
        let (one, many) = match self {
            Self::One(host) => (Some(host), None),
            Self::Many(hosts) => (None, Some(hosts.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn with(self, host: Arc<Host>) -> Self {
        match self {
            Self::One(first) => Self::Many(OrdMap::from_iter([
                (first.endpoint, first),
                (host.endpoint, host),
            ])),
            Self::Many(hosts) => Self::Many(hosts.update(host.endpoint, host)),
        }
    }

    fn without(self, endpoint: EndpointId) -> Option<Self> {
        match self {
            Self::One(host) => (host.endpoint != endpoint).then_some(Self::One(host)),
            Self::Many(hosts) => {
                let hosts = hosts.without(&endpoint);
                match hosts.get_min() {
                    Some((_, last)) if hosts.len() == 1 => Some(Self::One(Arc::clone(last))),
                    Some(_) => Some(Self::Many(hosts)),
                    None => None,
                }
            }
        }
    }
}

/// A snapshot of the names of one network; cloning it costs a few reference counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The network's name; `None` when that cannot be a DNS name, and then the qualified
    /// forms do not exist.
    network: Option<Name>,
    owned: Arc<[IpNet]>,
    hosts: HashMap<EndpointId, Arc<Host>>,
    names: HashMap<Name, Hosts>,
    addresses: HashMap<IpAddr, Arc<Host>>,
}

impl Zone {
    /// The empty zone of a network.
    ///
    /// `owned` are the subnets whose every address is given out by us: a reverse lookup
    /// inside them that finds nobody is answered here. Leave out what is shared with the
    /// world around (macvlan, ipvlan), whose names another server knows.
    #[must_use]
    pub fn new(network: &str, owned: impl Into<Arc<[IpNet]>>) -> Self {
        Self {
            network: Name::from_text(network).ok(),
            owned: owned.into(),
            hosts: HashMap::new(),
            names: HashMap::new(),
            addresses: HashMap::new(),
        }
    }

    /// This zone with an endpoint's names put in, replacing what it was called before.
    ///
    /// Each name stands alone and as `name.network`. A text that cannot be a DNS name
    /// ([`Name::from_text`]) is left out: such a container is reached by its other names.
    #[must_use]
    pub fn with(&self, called: &EndpointNames) -> Self {
        self.with_all([called])
    }

    /// This zone with the names of many endpoints put in, each as by [`Zone::with`]: what a snapshot
    /// shares with the one before it is copied once for all of them.
    #[must_use]
    pub fn with_all<'a>(&self, all: impl IntoIterator<Item = &'a EndpointNames>) -> Self {
        self.changed(&[], all)
    }

    /// This zone without some endpoints, and with the names of others put in, as by
    /// [`Zone::with_all`].
    #[must_use]
    pub fn changed<'a>(
        &self,
        gone: &[EndpointId],
        all: impl IntoIterator<Item = &'a EndpointNames>,
    ) -> Self {
        let mut zone = self.clone();
        gone.iter().for_each(|endpoint| zone.take_out(*endpoint));
        all.into_iter().for_each(|called| zone.put(called));
        zone
    }

    fn put(&mut self, called: &EndpointNames) {
        self.take_out(called.endpoint);
        let host = Arc::new(self.host(called));
        for name in &host.names {
            let hosts = match self.names.remove(name) {
                Some(hosts) => hosts.with(Arc::clone(&host)),
                None => Hosts::One(Arc::clone(&host)),
            };
            self.names.insert(name.clone(), hosts);
        }
        for addr in &called.addresses {
            self.addresses.insert(*addr, Arc::clone(&host));
        }
        self.hosts.insert(called.endpoint, host);
    }

    /// This zone without an endpoint; the same when it was not in.
    #[must_use]
    pub fn without(&self, endpoint: EndpointId) -> Self {
        self.changed(&[endpoint], [])
    }

    fn take_out(&mut self, endpoint: EndpointId) {
        let Some(host) = self.hosts.remove(&endpoint) else {
            return;
        };
        for name in &host.names {
            if let Some(hosts) = self.names.remove(name)
                && let Some(rest) = hosts.without(endpoint)
            {
                self.names.insert(name.clone(), rest);
            }
        }
        let v4 = host.v4.iter().copied().map(IpAddr::V4);
        for addr in v4.chain(host.v6.iter().copied().map(IpAddr::V6)) {
            // An address may have gone to its next holder before the last one was taken out.
            if self
                .addresses
                .get(&addr)
                .is_some_and(|held| held.endpoint == endpoint)
            {
                self.addresses.remove(&addr);
            }
        }
    }

    /// How many endpoints it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    pub(crate) fn by_name(&self, name: &[u8]) -> Option<&Hosts> {
        self.names.get(name)
    }

    pub(crate) fn by_address(&self, addr: IpAddr) -> Option<&Arc<Host>> {
        self.addresses.get(&addr)
    }

    /// Whether every holder of `addr` would be known here.
    pub(crate) fn owns(&self, addr: IpAddr) -> bool {
        self.owned.iter().any(|subnet| subnet.contains(&addr))
    }

    /// `name.network`, when that can be a name.
    pub(crate) fn qualify(&self, name: &Name) -> Option<Name> {
        self.network.as_ref().and_then(|net| name.below(net).ok())
    }

    fn host(&self, called: &EndpointNames) -> Host {
        let mut names = Vec::with_capacity(2 * (called.aliases.len() + 2));
        let mut canonical = None;
        let texts = [&called.name].into_iter().chain(&called.aliases);
        for text in texts.chain([&called.short_id]) {
            let Ok(name) = Name::from_text(text) else {
                continue;
            };
            let qualified = self.qualify(&name);
            canonical = canonical.or_else(|| qualified.clone().or_else(|| Some(name.clone())));
            for name in [Some(name), qualified].into_iter().flatten() {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let mut host = Host {
            endpoint: called.endpoint,
            names,
            canonical,
            v4: Vec::new(),
            v6: Vec::new(),
            ports: called.ports.clone(),
            weight: called.weight,
        };
        for addr in &called.addresses {
            match addr {
                IpAddr::V4(v4) => host.v4.push(*v4),
                IpAddr::V6(v6) => host.v6.push(*v6),
            }
        }
        host
    }
}

/// The zone of one network as all its sandboxes share it.
///
/// A change is one pointer swap, however many sandboxes look; a reader takes a snapshot
/// without a lock. Clones are handles of the same zone.
#[derive(Debug, Clone)]
pub struct SharedZone(Arc<ArcSwap<Zone>>);

impl SharedZone {
    /// Shares a zone.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(zone)))
    }

    /// The snapshot of this moment.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<Zone>> {
        self.0.load()
    }

    /// Replaces the snapshot by `change` of it.
    ///
    /// Concurrent changes all take effect: `change` runs again when another came between.
    pub fn update(&self, change: impl Fn(&Zone) -> Zone) {
        self.0.rcu(|zone| change(zone));
    }
}

#[cfg(test)]
mod tests;
