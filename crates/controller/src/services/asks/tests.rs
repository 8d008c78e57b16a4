//! What is asked for, as services come, change and go.

use super::Asks;
use std::time::{Duration, SystemTime};
use vw_model::{
    Affinity, EndpointMode, NetworkId, PublishMode, PublishedPort, ServiceId, ServiceSpec,
};

const SHOP: NetworkId = NetworkId(vw_model::Id::from_bytes([1; 32]));

/// A service with these addresses, and with its port 80 published so.
fn service(number: u8, vips: &[&str], modes: &[PublishMode]) -> ServiceSpec {
    let port = |mode: &PublishMode| PublishedPort {
        host: None,
        published: 8000 + u16::from(number),
        target: "80".to_owned().try_into().unwrap(),
        mode: *mode,
        prefer: Default::default(),
    };
    ServiceSpec {
        id: ServiceId::from_bytes([number; 32]),
        name: format!("s{number}").parse().unwrap(),
        network: SHOP,
        created: SystemTime::UNIX_EPOCH,
        mode: EndpointMode::Vip,
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        ports: modes.iter().map(port).collect(),
        affinity: Affinity::None,
        drain: Duration::ZERO,
        health: None,
        labels: Default::default(),
    }
}

#[test]
fn what_is_asked_of_a_network_follows_its_services() {
    let mut asks = Asks::default();
    let asked = |asks: &Asks| {
        let on = asks.on(SHOP);
        (on.services, on.near, on.everywhere)
    };
    assert!(asks.is_empty());
    asks.put(&service(1, &["10.0.0.9/24"], &[]));
    asks.put(&service(2, &[], &[PublishMode::Host]));
    asks.put(&service(3, &[], &[PublishMode::Ingress]));
    asks.put(&service(4, &[], &[]));
    assert_eq!(asked(&asks), (4, 2, 1));
    // Changed, and told again as it is.
    asks.put(&service(2, &[], &[PublishMode::Ingress]));
    asks.put(&service(2, &[], &[PublishMode::Ingress]));
    assert_eq!(asked(&asks), (4, 1, 2));
    assert_eq!(
        asks.on(NetworkId(vw_model::Id::from_bytes([2; 32])))
            .services,
        0
    );
    for number in 1..=4 {
        asks.remove(&service(number, &[], &[]));
    }
    asks.remove(&service(1, &[], &[]));
    assert_eq!(asked(&asks), (0, 0, 0));
    assert!(asks.is_empty());
}
