//! What endpoints and their published ports become.

use super::*;
use expect_test::expect;

#[test]
fn an_ipv4_attachment() {
    let network = bridge(&[V4], &[]);
    attached(
        &network,
        &endpoint(&network, &["10.0.0.2/24"]),
        &cx(),
        expect![[r#"
            host: link vwcdcdcdcdcd mtu 1500 veth to sandbox eth0 mac 02:42:0a:00:00:02 on vw-abababababab isolated false hairpin false
            sandbox: net/ipv6/conf/eth0/disable_ipv6 = 1
            sandbox: address 10.0.0.2/24 dev eth0
            offers default via 10.0.0.1 dev eth0
        "#]],
    );
}

#[test]
fn a_dual_stack_attachment() {
    let network = bridge(&[V4, V6], &[]);
    let endpoint = endpoint(&network, &["10.0.0.2/24", "fd00::2/64"]);
    attached(
        &network,
        &endpoint,
        &cx(),
        expect![[r#"
        host: link vwcdcdcdcdcd mtu 1500 veth to sandbox eth0 mac 02:42:0a:00:00:02 on vw-abababababab isolated false hairpin false
        sandbox: net/ipv6/conf/eth0/accept_ra = 0
        sandbox: net/ipv6/conf/eth0/disable_ipv6 = 0
        sandbox: address 10.0.0.2/24 dev eth0
        sandbox: address fd00::2/64 dev eth0
        sandbox: address fe80::42:aff:fe00:2/64 dev eth0
        offers default via 10.0.0.1 dev eth0
        offers default via fd00::1 dev eth0
    "#]],
    );
}

#[test]
fn an_attachment_with_every_option() {
    let network = bridge(
        &[V4, V6],
        &[
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.driver.mtu", "1400"),
        ],
    );
    let mut endpoint = endpoint(&network, &["10.0.0.2/24", "fd00::2/64"]);
    endpoint.settings.link_local = vec![
        [169, 254, 1, 1].into(),
        IpAddr::V6([0xfe80, 0, 0, 0, 0, 0, 0, 9].into()),
    ];
    endpoint.settings.driver_opts = options(&[
        ("com.docker.network.endpoint.ifname", "eth0"),
        (
            "com.docker.network.endpoint.sysctls",
            "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.accept_ra=2",
        ),
        ("org.example", "kept"),
    ]);
    let cx = DriverContext {
        bridge_netfilter: true,
        ..cx()
    };
    attached(
        &network,
        &endpoint,
        &cx,
        expect![[r#"
        host: link vwcdcdcdcdcd mtu 1400 veth to sandbox eth0 mac 02:42:0a:00:00:02 on vw-abababababab isolated true hairpin true
        sandbox: net/ipv4/conf/eth0/log_martians = 1
        sandbox: net/ipv6/conf/eth0/accept_ra = 2
        sandbox: net/ipv6/conf/eth0/disable_ipv6 = 0
        sandbox: address 10.0.0.2/24 dev eth0
        sandbox: address 169.254.1.1/16 dev eth0
        sandbox: address fd00::2/64 dev eth0
        sandbox: address fe80::9/64 dev eth0
        sandbox: address fe80::42:aff:fe00:2/64 dev eth0
        offers default via 10.0.0.1 dev eth0
        offers default via fd00::1 dev eth0
    "#]],
    );
    let asked = Bridge.interface_name(&endpoint.settings).unwrap();
    assert_eq!(asked, Some("eth0".parse().unwrap()));
}

#[test]
fn an_attachment_without_ipv6_in_the_kernel() {
    let network = bridge(&[V4], &[]);
    let cx = DriverContext {
        ipv6: false,
        ..cx()
    };
    attached(
        &network,
        &endpoint(&network, &["10.0.0.2/24"]),
        &cx,
        expect![[r#"
            host: link vwcdcdcdcdcd mtu 1500 veth to sandbox eth0 mac 02:42:0a:00:00:02 on vw-abababababab isolated false hairpin false
            sandbox: address 10.0.0.2/24 dev eth0
            offers default via 10.0.0.1 dev eth0
        "#]],
    );
}

#[test]
fn ports() {
    let network = bridge(&[V4, V6], &[]);
    let endpoint = endpoint(&network, &["10.0.0.2/24", "fd00::2/64"]);
    let ports = [
        ("0.0.0.0:8080", "80/tcp"),
        ("[::]:8080", "80/tcp"),
        ("127.0.0.1:53", "53/udp"),
        ("[::1]:99", "9/sctp"),
    ];
    published(
        &network,
        &endpoint,
        &ports,
        &cx(),
        expect![[r#"
            rule: Ports4 [V4(127.0.0.1), Protocol(Udp), Port(53)] [V4(10.0.0.2), Port(53)]
            rule: PortsAny4 [Protocol(Tcp), Port(8080)] [V4(10.0.0.2), Port(80)]
            rule: Ports6 [V6(::1), Protocol(Sctp), Port(99)] [V6(fd00::2), Port(9)]
            rule: Ports6 [V6(100::7677:1), Protocol(Sctp), Port(99)] [V6(fd00::2), Port(9)]
            rule: PortsAny6 [Protocol(Tcp), Port(8080)] [V6(fd00::2), Port(80)]
            rule: Published4 [V4(127.0.0.1), Protocol(Udp), Port(53)] []
            rule: PublishedAny4 [Protocol(Tcp), Port(8080)] []
            rule: Published6 [V6(::1), Protocol(Sctp), Port(99)] []
            rule: Published6 [V6(100::7677:1), Protocol(Sctp), Port(99)] []
            rule: PublishedAny6 [Protocol(Tcp), Port(8080)] []
        "#]],
    );
    published(&network, &endpoint, &[], &cx(), expect![[""]]);
}

#[test]
fn ports_of_a_routed_network() {
    let routed = [("com.docker.network.bridge.gateway_mode_ipv4", "routed")];
    let network = bridge(&[V4], &routed);
    let endpoint = endpoint(&network, &["10.0.0.2/24"]);
    published(
        &network,
        &endpoint,
        &[("0.0.0.0:8080", "80/tcp")],
        &cx(),
        expect![[r#"
            rule: Open4 [V4(10.0.0.2), Protocol(Tcp), Port(80)] []
        "#]],
    );
}

#[test]
fn neighbours_who_keep_their_address_are_answered_by_the_host() {
    let elsewhere = ["10.1.0.2", "fd00:1::2"].map(|addr| addr.parse().unwrap());
    let beside = |network: &NetworkSpec, cx: &DriverContext| {
        shown(&Bridge.plan_beside(network, &elsewhere, cx))
    };
    let keeps = ("com.docker.network.bridge.enable_ip_masquerade", "false");
    let routed = ("com.docker.network.bridge.gateway_mode_ipv6", "routed");
    assert_eq!(beside(&bridge(&[V4, V6], &[]), &cx()), "");
    let network = bridge(&[V4, V6], &[keeps]);
    expect![[r#"
        rule: Beside4 [Interface("vw-abababababab"), V4(10.1.0.2)] []
        rule: Beside6 [Interface("vw-abababababab"), V6(fd00:1::2)] []
    "#]]
    .assert_eq(&beside(&network, &cx()));
    expect![[r#"
        rule: Beside6 [Interface("vw-abababababab"), V6(fd00:1::2)] []
    "#]]
    .assert_eq(&beside(&bridge(&[V4, V6], &[routed]), &cx()));
    expect![[r#"
        rule: Beside4 [Interface("vw-abababababab"), V4(10.1.0.2)] []
    "#]]
    .assert_eq(&beside(&bridge(&[V4], &[keeps]), &cx()));
    let no_rules = DriverContext {
        iptables: false,
        ip6tables: false,
        ..cx()
    };
    assert_eq!(beside(&network, &no_rules), "");
    let internal = NetworkSpec {
        internal: true,
        ..network
    };
    assert_eq!(beside(&internal, &cx()), "");
}

#[test]
fn ports_of_an_endpoint_without_ipv6_are_translated() {
    let network = bridge(&[V4], &[]);
    let four = endpoint(&network, &["10.0.0.2/24"]);
    let translates = DriverContext {
        no_translation: None,
        ..cx()
    };
    published(
        &network,
        &four,
        &[("[::1]:8080", "80/tcp")],
        &translates,
        expect![[r#"
            rule: ForwardTo [Interface("vw_translator"), Family(V4)] [Jump(ToNat)]
            rule: ForwardTo [Interface("vw_translator"), Family(V6)] [Jump(ToNat)]
            rule: Bridges [Interface("vw_translator")] []
            rule: Filtered [Interface("vw_translator"), Family(V4)] []
            rule: Filtered [Interface("vw_translator"), Family(V6)] []
            rule: Translators [Interface("vw_translator")] []
            host: link vw_translator mtu 65535 mac 02:76:77:36:34:00 bridge mcast_snooping false alias vethwork:translator
            host: net/ipv4/conf/vw_translator/ignore_routes_with_linkdown = 0
            host: net/ipv6/conf/vw_translator/accept_ra = 0
            host: net/ipv6/conf/vw_translator/disable_ipv6 = 0
            host: net/ipv6/conf/vw_translator/ignore_routes_with_linkdown = 0
            host: route 192.0.0.6/32 dev vw_translator metric 0 mtu 1480
            host: route local 100::7677:1/128 dev vw_translator metric 4294967294
            host: route fd5a:9c3e:41b7::24af:c000:6/128 dev vw_translator metric 0
            host: route fd5a:9c3e:41b7::24af:0:0/96 via fd5a:9c3e:41b7::24af:c000:6 dev vw_translator metric 0
            host: neighbour 192.0.0.6 dev vw_translator mac 02:76:77:36:34:00
            host: neighbour fd5a:9c3e:41b7::24af:c000:6 dev vw_translator mac 02:76:77:36:34:00
            host: translation by vw_translator
            rule: Ports6 [V6(::1), Protocol(Tcp), Port(8080)] [V6(fd5a:9c3e:41b7::24af:a00:2), Port(80)]
            rule: Ports6 [V6(100::7677:1), Protocol(Tcp), Port(8080)] [V6(fd5a:9c3e:41b7::24af:a00:2), Port(80)]
            rule: Published6 [V6(::1), Protocol(Tcp), Port(8080)] []
            rule: Published6 [V6(100::7677:1), Protocol(Tcp), Port(8080)] []
        "#]],
    );
}

#[test]
fn ports_are_translated_where_ipv4_is_translated_too() {
    let network = bridge(&[V4], &[]);
    let four = endpoint(&network, &["10.0.0.2/24"]);
    let translates = DriverContext {
        no_translation: None,
        ..cx()
    };
    assert!(Bridge.publishes(&network, Family::V6, &translates));
    assert!(Bridge.publishes_to(&network, &four, Family::V6, &translates));
    // An endpoint that has IPv6 switched off, where the network has it.
    let routed = bridge(
        &[V4, V6],
        &[("com.docker.network.bridge.gateway_mode_ipv4", "routed")],
    );
    let off = endpoint(&routed, &["10.0.0.2/24"]);
    assert!(!Bridge.publishes_to(&routed, &off, Family::V6, &translates));
    let alone = |options: &[(&str, &str)], cx: &DriverContext| {
        assert!(
            !Bridge.publishes(&bridge(&[V4], options), Family::V6, cx),
            "{options:?}"
        );
    };
    alone(
        &[("com.docker.network.bridge.gateway_mode_ipv4", "routed")],
        &translates,
    );
    alone(
        &[("com.docker.network.bridge.inhibit_ipv4", "true")],
        &translates,
    );
    let no_rules = DriverContext {
        ip6tables: false,
        ..translates
    };
    alone(&[], &no_rules);
}

/// No way is narrower over IPv6, whatever the daemon's MTU.
#[test]
fn translated_answers_are_as_large_as_ipv6_carries_at_least() {
    for (mtu, fits) in [(9000, 8980), (1280, 1260), (576, 1260)] {
        let cx = DriverContext { mtu, ..cx() };
        let planned = crate::plan_translator(&cx);
        let mut routes = planned.iter().filter_map(|object| match object {
            vw_hoststate::Object::Route(route) => route.mtu,
            _ => None,
        });
        assert_eq!(routes.next(), Some(fits), "{mtu}");
    }
}

#[test]
fn ports_that_cannot_be() {
    let network = bridge(&[V4], &[]);
    let four = endpoint(&network, &["10.0.0.2/24"]);
    published(
        &network,
        &four,
        &[("[::]:8080", "80/tcp")],
        &cx(),
        expect![
            "port-family-mismatch: cannot publish [::]:8080 to 10.0.0.2: the container has an IPv4 address only on this network; publish on an IPv4 address, or give the network IPv6 too"
        ],
    );
    let none = endpoint(&network, &[]);
    published(
        &network,
        &none,
        &[("0.0.0.0:8080", "80/tcp")],
        &cx(),
        expect![
            "port-not-publishable: network web cannot publish 80/tcp on 0.0.0.0:8080: publish it on a network and over an IP version that has rules of ours"
        ],
    );
    let no_rules = DriverContext {
        iptables: false,
        ..cx()
    };
    published(
        &network,
        &four,
        &[("0.0.0.0:8080", "80/tcp")],
        &no_rules,
        expect![
            "port-not-publishable: network web cannot publish 80/tcp on 0.0.0.0:8080: publish it on a network and over an IP version that has rules of ours"
        ],
    );
}
