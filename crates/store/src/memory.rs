//! A store that forgets everything with the process.

use crate::{Batch, Error, Store, Table, tables::Tables};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tables in memory. It never fails; wrap it in [`crate::faults::Failing`] to make it.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Tables>);

impl Memory {
    /// No records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn into_tables(self) -> Tables {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Nothing that runs under the lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.tables().apply(batch);
        Ok(())
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.tables().get(table, key))
    }

    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        Ok(self.tables().scan_prefix(table, prefix))
    }
}
