//! Seeded runs. `VETHWORK_SIM_SEED=N` plays one seed again.

use super::{chance, world::World};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

/// Where one run's steps lie on a stack of their own: steps come in between steps.
const STACK: usize = 256 << 20;

fn play(seed: u64, hosts: usize, steps: usize) -> Arc<World> {
    chance::seed(seed);
    let world = World::new(hosts);
    (0..steps).for_each(|_| world.step());
    world.calm();
    world.check_rest();
    world.dismantle();
    world
}

/// Plays seeds one after the other; says which one failed.
fn seeds(seeds: std::ops::Range<u64>, hosts: usize, steps: usize) {
    let run = move || {
        let asked = std::env::var("VETHWORK_SIM_SEED").ok();
        let asked = asked.map(|text| text.parse::<u64>().expect("a number"));
        let mut tally = std::collections::BTreeMap::new();
        for seed in seeds {
            let seed = asked.unwrap_or(seed);
            let result = catch_unwind(AssertUnwindSafe(|| play(seed, hosts, steps)));
            match result {
                Ok(world) => {
                    for (what, count) in &world.history().tally {
                        *tally.entry(*what).or_insert(0) += count;
                    }
                }
                Err(panic) => {
                    eprintln!("play it again: VETHWORK_SIM_SEED={seed}");
                    resume_unwind(panic);
                }
            }
            if asked.is_some() {
                break;
            }
        }
        eprintln!("{tally:?}");
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(run);
    if let Err(panic) = thread.expect("a thread").join() {
        resume_unwind(panic);
    }
}

#[test]
fn whatever_goes_wrong_a_few_hosts_agree() {
    seeds(1..120, 5, 3000);
}

#[test]
fn whatever_goes_wrong_a_hundred_hosts_agree() {
    seeds(1..3, 100, 6000);
}
