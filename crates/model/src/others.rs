//! The other hosts, with which of them changed, so that what follows them costs no more than that.
//!
//! Owns which host has a key that two of them told. It must not know what follows the hosts, nor
//! where what is told of them comes from.

use crate::{HostId, PublicKey, RemoteHost};
use std::collections::{BTreeMap, BTreeSet};

/// The other hosts, and which changed since [`Self::settle`]; before that all count as changed.
#[derive(Debug)]
pub struct OtherHosts {
    hosts: BTreeMap<HostId, RemoteHost>,
    /// Who told each key, of those in use and those that are next. The last one has it: a host that
    /// was copied has another id and the same keys.
    holders: BTreeMap<PublicKey, BTreeSet<HostId>>,
    /// Those that told a next key.
    rotating: BTreeSet<HostId>,
    changed: BTreeSet<HostId>,
    /// Whether all count as changed.
    whole: bool,
}

impl Default for OtherHosts {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            holders: BTreeMap::new(),
            rotating: BTreeSet::new(),
            changed: BTreeSet::new(),
            whole: true,
        }
    }
}

impl OtherHosts {
    /// Takes a host as it is now, or that it is gone.
    pub fn take(&mut self, id: HostId, host: Option<RemoteHost>) {
        let former = match host {
            Some(host) => self.hosts.insert(id, host),
            None => self.hosts.remove(&id),
        };
        let now = self.hosts.get(&id);
        let mut beside: BTreeSet<HostId> = BTreeSet::new();
        for key in former.iter().flat_map(keys) {
            if let Some(holders) = self.holders.get_mut(&key) {
                holders.remove(&id);
                beside.extend(holders.iter());
                if holders.is_empty() {
                    self.holders.remove(&key);
                }
            }
        }
        for key in now.into_iter().flat_map(keys) {
            let holders = self.holders.entry(key).or_default();
            beside.extend(holders.iter());
            holders.insert(id);
        }
        match now.and_then(|host| host.keys.as_ref()?.next) {
            Some(_) => self.rotating.insert(id),
            None => self.rotating.remove(&id),
        };
        if !self.whole {
            self.changed.insert(id);
            self.changed.extend(beside);
        } else if now.is_none() {
            self.changed.insert(id);
        }
    }

    /// All that live.
    pub fn iter(&self) -> impl Iterator<Item = &RemoteHost> {
        self.hosts.values()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: HostId) -> Option<&RemoteHost> {
        self.hosts.get(&id)
    }

    /// One of them with those of its keys that are its own: without any where another one has that
    /// which it uses.
    #[must_use]
    pub fn with_own_keys(&self, id: HostId) -> Option<RemoteHost> {
        let mut host = self.hosts.get(&id)?.clone();
        let is_own = |key: &PublicKey| {
            let holders = self.holders.get(key);
            holders.and_then(BTreeSet::last) == Some(&id)
        };
        host.keys = host.keys.filter(|keys| is_own(&keys.public));
        if let Some(keys) = &mut host.keys {
            keys.next = keys.next.filter(is_own);
        }
        Some(host)
    }

    /// Those that told a next key.
    pub fn rotating(&self) -> impl Iterator<Item = HostId> {
        self.rotating.iter().copied()
    }

    /// All that live, and those that are gone as far as that is not settled.
    #[must_use]
    pub fn known(&self) -> BTreeSet<HostId> {
        let hosts = self.hosts.keys().copied();
        hosts.chain(self.changed.iter().copied()).collect()
    }

    /// Those that changed, with those that are gone.
    #[must_use]
    pub fn changed(&self) -> BTreeSet<HostId> {
        match self.whole {
            true => self.known(),
            false => self.changed.clone(),
        }
    }

    /// Whether all count as changed.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// All that changed was followed.
    pub fn settle(&mut self) {
        self.changed.clear();
        self.whole = false;
    }

    /// Nothing follows them any more: who does so next follows all.
    pub fn unsettle(&mut self) {
        self.changed.clear();
        self.whole = true;
    }
}

impl FromIterator<RemoteHost> for OtherHosts {
    fn from_iter<T: IntoIterator<Item = RemoteHost>>(hosts: T) -> Self {
        let mut others = Self::default();
        for host in hosts {
            others.take(host.id, Some(host));
        }
        others
    }
}

/// The keys that a host told.
fn keys(host: &RemoteHost) -> impl Iterator<Item = PublicKey> + use<> {
    let keys = host.keys.as_ref();
    let told = keys.map(|keys| [Some(keys.public), keys.next]);
    told.into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests;
