//! Services of a host's own network that the kernel could not be brought to, and nothing changes after.

use crate::{
    inject::{Effect, Mode},
    scenario::{adopt, connect, create, create_service, disconnect, join, remove_service},
    world::World,
};
use std::time::Duration;
use vw_controller::Controller;
use vw_firewall::{Datum, Entry, ServiceSet, SetName};
use vw_hoststate::Object;
use vw_model::EndpointMode;
use vw_store::{Change, Table};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host with the service `web`, whose only endpoint is `one`.
fn serving() -> (World, Controller) {
    let world = World::new();
    let controller = world.open();
    create(&controller, "aside", "10.6.0.0/24").unwrap();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &["80:8080"]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "blue", "one", "web", 1).unwrap();
    (world, controller)
}

fn is_slot(object: &Object) -> bool {
    let slots = SetName::Service(ServiceSet::Slots(Entry::Port4));
    matches!(object, Object::Element(element) if element.set == slots)
}

/// Where a port of a service leads.
fn led_to(world: &World) -> Vec<Datum> {
    let objects = world.kernel.objects().into_values();
    let slots = objects.filter(is_slot).filter_map(|object| match object {
        Object::Element(element) => element.value.into_iter().next(),
        _ => None,
    });
    slots.collect()
}

fn is_made(effect: &Effect<'_>) -> bool {
    matches!(effect, Effect::Step(step) if is_slot(step.object()))
}

fn is_recorded(effect: &Effect<'_>) -> bool {
    let put = |change: &Change| {
        matches!(
            change,
            Change::Put {
                table: Table::Slots,
                ..
            }
        )
    };
    matches!(effect, Effect::Change(change) if put(change))
}

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

#[test]
fn an_endpoint_that_stays_is_led_to_in_the_end() {
    for again in [is_recorded, is_made] {
        let (world, controller) = serving();
        let before = led_to(&world);
        assert_eq!(before.len(), 1);
        // It cannot be recorded that it leaves, and then it is not taken up at once.
        let leaves = |effect: &Effect<'_>| {
            matches!(
                effect,
                Effect::Change(Change::Put {
                    table: Table::Attachments,
                    ..
                })
            )
        };
        let faults = world.faults.clone();
        world.faults.beside(leaves, Mode::Once(1), move || {
            faults.beside(again, Mode::Once(1), || {});
        });
        disconnect(&controller, "blue", "one").unwrap_err();
        world.faults.await_beside();
        assert!(world.faults.struck(), "it was taken up at once");
        eventually("it is led to", || led_to(&world) == before);
        assert_eq!(controller.repair().unwrap(), 0);
        disconnect(&controller, "blue", "one").unwrap();
        assert_eq!(led_to(&world), []);
    }
}

#[test]
fn clients_are_led_by_the_new_way_out_in_the_end() {
    let (world, controller) = serving();
    world.faults.beside(is_made, Mode::Once(1), || {});
    connect(&controller, "aside", "one").unwrap();
    world.faults.await_beside();
    assert!(world.faults.struck(), "it was led there at once");
    let aside = Datum::V4([10, 6, 0, 2].into());
    eventually("it is led there by it", || {
        led_to(&world) == [aside.clone()]
    });
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn a_service_that_was_to_be_brought_again_is_removed_for_good() {
    let (world, controller) = serving();
    world.refusing.set_made(Some(|key| {
        let slots = SetName::Service(ServiceSet::Slots(Entry::Port4));
        matches!(key, vw_hoststate::Key::Port(set, _) if *set == slots)
    }));
    connect(&controller, "aside", "one").unwrap();
    eventually("it is tried again", || world.refusing.refused() > 2);
    remove_service(&controller, "web").unwrap();
    world.refusing.set_made(None);
    assert_eq!(led_to(&world), []);
    assert_eq!(controller.repair().unwrap(), 0);
    drop(controller);
    assert_eq!(led_to(&world), []);
}

#[test]
fn a_port_stays_taken_while_what_led_by_it_stands() {
    let (world, controller) = serving();
    // With the last service its table would go, and all that is in it.
    create_service(&controller, "other", "blue", EndpointMode::Vip, &[]).unwrap();
    let mut objects = world.kernel.objects().into_iter();
    let slot = objects.find(|(_, object)| is_slot(object));
    world.refusing.set(slot.map(|(key, _)| key));
    remove_service(&controller, "web").unwrap();
    assert_ne!(led_to(&world), [], "it leads there still");
    let again = || create_service(&controller, "db", "blue", EndpointMode::Vip, &["80:8080"]);
    assert_eq!(again().unwrap_err().reason, "port-allocated");
    world.refusing.set(None);
    controller.repair().unwrap();
    assert_eq!(led_to(&world), []);
    again().unwrap();
}
