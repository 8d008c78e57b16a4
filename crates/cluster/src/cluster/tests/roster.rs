//! What is read to make a service.

use super::{
    Host, SOON,
    services::{service, small},
};
use vw_model::{Result, ServiceSpec};
use vw_store::cluster::memory::MemoryStore;
use vw_testkit::eventually;

#[test]
fn making_one_more_service_reads_no_others_until_another_host_made_one() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = small(&a, "10.1.0.0/28");
    eventually("b knows the network", SOON, || b.knows(network));
    let make = |host: &Host, n: u16| -> Result<ServiceSpec> {
        let spec = service(network, &format!("s{n}"), n);
        host.cluster.create_service(spec, &[])
    };
    let made: Vec<_> = (1..=200).map(|n| make(&a, n).unwrap()).collect();
    let read = |what: &dyn Fn()| {
        let before = a.client.traffic().records;
        what();
        a.client.traffic().records - before
    };
    let one = read(&|| drop(make(&a, 201).unwrap()));
    assert!(one < 50, "{one} records");
    let renamed = read(&|| {
        let rename = |spec: ServiceSpec| {
            Ok(ServiceSpec {
                name: "other".parse().unwrap(),
                ..spec
            })
        };
        drop(a.cluster.update_service(made[0].id, rename).unwrap());
    });
    assert!(renamed < 50, "{renamed} records");

    // What another host claims holds, and what nobody claims any more is free, at once.
    let others = make(&b, 1000).unwrap();
    assert_eq!(make(&a, 1000).unwrap_err().reason, "service-exists");
    b.cluster.remove_service(others.id).unwrap();
    make(&a, 1000).unwrap();
    b.cluster.remove_service(made[1].id).unwrap();
    make(&a, 2).unwrap();
    assert_eq!(make(&a, 3).unwrap_err().reason, "service-exists");
    let mut taken = service(network, "taken", 201);
    assert_eq!(
        a.cluster
            .create_service(taken.clone(), &[])
            .unwrap_err()
            .reason,
        "port-allocated"
    );
    taken.ports[0].published = 1;
    let refused = a.cluster.create_service(taken, &[]).unwrap_err();
    assert_eq!(
        refused.reason, "port-allocated",
        "it has another name alone"
    );
}
