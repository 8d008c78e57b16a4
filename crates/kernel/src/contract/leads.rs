//! All that services lead in one namespace, as it stands: what of the tracked connections it would not
//! lead so any more follows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};
use vw_model::{HostPort, IpNet, PortKey, Protocol};

/// To whom services lead in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leads {
    /// What is sent to an address: to these, at the same port.
    pub addrs: BTreeMap<IpAddr, BTreeSet<IpAddr>>,
    /// What is sent to a port of this host, at its address or at any: to these.
    pub ports: BTreeMap<HostPort, BTreeSet<SocketAddr>>,
    /// What else may lead somewhere there; `None` where nothing but services does.
    pub beside: Option<Beside>,
}

/// What is to be told from what others lead in the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// Where services lead: what others lead elsewhere is theirs, whatever it was sent to.
    pub within: Vec<IpNet>,
    /// To whom services alone lead.
    pub alone: BTreeSet<IpAddr>,
}

impl Leads {
    /// Whether services led what was sent `to` there, and would lead it to another than `by` now, or
    /// nowhere.
    #[must_use]
    pub fn leads_elsewhere(&self, to: SocketAddr, protocol: Protocol, by: SocketAddr) -> bool {
        // Who asked over IPv6 may be led to it translated.
        let by = SocketAddr::new(vw_firewall::unmapped(by.ip()), by.port());
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&by.ip()));
        let ours = |beside: &Beside| within(&beside.within);
        let is_ours = || self.beside.as_ref().is_none_or(ours);
        if let Some(led) = self.addrs.get(&to.ip()) {
            return !led.contains(&by.ip()) && is_ours();
        }
        let port = PortKey {
            port: to.port(),
            protocol,
        };
        let led = super::spellings(to.ip(), port).filter_map(|at| self.ports.get(&at));
        let led: Vec<_> = led.collect();
        if led.is_empty() {
            let alone = |beside: &Beside| beside.alone.contains(&by.ip());
            return self.beside.as_ref().is_none_or(alone);
        }
        !led.iter().any(|led| led.contains(&by)) && is_ours()
    }
}
