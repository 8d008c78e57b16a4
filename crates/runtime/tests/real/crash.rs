//! kill -9 between any two steps of a container's life: the next life finds the container
//! in a defined state, and can finish or remove it without a trace.
//!
//! The test binary starts itself again as the victim, which does the steps, tells each one
//! it reached, and is killed there.

use crate::support::{Fixture, PATIENCE, eventually, random_id, request, shell};
use rustix::process::Signal;
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};
use vw_model::SandboxId;
use vw_runtime::State;

const VICTIM: &str = "VW_RUNTIME_VICTIM";
const SCRIPT: &str = "trap 'echo end; exit 9' TERM; echo begun; while :; do sleep 0.05; done";

/// Forgets a life's memory, keeping its directory.
fn leave(mut life: Fixture) -> PathBuf {
    life.keep = true;
    life.dir.clone()
}

/// The victim's life; without its variable in the environment this does nothing.
#[test]
fn victim() {
    let Ok(order) = std::env::var(VICTIM) else {
        return;
    };
    let (dir, id) = order.split_once(' ').unwrap();
    let id: SandboxId = id.parse().unwrap();
    let fixture = Fixture::at(&PathBuf::from(dir));
    let runtime = &fixture.runtime;
    let reached = |step: &str| {
        println!("reached {step}");
        // A reader that asked for this step kills us; one that did not goes on reading.
        std::io::Write::flush(&mut std::io::stdout()).unwrap();
        // check-allow(no-sleep-in-tests): gives the reader time to kill us at this very step.
        std::thread::sleep(Duration::from_millis(50));
    };
    runtime.probe().unwrap();
    let image = runtime.images().get("busybox").unwrap();
    reached("begin");
    runtime.create_rootfs(id, &image.id).unwrap();
    reached("rootfs");
    let spec = shell(SCRIPT);
    runtime.create(id, &request(&spec)).unwrap();
    reached("created");
    runtime.start(id).unwrap();
    reached("started");
    runtime.signal(id, Signal::TERM).unwrap();
    reached("signalled");
    leave(fixture);
}

/// Runs the victim and kills it `delay` after it reached a step.
fn crash(fixture: &Fixture, id: SandboxId, step: &str, delay: Duration) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["crash::victim", "--exact", "--nocapture"])
        .env(VICTIM, format!("{} {id}", fixture.dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let wanted = format!("reached {step}");
    assert!(lines.any(|line| line.unwrap().ends_with(&wanted)), "{step}");
    // check-allow(no-sleep-in-tests): the moment of the kill is what is varied.
    std::thread::sleep(delay);
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn each_step_is_adopted() {
    let Some(fixture) = Fixture::new("crash") else {
        return;
    };
    let dir = leave(fixture);
    for step in ["rootfs", "created", "started", "signalled"] {
        let id = random_id();
        let life = Fixture::at(&dir);
        crash(&life, id, step, Duration::ZERO);
        leave(life);

        let life = Fixture::at(&dir);
        let runtime = &life.runtime;
        let watcher = runtime.watch().unwrap();
        let state = runtime.state(id).unwrap();
        let expected = match step {
            "rootfs" => {
                assert_eq!(state, State::Absent);
                runtime.create(id, &request(&shell(SCRIPT))).unwrap();
                runtime.start(id).unwrap();
                true
            }
            "created" => {
                assert_eq!(state, State::Created);
                runtime.start(id).unwrap();
                true
            }
            "started" => {
                assert!(matches!(state, State::Running { .. }), "{state:?}");
                true
            }
            _ => false,
        };
        if expected {
            // A signal before the script's trap would be ignored by a first process.
            eventually("it begins", || life.output(id).0.starts_with("begun"));
            runtime.signal(id, Signal::TERM).unwrap();
        }
        let event = watcher.events().recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            (event.id, event.code, event.monitor_lost),
            (id, 9, false),
            "{step}"
        );
        assert_eq!(life.output(id).0, "begun\nend\n");
        runtime.delete(id).unwrap();
        drop(watcher);
        life.assert_nothing_left();
        leave(life);
    }
    drop(Fixture::at(&dir));
}

#[test]
fn between_the_steps_nothing_leaks() {
    let Some(fixture) = Fixture::new("between") else {
        return;
    };
    // Creating takes some 50 ms and starting 10: these fall into all of it.
    for (step, delays) in [("rootfs", 0..20), ("created", 0..5)] {
        for delay in delays {
            let id = random_id();
            crash(&fixture, id, step, Duration::from_millis(50 + delay * 3));
            let life = Fixture::at(&fixture.dir);
            let watcher = life.runtime.watch().unwrap();
            let state = life.runtime.state(id).unwrap();
            if let State::Created = state {
                life.runtime.start(id).unwrap();
            }
            if state != State::Absent {
                life.runtime.signal(id, Signal::KILL).unwrap();
                let event = watcher.events().recv_timeout(PATIENCE).unwrap();
                assert_eq!((event.id, event.code), (id, 137));
            }
            life.runtime.delete(id).unwrap();
            drop(watcher);
            life.assert_nothing_left();
            leave(life);
        }
    }
}

#[test]
fn one_that_was_finished_after_the_watch_began_is_watched_from_its_start() {
    let Some(fixture) = Fixture::new("late") else {
        return;
    };
    let watching = Fixture::at(&fixture.dir);
    let watcher = watching.runtime.watch().unwrap();
    let id = fixture.create(&shell("exit 3")).unwrap();
    watching.runtime.start(id).unwrap();
    let event = watcher.events().recv_timeout(PATIENCE).unwrap();
    assert_eq!((event.id, event.code), (id, 3));
    watching.runtime.delete(id).unwrap();
    drop(watcher);
    leave(watching);
    fixture.assert_nothing_left();
}
