//! The one network of each of these drivers plans nothing, and there is no second.

use super::*;
use crate::sample::{endpoint, network, options};
use expect_test::{Expect, expect};

const BOTH: [Single; 2] = [HOST, NULL];

/// What both say, each under its own name.
fn both_say(said: impl Fn(&Single) -> String, expected: Expect) {
    let said = BOTH.map(|driver| said(&driver));
    expected.assert_eq(&said.join("\n"));
}

#[test]
fn nothing_is_planned() {
    let cx = DriverContext::default();
    for driver in BOTH {
        let mut network = network(driver.name, &[], &[("label", "kept")]);
        network.predefined = true;
        driver.validate(&network, &cx).unwrap();
        assert!(driver.plan_network(&network, &cx).unwrap().is_empty());
        let endpoint = endpoint(&network, &[]);
        let plan = driver.plan_attachment(&network, &endpoint, &cx).unwrap();
        assert_eq!(plan, AttachmentPlan::default());
        assert!(driver.default_hosts(&network, &cx).is_empty());
    }
}

#[test]
fn they_differ_in_where_an_endpoint_lies() {
    assert_eq!(HOST.capabilities().place, Place::Host);
    assert_eq!(NULL.capabilities().place, Place::Alone);
}

#[test]
fn refusals() {
    let options_of = |driver: &Single| {
        network(
            driver.name,
            &[],
            &[("com.docker.network.driver.mtu", "1400")],
        )
    };
    let validated = |driver: &Single, network: &NetworkSpec| {
        let refused = driver.validate(network, &DriverContext::default());
        refused.unwrap_err().message
    };
    both_say(
        |driver| validated(driver, &options_of(driver)),
        expect![[r#"
            only one instance of "host" network is allowed
            only one instance of "null" network is allowed"#]],
    );
    both_say(
        |driver| {
            let mut network = options_of(driver);
            network.predefined = true;
            validated(driver, &network)
        },
        expect![[r#"
            unknown option com.docker.network.driver.mtu for the driver host: it has none of that kind
            unknown option com.docker.network.driver.mtu for the driver null: it has none of that kind"#]],
    );
    let settings = EndpointSettings {
        driver_opts: options(&[("com.docker.network.endpoint.ifname", "x")]),
        ..EndpointSettings::default()
    };
    for driver in BOTH {
        let network = network(driver.name, &[], &[]);
        let error = driver.validate_endpoint(&network, &settings).unwrap_err();
        assert_eq!(error.reason, "option-unknown");
    }
}

#[test]
fn ports_are_refused() {
    let mapping = vw_model::PortMapping {
        host: ([0, 0, 0, 0], 8080).into(),
        container: "80/tcp".parse().unwrap(),
    };
    let cx = DriverContext::default();
    for driver in BOTH {
        let network = network(driver.name, &[], &[]);
        let endpoint = endpoint(&network, &[]);
        let none = driver.plan_ports(&network, &endpoint, &[], &cx).unwrap();
        assert!(none.is_empty());
        let refused = driver.plan_ports(&network, &endpoint, &[mapping], &cx);
        expect!["network web cannot publish 80/tcp on 0.0.0.0:8080: publish it on a network and over an IP version that has rules of ours"].assert_eq(&refused.unwrap_err().message);
    }
}
