//! Who may send to the ends of tunnels, as elements.

use crate::{Datum, Element, SetName};
use std::net::IpAddr;

/// Guards a UDP port that tunnels of ours end at: from now on only [peers](peer) reach it.
#[must_use]
pub fn tunnel_port(port: u16) -> Element {
    Element {
        set: SetName::TunnelPorts,
        key: vec![Datum::Port(port)],
        value: Vec::new(),
    }
}

/// Lets another host of the cluster send to guarded ports.
#[must_use]
pub fn peer(addr: IpAddr) -> Element {
    let (set, addr) = match addr {
        IpAddr::V4(addr) => (SetName::Peers4, Datum::V4(addr)),
        IpAddr::V6(addr) => (SetName::Peers6, Datum::V6(addr)),
    };
    Element {
        set,
        key: vec![addr],
        value: Vec::new(),
    }
}
