//! What the executor tells of the host and awaits of it, and that a namespace has one daemon.

use crate::{
    lab::Lab,
    objects::{HOST, address, bridge, id, ifname, namespace, pair, route},
};
use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use vw_hoststate::{Link, Object};
use vw_kernel::{HostRoute, SocketKind, SocketPlace};
use vw_model::{EndpointId, EndpointSettings, EndpointSpec, MacAddr, NetworkId};
use vw_testkit::gro;

#[test]
fn the_host_is_told_as_it_is() {
    vw_testkit::require_root!();
    let lab = Lab::real();
    let empty = lab.kernel().facts().expect("it can be read");
    assert_eq!(
        (empty.routes, empty.default_source, empty.default_mtu),
        (vec![], vec![], 1500)
    );
    lab.create(&[
        Object::Link(Link {
            mtu: 1400,
            ..bridge("vw0")
        }),
        address(HOST, "vw0", "10.0.0.1/24"),
        address(HOST, "vw0", "fd00::1/64"),
        Object::Route(route(HOST, "0.0.0.0/0", Some("10.0.0.254"), Some("vw0"))),
        Object::Route(route(HOST, "192.0.2.0/24", None, Some("vw0"))),
    ]);
    let facts = lab.kernel().facts().expect("it can be read");
    assert_eq!(facts.default_mtu, 1400);
    assert_eq!(
        facts.default_source,
        ["10.0.0.1".parse::<std::net::IpAddr>().expect("an address")]
    );
    let route = |dst: &str| HostRoute {
        dst: dst.parse().expect("a destination"),
        link: Some("vw0".into()),
        ours: true,
    };
    for dst in ["10.0.0.0/24", "192.0.2.0/24", "fd00::/64"] {
        assert!(
            facts.routes.contains(&route(dst)),
            "{dst}: {:?}",
            facts.routes
        );
    }
    assert_eq!(facts.routes.len(), 3, "{:?}", facts.routes);
    assert!(
        facts
            .addresses
            .contains(&("vw0".into(), "10.0.0.1/24".parse().expect("an address")))
    );
    assert_eq!(
        facts.sysctls.get("net/ipv4/ip_forward").map(String::as_str),
        Some("0")
    );
    assert_eq!(facts.boot_id.len(), 36);
    assert_ne!(facts.netns.1, 0);
}

#[test]
fn links_by_which_segments_come_joined_are_told() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip");
    let lab = Lab::real();
    let sh = |line: &str| {
        let status = Command::new("sh").args(["-ec", line]).status();
        assert!(status.expect("a shell").success(), "{line}");
    };
    sh(
        "ip link add eth0 type veth peer eth1; ip link add lan type bridge
        ip link add slow type bridge; ip tuntap add tun0 mode tun
        n=0; for link in lo eth0 lan slow tun0; do
        n=$((n + 1)); ip addr add 192.0.2.$n/32 dev $link; ip link set $link up; done",
    );
    lab.create(&[
        Object::Link(bridge("vw0")),
        address(HOST, "vw0", "10.0.0.1/24"),
    ]);
    // All of them say that they do, but for the pair, whose other end cuts nothing up.
    gro::set("slow", false);
    assert!(!gro::joins("eth0") && gro::joins("tun0") && gro::joins("lo"));
    let merging = lab.kernel().facts().expect("it can be read").merging;
    assert_eq!(Vec::from_iter(merging), ["eth0", "lan"]);
    // As on hardware.
    gro::set("lan", false);
    let merging = lab.kernel().facts().expect("it can be read").merging;
    assert_eq!(Vec::from_iter(merging), ["eth0"]);
}

#[test]
fn addresses_that_last_are_told_before_temporary_ones() {
    vw_testkit::require_root!();
    let lab = Lab::real();
    let sh = |line: &str| {
        let output = Command::new("sh").args(["-ec", line]).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    sh(
        "ip link add eth0 type veth peer eth1; ip link set eth1 up; ip link set eth0 up
        echo 2 > /proc/sys/net/ipv6/conf/eth0/use_tempaddr
        ip addr add 2001:db8:7::2/64 dev eth0 nodad preferred_lft 0
        ip addr add 2001:db8:7::1/64 dev eth0 nodad mngtmpaddr
        ip -6 route add default dev eth0",
    );
    let temporary = || sh("ip -6 addr show dev eth0 temporary -tentative");
    vw_testkit::eventually("there is one", Duration::from_secs(10), || {
        temporary().contains("2001:db8:7:")
    });
    let facts = lab.kernel().facts().expect("it can be read");
    let first = facts.addresses.iter().find(|(link, _)| link == "eth0");
    let first = first.map(|(_, net)| net.to_string());
    assert_eq!(first.as_deref(), Some("2001:db8:7::1/64"), "{facts:?}");
    let [source] = facts.default_source[..] else {
        panic!("{facts:?}");
    };
    assert!(temporary().contains(&source.to_string()), "{source}");
    // A twin of it is looked for during a minute.
    sh("echo 60 > /proc/sys/net/ipv6/conf/eth0/dad_transmits
        ip addr add 2001:db8:7::3/64 dev eth0
        ip addr add 192.0.2.1/24 dev eth0; ip addr add 192.0.2.2/24 dev eth0");
    let facts = lab.kernel().facts().expect("it can be read");
    let passing = |text: &str| facts.passing.contains(&text.parse().expect("an address"));
    assert!(facts.passing.contains(&source), "{facts:?}");
    for (addr, passes) in [
        ("2001:db8:7::1", false),
        ("2001:db8:7::2", true),
        ("2001:db8:7::3", true),
        ("192.0.2.1", false),
        ("192.0.2.2", false),
    ] {
        assert_eq!(passing(addr), passes, "{addr}: {facts:?}");
    }
}

#[test]
fn a_namespace_has_one_daemon() {
    vw_testkit::require_root!();
    let lab = Lab::real();
    let Lab::Real { kernel, .. } = &lab else {
        return;
    };
    let claim = kernel.claim_netns().expect("it is free");
    let error = kernel.claim_netns().expect_err("it is claimed");
    assert!(format!("{error:?}").contains("AddrInUse"), "{error:?}");
    drop(claim);
    let claim = kernel.claim_netns().expect("it is free again");
    // A program that a daemon was starting when it was killed.
    let mut left = Command::new("sleep")
        .arg("0.5")
        .stdin(Stdio::from(claim))
        .spawn()
        .expect("it starts");
    kernel.claim_netns().expect("it is waited for");
    left.wait().expect("it ended");
}

#[test]
fn a_socket_is_made_where_it_belongs() {
    vw_testkit::require_root!();
    let lab = Lab::real();
    lab.create(&[namespace(7)]);
    let addr = "127.0.0.11:53".parse().expect("an address");
    for kind in [SocketKind::Udp(addr), SocketKind::TcpListen(addr)] {
        let inside = SocketPlace::Sandbox(id(7));
        let socket = lab
            .kernel()
            .socket(inside, kind)
            .expect("its loopback is up");
        lab.kernel().socket(inside, kind).expect_err("it is taken");
        drop(socket);
        let gone = SocketPlace::Sandbox(id(8));
        let error = lab.kernel().socket(gone, kind).expect_err("there is none");
        assert!(error.is_namespace_gone());
    }
}

#[test]
fn an_endpoint_is_awaited_until_both_its_ends_pass_frames() {
    vw_testkit::require_root!();
    vw_testkit::require_programs!("ip", "nsenter");
    let lab = Lab::real();
    let ours = Object::Link(pair("vw0123456789", "vw0", 7, "eth0"));
    lab.create(&[namespace(7), Object::Link(bridge("vw0")), ours.clone()]);
    let endpoint = EndpointSpec {
        id: EndpointId::from_bytes([1; 32]),
        network: NetworkId::from_bytes([1; 32]),
        sandbox: id(7),
        ifname: ifname("eth0"),
        host_ifname: ifname("vw0123456789"),
        mac: MacAddr([2; 6]),
        addresses: Vec::new(),
        gateways: Vec::new(),
        settings: EndpointSettings::default(),
    };
    let awaited = || {
        lab.kernel()
            .await_forwarding(vw_hoststate::Netns::Host, &endpoint)
    };
    awaited().expect("it comes up");
    let netns = lab.kernel().netns_path(id(7));
    let turn = |to: &str| {
        let enter = format!("--net={}", netns.display());
        let ip = [enter.as_str(), "ip", "link", "set", "eth0", to];
        let status = Command::new("nsenter").args(ip).status();
        assert!(status.expect("nsenter runs").success());
    };
    turn("down");
    assert!(awaited().is_err(), "its inner end is down");
    // Told of, not looked for: each end while it is waited for, whichever comes first.
    for _ in 0..5 {
        turn("down");
        thread::scope(|scope| {
            let waiting = scope.spawn(awaited);
            turn("up");
            waiting.join().expect("it ends").expect("it comes up again");
        });
    }
    awaited().expect("it is up");
    lab.delete(&[ours]);
    lab.settle();
    awaited().expect("what is gone is not awaited");
}
