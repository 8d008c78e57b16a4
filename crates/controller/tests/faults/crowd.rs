//! Many requests side by side, with comparisons among them: nobody waits for ever, and nothing
//! stands or is missing afterwards that should not.

use crate::{
    scenario::{adopt, connect, create, disconnect, release},
    world::World,
};
use std::{
    fs,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};
use vw_controller::{
    Controller,
    command::{ContainerList, Info, NetworkList, NetworkPrune, NetworkRemove},
};

/// Requests take microseconds; who needs this long waits for somebody who waits for him.
const PATIENCE: Duration = Duration::from_secs(60);

const SANDBOXES: usize = 4;
const ROUNDS: usize = 40;

/// One sandbox's life, again and again.
fn live(controller: &Controller, world: &World, name: &str) {
    for _ in 0..ROUNDS {
        adopt(controller, world, name, &["blue"], &["80"]).unwrap();
        connect(controller, "green", name).unwrap();
        disconnect(controller, "blue", name).unwrap();
        connect(controller, "blue", name).unwrap();
        release(controller, name).unwrap();
    }
}

/// Networks that come and go, beside those in use.
fn make_and_prune(controller: &Controller) {
    let network = "red".to_owned();
    let prune = NetworkPrune {
        until: None,
        labels: vec![("none has it".to_owned(), None)],
        not_labels: Vec::new(),
    };
    for _ in 0..ROUNDS {
        create(controller, &network, "10.9.0.0/24").unwrap();
        controller.submit(prune.clone()).unwrap();
        let network = network.clone();
        controller.submit(NetworkRemove { network }).unwrap();
    }
}

/// What only looks, and what compares the kernel with what is wanted.
fn look(controller: &Controller) {
    for _ in 0..ROUNDS {
        controller.submit(NetworkList).unwrap();
        controller.submit(ContainerList).unwrap();
        controller.submit(Info).unwrap();
        assert_eq!(
            controller.repair().unwrap(),
            0,
            "a comparison met a change halfway"
        );
    }
}

#[test]
fn a_crowd_neither_blocks_nor_leaves_anything() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create(&controller, "green", "10.8.0.0/24").unwrap();
    let before = world.picture(&controller);
    let names: Vec<String> = (0..SANDBOXES).map(|number| format!("s{number}")).collect();
    for name in &names {
        fs::write(world.folder.join(name), "").unwrap();
    }
    let (done, waiting) = channel::<()>();
    thread::scope(|scope| {
        let (controller, world) = (&controller, &world);
        for name in &names {
            let done = done.clone();
            scope.spawn(move || {
                live(controller, world, name);
                drop(done);
            });
        }
        let (making, looking) = (done.clone(), done);
        scope.spawn(move || {
            make_and_prune(controller);
            drop(making);
        });
        scope.spawn(move || {
            look(controller);
            drop(looking);
        });
        // Nobody sends: the channel closes when the last has ended.
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            eprintln!("some wait for each other: the test cannot end");
            std::process::abort();
        }
    });
    let after = world.picture(&controller);
    assert!(after == before, "{}", after.against("before", &before));
}
