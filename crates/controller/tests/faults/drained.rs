//! Endpoints that are drained: what may happen meanwhile, and what becomes of one that stays.

use crate::{
    inject::{Effect, Mode},
    scenario::{adopt, connect, create, create_service, disconnect, join, release, remove_service},
    world::World,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use vw_controller::{Controller, command::ServiceInspect};
use vw_model::EndpointMode;
use vw_store::{Change, Table};

/// A host with the service `web`, whose only endpoint is `one`.
fn serving() -> (World, Controller) {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create(&controller, "green", "10.8.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &["80:8080"]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "blue", "one", "web", 1).unwrap();
    (world, controller)
}

/// Who of `web` is led to, and how each is.
fn members(controller: &Controller) -> Vec<(String, bool)> {
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    let members = view.members.into_iter();
    members.map(|m| (m.state.to_string(), m.serves)).collect()
}

#[test]
fn a_sandbox_changes_while_its_endpoint_is_drained() {
    let (world, controller) = serving();
    let other = controller.clone();
    world.faults.while_drained(move || {
        assert_eq!(members(&other), [("draining".to_owned(), false)]);
        connect(&other, "green", "one").unwrap();
    });
    disconnect(&controller, "blue", "one").unwrap();
    world.faults.await_beside();
    assert!(!world.faults.had_to_wait(), "it waited for connections");
    assert_eq!(members(&controller), []);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn a_sandbox_is_released_while_its_endpoint_is_drained() {
    let (world, controller) = serving();
    let other = controller.clone();
    world
        .faults
        .while_drained(move || release(&other, "one").unwrap());
    let gone = disconnect(&controller, "blue", "one").unwrap_err();
    world.faults.await_beside();
    assert!(!world.faults.had_to_wait(), "it waited for connections");
    assert_eq!(gone.reason, "container-not-found", "{}", gone.chain());
    assert_eq!(controller.repair().unwrap(), 0);
    adopt(&controller, &world, "one", &["blue"], &[]).unwrap();
}

#[test]
fn an_endpoint_that_cannot_leave_is_led_to_again() {
    for leave in [
        (|c| disconnect(c, "blue", "one")) as fn(&Controller) -> _,
        |c| release(c, "one"),
    ] {
        let (world, controller) = serving();
        let before = members(&controller);
        let at = |effect: &Effect<'_>| {
            let written = |table| matches!(table, Table::Attachments | Table::Sandboxes);
            matches!(effect, Effect::Change(Change::Put { table, .. }) if written(*table))
        };
        world.faults.beside(at, Mode::Once(1), || {});
        leave(&controller).unwrap_err();
        world.faults.await_beside();
        assert_eq!(members(&controller), before);
        assert_eq!(controller.repair().unwrap(), 0);
        leave(&controller).unwrap();
    }
}

#[test]
fn an_endpoint_that_two_have_leave_stays_drained_where_one_cannot() {
    let (world, controller) = serving();
    let (other, faults) = (controller.clone(), world.faults.clone());
    world.faults.while_drained(move || {
        // After the wait for connections, it cannot be recorded.
        faults.set(Mode::Once(2));
        disconnect(&other, "blue", "one").unwrap_err();
        faults.set(Mode::Never);
        assert_eq!(members(&other), [("draining".to_owned(), false)]);
    });
    release(&controller, "one").unwrap();
    world.faults.await_beside();
    assert_eq!(members(&controller), []);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn a_service_that_is_made_anew_leads_to_no_endpoint_that_is_drained() {
    for stays in [false, true] {
        let (world, controller) = serving();
        let before = members(&controller);
        let (other, faults) = (controller.clone(), world.faults.clone());
        world.faults.while_drained(move || {
            remove_service(&other, "web").unwrap();
            create_service(&other, "web", "blue", EndpointMode::Vip, &["80:8080"]).unwrap();
            assert_eq!(members(&other), [("draining".to_owned(), false)]);
            let record = |effect: &Effect<'_>| matches!(effect, Effect::Change(_));
            let mode = if stays { Mode::Once(1) } else { Mode::Never };
            faults.beside(record, mode, || {});
        });
        let gone = disconnect(&controller, "blue", "one");
        world.faults.await_beside();
        assert_eq!(gone.is_err(), stays);
        let after = if stays { before } else { Vec::new() };
        assert_eq!(members(&controller), after);
        assert_eq!(controller.repair().unwrap(), 0);
    }
}

#[test]
fn nobody_waits_for_connections_to_an_endpoint_that_is_led_to_still() {
    let (world, controller) = serving();
    let waited = Arc::new(AtomicBool::new(false));
    let waits = waited.clone();
    world
        .faults
        .while_drained(move || waits.store(true, Ordering::SeqCst));
    // The order of slots is recorded, then the kernel refuses it.
    world.faults.set(Mode::Once(2));
    release(&controller, "one").unwrap();
    assert!(world.faults.struck());
    assert!(!waited.load(Ordering::SeqCst), "it waited");
    assert_eq!(members(&controller), []);
    assert_eq!(controller.repair().unwrap(), 0);
}
