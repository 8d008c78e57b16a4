//! When hosts read everything, where all of them must at once.

use super::*;
use crate::simulation::host::{Daemon, Role};
use std::time::Duration;

/// How often each host has read everything.
fn reads(world: &World) -> Vec<u64> {
    let daemons = world.hosts().iter().filter_map(|host| host.daemon());
    let reads = |daemon: Arc<Daemon>| daemon.core.state().reads;
    daemons.map(reads).collect()
}

/// Lets all hosts lose their watches at one moment; gives how many of them read everything in each
/// hundredth of a second after it, until all have.
fn after_a_loss(hosts: usize) -> Vec<usize> {
    chance::seed(13);
    let world = World::quiet(hosts);
    (0..4).for_each(|_| world.round());
    let first = reads(&world);
    for host in world.hosts() {
        host.daemon().expect("it runs").client.lose_watches();
    }
    let mut done = Vec::new();
    while done.iter().sum::<usize>() < hosts {
        assert!(done.len() < 1500, "{done:?}");
        let before = reads(&world);
        let until = world.store.now() + Duration::from_millis(10);
        (world.hosts().iter()).for_each(|host| host.step(Role::Follow));
        // A call takes its time, too.
        world.store.advance(until.saturating_sub(world.store.now()));
        let after = reads(&world);
        let grown = after.iter().zip(before).filter(|(now, then)| *now > then);
        done.push(grown.count());
    }
    (0..2).for_each(|_| world.round());
    let twice = reads(&world)
        .iter()
        .zip(first)
        .all(|(now, then)| *now == then + 1);
    assert!(twice, "each reads once");
    world.check_rest();
    done
}

#[test]
fn hosts_that_lose_their_watches_at_once_read_everything_at_different_times() {
    on_a_large_stack(|| {
        let many = after_a_loss(100);
        let most = many.iter().max().expect("all have read");
        assert!(*most <= 20, "{most} of 100 at once: {many:?}");
        let few = after_a_loss(3);
        assert!(few.len() <= 10, "three need not wait: {few:?}");
    });
}
