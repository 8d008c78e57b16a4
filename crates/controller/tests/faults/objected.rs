//! A port of a service that another host of the cluster has.

use crate::{
    scenario::{asked, create, create_overlay, create_service, published, remove_service},
    world::World,
};
use std::{thread, time::Duration};
use vw_controller::{
    Controller,
    command::{NetworkList, ServiceInspect, ServiceList, ServiceUpdate},
    view::ServiceView,
};
use vw_model::{EndpointMode, Result};
use vw_store::cluster::memory::MemoryStore;
use vw_testkit::poll;

const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

/// Two hosts with a network, the second of which has port 8080 for a service of its own.
fn hosts() -> [(World, Controller); 2] {
    let store = MemoryStore::new();
    let [here, there] = [1, 2].map(|number| {
        let mut world = World::in_cluster(&store, number);
        world.hears_out = Duration::from_secs(2);
        let controller = world.open();
        (world, controller)
    });
    eventually("the network is made", || {
        create_overlay(&here.1, "shop", false, &[]).is_ok()
    });
    eventually("the other host knows it", || {
        let networks = there.1.submit(NetworkList).unwrap();
        networks
            .iter()
            .any(|network| network.spec.name.as_str() == "shop")
    });
    create(&there.1, "blue", "10.7.0.0/24").unwrap();
    create_service(&there.1, "own", "blue", EndpointMode::Vip, &["8080:80"]).unwrap();
    [here, there]
}

fn ask(controller: &Controller) -> Result<()> {
    create_service(controller, "web", "shop", EndpointMode::Vip, &["8080:80"])
}

fn web(controller: &Controller) -> Option<ServiceView> {
    let service = "web".to_owned();
    controller.submit(ServiceInspect { service }).ok()
}

fn update(controller: &Controller, asked: ServiceUpdate) -> Result<Vec<String>> {
    let service = "web".to_owned();
    controller.submit(ServiceUpdate { service, ..asked })
}

fn names(controller: &Controller) -> Vec<String> {
    let services = controller.submit(ServiceList).unwrap().into_iter();
    services
        .map(|service| service.spec.name.to_string())
        .collect()
}

fn holds(world: &World) -> bool {
    let claimed = world.kernel.claimed();
    claimed.iter().any(|(_, addr)| addr.port() == 8080)
}

#[test]
fn a_port_that_another_host_has_is_refused_and_nothing_is_left() {
    let [(here, a), (_there, b)] = hosts();
    // The other host may not be known yet.
    let refused = poll(PATIENCE, || match ask(&a) {
        Ok(()) => {
            remove_service(&a, "web").unwrap();
            None
        }
        Err(refused) => Some(refused),
    });
    let refused = refused.expect("it is refused");
    assert_eq!(refused.reason, "port-allocated", "{}", refused.chain());
    assert!(
        refused.message.contains("8080/tcp on host"),
        "{}",
        refused.message
    );
    assert!(names(&a).is_empty());
    eventually("nothing is left there", || names(&b) == ["own"]);
    eventually("nor here", || !holds(&here));
    assert_eq!(a.repair().unwrap(), 0);
}

#[test]
fn a_port_that_another_host_gives_back_meanwhile_is_not_refused() {
    let [(_here, a), (there, b)] = hosts();
    let is_lacking = || web(&a).is_some_and(|web| !web.unpublished.is_empty());
    let made = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&a));
        eventually("the other host has said so", || {
            is_lacking() || asking.is_finished()
        });
        remove_service(&b, "own").unwrap();
        asking.join().unwrap()
    });
    made.unwrap();
    eventually("it is published on every host", || {
        !is_lacking() && holds(&there)
    });
}

#[test]
fn what_others_change_of_a_service_meanwhile_stays_where_its_port_is_refused() {
    let [(_here, a), (_there, b)] = hosts();
    create_service(&a, "web", "shop", EndpointMode::Vip, &[]).unwrap();
    let drain = Some(Duration::from_secs(77));
    let refused = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let publish = published("8080:80").unwrap();
            update(
                &a,
                ServiceUpdate {
                    publish,
                    ..ServiceUpdate::default()
                },
            )
        });
        eventually("the other host hears of the port", || {
            let ports = web(&b).is_some_and(|web| !web.spec.ports.is_empty());
            ports || asking.is_finished()
        });
        update(
            &b,
            ServiceUpdate {
                drain,
                ..ServiceUpdate::default()
            },
        )
        .unwrap();
        asking.join().unwrap()
    });
    let refused = refused.unwrap_err();
    assert_eq!(refused.reason, "port-allocated", "{}", refused.chain());
    assert!(
        !refused.message.contains("taken back"),
        "{}",
        refused.message
    );
    eventually("the port is gone, and nothing else", || {
        [&a, &b].into_iter().all(|host| {
            web(host).is_some_and(|web| web.spec.ports.is_empty() && Some(web.spec.drain) == drain)
        })
    });
}

#[test]
fn a_service_that_others_change_while_its_port_is_refused_stands_and_says_where_it_is_not() {
    let [(_here, a), (_there, b)] = hosts();
    let refused = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let request = asked("web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
            a.submit(request)
        });
        let change = || {
            let drain = Some(Duration::from_secs(77));
            update(
                &b,
                ServiceUpdate {
                    drain,
                    ..ServiceUpdate::default()
                },
            )
        };
        eventually("the other host changes it", || {
            change().is_ok() || asking.is_finished()
        });
        asking.join().unwrap()
    });
    let warnings = refused.unwrap().warnings;
    assert!(warnings[0].contains("changed meanwhile"), "{warnings:?}");
    assert!(warnings[1].contains("8080/tcp not on host"), "{warnings:?}");
    assert_eq!(names(&a), ["web"]);
}

#[test]
fn an_update_that_the_store_takes_half_of_tells_which_half() {
    let [(here, a), (_there, b)] = hosts();
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8081:81"]).unwrap();
    let ports = |controller: &Controller| {
        let ports = web(controller).map(|web| web.spec.ports);
        let ports = ports.into_iter().flatten();
        ports.map(|port| port.published).collect::<Vec<_>>()
    };
    let failed = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let publish = published("8082:82").unwrap();
            let unpublish = vec!["81".to_owned().try_into().unwrap()];
            update(
                &a,
                ServiceUpdate {
                    publish,
                    unpublish,
                    ..ServiceUpdate::default()
                },
            )
        });
        eventually("the other host hears of the port", || {
            ports(&b) == [8081, 8082] || asking.is_finished()
        });
        here.client().cut(true);
        asking.join().unwrap()
    });
    let failed = failed.unwrap_err();
    let told = "the service asks for 8082/tcp still";
    assert!(failed.message.contains(told), "{}", failed.chain());
    here.client().cut(false);
    eventually("it does, and for what was to go", || {
        ports(&a) == [8081, 8082] && ports(&b) == [8081, 8082]
    });
}
