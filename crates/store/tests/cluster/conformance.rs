//! What every store must do, whatever serves it: one list of cases, run in turn.
//!
//! Each case keeps below a prefix of its own, so that they leave one another alone.

mod presence;
mod records;
mod watch;

use std::time::Duration;
use vw_store::cluster::{ClusterStore, Condition, Outcome, Record, Transaction, Version, Write};

/// A store, as two hosts see it.
pub(crate) struct Subject<'a> {
    pub(crate) store: &'a dyn ClusterStore,
    pub(crate) other: &'a dyn ClusterStore,
    /// The least time to live that it takes.
    pub(crate) least_ttl: Duration,
}

type Case = (&'static str, fn(&Subject<'_>));

/// Runs every case; the one that fails is named by the last line that is printed.
pub(crate) fn run(subject: &Subject<'_>) {
    for cases in [records::CASES, watch::CASES, presence::CASES] {
        for (name, case) in cases {
            eprintln!("{}: {name}", subject.store.kind());
            case(subject);
        }
    }
}

pub(crate) fn put(key: &str, value: impl AsRef<[u8]>) -> Write {
    Write::Put(key.to_owned(), value.as_ref().to_vec())
}

pub(crate) fn delete(key: &str) -> Write {
    Write::Delete(key.to_owned())
}

pub(crate) fn absent(key: &str) -> Condition {
    Condition::Absent(key.to_owned())
}

pub(crate) fn unchanged(key: &str, version: Version) -> Condition {
    Condition::Unchanged(key.to_owned(), version)
}

#[track_caller]
pub(crate) fn commit(
    store: &dyn ClusterStore,
    conditions: impl Into<Vec<Condition>>,
    writes: impl Into<Vec<Write>>,
) -> Outcome {
    store
        .commit(&Transaction {
            conditions: conditions.into(),
            writes: writes.into(),
        })
        .expect("the store is there")
}

#[track_caller]
pub(crate) fn get(store: &dyn ClusterStore, key: &str) -> Option<Record> {
    store.get(key).expect("the store is there")
}

#[track_caller]
pub(crate) fn value(store: &dyn ClusterStore, key: &str) -> Option<Vec<u8>> {
    get(store, key).map(|record| record.value)
}

/// The state of a record that is there.
#[track_caller]
pub(crate) fn version(store: &dyn ClusterStore, key: &str) -> Version {
    get(store, key).expect("it is there").version
}

#[track_caller]
pub(crate) fn keys(store: &dyn ClusterStore, prefix: &str) -> Vec<String> {
    let records = store.list(prefix).expect("the store is there");
    records.into_iter().map(|record| record.key).collect()
}
