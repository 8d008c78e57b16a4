//! Whether a device of the calling thread's namespace joins segments that come in (GRO), asked and
//! told as ethtool does (`linux/ethtool.h`).

use std::{io, net::UdpSocket, os::fd::AsRawFd};

const GET: u32 = 0x2b;
const SET: u32 = 0x2c;

/// Whether it does.
#[track_caller]
#[must_use]
pub fn joins(link: &str) -> bool {
    call(link, [GET, 0]) != 0
}

/// Has it do so, or not.
#[track_caller]
pub fn set(link: &str, on: bool) {
    call(link, [SET, u32::from(on)]);
}

#[track_caller]
fn call(link: &str, mut value: [u32; 2]) -> u32 {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(link.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: both commands read and write the two numbers alone, which live through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    assert_eq!(done, 0, "{link}: {}", io::Error::last_os_error());
    value[1]
}
