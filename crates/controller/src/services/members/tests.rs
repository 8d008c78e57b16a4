//! What is told of an endpoint is what it is when it is told.

use super::*;
use crate::{
    sample::{bytes, guest, network, standing},
    services::{Member, Roster, Service},
};
use std::{time::Duration, time::SystemTime};
use vw_model::{Affinity, MemberHealth, ServiceId, ServiceSpec};

const ONE: EndpointId = EndpointId::from_bytes([7; 32]);

/// The service `web`, whose only endpoint is [`ONE`].
fn web() -> Arc<Service> {
    let network = standing(network("blue", &["10.7.0.0/24"]));
    let spec = ServiceSpec {
        id: ServiceId::from_bytes(bytes("web")),
        name: "web".parse().expect("a name"),
        network: network.spec.id,
        created: SystemTime::UNIX_EPOCH,
        mode: EndpointMode::Vip,
        vips: Vec::new(),
        ports: Vec::new(),
        affinity: Affinity::default(),
        drain: Duration::ZERO,
        health: None,
        labels: Options::new(),
    };
    let member = Member {
        host: None,
        sandbox: guest(),
        name: "one".to_owned(),
        addresses: Vec::new(),
        weight: 1,
        health: MemberHealth::Healthy,
    };
    let state = ServiceState {
        spec,
        roster: Roster::default().with(ONE, member),
        claims: Default::default(),
        hosted: Default::default(),
        owed: Vec::new(),
        sick_before: Default::default(),
        removed: false,
    };
    Arc::new(Service {
        id: state.spec.id,
        network,
        state: Mutex::new(state),
    })
}

fn spec_of(service: &Service) -> vw_model::ServiceSpec {
    lock(&service.state).spec.clone()
}

#[test]
fn nobody_changes_what_is_being_told() {
    let service = web();
    let mut book = Book::default();
    book.add(&spec_of(&service), service.clone());
    book.join(ONE, service.id);
    let mut told = 0;
    tell_member(&Mutex::new(book), ONE, |role| {
        told += 1;
        let part = role.part.as_ref();
        assert!(matches!(part, Some(ServicePart::Member { health, .. }) if health.serves()));
        assert_eq!(role.names, ["tasks.web"]);
        assert!(service.state.try_lock().is_err(), "it may change meanwhile");
    });
    assert_eq!(told, 1);
}

#[test]
fn one_that_came_to_a_service_meanwhile_is_told_of_again() {
    let service = web();
    let book = Mutex::new(Book::default());
    lock(&book).add(&spec_of(&service), service.clone());
    let mut told = Vec::new();
    tell_member(&book, ONE, |role| {
        told.push(role.part.is_some());
        lock(&book).join(ONE, service.id);
    });
    assert_eq!(told, [false, true]);
}

#[test]
fn a_name_is_warned_of_only_where_no_network_has_the_service() {
    let service = web();
    let mut book = Book::default();
    book.add(&spec_of(&service), service.clone());
    let named = |name: &str| Options::from([(SERVICE_KEY.to_owned(), name.to_owned())]);
    let (web, gone, none) = (named("web"), named("gone"), Options::new());
    let blue = service.network.spec.id;
    let other = NetworkId::from_bytes(bytes("other"));
    let all: [(&[_], _, &[&str]); 7] = [
        (&[(blue, &none)], &web, &[]),
        // All say by themselves in what they are: the label is that of none, and true.
        (&[(blue, &web)], &web, &[]),
        (&[(blue, &gone)], &web, &["gone"]),
        (&[(blue, &web), (other, &none)], &none, &[]),
        (&[(other, &none)], &web, &["web"]),
        (&[(blue, &gone), (other, &gone)], &gone, &["gone"]),
        (&[], &none, &[]),
    ];
    for (endpoints, labels, expected) in all {
        let found = named_in_vain(&book, endpoints, labels);
        assert!(
            found.iter().eq(expected),
            "{endpoints:?}, {labels:?}: {found:?}"
        );
    }
}
