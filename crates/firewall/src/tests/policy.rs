//! What networks and ports ask for, as golden text.

use crate::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::BTreeSet;
use vw_model::{PortKey, PortMapping, Protocol};

pub(super) fn nat(bridge: &str) -> NetworkPolicy {
    NetworkPolicy {
        bridge: bridge.parse().unwrap(),
        internal: false,
        icc: true,
        v4: family(GatewayMode::Nat),
        v6: family(GatewayMode::Nat),
    }
}

pub(super) fn family<A>(mode: GatewayMode) -> FamilyPolicy<A> {
    FamilyPolicy {
        mode,
        masquerade: true,
        snat: None,
    }
}

pub(super) fn published(host: &str, target: &str, mode: GatewayMode) -> PortPolicy {
    PortPolicy {
        mapping: PortMapping {
            host: host.parse().unwrap(),
            container: PortKey {
                port: 80,
                protocol: Protocol::Tcp,
            },
        },
        target: target.parse().unwrap(),
        mode,
        internal: false,
    }
}

pub(super) fn lines(elements: &[Element]) -> String {
    elements
        .iter()
        .map(|element| format!("{element}\n"))
        .collect()
}

#[test]
fn networks() {
    let check = |policy: NetworkPolicy, expected: Expect| {
        expected.assert_eq(&lines(&network(&policy)));
    };
    check(
        nat("vw0"),
        expect![[r#"
            bridges { "vw0" }
            same_bridge { "vw0" . "vw0" }
            forward_to { "vw0" . ipv4 : jump to_nat }
            filtered { "vw0" . ipv4 }
            forward_to { "vw0" . ipv6 : jump to_nat }
            filtered { "vw0" . ipv6 }
            neighbors { "vw0" . "vw0" }
            masquerade4 { "vw0" }
            masquerade6 { "vw0" }
        "#]],
    );
    let mut mixed = nat("vw0");
    mixed.v4.snat = Some([192, 0, 2, 7].into());
    mixed.v6.mode = GatewayMode::Routed;
    check(
        mixed,
        expect![[r#"
            bridges { "vw0" }
            same_bridge { "vw0" . "vw0" }
            forward_to { "vw0" . ipv4 : jump to_nat }
            filtered { "vw0" . ipv4 }
            forward_to { "vw0" . ipv6 : jump to_routed }
            filtered { "vw0" . ipv6 }
            neighbors { "vw0" . "vw0" }
            snat4 { "vw0" : 192.0.2.7 }
        "#]],
    );
    let internal = NetworkPolicy {
        internal: true,
        icc: false,
        ..nat("vw0")
    };
    check(
        internal,
        expect![[r#"
            bridges { "vw0" }
            same_bridge { "vw0" . "vw0" }
            forward_to { "vw0" . ipv4 : jump internal }
            filtered { "vw0" . ipv4 }
            forward_to { "vw0" . ipv6 : jump internal }
            filtered { "vw0" . ipv6 }
            forward_from { "vw0" : jump internal }
        "#]],
    );
}

fn check_port(policy: &PortPolicy, expected: Expect) {
    let text = match port(policy) {
        Ok(elements) => lines(&elements),
        Err(error) => format!("{:?} {}: {error}\n", error.kind, error.reason),
    };
    expected.assert_eq(&text);
}

#[test]
fn translated_ports() {
    let check = |host, target, mode, expected| {
        check_port(&published(host, target, mode), expected);
    };
    let (v4, v6) = ("172.18.0.2", "fd00::2");
    check(
        "0.0.0.0:8080",
        v4,
        GatewayMode::Nat,
        expect![[r#"
            ports_any4 { tcp . 8080 : 172.18.0.2 . 80 }
            published_any4 { tcp . 8080 }
        "#]],
    );
    check(
        "127.0.0.1:8080",
        v4,
        GatewayMode::Nat,
        expect![[r#"
            ports4 { 127.0.0.1 . tcp . 8080 : 172.18.0.2 . 80 }
            published4 { 127.0.0.1 . tcp . 8080 }
        "#]],
    );
    check(
        "[::]:8080",
        v6,
        GatewayMode::NatUnprotected,
        expect![[r#"
            ports_any6 { tcp . 8080 : fd00::2 . 80 }
            published_any6 { tcp . 8080 }
        "#]],
    );
    check(
        "[::1]:8080",
        v6,
        GatewayMode::Nat,
        expect![[r#"
            ports6 { ::1 . tcp . 8080 : fd00::2 . 80 }
            published6 { ::1 . tcp . 8080 }
            ports6 { 100::7677:1 . tcp . 8080 : fd00::2 . 80 }
            published6 { 100::7677:1 . tcp . 8080 }
        "#]],
    );
}

#[test]
fn other_ports() {
    let check = |host, target, mode, expected| {
        check_port(&published(host, target, mode), expected);
    };
    let (v4, v6) = ("172.18.0.2", "fd00::2");
    check(
        "0.0.0.0:0",
        v4,
        GatewayMode::Routed,
        expect![[r#"
            open4 { 172.18.0.2 . tcp . 80 }
        "#]],
    );
    check(
        "[::]:0",
        v6,
        GatewayMode::Routed,
        expect![[r#"
            open6 { fd00::2 . tcp . 80 }
        "#]],
    );
    check("0.0.0.0:80", v4, GatewayMode::Isolated, expect![[r#""#]]);
    check(
        "[::1]:8080",
        v4,
        GatewayMode::Nat,
        expect![[r#"
            InvalidArgument port-family-mismatch: cannot publish [::1]:8080 to 172.18.0.2: the container has an IPv4 address only on this network; publish on an IPv4 address, or give the network IPv6 too
        "#]],
    );
    let internal = PortPolicy {
        internal: true,
        ..published("0.0.0.0:8080", v4, GatewayMode::Nat)
    };
    check_port(&internal, expect![[r#""#]]);
}

#[test]
fn names_in_the_kernel_are_distinct() {
    for set in SetName::ALL {
        assert_eq!(SetName::from_name(set.name()), Some(set));
    }
    for chain in Chain::ALL {
        assert_eq!(Chain::from_name(chain.name()), Some(chain));
        assert!(HostTable::default().rules().chain(chain.name()).is_some());
    }
}

fn policies() -> impl Strategy<Value = NetworkPolicy> {
    let modes = prop_oneof![
        Just(GatewayMode::Nat),
        Just(GatewayMode::NatUnprotected),
        Just(GatewayMode::Routed),
        Just(GatewayMode::Isolated),
    ];
    let name = "[a-z][a-z0-9-]{0,14}";
    (name, any::<[bool; 6]>(), modes.clone(), modes).prop_map(|(name, flags, v4, v6)| {
        let [internal, icc, masquerade4, masquerade6, snat4, snat6] = flags;
        NetworkPolicy {
            bridge: format!("v{}", &name[1..]).parse().unwrap(),
            internal,
            icc,
            v4: FamilyPolicy {
                mode: v4,
                masquerade: masquerade4,
                snat: snat4.then_some([192, 0, 2, 1].into()),
            },
            v6: FamilyPolicy {
                mode: v6,
                masquerade: masquerade6,
                snat: snat6.then(|| "2001:db8::1".parse().unwrap()),
            },
        }
    })
}

proptest! {
    #[test]
    fn elements_are_of_their_sets_and_keys_of_their_networks(one in policies(), other in policies()) {
        let keys = |policy| -> BTreeSet<_> {
            network(policy).into_iter().map(|element| (element.set, element.key)).collect()
        };
        for element in network(&one) {
            let types = |data: &[Datum]| data.iter().map(Datum::data_type).collect::<Vec<_>>();
            prop_assert_eq!(types(&element.key), element.set.key());
            prop_assert_eq!(types(&element.value), element.set.value());
            prop_assert!(!element.set.is_port());
        }
        prop_assert_eq!(keys(&one).len(), network(&one).len());
        prop_assert!(network(&one).len() <= 10);
        prop_assume!(one.bridge != other.bridge);
        prop_assert!(keys(&one).is_disjoint(&keys(&other)));
    }
}
