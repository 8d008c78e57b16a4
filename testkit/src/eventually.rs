//! Waiting for a condition, and for others: the one place of the tests where something sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The shortest, and the longest, that passes between two questions.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// Asks until it gets an answer; `None` when the time is over.
///
/// Asks at least once, and once more at the end; the longer it has waited the less often: asking
/// mostly starts a program, on a machine where others wait for their turn.
pub fn poll<T>(time: Duration, ask: impl FnMut() -> Option<T>) -> Option<T> {
    let [shortest, longest] = PAUSES;
    ask_again(time, |waited| (waited / 10).clamp(shortest, longest), ask)
}

/// As [`poll`], with a pause by how long it has waited.
fn ask_again<T>(
    time: Duration,
    pause: impl Fn(Duration) -> Duration,
    mut ask: impl FnMut() -> Option<T>,
) -> Option<T> {
    let began = Instant::now();
    loop {
        let waited = began.elapsed();
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if waited >= time {
            return None;
        }
        thread::sleep(pause(waited));
    }
}

/// Passes the time between two connections of a load that has no pace of its own: as many as can be had
/// would leave no processor to whom they ask, nor to the tests beside this one.
pub(crate) fn let_others_run() {
    thread::sleep(Duration::from_millis(1));
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
    let [shortest, _] = PAUSES;
    let broken = ask_again(time, |_| shortest, || (!holds()).then_some(()));
    assert!(broken.is_none(), "did not stay so for {time:?}: {what}");
}
