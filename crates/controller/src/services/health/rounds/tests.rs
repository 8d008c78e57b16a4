//! Whom to ask, while commands go on.

use super::{
    AT_ONCE, Answer, Asking, Check, Command, FIRST_PAUSE, Patient, Rounds, Watched,
    verdict::Verdict,
};
use crate::{
    sample::{bytes, guest},
    services::roster::Health,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use vw_model::{EndpointId, HealthSpec, Probe, ServiceId};
use vw_runtime::{Runtime, Settings};
use vw_testkit::eventually;

fn id(number: usize) -> EndpointId {
    EndpointId::from_bytes(bytes(&format!("endpoint {number}")))
}

fn watched(now: Instant) -> Watched {
    let second = Duration::from_secs(1);
    let patient = Patient {
        service: ServiceId::from_bytes(bytes("web")),
        sandbox: guest(),
        addr: [10, 0, 0, 2].into(),
        spec: HealthSpec {
            probe: Probe::Exec {
                command: vec!["true".to_owned()],
            },
            interval: second,
            timeout: second,
            retries: 1,
            start_period: Duration::ZERO,
        },
    };
    Watched {
        verdict: Verdict::new(Health::Starting, 1),
        patient,
        joined: now,
        next: now,
        pause: second,
        running: None,
    }
}

#[test]
fn who_starts_is_asked_soon_again_and_fails_only_at_its_interval() {
    let (mut rounds, mut one) = (Rounds::default(), watched(Instant::now()));
    let interval = one.patient.spec.interval;
    one.pause = FIRST_PAUSE;
    rounds.watched.insert(id(1), one);
    let mut told = Vec::new();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let one = rounds.watched.get_mut(&id(1)).expect("it is asked");
        one.running = Some(Check {
            start: SystemTime::now(),
            by: Asking::Failed(Answer::failed("refused".to_owned())),
        });
        let before = Instant::now();
        told.push(rounds.look(&super::Answers::default()));
        pauses.push(rounds.watched[&id(1)].next.duration_since(before));
    }
    // Each is counted from a moment later.
    let at_least = |pause: Duration| move |found: &Duration| *found >= pause && *found < pause * 2;
    for (found, pause) in pauses.iter().zip([1, 2, 4, 8]) {
        assert!(at_least(FIRST_PAUSE * pause)(found), "{pauses:?}");
    }
    assert!(at_least(interval)(&pauses[4]), "{pauses:?}");
    assert_eq!(told.pop(), Some(vec![(id(1), false)]));
    assert!(told.iter().all(Vec::is_empty), "{told:?}");
}

#[test]
fn who_was_to_leave_and_stays_is_told_of_again() {
    let now = Instant::now();
    let (mut rounds, mut one) = (Rounds::default(), watched(now));
    assert_eq!(one.verdict.take(true, false, now), Some(true));
    let patient = one.patient.clone();
    rounds.watched.insert(id(1), one);
    for (health, told) in [(Health::Healthy, None), (Health::Starting, Some(true))] {
        rounds.refresh(BTreeMap::from([(id(1), (patient.clone(), health))]));
        let one = rounds.watched.get_mut(&id(1)).expect("it is asked");
        assert_eq!(one.verdict.take(true, false, now), told, "{health:?}");
    }
}

#[test]
fn commands_that_have_not_ended_leave_no_room_for_others() {
    let folder = std::env::temp_dir().join(format!("vw-health-{}", std::process::id()));
    // Nothing is there that could run: each command ends at once, and waits to be looked at.
    let runtime = Runtime::open(Settings {
        data_root: folder.join("data"),
        exec_root: folder.join("exec"),
        runtimes: vec!["runc".to_owned()],
        conmon: "conmon".to_owned(),
    });
    let runtime = Arc::new(runtime.expect("it opens"));
    let now = Instant::now();
    let mut rounds = Rounds::default();
    for number in 0..AT_ONCE + 2 {
        rounds.watched.insert(id(number), watched(now));
    }
    let ended = |number: usize| {
        let words = vec!["true".to_owned()];
        let who = (guest(), id(100 + number));
        let second = Duration::from_secs(1);
        Command::begin(runtime.clone(), who, words, second).expect("a thread")
    };
    assert_eq!(rounds.due(now).len(), AT_ONCE);
    let ending = (0..AT_ONCE - 1).map(|number| (id(100 + number), ended(number)));
    rounds.ending = ending.collect::<BTreeMap<_, _>>();
    assert_eq!(rounds.due(now).len(), 1, "there is room for one more");
    rounds.ending.insert(id(99), ended(AT_ONCE));
    assert_eq!(rounds.due(now).len(), 0, "they have not ended");
    eventually("they have", Duration::from_secs(20), || {
        let mut ending = rounds.ending.values();
        ending.all(Command::has_ended)
    });
    rounds.look(&super::Answers::default());
    assert_eq!(rounds.due(now).len(), AT_ONCE);
    drop(runtime);
    // It may never have been made.
    let _ = std::fs::remove_dir_all(folder);
}
