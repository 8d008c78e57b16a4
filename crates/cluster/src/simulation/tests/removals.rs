//! What the removal of a network costs every host, and what becomes of a mark that is left.

use super::{super::host::Host, *};
use crate::{
    keys::{self, Shared},
    record::{self, BlockRecord, NetworkRecord, NetworkState},
    simulation::host::Role,
};
use std::time::Duration;
use vw_model::{HostId, NetworkId};
use vw_store::cluster::{
    Transaction, Write,
    memory::{Call, Fate},
};

/// Hosts that know each other, and a network with room for all of them.
fn set_up(hosts: usize) -> (Arc<World>, NetworkId) {
    chance::seed(12);
    let world = World::quiet(hosts);
    (0..4).for_each(|_| world.round());
    let daemon = world.hosts()[0].daemon().expect("it runs");
    world.create(&daemon).expect("a network");
    (0..2).for_each(|_| world.round());
    let network = world.history().networks.keys().copied().next();
    (world, network.expect("it was made"))
}

fn is_marked(world: &World, network: NetworkId) -> bool {
    let known = world.history().networks.get(&network).cloned();
    known.is_some_and(|known| matches!(known.state, NetworkState::Removing { .. }))
}

fn remove(host: &Host, network: NetworkId) -> vw_model::Result<()> {
    let daemon = host.daemon().expect("it runs");
    daemon.core.remove_network(network).map(drop)
}

fn put_state(world: &World, network: NetworkId, state: NetworkState) {
    let known = world.history().networks[&network].clone();
    let value = record::encode(&NetworkRecord { state, ..known });
    let writes = vec![Write::Put(Shared::Network(network).key(), value)];
    let (conditions, store) = (Vec::new(), &world.store);
    assert!(store.edit(&Transaction { conditions, writes }));
    world.history().observe();
}

/// What goes wrong as soon as a network is marked, call by call.
fn when_marked(
    world: &Arc<World>,
    network: NetworkId,
    mut then: impl FnMut(&World) -> Fate + Send + 'static,
) {
    let of = Arc::downgrade(world);
    world.set_script(move |_: Call| match of.upgrade() {
        Some(world) if is_marked(&world, network) => then(&world),
        _ => Fate::Answered,
    });
}

/// How often the worker of a host asked the store in so many tenths of a second, and whether the mark
/// stood all the time.
fn live(world: &World, host: &Host, network: NetworkId, tenths: u32) -> (u64, bool) {
    let daemon = host.daemon().expect("it runs");
    let (mut asked, mut stood) = (0, true);
    for tenth in 0..tenths {
        world.store.advance(Duration::from_millis(100));
        if tenth % 10 == 0 {
            host.step(Role::Present);
        }
        host.step(Role::Follow);
        let before = daemon.client.traffic().calls;
        host.step(Role::Work);
        asked += daemon.client.traffic().calls - before;
        world.history().observe();
        stood &= is_marked(world, network);
    }
    (asked, stood)
}

/// That a network is there to stay: endpoints come, and it can be removed.
fn check_usable(world: &World, host: &Host, network: NetworkId) {
    let daemon = host.daemon().expect("it runs");
    (host.connect(&daemon, network, None)).expect("an address");
    (0..2).for_each(|_| world.round());
    world.check_rest();
    world.dismantle();
}

#[test]
fn a_mark_that_is_left_is_not_looked_at_again_and_again_and_goes_by_itself() {
    on_a_large_stack(|| {
        let (world, network) = set_up(2);
        let [one, other] = [0, 1].map(|n| world.hosts()[n].clone());
        let client = one.daemon().expect("it runs").client.clone();
        when_marked(&world, network, move |_| {
            client.cut(true);
            Fate::Answered
        });
        remove(&one, network).expect_err("it is cut off");
        world.set_script(|_| Fate::Answered);
        let (asked, stood) = live(&world, &other, network, 50);
        assert!(stood, "who left it may live");
        assert!(asked <= 5, "the store was asked {asked} times in 5 s");
        let (asked, stood) = live(&world, &other, network, 200);
        assert!(!stood, "nobody stands behind it");
        assert!(asked <= 10, "the store was asked {asked} times in 20 s");
        one.daemon().expect("it runs").client.cut(false);
        (0..9).for_each(|_| world.round());
        check_usable(&world, &other, network);
    });
}

#[test]
fn a_mark_of_whom_nobody_knows_goes_after_some_time() {
    on_a_large_stack(|| {
        let (world, network) = set_up(1);
        let one = world.hosts()[0].clone();
        let attempt = "of an older version".to_owned();
        let by = None;
        put_state(&world, network, NetworkState::Removing { attempt, by });
        let (asked, stood) = live(&world, &one, network, 50);
        assert!(stood, "it may be of one that goes on");
        assert!(asked <= 5, "the store was asked {asked} times in 5 s");
        let (_, stood) = live(&world, &one, network, 400);
        assert!(!stood, "no attempt lasts so long");
        check_usable(&world, &one, network);
    });
}

#[test]
fn an_attempt_that_the_store_fails_takes_its_mark_away_as_soon_as_it_answers() {
    on_a_large_stack(|| {
        let (world, network) = set_up(2);
        let one = world.hosts()[0].clone();
        when_marked(&world, network, |_| Fate::Unreachable);
        remove(&one, network).expect_err("no answer comes");
        assert!(is_marked(&world, network));
        world.set_script(|_| Fate::Answered);
        let (_, stood) = live(&world, &one, network, 2);
        assert!(!stood, "it is its own");
        check_usable(&world, &one, network);
    });
}

#[test]
fn an_attempt_whose_mark_is_taken_away_removes_nothing() {
    on_a_large_stack(|| {
        let (world, network) = set_up(2);
        let one = world.hosts()[0].clone();
        when_marked(&world, network, move |world| {
            put_state(world, network, NetworkState::Active(None));
            Fate::Answered
        });
        let error = remove(&one, network).expect_err("it is there to stay");
        assert_eq!(error.reason, "cluster-contended");
        world.set_script(|_| Fate::Answered);
        check_usable(&world, &one, network);
    });
}

/// How many blocks each host has.
fn blocks_of(world: &World, host: HostId) -> u64 {
    let history = world.history();
    let blocks = history
        .records
        .iter()
        .filter(|(key, _)| keys::parse_block(key).is_some());
    let of = blocks.filter(|(_, value)| {
        let block = record::decode::<BlockRecord>(value);
        block.is_ok_and(|block| block.host == host)
    });
    of.count() as u64
}

#[test]
fn a_removal_costs_every_host_what_it_had_there_alone() {
    on_a_large_stack(|| {
        let (world, network) = set_up(100);
        for host in world.hosts().iter().take(50) {
            let daemon = host.daemon().expect("it runs");
            (host.connect(&daemon, network, None)).expect("an address");
        }
        (0..2).for_each(|_| world.round());
        for host in world.hosts() {
            let daemon = host.daemon().expect("it runs");
            let ids: Vec<_> = host.machine().endpoints.keys().copied().collect();
            ids.into_iter()
                .for_each(|id| drop(host.disconnect(&daemon, id)));
        }
        (0..2).for_each(|_| world.round());
        let had: Vec<u64> = (world.hosts().iter())
            .map(|host| blocks_of(&world, host.id()))
            .collect();
        assert!(had.iter().sum::<u64>() > 100, "{had:?}");
        let before = traffic(&world);
        world.dismantle();
        (0..2).for_each(|_| world.round());
        let after = traffic(&world);
        for (n, blocks) in had.iter().enumerate().skip(1) {
            let read = after[n].records - before[n].records;
            // What is told of the network, its format looked at where it is gone, and presences.
            assert!(
                read <= blocks + 20,
                "host {n} had {blocks} blocks and read {read}"
            );
        }
        let all: u64 = had.iter().sum();
        let read = after[0].records - before[0].records;
        assert!(
            read < 10 * all + 1000,
            "who removed it read {read} of {all}"
        );
    });
}
