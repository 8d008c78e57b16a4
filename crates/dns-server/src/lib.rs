//! Sockets around names: the embedded DNS server of every sandbox.
//!
//! Owns two threads. One takes queries off the UDP sockets of all sandboxes and answers
//! what is known here; nothing it does can wait. The other carries what may: questions for
//! the rest of the world, and TCP. It must not enter a namespace: sockets are handed in, or
//! made by the caller's [`SocketFactory`].

mod cache;
mod client;
mod config;
mod counters;
mod error;
mod fast;
mod forward;
mod server;
mod sockets;
mod tcp;

pub use config::Config;
pub use counters::Counters;
pub use error::Error;
pub use server::DnsServer;
pub use sockets::{HostSockets, Place, SandboxSockets, SocketFactory};
