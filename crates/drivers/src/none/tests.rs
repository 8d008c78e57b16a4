//! The one network of this driver plans nothing, and there is no second.

use super::*;
use crate::sample::{endpoint, network, options};
use expect_test::{Expect, expect};

fn refused(network: &NetworkSpec, expected: Expect) {
    let error = Null.validate(network, &DriverContext::default());
    expected.assert_eq(&error.unwrap_err().message);
}

#[test]
fn nothing_is_planned() {
    let cx = DriverContext::default();
    let mut network = network("null", &[], &[("label", "kept")]);
    network.predefined = true;
    Null.validate(&network, &cx).unwrap();
    assert!(Null.plan_network(&network, &cx).unwrap().is_empty());
    let endpoint = endpoint(&network, &[]);
    let plan = Null.plan_attachment(&network, &endpoint, &cx).unwrap();
    assert_eq!(plan, AttachmentPlan::default());
    assert!(Null.default_hosts(&network, &cx).is_empty());
}

#[test]
fn refusals() {
    let mut network = network("null", &[], &[("com.docker.network.driver.mtu", "1400")]);
    refused(
        &network,
        expect![[r#"only one instance of "null" network is allowed"#]],
    );
    network.predefined = true;
    refused(
        &network,
        expect![
            "unknown option com.docker.network.driver.mtu for the driver null: it has none of that kind"
        ],
    );
    let settings = EndpointSettings {
        driver_opts: options(&[("com.docker.network.endpoint.ifname", "x")]),
        ..EndpointSettings::default()
    };
    let error = Null.validate_endpoint(&network, &settings).unwrap_err();
    assert_eq!(error.reason, "option-unknown");
}

#[test]
fn ports_are_refused() {
    let network = network("null", &[], &[]);
    let mapping = vw_model::PortMapping {
        host: ([0, 0, 0, 0], 8080).into(),
        container: "80/tcp".parse().unwrap(),
    };
    let (cx, endpoint) = (DriverContext::default(), endpoint(&network, &[]));
    assert!(
        Null.plan_ports(&network, &endpoint, &[], &cx)
            .unwrap()
            .is_empty()
    );
    let error = Null
        .plan_ports(&network, &endpoint, &[mapping], &cx)
        .unwrap_err();
    expect!["network web cannot publish 80/tcp on 0.0.0.0:8080: publish it on a network and over an IP version that has rules of ours"].assert_eq(&error.message);
}
