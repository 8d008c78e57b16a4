//! A host that is stopped or killed: its presence ends, and it learns so when it goes on.
//!
//! The test starts itself as the process that is present.

use super::{conformance::get, faults::open, replay::LONG};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};
use vw_store::cluster::{ClusterError, ClusterStore};
use vw_testkit::{eventually, poll};

const CHILD: &str = "VW_STORE_PRESENT_CHILD";

/// What the child has under its key.
const KEY: &str = "stopped/a";

/// The process that is present; it ends with the test.
struct Present(Child);

impl Drop for Present {
    fn drop(&mut self) {
        // Both fail only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Present {
    fn start(url: &str, ttl: Duration) -> Self {
        let child = Command::new(env::current_exe().expect("known"))
            .args([
                "--exact",
                "stopped::child",
                "--nocapture",
                "--include-ignored",
            ])
            .env(CHILD, format!("{url} {}", ttl.as_secs()))
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("it starts"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).expect("it has a number");
        kill_process(pid, signal).expect("it is ours");
    }
}

/// Stops, wakes and kills a process that is present in a store.
pub(crate) fn run(store: &dyn ClusterStore, url: &str, ttl: Duration) {
    let there = || get(store, KEY).is_some();
    let mut present = Present::start(url, ttl);
    eventually("it is present", LONG, there);
    present.signal(Signal::STOP);
    eventually("it is not while it is stopped", LONG, || !there());
    present.signal(Signal::CONT);
    let output = BufReader::new(present.0.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "expired"), "it was not told");
    drop(present);

    let present = Present::start(url, ttl);
    eventually("another is present", LONG, there);
    drop(present);
    eventually("it is not when it was killed", LONG, || !there());
}

/// The process that is present, when the environment says of what.
#[test]
fn child() {
    let Ok(told) = env::var(CHILD) else { return };
    let (url, ttl) = told.split_once(' ').expect("both are told");
    let ttl = Duration::from_secs(ttl.parse().expect("a number"));
    let store = open(url, &[]);
    let mut presence = store.announce(KEY, b"me", ttl).expect("it is there");
    let over = poll(LONG, || {
        // A third of its time, in which nothing happens.
        let nothing: Option<()> = poll(ttl / 3, || None);
        assert_eq!(nothing, None);
        presence.renew().err()
    });
    assert!(
        matches!(over, Some(ClusterError::Expired { .. })),
        "{over:?}"
    );
    println!("\nexpired");
}
