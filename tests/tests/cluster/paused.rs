//! A host whose daemon is stopped where it is (SIGSTOP) for longer than its lease, and goes on.

use crate::{
    away::{is_neighbour, state},
    over_one_store,
    services::network,
    stage::{Kind, LEASE, SOON, Stage, lease},
};
use std::collections::BTreeSet;
use vw_testkit::{Host, Running, eventually, poll, traffic};

over_one_store! {
    a_daemon_that_stood_still_past_its_lease_goes_on_consistent,
}

/// Asks a daemon that stands still for one more container.
fn ask(stage: &Stage, name: &str) -> Running {
    let line = format!("run -d --name {name} --network shop host sleep 1000");
    let mut command = stage.daemon("b").docker_command(line.split(' '));
    stage.host("b").spawn_command(&mut command)
}

/// What who asked was answered where that was refused.
#[track_caller]
fn refusal(mut asked: Running) -> Option<String> {
    let answer = poll(SOON, || asked.ended()).expect("an answer");
    (!answer.success()).then(|| asked.output())
}

/// Each container of both hosts that runs has an address of its own.
#[track_caller]
fn all_differ(stage: &Stage) {
    let mut seen = BTreeSet::new();
    for host in ["a", "b"] {
        for name in stage.docker(host, "ps --format {{.Names}}").lines() {
            let address = stage.address(host, name, "shop");
            let inside = stage.inside(host, name).ip("-4 addr show eth0");
            assert!(inside.contains(&format!("inet {address}/")), "{inside}");
            assert!(seen.insert(address), "{name} has another's: {seen:?}");
        }
    }
}

/// A container on b is found by its name at an address, and reached there.
#[track_caller]
fn is_back(stage: &Stage, near: &Host, name: &str) {
    eventually("it is found at its address again", LEASE, || {
        let at = stage.address("b", name, "shop");
        stage.resolve(near, name, "A") == at && is_neighbour(stage, &at) && traffic::ping(near, &at)
    });
}

fn a_daemon_that_stood_still_past_its_lease_goes_on_consistent(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "--subnet 10.99.0.0/24", "shop");
    let near = stage.start("a", "near", "--network shop");
    let two = stage.start("b", "two", "--network shop");
    let two_at = stage.address("b", "two", "shop");
    is_back(&stage, &near, "two");
    let _server = traffic::Server::tcp(&two, "two", "0.0.0.0:80");
    let to = format!("{two_at}:80");
    let mut talk = traffic::Conversation::open(&near, &to).unwrap();
    stage.stand_still("b");
    let asked = ask(&stage, "three");
    eventually("it leaves the names", lease(kind), || {
        talk.say("on").expect("its kernel goes on");
        stage.resolve(&near, "two", "A").is_empty()
    });
    assert_eq!(state(&stage, "b"), "away");
    let taken = format!("run --rm --network shop --ip {two_at} host true");
    let refused = stage.refused("a", &taken);
    assert!(refused.contains("host b"), "{refused}");
    for name in ["four", "five"] {
        drop(stage.start("a", name, "--network shop"));
    }
    stage.cut("b");
    eventually("it is no neighbour any more", SOON, || {
        !is_neighbour(&stage, &two_at)
    });
    assert_eq!(state(&stage, "b"), "dead");
    let own = two.ip("-4 addr show eth0");
    assert!(own.contains(&format!("inet {two_at}/")), "{own}");
    stage.mend("b");
    stage.go_on("b");
    assert_eq!(refusal(asked), None);
    all_differ(&stage);
    for name in ["two", "three"] {
        is_back(&stage, &near, name);
    }
    assert_eq!(stage.address("b", "two", "shop"), two_at);
    stage.forget("b");
    given_up(&stage, &near);
    stage.end();
}

/// It stands still again and is given up meanwhile; what it had is another's when it goes on, with
/// somebody before it who asks for one more.
#[track_caller]
fn given_up(stage: &Stage, near: &Host) {
    let former = ["two", "three"].map(|name| stage.address("b", name, "shop"));
    stage.stand_still("b");
    let asked = ask(stage, "six");
    stage.cut("b");
    eventually("it may be given up", LEASE * 2, || {
        stage.daemon("a").cli(["cluster", "forget", "b"]).success()
    });
    for (n, at) in former.iter().enumerate() {
        let thief = format!("--network shop --ip {at}");
        drop(stage.start("a", &format!("thief{n}"), &thief));
    }
    // The rest of its blocks.
    for n in 0..4 {
        drop(stage.start("a", &format!("more{n}"), "--network shop"));
    }
    stage.mend("b");
    stage.go_on("b");
    for (name, at) in ["two", "three"].iter().zip(&former) {
        eventually("it has another address", LEASE, || {
            let now = stage.address("b", name, "shop");
            !now.is_empty() && now != *at
        });
    }
    if let Some(why) = refusal(asked) {
        assert!(why.contains("was forgotten by its cluster"), "{why}");
        stage.docker("b", "start six");
    }
    all_differ(stage);
    for name in ["two", "three", "six"] {
        is_back(stage, near, name);
    }
}
