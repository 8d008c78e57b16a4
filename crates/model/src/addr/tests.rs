//! Link-layer addresses: notations, derivation, link-local addresses.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

#[test]
fn notations() {
    let mac = MacAddr([0x02, 0x42, 0xac, 0x11, 0x00, 0x0f]);
    for text in [
        "02:42:ac:11:00:0f",
        "02-42-AC-11-00-0F",
        "0242.ac11.000f",
        "02:42:aC:11:00:0f",
    ] {
        assert_eq!(text.parse(), Ok(mac), "{text}");
    }
    assert_eq!(mac.to_string(), "02:42:ac:11:00:0f");
}

#[test]
fn refused_notations() {
    for text in [
        "",
        "02",
        "0242ac11000f",
        "02:42:ac:11:00",
        "02:42:ac:11:00:0f:01",
        "02:42:ac:11:00:0f:",
        "2:42:ac:11:0:f",
        "02:42-ac:11-00:0f",
        "+2:42:ac:11:00:0f",
        "02:42:ac:11:00:0g",
        "0242.ac11",
        "02:42:ac:11:00:é",
        "02:42:ac:11:00:00:00:0f",
    ] {
        let refused = text.parse::<MacAddr>().unwrap_err();
        assert_eq!(refused.to_string(), format!("invalid MAC address: {text}"));
    }
}

#[test]
fn derived_addresses() {
    let check = |addr: &str, expected: Expect| {
        let mac = MacAddr::derived_from(addr.parse().unwrap());
        assert!(mac.is_unicast());
        expected.assert_eq(&format!("{mac} {}", mac.link_local()));
    };
    check(
        "172.17.0.2",
        expect!["02:42:ac:11:00:02 fe80::42:acff:fe11:2"],
    );
    check(
        "fd00::2",
        expect!["a2:2d:37:55:b4:ca fe80::a02d:37ff:fe55:b4ca"],
    );
    check(
        "fd00::1:0:0:2",
        expect!["b2:2d:37:55:bd:86 fe80::b02d:37ff:fe55:bd86"],
    );
}

#[test]
fn unicast() {
    for (text, unicast) in [
        ("02:00:00:00:00:00", true),
        ("00:00:00:00:00:01", true),
        ("00:00:00:00:00:00", false),
        ("01:00:5e:00:00:01", false),
        ("ff:ff:ff:ff:ff:ff", false),
    ] {
        assert_eq!(text.parse::<MacAddr>().unwrap().is_unicast(), unicast);
    }
}

proptest! {
    #[test]
    fn an_address_survives_its_text(octets: [u8; 6]) {
        let mac = MacAddr(octets);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,20}") {
        let _ = text.parse::<MacAddr>();
    }

    // What differs alike in two places is the hard case of a sum over all.
    #[test]
    fn neighbours_differ(subnet: u128, host: u64, by in 1..1_u64 << 46, twice: bool) {
        let by = if twice { by >> 32 | (by >> 32) << 32 } else { by };
        prop_assume!(by != 0);
        let host = host & ((1 << FREE) - 1);
        let mac = |host: u64| {
            let addr = subnet << FREE | u128::from(host);
            MacAddr::derived_from(IpAddr::V6(addr.into()))
        };
        prop_assert_ne!(mac(host), mac(host ^ by));
        prop_assert!(mac(host).is_unicast());
    }
}

/// As a cluster's hosts lease them: one after the other, each from a block of its own.
#[test]
fn neighbours_of_a_wide_subnet_differ() {
    for width in [32, 48, 64] {
        let addr = |block: u128, host: u128| 0xfd00 << 112 | block << width | host;
        let all = (0..64).flat_map(|block| (0..64).map(move |host| addr(block, host)));
        let macs = all.map(|addr| MacAddr::derived_from(IpAddr::V6(addr.into())));
        let macs: std::collections::BTreeSet<MacAddr> = macs.collect();
        assert_eq!(macs.len(), 64 * 64, "blocks of /{}", 128 - width);
    }
}
