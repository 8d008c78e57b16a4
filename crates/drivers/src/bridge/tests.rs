//! What bridge networks, endpoints and ports become, and what is refused.

use super::*;
use crate::sample::{endpoint, network, options, pool, shown, shown_attachment};
use expect_test::Expect;
use std::net::SocketAddr;
use vw_model::{Options, PortKey};

mod attachments;
mod networks;
mod refusals;

const V4: &str = "10.0.0.0/24";
const V6: &str = "fd00::/64";

fn cx() -> DriverContext {
    DriverContext::default()
}

fn bridge(subnets: &[&str], given: &[(&str, &str)]) -> NetworkSpec {
    network("bridge", subnets, given)
}

fn planned(network: &NetworkSpec, cx: &DriverContext, expected: Expect) {
    Bridge.validate(network, cx).unwrap();
    expected.assert_eq(&shown(&Bridge.plan_network(network, cx).unwrap()));
}

fn attached(network: &NetworkSpec, endpoint: &EndpointSpec, cx: &DriverContext, expected: Expect) {
    Bridge
        .validate_endpoint(network, &endpoint.settings)
        .unwrap();
    let plan = Bridge.plan_attachment(network, endpoint, cx).unwrap();
    expected.assert_eq(&shown_attachment(&plan));
}

fn published(
    network: &NetworkSpec,
    endpoint: &EndpointSpec,
    ports: &[(&str, &str)],
    cx: &DriverContext,
    expected: Expect,
) {
    let mapping = |(host, container): &(&str, &str)| PortMapping {
        host: host.parse::<SocketAddr>().unwrap(),
        container: container.parse::<PortKey>().unwrap(),
    };
    let mappings: Vec<_> = ports.iter().map(mapping).collect();
    let said = match Bridge.plan_ports(network, endpoint, &mappings, cx) {
        Ok(fragment) => shown(&fragment),
        Err(error) => format!("{}: {error}", error.reason),
    };
    expected.assert_eq(&said);
}

fn refused(network: &NetworkSpec, cx: &DriverContext, expected: Expect) {
    let error = Bridge.validate(network, cx).unwrap_err();
    expected.assert_eq(&format!("{:?} {}: {error}", error.kind, error.reason));
}
