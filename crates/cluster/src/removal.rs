//! How a network is removed without losing an endpoint that is just being made.
//!
//! Who removes it first marks the network's record. That fences off whatever is published or
//! claimed on it from then on: each such transaction depends on the record as it was. Every host
//! that lives then either objects, which takes the mark away, or gives up its blocks. Once no
//! living host has a block, a grant or an endpoint, the record is deleted, on the condition that
//! the mark still stands. Hosts that do not live are not asked, and learn it when they are back.
//! However an attempt ends, its mark goes: see [`answering`].

mod answering;
mod claims;

pub(crate) use answering::Answer;

use crate::{
    core::{Core, Done, contended, no_network, uncertain},
    keys::{self, Shared},
    outbox::unchanged,
    record::{self, GrantRecord, NetworkRecord, NetworkState},
};
use claims::Claims;
use std::collections::{BTreeMap, BTreeSet};
use vw_model::{EndpointId, Error, HostId, Id, Kind, NetworkId, Result};
use vw_store::cluster::{Condition, Version, Write};

const ATTEMPTS: usize = 8;

/// The most records of one transaction of the clearing up.
const BATCH: usize = 50;

impl Core {
    /// See [`crate::Cluster::remove_network`].
    pub(crate) fn remove_network(&self, network: NetworkId) -> Result<bool> {
        let known = self.fetch_network(network)?;
        let (record, _) = known.ok_or_else(|| no_network(network))?;
        let own = self.users(network);
        if !own.is_empty() {
            let endpoints = self.describe(network, &own);
            return Err(in_use(&record, &self.settings.name, &endpoints));
        }
        let alive = self.living()?;
        if let Some((host, endpoints)) = self.published(network, &alive)? {
            return Err(in_use(&record, &self.host_name(host), &endpoints));
        }
        if let Some(service) = self.service_on(network)? {
            return Err(has_service(&record, &service));
        }
        self.attempt(network)?;
        if let Err(error) = self.clear_up(network) {
            tracing::debug!("network {}: {}", network.short(), error.chain());
        }
        let until = self.time.now() + self.settings.patience;
        let gone = |state: &mut crate::core::State| {
            (!state.mirror.networks.contains_key(&network)).then_some(())
        };
        // Only a courtesy to who looks next; the mirror will learn it.
        Ok(self.wait_for(until, gone).is_some())
    }

    /// One attempt: whatever comes of it, its mark is taken away, or goes with the network.
    fn attempt(&self, network: NetworkId) -> Result<()> {
        let attempt = Id::from_bytes((self.settings.random)()).short();
        self.state().attempts.insert(attempt.clone());
        let marked = self.mark(network, &attempt);
        let result = marked.and_then(|()| self.await_consent(network, &attempt));
        self.state().attempts.remove(&attempt);
        if result.is_err() {
            if let Err(error) = self.give_up_attempt(network, &attempt) {
                tracing::debug!("network {}: {}", network.short(), error.chain());
            }
            self.wake();
        }
        result
    }

    /// Marks a network as being removed by this attempt.
    fn mark(&self, network: NetworkId, attempt: &str) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let known = self.fetch_network(network)?;
            let (mut record, version) = known.ok_or_else(|| no_network(network))?;
            let marked = NetworkState::Removing {
                attempt: attempt.to_owned(),
                by: Some(self.settings.host),
            };
            if record.state == marked {
                return Ok(());
            }
            record.state = marked;
            let key = Shared::Network(network).key();
            let write = Write::Put(key, record::encode(&record));
            if self.commit(vec![unchanged(network, version)], vec![write])? == Done::Applied {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Waits until no host that lives uses the network, and deletes it.
    fn await_consent(&self, network: NetworkId, attempt: &str) -> Result<()> {
        // Nobody makes one from the mark on.
        let service = self.service_on(network)?;
        let until = self.time.now() + self.settings.patience;
        let mut claims = Claims::follow(self, network, self.time.now())?;
        loop {
            let Some((record, version)) = self.fetch_network(network)? else {
                return Ok(());
            };
            match &record.state {
                NetworkState::Removing { attempt: of, .. } if of == attempt => {}
                NetworkState::Active(Some(objection)) if objection.attempt == attempt => {
                    return Err(in_use(&record, &objection.host, &objection.endpoints));
                }
                _ => return Err(contended()),
            }
            if let Some(service) = &service {
                return Err(has_service(&record, service));
            }
            let now = self.time.now();
            let over = now >= until || self.state().closing;
            if over || claims.is_due(self, now) {
                let users = self.hosts_with_claims(network)?;
                if users.is_empty() {
                    match self.delete(network, version)? {
                        Done::Applied => return Ok(()),
                        Done::Uncertain if self.fetch_network(network)?.is_none() => return Ok(()),
                        Done::Uncertain => return Err(uncertain("removed the network")),
                        Done::Refused => continue,
                    }
                }
                if over {
                    return Err(self.silent(&users));
                }
                claims.were_read(now);
            }
            claims.wait(self)?;
        }
    }

    fn delete(&self, network: NetworkId, version: Version) -> Result<Done> {
        let write = Write::Delete(Shared::Network(network).key());
        self.commit(vec![unchanged(network, version)], vec![write])
    }

    fn silent(&self, hosts: &BTreeSet<HostId>) -> Error {
        let names: Vec<String> = hosts.iter().map(|host| self.host_name(*host)).collect();
        let message = format!(
            "these hosts did not say in time whether they use the network: {}: try again",
            names.join(", ")
        );
        Error::new(Kind::Unavailable, "cluster-hosts-silent", message)
    }

    /// The hosts that live, as the store has it now (see [`Self::death`]), and those of which the mirror is not sure
    /// yet that they do not: after the store was away, everybody's presence may be missing.
    fn living(&self) -> Result<BTreeSet<HostId>> {
        let records = self.list(keys::ALIVE)?;
        let state = self.state();
        let present = records
            .iter()
            .filter_map(|record| match Shared::parse(&record.key) {
                Some(Shared::Alive(host)) => {
                    (!state.mirror.outlived(host, record.version)).then_some(host)
                }
                _ => None,
            });
        let hosts = state.mirror.hosts.iter();
        let doubted = hosts.filter(|(_, host)| host.record.is_some() && host.lives());
        Ok(present.chain(doubted.map(|(id, _)| *id)).collect())
    }

    /// A living host with endpoints on a network, by the store, and which they are.
    fn published(
        &self,
        network: NetworkId,
        alive: &BTreeSet<HostId>,
    ) -> Result<Option<(HostId, Vec<String>)>> {
        let mut found: BTreeMap<HostId, Vec<String>> = BTreeMap::new();
        for record in self.list(&format!("{}/{network}", keys::ENDPOINTS))? {
            if let Some(Shared::Endpoint(_, host, id)) = Shared::parse(&record.key)
                && alive.contains(&host)
            {
                let names = record::decode::<record::EndpointRecord>(&record.value);
                let name = names.ok().and_then(|found| found.names.into_iter().next());
                found
                    .entry(host)
                    .or_default()
                    .push(named(name.as_deref(), id));
            }
        }
        Ok(found.into_iter().next())
    }

    /// The living hosts that have anything on a network, by the store.
    fn hosts_with_claims(&self, network: NetworkId) -> Result<BTreeSet<HostId>> {
        let blocks = self.read_blocks(network)?;
        let mut hosts: BTreeSet<HostId> = blocks
            .values()
            .flatten()
            .map(|standing| standing.host)
            .collect();
        for record in self.list(&format!("{}/{network}", keys::GRANTS))? {
            let grant = record::decode::<GrantRecord>(&record.value);
            hosts.extend(grant.ok().map(|grant| grant.host));
        }
        let endpoints = self.list(&format!("{}/{network}", keys::ENDPOINTS))?;
        hosts.extend(
            endpoints
                .iter()
                .filter_map(|record| match Shared::parse(&record.key) {
                    Some(Shared::Endpoint(_, host, _)) => Some(host),
                    _ => None,
                }),
        );
        // Who has claims is read first: a host that comes to life in between takes the mark away.
        let alive = self.living()?;
        Ok(hosts.intersection(&alive).copied().collect())
    }

    /// Deletes what hosts that did not live left on a network that is gone: what stays is ignored by
    /// all, but counted.
    fn clear_up(&self, network: NetworkId) -> Result<()> {
        let kinds = [keys::ENDPOINTS, keys::BLOCKS, keys::GRANTS, keys::REQUESTS];
        for kind in kinds {
            for batch in self.list(&format!("{kind}/{network}"))?.chunks(BATCH) {
                let writes = batch.iter().map(|record| Write::Delete(record.key.clone()));
                let gone = Condition::Absent(Shared::Network(network).key());
                if self.commit(vec![gone], writes.collect())? == Done::Uncertain {
                    return Err(contended());
                }
            }
        }
        Ok(())
    }

    /// Deletes what this host had left of networks that were removed while it was not there. Whoever
    /// removed them may not have come to it.
    pub(crate) fn clear_leftovers(&self) -> Result<()> {
        let leftovers = self.state().leftovers.clone();
        for network in leftovers {
            self.clear_up(network)?;
            self.state().leftovers.remove(&network);
        }
        Ok(())
    }

    /// This host's endpoints on a network that hold an address or are to be published.
    fn users(&self, network: NetworkId) -> BTreeSet<EndpointId> {
        let state = self.state();
        let held = state.holdings.get(network);
        let mut users = held.map(|held| held.users()).unwrap_or_default();
        users.extend(state.outbox.on(network));
        users
    }

    fn describe(&self, network: NetworkId, users: &BTreeSet<EndpointId>) -> Vec<String> {
        let state = self.state();
        let name = |id: &EndpointId| state.outbox.name_of(network, *id);
        users.iter().map(|id| named(name(id), *id)).collect()
    }
}

/// An endpoint as Docker names it in such a list.
fn named(name: Option<&str>, id: EndpointId) -> String {
    format!("name:{:?} id:{:?}", name.unwrap_or_default(), id.short())
}

fn has_service(record: &NetworkRecord, service: &str) -> Error {
    let message = format!(
        "error while removing network: network {} has the service {service}: remove it first",
        record.spec.name
    );
    Error::new(Kind::Forbidden, "network-has-services", message)
}

fn in_use(record: &NetworkRecord, host: &str, endpoints: &[String]) -> Error {
    let message = format!(
        "error while removing network: network {} has active endpoints ({}) on host {host}: \
         disconnect them first",
        record.spec.name,
        endpoints.join(", ")
    );
    Error::new(Kind::Forbidden, "network-has-endpoints", message)
}
