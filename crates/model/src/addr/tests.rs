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
    check("fd00::2", expect!["02:42:fd:00:00:02 fe80::42:fdff:fe00:2"]);
    check(
        "fd00::1:0:0:2",
        expect!["02:42:fd:01:00:02 fe80::42:fdff:fe01:2"],
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

    #[test]
    fn neighbours_differ(subnet: u64, host: u32, other: u32) {
        prop_assume!(host != other);
        let addr = |host: u32| {
            let bits = u128::from(subnet) << 64 | u128::from(host);
            MacAddr::derived_from(IpAddr::V6(bits.into()))
        };
        prop_assert_ne!(addr(host), addr(other));
    }
}
