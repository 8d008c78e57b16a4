//! What is told after which answers, one each second: `+` and `-` are answers, `w` and `s` what is
//! told of them.

use super::{EACH, Health, Verdict};
use std::time::{Duration, Instant};

fn told(health: Health, retries: u32, answers: &str) -> String {
    let mut verdict = Verdict::new(health, retries);
    let mut starting = true;
    let mut told = String::new();
    let mut now = Instant::now();
    for answer in answers.chars() {
        match answer {
            '|' => starting = false,
            answer => told.push(match verdict.take(answer == '+', starting, now) {
                Some(true) => 'w',
                Some(false) => 's',
                None => '.',
            }),
        }
        now += Duration::from_secs(1);
    }
    told
}

#[test]
fn failures_in_a_row_make_it_sick_and_one_success_well() {
    assert_eq!(told(Health::Starting, 3, "|+--+---+"), "w.....s.");
    assert_eq!(told(Health::Starting, 3, "|---+"), "..sw");
    assert_eq!(told(Health::Healthy, 1, "|+-"), ".s");
    assert_eq!(told(Health::Unhealthy, 1, "|-+"), ".w");
}

#[test]
fn failures_of_its_start_do_not_count() {
    assert_eq!(told(Health::Starting, 2, "----|-+"), ".....w");
    assert_eq!(told(Health::Starting, 2, "--+--"), "..w.s");
}

#[test]
fn one_that_changes_to_and_fro_must_prove_itself_longer_each_time() {
    let flapping = told(Health::Healthy, 1, "|-++-++++-++++++++");
    assert_eq!(flapping, "s.ws...ws.......w");
    // Steady for a while, it is believed sooner again.
    let steady = told(Health::Healthy, 1, "|-++++++++++-++");
    assert_eq!(steady, "s.w........s.w");
}

#[test]
fn what_did_not_arrive_is_told_again() {
    let mut verdict = Verdict::new(Health::Starting, 1);
    let now = Instant::now();
    assert_eq!(verdict.take(true, false, now), Some(true));
    verdict.take_back();
    assert_eq!(verdict.take(true, false, now), Some(true));
    // Also while it starts: it was well.
    assert_eq!(verdict.take(false, true, now), Some(false));
    verdict.take_back();
    assert_eq!(verdict.take(false, true, now), Some(false));
}

#[test]
fn what_did_not_arrive_is_held_against_nobody() {
    let mut verdict = Verdict::new(Health::Healthy, 1);
    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(verdict.take(false, false, begun), Some(false));
        verdict.take_back();
    }
    assert_eq!(verdict.take(false, false, begun), Some(false));
    // It was sick once, and is well with the second good answer.
    let later = begun + EACH * 2;
    assert_eq!(verdict.take(true, false, begun), None);
    assert_eq!(verdict.take(true, false, later), Some(true));
}

#[test]
fn what_counts_is_what_was_told() {
    let mut verdict = Verdict::new(Health::Unhealthy, 1);
    let now = Instant::now();
    assert_eq!(verdict.take(false, false, now), None);
    assert!(verdict.agree(Health::Unhealthy));
    // It was taken for well meanwhile, as nobody was asked.
    assert!(!verdict.agree(Health::Healthy));
    assert_eq!(verdict.take(false, false, now), Some(false));
}

#[test]
fn however_often_one_is_asked_little_is_told_of_it() {
    let mut verdict = Verdict::new(Health::Starting, 1);
    let (mut well, mut told) = (true, 0);
    let begun = Instant::now();
    for milliseconds in 0..60_000 {
        let now = begun + Duration::from_millis(milliseconds);
        if let Some(word) = verdict.take(well, false, now) {
            // It fails as soon as it is led to, and is well again.
            (well, told) = (!word, told + 1);
        }
    }
    assert!((8..20).contains(&told), "{told} in a minute");
}
