//! How soon each is tried again.

use super::{FIRST, LONGEST, Left, Pauses};
use std::time::{Duration, Instant};
use vw_model::{Id, NetworkId};

const SHOP: Left = Left::Ways(NetworkId(Id::from_bytes([1; 32])));
const YARD: Left = Left::Ways(NetworkId(Id::from_bytes([2; 32])));

#[test]
fn pauses_grow_while_something_is_left_and_no_other_look_puts_them_off() {
    let begun = Instant::now();
    let mut pauses = Pauses::new(begun);
    assert!(pauses.are_over(SHOP), "it is tried at first");
    pauses.settle(SHOP, false);
    assert_eq!(pauses.next(), Some(begun + FIRST), "it is tried again");
    pauses.begin(begun + FIRST / 2);
    assert!(!pauses.are_over(SHOP));
    pauses.settle(SHOP, false);
    assert_eq!(pauses.next(), Some(begun + FIRST), "somebody else looked");
    let mut grown = Vec::new();
    for _ in 0..4 {
        let now = pauses.next().expect("it is tried again");
        pauses.begin(now);
        pauses.settle(SHOP, false);
        grown.extend(pauses.next().map(|next| next - now));
    }
    assert_eq!(grown, [2, 4, 8, 8].map(Duration::from_secs));
    assert_eq!(grown.last(), Some(&LONGEST));
    pauses.settle(SHOP, true);
    assert_eq!(pauses.next(), None);
}

#[test]
fn a_look_that_takes_long_and_what_comes_meanwhile_leave_a_pause() {
    let begun = Instant::now();
    let mut pauses = Pauses::new(begun);
    pauses.settle(SHOP, false);
    let ended = begun + 2 * LONGEST;
    pauses.end(ended);
    assert_eq!(pauses.next(), Some(ended + FIRST));
    for _ in 0..4 {
        pauses.begin(pauses.next().expect("it is tried again"));
        pauses.settle(SHOP, false);
    }
    let last = pauses.next().expect("it is tried again");
    let now = last - LONGEST;
    pauses.begin(now);
    pauses.shorten(SHOP);
    assert!(!pauses.are_over(SHOP));
    assert_eq!(pauses.next(), Some(now + FIRST));
}

#[test]
fn what_is_tried_in_vain_for_long_slows_nothing_else() {
    let mut now = Instant::now();
    let mut pauses = Pauses::new(now);
    for _ in 0..4 {
        pauses.begin(now);
        pauses.settle(SHOP, false);
        now = pauses.next().expect("it is tried again");
    }
    let now = now - LONGEST / 2;
    pauses.begin(now);
    assert!(!pauses.are_over(SHOP));
    assert!(pauses.are_over(YARD), "it is tried at once");
    pauses.settle(YARD, false);
    assert_eq!(pauses.next(), Some(now + FIRST), "and soon again");
    pauses.retain(|left| left == SHOP);
    assert_eq!(pauses.next(), Some(now + LONGEST / 2));
}
