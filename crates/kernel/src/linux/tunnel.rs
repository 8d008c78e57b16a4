//! The encrypted tunnel's link and its peers.
//!
//! One of user space is made through its device, and stays without anybody who has it open; one of
//! the kernel is told of its peers by generic netlink, whose requests go in no queue.

use super::{
    apply::{Run, Stop},
    names,
};
use crate::{
    KernelError,
    netlink::{link, wireguard},
};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};
use vw_hoststate::{Link, WireguardPeer};
use vw_model::IfName;

/// Where links of user space are made and opened.
const DEVICE: &str = "/dev/net/tun";
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

    /// Adds a peer, or changes it, or removes it.
    pub(super) fn peer(
        &mut self,
        at: usize,
        peer: &WireguardPeer,
        wanted: bool,
    ) -> Result<(), Stop> {
        self.settle()?;
        self.end_turn();
        if !wanted && self.is_gone(peer.netns) {
            self.done[at] = true;
            return Ok(());
        }
        let place = self.place(peer.netns).map_err(|error| (at, error))?;
        let told = peer.clone();
        let result = self.kernel.namespaces.run(&place, move || match wanted {
            true => wireguard::set_peer(&told),
            false => wireguard::remove_peer(&told),
        });
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
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = openat(CWD, DEVICE, flags, Mode::empty()).map_err(|error| match error {
        // The node stands without the module as well, and without a node there is none.
        rustix::io::Errno::NOENT | rustix::io::Errno::NODEV | rustix::io::Errno::NXIO => {
            io::ErrorKind::Unsupported.into()
        }
        error => io::Error::from(error),
    })?;
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

/// Opens a link that must be there.
pub(super) fn open_existing(name: &IfName) -> io::Result<OwnedFd> {
    // The device would make one that is not.
    crate::netlink::Socket::open()?.index_of(name.as_str())?;
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

/// A failed call about the tunnel.
pub(super) fn failed(operation: &'static str, name: &IfName, source: io::Error) -> KernelError {
    match source.kind() {
        io::ErrorKind::Unsupported => KernelError::Missing {
            feature: "WireGuard",
            remedy: "load the module `wireguard`",
        },
        _ => names::call(
            operation,
            format!("link {name} of the encrypted tunnel"),
            source,
        ),
    }
}
