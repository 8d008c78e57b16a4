//! What the hosts of a cluster agree on: records in a store that others run.
//!
//! Owns the contract that etcd, Consul, ZooKeeper and a store in memory fulfil by their native
//! means. It must not know what a record means, nor decide what to do when a store is away.
//!
//! Nothing here is a lock. Safety rests on [`ClusterStore::commit`] alone: a change is made only
//! where the records that it was decided by are still as they were read.

#[cfg(feature = "consul")]
mod consul;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
mod files;
#[cfg(any(feature = "etcd", feature = "consul"))]
mod http;
mod limits;
pub mod memory;
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
mod net;
mod options;
mod registry;
#[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
mod turns;
mod url;
#[cfg(feature = "zookeeper")]
mod zookeeper;

#[cfg(test)]
mod tests;

pub use error::ClusterError;
pub use options::Options;
pub use registry::connect;
pub use url::{ClusterUrl, Server};

use std::{fmt::Debug, time::Duration};

/// What tells two states of one record apart. Opaque: compare for equality only.
///
/// A key that was deleted and made again has another version than any that it had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64, pub u64);

/// One record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Segments of `[a-z0-9._-]`, joined by `/`, without one at either end.
    pub key: String,
    /// At most [`MAX_VALUE`] bytes.
    pub value: Vec<u8>,
    /// Its state.
    pub version: Version,
}

/// The largest value, in bytes: half of what Consul and ZooKeeper take.
pub const MAX_VALUE: usize = 256 * 1024;

/// The largest sum of a transaction's values, in bytes: Consul takes 512 KiB as base64.
pub const MAX_TRANSACTION: usize = 320 * 1024;

/// The most conditions and writes of one transaction together (Consul's limit is 64 operations).
pub const MAX_OPERATIONS: usize = 60;

/// What must hold for a transaction to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There is no such record.
    Absent(String),
    /// The record is there, in this state.
    Unchanged(String, Version),
}

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Makes or replaces a record.
    Put(String, Vec<u8>),
    /// Deletes a record; one that is not there is no error.
    Delete(String),
}

/// Changes that take effect together, or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// No key twice.
    pub writes: Vec<Write>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All writes took effect.
    Applied,
    /// A condition did not hold; nothing changed.
    Refused,
}

/// A change that a [`Watch`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A record was made or replaced; the last state counts, states between may be left out.
    Put(Record),
    /// A record is gone.
    Deleted(String),
}

/// What changes below a prefix, from the moment of the snapshot that it came with.
pub trait Watch: Send {
    /// Waits until something changed or `patience` is over (an empty answer), and returns what
    /// changed in the order in which it did. A change may be told twice, never out of order of
    /// its own key, never left out.
    ///
    /// # Errors
    /// [`ClusterError::Lost`] when changes may have been missed (compaction, a broken stream that
    /// cannot be resumed): the caller follows anew. [`ClusterError::Unavailable`] while no member
    /// answers; calling again goes on where it stopped, or gives `Lost`.
    fn next(&mut self, patience: Duration) -> Result<Vec<Change>, ClusterError>;
}

/// A record that is there as long as its maker renews it (etcd: a lease; Consul: a session;
/// ZooKeeper: an ephemeral node).
pub trait Presence: Send {
    /// Says that the maker lives; wanted every third of the time to live.
    ///
    /// # Errors
    /// [`ClusterError::Expired`] when the record is gone, or may be: a new one must be made.
    /// [`ClusterError::Unavailable`] while the store is away.
    fn renew(&mut self) -> Result<(), ClusterError>;

    /// Deletes the record at once; the end of a clean stop.
    ///
    /// # Errors
    /// When the store is away: the record goes when its time is over.
    fn close(&mut self) -> Result<(), ClusterError>;
}

/// The health of one server of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The address it was asked at.
    pub address: String,
    /// How long it took to answer, or why it did not.
    pub answer: Result<Duration, String>,
    /// Whether it leads, where the store tells.
    pub leader: Option<bool>,
    /// Its version, where the store tells.
    pub version: Option<String>,
}

/// Records that the hosts of a cluster share. All calls block, each for a bounded time; any number
/// of threads may call at once. Reads are linearizable.
pub trait ClusterStore: Send + Sync + Debug {
    /// What it is: `etcd`, `consul`, `zookeeper`, `memory`.
    fn kind(&self) -> &'static str;

    /// One record.
    ///
    /// # Errors
    /// [`ClusterError::Unavailable`] when no server answers in time.
    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError>;

    /// All records whose key begins with `prefix` and a `/`, in the order of their keys; all that
    /// there are for an empty prefix. They are of one moment, but for ZooKeeper where they and the
    /// folders that they lie in are more than 1,000.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError>;

    /// Applies all writes if all conditions hold, else none.
    ///
    /// # Errors
    /// [`ClusterError::Uncertain`] when nobody can tell whether it was applied (the answer was
    /// lost, or cannot be understood): the caller reads, and decides anew. With any other it was
    /// not applied, and will not be.
    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError>;

    /// All records below a prefix, and what changes there from then on, without a gap.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError>;

    /// Makes a record that is there as long as it is renewed; one that stands under the key is
    /// replaced, whoever made it.
    ///
    /// The record is not for [`Self::commit`] to change, only to rest on.
    ///
    /// `ttl` is at least 1 s; a store with a larger least one takes that. The record is gone at
    /// most `2 * ttl` after the last renewal.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn announce(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Box<dyn Presence>, ClusterError>;

    /// How each server of the store is, asked now.
    fn members(&self) -> Vec<Member>;
}
