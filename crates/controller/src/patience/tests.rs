//! Tries become rare, and never too rare.

use super::*;

#[test]
fn tries_become_rare_among_changes() {
    let (mut patience, now) = (Patience::default(), Instant::now());
    let mut tries = Vec::new();
    for change in 0..3000 {
        if patience.is_over(now) {
            tries.push(change);
            patience.grow(now);
        }
    }
    assert_eq!(tries[..5], [0, 2, 6, 14, 30]);
    assert_eq!(tries[tries.len() - 1] - tries[tries.len() - 2], 1024);
}

#[test]
fn nobody_waits_for_longer_than_a_moment() {
    let (mut patience, now) = (Patience::default(), Instant::now());
    for _ in 0..9 {
        patience.grow(now);
    }
    assert!(!patience.is_over(now + LONGEST / 2));
    assert!(patience.is_over(now + LONGEST));
}
