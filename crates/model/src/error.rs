//! The closed set of ways in which a request can fail, shared by all layers.

use std::{error::Error as StdError, fmt};

/// What went wrong, in the few kinds that a surface maps to its own codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request can never be carried out as it stands.
    InvalidArgument,
    /// It names something that is not there.
    NotFound,
    /// It contradicts what is there now.
    Conflict,
    /// A pool, a table or a port range has no room left.
    Exhausted,
    /// This build or this kernel cannot do it.
    Unsupported,
    /// Something it needs does not answer now; trying again may help.
    Unavailable,
    /// It is not allowed on this object.
    Forbidden,
    /// A defect or an unexpected answer of the system.
    Internal,
    /// Nothing to do: it is so already (Docker answers 304).
    NotModified,
}

/// A stable word for one cause, such as `network-not-found`: tests and surfaces match on it.
pub type Reason = &'static str;

/// A refused or failed request: a kind, a stable reason, a sentence and the cause below it.
#[derive(Debug)]
pub struct Error {
    /// The kind.
    pub kind: Kind,
    /// The stable reason.
    pub reason: Reason,
    /// Docker's own sentence first where it has one, then the remedy.
    pub message: String,
    /// What lies below, printed once at the edge.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error without a cause below it.
    pub fn new(kind: Kind, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the cause below it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Shorthand for [`Kind::InvalidArgument`].
    pub fn invalid(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidArgument, reason, message)
    }

    /// Shorthand for [`Kind::NotFound`].
    pub fn not_found(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, reason, message)
    }

    /// Shorthand for [`Kind::Conflict`].
    pub fn conflict(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, reason, message)
    }

    /// Shorthand for [`Kind::Internal`].
    pub fn internal(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, reason, message)
    }

    /// The sentence and every cause below it, joined by `: `.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
