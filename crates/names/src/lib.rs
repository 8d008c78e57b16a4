//! Names of endpoints: zones, and query to answer.
//!
//! Owns what a sandbox of a network may ask and what it is told, the DNS wire format that
//! carries it, and the text of the resolver files (`/etc/hosts`, `/etc/resolv.conf`). It
//! must not open a socket or a file, wait, or read a clock: callers bring octets and
//! randomness, and carry the replies.

mod answer;
mod error;
mod fingerprint;
mod hosts;
mod name;
mod resolv;
mod rng;
mod special;
mod view;
mod wire;
mod zone;

pub use answer::{TTL, Verdict, answer, refuse};
pub use error::Error;
pub use fingerprint::Fingerprint;
pub use hosts::HostsFile;
pub use name::Name;
pub use resolv::{Nameserver, ResolvConf, Resolver, ResolverFile, SYSTEMD_RESOLV_CONF};
pub use rng::Rng;
pub use view::{DNS_PORT, Link, Policy, RESOLVER_ADDR, Upstream, Vantage, View};
pub use wire::{Edns, Malformed, Query, Rcode, Response, Transport, Unfit};
pub use zone::{EndpointNames, SharedZone, Zone};

#[cfg(test)]
mod testing;
