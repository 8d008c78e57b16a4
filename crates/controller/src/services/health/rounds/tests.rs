//! Whom to ask, and when.

use super::{
    Answer, Asking, COMMANDS, Check, Command, FIRST_PAUSE, PUT_OFF, Patient, Patients, Place,
    Rounds, SOCKETS, SPREAD,
};
use crate::{
    sample::{bytes, guest},
    services::{health::Changed, roster::Health},
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use vw_model::{EndpointId, HealthSpec, ServiceId};
use vw_runtime::{Runtime, Settings};
use vw_testkit::eventually;

const SECOND: Duration = Duration::from_secs(1);

fn service(name: &str) -> ServiceId {
    ServiceId::from_bytes(bytes(name))
}

fn id(number: usize) -> EndpointId {
    EndpointId::from_bytes(bytes(&format!("endpoint {number}")))
}

fn place(number: usize) -> Place {
    (service("web"), id(number))
}

fn patient(probe: &str) -> Patient {
    Patient {
        sandbox: guest(),
        addr: [10, 0, 0, 2].into(),
        spec: HealthSpec {
            probe: probe.parse().expect("it is one"),
            interval: SECOND,
            timeout: SECOND,
            retries: 1,
            start_period: Duration::ZERO,
        },
    }
}

fn watch(rounds: &mut Rounds, number: usize, probe: &str, health: Health) {
    rounds.take(place(number), Some((patient(probe), health)));
}

/// Has one answer, by a check that begins and ends now; what is told of it.
fn answer(rounds: &mut Rounds, number: usize, well: bool) -> Vec<bool> {
    let answer = match well {
        true => Answer::well(""),
        false => Answer::failed("refused"),
    };
    let check = Check {
        start: SystemTime::now(),
        by: Asking::Failed(answer),
    };
    rounds.begin(place(number), check);
    let told = rounds.look(vec![place(number)]);
    told.into_iter().map(|(_, well)| well).collect()
}

#[test]
fn who_starts_is_asked_soon_again_and_fails_only_at_its_interval() {
    let mut rounds = Rounds::default();
    watch(&mut rounds, 1, "tcp:80", Health::Starting);
    let mut told = Vec::new();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let before = Instant::now();
        told.push(answer(&mut rounds, 1, false));
        pauses.push(rounds.watched[&place(1)].next.duration_since(before));
    }
    // Each is counted from a moment later.
    let at_least = |pause: Duration| move |found: &Duration| *found >= pause && *found < pause * 2;
    for (found, pause) in pauses.iter().zip([1, 2, 4, 8]) {
        assert!(at_least(FIRST_PAUSE * pause)(found), "{pauses:?}");
    }
    assert!(at_least(SECOND)(&pauses[4]), "{pauses:?}");
    assert_eq!(told.pop(), Some(vec![false]));
    assert!(told.iter().all(Vec::is_empty), "{told:?}");
}

#[test]
fn who_was_to_leave_and_stays_is_told_of_again() {
    let mut rounds = Rounds::default();
    watch(&mut rounds, 1, "tcp:80", Health::Starting);
    assert_eq!(answer(&mut rounds, 1, true), [true]);
    for (health, told) in [(Health::Healthy, vec![]), (Health::Starting, vec![true])] {
        watch(&mut rounds, 1, "tcp:80", health);
        // Its interval is not waited for.
        let asked = rounds.due(Instant::now()) == [place(1)];
        assert_eq!(asked, health == Health::Starting, "{health:?}");
        assert_eq!(answer(&mut rounds, 1, true), told, "{health:?}");
    }
}

#[test]
fn who_could_not_be_asked_any_more_is_looked_at_once() {
    let mut rounds = Rounds::default();
    watch(&mut rounds, 1, "tcp:80", Health::Healthy);
    watch(&mut rounds, 2, "tcp:80", Health::Healthy);
    let check = Check {
        start: SystemTime::now(),
        by: Asking::Failed(Answer::failed("it is gone")),
    };
    rounds.begin(place(1), check);
    let wake = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
    assert_eq!(rounds.wait(&wake, Instant::now()), [place(1)]);
}

#[test]
fn who_changes_from_a_command_waits_for_none_that_has_not_ended() {
    let mut rounds = Rounds::default();
    let folder = std::env::temp_dir().join(format!("vw-ending-{}", std::process::id()));
    let runtime = runtime(&folder);
    watch(&mut rounds, 1, "tcp:80", Health::Starting);
    watch(&mut rounds, 2, "exec:true", Health::Starting);
    for number in [1, 2] {
        let ending = (service("web"), command(&runtime, number));
        rounds.ending.insert(id(number), ending);
    }
    assert_eq!(rounds.due(Instant::now()), [place(1)]);
    drop((rounds, runtime));
    // It may never have been made.
    let _ = std::fs::remove_dir_all(folder);
}

/// A runtime that can run nothing: each command ends at once, and waits to be looked at.
fn runtime(folder: &Path) -> Arc<Runtime> {
    let runtime = Runtime::open(Settings {
        data_root: folder.join("data"),
        exec_root: folder.join("exec"),
        runtimes: vec!["runc".to_owned()],
        patience: 60 * SECOND,
        conmon: "conmon".to_owned(),
    });
    Arc::new(runtime.expect("it opens"))
}

fn command(runtime: &Arc<Runtime>, number: usize) -> Command {
    let words = vec!["true".to_owned()];
    Command::begin(runtime.clone(), (guest(), id(number)), words, SECOND).expect("a thread")
}

/// What is looked at because this changed, of two services that have two members each.
fn looked_at(rounds: &mut Rounds, changed: Changed) -> Vec<(ServiceId, Option<EndpointId>)> {
    let looked = RefCell::new(Vec::new());
    rounds.refresh(changed, |service, only| {
        looked.borrow_mut().push((service, only));
        let all = [1, 2].map(|number| (id(number), (patient("tcp:80"), Health::Healthy)));
        let found = all
            .into_iter()
            .filter(|(id, _)| only.is_none_or(|only| only == *id));
        found.collect::<Patients>()
    });
    looked.into_inner()
}

#[test]
fn who_comes_has_nobody_else_looked_at() {
    let mut rounds = Rounds::default();
    let (web, other) = (service("web"), service("other"));
    let all_of = |service| Changed {
        services: BTreeSet::from([service]),
        ..Changed::default()
    };
    let one_of = |service, number| Changed {
        members: BTreeSet::from([(service, id(number))]),
        ..Changed::default()
    };
    assert_eq!(looked_at(&mut rounds, one_of(web, 1)), [(web, Some(id(1)))]);
    assert_eq!(rounds.watched.len(), 1);
    assert_eq!(looked_at(&mut rounds, all_of(web)), [(web, None)]);
    assert_eq!(looked_at(&mut rounds, all_of(other)), [(other, None)]);
    assert_eq!(rounds.watched.len(), 4);
    // Of one that is gone nothing is left, and all is of the others.
    let gone = one_of(web, 3);
    assert_eq!(looked_at(&mut rounds, gone), [(web, Some(id(3)))]);
    rounds.refresh(one_of(web, 2), |_, _| Patients::new());
    assert_eq!(rounds.of(web), [place(1)]);
    rounds.refresh(all_of(web), |_, _| Patients::new());
    assert_eq!((rounds.of(web).len(), rounds.of(other).len()), (0, 2));
    assert_eq!(rounds.lanes.sockets.waiting.len(), 2);
}

#[test]
fn another_interval_costs_a_check_nothing_of_what_it_knows() {
    let mut rounds = Rounds::default();
    watch(&mut rounds, 1, "tcp:80", Health::Healthy);
    assert_eq!(answer(&mut rounds, 1, false), [false]);
    let joined = rounds.watched[&place(1)].joined;
    let mut sooner = patient("tcp:80");
    (sooner.spec.interval, sooner.spec.retries) = (SECOND / 2, 2);
    let before = Instant::now();
    rounds.take(place(1), Some((sooner.clone(), Health::Unhealthy)));
    let one = &rounds.watched[&place(1)];
    assert_eq!((one.joined, &one.patient), (joined, &sooner));
    assert!(one.next <= before + SECOND, "it is asked as often at once");
    // It changed to and fro, so that once is not enough.
    assert_eq!(answer(&mut rounds, 1, true), [false; 0]);
    // One that is asked now is asked on.
    rounds.begin(
        place(1),
        Check {
            start: SystemTime::now(),
            by: Asking::Failed(Answer::failed("refused")),
        },
    );
    rounds.take(place(1), Some((patient("tcp:80"), Health::Unhealthy)));
    assert!(rounds.watched[&place(1)].running.is_some());
    // Another question is another matter.
    watch(&mut rounds, 1, "tcp:81", Health::Unhealthy);
    assert!(rounds.watched[&place(1)].running.is_none());
    assert_eq!(answer(&mut rounds, 1, true), [true]);
}

#[test]
fn what_this_host_cannot_do_says_nothing_of_an_endpoint() {
    let mut rounds = Rounds::default();
    watch(&mut rounds, 1, "tcp:80", Health::Healthy);
    watch(&mut rounds, 2, "tcp:80", Health::Healthy);
    for _ in 0..5 {
        let before = Instant::now();
        rounds.put_off(place(1), "too many open files");
        let next = rounds.watched[&place(1)].next;
        assert!(next >= before + PUT_OFF && next <= Instant::now() + PUT_OFF);
    }
    assert_eq!(rounds.due(Instant::now()), [place(2)], "it is not its turn");
    assert_eq!(answer(&mut rounds, 1, true), [false; 0]);
    assert_eq!(answer(&mut rounds, 1, false), [false]);
}

#[test]
fn who_is_asked_at_once_is_no_more_than_there_is_room_for() {
    let mut rounds = Rounds::default();
    for number in 0..SOCKETS + 2 {
        watch(&mut rounds, number, "tcp:80", Health::Starting);
    }
    let now = Instant::now();
    let due = rounds.due(now);
    assert_eq!(due.len(), SOCKETS);
    for place in due {
        let check = Check {
            start: SystemTime::now(),
            by: Asking::Failed(Answer::well("")),
        };
        rounds.begin(place, check);
    }
    assert!(rounds.due(now).is_empty());
    watch(&mut rounds, SOCKETS + 2, "exec:true", Health::Starting);
    assert_eq!(rounds.due(Instant::now()), [place(SOCKETS + 2)]);
}

#[test]
fn a_service_whose_checks_hang_holds_up_no_other() {
    let mut rounds = Rounds::default();
    for number in 0..2 * COMMANDS {
        watch(&mut rounds, number, "exec:true", Health::Starting);
    }
    let hangs = || Check {
        start: SystemTime::now(),
        by: Asking::Failed(Answer::failed("")),
    };
    let asked = rounds.due(Instant::now());
    assert_eq!(asked.len(), COMMANDS);
    for place in &asked {
        rounds.begin(*place, hangs());
    }
    // They come after all who wait.
    let late = [1, 2].map(|number| (service("db"), id(100 + number)));
    for place in late {
        let found = Some((patient("exec:true"), Health::Starting));
        rounds.take(place, found);
    }
    for (place, next) in asked.iter().zip(late) {
        assert!(rounds.due(Instant::now()).is_empty());
        rounds.look(vec![*place]);
        assert_eq!(rounds.due(Instant::now()), [next]);
        rounds.begin(next, hangs());
    }
    rounds.look(vec![asked[2]]);
    let [next] = rounds.due(Instant::now())[..] else {
        panic!("there is room for one");
    };
    assert_eq!(next.0, service("web"));
}

#[test]
fn those_who_were_well_are_not_asked_all_at_once_at_the_start() {
    let mut rounds = Rounds::default();
    let now = Instant::now();
    let mut often = patient("tcp:80");
    often.spec.interval = SPREAD * 2;
    let those = |health| {
        let id = |number| EndpointId::from_bytes([number; 32]);
        let all = (0..=u8::MAX).map(|number| (id(number), (often.clone(), health)));
        all.collect::<Patients>()
    };
    rounds.take_first(service("web"), those(Health::Healthy), now);
    let last = (service("web"), EndpointId::from_bytes([u8::MAX; 32]));
    let until = |part: u32| {
        let waiting = &rounds.lanes.sockets.waiting;
        waiting.range(..=(now + SPREAD * part / 4, last)).count()
    };
    assert_eq!([1, 2, 4].map(until), [64, 128, 256]);
    rounds.take_first(service("new"), those(Health::Starting), now);
    assert!(rounds.due(now).len() >= 256, "who starts does not wait");
}

#[test]
fn commands_that_have_not_ended_leave_no_room_for_others() {
    let folder = std::env::temp_dir().join(format!("vw-health-{}", std::process::id()));
    let runtime = runtime(&folder);
    let mut rounds = Rounds::default();
    for number in 0..COMMANDS + 2 {
        watch(&mut rounds, number, "exec:true", Health::Starting);
    }
    let now = Instant::now();
    let ended = |number: usize| (service("db"), command(&runtime, 100 + number));
    assert_eq!(rounds.due(now).len(), COMMANDS);
    let ending = (0..COMMANDS - 1).map(|number| (id(100 + number), ended(number)));
    rounds.ending = ending.collect::<BTreeMap<_, _>>();
    assert_eq!(rounds.due(now).len(), 1, "there is room for one more");
    rounds.ending.insert(id(99), ended(COMMANDS));
    assert_eq!(rounds.due(now).len(), 0, "they have not ended");
    eventually("they have", Duration::from_secs(20), || {
        let mut ending = rounds.ending.values();
        ending.all(|(_, command)| command.has_ended())
    });
    rounds.look(Vec::new());
    assert_eq!(rounds.due(now).len(), COMMANDS);
    drop(runtime);
    // It may never have been made.
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn a_service_whose_commands_do_not_end_has_its_turn_after_others() {
    let folder = std::env::temp_dir().join(format!("vw-turns-{}", std::process::id()));
    let runtime = runtime(&folder);
    let mut rounds = Rounds::default();
    for number in 0..COMMANDS - 1 {
        let ending = (service("db"), command(&runtime, number));
        rounds.ending.insert(id(number), ending);
    }
    // Those of `db` wait longer.
    let now = Instant::now();
    for (name, number) in [("db", 20), ("db", 21), ("web", 30)] {
        let found = Some((patient("exec:true"), Health::Starting));
        rounds.take((service(name), id(number)), found);
    }
    assert_eq!(rounds.due(Instant::now()), [(service("web"), id(30))]);
    // Whom its own command kept waiting waited for no other.
    let held = (service("db"), id(0));
    rounds.take(held, Some((patient("exec:true"), Health::Healthy)));
    rounds.wait_until(held, now - 60 * SECOND);
    eventually("they have ended", Duration::from_secs(20), || {
        rounds.look(Vec::new());
        rounds.ending.is_empty()
    });
    let check = Check {
        start: SystemTime::now(),
        by: Asking::Failed(Answer::well("")),
    };
    rounds.begin(held, check);
    assert_eq!(rounds.late, None);
    drop(runtime);
    // It may never have been made.
    let _ = std::fs::remove_dir_all(folder);
}
