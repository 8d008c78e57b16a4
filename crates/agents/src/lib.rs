//! What lives on after a request: work that a daemon keeps up, without asking anybody.
//!
//! Owns the threads and processes of that work. It must not decide what the cluster or a network
//! wants: it is told, and it never makes a link, a namespace or a rule (the executor does).

pub mod probe;
#[cfg(feature = "wireguard")]
pub mod wireguard;
