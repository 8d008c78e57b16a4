//! WireGuard in user space, for kernels without it: one device a host, its peers the other hosts.
//!
//! Owns the tunnel's packets between a TUN link and UDP sockets, both made by others and handed
//! in. The protocol itself (handshakes, sessions, timers, replay windows, cookies) is boringtun's;
//! this decides whose packet it is, which key it is under, and how packets pass in batches.
//!
//! A peer's endpoint is where its record says: a datagram is accepted by its keys alone, whatever
//! address it comes from, and never changes where answers go (no roaming). Only a cookie goes back
//! to where the request came from, since it is that address which it proves.

pub mod agent;

mod clock;
mod counters;
mod device;
mod engine;
mod holder;
mod identity;
mod keyring;
mod keys;
mod outbox;
mod peer;
mod rotation;
mod routes;
mod socket;
mod tun;

pub use counters::{PeerStats, Stats};
pub use device::{Device, StartError, Tun};
pub use holder::KeyHolder;
pub use keyring::KeyFileError;
pub use keys::PrivateKey;
pub use peer::Peer;
pub use rotation::{KeyRing, Rotation, Step};
