//! Who looks, and how often.

use super::{
    Extent, Left, Looks,
    pauses::{LONGEST, Pauses},
};
use crate::registry::lock;
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
        .ask(move |pauses| {
            let _ = &there;
            pauses.settle(Left::Rest, false);
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
    let now = Instant::now();
    let mut rest = Pauses::new(now);
    rest.settle(Left::Network(YARD), false);
    let mut over = Pauses::new(now);
    over.settle(Left::Network(YARD), false);
    over.begin(now + LONGEST);
    for service in [Some(web), None, Some(api), Some(web)] {
        looks.note(|due| due.add(SHOP, service));
    }
    assert_eq!(looks.take(&rest), ([(SHOP, of(&[web, api]))].into(), false));
    assert_eq!(looks.take(&rest), ([].into(), false));
    looks.note(|due| due.add(YARD, Some(web)));
    looks.note(|due| due.add(SHOP, None));
    let both = [(SHOP, of(&[])), (YARD, Extent::Whole)];
    assert_eq!(looks.take(&over), (both.into(), false));
    looks.note_settled(YARD, true);
    looks.note(|due| due.unsettled = true);
    assert_eq!(looks.take(&over), ([].into(), false));
}

#[test]
fn one_more_that_is_refused_waits_no_longer_than_the_first_did() {
    let looks = Looks::default();
    let mut pauses = Pauses::new(Instant::now());
    let note = |more| *lock(&looks.refused).entry(SHOP).or_default() |= more;
    note(true);
    assert_eq!(looks.take_refused(&mut pauses), [SHOP].into());
    looks.note_left(&mut pauses, false);
    note(false);
    assert_eq!(
        looks.take_refused(&mut pauses),
        [].into(),
        "a look of another"
    );
    let begun = Instant::now();
    while pauses.next().is_some_and(|next| next < begun + LONGEST) {
        let next = pauses.next().expect("it is tried again");
        pauses.begin(next);
        looks.take_refused(&mut pauses);
        looks.note_left(&mut pauses, false);
    }
    let next = pauses.next().expect("it is tried again");
    let now = next - LONGEST;
    pauses.begin(now);
    note(true);
    assert_eq!(looks.take_refused(&mut pauses), [].into(), "not at once");
    let soon = pauses.next().expect("it is tried again");
    assert!(soon < next, "it is tried sooner");
    pauses.begin(soon);
    assert_eq!(looks.take_refused(&mut pauses), [SHOP].into());
    lock(&looks.refused).clear();
    looks.note_left(&mut pauses, false);
    assert_eq!(pauses.next(), None);
}
