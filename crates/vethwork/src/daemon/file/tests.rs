//! Flags and file together, and what is refused of them.

use super::combine;
use crate::daemon::flags::{Directives, Flags};
use clap::{Args, Command, FromArgMatches};
use expect_test::{Expect, expect};

fn flags(line: &str) -> Directives {
    let command = Flags::augment_args(Command::new("daemon").no_binary_name(true));
    let matches = command
        .try_get_matches_from(line.split_whitespace())
        .unwrap();
    Flags::from_arg_matches(&matches).unwrap().directives
}

/// What flags and file say together; unsaid directives are left out.
fn check(line: &str, file: &str, expected: Expect) {
    let shown = match combine(&flags(line), file) {
        Ok(directives) => {
            let fields = super::given(super::fields(&directives).unwrap());
            serde_json::Value::from(fields).to_string()
        }
        Err(error) => format!("ERROR {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn flags_and_file_are_one() {
    check("", "", expect!["{}"]);
    check(
        "-D --mtu 1400 --default-address-pool base=10.0.0.0/8,size=24 --default-network-opt bridge=a=b=c",
        r#"{"icc": false, "bip": "10.0.0.1/24", "labels": ["a=b"], "host-gateway-ip": "1.2.3.4"}"#,
        expect![[
            r#"{"bip":"10.0.0.1/24","debug":true,"default-address-pools":[{"base":"10.0.0.0/8","size":24}],"default-network-opts":{"bridge":{"a":"b=c"}},"host-gateway-ips":["1.2.3.4"],"icc":false,"labels":["a=b"],"mtu":1400}"#
        ]],
    );
    check(
        "--mtu 1400 --dns 1.1.1.1",
        r#"{"mtu": 1400, "dns": ["1.1.1.1"]}"#,
        expect![[r#"{"dns":["1.1.1.1"],"mtu":1400}"#]],
    );
    check(
        "",
        r#"{"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}], "default-network-opts": {"bridge": {"k": "v"}}}"#,
        expect![[
            r#"{"default-address-pools":[{"base":"10.0.0.0/8","size":24}],"default-network-opts":{"bridge":{"k":"v"}}}"#
        ]],
    );
    check(
        "-b br0 -H unix:///a -H tcp://b -G g -p /x -l warn --ipv6 --icc=false",
        "{}",
        expect![[
            r#"{"bridge":"br0","group":"g","hosts":["unix:///a","tcp://b"],"icc":false,"ipv6":true,"log-level":"warn","pidfile":"/x"}"#
        ]],
    );
}

#[test]
fn what_contradicts_or_is_unknown_is_named() {
    check(
        "--mtu 1400 --icc=false",
        r#"{"mtu": 1500, "icc": true}"#,
        expect![
            "ERROR the following directives are specified both as a flag and in the configuration file: icc: (from flag: false, from file: true), mtu: (from flag: 1400, from file: 1500)"
        ],
    );
    check(
        "-H unix:///a",
        r#"{"hosts": ["unix:///b"]}"#,
        expect![
            "ERROR the following directives are specified both as a flag and in the configuration file: hosts: (from flag: [unix:///a], from file: [unix:///b])"
        ],
    );
    check(
        "",
        r#"{"nope": 1, "mtu": 1500, "experimental": true}"#,
        expect![
            "ERROR the following directives don't match any configuration option: experimental, nope"
        ],
    );
    check(
        "",
        r#"{"mtu": "big"}"#,
        expect![[
            r#"ERROR invalid value for directive mtu: invalid type: string "big", expected i64"#
        ]],
    );
    check(
        "",
        r#"{"icc": 1}"#,
        expect![
            "ERROR invalid value for directive icc: invalid type: integer `1`, expected a boolean"
        ],
    );
    check(
        "",
        r#"{"default-address-pools": [{"base": "10.0.0.0/8", "size": 24, "x": 1}]}"#,
        expect![
            "ERROR invalid value for directive default-address-pools: unknown field `x`, expected `base` or `size`"
        ],
    );
    check(
        "",
        "{",
        expect!["ERROR EOF while parsing an object at line 1 column 1"],
    );
    check(
        "",
        "[]",
        expect!["ERROR invalid type: sequence, expected a map at line 1 column 0"],
    );
}

#[test]
fn no_secret_of_the_clusters_store_is_shown() {
    let refused = |line: &str, file: &str| combine(&flags(line), file).unwrap_err();
    let flag = "--cluster-store-opt user=me --cluster-store-opt password=hush";
    for (line, file, part) in [
        (
            flag,
            r#"{"cluster-store-opts": {"token": "hush"}}"#,
            "cluster-store-opts: (from flag: [password=… user=…], from file: [token=…])",
        ),
        (
            "",
            r#"{"cluster-store-opts": "password=hush"}"#,
            "invalid value for directive cluster-store-opts: give an object of texts",
        ),
    ] {
        let said = refused(line, file);
        assert!(said.contains(part) && !said.contains("hush"), "{said}");
    }
}
