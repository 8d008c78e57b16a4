//! Which addresses are told of.

use super::AddressMonitor;
use std::{process::Command, time::Duration};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn an_address_that_others_may_send_to_is_told_of_as_it_comes_and_goes() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip");
    // SAFETY: this thread alone leaves its namespace, and nothing else runs on it.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a namespace of our own");
    let ip = |words: &str| {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.expect("ip runs").success(), "{words}");
    };
    let mut monitor = AddressMonitor::open().expect("it can listen");
    let mut told = |timeout| monitor.changed(Some(timeout)).expect("it can be read");
    // The kernel gives it an address of its own.
    ip("link add wire type bridge");
    ip("link set wire up");
    ip("addr add fe80::7/64 dev wire nodad");
    assert!(!told(Duration::ZERO), "a link's own is nobody's news");
    for addr in ["192.0.2.7/24", "2001:db8::7/64"] {
        for change in ["add", "del"] {
            ip(&format!("addr {change} {addr} dev wire"));
            assert!(told(PATIENCE), "{change} {addr}");
        }
    }
}
