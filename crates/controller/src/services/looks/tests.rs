//! Who looks, and how often.

use super::{Extent, LONGEST_PAUSE, Looks, Pauses};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use vw_model::{Id, NetworkId, ServiceId};
use vw_testkit::eventually;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_look_that_panicked_is_followed_by_the_next() {
    let looks = Looks::default();
    let looked = Arc::new(AtomicUsize::new(0));
    let count = looked.clone();
    looks
        .ask(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            panic!("as a fault would");
        })
        .expect("a thread");
    let asked = || {
        let count = looked.clone();
        looks
            .ask(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                false
            })
            .expect("a thread");
        looked.load(Ordering::SeqCst) > 1
    };
    eventually("another looks", SOON, asked);
}

#[test]
fn who_waits_to_look_again_ends_with_the_controller() {
    let looks = Looks::default();
    let here = Arc::new(());
    let there = here.clone();
    looks
        .ask(move |_| {
            let _ = &there;
            true
        })
        .expect("a thread");
    drop(looks);
    assert_eq!(Arc::strong_count(&here), 1, "its thread has ended");
}

const SHOP: NetworkId = NetworkId(Id::from_bytes([1; 32]));
const YARD: NetworkId = NetworkId(Id::from_bytes([2; 32]));

#[test]
fn what_changed_is_looked_at_and_what_could_not_be_done_when_that_is_due() {
    let looks = Looks::default();
    let [web, api] = [1, 2].map(|n| ServiceId::from_bytes([n; 32]));
    let of = |services: &[ServiceId]| Extent::Services(services.iter().copied().collect());
    looks.note_settled(YARD, false);
    for service in [Some(web), None, Some(api), Some(web)] {
        looks.note(|due| due.add(SHOP, service));
    }
    assert_eq!(looks.take(false), ([(SHOP, of(&[web, api]))].into(), false));
    assert_eq!(looks.take(false), ([].into(), false));
    looks.note(|due| due.add(YARD, Some(web)));
    looks.note(|due| due.add(SHOP, None));
    let both = [(SHOP, of(&[])), (YARD, Extent::Whole)];
    assert_eq!(looks.take(true), (both.into(), false));
    looks.note_settled(YARD, true);
    looks.note(|due| due.unsettled = true);
    assert_eq!(looks.take(true), ([].into(), false));
}

#[test]
fn pauses_grow_while_something_is_left_and_no_other_look_puts_them_off() {
    let mut pauses = Pauses::default();
    assert!(pauses.are_over(), "it is tried at first");
    let first = pauses.next(true, true).expect("it is tried again");
    assert!(first > Instant::now());
    assert_eq!(pauses.next(true, false), Some(first));
    let mut last = Vec::new();
    for _ in 0..4 {
        pauses.next(true, true);
        last.extend(pauses.last);
    }
    assert_eq!(last, [2, 4, 8, 8].map(Duration::from_secs));
    assert_eq!(last.last(), Some(&LONGEST_PAUSE));
    assert_eq!(pauses.next(false, false), None);
    assert_eq!((pauses.last, pauses.until), (None, None));
}
