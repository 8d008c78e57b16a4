//! A request's query: form decoding and Docker's way to read values.

#[cfg(test)]
mod tests;

use crate::{errors::ApiError, filters::Filters};
use std::borrow::Cow;

/// Decoded pairs, in the order given.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent_decode(&text.replace('+', " ")).into_owned();
            (decode(key), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a key; empty when it has none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map_or("", |(_, value)| value)
    }

    /// The first value of a key, `None` when it is absent or empty.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        Some(self.get(key)).filter(|value| !value.is_empty())
    }

    /// Every value of a key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// Docker's truth: everything but nothing, `0`, `no`, `false` and `none`.
    pub(crate) fn truth(&self, key: &str) -> bool {
        let value = self.get(key).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A whole number, when the key is given.
    ///
    /// # Errors
    /// 400 with Go's sentence.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.given(key) else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            ApiError::bad_request(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
        })?;
        Ok(Some(number))
    }

    /// A terminal's size from `h` and `w`.
    ///
    /// # Errors
    /// 400 with Docker's sentence.
    pub(crate) fn terminal_size(&self) -> Result<(u16, u16), ApiError> {
        let side = |key: &str, name: &str| {
            let text = self.get(key);
            text.parse::<u16>().map_err(|_| {
                ApiError::bad_request(format!("invalid resize {name} {text:?}: invalid syntax"))
            })
        };
        Ok((side("h", "height")?, side("w", "width")?))
    }

    /// The `filters` value.
    ///
    /// # Errors
    /// 400 when it is not of the form.
    pub(crate) fn filters(&self) -> Result<Filters, ApiError> {
        Filters::parse(self.get("filters"))
    }
}

/// Replaces `%41` by what it stands for; malformed escapes and bytes that are not UTF-8 stay or
/// become the replacement character.
pub(crate) fn percent_decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
