//! Image names as Docker writes them for people.
//!
//! Owns the grammar (distribution/reference): `docker.io/library/` is left out, a missing
//! tag is `latest`. Digests are ids here, since nothing is pulled from a registry.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// `[registry/]name:tag`, normalised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    name: String,
    tag: String,
}

/// An image's id: the SHA-256 of its configuration, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId(String);

impl Reference {
    /// The repository, such as `web` or `registry.example:5000/team/web`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, such as `latest`.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::InvalidReference(text.to_owned());
        let after_path = text.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match text[after_path..].find(':') {
            Some(colon) => (&text[..after_path + colon], &text[after_path + colon + 1..]),
            None => (text, "latest"),
        };
        let (domain, path) = match name.split_once('/') {
            Some((first, rest)) if is_domain(first) => (Some(first), rest),
            _ => (None, name),
        };
        let path_is_valid = !path.is_empty() && path.split('/').all(is_component);
        let domain_is_valid = domain.is_none_or(is_valid_domain);
        if !path_is_valid || !domain_is_valid || !is_tag(tag) || name.len() > 255 || is_id(name) {
            return Err(refuse());
        }
        let path = match domain {
            None | Some("docker.io" | "index.docker.io") => {
                path.strip_prefix("library/").unwrap_or(path).to_owned()
            }
            Some(domain) => format!("{domain}/{path}"),
        };
        Ok(Self {
            name: path,
            tag: tag.to_owned(),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl ImageId {
    /// The 64 digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for ImageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if is_id(hex) {
            Ok(Self(hex.to_owned()))
        } else {
            Err(Error::InvalidReference(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ImageId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.to_string()
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn is_valid_domain(domain: &str) -> bool {
    let (host, port) = domain.split_once(':').unwrap_or((domain, "0"));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label) && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Lowercase letters and digits, separated by `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    let separator =
        |run: &[u8]| matches!(run, [] | b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-');
    ends.iter().all(|end| end.is_some_and(|byte| plain(*byte)))
        && bytes.split(|byte| plain(*byte)).all(separator)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&text.len())
        && word(text.as_bytes()[0])
        && text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}
