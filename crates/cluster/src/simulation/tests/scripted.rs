//! What seldom comes together, played call by call.

use super::{super::host::Host, *};
use crate::{
    core::Phase,
    keys::{self, Shared},
    simulation::{host::Role, network},
};
use std::{net::IpAddr, time::Duration};
use vw_ipam::Division;
use vw_model::NetworkId;
use vw_store::cluster::memory::{Call, Fate};

/// Hosts that know each other, and a network whose addresses can be asked for.
fn set_up(hosts: usize) -> (Arc<World>, NetworkId) {
    chance::seed(11);
    let world = World::quiet(hosts);
    (0..4).for_each(|_| world.round());
    let daemon = world.hosts()[0].daemon().expect("it runs");
    let mut wanted = std::iter::repeat_with(network);
    let (spec, request) = wanted
        .find(|(_, request)| !request.pools.is_empty())
        .expect("most ask for a subnet");
    let made = daemon.core.create_network(spec, &request, &[], true);
    (0..2).for_each(|_| world.round());
    (world, made.expect("a network").id)
}

fn connect(host: &Host, network: NetworkId, addr: Option<IpAddr>) -> vw_model::Result<()> {
    host.connect(&host.daemon().expect("it runs"), network, addr)
}

/// An address that a host uses.
fn address_on(host: &Host) -> IpAddr {
    let machine = host.machine();
    let endpoint = machine.endpoints.values().next();
    endpoint.expect("one stands there").addresses[0].addr()
}

fn disconnect_all(host: &Host) {
    let daemon = host.daemon().expect("it runs");
    let ids: Vec<_> = host.machine().endpoints.keys().copied().collect();
    ids.into_iter()
        .for_each(|id| drop(host.disconnect(&daemon, id)));
}

#[test]
fn who_was_forgotten_takes_nothing_up_that_is_just_being_deleted() {
    on_a_large_stack(|| {
        let (world, network) = set_up(2);
        let [one, other] = [0, 1].map(|n| world.hosts()[n].clone());
        connect(&one, network, None).expect("an address");
        world.round();
        one.kill();
        (0..9).for_each(|_| world.round());
        // It is forgotten, and what it left is not cleared away yet.
        let id = one.id();
        let of = Arc::downgrade(&world);
        world.set_script(move |_| match of.upgrade() {
            Some(world) if !world.history().member(id) => Fate::Unreachable,
            _ => Fate::Answered,
        });
        let by = other.daemon().expect("it runs");
        by.core.forget(&id.to_string()).expect_err("it is cut off");
        world.set_script(|_| Fate::Answered);
        one.start();
        one.step(Role::Follow);
        let daemon = one.daemon().expect("it runs");
        assert_eq!(daemon.core.state().phase, Phase::Forgotten);
        // When it is about to join, somebody wants an address there, and the other goes on.
        let (there, mut done) = (one.clone(), false);
        let core = daemon.core.clone();
        world.set_script(move |_| {
            let joins = core.state().phase == Phase::Joining;
            if joins && !std::mem::replace(&mut done, true) {
                let refused = connect(&there, network, None);
                by.core.forget(&id.to_string()).expect("the rest goes");
                let refused = refused.expect_err("it has not joined");
                assert_eq!(refused.reason, "cluster-not-joined");
            }
            Fate::Answered
        });
        one.step(Role::Follow);
        (0..3).for_each(|_| world.round());
        connect(&one, network, None).expect("it has joined");
        (0..2).for_each(|_| world.round());
        world.check_rest();
    });
}

#[test]
fn a_grant_that_is_put_back_late_is_of_no_address_in_use() {
    on_a_large_stack(|| {
        let (world, network) = set_up(2);
        let [one, other] = [0, 1].map(|n| world.hosts()[n].clone());
        connect(&one, network, None).expect("an address");
        let addr = address_on(&one);
        disconnect_all(&one);
        connect(&other, network, Some(addr)).expect("it is granted");
        assert_eq!(address_on(&other), addr);
        disconnect_all(&other);
        other.step(Role::Work);
        // Who granted it reads anew, finds it gone, and puts it back: that is late.
        let daemon = one.daemon().expect("it runs");
        daemon.client.lose_watches();
        one.step(Role::Follow);
        world.store.advance(Duration::from_millis(100));
        one.step(Role::Follow);
        let mut late = false;
        world.set_script(move |call| match call {
            Call::Commit if !std::mem::replace(&mut late, true) => Fate::Late,
            _ => Fate::Answered,
        });
        one.step(Role::Work);
        world.set_script(|_| Fate::Answered);
        (0..4).for_each(|_| world.round());
        connect(&one, network, Some(addr)).expect("it is free again");
        assert!(world.store.arrive(), "one was late");
        world.history().observe();
        let grant = Shared::Grant(network, addr).key();
        assert!(!world.history().records.contains_key(&grant));
        let record = world.history().networks[&network].clone();
        let range = Division::of(record.claims.subnets[0]).block(addr);
        let block = keys::block(network, range.expect("a block"));
        assert!(world.history().records.contains_key(&block));
        (0..2).for_each(|_| world.round());
        world.check_rest();
    });
}

#[test]
fn who_asks_for_what_was_just_given_back_is_not_refused() {
    on_a_large_stack(|| {
        let (world, network) = set_up(3);
        let [one, other, third] = [0, 1, 2].map(|n| world.hosts()[n].clone());
        connect(&one, network, None).expect("an address");
        let addr = address_on(&one);
        disconnect_all(&one);
        connect(&other, network, Some(addr)).expect("it is granted");
        disconnect_all(&other);
        other.step(Role::Work);
        let grant = Shared::Grant(network, addr).key();
        assert!(!world.history().records.contains_key(&grant));
        // Who granted it hears of both at once.
        connect(&third, network, Some(addr)).expect("nobody has it");
        (0..2).for_each(|_| world.round());
        world.check_rest();
    });
}

#[test]
fn what_may_be_given_back_late_is_not_taken_up_again() {
    on_a_large_stack(|| {
        let (world, network) = set_up(2);
        let [one, other] = [0, 1].map(|n| world.hosts()[n].clone());
        connect(&one, network, None).expect("an address");
        let addr = address_on(&one);
        disconnect_all(&one);
        connect(&other, network, Some(addr)).expect("it is granted");
        // Its daemon ends before it is known whether the address went back, and the next one finds
        // no store.
        disconnect_all(&other);
        world.set_script(|call| match call {
            Call::Commit => Fate::Late,
            _ => Fate::Answered,
        });
        other.step(Role::Work);
        world.set_script(|_| Fate::Answered);
        other.kill();
        other.start();
        let daemon = other.daemon().expect("it runs");
        daemon.client.cut(true);
        let refused = connect(&other, network, Some(addr)).expect_err("it may be another's");
        assert_eq!(refused.reason, "cluster-address-returning");
        while world.store.arrive() {}
        let mut again = Err(refused);
        for _ in 0..20 {
            one.step(Role::Follow);
            one.step(Role::Work);
            again = again.or_else(|_| connect(&one, network, Some(addr)));
        }
        again.expect("it is free");
        daemon.client.cut(false);
        (0..6).for_each(|_| world.round());
        world.check_rest();
    });
}
