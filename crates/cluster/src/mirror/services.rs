//! The services of the mirror: what the store told of them, and what this host did to them itself.
//!
//! Owns the order of both. What this host did is known here before a watch tells of it, which may lie
//! behind or be away: what it tells of the time before must not bring back what is gone, and what is
//! read meanwhile must not take away what is new.

use super::{Mirror, Seen};
use crate::{Delta, record::ServiceRecord};
use std::collections::{BTreeMap, BTreeSet};
use vw_model::{NetworkId, ServiceId, ServiceSpec};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Services {
    known: BTreeMap<ServiceId, ServiceSpec>,
    /// On which network each is.
    on: BTreeSet<(NetworkId, ServiceId)>,
    /// Made, changed or removed here since everything was last begun to be read.
    touched: BTreeSet<ServiceId>,
    /// Removed here, while the watch may still tell of the time before. An id comes again with an
    /// older backup of the store alone, which is read whole.
    removed: BTreeSet<ServiceId>,
    changes: u64,
}

/// What this host did to services before all records were read.
#[derive(Debug)]
pub(crate) struct Done {
    touched: BTreeSet<ServiceId>,
    removed: BTreeSet<ServiceId>,
}

impl Services {
    pub(crate) fn get(&self, id: ServiceId) -> Option<&ServiceSpec> {
        self.known.get(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ServiceId> {
        self.known.keys().copied()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &ServiceSpec> {
        self.known.values()
    }

    pub(crate) fn on(&self, network: NetworkId) -> impl Iterator<Item = &ServiceSpec> {
        let first = (network, ServiceId::from_bytes([0; 32]));
        let from = self.on.range(first..);
        let on = from.take_while(move |(of, _)| *of == network);
        on.filter_map(|(_, id)| self.known.get(id))
    }

    /// Takes a service; gives what it was before.
    fn insert(&mut self, spec: ServiceSpec) -> Option<ServiceSpec> {
        let (id, at) = (spec.id, (spec.network, spec.id));
        let old = self.known.insert(id, spec);
        if let Some(old) = &old {
            self.on.remove(&(old.network, id));
        }
        self.on.insert(at);
        old
    }

    fn remove(&mut self, id: ServiceId) -> Option<ServiceSpec> {
        let old = self.known.remove(&id)?;
        self.on.remove(&(old.network, id));
        Some(old)
    }

    /// Counts how often something was told of services, or done to them here: who reads one from
    /// the store is not behind the watch while this stays.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether what was read of a service may be older than what this host did to it.
    pub(crate) fn is_touched(&self, id: ServiceId) -> bool {
        self.touched.contains(&id)
    }

    /// Everything was read; gives those of which it may be older than what this host did.
    pub(crate) fn were_read(&mut self) -> Vec<ServiceId> {
        self.changes += 1;
        self.touched.iter().copied().collect()
    }
}

impl Mirror {
    /// All records are read from now on, to be taken by [`Self::replace`]. Gives what this host did
    /// before.
    pub(crate) fn begin_reading(&mut self) -> Done {
        Done {
            touched: std::mem::take(&mut self.services.touched),
            removed: std::mem::take(&mut self.services.removed),
        }
    }

    /// They could not be read: the watch goes on, which may lie behind what had been done before.
    pub(crate) fn go_on_from(&mut self, before: Done) {
        self.services.touched.extend(before.touched);
        self.services.removed.extend(before.removed);
    }

    /// Takes what this host made of a service, `None` when it removed it.
    pub(crate) fn did_service(&mut self, id: ServiceId, made: Option<ServiceSpec>) -> Seen {
        let mut seen = Seen::default();
        self.services.touched.insert(id);
        match made {
            Some(spec) => self.put_service(ServiceRecord { spec }, &mut seen),
            None => {
                self.delete_service(id, &mut seen);
                self.services.removed.insert(id);
            }
        }
        seen
    }

    /// Takes a service as it was told. One whose network is not known yet is told with it.
    pub(super) fn put_service(&mut self, record: ServiceRecord, seen: &mut Seen) {
        let spec = record.spec;
        self.services.changes += 1;
        if self.services.removed.contains(&spec.id) {
            return;
        }
        let old = self.services.insert(spec.clone());
        if old.as_ref() != Some(&spec) && self.networks.contains_key(&spec.network) {
            seen.deltas.push(Delta::Service(Box::new(spec)));
        }
    }

    pub(super) fn delete_service(&mut self, id: ServiceId, seen: &mut Seen) {
        self.services.changes += 1;
        self.services.removed.remove(&id);
        if self.services.remove(id).is_some() {
            seen.deltas.push(Delta::ServiceGone(id));
        }
    }
}
