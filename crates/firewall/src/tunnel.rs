//! Who of the other hosts may send what, as elements: to the ends of tunnels, and without one.

use crate::{Datum, Element, SetName};
use std::net::IpAddr;
use vw_model::IfName;

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

/// Has an endpoint on another host talk to the network of a bridge of this host, by way of the link
/// that leads to its host: with nothing else, and from nowhere else.
#[must_use]
pub fn remote(bridge: &IfName, link: &IfName, addr: IpAddr) -> [Element; 2] {
    let (remotes, ways, addr) = match addr {
        IpAddr::V4(addr) => (SetName::Remotes4, SetName::Ways4, Datum::V4(addr)),
        IpAddr::V6(addr) => (SetName::Remotes6, SetName::Ways6, Datum::V6(addr)),
    };
    let element = |set, key| Element {
        set,
        key,
        value: Vec::new(),
    };
    let interface = |name: &IfName| Datum::Interface(name.clone());
    let way = vec![interface(bridge), interface(link), addr.clone()];
    [element(remotes, vec![addr]), element(ways, way)]
}
