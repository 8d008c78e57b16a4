//! Reading records, and changing them under conditions.

use super::{Case, Subject, absent, commit, delete, get, keys, put, unchanged, value, version};
use std::thread;
use vw_store::cluster::{
    ClusterError, ClusterStore, MAX_OPERATIONS, MAX_TRANSACTION, MAX_VALUE, Outcome, Transaction,
    Write,
};

pub(super) const CASES: &[Case] = &[
    ("a record is made once", made_once),
    ("a stale version is refused", stale),
    ("all or nothing", all_or_nothing),
    ("conditions alone change nothing", conditions_alone),
    ("deleting is idempotent", deleting),
    (
        "a record that was made again has another version",
        made_again,
    ),
    (
        "a record made again between reading and committing is noticed",
        aba,
    ),
    ("every put is a new version", same_value),
    ("a list has what is below, in order", listing),
    ("a record may lie below another", nested),
    ("values are bytes", bytes),
    ("what no store takes is unfit", unfit),
    ("the largest transaction fits", largest),
    ("no increment is lost", increments),
    ("one of many claims holds", claims),
    ("a transfer is never seen half made", transfers),
    ("every server is told of", members),
];

fn made_once(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    assert_eq!(get(store, "once/a"), None);
    let first = commit(store, [absent("once/a")], [put("once/a", "1")]);
    assert_eq!(first, Outcome::Applied);
    let again = commit(other, [absent("once/a")], [put("once/a", "2")]);
    assert_eq!(again, Outcome::Refused);
    assert_eq!(value(store, "once/a").as_deref(), Some(&b"1"[..]));
    assert_eq!(get(store, "once/a"), get(other, "once/a"));
}

fn stale(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    commit(store, [], [put("stale/a", "1")]);
    let old = version(store, "stale/a");
    let fresh = commit(other, [unchanged("stale/a", old)], [put("stale/a", "2")]);
    assert_eq!(fresh, Outcome::Applied);
    let late = commit(store, [unchanged("stale/a", old)], [put("stale/a", "3")]);
    assert_eq!(late, Outcome::Refused);
    assert_eq!(value(store, "stale/a").as_deref(), Some(&b"2"[..]));
    let gone = commit(store, [unchanged("stale/b", old)], [put("stale/b", "1")]);
    assert_eq!(gone, Outcome::Refused);
    assert_eq!(get(store, "stale/b"), None);
}

fn all_or_nothing(subject: &Subject<'_>) {
    let store = subject.store;
    commit(store, [], [put("all/a", "1"), put("all/b", "1")]);
    let a = version(store, "all/a");
    let before = store.list("all").expect("the store is there");
    let writes = [put("all/a", "2"), put("all/c", "2"), delete("all/b")];
    let refused = commit(
        store,
        [unchanged("all/a", a), absent("all/b")],
        writes.clone(),
    );
    assert_eq!(refused, Outcome::Refused);
    assert_eq!(store.list("all").expect("the store is there"), before);
    let applied = commit(store, [unchanged("all/a", a), absent("all/d")], writes);
    assert_eq!(applied, Outcome::Applied);
    assert_eq!(keys(store, "all"), ["all/a", "all/c"]);
    assert_eq!(value(store, "all/a").as_deref(), Some(&b"2"[..]));
}

fn conditions_alone(subject: &Subject<'_>) {
    let store = subject.store;
    assert_eq!(commit(store, [], []), Outcome::Applied);
    assert_eq!(commit(store, [absent("alone/a")], []), Outcome::Applied);
    assert_eq!(get(store, "alone/a"), None);
    commit(store, [], [put("alone/a", "1")]);
    let a = version(store, "alone/a");
    assert_eq!(commit(store, [absent("alone/a")], []), Outcome::Refused);
    let holds = commit(store, [unchanged("alone/a", a)], []);
    assert_eq!(holds, Outcome::Applied);
    assert_eq!(version(store, "alone/a"), a);
}

fn deleting(subject: &Subject<'_>) {
    let store = subject.store;
    commit(store, [], [put("deleting/a", "1")]);
    for _ in 0..2 {
        let deleted = commit(store, [], [delete("deleting/a"), delete("deleting/b")]);
        assert_eq!(deleted, Outcome::Applied);
        assert_eq!(keys(store, "deleting"), [""; 0]);
    }
    let nothing = commit(store, [absent("deleting/a")], [delete("deleting/a")]);
    assert_eq!(nothing, Outcome::Applied);
    assert_eq!(get(store, "deleting/a"), None);
}

fn made_again(subject: &Subject<'_>) {
    let store = subject.store;
    let mut seen = Vec::new();
    for _ in 0..4 {
        for _ in 0..3 {
            commit(store, [], [put("again/a", "same")]);
            let now = version(store, "again/a");
            assert!(!seen.contains(&now), "{now:?} came back");
            seen.push(now);
        }
        commit(store, [], [delete("again/a")]);
    }
    commit(store, [], [put("again/a", "same")]);
    for old in seen {
        let refused = commit(store, [unchanged("again/a", old)], [put("again/a", "x")]);
        assert_eq!(refused, Outcome::Refused);
    }
}

/// One host deletes and makes a record again and again, each time with the next number in it and
/// in a second record; the other confirms by a third what it read in the first. Were it fooled by
/// a record made again, the third would one day go back.
fn aba(subject: &Subject<'_>) {
    const ROUNDS: u32 = 40;
    let (store, other) = (subject.store, subject.other);
    commit(store, [], [put("aba/a", "0"), put("aba/confirmed", "0")]);
    let number = |record: &Option<Vec<u8>>| -> u32 {
        let bytes = record.as_deref().unwrap_or(b"0");
        String::from_utf8_lossy(bytes).parse().expect("a number")
    };
    thread::scope(|scope| {
        let maker = scope.spawn(|| {
            for round in 1..=ROUNDS {
                commit(other, [], [delete("aba/a")]);
                commit(other, [], [put("aba/a", round.to_string())]);
            }
        });
        while !maker.is_finished() {
            let Some(read) = get(store, "aba/a") else {
                continue;
            };
            let outcome = commit(
                store,
                [unchanged("aba/a", read.version)],
                [put("aba/confirmed", &read.value)],
            );
            let now = number(&value(store, "aba/a"));
            let read = number(&Some(read.value));
            let confirmed = number(&value(store, "aba/confirmed"));
            if outcome == Outcome::Applied {
                assert_eq!(confirmed, read);
            }
            assert!(now == 0 || confirmed <= ROUNDS);
        }
    });
    let old = version(store, "aba/a");
    for _ in 0..3 {
        commit(other, [], [delete("aba/a")]);
        commit(other, [], [put("aba/a", ROUNDS.to_string())]);
        let fooled = commit(store, [unchanged("aba/a", old)], [put("aba/b", "1")]);
        assert_eq!(fooled, Outcome::Refused);
    }
    assert_eq!(get(store, "aba/b"), None);
}

fn same_value(subject: &Subject<'_>) {
    let store = subject.store;
    commit(store, [], [put("same/a", "1")]);
    let first = version(store, "same/a");
    commit(store, [], [put("same/a", "1")]);
    assert_ne!(version(store, "same/a"), first);
}

fn listing(subject: &Subject<'_>) {
    let store = subject.store;
    let all = [
        "list/p/a",
        "list/p/a-b",
        "list/p/a.b",
        "list/p/a/b",
        "list/p/b",
        "list/p-a",
        "list/pa/a",
        "list/q/a",
    ];
    let writes: Vec<Write> = all.iter().rev().map(|key| put(key, key)).collect();
    commit(store, [], writes);
    assert_eq!(keys(store, "list/p"), &all[..5]);
    assert_eq!(keys(store, "list/p/a"), ["list/p/a/b"]);
    assert_eq!(keys(store, "list/nothing"), [""; 0]);
    let mut sorted = all;
    sorted.sort_unstable();
    assert_eq!(keys(store, "list"), sorted);
    let everything = keys(store, "");
    assert!(everything.is_sorted());
    let found: Vec<_> = everything
        .iter()
        .filter(|key| key.starts_with("list/"))
        .collect();
    assert_eq!(found, sorted.iter().collect::<Vec<_>>());
    for record in store.list("list").expect("the store is there") {
        assert_eq!(record.value, record.key.as_bytes());
        assert_eq!(get(store, &record.key), Some(record));
    }
}

fn nested(subject: &Subject<'_>) {
    let store = subject.store;
    let records = ["nested", "nested/a", "nested/a/b/c", "nested/a/b/c/d"];
    for record in records {
        let made = commit(store, [absent(record)], [put(record, "1")]);
        assert_eq!(made, Outcome::Applied);
    }
    assert_eq!(get(store, "nested/a/b"), None);
    commit(store, [], [delete("nested/a"), delete("nested")]);
    assert_eq!(keys(store, "nested"), ["nested/a/b/c", "nested/a/b/c/d"]);
    assert_eq!(get(store, "nested"), None);
}

fn bytes(subject: &Subject<'_>) {
    let store = subject.store;
    let all: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..MAX_VALUE).map(|at| ((at * 31) >> 3) as u8).collect();
    let values: [&[u8]; 4] = [b"", b"\0", &all, &large];
    for bytes in values {
        commit(store, [], [put("bytes/a", bytes)]);
        assert!(value(store, "bytes/a").as_deref() == Some(bytes));
        let listed = store.list("bytes").expect("the store is there");
        assert!(listed[0].value == bytes);
    }
    commit(store, [], [delete("bytes/a")]);
}

fn unfit(subject: &Subject<'_>) {
    let store = subject.store;
    let long = "a".repeat(513);
    let mut bad: Vec<Vec<Write>> = ["", "/a", "a/", "a//b", "A", "ä", "a b", "..", "a/.", &long]
        .iter()
        .map(|key| vec![put(key, "1")])
        .collect();
    bad.push(vec![put("unfit/a", vec![0; MAX_VALUE + 1])]);
    bad.push(vec![put("unfit/a", "1"), delete("unfit/a")]);
    let half = vec![0; MAX_TRANSACTION / 2 + 1];
    bad.push(vec![put("unfit/a", &half), put("unfit/b", &half)]);
    let many = 0..=MAX_OPERATIONS;
    bad.push(many.map(|at| put(&format!("unfit/{at}"), "1")).collect());
    for writes in bad {
        let transaction = Transaction {
            conditions: Vec::new(),
            writes,
        };
        let refused = store.commit(&transaction);
        assert!(
            matches!(refused, Err(ClusterError::Unfit { .. })),
            "{refused:?}"
        );
    }
    for key in ["", "A"] {
        assert!(matches!(store.get(key), Err(ClusterError::Unfit { .. })));
    }
    assert!(matches!(store.list("A"), Err(ClusterError::Unfit { .. })));
    assert_eq!(keys(store, "unfit"), [""; 0]);
}

fn largest(subject: &Subject<'_>) {
    let store = subject.store;
    let half = MAX_OPERATIONS / 2;
    let part = vec![7; MAX_TRANSACTION / half];
    let key = |at: usize| format!("largest/{}{at}", "a".repeat(400));
    let made = commit(
        store,
        (0..half).map(|at| absent(&key(at))).collect::<Vec<_>>(),
        (0..half).map(|at| put(&key(at), &part)).collect::<Vec<_>>(),
    );
    assert_eq!(made, Outcome::Applied);
    assert_eq!(keys(store, "largest").len(), half);
    let deletes: Vec<Write> = (0..half).map(|at| delete(&key(at))).collect();
    assert_eq!(commit(store, [], deletes), Outcome::Applied);
}

/// Adds one to a record by compare and swap.
fn increment(store: &dyn ClusterStore, key: &str) {
    loop {
        let (condition, count) = match get(store, key) {
            None => (absent(key), 0),
            Some(record) => (
                unchanged(key, record.version),
                u32::from_le_bytes(record.value.try_into().expect("four bytes")),
            ),
        };
        let next = (count + 1).to_le_bytes();
        if commit(store, [condition], [put(key, next)]) == Outcome::Applied {
            return;
        }
    }
}

fn increments(subject: &Subject<'_>) {
    const THREADS: usize = 4;
    const EACH: usize = 15;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = [subject.store, subject.other][thread % 2];
            scope.spawn(move || (0..EACH).for_each(|_| increment(store, "increments/a")));
        }
    });
    let count = value(subject.store, "increments/a").expect("it is there");
    assert_eq!(count, ((THREADS * EACH) as u32).to_le_bytes());
}

fn claims(subject: &Subject<'_>) {
    for round in 0..5 {
        let key = format!("claims/{round}");
        let won = thread::scope(|scope| {
            let claimants: Vec<_> = (0..4)
                .map(|claimant: usize| {
                    let store = [subject.store, subject.other][claimant % 2];
                    let key = &key;
                    scope.spawn(move || {
                        let claim = put(key, claimant.to_string());
                        commit(store, [absent(key)], [claim]) == Outcome::Applied
                    })
                })
                .collect();
            let outcomes = claimants.into_iter().map(|claimant| claimant.join());
            outcomes
                .map(|outcome| outcome.expect("no claimant fails"))
                .collect::<Vec<_>>()
        });
        let winner = won.iter().position(|&won| won).expect("one has it");
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        assert_eq!(
            value(subject.store, &key),
            Some(winner.to_string().into_bytes())
        );
    }
}

/// A record moves between two keys; a watcher of either kind sees it under exactly one.
fn transfers(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    commit(store, [], [put("transfers/a", "x")]);
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            for round in 0..20 {
                let (from, to) = match round % 2 {
                    0 => ("transfers/a", "transfers/b"),
                    _ => ("transfers/b", "transfers/a"),
                };
                let at = version(other, from);
                let moved = commit(
                    other,
                    [unchanged(from, at), absent(to)],
                    [delete(from), put(to, "x")],
                );
                assert_eq!(moved, Outcome::Applied);
            }
        });
        while !mover.is_finished() {
            // Both at once would mean that half of a transfer was made.
            let both = commit(
                store,
                [absent("transfers/a"), absent("transfers/b")],
                [put("transfers/c", "neither")],
            );
            assert_eq!(both, Outcome::Refused);
        }
    });
    assert_eq!(keys(store, "transfers"), ["transfers/a"]);
}

fn members(subject: &Subject<'_>) {
    let members = subject.store.members();
    assert!(!members.is_empty());
    for member in &members {
        assert!(member.answer.is_ok(), "{member:?}");
        assert!(member.version.is_some(), "{member:?}");
    }
    let leaders = members.iter().filter(|member| member.leader == Some(true));
    assert_eq!(leaders.count(), 1, "{members:?}");
}
