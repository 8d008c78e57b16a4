//! What must exist on the host, and the steps from one such state to another.
//!
//! Owns [`Object`] (one thing in the kernel, named by its [`Key`]), [`Fragment`] (the objects one
//! [`Owner`] wants), [`HostState`] (the union over all owners) and [`Plan`] (ordered steps).
//! It must not touch the kernel: executors apply plans, drivers make fragments.

mod diff;
mod fragment;
mod object;
mod plan;
mod state;
mod table;

/// Objects by their keys, in no order: a host may have a hundred thousand.
pub type Objects = foldhash::HashMap<Key, Object>;

pub use diff::diff;
pub use fragment::{Fragment, Owner};
pub use object::{
    Address, BridgeOptions, Forward, Key, Link, LinkKind, Namespace, NamespaceSource, Neighbor,
    Netns, Object, Peer, PortOptions, Proxy, Route, RouteKind, Shortcut, Shortcuts, Station,
    Sysctl, Translator, VxlanOptions, WireguardKey, WireguardPeer,
};
pub use plan::{Plan, Step};
pub use state::{Change, Conflict, HostState};
pub use table::Table;

#[cfg(test)]
mod sample;
