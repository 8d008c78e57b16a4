//! Who looks, and how often.

use super::Looks;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
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
                None
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
            Some(SOON * 100)
        })
        .expect("a thread");
    drop(looks);
    assert_eq!(Arc::strong_count(&here), 1, "its thread has ended");
}
