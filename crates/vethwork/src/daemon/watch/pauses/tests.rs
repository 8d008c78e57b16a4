//! How often a link comes back that somebody takes away.

use super::{FIRST, LONGEST, Pauses};
use std::time::{Duration, Instant};

#[test]
fn a_link_that_goes_again_and_again_comes_back_ever_later() {
    let begun = Instant::now();
    let mut pauses = Pauses::default();
    let hour = Duration::from_secs(3600);
    let (mut now, mut waited) = (begun, Vec::new());
    while now < begun + hour {
        pauses.went("eth", now);
        let back = pauses.next().unwrap().max(now);
        assert!(back == now || !pauses.are_over(now), "it is too early");
        assert!(pauses.are_over(back));
        assert!(!pauses.are_over(back), "it is back");
        waited.push((back - now).as_secs());
        now = back;
    }
    assert_eq!(waited[..9], [0, 1, 2, 4, 8, 16, 32, 64, 64]);
    assert!(waited.len() < 70, "{} times in an hour", waited.len());
}

#[test]
fn a_link_waits_for_no_other() {
    let now = Instant::now();
    let mut pauses = Pauses::default();
    pauses.went("one", now);
    assert!(pauses.are_over(now));
    pauses.went("one", now);
    assert!(!pauses.are_over(now));
    pauses.went("two", now);
    assert!(pauses.are_over(now));
    // The comparison that brought the other back brought it too: it waits longer the next time.
    pauses.went("one", now);
    assert_eq!(pauses.next(), Some(now + 2 * FIRST));
}

#[test]
fn a_link_that_stood_for_long_comes_back_at_once() {
    let begun = Instant::now();
    let mut pauses = Pauses::default();
    pauses.went("one", begun);
    assert!(pauses.are_over(begun));
    pauses.went("one", begun);
    assert!(pauses.are_over(begun + FIRST));
    let later = begun + FIRST + 4 * FIRST;
    assert!(!pauses.are_over(later), "nothing is gone");
    pauses.went("one", later);
    assert!(pauses.are_over(later));
    assert!(pauses.next().is_none() && LONGEST > FIRST);
}
