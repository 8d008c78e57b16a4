//! What one sandbox sees.
//!
//! Owns the zones of its networks, its links and where its other questions may go. It must
//! not copy zones: they change under it, one swap for all who look.

use crate::{Name, Nameserver, SharedZone, zone::Zone};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// The address at which every sandbox finds the embedded server.
pub const RESOLVER_ADDR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The port of DNS (RFC 1035, section 4.2).
pub const DNS_PORT: u16 = 53;

/// From where a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vantage {
    /// From the host's namespace: servers inherited from the host's resolver file, which
    /// may be reachable from there alone (a local stub, a VPN).
    Host,
    /// From inside the sandbox: servers the user named for it (`--dns`).
    Sandbox,
}

/// A server that knows the rest of the world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upstream {
    /// Its address.
    pub server: Nameserver,
    /// Its port, nearly always [`DNS_PORT`].
    pub port: u16,
    /// From where it is asked.
    pub from: Vantage,
}

impl Upstream {
    /// A server on the standard port.
    #[must_use]
    pub const fn new(server: Nameserver, from: Vantage) -> Self {
        Self {
            server,
            port: DNS_PORT,
            from,
        }
    }

    /// Whether asking it would ask ourselves: the embedded server, from inside.
    ///
    /// The same address asked from the host is another server: that of an outer engine in
    /// whose container this daemon runs.
    #[must_use]
    pub fn is_ourselves(&self) -> bool {
        self.from == Vantage::Sandbox
            && self.port == DNS_PORT
            && self.server.addr == IpAddr::V4(RESOLVER_ADDR)
    }
}

/// Where a sandbox's questions about the rest of the world go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Servers in the order of preference.
    pub upstreams: Vec<Upstream>,
    /// Whether any of its networks reaches the outside.
    ///
    /// If none does, no server is asked from the host, which would lead out. Those asked
    /// from inside stay: they hear no more than the sandbox could tell them itself, and
    /// one may be on the network (as Docker does).
    pub external: bool,
    /// The user set `ndots` above 0: a single label that nobody here has is answered empty,
    /// so that the client goes on with its search domains (as Docker does).
    pub hold_single_labels: bool,
}

/// `--link TARGET:ALIAS`: in this sandbox alone, `alias` means `target` of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What the sandbox calls it.
    pub alias: String,
    /// A name in the zone.
    pub target: String,
    /// Which zone of the view, by position.
    pub zone: usize,
}

impl Link {
    /// Reads `TARGET[:ALIAS]`; without an alias the target's own name is one, which then
    /// goes before the same name on other networks.
    #[must_use]
    pub fn parse(text: &str, zone: usize) -> Self {
        let (target, alias) = text.split_once(':').unwrap_or((text, text));
        Self {
            alias: alias.to_owned(),
            target: target.to_owned(),
            zone,
        }
    }
}

/// All that answering one sandbox needs.
#[derive(Debug)]
pub struct View {
    zones: Vec<SharedZone>,
    links: HashMap<Name, Vec<(usize, Name)>>,
    upstreams: Arc<[Upstream]>,
    hold_single_labels: bool,
}

impl View {
    /// Makes a view of `zones`, the first asked first.
    ///
    /// A link that cannot be a name or points to no zone is left out. A link goes before
    /// any name of the zones. Upstreams that would ask ourselves are left out, so that no
    /// question goes in a circle.
    #[must_use]
    pub fn new(zones: Vec<SharedZone>, links: &[Link], policy: &Policy) -> Self {
        let mut map: HashMap<Name, Vec<(usize, Name)>> = HashMap::new();
        for link in links {
            let names = (Name::from_text(&link.alias), Name::from_text(&link.target));
            if let (Ok(alias), Ok(target)) = names
                && let Some(zone) = zones.get(link.zone)
            {
                let qualified = zone.load().qualify(&alias);
                for alias in [Some(alias), qualified].into_iter().flatten() {
                    map.entry(alias)
                        .or_default()
                        .push((link.zone, target.clone()));
                }
            }
        }
        let allowed = |up: &&Upstream| policy.external || up.from == Vantage::Sandbox;
        let upstreams = policy.upstreams.iter().filter(allowed);
        Self {
            upstreams: upstreams.filter(|up| !up.is_ourselves()).cloned().collect(),
            zones,
            links: map,
            hold_single_labels: policy.hold_single_labels,
        }
    }

    /// The servers that may be asked, in the order of preference; none for a sandbox that
    /// has to do without.
    #[must_use]
    pub const fn upstreams(&self) -> &Arc<[Upstream]> {
        &self.upstreams
    }

    pub(crate) const fn holds_single_labels(&self) -> bool {
        self.hold_single_labels
    }

    /// Shows `found` who has the name, links first, zone after zone, until it says true.
    ///
    /// Returns whether anybody has it.
    pub(crate) fn find(
        &self,
        name: &[u8],
        mut found: impl FnMut(&crate::zone::Hosts) -> bool,
    ) -> bool {
        let mut known = false;
        let mut look = |zone: &Zone, name: &[u8]| {
            zone.by_name(name).is_some_and(|hosts| {
                known = true;
                found(hosts)
            })
        };
        if !self.links.is_empty() {
            for (zone, target) in self.links.get(name).into_iter().flatten() {
                if look(&self.zones[*zone].load(), target.as_wire()) {
                    return true;
                }
            }
        }
        for zone in &self.zones {
            if look(&zone.load(), name) {
                return true;
            }
        }
        known
    }

    /// The zones, in order.
    pub(crate) fn zones(&self) -> &[SharedZone] {
        &self.zones
    }
}
