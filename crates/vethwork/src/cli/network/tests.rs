//! Address ranges sorted to their subnets.

use super::create::Create;
use clap::{Args, Command, FromArgMatches};
use expect_test::{Expect, expect};

fn check(line: &str, expected: Expect) {
    let command = Create::augment_args(Command::new("create").no_binary_name(true));
    let matches = command
        .try_get_matches_from(line.split_whitespace())
        .unwrap();
    let shown = match Create::from_arg_matches(&matches).unwrap().body() {
        Ok(body) => body["IPAM"]["Config"].to_string(),
        Err(error) => format!("ERROR {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn ranges_and_addresses_go_to_their_subnets() {
    check("n", expect!["[]"]);
    check(
        "--subnet 10.0.0.0/24,fd00::/64 --gateway fd00::1 --ip-range 10.0.0.128/25 \
         --aux-address a=10.0.0.5 --aux-address b=10.0.0.6 n",
        expect![[
            r#"[{"AuxiliaryAddresses":{"a":"10.0.0.5","b":"10.0.0.6"},"IPRange":"10.0.0.128/25","Subnet":"10.0.0.0/24"},{"Gateway":"fd00::1","Subnet":"fd00::/64"}]"#
        ]],
    );
    check(
        "--gateway 10.0.0.1 n",
        expect!["ERROR every ip-range or gateway must have a corresponding subnet"],
    );
    check(
        "--subnet 10.0.0.0/24 --gateway 10.1.0.1 n",
        expect!["ERROR no matching subnet for gateway 10.1.0.1"],
    );
    check(
        "--subnet 10.0.0.0/24 --ip-range x n",
        expect!["ERROR no matching subnet for range x"],
    );
    check(
        "--aux-address a=10.0.0.5 n",
        expect!["ERROR no matching subnet for aux-address 10.0.0.5"],
    );
    check(
        "--subnet 10.0.0.0/24 --subnet 10.0.0.0/25 n",
        expect!["ERROR multiple overlapping subnets not supported"],
    );
    check(
        "--subnet 10.0.0.0 n",
        expect!["ERROR invalid subnet 10.0.0.0: invalid CIDR block notation"],
    );
    check(
        "--subnet 10.0.0.0/24 --subnet 10.1.0.0/24 --gateway 10.0.0.1 --gateway 10.0.0.2 n",
        expect![
            "ERROR cannot configure multiple gateways (10.0.0.2, 10.0.0.1) on the same subnet (10.0.0.0/24)"
        ],
    );
}
