//! What can go wrong with a store, and what to do about it.

use std::{io, path::PathBuf};
use vw_model::Kind;

/// A failure of a store; every sentence names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused an operation on the file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, such as `write`.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process, or another part of this one, has it open.
    #[error(
        "{} is in use by another daemon; stop that one, or give this one a --data-root and an \
         --exec-root of its own", path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file's content cannot be what a store wrote.
    #[error(
        "{} is corrupt: {detail}; it was left as it is: put back a copy of it, or move it away \
         to start with nothing", path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// A newer binary wrote the file.
    #[error(
        "{} has schema version {found}, but this binary knows none after {known}; start a newer \
         one, or move the file away to start with nothing", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// No migration is known from the file's version.
    #[error(
        "{} has schema version {found}, from which this binary knows no way to {known}; start a \
         version in between first", path.display()
    )]
    NoMigration {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The database engine refused.
    #[error("cannot {action} {}", path.display())]
    Engine {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the engine said.
        source: Box<redb::Error>,
    },
    /// A write failed and could not be taken back.
    #[error("{} could not be restored after a failed write; start the daemon again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// A fault that a test asked for.
    #[error("commit {nth} fails, as asked")]
    Injected {
        /// The number of the commit.
        nth: u64,
    },
}

impl From<Error> for vw_model::Error {
    fn from(error: Error) -> Self {
        let (kind, reason) = match &error {
            Error::Io { .. } | Error::Engine { .. } => (Kind::Unavailable, "store-unavailable"),
            Error::InUse { .. } => (Kind::Conflict, "store-in-use"),
            Error::Corrupt { .. } => (Kind::Internal, "store-corrupt"),
            Error::NewerSchema { .. } => (Kind::Unsupported, "store-newer"),
            Error::NoMigration { .. } => (Kind::Unsupported, "store-too-old"),
            Error::Broken { .. } => (Kind::Internal, "store-broken"),
            Error::Injected { .. } => (Kind::Internal, "store-fault-injected"),
        };
        let message = error.to_string();
        let refusal = Self::new(kind, reason, message);
        match error {
            Error::Io { source, .. } => refusal.because(source),
            Error::Engine { source, .. } => refusal.because(source),
            _ => refusal,
        }
    }
}
