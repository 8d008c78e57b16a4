//! What befalls every store's servers and the way to them, whichever store it is.

use super::{
    conformance::{absent, commit, get, put, value},
    proxy::{Mode, Proxy},
    replay::{LONG, Replay},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use vw_store::cluster::{
    ClusterError, ClusterStore, ClusterUrl, Options, Outcome, Transaction, connect,
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

/// The connection breaks between a change and its answer.
pub(crate) fn cut(server: &str, open: impl Fn(&str) -> Arc<dyn ClusterStore>) {
    let proxy = Proxy::to(server);
    let direct = open(server);
    let store = open(&proxy.address().to_string());
    assert_eq!(get(&*store, "cut/a"), None);
    let mut replay = Replay::follow(&*store, "cut");
    replay.step().expect("nothing was missed");

    proxy.set(Mode::CutAnswers);
    let cut = store.commit(&making("cut/a"));
    let made = || get(&*direct, "cut/a").is_some();
    match cut {
        Err(ClusterError::Uncertain { .. }) => {}
        // Some ask before they change, and were cut then.
        Err(ClusterError::Unavailable { .. }) => assert!(!made()),
        other => panic!("{other:?}"),
    }
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
    make(&*store, "cut/a");
    make(&*store, "cut/c");
    eventually("the watch goes on", LONG, || match replay.step() {
        Ok(()) => replay.value("cut/c").is_some(),
        Err(ClusterError::Lost { .. }) => {
            replay = Replay::follow(&*store, "cut");
            false
        }
        Err(error) => panic!("{error}"),
    });
}
