//! Who was led to endpoints: who of them is forgotten and waited for, when, and who is not, as others led
//! them there or they are led there still.

use crate::{
    inject::{Effect, Mode},
    led::update,
    scenario::{
        adopt, create, create_overlay, create_service, disconnect, join, release, remove_service,
    },
    world::World,
};
use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    time::Duration,
};
use vw_controller::{
    Controller,
    command::{ServiceInspect, ServiceReport, ServiceUpdate},
};
use vw_firewall::{ServiceSet, SetName};
use vw_hoststate::{Key, Netns, Object};
use vw_kernel::fake::Flow;
use vw_model::{EndpointMode, HealthSpec, PortKey, Probe};
use vw_store::cluster::memory::MemoryStore;

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);

const HOST: &str = "192.0.2.1";

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

/// The address that begins so of a namespace.
fn address(world: &World, netns: Netns, begin: &str) -> Option<IpAddr> {
    let objects = world.kernel.objects().into_values();
    let addresses = objects.filter_map(|object| match object {
        Object::Address(address) if address.netns == netns => Some(address.addr.addr()),
        _ => None,
    });
    let mut fitting = addresses.filter(|addr| addr.to_string().starts_with(begin));
    fitting.next()
}

fn own_address(world: &World, controller: &Controller, begin: &str) -> IpAddr {
    let one = world.sandbox_id(controller, "one").parse().unwrap();
    address(world, Netns::Sandbox(one), begin).unwrap()
}

fn vip(controller: &Controller, service: &str) -> String {
    let service = service.to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    view.spec.vips[0].addr().to_string()
}

/// What was sent there and led by the host.
fn flow(to: &str, port: &str, by: IpAddr) -> Flow {
    let port: PortKey = port.to_owned().try_into().unwrap();
    Flow {
        netns: Netns::Host,
        to: to.parse().unwrap(),
        port,
        by,
        at: port.port,
    }
}

/// A host whose sandbox `one` is in `web` on green and in `db` on blue, by which its answers leave:
/// what `web` and `db` led there, over each protocol.
fn of_two_services() -> (World, Controller, [[Flow; 2]; 2]) {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create(&controller, "green", "10.8.0.0/24").unwrap();
    let vip_of = EndpointMode::Vip;
    let ports = ["53:53/udp", "80:80"];
    create_service(&controller, "web", "green", vip_of, &ports).unwrap();
    create_service(&controller, "db", "blue", vip_of, &[]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "blue", "one", "db", 1).unwrap();
    join(&controller, "green", "one", "web", 1).unwrap();
    let by = own_address(&world, &controller, "10.7.0.");
    let db = vip(&controller, "db");
    let flows = |to: &str| ["53/udp", "80/tcp"].map(|port| flow(to, port, by));
    let (by_web, by_db) = (flows(HOST), flows(&db));
    world.kernel.track([by_web, by_db].concat());
    (world, controller, [by_web, by_db])
}

#[test]
fn what_another_service_leads_to_the_same_address_stays() {
    let (world, controller, [web, db]) = of_two_services();
    update(&controller, &["53/udp"], &[], &[]).unwrap();
    assert_eq!(world.kernel.tracked(), [web[1], db[0], db[1]]);
    let (world, controller, [_, db]) = of_two_services();
    remove_service(&controller, "web").unwrap();
    assert_eq!(world.kernel.tracked(), db);
    let (world, controller, [web, db]) = of_two_services();
    disconnect(&controller, "green", "one").unwrap();
    let awaited = world.kernel.awaited().into_iter();
    assert_eq!(awaited.map(|(flow, _)| flow).collect::<Vec<_>>(), web);
    assert_eq!(world.kernel.tracked(), db);
}

#[test]
fn each_service_of_an_endpoint_has_its_own_connections_waited_for_as_long_as_it_says() {
    let (world, controller, [web, db]) = of_two_services();
    let [short, long] = [1, 300].map(Duration::from_secs);
    for (service, drain) in [("web", short), ("db", long)] {
        let update = ServiceUpdate {
            service: service.to_owned(),
            drain: Some(drain),
            ..ServiceUpdate::default()
        };
        controller.submit(update).unwrap();
    }
    release(&controller, "one").unwrap();
    let each = [web.map(|flow| (flow, short)), db.map(|flow| (flow, long))];
    assert_eq!(world.kernel.awaited(), each.concat());
}

/// A host of a cluster with the services `web` and `db`; `one` is in both, and its answers leave by
/// blue.
fn in_cluster(ingress: &[&str], host: &[&str]) -> (World, Controller) {
    let world = World::in_cluster(&MemoryStore::new(), 1);
    let controller = world.open();
    eventually("the network is made", || {
        create_overlay(&controller, "shop", false, &[]).is_ok()
    });
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    create_service(&controller, "web", "shop", EndpointMode::Dnsrr, &[]).unwrap();
    create_service(&controller, "db", "blue", EndpointMode::Vip, &[]).unwrap();
    adopt(&controller, &world, "one", &[], &[]).unwrap();
    join(&controller, "blue", "one", "db", 1).unwrap();
    join(&controller, "shop", "one", "web", 1).unwrap();
    update(&controller, &[], ingress, host).unwrap();
    (world, controller)
}

fn holds(world: &World, port: u16) -> bool {
    let claimed = world.kernel.claimed();
    claimed.iter().any(|(_, addr)| addr.port() == port)
}

#[test]
fn what_another_service_leads_stays_where_a_host_led_to_its_own_endpoints() {
    let (world, controller) = in_cluster(&[], &["53:53/udp"]);
    eventually("it is published", || holds(&world, 53));
    let by = own_address(&world, &controller, "10.7.0.");
    let of_db = flow(&vip(&controller, "db"), "53/udp", by);
    world.kernel.track(vec![flow(HOST, "53/udp", by), of_db]);
    update(&controller, &["53/udp"], &[], &[]).unwrap();
    eventually("it is published no more", || !holds(&world, 53));
    eventually("who was led by it is forgotten", || {
        world.kernel.tracked() == [of_db]
    });
}

#[test]
fn who_is_led_by_a_port_at_another_spelling_of_its_address_stays() {
    let (world, controller, [[led, _], _]) = of_two_services();
    let by = led.by;
    let elsewhere = flow("192.0.2.9", "53/udp", by);
    for (next, stay) in [
        (format!("{HOST}:53:53/udp"), vec![led]),
        ("53:53/udp".to_owned(), vec![led, elsewhere]),
        ("0.0.0.0:53:53/udp".to_owned(), vec![led, elsewhere]),
        (format!("{HOST}:53:53/udp"), vec![led]),
    ] {
        world.kernel.track(vec![led, elsewhere]);
        update(&controller, &["53/udp"], &[&next], &[]).unwrap();
        assert_eq!(world.kernel.tracked(), stay, "{next}");
    }
    update(&controller, &["53/udp"], &["53:54/udp"], &[]).unwrap();
    assert_eq!(world.kernel.tracked(), [], "it leads to another port");
}

/// Where the sandbox that leads to services has its address.
fn balancer(world: &World, controller: &Controller) -> Option<(Netns, IpAddr)> {
    let one = world.sandbox_id(controller, "one").parse().unwrap();
    let objects = world.kernel.objects();
    let mut others = objects.keys().filter_map(|key| match key {
        Key::Namespace(Netns::Sandbox(id)) if *id != one => Some(Netns::Sandbox(*id)),
        _ => None,
    });
    let netns = others.next()?;
    Some((netns, address(world, netns, "10.42.0.")?))
}

#[test]
fn who_was_led_by_a_port_is_forgotten_once_it_leads_there_no_more() {
    let (world, controller) = in_cluster(&["53:53/udp"], &[]);
    let mut found = None;
    eventually("it is led to", || {
        found = balancer(&world, &controller);
        found.is_some() && holds(&world, 53)
    });
    let (netns, to) = found.unwrap();
    let by = own_address(&world, &controller, "10.42.0.");
    let inside = Flow {
        netns,
        ..flow(&to.to_string(), "53/udp", by)
    };
    world.kernel.track(vec![inside]);
    let leads = |key: &Key| matches!(key, Key::Balance(..));
    world.refusing.set_made(Some(leads));
    update(&controller, &["53/udp"], &["53:54/udp"], &[]).unwrap();
    eventually("it is tried again", || world.refusing.refused() > 2);
    assert_eq!(world.kernel.tracked(), [inside], "it is led so still");
    world.refusing.set_made(None);
    eventually("it is forgotten", || world.kernel.tracked().is_empty());
    eventually("all is well", || controller.repair().unwrap() == 0);
}

#[test]
fn nobody_waits_until_those_who_were_led_by_a_port_are_found() {
    for (ingress, host) in [
        (&["53:53/udp", "80:80"][..], &[][..]),
        (&["80:80"], &["53:53/udp"]),
    ] {
        let (world, controller) = in_cluster(ingress, host);
        eventually("it is published", || holds(&world, 53));
        let forgets = |effect: &Effect<'_>| matches!(effect, Effect::Forget(Netns::Host));
        let (other, through) = (controller.clone(), Arc::new(AtomicBool::new(false)));
        let done = through.clone();
        world.faults.while_at(forgets, move || {
            // This wants the service's state, and the turn of its network.
            create_service(&other, "api", "shop", EndpointMode::Dnsrr, &["90:90"]).unwrap();
            let service = "web".to_owned();
            other.submit(ServiceInspect { service }).unwrap();
            done.store(true, Ordering::SeqCst);
        });
        update(&controller, &["53/udp"], &[], &[]).unwrap();
        eventually("the other is through", || through.load(Ordering::SeqCst));
        world.faults.await_beside();
        assert!(!world.faults.had_to_wait(), "{ingress:?} {host:?}");
        eventually("all is well", || controller.repair().unwrap() == 0);
    }
}

/// By which keys the kernel leads to the port 53 of endpoints.
fn slots_of(world: &World) -> Vec<Key> {
    let found = world.kernel.objects().into_iter();
    let found = found.filter(|(_, object)| match object {
        Object::Element(element) | Object::Balance(_, element) => {
            matches!(element.set, SetName::Service(ServiceSet::Slots(_)))
                && element.to_string().contains("udp . ")
        }
        _ => false,
    });
    found.map(|(key, _)| key).collect()
}

/// Those who go on to send are led there again while that stands, and forgotten when it is gone.
#[track_caller]
fn is_forgotten_in_the_end(world: &World, controller: &Controller, led: Flow, stay: &[Flow]) {
    assert_eq!(world.kernel.tracked(), stay, "it is tried at once");
    world.kernel.track([&[led], stay].concat());
    assert_ne!(world.kernel.tracked(), stay);
    world.refusing.set(None);
    world.refusing.set_made(None);
    create(controller, "aside", "10.6.0.0/24").unwrap();
    create(controller, "apart", "10.5.0.0/24").unwrap();
    eventually("it is forgotten", || world.kernel.tracked() == stay);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn who_is_led_by_what_could_not_be_taken_away_is_forgotten_when_it_is_gone() {
    let leaves = |controller: &Controller| disconnect(controller, "green", "one").unwrap_err();
    let (world, controller, [web, db]) = of_two_services();
    world.refusing.set(slots_of(&world).pop());
    leaves(&controller);
    is_forgotten_in_the_end(&world, &controller, web[0], &db);

    // Its slot is to lead to another one.
    let (world, controller, [web, db]) = of_two_services();
    adopt(&controller, &world, "two", &[], &[]).unwrap();
    join(&controller, "green", "two", "web", 1).unwrap();
    world
        .refusing
        .set_made(Some(|key| matches!(key, Key::Port(..))));
    disconnect(&controller, "green", "one").unwrap();
    is_forgotten_in_the_end(&world, &controller, web[0], &db);

    let (world, controller, [web, db]) = of_two_services();
    world.refusing.set(slots_of(&world).pop());
    remove_service(&controller, "web").unwrap();
    is_forgotten_in_the_end(&world, &controller, web[0], &db);
}

#[test]
fn who_was_led_to_a_service_that_another_host_removed_is_forgotten_when_all_of_it_is_gone() {
    let (world, controller) = in_cluster(&["53:53/udp"], &[]);
    let vip = EndpointMode::Vip;
    create_service(&controller, "stays", "shop", vip, &["90:90"]).unwrap();
    let mut found = None;
    eventually("it is led to", || {
        found = balancer(&world, &controller);
        found.is_some() && holds(&world, 53) && !slots_of(&world).is_empty()
    });
    let (netns, to) = found.unwrap();
    let by = own_address(&world, &controller, "10.42.0.");
    let inside = Flow {
        netns,
        ..flow(&to.to_string(), "53/udp", by)
    };
    world.kernel.track(vec![inside]);
    world.refusing.set(slots_of(&world).pop());
    remove_service(&controller, "web").unwrap();
    is_forgotten_in_the_end(&world, &controller, inside, &[]);
}

/// Has `web` be checked, by nobody; what tells that its endpoint is not well.
fn checked(world: &World, controller: &Controller) -> ServiceReport {
    world.refusing.refuse_checks();
    let hour = Duration::from_secs(3600);
    let probe: Probe = "tcp:80".parse().unwrap();
    let health = HealthSpec {
        probe: probe.clone(),
        interval: hour,
        timeout: hour,
        retries: 1,
        start_period: hour,
    };
    controller
        .submit(ServiceUpdate {
            service: "web".to_owned(),
            health: Some(Some(health)),
            ..ServiceUpdate::default()
        })
        .unwrap();
    let service = "web".to_owned();
    let view = controller.submit(ServiceInspect { service }).unwrap();
    ServiceReport {
        endpoint: view.members[0].endpoint,
        probe,
        well: false,
    }
}

#[test]
fn who_was_led_to_one_that_is_not_well_is_forgotten_by_the_next_daemon_too() {
    let (world, controller, [web, db]) = of_two_services();
    let report = checked(&world, &controller);
    controller.submit(report).unwrap();
    eventually("they are forgotten", || world.kernel.tracked() == db);
    // The daemon ends before it forgets them.
    world.kernel.track([web, db].concat());
    drop(controller);
    let controller = world.open();
    assert_eq!(world.kernel.tracked(), db);
    assert_eq!(controller.repair().unwrap(), 0);
}

/// The daemon ends before it forgets who was led, and is started again.
fn ended_before(world: &World, controller: Controller, flows: &[Flow]) -> Controller {
    world.kernel.track(flows.to_vec());
    world.reopen(controller)
}

#[test]
fn who_was_led_by_a_port_that_is_gone_is_forgotten_by_the_next_daemon_too() {
    let (world, controller, [web, db]) = of_two_services();
    update(&controller, &["53/udp"], &[], &[]).unwrap();
    let strange = flow(HOST, "99/udp", web[0].by);
    let all = [web[0], web[1], db[0], db[1], strange];
    let controller = ended_before(&world, controller, &all);
    assert_eq!(world.kernel.tracked(), all[1..]);
    // Whoever has the port next is no service.
    let controller = ended_before(&world, controller, &all);
    assert_eq!(world.kernel.tracked(), all);
    update(&controller, &[], &["53:54/udp"], &[]).unwrap();
    let to_other = Flow { at: 54, ..web[0] };
    let controller = ended_before(&world, controller, &[web[0], to_other]);
    assert_eq!(world.kernel.tracked(), [to_other]);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn who_was_led_by_a_port_that_is_gone_is_forgotten_though_its_service_is_recorded_anew_meanwhile() {
    let (world, controller, [web, db]) = of_two_services();
    let forgets = |effect: &Effect<'_>| matches!(effect, Effect::Forget(Netns::Host));
    adopt(&controller, &world, "two", &[], &[]).unwrap();
    let (other, faults) = (controller.clone(), world.faults.clone());
    world.faults.while_at(forgets, move || {
        join(&other, "green", "two", "web", 1).unwrap();
        faults.set(Mode::From(1));
    });
    update(&controller, &["53/udp"], &[], &[]).unwrap();
    world.faults.await_beside();
    world.kill();
    world.faults.set(Mode::Never);
    let all = [web[0], web[1], db[0], db[1]];
    let controller = ended_before(&world, controller, &all);
    assert_eq!(world.kernel.tracked(), all[1..]);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn who_was_led_to_a_service_that_is_gone_is_forgotten_by_the_next_daemon_too() {
    let (world, controller, [web, db]) = of_two_services();
    let vip = vip(&controller, "web");
    let by_vip = flow(&vip, "53/udp", own_address(&world, &controller, "10.8.0."));
    let all = [&web[..], &db[..], &[by_vip]].concat();
    let forgets = |effect: &Effect<'_>| matches!(effect, Effect::Forget(Netns::Host));
    world.faults.beside(forgets, Mode::From(1), || {});
    // What it answers is heard by nobody.
    let _ = remove_service(&controller, "web");
    world.kill();
    world.faults.set(Mode::Never);
    let controller = ended_before(&world, controller, &all);
    assert_eq!(world.kernel.tracked(), db);
    assert_eq!(controller.repair().unwrap(), 0);
}

#[test]
fn who_was_led_to_one_that_left_on_another_host_is_forgotten_by_the_next_daemon_too() {
    let (world, controller) = in_cluster(&["53:53/udp"], &[]);
    let mut found = None;
    eventually("it is led to", || {
        found = balancer(&world, &controller);
        found.is_some() && holds(&world, 53)
    });
    let (netns, to) = found.unwrap();
    let by = own_address(&world, &controller, "10.42.0.");
    let inside = |port: &str, by| Flow {
        netns,
        ..flow(&to.to_string(), port, by)
    };
    let gone = by
        .to_string()
        .parse::<std::net::Ipv4Addr>()
        .unwrap()
        .to_bits()
        + 9;
    let gone = IpAddr::V4(gone.into());
    // To one that left, by a port that is gone, and past the port.
    let all = [
        inside("53/udp", by),
        inside("53/udp", gone),
        inside("54/udp", by),
        flow(HOST, "53/udp", gone),
    ];
    let controller = ended_before(&world, controller, &all);
    assert_eq!(world.kernel.tracked(), [all[0], all[3]]);
    eventually("all is well", || controller.repair().unwrap() == 0);
}

#[test]
fn who_tells_that_one_is_not_well_waits_for_nobody_to_be_forgotten() {
    let (world, controller, [_, db]) = of_two_services();
    let report = checked(&world, &controller);
    let forgets = |effect: &Effect<'_>| matches!(effect, Effect::Forget(Netns::Host));
    let (told, waiting) = channel::<()>();
    world.faults.while_at(forgets, move || {
        // Nothing is sent: it ends when all is told.
        waiting.recv().unwrap_err();
    });
    controller.submit(report).unwrap();
    drop(told);
    eventually("they are forgotten", || world.kernel.tracked() == db);
    world.faults.await_beside();
    assert!(!world.faults.had_to_wait(), "it was waited for");
}
