//! What `--cluster-advertise` may say.

use super::*;
use expect_test::{Expect, expect};
use std::collections::BTreeMap;

#[track_caller]
fn check(text: &str, expected: Expect) {
    let found = match advertised(text) {
        Ok((at, port)) => format!("{at:?} {port:?}"),
        Err(refused) => format!("ERROR {refused}"),
    };
    expected.assert_eq(&found);
}

#[test]
fn an_address_or_an_interface_may_have_a_port() {
    check("192.0.2.1", expect!["Address(192.0.2.1) None"]);
    check("192.0.2.1:4790", expect!["Address(192.0.2.1) Some(4790)"]);
    check("2001:db8::1", expect!["Address(2001:db8::1) None"]);
    check(
        "[2001:db8::1]:4790",
        expect!["Address(2001:db8::1) Some(4790)"],
    );
    check("eth0", expect![[r#"Link("eth0") None"#]]);
    check("eth0:4790", expect![[r#"Link("eth0") Some(4790)"#]]);
}

#[test]
fn a_port_that_hosts_have_for_something_else_is_refused_by_name() {
    check(
        "192.0.2.1:4788",
        expect![[
            r#"ERROR invalid cluster-advertise "192.0.2.1:4788": the hosts try the way to one another at 4788: use another port"#
        ]],
    );
    check("eth0:51819", expect![[r#"Link("eth0") Some(51819)"#]]);
    for text in ["192.0.2.1:51820", "[2001:db8::1]:51820", "eth0:51883"] {
        let refused = advertised(text).unwrap_err();
        let expected = format!(
            "invalid cluster-advertise {text:?}: the hosts take the packets of encrypted networks at one of 51820 to 51883: use another port"
        );
        assert_eq!(refused, expected);
    }
    check("eth0:51884", expect![[r#"Link("eth0") Some(51884)"#]]);
}

#[test]
fn what_is_neither_is_refused() {
    check(
        "",
        expect![[
            r#"ERROR invalid cluster-advertise "": use an address or an interface of this host, [:PORT] after it"#
        ]],
    );
    check(
        ":4790",
        expect![[
            r#"ERROR invalid cluster-advertise ":4790": use an address or an interface of this host, [:PORT] after it"#
        ]],
    );
    check(
        "eth0:0",
        expect![[
            r#"ERROR invalid cluster-advertise "eth0:0": use an address or an interface of this host, [:PORT] after it"#
        ]],
    );
    check(
        "eth0:x",
        expect![[
            r#"ERROR invalid cluster-advertise "eth0:x": use an address or an interface of this host, [:PORT] after it"#
        ]],
    );
    check(
        "[2001:db8::1]",
        expect![[
            r#"ERROR invalid cluster-advertise "[2001:db8::1]": use an address or an interface of this host, [:PORT] after it"#
        ]],
    );
    check(
        "[192.0.2.1]:1",
        expect![[
            r#"ERROR invalid cluster-advertise "[192.0.2.1]:1": use an address or an interface of this host, [:PORT] after it"#
        ]],
    );
}

fn host(addresses: &[(&str, &str)]) -> HostFacts {
    HostFacts {
        addresses: addresses
            .iter()
            .map(|(link, net)| ((*link).to_owned(), net.parse().unwrap()))
            .collect(),
        mtus: BTreeMap::from([("eth0".to_owned(), 9000)]),
        default_mtu: 1500,
        default_source: vec![match addresses {
            [(_, first), ..] if first.starts_with("2001") => "2001:db8::2".parse().unwrap(),
            _ => "192.0.2.1".parse().unwrap(),
        }],
        ..HostFacts::default()
    }
}

#[track_caller]
fn check_underlay(advertise: Option<&str>, addresses: &[(&str, &str)], expected: Expect) {
    let directives = Directives {
        cluster_store: Some("etcd://192.0.2.9".to_owned()),
        cluster_advertise: advertise.map(str::to_owned),
        ..Directives::default()
    };
    let settings = ClusterSettings::check(&directives).unwrap().unwrap();
    let found = match settings.underlay(&host(addresses)) {
        Ok(underlay) => format!("{} mtu {}", underlay.addr, underlay.mtu),
        Err(refused) => format!("ERROR {}", refused.chain()),
    };
    expected.assert_eq(&found);
}

#[test]
fn whether_segments_come_in_joined_is_a_matter_of_the_link_that_has_the_address() {
    let mut facts = host(&[("eth0", "192.0.2.1/24"), ("eth1", "192.0.2.2/24")]);
    facts.merging = ["eth0".to_owned()].into();
    for (addr, merges) in [("192.0.2.1", true), ("192.0.2.2", false)] {
        let directives = Directives {
            cluster_store: Some("etcd://192.0.2.9".to_owned()),
            cluster_advertise: Some(addr.to_owned()),
            ..Directives::default()
        };
        let settings = ClusterSettings::check(&directives).unwrap().unwrap();
        assert_eq!(settings.underlay(&facts).unwrap().merges, merges);
    }
}

#[test]
fn the_tunnel_ends_at_an_address_of_this_host() {
    let eth0 = [
        ("eth0", "fe80::1/64"),
        ("eth0", "2001:db8::1/64"),
        ("eth0", "192.0.2.1/24"),
    ];
    check_underlay(Some("eth0"), &eth0, expect!["192.0.2.1 mtu 9000"]);
    check_underlay(Some("2001:db8::1"), &eth0, expect!["2001:db8::1 mtu 9000"]);
    check_underlay(None, &eth0, expect!["192.0.2.1 mtu 9000"]);
    check_underlay(
        Some("eth1"),
        &eth0,
        expect![
            "ERROR cluster-advertise eth1: this host has no such interface with an address that others can reach"
        ],
    );
    check_underlay(
        Some("192.0.2.2"),
        &eth0,
        expect![
            "ERROR cluster-advertise 192.0.2.2: this host has no such address: name one that it has, or start the daemon once it is there"
        ],
    );
    check_underlay(
        Some("127.0.0.1"),
        &[("lo", "127.0.0.1/8")],
        expect!["ERROR cluster-advertise 127.0.0.1: other hosts cannot reach that"],
    );
    // What lasts is told first.
    let ipv6 = [
        ("eth0", "2001:db8:1::1/64"),
        ("eth1", "2001:db8::9/64"),
        ("eth0", "2001:db8::1/64"),
        ("eth0", "2001:db8::2/64"),
    ];
    check_underlay(None, &ipv6, expect!["2001:db8::1 mtu 9000"]);
    check_underlay(Some("2001:db8::2"), &ipv6, expect!["2001:db8::2 mtu 9000"]);
    check_underlay(
        None,
        &[("eth0", "198.51.100.1/24")],
        expect![
            "ERROR cluster-advertise is missing, and no default route tells which address of this host the others reach: give it"
        ],
    );
}

/// As after a reboot where DHCP is late.
#[test]
fn the_unit_waits_for_addresses_and_starts_the_daemon_until_they_are_there() {
    let unit = include_str!("../../../../../packaging/systemd/vethwork.service");
    for line in [
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
        "Restart=on-failure",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}
