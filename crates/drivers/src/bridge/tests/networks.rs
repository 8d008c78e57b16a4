//! What networks become.

use super::*;
use expect_test::expect;

#[test]
fn an_ipv4_network() {
    planned(
        &bridge(&[V4], &[]),
        &cx(),
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
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 1
            host: address 10.0.0.1/24 dev vw-abababababab
        "#]],
    );
}

#[test]
fn a_dual_stack_network() {
    planned(
        &bridge(&[V4, V6], &[]),
        &cx(),
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
            host: net/ipv6/conf/vw-abababababab/accept_ra = 0
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 0
            host: address 10.0.0.1/24 dev vw-abababababab
            host: address fd00::1/64 dev vw-abababababab
            host: address fe80::1/64 dev vw-abababababab
            host: route local 100::7677:1/128 dev vw-abababababab metric 1440077270
        "#]],
    );
}

#[test]
fn an_ipv6_network() {
    planned(
        &bridge(&[V6], &[]),
        &cx(),
        expect![[r#"
            rule: ForwardTo [Interface("vw-abababababab"), Family(V4)] [Jump(ToNat)]
            rule: ForwardTo [Interface("vw-abababababab"), Family(V6)] [Jump(ToNat)]
            rule: SameBridge [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Neighbors [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Masquerade6 [Interface("vw-abababababab")] []
            rule: Bridges [Interface("vw-abababababab")] []
            rule: Filtered [Interface("vw-abababababab"), Family(V4)] []
            rule: Filtered [Interface("vw-abababababab"), Family(V6)] []
            host: link vw-abababababab mtu 1500 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            host: net/ipv6/conf/vw-abababababab/accept_ra = 0
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 0
            host: address fd00::1/64 dev vw-abababababab
            host: address fe80::1/64 dev vw-abababababab
            host: route local 100::7677:1/128 dev vw-abababababab metric 1440077270
        "#]],
    );
}

#[test]
fn the_predefined_network_follows_the_daemon() {
    let mut network = bridge(
        &[V4],
        &[("com.docker.network.bridge.default_bridge", "true")],
    );
    network.predefined = true;
    let cx = DriverContext {
        mtu: 1400,
        icc: false,
        ip_masq: false,
        host_binding: Some([192, 0, 2, 1].into()),
        ..cx()
    };
    planned(
        &network,
        &cx,
        expect![[r#"
            rule: ForwardTo [Interface("vw0"), Family(V4)] [Jump(ToNat)]
            rule: ForwardTo [Interface("vw0"), Family(V6)] [Jump(ToNat)]
            rule: SameBridge [Interface("vw0"), Interface("vw0")] []
            rule: Bridges [Interface("vw0")] []
            rule: Filtered [Interface("vw0"), Family(V4)] []
            rule: Filtered [Interface("vw0"), Family(V6)] []
            host: link vw0 mtu 1400 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            host: net/ipv4/conf/vw0/route_localnet = 1
            host: net/ipv6/conf/vw0/disable_ipv6 = 1
            host: address 10.0.0.1/24 dev vw0
        "#]],
    );
    assert_eq!(
        Bridge.default_hosts(&network, &cx),
        [IpAddr::from([192, 0, 2, 1])]
    );
    let other = bridge(&[V4], &[]);
    assert_eq!(Bridge.default_hosts(&other, &cx), [IpAddr::from([0; 4])]);
}

#[test]
fn an_internal_network() {
    let mut network = bridge(&[V4, V6], &[]);
    network.internal = true;
    planned(
        &network,
        &cx(),
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
            host: net/ipv6/conf/vw-abababababab/accept_ra = 0
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 0
            host: address 10.0.0.1/24 dev vw-abababababab
            host: address fd00::1/64 dev vw-abababababab
            host: address fe80::1/64 dev vw-abababababab
        "#]],
    );
    assert_eq!(Bridge.gateway(&network, Family::V4), None);
}

#[test]
fn an_internal_network_without_the_host_has_no_router() {
    let inhibit = [("com.docker.network.bridge.inhibit_ipv4", "true")];
    let mut network = bridge(&[V4, V6], &inhibit);
    assert!(Bridge.needs_router(&network, Family::V4));
    network.internal = true;
    assert!(!Bridge.needs_router(&network, Family::V4));
    assert!(Bridge.needs_router(&network, Family::V6));
}

#[test]
fn an_isolated_network() {
    let mut network = bridge(
        &[V4, V6],
        &[
            ("com.docker.network.bridge.gateway_mode_ipv4", "isolated"),
            ("com.docker.network.bridge.gateway_mode_ipv6", "isolated"),
        ],
    );
    network.internal = true;
    planned(
        &network,
        &cx(),
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
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 1
        "#]],
    );
    for family in [Family::V4, Family::V6] {
        assert!(!Bridge.needs_router(&network, family));
    }
}

#[test]
fn a_network_with_every_option() {
    let network = bridge(
        &[V4, V6],
        &[
            ("com.docker.network.bridge.name", "zbr0"),
            ("com.docker.network.bridge.enable_ip_masquerade", "t"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            (
                "com.docker.network.bridge.gateway_mode_ipv4",
                "nat-unprotected",
            ),
            ("com.docker.network.bridge.gateway_mode_ipv6", "routed"),
            ("com.docker.network.bridge.inhibit_ipv4", "true"),
            ("com.docker.network.driver.mtu", "9000"),
            ("com.docker.network.container_iface_prefix", "net"),
            ("com.docker.network.host_ipv4", "192.0.2.1"),
            ("com.docker.network.host_ipv6", "2001:db8::1"),
            ("org.example", "kept"),
        ],
    );
    planned(
        &network,
        &cx(),
        expect![[r#"
            rule: ForwardTo [Interface("zbr0"), Family(V4)] [Jump(ToOpen)]
            rule: ForwardTo [Interface("zbr0"), Family(V6)] [Jump(ToRouted)]
            rule: SameBridge [Interface("zbr0"), Interface("zbr0")] []
            rule: Snat4 [Interface("zbr0")] [V4(192.0.2.1)]
            rule: Bridges [Interface("zbr0")] []
            rule: Filtered [Interface("zbr0"), Family(V4)] []
            rule: Filtered [Interface("zbr0"), Family(V6)] []
            host: link zbr0 mtu 9000 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            host: net/ipv6/conf/zbr0/accept_ra = 0
            host: net/ipv6/conf/zbr0/disable_ipv6 = 0
            host: address fd00::1/64 dev zbr0
            host: address fe80::1/64 dev zbr0
        "#]],
    );
    assert_eq!(Bridge.interface_prefix(&network), "net");
    assert_eq!(Bridge.host_link(&network), Some("zbr0".parse().unwrap()));
    assert_eq!(
        Bridge.default_hosts(&network, &cx()),
        [IpAddr::from([127, 0, 0, 1])]
    );
}

#[test]
fn settings_of_the_host() {
    let network = bridge(&[V4, V6], &[]);
    let no_rules = DriverContext {
        iptables: false,
        ..cx()
    };
    planned(
        &network,
        &no_rules,
        expect![[r#"
        host: link vw-abababababab mtu 1500 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
        host: net/ipv6/conf/vw-abababababab/accept_ra = 0
        host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 0
        host: address 10.0.0.1/24 dev vw-abababababab
        host: address fd00::1/64 dev vw-abababababab
        host: address fe80::1/64 dev vw-abababababab
    "#]],
    );
    assert!(Bridge.default_hosts(&network, &no_rules).is_empty());
    let no_rules6 = DriverContext {
        ip6tables: false,
        ..cx()
    };
    planned(
        &network,
        &no_rules6,
        expect![[r#"
            rule: ForwardTo [Interface("vw-abababababab"), Family(V4)] [Jump(ToNat)]
            rule: SameBridge [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Neighbors [Interface("vw-abababababab"), Interface("vw-abababababab")] []
            rule: Masquerade4 [Interface("vw-abababababab")] []
            rule: Bridges [Interface("vw-abababababab")] []
            rule: Filtered [Interface("vw-abababababab"), Family(V4)] []
            host: link vw-abababababab mtu 1500 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            host: net/ipv4/conf/vw-abababababab/route_localnet = 1
            host: net/ipv6/conf/vw-abababababab/accept_ra = 0
            host: net/ipv6/conf/vw-abababababab/disable_ipv6 = 0
            host: address 10.0.0.1/24 dev vw-abababababab
            host: address fd00::1/64 dev vw-abababababab
            host: address fe80::1/64 dev vw-abababababab
        "#]],
    );
    assert!(Bridge.publishes(&network, Family::V4, &no_rules6));
    assert!(!Bridge.publishes(&network, Family::V6, &no_rules6));
    let old = DriverContext {
        ipv6: false,
        ..cx()
    };
    let plan = shown(&Bridge.plan_network(&bridge(&[V4], &[]), &old).unwrap());
    assert!(!plan.contains("net/ipv6"));
}

#[test]
fn the_router_may_be_another() {
    let mut network = bridge(&[V4], &[]);
    assert!(Bridge.needs_router(&network, Family::V4));
    assert_eq!(
        Bridge.gateway(&network, Family::V4),
        Some([10, 0, 0, 1].into())
    );
    assert_eq!(Bridge.gateway(&network, Family::V6), None);
    let aux = &mut network.ipam.pools[0].aux;
    aux.insert("DefaultGatewayIPv4".to_owned(), [10, 0, 0, 254].into());
    assert_eq!(
        Bridge.gateway(&network, Family::V4),
        Some([10, 0, 0, 254].into())
    );
    let aux = &mut network.ipam.pools[0].aux;
    aux.insert("DefaultGatewayIPv4".to_owned(), [10, 0, 1, 254].into());
    refused(
        &network,
        &cx(),
        expect!["InvalidArgument pool-invalid: default gateway ip must be part of the network"],
    );
}

#[test]
fn a_name_of_ours_may_be_said() {
    let own = bridge(
        &[V4],
        &[("com.docker.network.bridge.name", "vw-abababababab")],
    );
    Bridge.validate(&own, &cx()).unwrap();
    let zero = bridge(&[V4], &[("com.docker.network.driver.mtu", "0")]);
    assert!(shown(&Bridge.plan_network(&zero, &cx()).unwrap()).contains("mtu 1500"));
}

#[test]
fn masquerade_is_an_option() {
    let off = [("com.docker.network.bridge.enable_ip_masquerade", "0")];
    let plan = shown(
        &Bridge
            .plan_network(&bridge(&[V4, V6], &off), &cx())
            .unwrap(),
    );
    assert!(!plan.contains("Masquerade"));
}

#[test]
fn a_bridge_of_somebody_elses_is_left_as_it_is() {
    let name = ("com.docker.network.bridge.name", "lan");
    let default = ("com.docker.network.bridge.default_bridge", "true");
    let mut network = bridge(&[V4, V6], &[name, default]);
    network.predefined = true;
    planned(
        &network,
        &cx(),
        expect![[r#"
            rule: ForwardTo [Interface("lan"), Family(V4)] [Jump(ToNat)]
            rule: ForwardTo [Interface("lan"), Family(V6)] [Jump(ToNat)]
            rule: SameBridge [Interface("lan"), Interface("lan")] []
            rule: Neighbors [Interface("lan"), Interface("lan")] []
            rule: Masquerade4 [Interface("lan")] []
            rule: Masquerade6 [Interface("lan")] []
            rule: Bridges [Interface("lan")] []
            rule: Filtered [Interface("lan"), Family(V4)] []
            rule: Filtered [Interface("lan"), Family(V6)] []
            host: route local 100::7677:1/128 dev lan metric 1440077270
        "#]],
    );
    // Another predefined one, such as a gateway bridge, is our own.
    let mut network = bridge(&[V4], &[name]);
    network.predefined = true;
    let plan = shown(&Bridge.plan_network(&network, &cx()).unwrap());
    assert!(plan.contains("host: link lan"), "{plan}");
}
