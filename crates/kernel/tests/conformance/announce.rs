//! What neighbours hear of a new address, and what a listener hears of links.

use crate::{
    lab::Lab,
    objects::{HOST, address, bridge, inside, namespace, pair},
};
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt},
};
use std::{process::Command, time::Duration};
use vw_hoststate::{Key, Netns, Object};
use vw_kernel::{LinkEvent, LinkMonitor};
use vw_model::IfName;

const PATIENCE: Duration = Duration::from_secs(5);

/// A socket that hears everything in the namespace of this thread.
fn ear() -> OwnedFd {
    // ETH_P_ALL, in network order.
    let all = std::num::NonZeroU32::new(u32::from(3_u16.to_be())).expect("it is not zero");
    let all = rustix::net::Protocol::from_raw(all);
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(all),
    );
    let socket = socket.expect("root may listen");
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
        .expect("it may wait");
    socket
}

fn hears(ear: &OwnedFd, is_it: impl Fn(&[u8]) -> bool) {
    let mut frame = [0; 2048];
    loop {
        let (_, len) =
            recv(ear, &mut frame[..], RecvFlags::empty()).expect("it is announced in time");
        if is_it(&frame[..len]) {
            return;
        }
    }
}

#[test]
fn neighbours_hear_of_new_addresses() {
    vw_testkit::require_root!();
    let lab = Lab::real();
    lab.create(&[
        namespace(7),
        Object::Link(bridge("vw0")),
        address(HOST, "vw0", "10.0.0.1/24"),
    ]);
    let (arp, ndp) = (ear(), ear());
    lab.create(&[
        Object::Link(pair("vw0123456789", "vw0", 7, "eth0")),
        address(inside(7), "eth0", "10.0.0.7/24"),
        address(inside(7), "eth0", "fd00::7/64"),
    ]);
    hears(&arp, |frame| {
        frame[12..14] == [8, 6] && frame[28..32] == [10, 0, 0, 7] && frame[38..42] == [10, 0, 0, 7]
    });
    hears(&ndp, |frame| {
        frame[12..14] == [0x86, 0xdd] && frame.get(54) == Some(&136) && frame[62..64] == [0xfd, 0]
    });
    lab.delete(&[Object::Link(pair("vw0123456789", "vw0", 7, "eth0"))]);
}

#[test]
fn a_listener_hears_what_others_do_to_our_links() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip");
    let lab = Lab::real();
    let mut monitor = LinkMonitor::open(None).expect("it can listen");
    let ours = Object::Link(pair("vw0123456789", "vw0", 7, "eth0"));
    lab.create(&[namespace(7), Object::Link(bridge("vw0")), ours.clone()]);
    lab.delete(std::slice::from_ref(&ours));
    lab.settle();
    lab.create(std::slice::from_ref(&ours));
    let ip = |args: &[&str]| {
        let done = Command::new("ip").args(args).status().expect("ip runs");
        assert!(done.success());
    };
    ip(&["link", "set", "vw0123456789", "down"]);
    ip(&["link", "del", "vw0123456789"]);
    let mut next = || monitor.next(Some(PATIENCE)).expect("it can be read");
    let name = || "vw0123456789".to_owned();
    let mut heard = Vec::new();
    while heard.last() != Some(&LinkEvent::Removed(name())) {
        heard.push(next().expect("it is told"));
    }
    // Of what the executor itself made and retired, nothing: not of a bridge either, which is down
    // until it is set up.
    assert_eq!(heard, [LinkEvent::Down(name()), LinkEvent::Removed(name())]);
}

#[test]
fn a_listener_hears_that_the_link_it_follows_is_back() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip");
    let _lab = Lab::real();
    let ip = |words: &str| {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.expect("ip runs").success());
    };
    for name in ["wire", "other"] {
        ip(&format!("link add name {name} type bridge"));
        ip(&format!("link set {name} up"));
    }
    let mut monitor = LinkMonitor::open(Some("wire")).expect("it can listen");
    for name in ["other", "wire"] {
        ip(&format!("link set {name} down"));
        ip(&format!("link set {name} up"));
    }
    ip("link set wire mtu 1400");
    ip("link set wire down");
    ip("link set wire up");
    let mut next = || monitor.next(Some(PATIENCE)).expect("it can be read");
    let back = Some(LinkEvent::Back("wire".to_owned()));
    assert_eq!([next(), next()], [back.clone(), back.clone()]);
    // It is followed by its name, also where it is made anew.
    ip("link del wire");
    ip("link del other");
    ip("link add name wire type bridge");
    ip("link set wire up");
    assert_eq!(next(), back);
    ip("link set wire down");
    ip("link set wire up");
    assert_eq!(next(), back);
}

#[test]
fn a_listener_hears_what_the_link_it_follows_loses_and_gets() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip");
    let lab = Lab::real();
    let ip = |words: &str| {
        let done = Command::new("ip").args(words.split(' ')).status();
        assert!(done.expect("ip runs").success());
    };
    for name in ["wire", "other"] {
        ip(&format!("link add name {name} type bridge"));
        ip(&format!("link set {name} addrgenmode none"));
        ip(&format!("link set {name} up"));
    }
    ip("addr add 192.0.2.1/24 dev wire");
    let mut monitor = LinkMonitor::open(Some("wire")).expect("it can listen");
    let mut next = || monitor.next(Some(PATIENCE)).expect("it can be read");
    let link: IfName = "wire".parse().unwrap();
    let gone_route = |dst: &str| {
        let dst = dst.parse().unwrap();
        let key = Key::Route(Netns::Host, dst, 0, Some(link.clone()));
        Some(LinkEvent::Gone(key))
    };
    let gone_address = |addr: &str| {
        let key = Key::Address(Netns::Host, link.clone(), addr.parse().unwrap());
        Some(LinkEvent::Gone(key))
    };
    // Neither other links, nor others' routes, nor what we put there.
    ip("addr add 192.0.2.65/26 dev other");
    ip("route add 198.51.100.1/32 via 192.0.2.2 dev wire");
    ip("route del 198.51.100.1/32");
    for route in [
        "198.51.100.2/32 via 192.0.2.2",
        "2001:db8::2/128 via fe80::2",
    ] {
        ip(&format!("route add {route} dev wire proto 86"));
        ip(&format!("route del {route} dev wire proto 86"));
    }
    assert_eq!(next(), gone_route("198.51.100.2/32"));
    assert_eq!(next(), gone_route("2001:db8::2/128"));
    lab.create(&[address(HOST, "wire", "2001:db8::1/128")]);
    ip("addr del 2001:db8::1/128 dev wire");
    assert_eq!(next(), gone_address("2001:db8::1/128"));
    ip("addr del 192.0.2.1/24 dev wire");
    assert_eq!(next(), gone_address("192.0.2.1/24"));
    ip("addr add 192.0.2.1/24 dev wire");
    assert_eq!(next(), Some(LinkEvent::Back("wire".to_owned())));
    // Down, it loses all, and that is no news until it is up.
    ip("route add 2001:db8::2/128 via fe80::2 dev wire proto 86");
    ip("link set wire down");
    ip("link set wire up");
    assert_eq!(next(), Some(LinkEvent::Back("wire".to_owned())));
}
