//! At which ports the sandbox that leads to a network's services is sent what a host publishes.
//!
//! Pure. A port is that of the host where that is free; one number that is published at several
//! addresses of a host, for one service each, is another inside for each. It stays the same as long as
//! it is wanted: what is sent there must not come to another service.

use std::collections::{BTreeMap, BTreeSet};
use vw_model::{HostPort, Protocol};

/// Those of one network.
#[derive(Debug, Default)]
pub(super) struct Inner {
    by: BTreeMap<HostPort, u16>,
    used: BTreeSet<(Protocol, u16)>,
}

impl Inner {
    /// These.
    pub(super) fn new(by: BTreeMap<HostPort, u16>) -> Self {
        let used = by.iter().map(|(at, port)| (at.port.protocol, *port));
        Self {
            used: used.collect(),
            by,
        }
    }

    /// That of a host's port.
    pub(super) fn of(&mut self, at: HostPort) -> u16 {
        if let Some(port) = self.by.get(&at) {
            return *port;
        }
        let protocol = at.port.protocol;
        let own = std::iter::once(at.port.port);
        let mut free = own.chain((1..=u16::MAX).rev());
        let free = free.find(|port| !self.used.contains(&(protocol, *port)));
        // Where none is free nothing more can be published at all.
        let port = free.unwrap_or(at.port.port);
        self.used.insert((protocol, port));
        self.by.insert(at, port);
        port
    }

    /// All of them.
    pub(super) const fn all(&self) -> &BTreeMap<HostPort, u16> {
        &self.by
    }

    /// Frees those of `before` that are not wanted, and not published any more.
    pub(super) fn settle(&mut self, before: &BTreeMap<HostPort, u16>, wanted: &BTreeSet<HostPort>) {
        let mut by = std::mem::take(&mut self.by);
        by.retain(|at, _| wanted.contains(at) || !before.contains_key(at));
        *self = Self::new(by);
    }
}

#[cfg(test)]
mod tests;
