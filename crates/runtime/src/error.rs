//! How running a container can fail, and what a surface says of it.
//!
//! Owns the sentences, Docker's own where Docker has one. It must not decide
//! status codes: a surface maps the kind and the reason.

use std::{fmt, io, path::PathBuf};
use vw_model::Kind;

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a container or an image failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the candidates runs a container on this machine.
    #[error(
        "no OCI runtime runs a container here: {tried}; install runc or crun (Debian: apt-get install runc)"
    )]
    NoRuntime {
        /// Each candidate with what it said.
        tried: String,
    },
    /// conmon is missing or does not run.
    #[error("{program}: {said}; install conmon (Debian: apt-get install conmon)")]
    NoConmon {
        /// The program as it was configured.
        program: String,
        /// What was tried and what came of it.
        said: String,
    },
    /// `--init` without an init program on this machine.
    #[error(
        "exec: \"docker-init\": executable file not found in $PATH; install tini or catatonit, or leave --init out"
    )]
    NoInit,
    /// A directory that cannot be used as data or run directory.
    #[error("{path}: {why}", path = .path.display())]
    UnfitDirectory {
        /// The directory.
        path: PathBuf,
        /// Why, with the remedy.
        why: String,
    },
    /// No image has this name or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// A prefix of several ids.
    #[error("multiple images found with provided prefix: {0}")]
    AmbiguousImage(String),
    /// Not an image reference.
    #[error("invalid reference format: {0:?}; use [registry/]name[:tag], lowercase")]
    InvalidReference(String),
    /// An image that cannot be removed as asked.
    #[error("conflict: unable to remove repository reference \"{reference}\" ({how}) - {why}")]
    ImageInUse {
        /// As it was named.
        reference: String,
        /// `must force` or `cannot be forced`.
        how: &'static str,
        /// What holds it.
        why: String,
    },
    /// An archive that is no image, or a hostile one.
    #[error("{0}")]
    BadArchive(String),
    /// A `--change` that is none.
    #[error("{0}")]
    BadChange(String),
    /// Neither the image nor the request says what to run.
    #[error("no command specified")]
    NoCommand,
    /// A user or group that the container's files do not know.
    #[error("unable to find {what} {name}: no matching entries in {what_file} file", what_file = if *.what == "user" { "passwd" } else { "group" })]
    NoSuchUser {
        /// `user` or `group`.
        what: &'static str,
        /// As it was named.
        name: String,
    },
    /// A part of the specification that can never be carried out.
    #[error("{0}")]
    InvalidSpec(String),
    /// `--mount type=bind` of a path that is not there.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {path}", path = .0.display())]
    NoMountSource(PathBuf),
    /// The process could not be started; the exit status that Docker's CLI gives for it.
    #[error("{message}")]
    CannotStart {
        /// 126, 127 or 128.
        exit_code: i32,
        /// Docker's sentence around the runtime's.
        message: String,
    },
    /// The container has no root file system here.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// A second create of a container that has a process, or another image.
    #[error("container {0} is there already; remove it first")]
    AlreadyCreated(String),
    /// An operation that needs a process.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The time that somebody gave is over.
    #[error("{0} took too long")]
    Late(String),
    /// A helper program failed.
    #[error("{program} {action}: {said}")]
    Program {
        /// Its path.
        program: String,
        /// What it was told to do.
        action: String,
        /// Its own words.
        said: String,
    },
    /// A stored file that does not parse.
    #[error("{path} is damaged: {why}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        why: String,
    },
    /// A system call on a named object failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, on which object.
        what: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Tearing down went on past these.
    #[error("{}", Joined(.0))]
    Teardown(Vec<Error>),
}

struct Joined<'a>(&'a [Error]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

/// Names what was being done when a system call failed.
pub(crate) trait Context<T> {
    /// Turns the failure into [`Error::Io`]; `what` names the act and the object.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what(),
            source: source.into(),
        })
    }
}

/// Collects failures of a teardown that goes on past them.
#[derive(Default)]
pub(crate) struct Collected(Vec<Error>);

impl Collected {
    /// Notes a failure, if it was one.
    pub(crate) fn note(&mut self, result: Result<()>) {
        self.0.extend(result.err());
    }

    /// The failures as one, if there were any.
    pub(crate) fn finish(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            _ => Err(Error::Teardown(self.0)),
        }
    }
}

impl Error {
    /// The kind and the stable reason that surfaces match on.
    #[must_use]
    pub fn kind(&self) -> (Kind, vw_model::Reason) {
        match self {
            Self::NoRuntime { .. } => (Kind::Unsupported, "no-oci-runtime"),
            Self::NoConmon { .. } => (Kind::Unsupported, "no-conmon"),
            Self::NoInit => (Kind::Unsupported, "no-init"),
            Self::UnfitDirectory { .. } => (Kind::Unsupported, "unfit-directory"),
            Self::NoSuchImage(_) => (Kind::NotFound, "image-not-found"),
            Self::AmbiguousImage(_) => (Kind::InvalidArgument, "image-ambiguous"),
            Self::InvalidReference(_) => (Kind::InvalidArgument, "invalid-reference"),
            Self::ImageInUse { .. } => (Kind::Conflict, "image-in-use"),
            Self::BadArchive(_) => (Kind::InvalidArgument, "bad-archive"),
            Self::BadChange(_) => (Kind::InvalidArgument, "bad-change"),
            Self::NoCommand => (Kind::InvalidArgument, "no-command"),
            Self::NoSuchUser { .. } => (Kind::InvalidArgument, "no-such-user"),
            Self::InvalidSpec(_) => (Kind::InvalidArgument, "invalid-container"),
            Self::NoMountSource(_) => (Kind::InvalidArgument, "mount-source-missing"),
            Self::CannotStart { .. } => (Kind::InvalidArgument, "cannot-start"),
            Self::NoSuchContainer(_) => (Kind::NotFound, "container-not-found"),
            Self::AlreadyCreated(_) => (Kind::Conflict, "container-has-process"),
            Self::NotRunning(_) => (Kind::Conflict, "container-not-running"),
            Self::Late(_) => (Kind::Internal, "took-too-long"),
            Self::Program { .. } => (Kind::Internal, "oci-runtime-failed"),
            Self::Damaged { .. } => (Kind::Internal, "damaged-file"),
            Self::Io { .. } => (Kind::Internal, "runtime-io"),
            Self::Teardown(_) => (Kind::Internal, "container-teardown"),
        }
    }

    /// The exit status that Docker's `run` gives when a container could not be started.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::CannotStart { exit_code, .. } => *exit_code,
            _ => 125,
        }
    }
}

impl From<Error> for vw_model::Error {
    fn from(error: Error) -> Self {
        let (kind, reason) = error.kind();
        match error {
            Error::Io { what, source } => Self::new(kind, reason, what).because(source),
            other => Self::new(kind, reason, other.to_string()),
        }
    }
}
