//! What is forgotten, and what is kept, of connections really tracked.

use super::Conntrack;
use std::{net::UdpSocket, process::Command};

fn run(program: &str, args: &str) {
    let status = Command::new(program)
        .args(args.split(' '))
        .status()
        .expect("it runs");
    assert!(status.success(), "{program} {args}");
}

fn talk(from: &str, to: &str) {
    let server = UdpSocket::bind(to).expect("an address of ours");
    let client = UdpSocket::bind((from, 0)).expect("an address of ours");
    client
        .send_to(b"x", server.local_addr().expect("bound"))
        .expect("it is sent");
    server.recv(&mut [0; 8]).expect("it comes");
}

#[test]
fn connections_of_an_address_go_either_way_and_others_stay() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nft");
    // SAFETY: this thread alone leaves its namespace, and nothing else runs on it.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a namespace of our own");
    run("ip", "link set lo up");
    for addr in [
        "192.0.2.1/32",
        "192.0.2.2/32",
        "192.0.2.3/32",
        "2001:db8::1/128",
        "2001:db8::2/128",
    ] {
        run("ip", &format!("addr add {addr} dev lo nodad"));
    }
    // Connections are tracked once a rule asks for their state.
    run("nft", "add table inet t");
    run(
        "nft",
        "add chain inet t c { type filter hook output priority 0 ; }",
    );
    run("nft", "add rule inet t c ct state new accept");
    let mut conntrack = Conntrack::open().expect("a socket");
    talk("192.0.2.1", "192.0.2.2:9");
    talk("192.0.2.2", "192.0.2.3:9");
    talk("192.0.2.1", "192.0.2.3:9");
    talk("2001:db8::1", "[2001:db8::2]:9");
    assert_eq!(conntrack.count().expect("a number"), 4);
    conntrack
        .forget(&["192.0.2.2".parse().expect("an address")])
        .expect("they go");
    assert_eq!(
        conntrack.count().expect("a number"),
        2,
        "one began, one answered"
    );
    conntrack
        .forget(&["2001:db8::2".parse().expect("an address")])
        .expect("it goes");
    assert_eq!(
        conntrack.count().expect("a number"),
        1,
        "the other family stays"
    );
}
