//! What stands where something was to be made: is it what was meant?

use super::{LinuxKernel, names};
use crate::{
    KernelError,
    netlink::{addr, link, route},
    observe::normal,
};
use std::io;
use vw_hoststate::{Address, Link, LinkKind, Netns, Object, Route, Step};
use vw_model::IfName;

/// Succeeds when what the kernel has in the place of the step's object is equal to it.
pub(super) fn stands(kernel: &LinuxKernel, step: &Step) -> Result<(), KernelError> {
    let read = |result: io::Result<bool>| result.map_err(|error| names::failed(step, error));
    let (equal, sentence) = match step.object() {
        Object::Link(link) => (
            is_link(kernel, link, step)?,
            match link.kind {
                LinkKind::Vxlan(_) => "a VXLAN device of this host has that number and port",
                _ => "a link of that name, or its other end's, exists with other attributes",
            },
        ),
        Object::Address(address) => (
            read(with_socket(kernel, address.netns, |socket| {
                let index = socket.index_of(address.link.as_str())?;
                Ok(is_address(&addr::dump(socket)?, index, address))
            })?)?,
            "the link has that address with another prefix length",
        ),
        Object::Route(route) => (
            read(with_socket(kernel, route.netns, |socket| {
                let index = index_of(socket, route.link.as_ref())?;
                Ok(is_route(&route::dump(socket)?, index, route))
            })?)?,
            "another route leads to that destination",
        ),
        _ => (false, "it exists"),
    };
    if equal {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::AlreadyExists, sentence);
    Err(names::failed(step, error))
}

fn with_socket<T>(
    kernel: &LinuxKernel,
    netns: Netns,
    f: impl FnOnce(&mut crate::netlink::Socket) -> io::Result<T>,
) -> Result<io::Result<T>, KernelError> {
    let place = kernel.namespaces.place(netns)?;
    Ok(kernel.namespaces.with_socket(&place, f))
}

fn index_of(socket: &crate::netlink::Socket, link: Option<&IfName>) -> io::Result<Option<u32>> {
    link.map(|link| socket.index_of(link.as_str())).transpose()
}

fn is_link(kernel: &LinuxKernel, wanted: &Link, step: &Step) -> Result<bool, KernelError> {
    let read = |error| names::failed(step, error);
    let bridge = wanted.port.as_ref().map(|port| &port.bridge);
    let (seen, master) = with_socket(kernel, wanted.netns, |socket| {
        let seen = link::get(socket, wanted.name.as_str())?;
        Ok((seen, index_of(socket, bridge)?))
    })?
    .map_err(read)?;
    let Some(seen) = seen else {
        return Ok(false);
    };
    let far = match &wanted.kind {
        LinkKind::Veth(peer) => with_socket(kernel, peer.netns, |socket| {
            link::get(socket, peer.name.as_str())
        })?
        .map_err(read)?
        .map(|far| (peer.netns, far)),
        LinkKind::Bridge(_)
        | LinkKind::Dummy
        | LinkKind::Vxlan(_)
        | LinkKind::Tun
        | LinkKind::Wireguard => None,
    };
    let far = far.as_ref().filter(|(_, far)| normal::are_pair(&seen, far));
    let bridge = bridge.filter(|_| seen.master == master);
    let stands = normal::link(
        wanted.netns,
        &seen,
        far.map(|(netns, far)| (*netns, far)),
        bridge,
    );
    // A new bridge has the kernel's MTU until ours is set, and a new tunnel joins segments until it
    // is told not to; both follow.
    Ok(stands.is_some_and(|mut stands| {
        match (&wanted.kind, &mut stands.kind) {
            (LinkKind::Vxlan(wanted), LinkKind::Vxlan(stands)) => stands.gro = wanted.gro,
            (LinkKind::Veth(_) | LinkKind::Vxlan(_) | LinkKind::Wireguard, _) => {}
            (LinkKind::Bridge(_) | LinkKind::Dummy | LinkKind::Tun, _) => stands.mtu = wanted.mtu,
        }
        Object::Link(wanted.clone()).matches(&Object::Link(stands))
    }))
}

fn is_address(seen: &[addr::Seen], index: u32, address: &Address) -> bool {
    let mut seen = seen.iter();
    seen.any(|seen| seen.index == index && seen.addr == address.addr)
}

fn is_route(seen: &[route::Seen], index: Option<u32>, route: &Route) -> bool {
    seen.iter().any(|seen| {
        normal::route(route.netns, seen, route.link.clone(), route.metric).as_ref() == Some(route)
            && (index.is_none() || seen.link == index)
    })
}
