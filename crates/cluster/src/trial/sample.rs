//! The store as an onlooker sees it, again and again.

use super::log::now;
use crate::{
    keys::{self, Shared},
    record::{self, NetworkRecord},
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use vw_model::{HostId, NetworkId};
use vw_store::cluster::{ClusterStore, Record, Version};

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);

/// All records of one moment.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Not before this.
    pub(super) from: Duration,
    /// Not after this.
    pub(super) to: Duration,
    pub(super) records: BTreeMap<String, Vec<u8>>,
    pub(super) versions: BTreeMap<String, Version>,
    pub(super) networks: BTreeMap<NetworkId, NetworkRecord>,
}

impl Sample {
    pub(super) fn new(from: Duration, to: Duration, records: Vec<Record>) -> Self {
        let mut sample = Self {
            from,
            to,
            ..Self::default()
        };
        for Record {
            key,
            value,
            version,
        } in records
        {
            if let Some(Shared::Network(id)) = Shared::parse(&key) {
                let network = record::decode(&value).expect("a network");
                sample.networks.insert(id, network);
            }
            sample.versions.insert(key.clone(), version);
            sample.records.insert(key, value);
        }
        sample
    }

    /// Whether a host belonged to the cluster.
    pub(super) fn member(&self, host: HostId) -> bool {
        self.records.contains_key(&Shared::Host(host).key())
    }

    /// Whether a host was the last to be forgotten, and after a record was written, by what versions tell:
    /// those of etcd and Consul count the changes of all records.
    pub(super) fn forgotten_since(&self, host: HostId, key: &str) -> bool {
        let last = self.records.get(keys::FORGOTTEN);
        let last = last.and_then(|bytes| record::decode::<record::ForgottenRecord>(bytes).ok());
        let changed = |key: &str| self.versions.get(key).map(|version| version.0);
        last.is_some_and(|last| last.host == host) && changed(keys::FORGOTTEN) > changed(key)
    }

    /// Which of its presences stood.
    pub(super) fn presence(&self, host: HostId) -> Option<Version> {
        self.versions.get(&Shared::Alive(host).key()).copied()
    }

    /// Whose a record is that its host alone makes.
    pub(super) fn maker(&self, key: &str) -> Option<HostId> {
        match Shared::parse(key) {
            Some(
                Shared::Endpoint(_, host, _) | Shared::Tunnel(host) | Shared::Unpublished(host),
            ) => Some(host),
            _ => {
                keys::parse_block(key)?;
                let bytes = self.records.get(key)?;
                let block = record::decode::<record::BlockRecord>(bytes).expect("a block");
                Some(block.host)
            }
        }
    }
}

/// Looks until it is told to stop; what cannot be read is tried again.
pub(super) fn watch(store: &dyn ClusterStore, stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let from = now();
        if let Ok(records) = store.list("v1") {
            samples.push(Sample::new(from, now(), records));
        }
        vw_testkit::poll(PAUSE, || stop.load(Ordering::SeqCst).then_some(()));
    }
    samples
}
