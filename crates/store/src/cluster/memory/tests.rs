//! What a store in memory promises, and how it breaks.

use super::{Call, Fate, MemoryStore, Weather};
use crate::cluster::{
    Change, ClusterError, ClusterStore, Condition, MAX_OPERATIONS, MAX_VALUE, Outcome, Transaction,
    Version, Write,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

fn put(key: &str, value: &str) -> Transaction {
    Transaction {
        conditions: Vec::new(),
        writes: vec![Write::Put(key.into(), value.into())],
    }
}

fn when(condition: Condition, write: Write) -> Transaction {
    Transaction {
        conditions: vec![condition],
        writes: vec![write],
    }
}

#[test]
fn a_transaction_is_applied_only_while_its_conditions_hold() {
    let store = MemoryStore::new();
    let a = store.client("a");
    let absent = when(
        Condition::Absent("k".into()),
        Write::Put("k".into(), b"1".into()),
    );
    assert_eq!(a.commit(&absent), Ok(Outcome::Applied));
    assert_eq!(a.commit(&absent), Ok(Outcome::Refused));
    let first = a.get("k").unwrap().unwrap();
    let delete = when(
        Condition::Unchanged("k".into(), first.version),
        Write::Delete("k".into()),
    );
    assert_eq!(a.commit(&delete), Ok(Outcome::Applied));
    assert_eq!(a.commit(&absent), Ok(Outcome::Applied));
    assert_eq!(a.commit(&delete), Ok(Outcome::Refused), "made again since");
    let never = when(
        Condition::Unchanged("other".into(), Version(0, 0)),
        Write::Delete("k".into()),
    );
    assert_eq!(a.commit(&never), Ok(Outcome::Refused));
}

#[test]
fn a_list_has_what_lies_below_its_prefix() {
    let a = MemoryStore::new().client("a");
    for key in ["a/1", "a/2", "a.b", "ab/1", "a"] {
        a.commit(&put(key, "")).unwrap();
    }
    let keys: Vec<_> = a.list("a").unwrap().into_iter().map(|r| r.key).collect();
    assert_eq!(keys, ["a/1", "a/2"]);
}

#[test]
fn what_no_store_takes_is_refused() {
    let a = MemoryStore::new().client("a");
    let unfit = |result| {
        assert!(
            matches!(result, Err(ClusterError::Unfit { .. })),
            "{result:?}"
        )
    };
    for key in ["", "/a", "a/", "a//b", "A", "a:b"] {
        unfit(a.commit(&put(key, "")));
    }
    let large = Transaction {
        conditions: Vec::new(),
        writes: vec![Write::Put("a".into(), vec![0; MAX_VALUE + 1])],
    };
    unfit(a.commit(&large));
    let writes = (0..=MAX_OPERATIONS).map(|n| Write::Delete(format!("k{n}")));
    unfit(a.commit(&Transaction {
        conditions: Vec::new(),
        writes: writes.collect(),
    }));
    unfit(a.commit(&Transaction {
        conditions: Vec::new(),
        writes: vec![Write::Delete("k".into()), Write::Delete("k".into())],
    }));
}

#[test]
fn a_watch_tells_every_change_after_its_snapshot_and_goes_on_after_a_cut() {
    let store = MemoryStore::simulated();
    let (a, b) = (store.client("a"), store.client("b"));
    a.commit(&put("p/1", "x")).unwrap();
    let (records, mut watch) = b.follow("p").unwrap();
    assert_eq!(records.len(), 1);
    b.cut(true);
    a.commit(&put("p/2", "y")).unwrap();
    a.commit(&put("q/2", "y")).unwrap();
    let delete = Transaction {
        conditions: Vec::new(),
        writes: vec![Write::Delete("p/1".into())],
    };
    a.commit(&delete).unwrap();
    assert!(matches!(
        watch.next(Duration::ZERO),
        Err(ClusterError::Unavailable { .. })
    ));
    b.cut(false);
    let changes = watch.next(Duration::ZERO).unwrap();
    assert!(
        matches!(&changes[..], [Change::Put(two), Change::Deleted(one)]
        if two.key == "p/2" && one == "p/1")
    );
    assert_eq!(watch.next(Duration::ZERO), Ok(Vec::new()));
    b.lose_watches();
    assert!(matches!(
        watch.next(Duration::ZERO),
        Err(ClusterError::Lost { .. })
    ));
}

#[test]
fn a_watch_that_is_behind_a_compaction_is_lost() {
    let store = MemoryStore::simulated();
    let a = store.client("a");
    let (_, mut watch) = a.follow("p").unwrap();
    store.compact();
    assert_eq!(
        watch.next(Duration::ZERO),
        Ok(Vec::new()),
        "nothing was missed"
    );
    a.commit(&put("p/1", "x")).unwrap();
    store.compact();
    assert!(matches!(
        watch.next(Duration::ZERO),
        Err(ClusterError::Lost { .. })
    ));
}

#[test]
fn a_watch_waits_for_a_change_of_another_thread() {
    let store = MemoryStore::new();
    let (a, b) = (store.client("a"), store.client("b"));
    let (_, mut watch) = a.follow("p").unwrap();
    let writer = std::thread::spawn(move || b.commit(&put("p/1", "x")).unwrap());
    let changes = watch.next(Duration::from_secs(30)).unwrap();
    assert_eq!(changes.len(), 1);
    writer.join().unwrap();
}

#[test]
fn a_presence_ends_unless_it_is_renewed_and_tells_its_maker() {
    let store = MemoryStore::simulated();
    let (a, b) = (store.client("a"), store.client("b"));
    let second = Duration::from_secs(1);
    let mut presence = a.announce("alive/a", b"", 3 * second).unwrap();
    store.advance(2 * second);
    presence.renew().unwrap();
    store.advance(2 * second);
    assert!(b.get("alive/a").unwrap().is_some());
    store.advance(second);
    assert!(b.get("alive/a").unwrap().is_none());
    assert!(matches!(
        presence.renew(),
        Err(ClusterError::Expired { .. })
    ));

    let mut old = a.announce("alive/a", b"1", 3 * second).unwrap();
    let mut new = b.announce("alive/a", b"2", 3 * second).unwrap();
    assert!(
        matches!(old.renew(), Err(ClusterError::Expired { .. })),
        "replaced"
    );
    old.close().unwrap();
    assert_eq!(b.get("alive/a").unwrap().unwrap().value, b"2", "another's");
    new.close().unwrap();
    assert!(b.get("alive/a").unwrap().is_none());
    a.announce("alive/a", b"1", 3 * second).unwrap();
    a.expire();
    assert!(b.get("alive/a").unwrap().is_none());
}

struct Fates(Mutex<Vec<Fate>>);

impl Weather for Fates {
    fn before(&self, _: &str, _: Call) -> Fate {
        self.0.lock().unwrap().pop().unwrap_or(Fate::Answered)
    }
}

#[test]
fn a_lost_answer_leaves_a_change_and_a_late_one_comes_when_its_conditions_still_hold() {
    let store = MemoryStore::simulated();
    let a = store.client("a");
    let fates = Arc::new(Fates(Mutex::new(vec![Fate::AnswerLost])));
    store.set_weather(fates.clone());
    let first = when(
        Condition::Absent("k".into()),
        Write::Put("k".into(), b"1".into()),
    );
    assert!(matches!(
        a.commit(&first),
        Err(ClusterError::Uncertain { .. })
    ));
    let stands = a.get("k").unwrap().unwrap();

    fates.0.lock().unwrap().extend([Fate::Late, Fate::Late]);
    let delete = when(
        Condition::Unchanged("k".into(), stands.version),
        Write::Delete("k".into()),
    );
    assert!(matches!(
        a.commit(&delete),
        Err(ClusterError::Uncertain { .. })
    ));
    assert!(matches!(
        a.commit(&delete),
        Err(ClusterError::Uncertain { .. })
    ));
    assert!(a.get("k").unwrap().is_some());
    assert!(store.arrive());
    assert!(a.get("k").unwrap().is_none());
    a.commit(&first).unwrap();
    assert!(store.arrive());
    assert!(a.get("k").unwrap().is_some(), "the second is fenced off");
    assert!(!store.arrive());

    fates.0.lock().unwrap().push(Fate::Unreachable);
    assert!(matches!(a.get("k"), Err(ClusterError::Unavailable { .. })));
}

#[test]
fn a_client_counts_what_it_sends_and_is_told() {
    let store = MemoryStore::simulated();
    let (a, b) = (store.client("a"), store.client("b"));
    let (_, mut watch) = b.follow("p").unwrap();
    let before = b.traffic();
    a.commit(&put("p/1", "xyz")).unwrap();
    watch.next(Duration::ZERO).unwrap();
    assert_eq!((a.traffic().commits, a.traffic().sent), (1, 6));
    assert_eq!(b.traffic().records - before.records, 1);
    assert_eq!(b.traffic().received - before.received, 6);
}
