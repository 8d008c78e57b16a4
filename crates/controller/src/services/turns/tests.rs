//! Who waits, who is waited for, and who need not wait.

use super::*;

const SHOP: NetworkId = NetworkId(vw_model::Id::from_bytes([1; 32]));
const YARD: NetworkId = NetworkId(vw_model::Id::from_bytes([2; 32]));

#[test]
fn a_network_awaits_all_who_come_and_no_other_does() {
    let turns = Turns::default();
    let turn = turns.of(SHOP);
    let (first, second) = (turn.expect(), turns.of(SHOP).expect());
    assert!(!turns.of(YARD).is_awaited());
    drop(first);
    assert!(turn.is_awaited(), "the second is still to come");
    drop(second);
    assert!(!turn.is_awaited());
}

#[test]
fn one_network_waits_for_no_other() {
    let turns = Turns::default();
    let turn = turns.of(SHOP);
    let _one = lock(&turn.one);
    assert!(turns.of(SHOP).one.try_lock().is_err());
    assert!(turns.of(YARD).one.try_lock().is_ok());
}

#[test]
fn what_was_refused_is_not_tried_again_at_once() {
    let turn = Turn::default();
    assert!(!turn.was_refused());
    turn.note_made(false, turn.roused());
    assert!(turn.was_refused());
    turn.note_made(true, turn.roused());
    assert!(!turn.was_refused());
}

#[test]
fn what_is_refused_again_and_again_is_tried_less_and_less() {
    let turn = Turn::default();
    assert!(!turn.rests());
    let mut rests = Vec::new();
    for _ in 0..9 {
        turn.note_made(false, turn.roused());
        assert!(turn.rests());
        rests.extend(lock(&turn.refused).map(|refused| refused.rest.as_secs()));
    }
    assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    turn.note_made(true, turn.roused());
    assert!(!turn.rests());
    turn.note_made(false, turn.roused());
    assert_eq!(lock(&turn.refused).map(|r| r.rest), Some(FIRST_REST));
}

#[test]
fn what_changes_ends_the_rest_even_of_what_is_being_tried() {
    let turns = Turns::default();
    let turn = turns.of(SHOP);
    turn.note_made(false, turn.roused());
    turns.rouse();
    assert!(!turn.rests());
    let begun = turn.roused();
    turns.rouse();
    turn.note_made(false, begun);
    assert!(!turn.rests(), "it changed while it was tried");
    turn.note_made(false, turn.roused());
    assert!(turn.rests());
}

#[test]
fn a_turn_that_somebody_has_is_not_forgotten() {
    let turns = Turns::default();
    let coming = turns.of(SHOP).expect();
    turns.retain(|_| false);
    assert!(turns.of(SHOP).is_awaited());
    drop(coming);
    turns.retain(|_| false);
    assert!(lock(&turns.0).is_empty());
}
