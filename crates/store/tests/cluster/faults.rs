//! What befalls every store's servers and the way to them, whichever store it is.

use super::{
    conformance::{absent, commit, delete, get, put, unchanged, value, version},
    proxy::{Mode, Proxy},
    replay::{LONG, Replay},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use vw_store::cluster::{
    ClusterError, ClusterStore, ClusterUrl, Options, Outcome, Transaction, Version, connect,
};
use vw_testkit::eventually;

/// Opens a store by its address.
#[track_caller]
pub(crate) fn open(url: &str, options: &[&str]) -> Arc<dyn ClusterStore> {
    let url: ClusterUrl = url.parse().unwrap_or_else(|error| panic!("{error}"));
    let options = Options::parse(options).unwrap_or_else(|error| panic!("{error}"));
    connect(&url, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// A transaction that makes one record.
pub(crate) fn making(key: &str) -> Transaction {
    Transaction {
        conditions: vec![absent(key)],
        writes: vec![put(key, "1")],
    }
}

/// Commits through failures, as a caller would: an uncertain outcome is read.
#[track_caller]
pub(crate) fn make(store: &dyn ClusterStore, key: &str) {
    eventually("the record is made", LONG, || {
        match store.commit(&making(key)) {
            Ok(outcome) => {
                // Refused: an uncertain attempt made it.
                outcome == Outcome::Applied || value(store, key).is_some()
            }
            Err(ClusterError::Unavailable { .. } | ClusterError::Uncertain { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    });
}

/// No server is there when a store is opened, nor for a while; then one is.
pub(crate) fn away(store: &dyn ClusterStore, bring: impl FnOnce()) {
    let start = Instant::now();
    let read = store.get("away/a");
    assert!(
        matches!(read, Err(ClusterError::Unavailable { .. })),
        "{read:?}"
    );
    let written = store.commit(&making("away/a"));
    assert!(
        matches!(written, Err(ClusterError::Unavailable { .. })),
        "{written:?}"
    );
    assert!(store.follow("away").is_err());
    let announced = store.announce("away/b", b"1", Duration::from_secs(10));
    assert!(matches!(announced, Err(ClusterError::Unavailable { .. })));
    assert!(store.members().iter().all(|member| member.answer.is_err()));
    assert!(start.elapsed() < Duration::from_secs(60));
    bring();
    make(store, "away/a");
}

/// The server is away for a while: changes made once it is back are told, none is missed.
pub(crate) fn restarted(store: &dyn ClusterStore, kill: impl FnOnce(), restart: impl FnOnce()) {
    commit(store, [], [put("restarted/a", "1")]);
    let mut replay = Replay::follow(store, "restarted");
    replay.step().expect("nothing was missed");
    kill();
    replay.step().expect("nothing was missed yet");
    restart();
    make(store, "restarted/b");
    let followed = vw_testkit::poll(LONG, || match replay.step() {
        Ok(()) => replay.value("restarted/b").map(|_| ()),
        Err(ClusterError::Lost { .. }) => {
            replay = Replay::follow(store, "restarted");
            None
        }
        Err(error) => panic!("{error}"),
    });
    assert!(followed.is_some());
    assert!(replay.value("restarted/a").is_some());
}

/// The store is brought back from a backup, once what is followed changed since and once only what
/// is not did: a watch says so, and soon.
pub(crate) fn brought_back(
    store: &dyn ClusterStore,
    save: impl Fn(&str),
    bring_back: impl Fn(&str),
) {
    for changed in ["restored/a", "unseen/a"] {
        for key in ["restored/a", "unseen/a"] {
            make(store, key);
        }
        save(changed);
        commit(store, [], [put(changed, "2")]);
        let mut replay = Replay::follow(store, "restored");
        for _ in 0..3 {
            replay.step().expect("nothing was missed");
        }
        bring_back(changed);
        let start = Instant::now();
        let lost = vw_testkit::poll(LONG, || replay.step().err());
        assert!(
            matches!(lost, Some(ClusterError::Lost { .. })),
            "{changed}: {lost:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(40), "{changed}");
        assert_eq!(value(store, changed).as_deref(), Some(&b"1"[..]));
        commit(store, [], [delete("restored/a"), delete("unseen/a")]);
    }
}

/// A member does not answer any more: reading, writing and following go on by the others.
pub(crate) fn member_lost(store: &dyn ClusterStore, lose: impl FnOnce()) {
    make(store, "lost/a");
    let mut replay = Replay::follow(store, "lost");
    replay.step().expect("nothing was missed");
    lose();
    make(store, "lost/b");
    eventually("reading goes on", LONG, || store.get("lost/b").is_ok());
    let told = vw_testkit::poll(LONG, || match replay.step() {
        Ok(()) => replay.value("lost/b").map(|_| ()),
        Err(ClusterError::Lost { .. }) => {
            replay = Replay::follow(store, "lost");
            None
        }
        Err(error) => panic!("{error}"),
    });
    assert!(told.is_some());
}

/// The connection breaks between a change and its answer, of which `reads` come before it.
pub(crate) fn cut(server: &str, reads: u32, open: impl Fn(&str) -> Arc<dyn ClusterStore>) {
    let proxy = Proxy::to(server);
    let direct = open(server);
    let store = open(&proxy.address().to_string());
    let mut replay = Replay::follow(&*store, "cut");
    let known = made(&*store, "cut/a");

    proxy.set(Mode::CutAnswerOf(reads));
    let change = replacing("cut/a", known);
    let unsure = store.commit(&change);
    let uncertain = matches!(unsure, Err(ClusterError::Uncertain { .. }));
    assert!(uncertain, "{unsure:?}");
    eventually("it was made all the same", LONG, || {
        value(&*direct, "cut/a").as_deref() == Some(b"2")
    });

    proxy.set(Mode::Refuse);
    let refused = store.commit(&making("cut/b"));
    // A connection that took what was sent and then broke may have passed it on.
    let unsure = matches!(
        refused,
        Err(ClusterError::Unavailable { .. } | ClusterError::Uncertain { .. })
    );
    assert!(unsure, "{refused:?}");
    assert_eq!(get(&*direct, "cut/b"), None);

    proxy.set(Mode::Pass);
    assert_eq!(store.commit(&change), Ok(Outcome::Refused));
    make(&*store, "cut/c");
    eventually("the watch goes on", LONG, || {
        replay.step().expect("nothing was missed");
        replay.value("cut/c").is_some() && replay.value("cut/a") == Some(b"2")
    });
}

/// Makes a record, and makes sure that the store's connection is warm.
fn made(store: &dyn ClusterStore, key: &str) -> Version {
    make(store, key);
    commit(store, [], [put(key, "1")]);
    version(store, key)
}

fn replacing(key: &str, known: Version) -> Transaction {
    Transaction {
        conditions: vec![unchanged(key, known)],
        writes: vec![put(key, "2")],
    }
}

/// The server is switched off, and is back before anybody notices: what changes then is told.
pub(crate) fn switched_off(server: &str, open: impl Fn(&str) -> Arc<dyn ClusterStore>) {
    let proxy = Proxy::to(server);
    let direct = open(server);
    let store = open(&proxy.address().to_string());
    let mut replay = Replay::follow(&*store, "off");
    replay.step().expect("nothing was missed");
    proxy.sever();
    make(&*direct, "off/a");
    let told = vw_testkit::poll(2 * LONG, || {
        replay.step().expect("nothing was missed");
        replay.value("off/a").map(|_| ())
    });
    assert!(told.is_some());
}

/// A record is deleted and made again while a change that rests on it is on its way, after the
/// `reads` that come before it.
pub(crate) fn overtaken(server: &str, reads: u32, open: impl Fn(&str) -> Arc<dyn ClusterStore>) {
    let proxy = Proxy::to(server);
    let direct = open(server);
    let store = open(&proxy.address().to_string());
    made(&*store, "overtaken/b");
    make(&*direct, "overtaken/a");
    // As it is after its making, so that all that counts its changes is as at first.
    let known = version(&*store, "overtaken/a");
    let change = Transaction {
        conditions: vec![unchanged("overtaken/a", known)],
        writes: vec![put("overtaken/b", "fooled")],
    };
    proxy.set(Mode::HoldRequests(reads));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| store.commit(&change));
        proxy.wait_until_held();
        commit(&*direct, [], [delete("overtaken/a")]);
        make(&*direct, "overtaken/a");
        proxy.set(Mode::Pass);
        let outcome = late.join().expect("it does not panic");
        assert_eq!(outcome, Ok(Outcome::Refused));
    });
    assert_eq!(value(&*direct, "overtaken/b").as_deref(), Some(&b"1"[..]));
    // The same, but the record is not there any more.
    let change = making("overtaken/c");
    proxy.set(Mode::HoldRequests(reads));
    std::thread::scope(|scope| {
        let late = scope.spawn(|| store.commit(&change));
        proxy.wait_until_held();
        commit(&*direct, [], [put("overtaken/c", "first")]);
        proxy.set(Mode::Pass);
        let outcome = late.join().expect("it does not panic");
        assert_eq!(outcome, Ok(Outcome::Refused));
    });
    assert_eq!(
        value(&*direct, "overtaken/c").as_deref(),
        Some(&b"first"[..])
    );
}

/// All that a host does, by rights for no more than it: to read, write, follow and be present.
pub(crate) fn everything(store: &dyn ClusterStore) {
    let mut replay = Replay::follow(store, "rights");
    make(store, "rights/a");
    commit(store, [], [put("rights/a", "2"), delete("rights/b")]);
    let ttl = Duration::from_secs(10);
    let mut presence = store.announce("rights/c", b"me", ttl).expect("it may");
    assert_eq!(presence.renew(), Ok(()));
    replay.reaches(store.list("rights").expect("it may"));
    assert_eq!(presence.close(), Ok(()));
    replay.reaches(store.list("rights").expect("it may"));
    let members = store.members();
    assert!(
        members.iter().all(|member| member.answer.is_ok()),
        "{members:?}"
    );
}
