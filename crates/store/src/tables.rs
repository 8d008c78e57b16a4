//! Every table in memory, as the journal and the memory store keep them.

use crate::{Batch, Change, Table};
use std::{
    collections::BTreeMap,
    ops::Bound::{Included, Unbounded},
};

/// What one record costs in a file besides its key and value, for [`Tables::bytes`].
const RECORD: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: BTreeMap<Table, BTreeMap<String, Vec<u8>>>,
    bytes: usize,
}

impl Tables {
    pub(crate) fn apply(&mut self, batch: Batch) {
        for change in batch.into_changes() {
            match change {
                Change::Put { table, key, value } => {
                    self.forget(table, &key);
                    self.bytes += RECORD + key.len() + value.len();
                    self.tables.entry(table).or_default().insert(key, value);
                }
                Change::Delete { table, key } => self.forget(table, &key),
            }
        }
    }

    fn forget(&mut self, table: Table, key: &str) {
        let records = self.tables.entry(table).or_default();
        if let Some(value) = records.remove(key) {
            self.bytes -= RECORD + key.len() + value.len();
        }
    }

    pub(crate) fn get(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        self.tables.get(&table)?.get(key).cloned()
    }

    pub(crate) fn scan_prefix(&self, table: Table, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let records = self.tables.get(&table).into_iter();
        records
            .flat_map(|records| records.range::<str, _>((Included(prefix), Unbounded)))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Table, &str, &[u8])> {
        self.tables.iter().flat_map(|(table, records)| {
            let records = records.iter();
            records.map(|(key, value)| (*table, key.as_str(), value.as_slice()))
        })
    }

    /// About how many bytes a file needs for what is here.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
