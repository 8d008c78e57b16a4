//! Docker's sentences, as `ValidateIPAM` of its API types makes them.

use super::{PoolConfig, parse_configs};
use expect_test::{Expect, expect};
use vw_model::Family;

fn config(text: &str) -> PoolConfig {
    let mut config = PoolConfig::default();
    for part in text.split_whitespace() {
        match part.split_once('=').expect("KEY=VALUE") {
            ("subnet", v) => config.subnet = v.to_owned(),
            ("range", v) => config.ip_range = v.to_owned(),
            ("gw", v) => config.gateway = v.to_owned(),
            (name, v) => drop(config.aux.insert(name.to_owned(), v.to_owned())),
        }
    }
    config
}

fn check(configs: &[&str], expected: Expect) {
    let configs: Vec<_> = configs.iter().map(|text| config(text)).collect();
    let text = match parse_configs(&configs, |_| true) {
        Ok(requests) => requests
            .iter()
            .map(|r| {
                let range = r.ip_range.map(|range| range.to_string());
                format!("{} {range:?} {:?} {:?}", r.subnet, r.gateway, r.aux)
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&text);
}

#[test]
fn accepted() {
    check(
        &[
            "subnet=10.0.0.0/16 range=10.0.1.0/24 gw=10.0.0.1 router=10.0.0.2",
            "subnet=fd00::/64",
        ],
        expect![[r#"
            10.0.0.0/16 Some("10.0.1.0/24") Some(10.0.0.1) {"router": 10.0.0.2}
            fd00::/64 None None {}"#]],
    );
}

#[test]
fn refused_one_by_one() {
    check(
        &["subnet=10.0.0.0"],
        expect![[r#"
        invalid network config:
        invalid subnet 10.0.0.0: invalid CIDR block notation"#]],
    );
    check(
        &["gw=10.0.0.1"],
        expect![[r#"
        invalid network config:
        invalid subnet : invalid CIDR block notation"#]],
    );
    check(
        &["subnet=10.0.0.1/24"],
        expect![[r#"
        invalid network config:
        invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"#]],
    );
    check(
        &["subnet=10.0.0.0/24 range=10.0.1.0/25"],
        expect![[r#"
        invalid network config:
        invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range"#]],
    );
    check(
        &["subnet=10.0.0.0/24 range=10.0.0.0/16"],
        expect![[r#"
        invalid network config:
        invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24"#]],
    );
    check(
        &["subnet=10.0.0.0/24 range=fd00::/64"],
        expect![[r#"
        invalid network config:
        invalid ip-range fd00::/64: parent subnet is an IPv4 block"#]],
    );
    check(
        &["subnet=fd00::/64 gw=10.0.0.1"],
        expect![[r#"
        invalid network config:
        invalid gateway 10.0.0.1: parent subnet is an IPv6 block"#]],
    );
    check(
        &["subnet=10.0.0.0/24 router=10.0.1.1"],
        expect![[r#"
        invalid network config:
        invalid auxiliary address router: parent subnet 10.0.0.0/24 doesn't contain this address"#]],
    );
}

#[test]
fn refused_all_at_once() {
    check(
        &["subnet=10.0.0.1/24 range=10.0.0.3/25 gw=x", "subnet=/"],
        expect![[r#"
            invalid network config:
            * invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24
            * invalid ip-range 10.0.0.3/25: it should be 10.0.0.0/25
            * invalid gateway x: invalid address
            * invalid subnet /: invalid CIDR block notation"#]],
    );
}

#[test]
fn a_family_that_is_off_is_left_out() {
    let configs = [
        config("subnet=10.0.0.0/24"),
        config("subnet=fd00::1/64 gw=x"),
    ];
    let requests = parse_configs(&configs, |family| family == Family::V4).expect("IPv4 is good");
    assert_eq!(requests.len(), 1);
}
