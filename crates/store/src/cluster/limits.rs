//! What every store takes: the keys, values and transactions that are fit for all of them.
//!
//! Owns the check before anything is sent, so that one store never takes what another refuses.

use super::{
    ClusterError, Condition, MAX_OPERATIONS, MAX_TRANSACTION, MAX_VALUE, Transaction, Write,
};
use std::collections::HashSet;

/// The longest key, in bytes: a ZooKeeper node's name still fits with its prefix.
const MAX_KEY: usize = 512;

/// Holds a key against the form that [`super::Record::key`] gives.
pub(crate) fn key(key: &str) -> Result<(), ClusterError> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let well_formed = key.split('/').all(|segment| {
        // ZooKeeper takes neither `.` nor `..` as a name.
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| is_letter(byte) || b"._-".contains(&byte))
    });
    if !well_formed {
        return Err(unfit(format!(
            "the key {key:?}: segments of a-z, 0-9, '.', '_' and '-', joined by '/'"
        )));
    }
    if key.len() > MAX_KEY {
        return Err(unfit(format!("a key of more than {MAX_KEY} bytes")));
    }
    Ok(())
}

/// As [`key`], but all records are meant by an empty prefix.
pub(crate) fn prefix(prefix: &str) -> Result<(), ClusterError> {
    if prefix.is_empty() {
        return Ok(());
    }
    key(prefix)
}

/// Holds a value against [`MAX_VALUE`].
pub(crate) fn value(key: &str, value: &[u8]) -> Result<(), ClusterError> {
    if value.len() > MAX_VALUE {
        return Err(unfit(format!(
            "{key} with {} bytes, more than {MAX_VALUE}",
            value.len()
        )));
    }
    Ok(())
}

/// Holds a transaction's keys, values, number and sum against what all stores take.
pub(crate) fn transaction(transaction: &Transaction) -> Result<(), ClusterError> {
    let operations = transaction.conditions.len() + transaction.writes.len();
    if operations > MAX_OPERATIONS {
        return Err(unfit(format!(
            "{operations} operations in one transaction, more than {MAX_OPERATIONS}"
        )));
    }
    for condition in &transaction.conditions {
        key(condition.key())?;
    }
    let mut sum = 0;
    let mut written = HashSet::new();
    for write in &transaction.writes {
        key(write.key())?;
        if !written.insert(write.key()) {
            return Err(unfit(format!("{} twice in one transaction", write.key())));
        }
        if let Write::Put(key, bytes) = write {
            value(key, bytes)?;
            sum += bytes.len();
        }
    }
    if sum > MAX_TRANSACTION {
        return Err(unfit(format!(
            "{sum} bytes in one transaction, more than {MAX_TRANSACTION}"
        )));
    }
    Ok(())
}

fn unfit(reason: String) -> ClusterError {
    ClusterError::Unfit { reason }
}

impl Condition {
    /// The record that it speaks of.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Absent(key) | Self::Unchanged(key, _) => key,
        }
    }
}

impl Write {
    /// The record that it changes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}
