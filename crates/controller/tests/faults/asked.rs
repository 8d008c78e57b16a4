//! Endpoints that are asked whether they are well: which answers count, and what of them does not wait
//! for what lasts.

use crate::{
    inject::{Effect, Mode},
    scenario::{adopt, create, create_service, join},
    world::World,
};
use std::time::Duration;
use vw_controller::{
    Controller,
    command::{HealthTimes, ServiceInspect, ServiceReport, ServiceUpdate},
};
use vw_model::{EndpointId, EndpointMode, HealthSpec, Probe};

/// A host that cannot ask any endpoint, with the service `web`.
fn stage() -> (World, Controller) {
    let world = World::new();
    world.refusing.refuse_checks();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "blue", EndpointMode::Vip, &["80:8080"]).unwrap();
    for name in ["one", "two"] {
        adopt(&controller, &world, name, &[], &[]).unwrap();
    }
    (world, controller)
}

/// Has the endpoints of `web` be asked so, ever so rarely.
fn ask_by(controller: &Controller, probe: &str) {
    let hour = Duration::from_secs(3600);
    ask(
        controller,
        HealthSpec {
            probe: probe.parse().unwrap(),
            interval: hour,
            timeout: hour,
            retries: 1000,
            start_period: hour,
        },
    );
}

fn ask(controller: &Controller, health: HealthSpec) {
    let update = ServiceUpdate {
        service: "web".to_owned(),
        health: Some(Some(health)),
        ..ServiceUpdate::default()
    };
    controller.submit(update).unwrap();
}

/// The endpoints of `web`, how each is, and whether it is led to.
fn members(controller: &Controller) -> Vec<(EndpointId, &'static str, bool)> {
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    let members = view.members.into_iter();
    members.map(|m| (m.endpoint, m.state, m.serves)).collect()
}

#[test]
fn an_answer_to_a_former_check_says_nothing_of_the_new_one() {
    let (_world, controller) = stage();
    ask_by(&controller, "tcp:80");
    join(&controller, "blue", "one", "web", 1).unwrap();
    let [(endpoint, "starting", false)] = *members(&controller) else {
        panic!("{:?}", members(&controller));
    };
    let report = |probe: &str, well| {
        let probe = probe.parse().unwrap();
        let report = ServiceReport {
            endpoint,
            probe,
            well,
        };
        controller.submit(report).unwrap();
        let [(_, state, _)] = *members(&controller) else {
            panic!("{:?}", members(&controller));
        };
        state
    };
    assert_eq!(report("tcp:80", true), "healthy");
    ask_by(&controller, "http:80/ready");
    assert_eq!(report("tcp:80", false), "healthy");
    assert_eq!(report("http:80/ready", false), "unhealthy");
    // At other times it is the same check.
    let update = ServiceUpdate {
        service: "web".to_owned(),
        times: HealthTimes {
            interval: Some(Duration::from_secs(1800)),
            ..HealthTimes::default()
        },
        ..ServiceUpdate::default()
    };
    controller.submit(update).unwrap();
    assert_eq!(report("http:80/ready", true), "healthy");
}

#[test]
fn who_failed_before_a_restart_is_sick_until_it_passes_a_check() {
    let (world, controller) = stage();
    ask_by(&controller, "tcp:80");
    for name in ["one", "two"] {
        join(&controller, "blue", name, "web", 1).unwrap();
    }
    let [(endpoint, ..), (other, ..)] = members(&controller)[..] else {
        panic!("{:?}", members(&controller));
    };
    let report = |controller: &Controller, well| {
        let probe = "tcp:80".parse().unwrap();
        let report = ServiceReport {
            endpoint,
            probe,
            well,
        };
        controller.submit(report).unwrap();
    };
    let mut controller = controller;
    for (before, state) in [
        (&[false][..], "unhealthy"),
        (&[true, false], "unhealthy"),
        (&[true], "healthy"),
    ] {
        before.iter().for_each(|well| report(&controller, *well));
        let known = [
            (endpoint, state, state == "healthy"),
            (other, "starting", false),
        ];
        assert_eq!(members(&controller), known);
        drop(controller);
        controller = world.open();
        assert_eq!(members(&controller), known);
    }
}

#[test]
fn what_a_host_cannot_ask_is_taken_for_sick_by_nobody() {
    let (world, controller) = stage();
    let often = Duration::from_millis(1);
    let probe: Probe = "tcp:80".parse().unwrap();
    ask(
        &controller,
        HealthSpec {
            probe: probe.clone(),
            interval: often,
            timeout: often,
            retries: 1,
            start_period: Duration::ZERO,
        },
    );
    join(&controller, "blue", "one", "web", 1).unwrap();
    let [(endpoint, "starting", false)] = *members(&controller) else {
        panic!("{:?}", members(&controller));
    };
    let report = ServiceReport {
        endpoint,
        probe,
        well: true,
    };
    controller.submit(report).unwrap();
    vw_testkit::eventually("it tries again", Duration::from_secs(20), || {
        world.refusing.refused() > 2
    });
    assert_eq!(members(&controller), [(endpoint, "healthy", true)]);
}

#[test]
fn nobody_waits_with_one_that_comes_until_frames_reach_it() {
    let (world, controller) = stage();
    join(&controller, "blue", "one", "web", 1).unwrap();
    let other = controller.clone();
    let waited = |effect: &Effect<'_>| matches!(effect, Effect::Frames);
    world.faults.beside(waited, Mode::Never, move || {
        // Whoever asks endpoints waits for the same lock.
        assert_eq!(members(&other).len(), 1);
    });
    join(&controller, "blue", "two", "web", 1).unwrap();
    let waited = world.faults.had_to_wait();
    world.faults.await_beside();
    assert!(!waited, "it waited for frames");
    assert!(members(&controller).iter().all(|(.., serves)| *serves));
}
