//! What other versions write, and what they read of this one's.

use super::*;
use crate::RemoteEndpoint;
use serde_json::json;

/// What an endpoint was to services before hosts told [`Unpublished`].
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Former {
    Balancer { unpublished: BTreeSet<PortKey> },
}

fn balancer(ports: &[&str]) -> ServicePart {
    let ports = ports.iter().map(|port| port.parse().expect("a port"));
    ServicePart::Balancer {
        unpublished: ports.collect(),
    }
}

fn endpoint(part: &serde_json::Value) -> RemoteEndpoint {
    let id = "07".repeat(32);
    serde_json::from_value(json!({
        "id": id, "network": id, "host": id, "sandbox": id, "tunnel": "192.0.2.1",
        "mac": "02:00:00:00:00:01", "addresses": [], "names": ["one"], "service": part,
    }))
    .expect("an endpoint")
}

#[test]
fn older_versions_read_a_balancer() {
    for part in [balancer(&[]), balancer(&["80/tcp", "53/udp"])] {
        let text = serde_json::to_string(&part).expect("JSON");
        let Former::Balancer { unpublished } = serde_json::from_str(&text).expect(&text);
        assert_eq!(ServicePart::Balancer { unpublished }, part);
    }
}

#[test]
fn a_balancer_of_any_version_is_read() {
    let read = |part| endpoint(&part).service;
    let ports = json!({"balancer": {"unpublished": ["80/tcp"]}});
    assert_eq!(read(ports), Some(balancer(&["80/tcp"])));
    assert_eq!(read(json!({"balancer": {}})), Some(balancer(&[])));
}

#[test]
fn an_endpoint_is_read_whatever_it_is_to_services() {
    let member =
        |health: &str| json!({"member": {"service": "web", "weight": 1, "health": health}});
    let known = endpoint(&member("healthy"));
    assert!(matches!(known.service, Some(ServicePart::Member { .. })));
    for part in [member("dozing"), json!({"other": 5}), json!(null)] {
        assert_eq!(endpoint(&part).service, None, "{part}");
    }
}
