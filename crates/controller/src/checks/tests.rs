//! What is refused of an endpoint, in Docker's words.

use super::settings;
use crate::sample::{network, standing};
use expect_test::{Expect, expect};
use vw_model::{EndpointSettings, NetworkSpec};

fn check(spec: NetworkSpec, asked: EndpointSettings, expected: &Expect) {
    let answer = match settings(&standing(spec), &asked) {
        Ok(()) => "accepted".to_owned(),
        Err(error) => format!("{:?} {}: {}", error.kind, error.reason, error.message),
    };
    expected.assert_eq(&answer);
}

fn blue() -> NetworkSpec {
    network("blue", &["10.1.0.0/24"])
}

fn at(addr: &str) -> EndpointSettings {
    let addr: std::net::IpAddr = addr.parse().unwrap();
    let mut asked = EndpointSettings::default();
    match addr {
        std::net::IpAddr::V4(addr) => asked.ipv4 = Some(addr),
        std::net::IpAddr::V6(addr) => asked.ipv6 = Some(addr),
    }
    asked
}

#[test]
fn nothing_asked_and_an_address_inside_are_accepted() {
    check(blue(), EndpointSettings::default(), &expect!["accepted"]);
    check(blue(), at("10.1.0.9"), &expect!["accepted"]);
}

#[test]
fn an_address_must_lie_in_a_subnet_that_was_given() {
    check(
        blue(),
        at("10.2.0.9"),
        &expect![[r#"
        InvalidArgument endpoint-settings-invalid: invalid config for network blue: invalid endpoint settings:
        no configured subnet or ip-range contain the IP address 10.2.0.9"#]],
    );
    check(
        blue(),
        at("fd00::9"),
        &expect![[r#"
        InvalidArgument endpoint-settings-invalid: invalid config for network blue: invalid endpoint settings:
        user specified IP address is supported only when connecting to networks with user configured subnets"#]],
    );
    let mut chosen = blue();
    chosen.ipam.pools[0].given = false;
    check(
        chosen,
        at("10.1.0.9"),
        &expect![[r#"
        InvalidArgument endpoint-settings-invalid: invalid config for network blue: invalid endpoint settings:
        user specified IP address is supported only when connecting to networks with user configured subnets"#]],
    );
}

#[test]
fn predefined_networks_take_neither_addresses_nor_aliases() {
    let mut predefined = blue();
    predefined.predefined = true;
    check(
        predefined.clone(),
        at("10.1.0.9"),
        &expect![[r#"
        InvalidArgument endpoint-settings-invalid: invalid config for network blue: invalid endpoint settings:
        user specified IP address is supported on user defined networks only"#]],
    );
    let alias = EndpointSettings {
        aliases: vec!["db".to_owned()],
        ..EndpointSettings::default()
    };
    check(
        predefined,
        alias,
        &expect![
            "InvalidArgument alias-on-predefined: network-scoped alias is supported only for containers in user defined networks"
        ],
    );
}

#[test]
fn a_link_layer_address_must_be_one_of_a_host() {
    let multicast = EndpointSettings {
        mac: Some("01:00:5e:00:00:01".parse().unwrap()),
        ..EndpointSettings::default()
    };
    check(
        blue(),
        multicast,
        &expect![[r#"
        InvalidArgument endpoint-settings-invalid: invalid config for network blue: invalid endpoint settings:
        invalid MAC address: it is a multicast or an empty one"#]],
    );
    let link_local = EndpointSettings {
        link_local: vec!["169.254.1.1".parse().unwrap()],
        ..EndpointSettings::default()
    };
    check(
        blue(),
        link_local,
        &expect![[r#"
        InvalidArgument endpoint-settings-invalid: invalid config for network blue: invalid endpoint settings:
        a link-local address (169.254.1.1) is not supported: leave out --link-local-ip"#]],
    );
}
