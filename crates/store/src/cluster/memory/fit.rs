//! What every store refuses to keep, said before it is asked.

use crate::cluster::{ClusterError, Condition, MAX_OPERATIONS, MAX_VALUE, Transaction, Write};
use std::collections::BTreeSet;

/// Checks a key: segments of `[a-z0-9._-]` joined by `/`.
pub(crate) fn key(key: &str) -> Result<(), ClusterError> {
    let letter =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let fits = key
        .split('/')
        .all(|segment| !segment.is_empty() && segment.bytes().all(letter));
    if fits {
        Ok(())
    } else {
        Err(unfit(format!("the key {key:?}")))
    }
}

/// Checks a value's size.
pub(crate) fn value(key: &str, value: &[u8]) -> Result<(), ClusterError> {
    if value.len() <= MAX_VALUE {
        return Ok(());
    }
    let length = value.len();
    Err(unfit(format!(
        "{key} has {length} bytes, at most {MAX_VALUE} fit"
    )))
}

/// Checks a transaction's keys, values and size, and that it writes no key twice.
pub(crate) fn transaction(transaction: &Transaction) -> Result<(), ClusterError> {
    let operations = transaction.conditions.len() + transaction.writes.len();
    if operations > MAX_OPERATIONS {
        return Err(unfit(format!(
            "a transaction of {operations} operations, at most {MAX_OPERATIONS} fit"
        )));
    }
    for condition in &transaction.conditions {
        let (Condition::Absent(name) | Condition::Unchanged(name, _)) = condition;
        key(name)?;
    }
    let mut written = BTreeSet::new();
    for write in &transaction.writes {
        let (Write::Put(name, _) | Write::Delete(name)) = write;
        key(name)?;
        if let Write::Put(name, bytes) = write {
            value(name, bytes)?;
        }
        if !written.insert(name) {
            return Err(unfit(format!("a transaction writes {name} twice")));
        }
    }
    Ok(())
}

fn unfit(reason: String) -> ClusterError {
    ClusterError::Unfit { reason }
}
