//! Every effect fails once, and every effect is the last one before a crash: over each operation,
//! with the fake kernel and stores in memory.
//!
//! An operation that fails leaves all as before, or finishes; its retry succeeds. A start after a
//! crash finds the operation whole or not begun. Nothing stands that nobody wants, and no address
//! stays leased: the next endpoint gets the one that it would have got.

mod agreed;
mod apart;
mod asked;
mod behind;
mod carrying;
mod cluster;
mod crowd;
mod decided;
mod died;
mod drained;
mod forgotten;
mod former;
mod ghost;
mod global;
mod gone;
mod inject;
mod lasting;
mod led;
mod looked;
mod many;
mod members;
mod objected;
mod picture;
mod refused;
mod returned;
mod scenario;
mod sealed;
mod served;
mod shared;
mod translated;
mod twins;
mod unled;
mod world;

use inject::Mode;
use picture::Picture;
use scenario::{Step, steps};
use std::time::Duration;
use vw_controller::{Controller, command::NetworkPrune};
use vw_hoststate::Key;
use world::World;

/// What the world looks like before the first step and after each.
fn pictures(steps: &[Step]) -> Vec<Picture> {
    pictures_in(World::new, steps)
}

fn pictures_in(world: fn() -> World, steps: &[Step]) -> Vec<Picture> {
    let world = world();
    let controller = world.open();
    let mut pictures = vec![world.picture(&controller)];
    for step in steps {
        (step.run)(&controller, &world).unwrap_or_else(|e| panic!("{}: {}", step.name, e.chain()));
        pictures.push(world.picture(&controller));
    }
    pictures
}

/// A world in which the steps before `at` are done.
fn prepared(steps: &[Step], at: usize) -> (World, Controller) {
    prepared_in(World::new, steps, at)
}

fn prepared_in(world: fn() -> World, steps: &[Step], at: usize) -> (World, Controller) {
    let world = world();
    let controller = world.open();
    for step in &steps[..at] {
        (step.run)(&controller, &world).unwrap_or_else(|e| panic!("{}: {}", step.name, e.chain()));
    }
    (world, controller)
}

/// Every step with each of its effects chosen in turn, until one has no more of them.
fn for_every_effect(mode: fn(usize) -> Mode, check: impl Fn(&Case<'_>, World, Controller)) {
    for_every_effect_in(World::new, &steps(), mode, check);
}

fn for_every_effect_in(
    world: fn() -> World,
    steps: &[Step],
    mode: fn(usize) -> Mode,
    check: impl Fn(&Case<'_>, World, Controller),
) {
    let pictures = pictures_in(world, steps);
    let mut cases = 0;
    for at in 0..steps.len() {
        for nth in 1.. {
            let (world, controller) = prepared_in(world, steps, at);
            world.faults.set(mode(nth));
            let outcome = (steps[at].run)(&controller, &world);
            let struck = world.faults.struck();
            world.faults.set(Mode::Never);
            if !struck {
                outcome.unwrap_or_else(|e| panic!("{}: {}", steps[at].name, e.chain()));
                assert!(nth > 1, "{} has no effect", steps[at].name);
                break;
            }
            cases += 1;
            let case = Case {
                step: &steps[at],
                nth,
                refused: outcome.is_err(),
                before: &pictures[at],
                after: &pictures[at + 1],
            };
            check(&case, world, controller);
        }
    }
    assert!(cases > 50, "only {cases} effects were tried");
}

struct Case<'a> {
    step: &'a Step,
    nth: usize,
    refused: bool,
    before: &'a Picture,
    after: &'a Picture,
}

impl Case<'_> {
    fn name(&self) -> String {
        format!("{}, effect {}", self.step.name, self.nth)
    }

    /// Fails the test unless all is as before the step or as after it; tells whether as after.
    fn is_whole(&self, when: &str, found: &Picture) -> bool {
        if found == self.after {
            return true;
        }
        assert!(
            found == self.before,
            "{} {when}: neither as before nor as after:\n{}\n{}",
            self.name(),
            found.against("before", self.before),
            found.against("after", self.after)
        );
        false
    }

    /// Does the step again where it was not done.
    fn do_again(&self, world: &World, controller: &Controller, done: bool) {
        if !done {
            (self.step.run)(controller, world)
                .unwrap_or_else(|e| panic!("{}, again: {}", self.name(), e.chain()));
        }
    }

    fn must_be_done(&self, found: &Picture) {
        assert!(
            found == self.after,
            "{}, at last:\n{}",
            self.name(),
            found.against("after", self.after)
        );
    }
}

#[test]
fn one_failed_effect_changes_nothing_or_is_finished() {
    for_every_effect(Mode::Once, is_undone_or_finished);
}

/// What there is once nothing is on its way any more: who has gone may hold its ports for a moment.
fn settled(case: &Case<'_>, world: &World, controller: &Controller) -> Picture {
    let look = || world.picture(controller).without_leftovers();
    let is_settled =
        |now: &Picture| now.is_halfway_removed() || now == case.before || now == case.after;
    let found = vw_testkit::poll(Duration::from_secs(5), || Some(look()).filter(is_settled));
    found.unwrap_or_else(look)
}

fn is_undone_or_finished(case: &Case<'_>, world: World, controller: Controller) {
    let found = settled(case, &world, &controller);
    let done = !found.is_halfway_removed() && case.is_whole("after the failure", &found);
    assert!(done || case.refused, "{}: said to be done", case.name());
    let steps = controller.repair().unwrap();
    assert_eq!(steps, 0, "{}: the kernel is not as wanted", case.name());
    case.do_again(&world, &controller, done);
    let found = world.picture(&controller).without_leftovers();
    case.must_be_done(&found);
    let controller = world.reopen(controller);
    case.must_be_done(&world.picture(&controller));
    assert_eq!(controller.repair().unwrap(), 0, "{}", case.name());
}

#[test]
fn a_crash_at_any_effect_leaves_the_operation_whole_or_not_begun() {
    for_every_effect(Mode::From, is_whole_after_a_crash);
}

fn is_whole_after_a_crash(case: &Case<'_>, world: World, controller: Controller) {
    let controller = world.reopen(controller);
    let done = case.is_whole("after the crash", &world.picture(&controller));
    assert!(done || case.refused, "{}: said to be done", case.name());
    let steps = controller.repair().unwrap();
    assert_eq!(steps, 0, "{}: the start left something", case.name());
    case.do_again(&world, &controller, done);
    case.must_be_done(&world.picture(&controller));
    assert_eq!(controller.repair().unwrap(), 0, "{}", case.name());
}

#[test]
fn a_start_that_is_cut_off_is_finished_by_the_next() {
    let steps = steps();
    let fullest = 1 + steps
        .iter()
        .position(|step| step.name.starts_with("create a container"))
        .unwrap();
    let before = pictures(&steps[..fullest]).pop().unwrap();
    for nth in 1.. {
        let (world, controller) = prepared(&steps, fullest);
        drop(controller);
        world.kernel.lose(|key| matches!(key, Key::Link(..)));
        world.faults.set(Mode::From(nth));
        drop(world.try_open());
        world.await_end(std::time::Duration::from_secs(60));
        let struck = world.faults.struck();
        world.faults.set(Mode::Never);
        let controller = world.open();
        let found = world.picture(&controller);
        assert!(
            found == before,
            "effect {nth}:\n{}",
            found.against("before", &before)
        );
        assert_eq!(controller.repair().unwrap(), 0);
        if !struck {
            assert!(nth > 20, "only {nth} effects were tried");
            return;
        }
    }
}

#[test]
fn prune_removes_what_nobody_uses_and_waits_for_nobody() {
    let steps = steps();
    let (world, controller) = prepared(&steps, steps.len() - 2);
    let prune = NetworkPrune {
        until: None,
        labels: Vec::new(),
        not_labels: Vec::new(),
    };
    assert_eq!(controller.submit(prune).unwrap().removed, ["blue", "green"]);
    assert!(world.picture(&controller) == *pictures(&steps).last().unwrap());
}

#[test]
fn a_time_in_which_nothing_works_is_made_up_for_by_the_next_call() {
    for_every_effect(Mode::From, |case, world, controller| {
        // What a network leaves goes with the next change, without the user's doing.
        if !case.refused {
            controller.repair().unwrap();
        }
        case.do_again(&world, &controller, !case.refused);
        let found = world.picture(&controller).without_leftovers();
        case.must_be_done(&found);
        assert_eq!(controller.repair().unwrap(), 0, "{}", case.name());
        let controller = world.reopen(controller);
        case.must_be_done(&world.picture(&controller));
        assert_eq!(controller.repair().unwrap(), 0, "{}", case.name());
    });
}
