//! One request, built piece by piece.

use super::body::Sent;
use hyper::{Method, body::Bytes};
use serde_json::Value;
use std::fmt::Write as _;

/// A request to the API, its path without the version.
#[derive(Debug)]
pub(crate) struct Request {
    pub(super) method: Method,
    pub(super) body: Sent,
    pub(super) content_type: Option<&'static str>,
    pub(super) upgrade: bool,
    pub(super) path: String,
    pub(super) query: String,
}

impl Request {
    /// A request whose path is these segments, each of which may hold anything.
    pub(crate) fn new(method: Method, segments: &[&str]) -> Self {
        let path = segments.iter().fold(String::new(), |mut path, segment| {
            path.push('/');
            percent_encode(segment, &mut path);
            path
        });
        let (body, query) = (Sent::Whole(None), String::new());
        Self {
            method,
            body,
            content_type: None,
            upgrade: false,
            path,
            query,
        }
    }

    /// GET.
    pub(crate) fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    /// POST.
    pub(crate) fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    /// DELETE.
    pub(crate) fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// Adds a value to the query.
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.query
            .push(if self.query.is_empty() { '?' } else { '&' });
        percent_encode(key, &mut self.query);
        self.query.push('=');
        percent_encode(value, &mut self.query);
        self
    }

    /// Adds `key=1` when asked for.
    pub(crate) fn flag(self, key: &str, asked: bool) -> Self {
        if asked { self.query(key, "1") } else { self }
    }

    /// Adds a value when there is one.
    pub(crate) fn option(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(key, &value.to_string()),
            None => self,
        }
    }

    /// Adds `filters` when there are some: `KEY=VALUE` texts, as their parser checked.
    pub(crate) fn filters(self, filters: &[(String, String)]) -> Self {
        if filters.is_empty() {
            return self;
        }
        let mut map = serde_json::Map::new();
        for (key, value) in filters {
            let values = map
                .entry(key.clone())
                .or_insert_with(|| Value::Object(Default::default()));
            if let Value::Object(values) = values {
                values.insert(value.clone(), Value::Bool(true));
            }
        }
        self.query("filters", &Value::Object(map).to_string())
    }

    /// Carries a JSON document.
    pub(crate) fn body(mut self, document: &Value) -> Self {
        self.body = Sent::Whole(Some(Bytes::from(document.to_string())));
        self.content_type = Some("application/json");
        self
    }

    /// Says that the body is a tar archive.
    pub(crate) fn tar(mut self) -> Self {
        self.content_type = Some("application/x-tar");
        self
    }

    /// The path and the query.
    pub(super) fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }
}

/// Appends a text with everything escaped that a path segment or a query value must not hold.
/// Slashes stay: image names hold them, and the daemon matches them so.
fn percent_encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                into.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => _ = write!(into, "%{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests;
