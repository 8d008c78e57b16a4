//! Policy of networks and published ports, turned into a typed rule set.
//!
//! Owns what the tables `inet vethwork` (the host's) and `inet vethwork_dns` (a sandbox's) say:
//! a fixed skeleton of chains whose every decision is a look-up in a named set or map, so that a
//! network or a port is a handful of elements and costs the same as the ten-thousandth.
//! It must not talk to the kernel: nftables' text is made for documentation only.

mod element;

pub use element::{Chain, Datum, Element, SetName};
pub use table::HostTable;
mod table;
