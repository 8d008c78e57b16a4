//! What a watch told, put together again.

use std::{collections::BTreeMap, time::Duration};
use vw_store::cluster::{Change, ClusterError, ClusterStore, Record, Version, Watch};
use vw_testkit::poll;

/// Long for a store that works, on a machine that does much else.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How long one call waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// A snapshot and all that was told since.
pub(crate) struct Replay {
    watch: Box<dyn Watch>,
    records: BTreeMap<String, Record>,
    /// Every change, in the order in which it was told.
    pub(crate) told: Vec<Change>,
}

impl Replay {
    #[track_caller]
    pub(crate) fn follow(store: &dyn ClusterStore, prefix: &str) -> Self {
        let (records, watch) = store.follow(prefix).expect("the store is there");
        Self {
            watch,
            records: by_key(records),
            told: Vec::new(),
        }
    }

    /// Takes what came; passes over a store that is away for now.
    pub(crate) fn step(&mut self) -> Result<(), ClusterError> {
        let changes = match self.watch.next(PATIENCE) {
            Err(ClusterError::Unavailable { .. }) => return Ok(()),
            other => other?,
        };
        for change in changes {
            self.told.push(change.clone());
            match change {
                Change::Put(record) => {
                    self.records.insert(record.key.clone(), record);
                }
                Change::Deleted(key) => {
                    self.records.remove(&key);
                }
            }
        }
        Ok(())
    }

    /// Waits until what was told amounts to these records.
    #[track_caller]
    pub(crate) fn reaches(&mut self, wanted: Vec<Record>) {
        let wanted = by_key(wanted);
        let reached = poll(LONG, || {
            self.step().expect("nothing was missed");
            (self.records == wanted).then_some(())
        });
        assert!(
            reached.is_some(),
            "told {:#?}, not {:#?}",
            shown(&self.records),
            shown(&wanted)
        );
    }

    /// What is known under a key.
    pub(crate) fn value(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key).map(|record| &record.value[..])
    }
}

fn by_key(records: Vec<Record>) -> BTreeMap<String, Record> {
    let keyed = records.into_iter();
    keyed.map(|record| (record.key.clone(), record)).collect()
}

fn shown(records: &BTreeMap<String, Record>) -> Vec<(&str, Version, String)> {
    let shown = records.values().map(|record| {
        let value = String::from_utf8_lossy(&record.value).into_owned();
        (record.key.as_str(), record.version, value)
    });
    shown.collect()
}
