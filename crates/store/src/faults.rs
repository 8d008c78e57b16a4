//! A store whose N-th commit fails, to show that every caller undoes what it began.

use crate::{Batch, Error, Store, Table};
use std::sync::atomic::{AtomicU64, Ordering};

/// Passes everything on, but for one commit.
#[derive(Debug)]
pub struct Failing<S> {
    store: S,
    commits: AtomicU64,
    fail_at: AtomicU64,
}

impl<S> Failing<S> {
    /// Fails none until [`Self::fail_nth`].
    pub const fn new(store: S) -> Self {
        Self {
            store,
            commits: AtomicU64::new(0),
            fail_at: AtomicU64::new(0),
        }
    }

    /// Fails the `nth` commit from now, counted from 1, and only that one; 0 fails none.
    pub fn fail_nth(&self, nth: u64) {
        self.commits.store(0, Ordering::SeqCst);
        self.fail_at.store(nth, Ordering::SeqCst);
    }

    /// How many commits were asked for since [`Self::fail_nth`], the failed one included.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// The store below.
    pub const fn inner(&self) -> &S {
        &self.store
    }
}

impl<S: Store> Store for Failing<S> {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        let nth = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if nth == self.fail_at.load(Ordering::SeqCst) {
            return Err(Error::Injected { nth });
        }
        self.store.commit(batch)
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(table, key)
    }

    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.store.scan_prefix(table, prefix)
    }
}
