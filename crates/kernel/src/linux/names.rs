//! How errors name an object and what was done to it.

use crate::KernelError;
use std::io;
use vw_firewall::SERVICE_TABLE;
use vw_hoststate::{Address, Netns, Object, Step, Table};

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
            vw_hoststate::LinkKind::Bridge(_) => lacks("bridge", "load the module `bridge`"),
            vw_hoststate::LinkKind::Veth(_) => lacks("veth", "load the module `veth`"),
            vw_hoststate::LinkKind::Dummy => lacks("dummy", "load the module `dummy`"),
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
        Object::Namespace(namespace) => format!("network namespace {}", namespace.sandbox.short()),
        Object::Table(Table::Host(_)) => "nftables table inet vethwork".to_owned(),
        Object::Table(Table::Services) => format!("nftables table inet {SERVICE_TABLE}"),
        Object::Table(Table::SandboxDns { sandbox, .. }) => {
            format!("nftables table inet vethwork_dns of {}", sandbox.short())
        }
        Object::Element(element) => format!("nftables element {:?} {:?}", element.set, element.key),
        Object::Link(link) => format!("link {}{}", link.name, place(link.netns)),
        Object::Sysctl(sysctl) => {
            format!("parameter {}{}", sysctl.path, place(sysctl.netns))
        }
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
    }
}

fn place(netns: Netns) -> String {
    match netns {
        Netns::Host => String::new(),
        Netns::Sandbox(sandbox) => format!(" in sandbox {}", sandbox.short()),
    }
}
