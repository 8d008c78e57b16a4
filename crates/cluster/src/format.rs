//! Which cluster's records the store has, in which format, and whether what it lacks is gone.
//!
//! Owns the record that the first host makes. A store that was emptied, or that hides records from
//! this host, looks like one whose networks were all removed: before this host takes anything down,
//! it asks for the very records that are missing, and for this one.

use crate::{
    core::{Core, unavailable},
    keys::{self, Shared},
    record::{self, FormatRecord},
};
use std::collections::BTreeSet;
use vw_model::{Error, Id, Kind, NetworkId, Result};
use vw_store::cluster::{ClusterError, Condition, Record, Transaction, Write};

/// The reason where the others' records are of a newer format.
const NEWER: &str = "cluster-format-newer";

impl Core {
    /// Looks whether the cluster has come to a format that this host does not know: then it changes
    /// nothing there any more, and goes on with what it has.
    pub(crate) fn look_at_format(&self) -> Result<()> {
        let outdated = match self.check_format() {
            Err(error) if error.reason == NEWER => Some(error.message),
            other => other.map(|()| None)?,
        };
        self.state().outdated = outdated;
        Ok(())
    }

    /// Refuses changes of a cluster whose hosts must know more than this one does.
    pub(crate) fn may_write(&self) -> Result<()> {
        match self.state().outdated.clone() {
            None => Ok(()),
            Some(why) => Err(Error::new(Kind::Unsupported, NEWER, why)),
        }
    }

    /// Refuses a cluster whose hosts must know more than this one does, and a store that has the
    /// records of no cluster or of another, while anything of this host is to be on networks of its own.
    pub(crate) fn check_format(&self) -> Result<()> {
        let mut found = self.get(keys::FORMAT)?;
        if found.is_none() {
            self.may_begin_anew()?;
            self.make_format()?;
            // It may be another host's.
            found = self.get(keys::FORMAT)?;
        }
        let Some(found) = found else {
            // Nobody knows whether it was made: it is looked at again.
            return Ok(());
        };
        let decoded = record::decode::<FormatRecord>(&found.value).ok();
        let cluster = decoded
            .as_ref()
            .and_then(|format| format.cluster.as_deref());
        self.check_cluster(cluster)?;
        if decoded.is_some_and(|format| format.least <= record::FORMAT) {
            return Ok(());
        }
        let message = "the cluster's records need a newer vethwork than this host has: update it";
        Err(Error::new(Kind::Unsupported, NEWER, message))
    }

    fn make_format(&self) -> Result<()> {
        let format = FormatRecord {
            least: record::FORMAT,
            cluster: Some(Id::from_bytes((self.settings.random)()).short()),
        };
        let first = Transaction {
            conditions: vec![Condition::Absent(keys::FORMAT.to_owned())],
            writes: vec![Write::Put(keys::FORMAT.to_owned(), record::encode(&format))],
        };
        match self.store.commit(&first) {
            Ok(_) | Err(ClusterError::Uncertain { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Holds the store's cluster against the one that this host belongs to.
    fn check_cluster(&self, found: Option<&str>) -> Result<()> {
        let Some(found) = found else {
            return Ok(());
        };
        let mut identity = self.copy.identity()?;
        if identity.cluster.as_deref() == Some(found) {
            return Ok(());
        }
        if identity.cluster.is_some() {
            self.may_begin_anew()?;
        }
        identity.cluster = Some(found.to_owned());
        self.copy.set_identity(&identity)
    }

    /// Refuses to take the store for a new cluster's while that would take endpoints down.
    fn may_begin_anew(&self) -> Result<()> {
        let at_stake = {
            let state = self.state();
            !state.settled || state.outbox.is_in_use()
        };
        // What is off a network just now comes back by itself, whether before the store answers or after.
        let at_stake = at_stake || self.follower.has_members();
        if !at_stake || self.copy.identity()?.confirmed.is_none() {
            return Ok(());
        }
        let message = format!(
            "the records of this host's cluster are gone from its store ({} is missing, or \
             another cluster's): this host goes on with what it has and changes nothing there. \
             Bring the store back from a backup; or, to begin anew, disconnect this host's \
             containers from its global networks",
            keys::FORMAT
        );
        Err(Error::new(
            Kind::Unavailable,
            "cluster-store-emptied",
            message,
        ))
    }

    /// Makes sure that networks, and this host's own record where `own` says so, are gone from the
    /// store, and not only missing in an answer of it.
    ///
    /// # Errors
    /// When one is still there, or nobody can tell: then nothing of the answer is to be believed.
    pub(crate) fn confirm_loss(&self, networks: &[NetworkId], own: bool) -> Result<()> {
        if networks.is_empty() && !own {
            return Ok(());
        }
        let networks = networks.iter().map(|network| Shared::Network(*network));
        let own = own.then_some(Shared::Host(self.settings.host));
        for key in networks.chain(own).map(|shared| shared.key()) {
            if self.get(&key)?.is_some() {
                let message = format!(
                    "the cluster's store left out {key}, which it has: this host goes on with what \
                     it has; see what its user or token may read there"
                );
                return Err(Error::new(
                    Kind::Unavailable,
                    "cluster-store-hides",
                    message,
                ));
            }
        }
        self.look_at_format()
    }

    /// Which of the networks that this host knows are missing among all records.
    pub(crate) fn missing_networks(&self, records: &[Record]) -> Vec<NetworkId> {
        let there: BTreeSet<NetworkId> = records
            .iter()
            .filter_map(|record| match Shared::parse(&record.key) {
                Some(Shared::Network(id)) => Some(id),
                _ => None,
            })
            .collect();
        let state = self.state();
        let known = state.mirror.networks.keys();
        known
            .filter(|id| !there.contains(id) && !state.made.contains(id))
            .copied()
            .collect()
    }
}
