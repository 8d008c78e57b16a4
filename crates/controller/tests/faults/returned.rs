//! What a host publishes that was given up while its daemon was away, once it is back.

use crate::{
    led::{held, lacking, update},
    scenario::{
        adopt, create_overlay, create_service, join, release, remove_network, remove_service,
    },
    world::World,
};
use std::{collections::BTreeSet, time::Duration};
use vw_controller::{
    Controller,
    command::{ClusterForget, ServiceInspect},
};
use vw_hoststate::Key;
use vw_model::{EndpointMode, Protocol};
use vw_store::cluster::memory::MemoryStore;

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

/// How many endpoints `web` has.
fn members(controller: &Controller) -> usize {
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    view.members.len()
}

/// What stands on a host, but the way out, which stays once it was asked for.
fn keys(world: &World) -> BTreeSet<Key> {
    let keys = world.kernel.objects().into_keys();
    keys.filter(|key| !format!("{key:?}").contains("vw_gwbridge"))
        .collect()
}

/// How many records hosts have written of what they lack.
fn told(store: &MemoryStore) -> usize {
    let records = store.records();
    let told = records.iter();
    told.filter(|record| record.key.starts_with("v1/shared/unpublished/"))
        .count()
}

fn stranger(world: &World, port: u16, has: bool) {
    let at = ([0, 0, 0, 0], port).into();
    match has {
        true => world.kernel.occupy(Protocol::Tcp, at),
        false => world.kernel.vacate(Protocol::Tcp, at),
    }
}

#[test]
fn a_host_that_was_given_up_publishes_what_is_asked_for_once_it_is_back_and_leaves_nothing() {
    let store = MemoryStore::new();
    let (here, there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
    let (a, b) = (here.open(), there.open());
    eventually("the other host is known", || {
        keys(&there)
            .iter()
            .any(|key| matches!(key, Key::Forward(..)))
    });
    let before = keys(&there);
    drop(b);
    there.await_end(PATIENCE);
    eventually("the network is made", || {
        create_overlay(&a, "shop", false, &[]).is_ok()
    });
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    update(&a, &[], &[], &["8081:81"]).unwrap();
    stranger(&there, 8080, true);
    let b = there.open();
    adopt(&b, &there, "one", &[], &[]).unwrap();
    eventually("an endpoint is there", || {
        join(&b, "shop", "one", "web", 1).is_ok()
    });
    eventually("the other host publishes what it can", || {
        held(&there) == [8081] && lacking(&a) == [8080]
    });
    there.kill();
    drop(b);
    there.await_end(PATIENCE);
    there.lose_store();
    let host = "host-2".to_owned();
    let forget = ClusterForget { host };
    eventually("it is given up", || a.submit(forget.clone()).is_ok());
    eventually("it is said to lack nothing", || lacking(&a).is_empty());
    assert_eq!(told(&store), 0);
    // It hears of none of this.
    adopt(&a, &here, "two", &["shop"], &[]).unwrap();
    update(&a, &["80"], &["8082:82", "8083:83"], &[]).unwrap();
    stranger(&there, 8080, false);
    stranger(&there, 8082, true);
    there.client().cut(false);
    let b = there.open();
    for host in [&a, &b] {
        eventually("it publishes what it can", || {
            held(&there) == [8081, 8083] && lacking(host) == [8082]
        });
        eventually("its endpoint is back", || members(host) == 1);
    }
    stranger(&there, 8082, false);
    eventually("and the rest once it is free", || {
        held(&there) == [8081, 8082, 8083] && lacking(&a).is_empty() && told(&store) == 0
    });
    eventually("all is as it should be", || {
        a.repair().unwrap() == 0 && b.repair().unwrap() == 0
    });
    ends([&a, &b], &there, &before);
    let b = there.reopen(b);
    assert_eq!(b.repair().unwrap(), 0);
    assert_eq!(keys(&there), before);
}

/// Ends all that there is, of which nothing is left on the second host.
#[track_caller]
fn ends([a, b]: [&Controller; 2], there: &World, before: &BTreeSet<Key>) {
    release(a, "two").unwrap();
    release(b, "one").unwrap();
    remove_service(a, "web").unwrap();
    eventually("the network goes", || remove_network(a, "shop").is_ok());
    vw_testkit::poll(PATIENCE, || {
        (held(there).is_empty() && keys(there) == *before).then_some(())
    });
    assert_eq!(held(there), [0; 0]);
    assert_eq!(keys(there), *before);
}
