//! How errors name an object and what was done to it.

use crate::{KernelError, netns::short};
use std::io;
use vw_firewall::SERVICE_TABLE;
use vw_hoststate::{Address, LinkKind, Netns, Object, Step, Table, WireguardKey, WireguardPeer};

/// A failed call.
pub(crate) fn call(
    operation: &'static str,
    object: impl ToString,
    source: io::Error,
) -> KernelError {
    KernelError::Call {
        operation,
        object: object.to_string(),
        source,
    }
}

/// The error of a step.
pub(super) fn failed(step: &Step, source: io::Error) -> KernelError {
    let lacks = |feature, remedy| KernelError::Missing { feature, remedy };
    if let Step::Create(Object::Link(link)) = step
        && source.kind() == io::ErrorKind::Unsupported
    {
        return match link.kind {
            LinkKind::Bridge(_) => lacks("bridge", "load the module `bridge`"),
            LinkKind::Veth(_) => lacks("veth", "load the module `veth`"),
            LinkKind::Dummy => lacks("dummy", "load the module `dummy`"),
            LinkKind::Vxlan(_) => lacks("vxlan", "load the module `vxlan`"),
            LinkKind::Tun => lacks("tun", super::tunnel::REMEDY),
            LinkKind::Wireguard => lacks("WireGuard", "load the module `wireguard`"),
        };
    }
    let operation = match step {
        Step::Create(_) => "create",
        Step::Replace { .. } => "change",
        Step::Delete(_) => "delete",
    };
    call(operation, object(step.object()), source)
}

/// An object as people name it.
fn object(object: &Object) -> String {
    match object {
        Object::Namespace(namespace) => format!("network namespace {}", short(namespace.netns)),
        Object::Table(Table::Host(_)) => {
            "nftables tables inet vethwork and ip6 vethwork".to_owned()
        }
        Object::Table(Table::Services) => format!("nftables table inet {SERVICE_TABLE}"),
        Object::Table(Table::SandboxDns { sandbox, .. }) => {
            format!("nftables table inet vethwork_dns of {}", sandbox.short())
        }
        Object::Table(Table::Balancer { sandbox }) => {
            format!("nftables table inet {SERVICE_TABLE} of {}", sandbox.short())
        }
        Object::Balance(sandbox, element) => format!(
            "nftables element {:?} {:?} of {}",
            element.set,
            element.key,
            sandbox.short()
        ),
        Object::Element(element) => format!("nftables element {:?} {:?}", element.set, element.key),
        Object::Link(link) => format!("link {}{}", link.name, place(link.netns)),
        Object::Sysctl(one) => format!("parameter {}{}", one.path, place(one.netns)),
        Object::Address(Address { netns, link, addr }) => {
            format!("address {addr} on {link}{}", place(*netns))
        }
        Object::Route(route) => format!("route {}{}", route.dst, place(route.netns)),
        Object::Neighbor(neighbor) => format!(
            "neighbour {} on {}{}",
            neighbor.addr,
            neighbor.link,
            place(neighbor.netns)
        ),
        Object::Proxy(proxy) => format!(
            "answers for {} on {}{}",
            proxy.addr,
            proxy.link,
            place(proxy.netns)
        ),
        Object::Forward(forward) => format!(
            "forwarding of {} to {} on {}{}",
            forward.mac,
            forward.dst,
            forward.link,
            place(forward.netns)
        ),
        Object::WireguardKey(key) => tunnel_key(key),
        Object::Shortcuts(all) => format!("shortcuts from {}{}", all.link, place(all.netns)),
        Object::Shortcut(one) => {
            format!(
                "shortcut to {} by {}{}",
                one.mac,
                one.link,
                place(one.netns)
            )
        }
        Object::WireguardPeer(peer) => tunnel_peer(peer),
        Object::Translator(one) => format!("translation by {}{}", one.link, place(one.netns)),
    }
}

fn tunnel_key(key: &WireguardKey) -> String {
    let (link, place) = (&key.link, place(key.netns));
    format!(
        "key {} and UDP port {} of {link}{place}",
        key.public, key.port
    )
}

fn tunnel_peer(peer: &WireguardPeer) -> String {
    let (link, place) = (&peer.link, place(peer.netns));
    format!("peer {} at {} on {link}{place}", peer.public, peer.endpoint)
}

fn place(netns: Netns) -> String {
    match netns {
        Netns::Host => String::new(),
        Netns::Sandbox(sandbox) => format!(" in sandbox {}", sandbox.short()),
        Netns::Network(network) => format!(" of network {}", network.short()),
        Netns::Tunnel => " of the encrypted tunnel".to_owned(),
    }
}
