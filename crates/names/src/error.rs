//! What can be wrong with a name.

/// A text that cannot be a DNS name (RFC 1035, section 2.3.4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two dots in a row, a leading dot, or nothing at all.
    #[error("{0:?} cannot be a DNS name: it has an empty label; remove the extra dot")]
    EmptyLabel(String),
    /// A label over 63 octets.
    #[error("{0:?} cannot be a DNS name: a label is longer than 63 octets; shorten it")]
    LongLabel(String),
    /// The whole over 255 octets in wire form.
    #[error("{0:?} cannot be a DNS name: it is longer than 255 octets; shorten it")]
    LongName(String),
}
