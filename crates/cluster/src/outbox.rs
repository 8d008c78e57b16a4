//! This host's endpoints as they must be in the store, and how they get there.
//!
//! Owns the difference between what is wanted and what was last seen written. A record that
//! reappears (a transaction that arrived late) or vanishes is put right like any other
//! difference.

use crate::{
    core::{Core, Done, Phase, UNFIT, contended},
    keys::Shared,
    record::{self, EndpointRecord, NetworkState},
};
use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::IpAddr,
    time::Duration,
};
use vw_model::{EndpointId, Error, IpNet, NetworkId, RemoteEndpoint, Result, ServicePart};
use vw_store::cluster::{Condition, Write};

type Key = (NetworkId, EndpointId);

/// The most endpoints of one transaction; each may come with a condition on its network.
const BATCH: usize = 25;

/// The longest time between two attempts.
const SLOWEST: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    desired: BTreeMap<Key, EndpointRecord>,
    written: BTreeMap<Key, EndpointRecord>,
    /// Where the two may differ.
    dirty: BTreeSet<Key>,
    /// Which addresses of those were seen written, and are not wanted, by whose endpoint.
    lagging: BTreeSet<(NetworkId, IpAddr, EndpointId)>,
    /// Attempts that failed since one succeeded.
    failures: u32,
    /// Not before this time.
    not_before: Duration,
    /// What is sent by itself, as it was refused among others: it must not hold them up.
    alone: BTreeMap<Key, Alone>,
    /// Whether the store was seen to have something else of this host than it wrote there.
    otherwise: bool,
}

#[derive(Debug, Default)]
struct Alone {
    /// How often it was refused by itself.
    refused: u32,
    /// Not before this time.
    not_before: Duration,
    /// Why no store takes it, whoever waits.
    unfit: Option<String>,
}

/// What became of a batch.
enum Sent {
    Written,
    /// The store said no, or a condition does not hold.
    Refused,
    /// No store takes it, in words.
    Unfit(String),
    /// Nobody knows.
    Uncertain,
}

impl Outbox {
    pub(crate) fn publish(&mut self, endpoint: RemoteEndpoint) {
        let key = (endpoint.network, endpoint.id);
        self.alone.remove(&key);
        let record = EndpointRecord {
            mac: endpoint.mac,
            addresses: endpoint.addresses,
            names: endpoint.names,
            sandbox: endpoint.sandbox,
            ports: endpoint.ports,
            service: endpoint.service,
        };
        self.desired.insert(key, record);
        self.dirty.insert(key);
        self.list_again(key);
    }

    pub(crate) fn withdraw(&mut self, network: NetworkId, id: EndpointId) {
        self.alone.remove(&(network, id));
        self.desired.remove(&(network, id));
        self.dirty.insert((network, id));
        self.list_again((network, id));
    }

    /// What the store was seen to have of this host; `whole` when it has nothing else.
    pub(crate) fn saw(
        &mut self,
        own: Vec<(NetworkId, EndpointId, Option<EndpointRecord>)>,
        whole: bool,
    ) {
        if whole {
            self.written.clear();
            self.lagging.clear();
            self.dirty.extend(self.desired.keys());
        }
        for (network, id, record) in own {
            let key = (network, id);
            self.otherwise |= !whole && self.written.get(&key) != record.as_ref();
            self.set_written(key, record);
            if self.desired.get(&key) != self.written.get(&key) && self.dirty.insert(key) {
                self.list_again(key);
            }
        }
        // What may have refused the last attempt may have changed.
        self.not_before = Duration::ZERO;
        // Not for what was refused again: others change something all the time.
        for alone in self.alone.values_mut().filter(|one| one.refused < 2) {
            alone.not_before = Duration::ZERO;
        }
    }

    pub(crate) fn forget_network(&mut self, network: NetworkId) {
        let gone: Vec<Key> = self.on(network).map(|id| (network, id)).collect();
        for key in gone {
            self.desired.remove(&key);
            self.list_again(key);
        }
    }

    /// Notes what was seen written, or that nothing was.
    fn set_written(&mut self, key: Key, record: Option<EndpointRecord>) {
        self.unlist(key);
        match record {
            Some(record) => self.written.insert(key, record),
            None => self.written.remove(&key),
        };
        self.list_again(key);
    }

    fn unlist(&mut self, key: Key) {
        let record = self.written.get(&key);
        for net in record.iter().flat_map(|record| &record.addresses) {
            self.lagging.remove(&(key.0, net.addr(), key.1));
        }
    }

    /// Lists which addresses of an endpoint lag, as it is now; the caller has changed no address that
    /// was seen written.
    fn list_again(&mut self, key: Key) {
        self.unlist(key);
        let Some(record) = self.written.get(&key).filter(|_| self.dirty.contains(&key)) else {
            return;
        };
        let wanted = self.desired.get(&key);
        let is_wanted = |net: &IpNet| wanted.is_some_and(|wanted| wanted.addresses.contains(net));
        let lagging = record.addresses.iter().filter(|net| !is_wanted(net));
        self.lagging
            .extend(lagging.map(|net| (key.0, net.addr(), key.1)));
    }

    pub(crate) fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// The endpoints that are to be on a network.
    pub(crate) fn on(&self, network: NetworkId) -> impl Iterator<Item = EndpointId> {
        let first = (network, EndpointId::from_bytes([0; 32]));
        let from = self.desired.range(first..);
        from.take_while(move |((of, _), _)| *of == network)
            .map(|((_, id), _)| *id)
    }

    /// The first name of an endpoint that is to be on a network.
    pub(crate) fn name_of(&self, network: NetworkId, id: EndpointId) -> Option<&str> {
        let record = self.desired.get(&(network, id))?;
        record.names.first().map(String::as_str)
    }

    /// Whether the store has of an endpoint what is wanted.
    pub(crate) fn is_written(&self, network: NetworkId, id: EndpointId) -> bool {
        let key = (network, id);
        self.desired.get(&key) == self.written.get(&key)
    }

    /// Whether the store was seen to have an endpoint with an address of this range that is not to
    /// have it any more.
    pub(crate) fn lags_in(&self, network: NetworkId, range: IpNet) -> bool {
        let first = (network, range.network(), EndpointId::from_bytes([0; 32]));
        let next = self.lagging.range(first..).next();
        next.is_some_and(|(of, addr, _)| *of == network && range.contains(addr))
    }

    /// How many endpoints are to be in the store.
    pub(crate) fn len(&self) -> usize {
        self.desired.len()
    }

    /// Whether anything of them is more than what leads to services, which there is as long as a network.
    pub(crate) fn is_in_use(&self) -> bool {
        let leads =
            |one: &EndpointRecord| matches!(one.service, Some(ServicePart::Balancer { .. }));
        self.desired.values().any(|endpoint| !leads(endpoint))
    }

    /// What the others cannot be told, and why, for who looks after this host.
    pub(crate) fn untold(&self) -> impl Iterator<Item = (NetworkId, &str, &str)> {
        self.alone.iter().filter_map(|((network, id), alone)| {
            let name = self.name_of(*network, *id).unwrap_or_default();
            Some((*network, name, alone.unfit.as_deref()?))
        })
    }

    /// The next changes: at most a batch, or else one that goes alone; none of networks that wait.
    fn next(
        &mut self,
        now: Duration,
        wait: &BTreeSet<NetworkId>,
    ) -> Vec<(Key, Option<EndpointRecord>)> {
        let (desired, written) = (&self.desired, &self.written);
        self.dirty
            .retain(|key| desired.get(key) != written.get(key));
        self.alone.retain(|key, _| self.dirty.contains(key));
        let others = self.dirty.iter();
        let others = others.filter(|key| !self.alone.contains_key(*key) && !wait.contains(&key.0));
        let mut keys: Vec<Key> = others.copied().take(BATCH).collect();
        if keys.is_empty() {
            let alone = self.alone.iter();
            let due = alone.filter(|((network, _), one)| {
                one.unfit.is_none() && one.not_before <= now && !wait.contains(network)
            });
            // Whoever waits longest, so that all have their turn.
            let first = due.min_by_key(|(_, one)| one.not_before);
            keys.extend(first.map(|(key, _)| *key));
        }
        let record = |key: Key| (key, self.desired.get(&key).cloned());
        keys.into_iter().map(record).collect()
    }

    /// Notes that a batch was refused: what is in it goes alone from now on, and what did so
    /// already waits. Says why no store takes it, where that is found out.
    fn refused(&mut self, keys: &[Key], unfit: Option<String>, now: Duration) {
        for key in keys {
            let alone = self.alone.entry(*key).or_default();
            if keys.len() == 1 {
                alone.refused = (alone.refused + 1).min(8);
                alone.not_before = now + wait_after(alone.refused);
                alone.unfit = unfit.clone();
            }
        }
    }

    fn wrote(&mut self, batch: Vec<(Key, Option<EndpointRecord>)>) {
        self.failures = 0;
        for (key, record) in batch {
            self.set_written(key, record);
        }
    }

    fn failed(&mut self, now: Duration) {
        self.failures = (self.failures + 1).min(8);
        self.not_before = now + wait_after(self.failures);
    }
}

fn wait_after(failures: u32) -> Duration {
    Duration::from_millis(20 << failures).min(SLOWEST)
}

impl Core {
    /// Writes what is to be written, as far as the store takes it now.
    pub(crate) fn send_outbox(&self) -> Result<()> {
        // The worker has other things to do than to ask for those who are refused.
        let mut refused = 0;
        // A store that was brought back from a backup has lost more than the watch tells.
        let otherwise = std::mem::take(&mut self.state().outbox.otherwise);
        if otherwise && let Err(error) = self.look_at_marks() {
            self.state().outbox.otherwise = true;
            return Err(error);
        }
        while refused < BATCH {
            let now = self.time.now();
            let batch = {
                let mut state = self.state();
                let member = matches!(state.phase, Phase::Joined(_)) && state.synced;
                // Who is told of an endpoint finds the block that its address is of.
                let ready = member && state.settled && !state.doubted && !state.outbox.otherwise;
                if !ready || state.outbox.not_before > now {
                    return Ok(());
                }
                let wait = state.not_compared();
                state.outbox.next(now, &wait)
            };
            if batch.is_empty() {
                return Ok(());
            }
            let keys: Vec<Key> = batch.iter().map(|(key, _)| *key).collect();
            match self.send(batch) {
                Ok(Sent::Written) => {}
                Ok(Sent::Refused) => {
                    refused += 1;
                    self.state().outbox.refused(&keys, None, now);
                }
                Ok(Sent::Unfit(why)) => {
                    if keys.len() == 1 {
                        tracing::warn!("an endpoint that other hosts cannot be told of {why}");
                    }
                    refused += 1;
                    self.state().outbox.refused(&keys, Some(why), now);
                }
                Ok(Sent::Uncertain) => {
                    self.state().outbox.failed(now);
                    return Ok(());
                }
                Err(error) => {
                    self.state().outbox.failed(now);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes one batch.
    fn send(&self, batch: Vec<(Key, Option<EndpointRecord>)>) -> Result<Sent> {
        let mut conditions = Vec::new();
        let mut writes = Vec::new();
        let mut known: BTreeMap<NetworkId, bool> = BTreeMap::new();
        let mut sent = Vec::new();
        for ((network, id), wanted) in batch {
            let key = Shared::Endpoint(network, self.settings.host, id).key();
            let Some(wanted) = wanted else {
                writes.push(Write::Delete(key));
                sent.push(((network, id), None));
                continue;
            };
            if let Entry::Vacant(vacant) = known.entry(network) {
                let there = match self.condition_on(network) {
                    Ok(there) => there,
                    Err(error) if is_of_one_network(&error) => return Ok(Sent::Refused),
                    Err(error) => return Err(error),
                };
                vacant.insert(there.is_some());
                conditions.extend(there);
            }
            if known.get(&network) == Some(&true) {
                writes.push(Write::Put(key, record::encode(&wanted)));
                sent.push(((network, id), Some(wanted)));
            }
        }
        if writes.is_empty() {
            return Ok(Sent::Written);
        }
        match self.commit(conditions, writes) {
            Ok(Done::Applied) => {
                self.state().outbox.wrote(sent);
                self.wake();
                Ok(Sent::Written)
            }
            Ok(Done::Refused) => Ok(Sent::Refused),
            Ok(Done::Uncertain) => Ok(Sent::Uncertain),
            Err(error) if error.reason == UNFIT => Ok(Sent::Unfit(error.message)),
            Err(error) => Err(error),
        }
    }

    /// What must hold for an endpoint to be published on a network. A network that somebody
    /// wants to remove is kept by objecting; one that is gone takes its endpoints with it.
    fn condition_on(&self, network: NetworkId) -> Result<Option<Condition>> {
        let known = self.state().mirror.networks.get(&network).cloned();
        let (record, version) = match known {
            Some(known) => (known.record, known.version),
            None => match self.fetch_network(network)? {
                Some(found) => found,
                None => {
                    self.state().outbox.forget_network(network);
                    return Ok(None);
                }
            },
        };
        if let NetworkState::Removing { .. } = record.state {
            self.object(network, record, version)?;
            // What is published now must not slip by whoever removes the network: the mirror
            // will tell how it stands.
            return Err(contended());
        }
        Ok(Some(unchanged(network, version)))
    }
}

/// Whether it is about one network, whose endpoints must not hold up those of others.
fn is_of_one_network(error: &Error) -> bool {
    ["cluster-contended", "cluster-record-unreadable"].contains(&error.reason)
}

/// That a network's record stands as it was read.
pub(crate) fn unchanged(network: NetworkId, version: vw_store::cluster::Version) -> Condition {
    Condition::Unchanged(Shared::Network(network).key(), version)
}

#[cfg(test)]
mod tests;
