//! The encrypted tunnel's link and its peers.
//!
//! One of user space is made through its device, and stays without anybody who has it open; one of
//! the kernel is told of its peers by generic netlink, whose requests go in no queue.

use super::{
    apply::{Run, Stop},
    names,
};
use crate::{
    KernelError, TunnelFacts,
    netlink::{Socket, link, wireguard},
    netns::{Namespaces, lock},
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};
use vw_hoststate::{Link, LinkKind, Netns, WireguardKey, WireguardPeer};
use vw_model::IfName;

/// Where links of user space are made and opened.
const DEVICE: &str = "/dev/net/tun";
/// What is to be done where they cannot be.
pub(super) const REMEDY: &str = "load the module `tun`; if there is no /dev/net/tun then, make it: \
                                 mkdir -p /dev/net; mknod /dev/net/tun c 10 200";
/// Packets alone, each behind the header that tells of joined ones.
const FLAGS: libc::c_int = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

impl Run<'_> {
    /// Makes a link of user space; one that a process has open stands.
    pub(super) fn create_tun(&mut self, at: usize, link: &Link) -> Result<(), Stop> {
        self.flush()?;
        self.end_turn();
        let failed = |run: &Self, error| (at, names::failed(&run.plan.steps[at], error));
        let place = self.place(link.netns).map_err(|error| (at, error))?;
        let name = link.name.clone();
        let namespaces = &self.kernel.namespaces;
        let made = namespaces.run(&place, move || open(&name).and_then(|fd| keep(&fd)));
        if let Err(error) = made.and_then(|made| made) {
            let seen =
                namespaces.with_socket(&place, |socket| link::get(socket, link.name.as_str()));
            match seen.map_err(|error| failed(self, error))? {
                Some(seen) if seen.kind == "tun" => {}
                Some(_) => {
                    let sentence = "a link of that name exists with other attributes";
                    let taken = io::Error::new(io::ErrorKind::AlreadyExists, sentence);
                    return Err(failed(self, taken));
                }
                None => return Err(failed(self, error)),
            }
        }
        let settings = self.settings_of(link);
        self.set_up_new(at, link, settings)
    }

    /// Gives a tunnel its key and its port, or takes the key.
    pub(super) fn tunnel_key(
        &mut self,
        at: usize,
        key: &WireguardKey,
        wanted: bool,
    ) -> Result<(), Stop> {
        let private = match wanted {
            true => {
                let keys = lock(&self.kernel.keys);
                let mut known = keys.iter();
                let known = known.find(|known| known.public == key.public);
                known.map(|known| known.private().clone())
            }
            false => None,
        };
        if wanted && private.is_none() {
            let unknown = io::Error::new(io::ErrorKind::NotFound, "its private half is not known");
            let error = names::failed(&self.plan.steps[at], unknown);
            return self.finish(at, Err(error));
        }
        let (link, port) = (key.link.clone(), key.port);
        self.tell(at, key.netns, wanted, move || match private {
            Some(private) => wireguard::set_key(&link, &private, port),
            None => wireguard::remove_key(&link),
        })
    }

    /// Adds a peer, or changes it, or removes it.
    pub(super) fn peer(
        &mut self,
        at: usize,
        peer: &WireguardPeer,
        wanted: bool,
    ) -> Result<(), Stop> {
        let told = peer.clone();
        self.tell(at, peer.netns, wanted, move || match wanted {
            true => wireguard::set_peer(&told),
            false => wireguard::remove_peer(&told),
        })
    }

    /// Tells the kernel's WireGuard something in a namespace; in one that is gone nothing is left
    /// to be removed.
    fn tell(
        &mut self,
        at: usize,
        netns: Netns,
        wanted: bool,
        request: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), Stop> {
        self.settle()?;
        self.end_turn();
        if !wanted && self.is_gone(netns) {
            self.done[at] = true;
            return Ok(());
        }
        let place = self.place(netns).map_err(|error| (at, error))?;
        let result = self.kernel.namespaces.run(&place, request);
        let result = result.and_then(|result| result);
        let step = &self.plan.steps[at];
        self.finish(at, result.map_err(|error| names::failed(step, error)))
    }
}

/// Opens a link of the calling thread's namespace; makes it where there is none.
///
/// # Errors
/// `ResourceBusy` when a process has it open.
pub(super) fn open(name: &IfName) -> io::Result<OwnedFd> {
    let fd = open_device()?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // A name is shorter than its room, whose last octet stays zero.
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = FLAGS as libc::c_short;
    // SAFETY: an `ifreq` that lives through the call is what the request takes.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// Opens the device, which loads its module where that can be.
fn open_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(CWD, DEVICE, flags, Mode::empty()).map_err(|error| match error {
        // The node stands without the module as well, and without a node there is none.
        rustix::io::Errno::NOENT | rustix::io::Errno::NODEV | rustix::io::Errno::NXIO => {
            io::ErrorKind::Unsupported.into()
        }
        error => io::Error::from(error),
    })
}

/// Opens a link that must be there.
pub(super) fn open_existing(name: &IfName) -> io::Result<OwnedFd> {
    // The device would make one that is not.
    Socket::open()?.index_of(name.as_str())?;
    open(name)
}

/// Makes a link stay when it is closed.
fn keep(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: the request takes a number.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST as _, 1) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What there is for a tunnel of this name, and what stands.
pub(super) fn facts(namespaces: &Namespaces, name: &IfName) -> Result<TunnelFacts, KernelError> {
    let host = namespaces.run(namespaces.host(), || (wireguard::is_there(), open_device()));
    let (wireguard, device) = host.map_err(|error| failed("look for", name, error))?;
    let standing = match namespaces.place(Netns::Tunnel) {
        Ok(place) => {
            let wanted = name.clone();
            let read = move || standing(&wanted);
            let read = namespaces.run(&place, read).and_then(|read| read);
            read.map_err(|error| failed("read", name, error))?
        }
        Err(error) if error.is_namespace_gone() => None,
        Err(error) => return Err(error),
    };
    Ok(TunnelFacts {
        wireguard,
        tun: device.is_ok(),
        standing,
    })
}

/// The tunnel's link in the calling thread's namespace.
fn standing(name: &IfName) -> io::Result<Option<(LinkKind, Option<u16>)>> {
    let seen = link::get(&mut Socket::open()?, name.as_str())?;
    Ok(match seen.as_ref().map(|seen| seen.kind.as_str()) {
        Some("tun") => Some((LinkKind::Tun, None)),
        Some("wireguard") => Some((LinkKind::Wireguard, wireguard::port(name)?)),
        _ => None,
    })
}

/// A failed call about the tunnel.
pub(super) fn failed(operation: &'static str, name: &IfName, source: io::Error) -> KernelError {
    match source.kind() {
        io::ErrorKind::Unsupported => KernelError::Missing {
            feature: "tun",
            remedy: REMEDY,
        },
        _ => names::call(
            operation,
            format!("link {name} of the encrypted tunnel"),
            source,
        ),
    }
}

#[cfg(test)]
mod tests;
