//! What networks in mode `route`, their endpoints and other hosts' become.

use super::*;
use crate::sample::options;
use vw_model::{PortKey, PortMapping, Protocol};

const MODE: (&str, &str) = ("vethwork.overlay.mode", "route");

/// A network of these subnets, whose routers have the first addresses.
fn routed(subnets: &[&str]) -> NetworkSpec {
    let mut network = network("overlay", subnets, &[MODE]);
    network.scope = Scope::Global;
    network
}

#[test]
fn a_network_is_a_bridge_of_the_host_that_answers_for_others() {
    planned(
        &routed(&[V4]),
        &over4(),
        expect![[r#"
            rule: ForwardTo [Interface("vw-abababababab"), Family(V4)] [Jump(ToNat)]
            rule: ForwardTo [Interface("vw-abababababab"), Family(V6)] [Jump(ToNat)]
            rule: SameBridge [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Neighbors [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Masquerade4 [Interface("vw-abababababab")] []
            rule: Bridges [Interface("vw-abababababab")] []
            rule: Filtered [Interface("vw-abababababab"), Family(V4)] []
            rule: Filtered [Interface("vw-abababababab"), Family(V6)] []
            host: link vw-abababababab mtu 1500 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            host: net/ipv4/conf/vw-abababababab/route_localnet = 1
            host: net/ipv4/neigh/vw-abababababab/proxy_delay = 0
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 1
            host: address 10.0.0.1/24 dev vw-abababababab
        "#]],
    );
    planned(
        &routed(&[V4, V6]),
        &over6(),
        expect![[r#"
            rule: ForwardTo [Interface("vw-abababababab"), Family(V4)] [Jump(ToNat)]
            rule: ForwardTo [Interface("vw-abababababab"), Family(V6)] [Jump(ToNat)]
            rule: SameBridge [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Neighbors [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Masquerade4 [Interface("vw-abababababab")] []
            rule: Masquerade6 [Interface("vw-abababababab")] []
            rule: Bridges [Interface("vw-abababababab")] []
            rule: Filtered [Interface("vw-abababababab"), Family(V4)] []
            rule: Filtered [Interface("vw-abababababab"), Family(V6)] []
            host: link vw-abababababab mtu 1500 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            host: net/ipv4/conf/vw-abababababab/route_localnet = 1
            host: net/ipv4/neigh/vw-abababababab/proxy_delay = 0
            host: net/ipv6/conf/vw-abababababab/accept_ra = 0
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 0
            host: net/ipv6/conf/vw-abababababab/proxy_ndp = 1
            host: net/ipv6/neigh/vw-abababababab/proxy_delay = 0
            host: address 10.0.0.1/24 dev vw-abababababab
            host: address fd00::1/64 dev vw-abababababab
            host: address fe80::1/64 dev vw-abababababab
            host: route local 100::7677:1/128 dev vw-abababababab metric 1440077270
        "#]],
    );
}

#[test]
fn an_internal_one_and_one_without_rules_are_bridges_too() {
    let bare = DriverContext {
        iptables: false,
        ..over4()
    };
    planned(
        &routed(&[V6]),
        &bare,
        expect![[r#"
        host: link vw-abababababab mtu 1500 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
        host: net/ipv6/conf/vw-abababababab/accept_ra = 0
        host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 0
        host: net/ipv6/conf/vw-abababababab/proxy_ndp = 1
        host: net/ipv6/neigh/vw-abababababab/proxy_delay = 0
        host: address fd00::1/64 dev vw-abababababab
        host: address fe80::1/64 dev vw-abababababab
        host: address fe80::101:101:101:101/128 dev wire
    "#]],
    );
    let mut internal = routed(&[V4]);
    internal.internal = true;
    planned(
        &internal,
        &over4(),
        expect![[r#"
            rule: ForwardTo [Interface("vw-abababababab"), Family(V4)] [Jump(Internal)]
            rule: ForwardTo [Interface("vw-abababababab"), Family(V6)] [Jump(Internal)]
            rule: ForwardFrom [Interface("vw-abababababab")] [Jump(Internal)]
            rule: SameBridge [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Neighbors [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Bridges [Interface("vw-abababababab")] []
            rule: Filtered [Interface("vw-abababababab"), Family(V4)] []
            rule: Filtered [Interface("vw-abababababab"), Family(V6)] []
            host: link vw-abababababab mtu 1500 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            host: net/ipv4/neigh/vw-abababababab/proxy_delay = 0
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 1
            host: address 10.0.0.1/24 dev vw-abababababab
        "#]],
    );
}

#[test]
fn an_endpoint_is_a_port_of_that_bridge() {
    let network = routed(&["10.0.0.0/24", "10.0.1.0/24"]);
    let endpoint = endpoint(&network, &["10.0.1.2/24"]);
    let plan = Overlay.plan_attachment(&network, &endpoint, &over4());
    expect![[r#"
        host: link vwcdcdcdcdcd mtu 1500 veth to sandbox eth0 mac 02:42:0a:00:00:02 on vw-abababababab isolated false hairpin false
        sandbox: net/ipv6/conf/eth0/disable_ipv6 = 1
        sandbox: address 10.0.1.2/24 dev eth0
        sandbox: route 10.0.0.0/24 dev eth0 metric 0
        offers default via 10.0.0.1 dev eth0
        offers default via 10.0.1.1 dev eth0
    "#]].assert_eq(&shown_attachment(&plan.unwrap()));
    let port = |host: &str| {
        let mapping = PortMapping {
            host: host.parse().unwrap(),
            container: PortKey {
                port: 80,
                protocol: Protocol::Tcp,
            },
        };
        let plan = Overlay.plan_ports(&network, &endpoint, &[mapping], &over4());
        shown(&plan.unwrap())
    };
    expect![[r#"
        rule: PortsAny4 [Protocol(Tcp), Port(8080)] [V4(10.0.1.2), Port(80)]
        rule: PublishedAny4 [Protocol(Tcp), Port(8080)] []
    "#]]
    .assert_eq(&port("0.0.0.0:8080"));
    assert!(Overlay.publishes(&network, Family::V4, &over4()));
    assert!(!Overlay.publishes(&network, Family::V6, &over4()));
}

#[test]
fn an_endpoint_elsewhere_is_a_route_and_an_answer() {
    let network = routed(&[V4, V6]);
    let plan = |tunnel: &str, addresses: &[&str], cx: &DriverContext| {
        let there = remote(tunnel, addresses);
        shown(&Overlay.plan_remote(&network, &there, cx).unwrap())
    };
    let both = ["10.0.0.9/24", "fd00::9/64"];
    expect![[r#"
        rule: Remotes4 [V4(10.0.0.9)] []
        rule: Remotes6 [V6(fd00::9)] []
        rule: Ways4 [Interface("vw-abababababab"), Interface("wire"), V4(10.0.0.9)] []
        rule: Ways6 [Interface("vw-abababababab"), Interface("wire"), V6(fd00::9)] []
        host: route 10.0.0.9/32 via 192.0.2.2 dev wire metric 0
        host: route fd00::9/128 via fe80::202:202:202:202 dev wire metric 0
        host: answers for 10.0.0.9 dev vw-abababababab
        host: answers for fd00::9 dev vw-abababababab
    "#]]
    .assert_eq(&plan("192.0.2.2", &both, &over4()));
    expect![[r#"
        rule: Remotes4 [V4(10.0.0.9)] []
        rule: Remotes6 [V6(fd00::9)] []
        rule: Ways4 [Interface("vw-abababababab"), Interface("wire"), V4(10.0.0.9)] []
        rule: Ways6 [Interface("vw-abababababab"), Interface("wire"), V6(fd00::9)] []
        host: route 10.0.0.9/32 via 2001:db8::2 dev wire metric 0
        host: route fd00::9/128 via 2001:db8::2 dev wire metric 0
        host: answers for 10.0.0.9 dev vw-abababababab
        host: answers for fd00::9 dev vw-abababababab
    "#]]
    .assert_eq(&plan("2001:db8::2", &both, &over6()));
    let bare = DriverContext {
        iptables: false,
        ..over4()
    };
    expect![[r#"
        host: route 10.0.0.9/32 via 192.0.2.2 dev wire metric 0
        host: answers for 10.0.0.9 dev vw-abababababab
    "#]]
    .assert_eq(&plan("192.0.2.2", &["10.0.0.9/24"], &bare));
    // Neither what lies elsewhere nor what every host has.
    assert_eq!(
        plan("192.0.2.2", &["8.8.8.8/24", "10.0.0.1/24"], &over4()),
        ""
    );
}

#[test]
fn a_host_elsewhere_is_no_next_hop() {
    let said = |tunnel: &str| {
        let there = remote(tunnel, &["10.0.0.9/24"]);
        let error = Overlay
            .plan_remote(&routed(&[V4]), &there, &over4())
            .unwrap_err();
        format!("{:?} {}: {error}", error.kind, error.reason)
    };
    expect!["Conflict host-not-on-segment: network web does not reach host 192.0.3.2: it is not on one segment with 192.0.2.1/24 of wire, as option vethwork.overlay.mode needs; put the hosts on one segment, or make the network without the option"].assert_eq(&said("192.0.3.2"));
    expect!["Conflict underlay-family-mismatch: host 2001:db8::2 cannot be reached from 192.0.2.1: all hosts of a cluster must advertise addresses of one IP version"].assert_eq(&said("2001:db8::2"));
}

#[test]
fn the_way_out_is_its_own() {
    let mut network = routed(&[V4]);
    assert!(!Overlay.companion(&network) && !Overlay.numbered(&network));
    assert!(Overlay.needs_router(&network, Family::V4));
    let first = "10.0.0.1".parse().ok();
    assert_eq!(Overlay.gateway(&network, Family::V4), first);
    assert_eq!(Overlay.gateway(&network, Family::V6), None);
    network.internal = true;
    assert!(!Overlay.companion(&network));
    assert_eq!(Overlay.gateway(&network, Family::V4), None);
    let tunnelled = overlay(&[V4], &[("overlay.mode", "vxlan")]);
    assert!(Overlay.numbered(&tunnelled));
    assert_eq!(Overlay.host_link(&tunnelled), None);
}

#[test]
fn what_is_about_tunnels_is_refused() {
    let said = |given: &[(&str, &str)]| {
        let mut network = routed(&[V4]);
        network.options.extend(options(given));
        let said = Overlay.validate(&network, &over4());
        said.map_or_else(
            |e| format!("{:?} {}: {e}\n", e.kind, e.reason),
            |()| String::new(),
        )
    };
    let all: String = [
        [("encrypted", "")],
        [(VNI, "4097")],
        [("vethwork.overlay.port", "4789")],
        [(MULTICAST, "true")],
        [(MULTICAST, "false")],
        [("encrypted", "false")],
        [("overlay.mode", "route")],
        [("overlay.mode", "vxlan")],
        [("vethwork.overlay.speed", "9")],
        [("com.docker.network.driver.mtu", "20")],
    ]
    .iter()
    .map(|given| said(given))
    .collect();
    expect![[r#"
        InvalidArgument option-conflict: option encrypted is about tunnels, and network web has none: leave it out, or vethwork.overlay.mode=route
        InvalidArgument option-conflict: option com.docker.network.driver.overlay.vxlanid_list is about tunnels, and network web has none: leave it out, or vethwork.overlay.mode=route
        InvalidArgument option-conflict: option vethwork.overlay.port is about tunnels, and network web has none: leave it out, or vethwork.overlay.mode=route
        InvalidArgument option-conflict: option vethwork.overlay.multicast is about tunnels, and network web has none: leave it out, or vethwork.overlay.mode=route
        InvalidArgument option-invalid: options vethwork.overlay.mode and overlay.mode say different things: give one
        InvalidArgument option-unknown: unknown option vethwork.overlay.speed for the driver overlay: known are com.docker.network.driver.overlay.vxlanid_list, com.docker.network.driver.mtu, vethwork.overlay.port, vethwork.overlay.multicast, vethwork.overlay.mode
        InvalidArgument mtu-invalid: invalid MTU number: 20: use 68 to 65535 on this network
    "#]].assert_eq(&all);
}

#[test]
fn hosts_are_told_the_mtu_and_no_port() {
    let mut cx = cx("192.0.2.1", 9000);
    let port = Some(8472);
    cx.underlay = cx.underlay.map(|underlay| Underlay { port, ..underlay });
    let mut network = routed(&[V4]);
    Overlay.complete(&mut network, &cx);
    assert_eq!(network.options["com.docker.network.driver.mtu"], "9000");
    assert!(!network.options.contains_key("vethwork.overlay.port"));
}

#[test]
fn no_endpoint_has_more_than_its_hosts_link_takes() {
    let mut network = routed(&[V4]);
    let named = [
        ("9000", 1500, 1500),
        ("1400", 1500, 1400),
        ("9000", 9000, 9000),
    ];
    for (named, link, has) in named {
        let option = "com.docker.network.driver.mtu".to_owned();
        network.options.insert(option, named.to_owned());
        let cx = cx("192.0.2.1", link);
        let fragment = Overlay.plan_network(&network, &cx).expect("it is one");
        let mut objects = fragment.iter().map(|(_, object)| object);
        let bridge = objects.find_map(|object| match object {
            Object::Link(link) => Some(link.mtu),
            _ => None,
        });
        assert_eq!(bridge, Some(has), "{named} over {link}");
    }
}
