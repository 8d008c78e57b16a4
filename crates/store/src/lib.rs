//! Records that outlive the process: small tables of text keys and opaque values.
//!
//! Owns atomic, durable batches of changes and the schema version of the files they lie in. It
//! must not know what the values mean, cache for its callers, or log.
//!
//! | store | where | an acknowledged commit survives | one commit |
//! |---|---|---|---|
//! | [`Embedded`] | the data directory | loss of power | one flush of the disk |
//! | [`Journal`] | the run directory | `kill -9` | one `write`, about 2 us |
//! | [`Memory`] | tests, and daemons that keep nothing | nothing | |

mod batch;
pub mod cluster;
mod embedded;
mod error;
pub mod faults;
mod journal;
mod lock;
mod memory;
mod schema;
mod tables;

pub use batch::{Batch, Change, Table};
pub use embedded::Embedded;
pub use error::Error;
pub use journal::Journal;
pub use memory::Memory;
pub use schema::{Migration, Schema};

use std::sync::Arc;

/// Tables of records, shared by threads.
///
/// Commits are serialised: readers see all of a batch or nothing of it, and see it from the
/// moment `commit` returns.
pub trait Store: Send + Sync {
    /// Applies all changes of a batch, in their order, or none; an empty batch does nothing.
    ///
    /// On success they are as durable as this store promises. After an error none is seen, but
    /// for a disk that fails to flush, which leaves open whether all are. The store stays usable:
    /// once the cause is gone (a full disk), the next commit works.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Engine`] when they could not be written, [`Error::Broken`] when
    /// the file was moreover left in a state that only opening it again can clear up.
    fn commit(&self, batch: Batch) -> Result<(), Error>;

    /// The value under a key.
    ///
    /// # Errors
    /// As reading may fail: [`Error::Io`], [`Error::Engine`], [`Error::Broken`].
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error>;

    /// The records of a table whose keys begin with `prefix`, in the order of their keys' bytes. Costs
    /// what it finds, however many others there are.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error>;

    /// All records of a table, in that order.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn scan(&self, table: Table) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.scan_prefix(table, "")
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        (**self).commit(batch)
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        (**self).get(table, key)
    }

    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        (**self).scan_prefix(table, prefix)
    }
}
