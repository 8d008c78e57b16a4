//! What goes wrong between a command and the daemon, in Docker's words where it has them.

use super::{Host, host};
use hyper::StatusCode;
use serde::Deserialize;
use std::io;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answers there.
    #[error("{}", unreachable(host, source))]
    Unreachable {
        /// Where.
        host: Host,
        /// Why.
        source: io::Error,
    },
    /// The daemon said no.
    #[error("Error response from daemon: {message}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its sentence.
        message: String,
    },
    /// The connection broke.
    #[error("error during connect: the daemon closed the connection")]
    Broken(#[from] hyper::Error),
    /// The answer is not what the API says.
    #[error("the daemon's answer cannot be read: is it another kind of daemon?")]
    Answer(#[source] serde_json::Error),
    /// The answer to a request for a raw connection.
    #[error("unable to upgrade to a raw connection, received {0}")]
    NotTakenOver(StatusCode),
    /// A name that no request can carry.
    #[error("this cannot be asked of the daemon")]
    Request(#[source] hyper::http::Error),
    /// A two-way stream broke.
    #[error("error from a container's stream")]
    Stream(#[source] io::Error),
}

impl Error {
    /// A refusal from its answer: `{"message": …}`, or a plain text.
    pub(super) fn refused(status: StatusCode, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Refusal {
            message: String,
        }
        let message = match serde_json::from_slice::<Refusal>(body) {
            Ok(refusal) => refusal.message,
            Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
        };
        let message = if message.is_empty() {
            status.to_string()
        } else {
            message
        };
        Self::Refused { status, message }
    }

    /// Whether the daemon said that there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }
        )
    }
}

fn unreachable(host: &Host, source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return format!(
            "permission denied while trying to connect to the vethwork daemon at {host}: be root \
             or a member of the socket's group"
        );
    }
    let mut text = format!("Cannot connect to the vethwork daemon at {host}. Is it running?");
    if host.to_string() == host::DEFAULT {
        text += " Start it with: systemctl start vethwork, or vethwork daemon";
    }
    text
}
