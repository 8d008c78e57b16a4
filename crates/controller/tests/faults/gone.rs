//! What was removed stays removed, whoever found it before and waited for its lock.

use crate::{
    inject::{Effect, Mode},
    scenario::{
        adopt, create, create_container, create_overlay, create_service, disconnect, join,
        remove_container, remove_service,
    },
    world::World,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};
use vw_controller::{
    Controller,
    command::{
        ContainerList, ContainerRename, Info, ServiceInspect, ServiceList, ServiceReport,
        ServiceUpdate,
    },
};
use vw_firewall::SetName;
use vw_hoststate::Object;
use vw_model::{Affinity, EndpointMode, HealthSpec, Result};
use vw_store::{Change, Table, cluster::memory::MemoryStore};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// As a record is deleted.
fn deletes(table: Table) -> impl Fn(&Effect<'_>) -> bool + Send {
    move |effect| matches!(effect, Effect::Change(Change::Delete { table: of, .. }) if *of == table)
}

/// As a record is written.
fn writes(table: Table) -> impl Fn(&Effect<'_>) -> bool + Send {
    move |effect| matches!(effect, Effect::Change(Change::Put { table: of, .. }) if *of == table)
}

/// Has somebody ask for something, and tells what is answered.
fn ask_beside(
    world: &World,
    at: impl Fn(&Effect<'_>) -> bool + Send + 'static,
    ask: impl FnOnce() -> Result<()> + Send + 'static,
) -> Receiver<Result<()>> {
    let (answer, answers) = channel();
    // Who does not wait for the answer any more has failed already.
    world
        .faults
        .beside(at, Mode::Never, move || drop(answer.send(ask())));
    answers
}

#[track_caller]
fn refused(world: &World, answers: &Receiver<Result<()>>, reason: &str) {
    world.faults.await_beside();
    let refusal = answers.recv().expect("it was asked").unwrap_err();
    assert_eq!(refusal.reason, reason, "{}", refusal.chain());
}

/// A host with the service `web`, which asks its only endpoint, `one`, hardly ever.
fn serving() -> (World, Controller) {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &["80:8080"]).unwrap();
    let hour = Duration::from_secs(3600);
    let health = HealthSpec {
        probe: "http:8080".parse().unwrap(),
        interval: hour,
        timeout: hour,
        retries: 1,
        start_period: hour,
    };
    let update = ServiceUpdate {
        service: "web".to_owned(),
        health: Some(Some(health)),
        ..ServiceUpdate::default()
    };
    controller.submit(update).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "blue", "one", "web", 1).unwrap();
    (world, controller)
}

#[track_caller]
fn no_service(world: &World, controller: Controller) {
    let elements = || {
        let objects = world.kernel.objects().into_values();
        let of_service = |object: &Object| matches!(object, Object::Element(element) if matches!(element.set, SetName::Service(_)));
        objects.filter(of_service).collect::<Vec<_>>()
    };
    assert_eq!(elements(), []);
    assert_eq!(controller.repair().unwrap(), 0);
    drop(controller);
    let controller = world.open();
    let services = controller.submit(ServiceList).unwrap();
    assert!(services.is_empty(), "it is back after a start");
    assert_eq!(elements(), []);
    create_service(&controller, "api", "blue", EndpointMode::Vip, &["80:80"]).unwrap();
}

#[test]
fn an_update_that_waited_for_the_removal_brings_no_service_back() {
    let (world, controller) = serving();
    let other = controller.clone();
    let answers = ask_beside(&world, deletes(Table::Services), move || {
        other.submit(ServiceUpdate {
            service: "web".to_owned(),
            affinity: Some(Affinity::Client),
            ..ServiceUpdate::default()
        })?;
        Ok(())
    });
    remove_service(&controller, "web").unwrap();
    refused(&world, &answers, "service-not-found");
    no_service(&world, controller);
}

#[test]
fn a_second_removal_frees_nothing_of_others() {
    let (world, controller) = serving();
    let other = controller.clone();
    let answers = ask_beside(&world, deletes(Table::Services), move || {
        remove_service(&other, "web")
    });
    remove_service(&controller, "web").unwrap();
    refused(&world, &answers, "service-not-found");
    no_service(&world, controller);
}

#[test]
fn a_report_that_waited_for_the_removal_leads_to_nobody() {
    let (world, controller) = serving();
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    let endpoint = view.members[0].endpoint;
    let written = Arc::<AtomicBool>::default();
    let (faults, other, wrote) = (world.faults.clone(), controller.clone(), written.clone());
    let answers = ask_beside(&world, deletes(Table::Services), move || {
        // The first effect of a report that has one.
        let note = move || wrote.store(true, Ordering::SeqCst);
        faults.beside(writes(Table::Slots), Mode::Never, note);
        other.submit(ServiceReport {
            endpoint,
            probe: "http:8080".parse()?,
            well: true,
        })
    });
    remove_service(&controller, "web").unwrap();
    world.faults.await_beside();
    answers.recv().unwrap().unwrap();
    assert!(!written.load(Ordering::SeqCst), "it has slots again");
    no_service(&world, controller);
}

#[test]
fn a_disconnect_that_waited_for_the_removal_writes_no_container_again() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_container(&controller, "box").unwrap();
    let other = controller.clone();
    let answers = ask_beside(&world, deletes(Table::Containers), move || {
        disconnect(&other, "blue", "box")
    });
    remove_container(&controller, "box").unwrap();
    refused(&world, &answers, "container-not-found");
    drop(controller);
    let controller = world.open();
    assert!(controller.submit(ContainerList).unwrap().is_empty());
}

#[test]
fn a_rename_that_waited_for_the_removal_takes_no_name() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_container(&controller, "box").unwrap();
    let other = controller.clone();
    let answers = ask_beside(&world, deletes(Table::Containers), move || {
        other.submit(ContainerRename {
            container: "box".to_owned(),
            name: "bin".parse()?,
        })
    });
    remove_container(&controller, "box").unwrap();
    refused(&world, &answers, "container-not-found");
    for name in ["box", "bin"] {
        create_container(&controller, name).unwrap();
    }
}

#[test]
fn an_endpoint_that_leaves_is_named_no_more_by_who_saw_it() {
    let store = MemoryStore::new();
    let world = World::in_cluster(&store, 1);
    let controller = world.open();
    let made = vw_testkit::poll(PATIENCE, || {
        create_overlay(&controller, "shop", true, &[]).ok()
    });
    assert!(made.is_some(), "the network is not made");
    create_service(&controller, "web", "shop", EndpointMode::Dnsrr, &[]).unwrap();
    let stay: Vec<String> = (0..12).map(|number| format!("stays{number}")).collect();
    for name in &stay {
        std::fs::write(world.folder.join(name), "").unwrap();
        adopt(&controller, &world, name, &[], &[]).unwrap();
        join(&controller, "shop", name, "web", 1).unwrap();
    }
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    thread::scope(|scope| {
        // Each update names all members anew.
        scope.spawn(|| {
            for round in 0..150 {
                let update = ServiceUpdate {
                    service: "web".to_owned(),
                    drain: Some(Duration::from_millis(round % 2)),
                    ..ServiceUpdate::default()
                };
                controller.submit(update).unwrap();
            }
        });
        for _ in 0..150 {
            join(&controller, "shop", "one", "web", 1).unwrap();
            disconnect(&controller, "shop", "one").unwrap();
        }
    });
    let told = || {
        let records = store.records().into_iter();
        let endpoints = records.filter(|record| record.key.contains("/endpoints/"));
        endpoints.count()
    };
    vw_testkit::eventually("those who left are known no more", PATIENCE, || {
        told() == stay.len()
    });
}

#[test]
fn nothing_is_wanted_of_one_that_leaves_in_a_namespace_that_is_gone() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &[]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "blue", "one", "web", 1).unwrap();
    let id = world.sandbox_id(&controller, "one").parse().unwrap();
    let (kernel, other) = (world.kernel.clone(), controller.clone());
    // Between the endpoint's leaving and what it wants: it could not be retired, and is taken out of
    // its service only then.
    let (is_slots, written) = (writes(Table::Slots), AtomicUsize::new(0));
    let again =
        move |effect: &Effect<'_>| is_slots(effect) && written.fetch_add(1, Ordering::SeqCst) == 1;
    let (done, told) = channel();
    world.faults.beside(again, Mode::Never, move || {
        kernel.vanish(id);
        other.repair().unwrap();
        done.send(()).expect("somebody waits");
    });
    world.faults.set(Mode::Once(1));
    // What it leaves is gone already, or goes.
    let _ = disconnect(&controller, "blue", "one");
    world.faults.await_beside();
    told.recv().expect("it was between the two");
    let warnings = controller.submit(Info).unwrap().warnings;
    let refused = warnings.iter().find(|text| text.contains("cannot repair"));
    assert_eq!(refused, None);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn what_leads_to_services_is_made_again_where_its_namespace_is_taken_away() {
    let world = World::in_cluster(&MemoryStore::new(), 1);
    let controller = world.open();
    vw_testkit::eventually("the network is made", PATIENCE, || {
        create_overlay(&controller, "shop", false, &[]).is_ok()
    });
    create_service(&controller, "web", "shop", EndpointMode::Vip, &["80:8080"]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "shop", "one", "web", 1).unwrap();
    let leads = || {
        let objects = world.kernel.objects().into_values();
        let leads = objects.filter_map(|object| match object {
            Object::Balance(sandbox, element) => Some((sandbox, element)),
            _ => None,
        });
        leads.collect::<Vec<_>>()
    };
    let before = leads();
    let (lost, _) = before[0];
    world.kernel.vanish(lost);
    assert_eq!(leads(), []);
    controller.repair().unwrap();
    vw_testkit::eventually("it leads as before", PATIENCE, || {
        let now = leads().into_iter();
        now.map(|(sandbox, element)| {
            assert_ne!(sandbox, lost);
            element
        })
        .eq(before.iter().map(|(_, element)| element.clone()))
    });
    disconnect(&controller, "shop", "one").unwrap();
    join(&controller, "shop", "one", "web", 1).unwrap();
    vw_testkit::eventually("all is as it should be", PATIENCE, || {
        controller.repair().unwrap() == 0
    });
}
