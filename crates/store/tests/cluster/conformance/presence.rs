//! Records that are there as long as their maker says that it lives.

use super::super::replay::{LONG, Replay};
use super::{Case, Subject, absent, commit, get, put, unchanged, value, version};
use std::time::{Duration, Instant};
use vw_store::cluster::{ClusterError, ClusterStore, Outcome};
use vw_testkit::{eventually, stays};

pub(super) const CASES: &[Case] = &[
    ("a presence is seen, and gone when closed", closes),
    ("a presence replaces what stands there", replaces),
    ("a presence stays while it is renewed", renewed),
    ("a presence that is not renewed goes", expires),
    ("a change may rest on a presence", rests),
    ("what a presence may not be is unfit", unfit),
];

fn closes(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    let mut replay = Replay::follow(other, "closes");
    let mut presence = store
        .announce("closes/a", b"me", Duration::from_secs(30))
        .expect("the store is there");
    assert_eq!(value(other, "closes/a").as_deref(), Some(&b"me"[..]));
    assert_eq!(presence.renew(), Ok(()));
    replay.reaches(other.list("closes").expect("the store is there"));
    assert_eq!(replay.value("closes/a"), Some(&b"me"[..]));
    assert_eq!(presence.close(), Ok(()));
    assert_eq!(get(other, "closes/a"), None);
    replay.reaches(Vec::new());
    let late = presence.renew();
    assert!(
        matches!(late, Err(ClusterError::Expired { .. })),
        "{late:?}"
    );
    assert_eq!(presence.close(), Ok(()));
}

fn replaces(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    let ttl = Duration::from_secs(30);
    commit(store, [], [put("replaces/a", "ordinary")]);
    let mut first = store
        .announce("replaces/a", b"1", ttl)
        .expect("it is there");
    let before = get(other, "replaces/a").expect("it is there");
    let mut second = other
        .announce("replaces/a", b"2", ttl)
        .expect("it is there");
    let after = get(store, "replaces/a").expect("it is there");
    assert_eq!(after.value, b"2");
    assert_ne!(before.version, after.version);
    let replaced = first.renew();
    assert!(
        matches!(replaced, Err(ClusterError::Expired { .. })),
        "{replaced:?}"
    );
    assert_eq!(first.close(), Ok(()));
    assert_eq!(value(store, "replaces/a").as_deref(), Some(&b"2"[..]));
    assert_eq!(second.renew(), Ok(()));
    assert_eq!(second.close(), Ok(()));
    assert_eq!(get(store, "replaces/a"), None);
}

fn renewed(subject: &Subject<'_>) {
    let ttl = subject.least_ttl;
    let mut presence = subject
        .store
        .announce("renewed/a", b"me", ttl)
        .expect("the store is there");
    let mut last = Instant::now();
    // Longer than it would stay by itself.
    stays("it is there", 2 * ttl + ttl / 2, || {
        if last.elapsed() > ttl / 3 {
            presence.renew().expect("it is there");
            last = Instant::now();
        }
        get(subject.other, "renewed/a").is_some()
    });
    presence.close().expect("the store is there");
}

fn rests(subject: &Subject<'_>) {
    let (store, other) = (subject.store, subject.other);
    let dead = || [absent("rests/a")];
    let ttl = Duration::from_secs(30);
    assert_eq!(
        commit(other, dead(), [put("rests/b", "1")]),
        Outcome::Applied
    );
    let mut presence = store.announce("rests/a", b"me", ttl).expect("it is there");
    assert_eq!(
        commit(other, dead(), [put("rests/b", "2")]),
        Outcome::Refused
    );
    let alive = [unchanged("rests/a", version(other, "rests/a"))];
    assert_eq!(
        commit(other, alive.clone(), [put("rests/b", "3")]),
        Outcome::Applied
    );
    assert_eq!(presence.renew(), Ok(()));
    assert_eq!(presence.close(), Ok(()));
    assert_eq!(
        commit(other, alive, [put("rests/b", "4")]),
        Outcome::Refused
    );
    assert_eq!(
        commit(other, dead(), [put("rests/b", "5")]),
        Outcome::Applied
    );
    assert_eq!(value(other, "rests/b").as_deref(), Some(&b"5"[..]));
}

fn expires(subject: &Subject<'_>) {
    let ttl = subject.least_ttl;
    let mut replay = Replay::follow(subject.other, "expires");
    let mut presence = subject
        .store
        .announce("expires/a", b"me", ttl)
        .expect("the store is there");
    let start = Instant::now();
    eventually("it is gone", LONG, || gone(subject.other, "expires/a"));
    let stayed = start.elapsed();
    assert!(stayed > ttl / 2, "gone after {stayed:?}");
    assert!(
        stayed < 2 * ttl + Duration::from_secs(5),
        "gone after {stayed:?}"
    );
    let late = presence.renew();
    assert!(
        matches!(late, Err(ClusterError::Expired { .. })),
        "{late:?}"
    );
    replay.reaches(Vec::new());
}

fn gone(store: &dyn ClusterStore, key: &str) -> bool {
    get(store, key).is_none()
}

fn unfit(subject: &Subject<'_>) {
    let ttl = Duration::from_secs(30);
    let large = vec![0; vw_store::cluster::MAX_VALUE + 1];
    for (key, value) in [("A", &b""[..]), ("unfit/a", &large)] {
        let refused = subject.store.announce(key, value, ttl);
        assert!(matches!(refused, Err(ClusterError::Unfit { .. })));
    }
}
