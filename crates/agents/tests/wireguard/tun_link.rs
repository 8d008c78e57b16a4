//! Opening a TUN link, as the executor does it.

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// Opens the calling thread's namespace's link of this name.
pub(crate) fn open(name: &str) -> OwnedFd {
    let fd = rustix::fs::open(
        "/dev/net/tun",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    // SAFETY: zeroes are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
    // SAFETY: the request is the one that this call takes, and outlives it.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(
        done,
        0,
        "{:?}",
        Errno::from_io_error(&std::io::Error::last_os_error())
    );
    fd
}
