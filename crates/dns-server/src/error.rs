//! What can go wrong when the server or one sandbox's part of it starts.

use std::io;
use vw_model::SandboxId;

/// A failure to start or to serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A thread, its event queue or its runtime could not be made.
    #[error("the DNS server cannot start: check the limits on threads and open files")]
    Start(#[source] io::Error),
    /// A sandbox's socket could not be put to use.
    #[error("names cannot be served in sandbox {}: its socket cannot be used", sandbox.short())]
    Socket {
        /// The sandbox.
        sandbox: SandboxId,
        /// Why.
        source: io::Error,
    },
    /// The thread that it was handed to has ended.
    #[error("names cannot be served in sandbox {}: the DNS server has stopped", .0.short())]
    Stopped(SandboxId),
}
