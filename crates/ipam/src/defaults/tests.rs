//! What is promised of the default pools, on examples.

use super::{DefaultPool, DefaultPools, ula_prefix};
use expect_test::{Expect, expect};
use vw_model::Family;

fn check(configured: &[(&str, u8)], expected: Expect) {
    let configured: Vec<_> = configured
        .iter()
        .map(|(base, size)| DefaultPool {
            base: base.parse().expect("a prefix"),
            size: *size,
        })
        .collect();
    let text = match DefaultPools::new(&configured, ula_prefix(b"host")) {
        Ok(pools) => [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| pools.of(family))
            .map(|pool| format!("{} in /{}", pool.base, pool.size))
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&text);
}

#[test]
fn without_configuration_they_are_dockers_and_a_ula() {
    check(
        &[],
        expect![[r#"
        172.17.0.0/16 in /16
        172.18.0.0/16 in /16
        172.19.0.0/16 in /16
        172.20.0.0/16 in /16
        172.21.0.0/16 in /16
        172.22.0.0/16 in /16
        172.23.0.0/16 in /16
        172.24.0.0/16 in /16
        172.25.0.0/16 in /16
        172.26.0.0/16 in /16
        172.27.0.0/16 in /16
        172.28.0.0/16 in /16
        172.29.0.0/16 in /16
        172.30.0.0/16 in /16
        172.31.0.0/16 in /16
        192.168.0.0/16 in /20
        fdcc:7eef:3a97::/48 in /64"#]],
    );
}

#[test]
fn configured_ones_replace_their_family_in_order() {
    check(
        &[("10.1.0.0/16", 24), ("10.0.0.0/8", 16), ("9.9.9.9/24", 26)],
        expect![[r#"
            9.9.9.0/24 in /26
            10.0.0.0/8 in /16
            fdcc:7eef:3a97::/48 in /64"#]],
    );
    check(
        &[("fd00:1::/32", 64)],
        expect![[r#"
        172.17.0.0/16 in /16
        172.18.0.0/16 in /16
        172.19.0.0/16 in /16
        172.20.0.0/16 in /16
        172.21.0.0/16 in /16
        172.22.0.0/16 in /16
        172.23.0.0/16 in /16
        172.24.0.0/16 in /16
        172.25.0.0/16 in /16
        172.26.0.0/16 in /16
        172.27.0.0/16 in /16
        172.28.0.0/16 in /16
        172.29.0.0/16 in /16
        172.30.0.0/16 in /16
        172.31.0.0/16 in /16
        192.168.0.0/16 in /20
        fd00:1::/32 in /64"#]],
    );
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    check(
        &[("10.0.0.0/16", 8)],
        expect![
            "invalid default address pool 10.0.0.0/16 with size 8: the size must be at least the base's prefix length and at most 32"
        ],
    );
    check(
        &[("fd00::/48", 129)],
        expect![
            "invalid default address pool fd00::/48 with size 129: the size must be at least the base's prefix length and at most 128"
        ],
    );
}

#[test]
fn a_ula_is_stable_and_differs_between_hosts() {
    expect!["fdcc:7eef:3a97::/48"].assert_eq(&ula_prefix(b"host").to_string());
    assert_ne!(ula_prefix(b"host-a"), ula_prefix(b"host-b"));
    assert_eq!(ula_prefix(b"host-a").addr().octets()[0], 0xfd);
}
