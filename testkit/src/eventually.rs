//! Waiting for a condition: the one place of the tests where polling sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Short against what tests wait for, long against what asking costs.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until it gets an answer; `None` when the time is over.
///
/// Asks at least once, and once more at the end.
pub fn poll<T>(time: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + time;
    loop {
        let late = Instant::now() >= end;
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if late {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits until the condition holds; fails the test when it does not within `time`.
#[track_caller]
pub fn eventually(what: &str, time: Duration, mut holds: impl FnMut() -> bool) {
    let met = poll(time, || holds().then_some(()));
    assert!(met.is_some(), "not within {time:?}: {what}");
}

/// Fails the test when the condition ceases to hold at any time within `time`.
#[track_caller]
pub fn stays(what: &str, time: Duration, mut holds: impl FnMut() -> bool) {
    let broken = poll(time, || (!holds()).then_some(()));
    assert!(broken.is_none(), "did not stay so for {time:?}: {what}");
}
