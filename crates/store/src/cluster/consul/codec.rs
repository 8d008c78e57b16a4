//! How keys and records look in Consul's JSON and paths.
//!
//! Owns the translation between our keys and those in the store, below the address's prefix.

use super::{
    super::{ClusterError, Record, Version},
    STORE,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn protocol(reason: impl Into<String>) -> ClusterError {
    ClusterError::Protocol {
        store: STORE,
        reason: reason.into(),
    }
}

/// Our keys, below the prefix. No letter of theirs needs to be escaped in a path.
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

    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.root)
    }

    /// Where one record is read.
    pub(super) fn one(&self, key: &str) -> String {
        format!("/v1/kv/{}{key}?consistent", self.root)
    }

    /// Where all records below a prefix are read.
    pub(super) fn below(&self, prefix: &str) -> String {
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!("/v1/kv/{}{prefix}{slash}?recurse&consistent", self.root)
    }

    /// The records of an answer; none of an empty one.
    pub(super) fn records(&self, body: &Value) -> Result<Vec<Record>, ClusterError> {
        let pairs = body.as_array().map_or(&[][..], Vec::as_slice);
        pairs.iter().map(|pair| self.record(pair)).collect()
    }

    fn record(&self, pair: &Value) -> Result<Record, ClusterError> {
        let full = pair["Key"].as_str().unwrap_or_default();
        let key = full
            .strip_prefix(&self.root)
            .ok_or_else(|| protocol(format!("the key {full:?} outside of what was asked")))?;
        // What is empty is null.
        let value = STANDARD
            .decode(pair["Value"].as_str().unwrap_or_default())
            .map_err(|error| protocol(format!("no base64: {error}")))?;
        let index = |name: &str| {
            let index = pair[name].as_u64();
            index.ok_or_else(|| protocol(format!("a record without its {name}")))
        };
        Ok(Record {
            key: key.to_owned(),
            value,
            version: Version(index("ModifyIndex")?, index("CreateIndex")?),
        })
    }
}
