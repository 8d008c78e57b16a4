//! Following what changes: without a gap, in the order of each key.

use super::super::replay::Replay;
use super::{Case, Subject, commit, delete, put};
use std::{collections::HashMap, thread, time::Duration};
use vw_store::cluster::Change;

pub(super) const CASES: &[Case] = &[
    ("a watch tells what changes", tells),
    ("a watch waits", waits),
    ("a watch keeps to its prefix", keeps_to_its_prefix),
    ("a watch of everything tells everything", everything),
    ("a watch has no gap under many writers", no_gap),
    (
        "a watch that nobody asked for a while has no gap",
        neglected,
    ),
];

fn tells(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    commit(store, [], [put("tells/a", "1"), put("tells/b", "1")]);
    let mut replay = Replay::follow(store, "tells");
    replay.reaches(store.list("tells").expect("the store is there"));
    assert_eq!(replay.told, []);
    for writes in [
        vec![put("tells/a", "2")],
        vec![put("tells/c/d", "2"), delete("tells/b")],
        vec![delete("tells/a")],
        vec![put("tells/a", "")],
    ] {
        commit(other, [], writes);
        replay.reaches(store.list("tells").expect("the store is there"));
    }
    assert_eq!(replay.value("tells/a"), Some(&b""[..]));
}

fn waits(subject: &Subject<'_>) {
    let (_, mut watch) = subject.store.follow("waits").expect("the store is there");
    let start = std::time::Instant::now();
    let told = watch.next(Duration::from_millis(700));
    assert_eq!(told, Ok(Vec::new()));
    assert!(start.elapsed() >= Duration::from_millis(600));
    // A change comes long before the time is over.
    commit(subject.other, [], [put("waits/a", "1")]);
    let start = std::time::Instant::now();
    let told = watch.next(Duration::from_secs(50)).expect("it is there");
    assert!(matches!(&told[..], [Change::Put(record)] if record.value == b"1"));
    assert!(start.elapsed() < Duration::from_secs(10));
}

fn keeps_to_its_prefix(subject: &Subject<'_>) {
    let store = subject.store;
    let mut replay = Replay::follow(store, "prefix/a");
    let outside = ["prefix/a", "prefix/b", "prefix/a-b/c", "prefix/ab"];
    let mut writes: Vec<_> = outside.iter().map(|key| put(key, "1")).collect();
    writes.push(put("prefix/a/last", "1"));
    commit(store, [], writes);
    replay.reaches(store.list("prefix/a").expect("the store is there"));
    assert!(
        matches!(&replay.told[..], [Change::Put(record)] if record.key == "prefix/a/last"),
        "{:?}",
        replay.told
    );
}

fn everything(subject: &Subject<'_>) {
    let store = subject.store;
    let mut replay = Replay::follow(store, "");
    for key in ["everything", "everything/a", "everything/a/b"] {
        commit(subject.other, [], [put(key, "1")]);
        replay.reaches(store.list("").expect("the store is there"));
        assert_eq!(replay.value(key), Some(&b"1"[..]));
    }
    commit(subject.other, [], [delete("everything")]);
    replay.reaches(store.list("").expect("the store is there"));
    assert_eq!(replay.value("everything"), None);
}

fn no_gap(subject: &Subject<'_>) {
    const WRITERS: usize = 3;
    const ROUNDS: u32 = 25;
    let (store, other) = (subject.store, subject.other);
    let mut replays = thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = [store, other][writer % 2];
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    let key = format!("gap/{writer}/{}", round % 3);
                    let shared = put(&format!("gap/of/{writer}"), round.to_string());
                    let change = match round % 5 {
                        0 => delete(&key),
                        _ => put(&key, round.to_string()),
                    };
                    commit(store, [], [change, shared]);
                }
            });
        }
        // These begin in the midst of it.
        [store, other, store].map(|store| {
            let mut replay = Replay::follow(store, "gap");
            replay.step().expect("nothing was missed");
            replay
        })
    });
    let records = store.list("gap").expect("the store is there");
    for replay in &mut replays {
        replay.reaches(records.clone());
        in_order(&replay.told);
    }
}

/// The numbers under each key never go back.
fn in_order(told: &[Change]) {
    let mut last: HashMap<&str, u32> = HashMap::new();
    for change in told {
        if let Change::Put(record) = change {
            let text = std::str::from_utf8(&record.value).expect("a number");
            let number: u32 = text.parse().expect("a number");
            let before = last.insert(&record.key, number).unwrap_or(0);
            assert!(before <= number, "{} after {before}: {record:?}", number);
        }
    }
}

fn neglected(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    let mut replay = Replay::follow(store, "neglected");
    replay.step().expect("nothing was missed");
    for round in 0..30 {
        let key = format!("neglected/{}", round % 7);
        let change = match round % 4 {
            3 => delete(&key),
            _ => put(&key, round.to_string()),
        };
        commit(other, [], [change]);
    }
    replay.reaches(store.list("neglected").expect("the store is there"));
    in_order(&replay.told);
}
