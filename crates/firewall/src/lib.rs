//! Policy of networks and published ports, turned into a typed rule set.
//!
//! Owns what the tables `inet vethwork` (the host's), `inet vethwork_services` (the same, where there
//! are services) and `inet vethwork_dns` (a sandbox's) say: a fixed skeleton of chains whose every decision is a look-up in a named set or map, so that a
//! network or a port is a handful of elements and costs the same as the ten-thousandth.
//! It must not talk to the kernel: nftables' text is made for documentation only.

mod dns;
mod element;
pub mod foreign;
mod policy;
mod render;
mod service;
pub mod spec;
mod table;
mod translation;
mod tunnel;

pub use dns::{RESOLVER, SANDBOX_TABLE, sandbox_dns};
pub use element::{Chain, DataType, Datum, Element, SetName};
pub use policy::{FamilyPolicy, GatewayMode, NetworkPolicy, PortPolicy, beside, network, port};
pub use service::{
    Entry, MAX_SLOTS, SERVICE_TABLE, ServicePolicy, ServicePort, ServiceSet, Slot, balancer_table,
    service, service_table,
};
pub use spec::TableSpec;
pub use table::{HostTable, STAND_IN, USER_CHAIN};
pub use translation::{
    TRANSLATED, TRANSLATOR, is_translated, mapped, mapped_net, translator, unmapped,
};
pub use tunnel::{peer, remote, tunnel_port};

#[cfg(test)]
mod tests;
