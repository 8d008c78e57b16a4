//! A kernel that goes on refusing one thing: the rest of the host does not pay for it.

use crate::{
    scenario::{adopt, connect, create, disconnect, release},
    world::World,
};
use vw_controller::Controller;
use vw_hoststate::Key;
use vw_store::{Change, Table};

/// A host with three sandboxes on one network, and a refusal to remove what the first has.
fn refusing(world: &World) -> Controller {
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create(&controller, "green", "10.8.0.0/24").unwrap();
    adopt(&controller, world, "one", &["blue"], &["8080:80"]).unwrap();
    let links = || {
        let objects = world.kernel.objects().into_keys();
        objects.filter(|key| matches!(key, Key::Link(..)))
    };
    let before: Vec<Key> = links().collect();
    connect(&controller, "green", "one").unwrap();
    let last = links().find(|key| !before.contains(key));
    adopt(&controller, world, "two", &["blue"], &[]).unwrap();
    world.refusing.set(last);
    controller
}

#[test]
fn changes_do_not_compare_all_while_a_refusal_lasts() {
    let world = World::new();
    let controller = refusing(&world);
    disconnect(&controller, "green", "one").unwrap_err();
    let before = world.refusing.comparisons();
    for _ in 0..200 {
        connect(&controller, "green", "two").unwrap();
        disconnect(&controller, "green", "two").unwrap();
    }
    let compared = world.refusing.comparisons() - before;
    assert!(compared <= 12, "400 changes compared all {compared} times");
    // Who asks for it again has it tried again, however many changes have passed.
    disconnect(&controller, "green", "one").unwrap_err();
    world.refusing.set(None);
    disconnect(&controller, "green", "one").unwrap();
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn what_was_refused_goes_with_later_changes_by_itself() {
    let world = World::new();
    let controller = refusing(&world);
    disconnect(&controller, "green", "one").unwrap_err();
    world.refusing.set(None);
    for _ in 0..4 {
        connect(&controller, "green", "two").unwrap();
        disconnect(&controller, "green", "two").unwrap();
    }
    assert_eq!(controller.repair().unwrap(), 0, "it stood still");
    connect(&controller, "green", "one").unwrap();
}

#[test]
fn who_removes_something_else_does_not_hear_of_a_refusal() {
    let world = World::new();
    let controller = refusing(&world);
    disconnect(&controller, "green", "one").unwrap_err();
    release(&controller, "two").unwrap();
    disconnect(&controller, "blue", "one").unwrap();
}

/// Another's change may come in the midst of one to the sandbox, whose lock it does not hold.
#[test]
fn forgetting_what_was_refused_writes_no_sandboxs_record() {
    let world = World::new();
    let controller = refusing(&world);
    disconnect(&controller, "green", "one").unwrap_err();
    world.refusing.set(None);
    world.noted();
    adopt(&controller, &world, "three", &["blue"], &[]).unwrap();
    let noted = world.noted();
    let forgotten = |change: &Change| {
        matches!(
            change,
            Change::Delete {
                table: Table::Attachments,
                ..
            }
        )
    };
    assert!(
        noted.iter().any(forgotten),
        "nothing was forgotten: {noted:?}"
    );
    let one = world.sandbox_id(&controller, "one");
    let written = |change: &&Change| matches!(change, Change::Put { table: Table::Sandboxes, key, .. } if *key == one);
    assert_eq!(noted.iter().filter(written).count(), 0);
}
