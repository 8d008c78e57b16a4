//! How keys, values and numbers look in etcd's JSON: base64, and numbers as strings.
//!
//! Owns the translation between our keys and those in the store, below the address's prefix.

use super::{
    super::{ClusterError, Record, Version},
    STORE,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn decode(value: &Value) -> Result<Vec<u8>, ClusterError> {
    // What is empty is left out.
    STANDARD
        .decode(value.as_str().unwrap_or_default())
        .map_err(|error| protocol(format!("no base64: {error}")))
}

/// A number, which is left out when it is 0.
pub(super) fn number(value: &Value) -> Result<u64, ClusterError> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => text
            .parse()
            .map_err(|_| protocol(format!("no number: {text:?}"))),
        other => other
            .as_u64()
            .ok_or_else(|| protocol(format!("no number: {other}"))),
    }
}

pub(super) fn protocol(reason: String) -> ClusterError {
    ClusterError::Protocol {
        store: STORE,
        reason,
    }
}

/// Our keys, below the prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// The prefix with a `/` at its end.
    root: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            root: format!("{prefix}/"),
        }
    }

    /// A key as requests want it.
    pub(super) fn encode(&self, key: &str) -> String {
        encode(format!("{}{key}", self.root))
    }

    /// The first key below a prefix, and the first after all of them.
    pub(super) fn below(&self, prefix: &str) -> (Vec<u8>, Vec<u8>) {
        let mut start = self.root.clone().into_bytes();
        if !prefix.is_empty() {
            start.extend_from_slice(prefix.as_bytes());
            start.push(b'/');
        }
        let mut end = start.clone();
        *end.last_mut().expect("it ends in a slash") += 1;
        (start, end)
    }

    /// The first key that may come after one of ours.
    pub(super) fn after(&self, key: &str) -> Vec<u8> {
        format!("{}{key}\0", self.root).into_bytes()
    }

    /// The key of a record or an event.
    pub(super) fn key(&self, kv: &Value) -> Result<String, ClusterError> {
        let key = String::from_utf8(decode(&kv["key"])?)
            .map_err(|_| protocol("a key that is no text".to_owned()))?;
        key.strip_prefix(&self.root)
            .map(str::to_owned)
            .ok_or_else(|| protocol(format!("the key {key:?} outside of what was asked")))
    }

    pub(super) fn record(&self, kv: &Value) -> Result<Record, ClusterError> {
        Ok(Record {
            key: self.key(kv)?,
            value: decode(&kv["value"])?,
            version: Version(
                number(&kv["mod_revision"])?,
                number(&kv["create_revision"])?,
            ),
        })
    }

    /// The records of the answer to a range.
    pub(super) fn records(&self, answer: &Value) -> Result<Vec<Record>, ClusterError> {
        let kvs = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice);
        kvs.iter().map(|kv| self.record(kv)).collect()
    }
}
