//! What a change of one service has a host look at: that service, and none of the others.

use crate::{
    scenario::{adopt, create_overlay, create_service, disconnect, join},
    world::World,
};
use std::{net::SocketAddr, time::Duration};
use vw_controller::Controller;
use vw_kernel::{HostFacts, Kernel};
use vw_model::{EndpointMode, Protocol};
use vw_store::cluster::memory::MemoryStore;

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

const OTHERS: u16 = 8;
const CHANGES: usize = 40;

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

/// A host with an address, on the network `shop`, with the sandbox `one` and the service `web`, and
/// others that publish a port each at that address.
fn stage() -> (World, Controller) {
    let world = World::in_cluster(&MemoryStore::new(), 1);
    world.kernel.set_facts(HostFacts {
        boot_id: "this boot".to_owned(),
        default_mtu: 1500,
        ephemeral_ports: (40000, 50000),
        addresses: vec![("eth0".to_owned(), "192.0.2.1/24".parse().unwrap())],
        ..HostFacts::default()
    });
    let controller = world.open();
    eventually("the network is made", || {
        create_overlay(&controller, "shop", false, &[]).is_ok()
    });
    let vip = EndpointMode::Vip;
    create_service(&controller, "web", "shop", vip, &[]).unwrap();
    for number in 0..OTHERS {
        let port = format!("192.0.2.1:{}:80", 8080 + number);
        create_service(&controller, &format!("s{number}"), "shop", vip, &[&port]).unwrap();
    }
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    (world, controller)
}

fn is_held(world: &World, addr: &str) -> bool {
    let addr: SocketAddr = addr.parse().unwrap();
    world.kernel.claimed().contains(&(Protocol::Tcp, addr))
}

/// Waits until nobody asks for the host's addresses any more; how often it was asked for them.
#[track_caller]
fn once_quiet(world: &World) -> usize {
    let mut last = usize::MAX;
    eventually("nobody looks any more", || {
        let before = std::mem::replace(&mut last, world.faults.addresses_read());
        before == last
    });
    last
}

#[test]
fn who_joins_one_service_has_the_ports_of_no_other_looked_at() {
    let (world, controller) = stage();
    // It keeps what leads to services here, whoever comes and goes.
    eventually("all is published", || is_held(&world, "192.0.2.1:8087"));
    let before = once_quiet(&world);
    for _ in 0..CHANGES {
        join(&controller, "shop", "one", "web", 1).unwrap();
        disconnect(&controller, "shop", "one").unwrap();
    }
    let looks = once_quiet(&world) - before;
    // What was under way before may have gone on.
    assert!(
        looks <= 4,
        "{CHANGES} endpoints came and went: {looks} looks"
    );
    // One that asks for something is heard.
    create_service(
        &controller,
        "last",
        "shop",
        EndpointMode::Vip,
        &["192.0.2.1:9090:80"],
    )
    .unwrap();
    eventually("it is published", || is_held(&world, "192.0.2.1:9090"));
    assert_eq!(controller.repair().unwrap(), 0);
}

/// Has the host have these addresses from now on, as it is told of.
fn has(world: &World, controller: &Controller, addresses: &[&str]) {
    let addresses = addresses.iter();
    let on_wire = |addr: &&str| ("eth0".to_owned(), addr.parse().unwrap());
    world.kernel.set_facts(HostFacts {
        addresses: addresses.map(on_wire).collect(),
        ..world.kernel.facts().unwrap()
    });
    controller.addresses_changed();
}

#[test]
fn an_address_that_no_service_names_has_nothing_looked_at() {
    let (world, controller) = stage();
    eventually("all is published", || is_held(&world, "192.0.2.1:8087"));
    has(&world, &controller, &["192.0.2.1/24"]);
    let before = once_quiet(&world);
    for number in 1..=CHANGES {
        let other = format!("198.51.100.{number}/24");
        has(&world, &controller, &["192.0.2.1/24", &other]);
    }
    assert_eq!(once_quiet(&world) - before, 0);
    // One that services name is another matter, whatever else comes and goes with it.
    has(&world, &controller, &["198.51.100.1/24"]);
    eventually("nothing is published", || {
        !is_held(&world, "192.0.2.1:8087")
    });
    has(&world, &controller, &["192.0.2.1/24"]);
    eventually("all is published again", || {
        is_held(&world, "192.0.2.1:8080") && is_held(&world, "192.0.2.1:8087")
    });
    assert_eq!(controller.repair().unwrap(), 0);
}
