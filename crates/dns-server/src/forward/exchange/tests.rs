//! What is promised of one exchange with an upstream, on examples.

use super::address;
use std::net::UdpSocket;
use vw_names::{Upstream, Vantage};

#[test]
fn scopes_are_names_or_numbers() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let check = |server: &str| {
        let upstream = Upstream::new(server.parse().unwrap(), Vantage::Host);
        address(&upstream, &socket).map(|addr| addr.to_string())
    };
    assert_eq!(check("192.0.2.1").unwrap(), "192.0.2.1:53");
    assert_eq!(check("2001:db8::1").unwrap(), "[2001:db8::1]:53");
    assert_eq!(check("fe80::1%7").unwrap(), "[fe80::1%7]:53");
    // Loopback is the first interface of every namespace.
    assert_eq!(check("fe80::1%lo").unwrap(), "[fe80::1%1]:53");
    let missing = check("fe80::1%nosuchif0").unwrap_err();
    assert_eq!(
        missing.raw_os_error(),
        Some(rustix::io::Errno::NODEV.raw_os_error())
    );
}
