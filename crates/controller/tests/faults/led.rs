//! Services of a network that spans hosts, as one host of the cluster has them.

use crate::{
    inject::{Effect, Mode},
    scenario::{adopt, create, create_overlay, create_service, disconnect, join, release},
    world::World,
};
use std::{sync::mpsc::channel, time::Duration};
use vw_controller::{
    Controller,
    command::{Publication, ServiceCreate, ServiceInspect, ServiceRemove, ServiceUpdate},
};
use vw_firewall::{ServiceSet, SetName};
use vw_hoststate::{Netns, Object, Step};
use vw_model::{
    Affinity, EndpointMode, HealthSpec, PortRequest, Preference, Protocol, PublishMode, Result,
};
use vw_store::{Table, cluster::memory::MemoryStore};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host with the network `shop`, and its world.
fn stage() -> (World, Controller) {
    let world = World::in_cluster(&MemoryStore::new(), 1);
    let controller = world.open();
    let made = vw_testkit::poll(PATIENCE, || {
        create_overlay(&controller, "shop", false, &[]).ok()
    });
    assert!(made.is_some(), "the network is not made");
    (world, controller)
}

fn ports(ingress: &[&str], host: &[&str]) -> Vec<Publication> {
    let asked = |texts: &[&str], mode| -> Vec<Publication> {
        let texts = texts.iter();
        let ports = texts.flat_map(|t| PortRequest::parse(t).unwrap());
        let prefer = Preference::None;
        let ports = ports.map(|port| Publication { port, mode, prefer });
        ports.collect()
    };
    let host = asked(host, PublishMode::Host);
    [asked(ingress, PublishMode::Ingress), host].concat()
}

/// What the service `web` publishes.
fn published(controller: &Controller) -> Vec<String> {
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    let ports = view.spec.ports.iter();
    ports
        .map(|port| format!("{}:{} {:?}", port.published, port.target, port.mode))
        .collect()
}

pub(crate) fn update(
    controller: &Controller,
    gone: &[&str],
    ingress: &[&str],
    host: &[&str],
) -> Result<()> {
    let gone = gone.iter().map(|port| (*port).to_owned().try_into());
    controller.submit(ServiceUpdate {
        service: "web".to_owned(),
        publish: ports(ingress, host),
        unpublish: gone.collect::<Result<_>>()?,
        ..ServiceUpdate::default()
    })?;
    Ok(())
}

#[test]
fn a_service_publishes_a_port_of_a_host_once() {
    let (world, controller) = stage();
    let vip = EndpointMode::Vip;
    create_service(&controller, "web", "shop", vip, &["8080:80"]).unwrap();
    let before = published(&controller);
    for (gone, ingress, host) in [
        (&[][..], &["8080:81"][..], &[][..]),
        (&[], &["8081:81", "8081:82"], &[]),
        (&[], &[], &["8081:81", "8081:82"]),
        (&[], &["8081:81"], &["8081:81"]),
        (&[], &[], &["8080:80"]),
        (&["80"], &["8081:81"], &["8081:80"]),
    ] {
        let error = update(&controller, gone, ingress, host).unwrap_err();
        assert_eq!(error.reason, "port-allocated", "{}", error.message);
        assert!(error.message.contains("--publish-rm"), "{}", error.message);
        assert_eq!(published(&controller), before);
    }
    for (ingress, host) in [
        (&["9090:80", "9090:81"][..], &[][..]),
        (&[], &["9090:80", "9090:81"]),
        (&["9090:80"], &["9090:80"]),
    ] {
        let asked = ServiceCreate {
            name: "db".parse().unwrap(),
            network: "shop".to_owned(),
            mode: vip,
            ports: ports(ingress, host),
            affinity: Affinity::None,
            drain: Duration::ZERO,
            health: None,
            labels: Default::default(),
        };
        let error = controller.submit(asked).unwrap_err();
        assert_eq!(error.reason, "port-allocated", "{}", error.message);
    }
    // The same over another protocol is another port, and may be taken here.
    let taken = "0.0.0.0:8080".parse().unwrap();
    world.kernel.occupy(Protocol::Udp, taken);
    let error = update(&controller, &[], &["8080:80/udp"], &[]).unwrap_err();
    assert_eq!(error.reason, "port-allocated", "{}", error.message);
    // What is asked for twice alike is published once, and what goes makes room.
    update(&controller, &[], &["8080:80", "8080:80"], &[]).unwrap();
    assert_eq!(published(&controller), before);
    update(&controller, &["80"], &["8080:81"], &[]).unwrap();
    assert_eq!(published(&controller), ["8080:81/tcp Ingress"]);
    update(&controller, &["81"], &[], &["8080:81"]).unwrap();
    assert_eq!(published(&controller), ["8080:81/tcp Host"]);
}

/// Which host ports are held.
pub(crate) fn held(world: &World) -> Vec<u16> {
    let held = world.kernel.claimed().into_iter();
    let mut held: Vec<u16> = held.map(|(_, addr)| addr.port()).collect();
    held.sort_unstable();
    held.dedup();
    held
}

/// Which ports of `web` hosts say that they do not publish.
pub(crate) fn lacking(controller: &Controller) -> Vec<u16> {
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    let lacking = view.unpublished.iter();
    lacking
        .flat_map(|of| of.ports.iter().map(|at| at.port.port))
        .collect()
}

#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

#[test]
fn a_port_is_published_in_another_way_by_one_update() {
    let store = MemoryStore::new();
    let (here, there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
    let (a, b) = (here.open(), there.open());
    eventually("the network is made", || {
        create_overlay(&a, "shop", false, &[]).is_ok()
    });
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    eventually("every host publishes it", || {
        held(&here) == [8080] && held(&there) == [8080]
    });
    adopt(&b, &there, "one", &["shop"], &[]).unwrap();
    disconnect(&b, "shop", "one").unwrap();
    join(&b, "shop", "one", "web", 1).unwrap();
    update(&a, &["80"], &[], &["8080:80"]).unwrap();
    eventually("the host with an endpoint publishes it alone", || {
        held(&here).is_empty() && held(&there) == [8080] && published(&b) == ["8080:80/tcp Host"]
    });
    assert_eq!(lacking(&b), [0; 0]);
    update(&a, &["80"], &["8080:80"], &[]).unwrap();
    eventually("every host publishes it again", || {
        held(&here) == [8080] && held(&there) == [8080] && published(&b) == ["8080:80/tcp Ingress"]
    });
    eventually("all is as it should be", || {
        a.repair().unwrap() == 0 && b.repair().unwrap() == 0
    });
}

#[test]
fn a_port_that_a_stranger_had_is_published_once_it_is_free() {
    let store = MemoryStore::new();
    let (here, there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
    let taken = "0.0.0.0:8080".parse().unwrap();
    there.kernel.occupy(Protocol::Tcp, taken);
    let (a, b) = (here.open(), there.open());
    eventually("the network is made", || {
        create_overlay(&a, "shop", false, &[]).is_ok()
    });
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    eventually("it is said where it is not", || lacking(&a) == [8080]);
    assert_eq!((held(&here), held(&there)), (vec![8080], Vec::new()));
    // Nothing else happens on that host.
    there.kernel.vacate(Protocol::Tcp, taken);
    eventually("it is published", || held(&there) == [8080]);
    eventually("and nobody says that it is not", || lacking(&a).is_empty());
    assert_eq!(b.repair().unwrap(), 0);
}

#[test]
fn a_host_without_ipv6_publishes_over_ipv4() {
    let mut world = World::in_cluster(&MemoryStore::new(), 1);
    world.ipv6 = false;
    // There is no socket of that family to be had.
    let none = "[::]:8080".parse().unwrap();
    world.kernel.occupy(Protocol::Tcp, none);
    let controller = world.open();
    eventually("the network is made", || {
        create_overlay(&controller, "shop", false, &[]).is_ok()
    });
    create_service(&controller, "web", "shop", EndpointMode::Vip, &[]).unwrap();
    update(&controller, &[], &[], &["8080:80"]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "shop", "one", "web", 1).unwrap();
    eventually("it is published", || held(&world) == [8080]);
    eventually("and nobody says that it is not", || {
        lacking(&controller).is_empty()
    });
}

fn members(controller: &Controller) -> Vec<String> {
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    view.members.into_iter().map(|member| member.name).collect()
}

fn remove(controller: &Controller) {
    let service = "web".to_owned();
    controller.submit(ServiceRemove { service }).unwrap();
}

/// An endpoint that names a service leaves in the midst of its being listed, once who lists it has
/// seen the endpoint and before a record of this table is written.
#[track_caller]
fn leaves_meanwhile(world: &World, controller: &Controller, network: &'static str, table: Table) {
    let vip = EndpointMode::Vip;
    create_service(controller, "web", network, vip, &[]).unwrap();
    for name in ["one", "two"] {
        adopt(controller, world, name, &[], &[]).unwrap();
        join(controller, network, name, "web", 1).unwrap();
    }
    remove(controller);
    let leaving = controller.clone();
    world.faults.meanwhile(table, move || {
        disconnect(&leaving, network, "one").unwrap();
    });
    create_service(controller, "web", network, vip, &[]).unwrap();
    eventually("the other is a member alone", || {
        members(controller) == ["two"]
    });
    assert_eq!(controller.repair().unwrap(), 0);
    for name in ["one", "two"] {
        release(controller, name).unwrap();
    }
    remove(controller);
}

#[test]
fn one_who_leaves_while_its_service_is_listed_is_no_member() {
    let (world, controller) = stage();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    leaves_meanwhile(&world, &controller, "blue", Table::Services);
    leaves_meanwhile(&world, &controller, "shop", Table::Slots);
}

#[test]
fn one_who_comes_while_a_service_is_made_that_cannot_ask_it_is_no_member() {
    let (world, controller) = stage();
    create_service(&controller, "web", "shop", EndpointMode::Dnsrr, &[]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    // Without an address, so that nothing else is attached. The service goes before the endpoint is placed, and comes again before it is listed.
    let (other, faults) = (controller.clone(), world.faults.clone());
    world.faults.meanwhile(Table::Attachments, move || {
        remove(&other);
        faults.meanwhile(Table::Attachments, move || {
            let second = Duration::from_secs(1);
            let health = HealthSpec {
                probe: "exec:true".parse().unwrap(),
                interval: second,
                timeout: second,
                retries: 1,
                start_period: second,
            };
            let asked = ServiceCreate {
                name: "web".parse().unwrap(),
                network: "shop".to_owned(),
                mode: EndpointMode::Dnsrr,
                ports: Vec::new(),
                affinity: Affinity::None,
                drain: Duration::ZERO,
                health: Some(health),
                labels: Default::default(),
            };
            other.submit(asked).unwrap();
        });
    });
    join(&controller, "shop", "one", "web", 1).unwrap();
    assert_eq!(members(&controller), [""; 0]);
    assert_eq!(controller.repair().unwrap(), 0);
}

/// Waits until this host leads ports to its own endpoints by these elements of its own table.
#[track_caller]
fn leads(world: &World, wanted: &[&str]) {
    let found = || {
        let objects = world.kernel.objects().into_values();
        let elements = objects.filter_map(|object| match object {
            Object::Element(element) => Some(element.to_string()),
            _ => None,
        });
        let mut lines: Vec<String> = elements.filter(|line| line.starts_with("port4_")).collect();
        lines.sort();
        lines
    };
    vw_testkit::poll(PATIENCE, || (found() == wanted).then_some(()));
    assert_eq!(found(), wanted);
}

#[test]
fn a_host_prefers_its_own_endpoints_while_one_serves() {
    let (world, controller) = stage();
    let prefer = |texts: &[&str]| {
        let ports = ports(texts, &[]).into_iter();
        let prefer = Preference::Local;
        ports.map(|port| Publication { prefer, ..port }).collect()
    };
    let asked = ServiceCreate {
        name: "web".parse().unwrap(),
        network: "shop".to_owned(),
        mode: EndpointMode::Vip,
        ports: prefer(&["8080:80", "8053:53/udp"]),
        affinity: Affinity::Client,
        drain: Duration::ZERO,
        health: None,
        labels: Default::default(),
    };
    controller.submit(asked).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "shop", "one", "web", 2).unwrap();
    let led = [
        "port4_affine { tcp . 8080 }",
        "port4_affine { udp . 8053 }",
        "port4_of_2 { tcp . 8080 }",
        "port4_of_2 { udp . 8053 }",
        "port4_slots { tcp . 8080 . 0 : 172.18.0.3 . 80 }",
        "port4_slots { tcp . 8080 . 1 : 172.18.0.3 . 80 }",
        "port4_slots { udp . 8053 . 0 : 172.18.0.3 . 53 }",
        "port4_slots { udp . 8053 . 1 : 172.18.0.3 . 53 }",
    ];
    leads(&world, &led);
    drop(controller);
    let controller = world.open();
    assert_eq!(controller.repair().unwrap(), 0);
    leads(&world, &led);
    // Turned off, and on again for one of the two; then nobody is left.
    let both = ["80/tcp", "53/udp"];
    eventually("it is a host of the cluster again", || {
        update(&controller, &both, &["8080:80", "8053:53/udp"], &[]).is_ok()
    });
    leads(&world, &[]);
    let gone = "80/tcp".to_owned().try_into().unwrap();
    controller
        .submit(ServiceUpdate {
            service: "web".to_owned(),
            publish: prefer(&["8080:80"]),
            unpublish: vec![gone],
            affinity: Some(Affinity::None),
            ..ServiceUpdate::default()
        })
        .unwrap();
    leads(&world, &[led[2], led[4], led[5]]);
    disconnect(&controller, "shop", "one").unwrap();
    leads(&world, &[]);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn nobody_is_led_to_who_is_gone_when_the_ways_there_go() {
    let store = MemoryStore::new();
    let (here, there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
    let (a, b) = (here.open(), there.open());
    eventually("the network is made", || {
        create_overlay(&a, "shop", false, &[]).is_ok()
    });
    create_service(&a, "web", "shop", EndpointMode::Vip, &["8080:80"]).unwrap();
    adopt(&b, &there, "one", &[], &[]).unwrap();
    eventually("the other host knows both", || {
        join(&b, "shop", "one", "web", 1).is_ok()
    });
    let kernel = here.kernel.clone();
    let slots = move || {
        let objects = kernel.objects().into_values();
        let slot = |object: &Object| matches!(object, Object::Balance(_, element) if matches!(element.set, SetName::Service(ServiceSet::Slots(_))));
        objects.filter(slot).count()
    };
    eventually("it is led to", || slots() == 2);
    let (told, seen) = channel();
    let way = |effect: &Effect<'_>| {
        matches!(
            effect,
            Effect::Step(Step::Delete(Object::Forward(_) | Object::Neighbor(_)))
        )
    };
    here.faults.beside(way, Mode::Never, move || {
        told.send(slots()).expect("somebody waits");
    });
    // Its lease is over, and it tells nobody that its endpoint leaves.
    there.lose_store();
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(0));
}

#[test]
fn the_port_of_a_connection_that_ended_is_free_when_its_endpoint_is_done_with_it() {
    let (world, controller) = stage();
    let vip = EndpointMode::Vip;
    create_service(&controller, "web", "shop", vip, &["8080:80"]).unwrap();
    let objects = world.kernel.objects().into_values();
    let waits = objects.filter_map(|object| match object {
        Object::Sysctl(sysctl) if sysctl.path.ends_with("_tcp_timeout_time_wait") => {
            Some((sysctl.netns == Netns::Host, sysctl.value))
        }
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), [(false, "60".to_owned())]);
}
