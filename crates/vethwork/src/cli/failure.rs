//! How a command fails: its sentence and its exit status.

use crate::{client, render::TemplateError};
use std::{error::Error as StdError, io};

/// The exit status of a refused request.
pub(crate) const REFUSED: u8 = 1;
/// The exit status of a command line that cannot be, and of `run` when the daemon refuses.
pub(crate) const UNUSABLE: u8 = 125;
/// The exit status of `run` for a program that cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// The exit status of `run` for a program that is not there.
const NOT_FOUND: u8 = 127;

/// A command that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon, or the way to it.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// `--format`.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The client itself refuses.
    #[error("{0}")]
    Refused(String),
    /// A file or a standard stream.
    #[error("{what}")]
    Io {
        /// What was done with which file.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// All is said; only the exit status is left.
    #[error("exit status {0}")]
    Status(u8),
}

/// What a command returns.
pub(crate) type Done<T = ()> = Result<T, Failure>;

impl Failure {
    /// A refusal of the client.
    pub(crate) fn refused(sentence: impl Into<String>) -> Self {
        Self::Refused(sentence.into())
    }

    /// A failure to write output. A reader that has gone wants no complaint.
    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::Status(REFUSED);
        }
        Self::Io {
            what: "cannot write the output".to_owned(),
            source,
        }
    }

    /// The sentence and every cause below it, once each.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            let sentence = cause.to_string();
            if !text.ends_with(&sentence) {
                text = format!("{text}: {sentence}");
            }
            next = cause.source();
        }
        text
    }

    /// The exit status in general.
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::Status(status) => *status,
            _ => REFUSED,
        }
    }

    /// Docker's exit status of `run`, told from the sentence as Docker tells it.
    pub(crate) fn run_status(&self) -> u8 {
        if let Self::Status(status) = self {
            return *status;
        }
        let said = |words: &[&str]| {
            let text = self.chain();
            words.iter().any(|words| text.contains(words))
        };
        if said(&["executable file not found", "no such file or directory"]) {
            NOT_FOUND
        } else if said(&["permission denied", "is a directory"])
            && matches!(self, Self::Client(client::Error::Refused { .. }))
        {
            NOT_EXECUTABLE
        } else {
            UNUSABLE
        }
    }
}

#[cfg(test)]
mod tests;
