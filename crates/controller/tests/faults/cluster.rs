//! Hosts of a cluster, one of whose kernels refuses.

use crate::{
    global::create,
    scenario::{adopt, disconnect},
    world::World,
};
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use vw_controller::{Controller, command::NetworkInspect};
use vw_hoststate::Key;
use vw_store::cluster::memory::MemoryStore;

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until it is so, on another thread: one that waits for ever fails the test too.
fn eventually(what: &str, controller: &Controller, holds: fn(&Controller) -> bool) {
    let (tell, told) = mpsc::channel();
    let controller = controller.clone();
    thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        while !holds(&controller) && Instant::now() < until {
            thread::yield_now();
        }
        // Nobody listens once the time is over.
        let _ = tell.send(holds(&controller));
    });
    assert_eq!(told.recv_timeout(2 * PATIENCE), Ok(true), "{what}");
}

fn members(controller: &Controller) -> Option<usize> {
    let network = "shop".to_owned();
    let shop = controller.submit(NetworkInspect { network }).ok()?;
    Some(shop.members.len())
}

#[test]
fn what_a_kernel_would_not_let_go_holds_up_nothing_that_other_hosts_tell() {
    let store = MemoryStore::new();
    let (here, there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
    let (a, b) = (here.open(), there.open());
    eventually("the network is made", &a, |a| {
        create(a).is_ok() || members(a).is_some()
    });
    eventually("the other host has it", &b, |b| members(b).is_some());
    adopt(&a, &here, "one", &["shop"], &[]).unwrap();
    let links = || {
        let objects = here.kernel.objects().into_keys();
        objects.filter(|key| matches!(key, Key::Link(..)))
    };
    let before: Vec<Key> = links().collect();
    adopt(&a, &here, "two", &["shop"], &[]).unwrap();
    here.refusing.set(links().find(|key| !before.contains(key)));
    disconnect(&a, "shop", "two").unwrap_err();
    here.refusing.set(None);
    adopt(&b, &there, "one", &["shop"], &[]).unwrap();
    eventually("what the other host tells is taken in", &a, |a| {
        members(a) == Some(2)
    });
    disconnect(&a, "shop", "one").unwrap();
    adopt(&a, &here, "three", &["shop"], &[]).unwrap();
    assert_eq!(a.repair().unwrap(), 0);
}

#[test]
fn what_is_adopted_comes_back_to_a_cluster_that_a_daemon_had_left() {
    let store = MemoryStore::new();
    let here = World::in_cluster(&store, 1);
    let a = here.open();
    eventually("the network is made", &a, |a| {
        create(a).is_ok() || members(a).is_some()
    });
    adopt(&a, &here, "one", &["shop"], &[]).unwrap();
    drop(a);
    here.await_end(PATIENCE);
    let outside = here.open_outside();
    assert_eq!(members(&outside), None);
    let a = here.reopen(outside);
    eventually("it is back", &a, |a| members(a) == Some(1));
    assert_eq!(a.repair().unwrap(), 0);
}
