//! A host of a cluster that does not lead to services: what it tells the others, and how often.

use crate::{
    scenario::{adopt, create_overlay, create_service, join, remove_service},
    world::World,
};
use std::time::Duration;
use vw_controller::{
    Controller,
    command::{ServiceInspect, ServiceList},
};
use vw_hoststate::{Key, Object};
use vw_model::EndpointMode;
use vw_store::cluster::{Change, ClusterStore, memory::MemoryStore};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

/// Two hosts with the network `shop`, of which the second has no way out, and what they share.
fn stage(store: &MemoryStore) -> ([World; 2], [Controller; 2]) {
    let worlds = [World::in_cluster(store, 1), World::in_cluster(store, 2)];
    let no_way = |key: &Key| format!("{key:?}").contains("vw_gwbridge");
    worlds[1].refusing.set_made(Some(no_way));
    let controllers = [worlds[0].open(), worlds[1].open()];
    eventually("the network is made", || {
        create_overlay(&controllers[0], "shop", false, &[]).is_ok()
    });
    (worlds, controllers)
}

/// Which hosts say of `web` that they lack something, with why.
fn lacking(controller: &Controller) -> Vec<(String, &'static str)> {
    lacking_of(controller, "web")
}

fn lacking_of(controller: &Controller, service: &str) -> Vec<(String, &'static str)> {
    let service = service.to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    let lacking = view.unpublished.into_iter();
    lacking.map(|of| (of.host, of.reason)).collect()
}

fn records(store: &MemoryStore, kind: &str) -> usize {
    let prefix = format!("v1/shared/{kind}/");
    let records = store.records();
    let found = records.iter().filter(|r| r.key.starts_with(&prefix));
    found.count()
}

#[test]
fn nobody_hears_of_what_cannot_be_made_whole_nor_of_a_service_that_is_gone() {
    let store = MemoryStore::new();
    let ([_here, there], [a, b]) = stage(&store);
    let (_, mut watch) = store
        .client("watcher")
        .follow("v1/shared/endpoints")
        .unwrap();
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    eventually("the other host says that it does not lead", || {
        lacking(&a).iter().any(|(host, _)| host == "host-2")
    });
    eventually("it tries again", || there.refusing.refused() > 2);
    assert_eq!(lacking(&b), lacking(&a));
    let told = watch.next(Duration::ZERO).unwrap();
    let put = told.into_iter().filter_map(|change| match change {
        Change::Put(record) => Some(record.key),
        Change::Deleted(_) => None,
    });
    let mut keys: Vec<String> = put.collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1, "only one host leads: {keys:?}");
    remove_service(&a, "web").unwrap();
    eventually("it lacks nothing any more", || {
        records(&store, "unpublished") == 0
    });
}

#[test]
fn of_a_service_whose_rules_are_refused_alone_it_is_said_that_a_host_does_not_lead_there() {
    let store = MemoryStore::new();
    let ([here, there], [a, b]) = stage(&store);
    let of_db = |key: &Key| matches!(key, Key::Balance(..)) && format!("{key:?}").contains("9090");
    there.refusing.set_made(Some(of_db));
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    create_service(&a, "db", "shop", EndpointMode::Vip, &["9090:90"]).unwrap();
    for (name, service) in [("one", "web"), ("two", "db")] {
        adopt(&a, &here, name, &[], &[]).unwrap();
        join(&a, "shop", name, service, 1).unwrap();
    }
    let why = "the host does not lead to the service: see its log";
    let unled = [("host-2".to_owned(), why)];
    for host in [&a, &b] {
        eventually("the one that cannot be led to is named", || {
            lacking_of(host, "db") == unled
        });
    }
    eventually("it tries again", || there.refusing.refused() > 2);
    let led = || {
        let objects = there.kernel.objects().into_values();
        let led = objects.filter_map(|object| match object {
            Object::Balance(_, element) => Some(element.to_string()),
            _ => None,
        });
        led.filter(|line| line.starts_with("port4_slots { tcp . 8080"))
            .count()
    };
    eventually("the other is led to", || led() == 1);
    for host in [&a, &b] {
        assert_eq!(lacking(host), []);
        assert_eq!(lacking_of(host, "db"), unled);
    }
    there.refusing.set_made(None);
    for host in [&a, &b] {
        eventually("all is well", || lacking_of(host, "db").is_empty());
    }
    assert_eq!(b.repair().unwrap(), 0);
}

#[test]
fn of_ports_that_cannot_be_published_it_is_not_said_that_a_host_does_not_lead() {
    let store = MemoryStore::new();
    let ([_here, there], [a, b]) = stage(&store);
    there.refusing.set_made(Some(|key: &Key| {
        matches!(key, Key::Port(..)) && format!("{key:?}").contains("8080")
    }));
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    create_service(&a, "db", "shop", EndpointMode::Vip, &[]).unwrap();
    eventually("the other host knows both", || {
        b.submit(ServiceList).unwrap().len() == 2
    });
    let why = "it could not be done: see the host's log";
    let lacks = [("host-2".to_owned(), why)];
    for host in [&a, &b] {
        eventually("the port is named", || lacking(host) == lacks);
        let service = "web".to_owned();
        let view = host.submit(ServiceInspect { service }).unwrap();
        assert_eq!(view.unpublished[0].vips, [], "it is led to");
        assert_eq!(lacking_of(host, "db"), []);
    }
    eventually("it tries again", || there.refusing.refused() > 2);
    there.refusing.set_made(None);
    for host in [&a, &b] {
        eventually("all is well", || lacking(host).is_empty());
    }
    assert_eq!(b.repair().unwrap(), 0);
}

#[test]
fn a_record_of_the_run_before_goes_with_the_first_look() {
    let store = MemoryStore::new();
    let ([_here, there], [a, b]) = stage(&store);
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    eventually("it is told", || records(&store, "unpublished") == 1);
    drop(b);
    remove_service(&a, "web").unwrap();
    assert_eq!(records(&store, "unpublished"), 1);
    let _b = there.open();
    eventually("it is told no more", || records(&store, "unpublished") == 0);
}

#[test]
fn a_host_without_rules_says_so() {
    let store = MemoryStore::new();
    let (here, mut there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
    there.iptables = false;
    let (a, b) = (here.open(), there.open());
    eventually("the network is made", || {
        create_overlay(&a, "shop", false, &[]).is_ok()
    });
    create_service(&a, "web", "shop", EndpointMode::Vip, &[]).unwrap();
    crate::led::update(&a, &[], &[], &["8080:80"]).unwrap();
    adopt(&b, &there, "one", &[], &[]).unwrap();
    let joins = || join(&b, "shop", "one", "web", 1).is_ok();
    eventually("the network and the service are known", joins);
    eventually("the port says why it is not published", || {
        let mut lacking = lacking(&a).into_iter();
        lacking.any(|of| of == ("host-2".to_owned(), "the host makes no rules"))
    });
}
