//! A kernel that goes on refusing one thing: the rest of the host does not pay for it.

use crate::{
    global::{Scene, create as create_shop},
    scenario::{adopt, connect, create, disconnect, release},
    world::{OVERLAY, World},
};
use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};
use vw_controller::{Controller, command::Connect};
use vw_hoststate::{Key, Netns};
use vw_model::{EndpointSettings, Result};
use vw_store::{Change, Table};

/// What takes longer never comes.
const SOON: Duration = Duration::from_secs(60);

/// A host with three sandboxes on one network, and a refusal to remove what the first has.
fn refusing(world: &World) -> Controller {
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create(&controller, "green", "10.8.0.0/24").unwrap();
    adopt(&controller, world, "one", &["blue"], &["8080:80"]).unwrap();
    let last = link_of(world, || connect(&controller, "green", "one"));
    adopt(&controller, world, "two", &["blue"], &[]).unwrap();
    world.refusing.set(last);
    controller
}

/// A link that comes with an endpoint.
fn link_of(world: &World, come: impl FnOnce() -> Result<()>) -> Option<Key> {
    let links = || {
        let objects = world.kernel.objects().into_keys();
        objects.filter(|key| matches!(key, Key::Link(..)))
    };
    let before: Vec<Key> = links().collect();
    come().unwrap();
    links().find(|key| !before.contains(key))
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

fn connect_at(controller: &Controller, network: &str, sandbox: &str, addr: &str) -> Result<()> {
    let addr: Ipv4Addr = addr.parse().unwrap();
    controller.submit(Connect {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        settings: EndpointSettings {
            ipv4: Some(addr),
            ..EndpointSettings::default()
        },
    })
}

#[test]
fn an_address_is_given_to_nobody_while_a_refusal_over_a_restart_keeps_it() {
    let world = World::new();
    let controller = refusing(&world);
    disconnect(&controller, "green", "one").unwrap_err();
    let controller = world.reopen(controller);
    let theirs = "10.8.0.2";
    connect_at(&controller, "green", "two", theirs).expect_err("it stands still");
    // However often it is started.
    let controller = world.reopen(controller);
    connect_at(&controller, "green", "two", theirs).expect_err("it stands still");
    world.refusing.set(None);
    let given = vw_testkit::poll(SOON, || {
        connect(&controller, "blue", "one").ok();
        connect_at(&controller, "green", "two", theirs).ok()
    });
    given.expect("it is free once nothing stands");
    let controller = world.reopen(controller);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn nor_to_another_host() {
    let scene = Scene::of(World::in_cluster);
    let (here, kernel) = (&scene.here, &scene.here.kernel);
    vw_testkit::eventually("the network is made", SOON, || {
        create_shop(&scene.a()).is_ok()
    });
    // The network stays for it.
    adopt(&scene.a(), here, "two", &["shop"], &[]).unwrap();
    let ours = || -> BTreeSet<String> {
        let objects = kernel.objects().into_keys();
        let addresses = objects.filter_map(|key| match key {
            Key::Address(Netns::Sandbox(_), _, net) => Some(net.addr().to_string()),
            _ => None,
        });
        addresses.filter(|addr| addr.starts_with(OVERLAY)).collect()
    };
    let before = ours();
    let link = link_of(here, || adopt(&scene.a(), here, "one", &["shop"], &[]));
    let addr = ours()
        .difference(&before)
        .next()
        .expect("it has one")
        .clone();
    here.refusing.set(link);
    disconnect(&scene.a(), "shop", "one").unwrap_err();
    scene.restart();
    adopt(&scene.b, &scene.there, "one", &[], &[]).unwrap();
    let theirs = || connect_at(&scene.b, "shop", "one", &addr);
    assert_eq!(theirs().unwrap_err().reason, "address-in-use");
    here.refusing.set(None);
    vw_testkit::eventually("it is free once nothing stands", SOON, || {
        scene.a().repair().is_ok() && theirs().is_ok()
    });
}
