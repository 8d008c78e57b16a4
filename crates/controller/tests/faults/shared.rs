//! What several owners share: who takes it away, or cannot have it, while another comes for it.

use crate::{
    inject::{Effect, Mode},
    scenario::{adopt, connect, create_overlay_on, disconnect},
    world::World,
};
use std::time::Duration;
use vw_controller::Controller;
use vw_hoststate::{Key, LinkKind, Object, Step};
use vw_store::cluster::memory::MemoryStore;

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host with two networks that share the guard of the tunnels' port, and a sandbox for each.
fn stage() -> (World, Controller) {
    let world = World::in_cluster(&MemoryStore::new(), 1);
    let controller = world.open();
    for (name, subnet) in [("shop", "10.42.0.0/24"), ("mall", "10.43.0.0/24")] {
        let made = vw_testkit::poll(PATIENCE, || {
            create_overlay_on(&controller, name, subnet, true, &[]).ok()
        });
        assert!(made.is_some(), "network {name} is not made");
    }
    for name in ["one", "two"] {
        adopt(&controller, &world, name, &[], &[]).unwrap();
    }
    (world, controller)
}

fn guards(key: &Key) -> bool {
    format!("{key:?}").contains("TunnelPorts")
}

fn is_guarded(world: &World) -> bool {
    world.kernel.objects().keys().any(guards)
}

#[test]
fn who_comes_for_what_is_being_taken_away_has_it() {
    let (world, controller) = stage();
    connect(&controller, "shop", "one").unwrap();
    assert!(is_guarded(&world));
    let other = controller.clone();
    let at = |effect: &Effect<'_>| matches!(effect, Effect::Step(step @ Step::Delete(_)) if guards(&step.key()));
    world.faults.beside(at, Mode::Never, move || {
        connect(&other, "mall", "two").unwrap();
    });
    disconnect(&controller, "shop", "one").unwrap();
    world.faults.await_beside();
    assert!(is_guarded(&world), "the port of the tunnels is open");
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn who_comes_for_what_another_cannot_keep_has_it() {
    let (world, controller) = stage();
    let other = controller.clone();
    // The guard stands by then, and goes again with all else.
    let at = |effect: &Effect<'_>| match effect {
        Effect::Step(Step::Create(Object::Link(link))) => matches!(link.kind, LinkKind::Vxlan(_)),
        _ => false,
    };
    world.faults.beside(at, Mode::Once(1), move || {
        connect(&other, "mall", "two").unwrap();
    });
    connect(&controller, "shop", "one").unwrap_err();
    world.faults.await_beside();
    assert!(is_guarded(&world), "the port of the tunnels is open");
    assert_eq!(controller.repair().unwrap(), 0);
}
