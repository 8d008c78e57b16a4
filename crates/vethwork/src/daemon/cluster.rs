//! `--cluster-store`, `--cluster-store-opt` and `--cluster-advertise`: from text to a member of a
//! cluster.
//!
//! Owns what these say together. It must not wait for the store, which may be away at the start.

use super::flags::Directives;
use std::{fmt, net::IpAddr, sync::Arc};
use vw_controller::{Membership, Tunnel};
use vw_drivers::Underlay;
use vw_kernel::HostFacts;
use vw_model::{Error, IpNet, Result};
use vw_store::cluster::{ClusterError, ClusterUrl, Options as StoreOptions, connect};

/// What the flags say of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClusterSettings {
    url: ClusterUrl,
    options: StoreOptions,
    /// This host's name; the system's when absent.
    name: Option<String>,
    at: Option<At>,
    /// The UDP port of tunnels of networks that are made here and name none.
    port: Option<u16>,
}

/// Where this host is reached by the others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Address(IpAddr),
    /// The first address of a link.
    Link(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Link(name) => f.write_str(name),
        }
    }
}

/// What stands for a store's URL where a host leaves its cluster.
pub(super) const NONE: &str = "none";

/// The option that is the host's, not the store's.
const NAME: &str = "name";

impl ClusterSettings {
    /// Checks what was said; `None` where nothing was.
    ///
    /// # Errors
    /// One sentence that names the directive.
    pub(super) fn check(directives: &Directives) -> Result<Option<Self>, String> {
        let url = directives.cluster_store.as_ref();
        let Some(url) = url.filter(|url| *url != NONE) else {
            let without = [
                (directives.cluster_advertise.is_some(), "cluster-advertise"),
                (
                    !directives.cluster_store_opt.is_empty(),
                    "cluster-store-opts",
                ),
            ];
            return match without.iter().find(|(given, _)| *given) {
                Some((_, name)) => Err(format!(
                    "{name} needs cluster-store: give the URL of the store that the hosts share"
                )),
                None => Ok(None),
            };
        };
        let url = url
            .parse()
            .map_err(|error: ClusterError| format!("cluster-store: {error}"))?;
        let (own, rest): (Vec<_>, Vec<_>) = directives
            .cluster_store_opt
            .iter()
            .cloned()
            .partition(|(key, _)| key == NAME);
        let rest = rest.iter().map(|(key, value)| format!("{key}={value}"));
        let options = StoreOptions::parse(rest);
        let options = options.map_err(|error| format!("cluster-store-opts: {error}"))?;
        if own.iter().any(|(_, name)| name.is_empty()) {
            return Err(format!("cluster-store-opts: {NAME}: its value is empty"));
        }
        if own.len() > 1 {
            return Err(format!("cluster-store-opts: {NAME}: it is given twice"));
        }
        let advertise = directives.cluster_advertise.as_deref();
        let (at, port) = advertise.map(advertised).transpose()?.unzip();
        Ok(Some(Self {
            url,
            options,
            name: own.into_iter().next().map(|(_, name)| name),
            at,
            port: port.flatten(),
        }))
    }

    /// Whether the host is reached by whichever address a link, or its default route, has.
    pub(super) const fn may_move(&self) -> bool {
        !matches!(self.at, Some(At::Address(_)))
    }

    /// This host's end of every tunnel.
    ///
    /// # Errors
    /// When the host has no such address.
    pub(super) fn underlay(&self, facts: &HostFacts) -> Result<Underlay> {
        let refuse = |what: String| Err(Error::invalid("cluster-advertise-invalid", what));
        let mut addresses = facts.addresses.iter();
        let found = match &self.at {
            Some(At::Address(addr)) => addresses.find(|(_, net)| net.addr() == *addr),
            Some(At::Link(name)) => {
                let usable =
                    |(link, net): &&(String, IpNet)| link == name && is_reachable(net.addr());
                let of_link = facts.addresses.iter().filter(usable);
                of_link.min_by_key(|(_, net)| net.addr().is_ipv6())
            }
            None => {
                let source = facts.default_source.first();
                let source = addresses.find(|(_, net)| Some(&net.addr()) == source);
                source.map(|source| lasting(source, facts))
            }
        };
        let Some((link, net)) = found else {
            return refuse(match &self.at {
                Some(at @ At::Address(_)) => format!("cluster-advertise {at}: this host has no such address: name one that it has, or start the daemon once it is there"),
                Some(at @ At::Link(_)) => format!("cluster-advertise {at}: this host has no such interface with an address that others can reach"),
                None => "cluster-advertise is missing, and no default route tells which address of this host the others reach: give it".to_owned(),
            });
        };
        if !is_reachable(net.addr()) {
            return refuse(format!(
                "cluster-advertise {}: other hosts cannot reach that",
                net.addr()
            ));
        }
        Ok(Underlay {
            addr: net.addr(),
            prefix: net.prefix_len(),
            link: link.parse()?,
            mtu: facts.mtus.get(link).copied().unwrap_or(facts.default_mtu),
            merges: facts.merging.contains(link),
            port: self.port,
            // Both from this host's id, which the controller knows.
            inner: None,
            carrier: Default::default(),
            link_local: None,
        })
    }

    /// What is wrong with a file that the store's options name; nothing where each can be used.
    pub(super) fn unusable(&self) -> Option<String> {
        self.options.unusable()
    }

    /// What the controller needs to be a member.
    ///
    /// # Errors
    /// For an option that the store does not know.
    pub(super) fn membership(
        &self,
        underlay: &Underlay,
        tunnel: Option<Arc<dyn Tunnel>>,
    ) -> Result<Membership> {
        let store = connect(&self.url, &self.options);
        let store = store.map_err(|e| {
            Error::invalid("cluster-store-invalid", "cannot use the cluster's store").because(e)
        })?;
        let uname = rustix::system::uname();
        let name = uname.nodename().to_string_lossy().into_owned();
        Ok(Membership {
            store: Arc::clone(&store),
            name: self.name.clone().unwrap_or(name),
            advertise: underlay.addr,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tunnel,
            pulse: Some(Arc::new(super::pulse::Echoes::of(underlay.addr))),
            caught_up: super::memory::give_back,
        })
    }
}

/// The address that lasts longest beside one of a link. The kernel sends from a temporary address of
/// IPv6 where there is one (RFC 6724, rule 7), which is gone after some days.
fn lasting<'a>(source: &'a (String, IpNet), facts: &'a HostFacts) -> &'a (String, IpNet) {
    let (link, net) = source;
    let beside = |(on, other): &&(String, IpNet)| on == link && other.trunc() == net.trunc();
    let first = facts.addresses.iter().find(beside);
    first.filter(|_| net.addr().is_ipv6()).unwrap_or(source)
}

/// Neither this host alone nor a link alone.
fn is_reachable(addr: IpAddr) -> bool {
    let local = match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(local || addr.is_loopback() || addr.is_unspecified() || addr.is_multicast())
}

/// `IP`, `IFACE`, either with `:PORT`; an IPv6 address with a port stands in brackets.
fn advertised(text: &str) -> Result<(At, Option<u16>), String> {
    let refuse = || {
        format!(
            "invalid cluster-advertise {text:?}: use an address or an interface of this host, [:PORT] after it"
        )
    };
    if let Ok(addr) = text.parse() {
        return Ok((At::Address(addr), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse().ok().filter(|port: &u16| *port != 0);
            let port = port.ok_or_else(refuse)?;
            if let Some(why) = vw_model::kept_port(port) {
                return Err(format!("invalid cluster-advertise {text:?}: {why}"));
            }
            (host, port)
        }
        None if text.is_empty() || text.contains(['/', '[', ']']) => return Err(refuse()),
        None => return Ok((At::Link(text.to_owned()), None)),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let at = match (bare.unwrap_or(host).parse::<IpAddr>(), bare) {
        (Ok(addr), _) if addr.is_ipv6() == bare.is_some() => At::Address(addr),
        (Err(_), None) if !host.is_empty() && !host.contains([':', '/']) => {
            At::Link(host.to_owned())
        }
        _ => return Err(refuse()),
    };
    Ok((at, Some(port)))
}

#[cfg(test)]
mod tests;
