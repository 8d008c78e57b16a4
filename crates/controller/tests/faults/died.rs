//! A host that dies with an endpoint in each of many services.

use crate::{
    scenario::{adopt, create_overlay_on, create_service, disconnect, join},
    world::World,
};
use std::{collections::BTreeSet, fs, net::IpAddr, time::Duration};
use vw_controller::{
    Controller,
    command::{Info, ServiceInspect, ServiceList},
};
use vw_firewall::{ServiceSet, SetName};
use vw_hoststate::{Key, Netns, Object};
use vw_kernel::fake::Flow;
use vw_model::EndpointMode;
use vw_store::cluster::memory::MemoryStore;

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVICES: usize = 100;

/// What may change besides: the ways to that host, and what it published.
const AROUND: usize = 10;

#[track_caller]
fn eventually(what: &str, holds: impl FnMut() -> bool) {
    vw_testkit::eventually(what, PATIENCE, holds);
}

/// Where a host leads to endpoints by services.
fn leading(world: &World) -> Vec<Key> {
    let objects = world.kernel.objects().into_iter();
    let slot = |object: &Object| matches!(object, Object::Balance(_, element) if matches!(element.set, SetName::Service(ServiceSet::Slots(_))));
    let slots = objects.filter(|(_, object)| slot(object));
    slots.map(|(key, _)| key).collect()
}

/// How many endpoints all services have together.
fn members(controller: &Controller) -> usize {
    let services = controller.submit(ServiceList).unwrap();
    services.iter().map(|service| service.members.len()).sum()
}

/// Two hosts: the first has something on the network `shop`, the second an endpoint in each of its
/// services.
fn stage(count: usize) -> [(World, Controller); 2] {
    let store = MemoryStore::new();
    let (here, there) = (World::in_cluster(&store, 1), World::in_cluster(&store, 2));
    let (a, b) = (here.open(), there.open());
    eventually("the network is made", || {
        create_overlay_on(&a, "shop", "10.43.0.0/16", false, &[]).is_ok()
    });
    adopt(&a, &here, "one", &["shop"], &[]).unwrap();
    for number in 0..count {
        let service = format!("s{number}");
        create_service(&a, &service, "shop", EndpointMode::Vip, &[]).unwrap();
    }
    eventually("the other host has all of them", || {
        b.submit(ServiceList).unwrap().len() == count
    });
    for number in 0..count {
        let name = format!("box{number}");
        fs::write(there.folder.join(&name), "").unwrap();
        adopt(&b, &there, &name, &[], &[]).unwrap();
        join(&b, "shop", &name, &format!("s{number}"), 1).unwrap();
    }
    eventually("the first host leads to all", || members(&a) == count);
    [(here, a), (there, b)]
}

#[test]
fn its_death_costs_another_host_and_the_store_no_more_than_that_of_one_endpoint() {
    let [(here, a), (there, _b)] = stage(SERVICES);
    assert!(!leading(&here).is_empty());
    let before = here.faults.changes_and_looks();
    let commits = || here.client().traffic().commits;
    let said = commits();
    there.lose_store();
    eventually("nobody is led there", || members(&a) == 0);
    assert_eq!(leading(&here), []);
    eventually("all is as it should be", || a.repair().unwrap() == 0);
    let after = here.faults.changes_and_looks();
    let (changes, looks) = (after.0 - before.0, after.1 - before.1);
    assert!(changes <= AROUND, "{changes} changes");
    assert!(looks <= AROUND, "{looks} looks at what is led");
    let said = commits() - said;
    assert!(said <= AROUND as u64, "{said} commits to the store");
}

#[test]
fn one_service_that_the_kernel_does_not_change_keeps_no_other_as_it_was() {
    let [(here, a), (there, _b)] = stage(5);
    let led: BTreeSet<Key> = leading(&here).into_iter().collect();
    let stuck = led.first().cloned().expect("it leads there");
    here.refusing.set(Some(stuck.clone()));
    there.lose_store();
    eventually("the others lead there no more", || {
        leading(&here) == [stuck.clone()]
    });
    assert_eq!(members(&a), 0, "all of them are known to be gone");
    here.refusing.set(None);
    eventually("nor does that one", || leading(&here).is_empty());
    assert_eq!(a.repair().unwrap(), 0);
}

#[test]
fn connections_to_its_endpoints_stay_as_they_may_go_on() {
    let [(here, a), (there, _b)] = stage(1);
    there.lose_store();
    eventually("nobody is led there", || members(&a) == 0);
    eventually("all is as it should be", || a.repair().unwrap() == 0);
    assert_eq!(here.kernel.cut_off(), []);
}

#[test]
fn connections_to_an_endpoint_that_its_living_host_lets_go_are_ended() {
    let [(here, a), (there, b)] = stage(1);
    let service = || "s0".to_owned();
    let view = a.submit(ServiceInspect { service: service() }).unwrap();
    let ended = view.members[0].addresses.clone();
    disconnect(&b, "shop", "box0").unwrap();
    for world in [&here, &there] {
        eventually("those of both hosts are", || {
            let cut_off = world.kernel.cut_off().into_iter();
            cut_off.map(|(_, addr)| addr).collect::<Vec<_>>() == ended
        });
    }
}

#[test]
fn connections_to_endpoints_that_are_gone_are_ended_by_the_next_daemon_once_it_has_read_the_store()
{
    let [(here, a), (there, _b)] = stage(1);
    let service = "s0".to_owned();
    let view = a.submit(ServiceInspect { service }).unwrap();
    let theirs = view.members[0].addresses[0];
    let vip = view.spec.vips[0].addr();
    let balancer = |key: &Key| match key {
        Key::Address(netns @ Netns::Sandbox(_), _, net) if net.addr() == vip => Some(*netns),
        _ => None,
    };
    let netns = here.kernel.objects().keys().find_map(balancer);
    let netns = netns.expect("it leads there");
    // It is dead, and may come back.
    there.lose_store();
    eventually("nobody is led there", || members(&a) == 0);
    here.client().cut(true);
    let a = here.reopen(a);
    let gone: IpAddr = "10.43.200.9".parse().unwrap();
    let ours: IpAddr = address_of(&here, &a, "one");
    let to = |by: &IpAddr| Flow {
        netns,
        to: vip,
        port: "80/tcp".to_owned().try_into().unwrap(),
        by: *by,
        at: 80,
    };
    here.kernel
        .track([theirs, ours, gone].iter().map(to).collect());
    let away = || !a.submit(Info).unwrap().warnings.is_empty();
    eventually("the store is away", away);
    assert_eq!(here.kernel.cut_off(), []);
    here.client().cut(false);
    eventually("those to who is gone are", || {
        here.kernel.cut_off() == [(netns, gone)]
    });
    assert_eq!(
        here.kernel.tracked(),
        [theirs, ours].iter().map(to).collect::<Vec<_>>()
    );
}

/// Where a sandbox is on the network.
fn address_of(world: &World, controller: &Controller, name: &str) -> IpAddr {
    let id = world.sandbox_id(controller, name).parse().unwrap();
    let objects = world.kernel.objects().into_keys();
    let mut addresses = objects.filter_map(|key| match key {
        Key::Address(Netns::Sandbox(of), _, net) if of == id => Some(net.addr()),
        _ => None,
    });
    let found = addresses.find(|addr| addr.to_string().starts_with("10.43."));
    found.expect("it is on it")
}
