//! A DNS name as the key of a zone.
//!
//! Owns the canonical form (RFC 4034, section 6.2: wire form in lower case), so that a
//! lookup is one comparison of octets. It must not remember the case that somebody used:
//! replies take that from the question.

use crate::Error;
use std::{borrow::Borrow, fmt, sync::Arc};

/// The longest name in wire form, its root label included (RFC 1035, section 2.3.4).
pub(crate) const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;

/// A name in wire form and lower case: labels behind their lengths, then the root's zero.
///
/// Any octet may stand in a label but the dot: `_`, spaces and UTF-8 of container and
/// network names pass as they are. Cloning costs a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Reads `web.mynet` or `web.mynet.`; case is folded.
    ///
    /// # Errors
    /// An empty or overlong label, or a name over 255 octets.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(bare.len() + 2);
        for label in bare.split('.') {
            if label.is_empty() {
                return Err(Error::EmptyLabel(text.to_owned()));
            }
            let length = u8::try_from(label.len())
                .ok()
                .filter(|length| usize::from(*length) <= MAX_LABEL)
                .ok_or_else(|| Error::LongLabel(text.to_owned()))?;
            wire.push(length);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(Error::LongName(text.to_owned()));
        }
        Ok(Self(wire.into()))
    }

    /// This name below `parent`: `web` and `mynet` give `web.mynet`.
    ///
    /// # Errors
    /// When the whole would be over 255 octets.
    pub fn below(&self, parent: &Self) -> Result<Self, Error> {
        let mut wire = self.0[..self.0.len() - 1].to_vec();
        wire.extend_from_slice(&parent.0);
        if wire.len() > MAX_NAME {
            return Err(Error::LongName(format!("{self}.{parent}")));
        }
        Ok(Self(wire.into()))
    }

    /// The wire form, its root label included.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, label) in labels(&self.0).enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            f.write_str(&String::from_utf8_lossy(label))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// The labels of an uncompressed wire name, without the root's.
///
/// Stops at the end of `wire` when that is not a whole name.
pub(crate) fn labels(mut wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, rest) = wire.split_first()?;
        if length == 0 || rest.len() < usize::from(length) {
            return None;
        }
        let (label, rest) = rest.split_at(usize::from(length));
        wire = rest;
        Some(label)
    })
}
