//! Notations of values, and names that are not known.

use super::*;
use crate::sample::options;
use expect_test::{Expect, expect};
use std::net::Ipv4Addr;

#[test]
fn truth_values() {
    for text in ["1", "t", "T", "true", "TRUE", "True"] {
        assert_eq!(boolean(text), Ok(true));
    }
    for text in ["0", "f", "F", "false", "FALSE", "False"] {
        assert_eq!(boolean(text), Ok(false));
    }
    for text in ["", "yes", "tRUE", " true"] {
        assert!(boolean(text).is_err(), "{text:?}");
    }
}

#[test]
fn sentences() {
    let check = |said: Result<(), String>, expected: Expect| expected.assert_eq(&said.unwrap_err());
    check(
        boolean("yes").map(drop),
        expect![[r#"strconv.ParseBool: parsing "yes": invalid syntax"#]],
    );
    check(
        integer("1k").map(drop),
        expect![[r#"strconv.Atoi: parsing "1k": invalid syntax"#]],
    );
    check(address("localhost").map(drop), expect!["nil ip"]);
    check(of_type::<Ipv4Addr>("::1").map(drop), expect!["nil ip"]);
    check(
        name::<vw_model::IfName>("a b").map(drop),
        expect![[
            r#"invalid interface name "a b": use 1 to 15 bytes without '/', ':', '%' or white space, other than '.', '..', 'all' and 'default'"#
        ]],
    );
    let given = options(&[("com.docker.network.x", "maybe")]);
    let error = value(&given, "com.docker.network.x", boolean).unwrap_err();
    assert_eq!(error.reason, "option-invalid");
    expect![[r#"failed to parse com.docker.network.x value: maybe (strconv.ParseBool: parsing "maybe": invalid syntax)"#]].assert_eq(&error.message);
}

#[test]
fn mapped_addresses_are_what_they_map_to() {
    assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
}

#[test]
fn unknown_names() {
    let check = |keys: &[&str], known: &[&str], expected: Expect| {
        let given: Vec<_> = keys.iter().map(|key| (*key, "")).collect();
        let error = refuse_unknown(&options(&given), known, "the driver x").unwrap_err();
        assert_eq!(error.reason, "option-unknown");
        expected.assert_eq(&error.message);
    };
    check(
        &["com.docker.network.bridge.nam"],
        &["com.docker.network.bridge.name"],
        expect![
            "unknown option com.docker.network.bridge.nam for the driver x: known are com.docker.network.bridge.name"
        ],
    );
    check(
        &["vethwork.x", "a"],
        &[],
        expect!["unknown option vethwork.x for the driver x: it has none of that kind"],
    );
    let others = options(&[("a", ""), ("com.docker.compose", ""), ("vethworks.x", "")]);
    assert!(refuse_unknown(&others, &[], "the driver x").is_ok());
}
