//! Every effect of what is done to services of a network that spans hosts fails once, from then on,
//! or is the last before a restart: on the host that is asked, and on one that hears of it.

use crate::{
    global::{Operation, Scene, Then, sweep_all},
    inject::{Mode, Whose},
    scenario::{adopt, create_overlay, disconnect, join},
    world::World,
};
use std::time::Duration;
use vw_controller::{
    Controller,
    command::{Publication, ServiceCreate, ServiceRemove, ServiceUpdate},
};
use vw_model::{Affinity, EndpointMode, PortRequest, Preference, PublishMode, Result};

const INGRESS: (PublishMode, Preference) = (PublishMode::Ingress, Preference::None);
const HOST: (PublishMode, Preference) = (PublishMode::Host, Preference::None);
const LOCAL: (PublishMode, Preference) = (PublishMode::Ingress, Preference::Local);

fn ports(asked: &[(&str, (PublishMode, Preference))]) -> Result<Vec<Publication>> {
    let mut ports = Vec::new();
    for (text, (mode, prefer)) in asked {
        let (mode, prefer) = (*mode, *prefer);
        let parsed = PortRequest::parse(text)?.into_iter();
        ports.extend(parsed.map(|port| Publication { port, mode, prefer }));
    }
    Ok(ports)
}

/// A service whose ports are published in every way, and whose endpoints leave slowly.
fn create(controller: &Controller) -> Result<()> {
    let request = ServiceCreate {
        name: "web".parse()?,
        network: "shop".to_owned(),
        mode: EndpointMode::Vip,
        ports: ports(&[("8080:80", INGRESS), ("8081:81", HOST), ("8082:82", LOCAL)])?,
        affinity: Affinity::None,
        drain: Duration::from_secs(1),
        health: None,
        labels: Default::default(),
    };
    controller.submit(request).map(drop)
}

fn remove(controller: &Controller) -> Result<()> {
    let service = "web".to_owned();
    controller.submit(ServiceRemove { service })
}

/// Publishes each port in another way.
fn update(controller: &Controller) -> Result<()> {
    let next = [("8080:80", HOST), ("8081:81", LOCAL), ("8083:83", INGRESS)];
    change(controller, &next, &["80", "81", "82"], Affinity::Client)
}

fn update_back(controller: &Controller) -> Result<()> {
    let next = [("8080:80", INGRESS), ("8081:81", HOST), ("8082:82", LOCAL)];
    change(controller, &next, &["80", "81", "83"], Affinity::None)
}

fn change(
    controller: &Controller,
    next: &[(&str, (PublishMode, Preference))],
    gone: &[&str],
    affinity: Affinity,
) -> Result<()> {
    let gone = gone.iter().map(|port| (*port).to_owned().try_into());
    controller.submit(ServiceUpdate {
        service: "web".to_owned(),
        publish: ports(next)?,
        unpublish: gone.collect::<Result<_>>()?,
        affinity: Some(affinity),
        ..ServiceUpdate::default()
    })?;
    Ok(())
}

fn network(s: &Scene) -> Result<()> {
    create_overlay(&s.a(), "shop", false, &[])
}

fn service(s: &Scene) -> Result<()> {
    create(&s.a())
}

fn removed(s: &Scene) -> Result<()> {
    remove(&s.a())
}

fn here(s: &Scene) -> Result<()> {
    adopt(&s.a(), &s.here, "one", &[], &[])
}

fn there(s: &Scene) -> Result<()> {
    adopt(&s.b, &s.there, "one", &[], &[])
}

fn joins_here(s: &Scene) -> Result<()> {
    join(&s.a(), "shop", "one", "web", 2)
}

fn joins_there(s: &Scene) -> Result<()> {
    join(&s.b, "shop", "one", "web", 2)
}

fn leaves_here(s: &Scene) -> Result<()> {
    disconnect(&s.a(), "shop", "one")
}

fn leaves_there(s: &Scene) -> Result<()> {
    disconnect(&s.b, "shop", "one")
}

/// Those of whoever is asked, and of the threads that do what follows from it.
const ASKED: &[Whose] = &[Whose::Request, Whose::Balance, Whose::Worker];
/// Those of the threads that hear of it and do what follows from it.
const TOLD: &[Whose] = &[Whose::Follower, Whose::Balance];

const OPERATIONS: [Operation; 10] = [
    Operation {
        name: "a service is made, and has an endpoint here at once",
        before: &[network, service, here, joins_here, removed],
        go: service,
        back: removed,
        of: ASKED,
    },
    Operation {
        name: "another host makes a service, which has an endpoint here at once",
        before: &[network, service, here, joins_here, removed],
        go: |s| create(&s.b),
        back: |s| remove(&s.b),
        of: TOLD,
    },
    Operation {
        name: "a service is removed",
        before: &[network, service, here, joins_here],
        go: removed,
        back: service,
        of: ASKED,
    },
    Operation {
        name: "another host removes a service",
        before: &[network, service, here, joins_here],
        go: |s| remove(&s.b),
        back: |s| create(&s.b),
        of: TOLD,
    },
    Operation {
        name: "a service is changed",
        before: &[network, service, here, joins_here],
        go: |s| update(&s.a()),
        back: |s| update_back(&s.a()),
        of: ASKED,
    },
    Operation {
        name: "another host changes a service",
        before: &[network, service, here, joins_here],
        go: |s| update(&s.b),
        back: |s| update_back(&s.b),
        of: TOLD,
    },
    Operation {
        name: "an endpoint joins a service",
        before: &[network, service, here],
        go: joins_here,
        back: leaves_here,
        of: ASKED,
    },
    Operation {
        name: "an endpoint leaves a service",
        before: &[network, service, here, joins_here],
        go: leaves_here,
        back: joins_here,
        of: ASKED,
    },
    Operation {
        name: "an endpoint on another host joins a service",
        before: &[network, service, there],
        go: joins_there,
        back: leaves_there,
        of: TOLD,
    },
    Operation {
        name: "an endpoint on another host leaves a service",
        before: &[network, service, there, joins_there],
        go: leaves_there,
        back: joins_there,
        of: TOLD,
    },
];

fn all(mode: fn(usize) -> Mode, then: Then) {
    let cases = sweep_all(World::in_cluster, &OPERATIONS, mode, then);
    assert!(cases > 50, "only {cases} effects were tried");
}

#[test]
fn what_fails_once_with_a_clusters_service_is_made_up_for() {
    all(Mode::Once, Then::Retry);
}

#[test]
fn a_time_in_which_nothing_works_with_a_clusters_service_is_made_up_for() {
    all(Mode::From, Then::Retry);
}

#[test]
fn a_restart_after_any_effect_with_a_clusters_service_reaches_what_was_wanted() {
    all(Mode::From, Then::Restart);
}
