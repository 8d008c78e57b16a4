//! What is lost halfway is begun anew, and not without a break.

use super::*;

fn lost() -> ClusterError {
    ClusterError::Lost {
        store: STORE,
        reason: "compacted".to_owned(),
    }
}

/// The pauses of a store that loses the pages this often, and what was read then.
fn paused(times: usize, end: Instant) -> (Vec<Duration>, Result<(), ClusterError>) {
    let mut left = times;
    let mut pauses = Vec::new();
    let read = || {
        let again = left > 0;
        left = left.saturating_sub(1);
        if again { Err(lost()) } else { Ok(()) }
    };
    let result = until_read(end, read, |pause| pauses.push(pause));
    (pauses, result)
}

#[test]
fn each_time_that_all_is_begun_anew_waits_twice_as_long_to_a_bound() {
    let end = Instant::now() + ALL;
    assert_eq!(paused(0, end), (vec![], Ok(())));
    let millis = [100, 200, 400, 800, 1600, 3200, 3200, 3200];
    let pauses = millis.map(Duration::from_millis).to_vec();
    assert_eq!(paused(8, end), (pauses, Ok(())));
    assert!((0..100).all(|_| (0.5..=1.0).contains(&drawn())));
}

#[test]
fn what_would_be_too_late_after_a_pause_is_not_begun_anew() {
    let end = Instant::now() + FIRST_PAUSE / 2;
    assert_eq!(paused(1, end), (vec![], Err(late("compacted"))));
}

#[test]
fn another_failure_is_told_at_once() {
    let failed = until_read(
        Instant::now() + ALL,
        || Err::<(), _>(late("it is away")),
        |_| panic!("nothing is waited for"),
    );
    assert_eq!(failed, Err(late("it is away")));
}
