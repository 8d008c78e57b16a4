//! The tunnel between hosts that are namespaces, asserted by packets.
//!
//! The link is made here as the executor makes it: in a namespace of its own, where nothing else
//! leads anywhere.

mod closed;
mod passing;
mod place;
mod tun_link;
