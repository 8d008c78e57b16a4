//! The `filters` of list, prune and event requests, as moby's `filters` package has them.

#[cfg(test)]
mod tests;

use crate::errors::ApiError;
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use vw_model::Options;

/// Values by key.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, BTreeSet<String>>);

/// `{"name":{"web":true}}` today, `{"name":["web"]}` before API 1.22, which clients still send.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Set(BTreeMap<String, bool>),
    List(Vec<String>),
}

impl Filters {
    /// Reads either form; nothing is no filters.
    ///
    /// # Errors
    /// 400 `invalid filter` for anything else.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let values: BTreeMap<String, Values> =
            serde_json::from_str(text).map_err(|_| ApiError::bad_request("invalid filter"))?;
        let sets = values.into_iter().map(|(key, values)| match values {
            Values::Set(set) => (key, set.into_keys().collect()),
            Values::List(list) => (key, list.into_iter().collect()),
        });
        Ok(Self(sets.collect()))
    }

    /// Refuses keys that the request does not know.
    ///
    /// # Errors
    /// 400 with Docker's sentence.
    pub(crate) fn accept(self, keys: &[&str]) -> Result<Self, ApiError> {
        match self.0.keys().find(|key| !keys.contains(&key.as_str())) {
            Some(key) => Err(ApiError::bad_request(format!("invalid filter '{key}'"))),
            None => Ok(self),
        }
    }

    /// The values of a key.
    pub(crate) fn get(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.get(key).into_iter().flatten().map(String::as_str)
    }

    /// Whether a key is given.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Whether the key is absent or one of its values is `text`.
    pub(crate) fn exact(&self, key: &str, text: &str) -> bool {
        self.0
            .get(key)
            .is_none_or(|values| values.is_empty() || values.contains(text))
    }

    /// Whether the key is absent, or a value of it is `text` or a regular expression found in it.
    pub(crate) fn matches(&self, key: &str, text: &str) -> bool {
        self.exact(key, text)
            || self
                .get(key)
                .any(|value| Regex::new(value).is_ok_and(|regex| regex.is_match(text)))
    }

    /// Whether the key is absent, or a value of it is a prefix of `text`.
    pub(crate) fn prefixes(&self, key: &str, text: &str) -> bool {
        self.exact(key, text) || self.get(key).any(|value| text.starts_with(value))
    }

    /// Whether every `key` or `key=value` asked for is among the labels.
    pub(crate) fn labels(&self, key: &str, labels: &Options) -> bool {
        self.pairs(key)
            .iter()
            .all(|(name, value)| holds(labels, name, value.as_deref()))
    }

    /// Whether none of them is.
    pub(crate) fn no_labels(&self, key: &str, labels: &Options) -> bool {
        !self
            .pairs(key)
            .iter()
            .any(|(name, value)| holds(labels, name, value.as_deref()))
    }

    /// `key` or `key=value` values, split.
    pub(crate) fn pairs(&self, key: &str) -> Vec<(String, Option<String>)> {
        let split = |text: &str| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (text.to_owned(), None),
        };
        self.get(key).map(split).collect()
    }

    /// A truth value, when the key is given.
    ///
    /// # Errors
    /// 400 for several values, or another than `true`, `1`, `false` or `0`.
    pub(crate) fn truth(&self, key: &str) -> Result<Option<bool>, ApiError> {
        let mut values = self.get(key);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            let message = format!("got more than one value for filter key {key:?}");
            return Err(ApiError::bad_request(message));
        }
        match value {
            "1" | "true" => Ok(Some(true)),
            "0" | "false" => Ok(Some(false)),
            _ => Err(ApiError::bad_request(format!(
                "invalid value for filter '{key}', must be \"true\" (or \"1\"), or \"false\" \
                 (or \"0\")"
            ))),
        }
    }
}

fn holds(labels: &Options, name: &str, value: Option<&str>) -> bool {
    labels
        .get(name)
        .is_some_and(|held| value.is_none_or(|value| held == value))
}
