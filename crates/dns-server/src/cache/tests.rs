//! What is promised of the cache of answers, on examples.

use super::Cache;
use crate::forward::{Key, testing::key};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};
use vw_names::{Query, Response};

/// The reply to `question` with one address of this TTL, or with none and a SOA.
fn response(question: &[u8], ttl: u8, negative: bool) -> Rc<Response> {
    let query = Query::parse(question).unwrap();
    let mut reply = question.to_vec();
    reply[2] |= 0x80;
    reply[if negative { 9 } else { 7 }] = 1;
    let (rtype, data): (u8, &[u8]) = if negative {
        (6, &[0, 0, 0, 0, 0, 255])
    } else {
        (1, &[192, 0, 2, 1])
    };
    reply.extend_from_slice(&[0xc0, 12, 0, rtype, 0, 1, 0, 0, 0, ttl, 0, data.len() as u8]);
    reply.extend_from_slice(data);
    Rc::new(Response::parse(reply, query.id(), &query).unwrap())
}

fn question(number: u8) -> Vec<u8> {
    vec![
        0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, b'c', number, 0, 0, 1, 0, 1,
    ]
}

fn put(cache: &mut Cache, number: u8, ttl: u8, negative: bool, now: Instant) -> Rc<Key> {
    let key = Rc::new(key(&question(number)));
    cache.insert(
        Rc::clone(&key),
        response(&question(number), ttl, negative),
        now,
    );
    key
}

#[test]
fn answers_age_and_end() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut cache = Cache::new(1 << 20, 100, 20);
    let (short, capped) = (
        put(&mut cache, 1, 60, false, start),
        put(&mut cache, 2, 250, false, start),
    );
    let (denied, never) = (
        put(&mut cache, 3, 200, true, start),
        put(&mut cache, 4, 0, false, start),
    );
    let mut age = |key: &Key, seconds| cache.get(key, at(seconds)).map(|(_, age)| age);
    assert_eq!(
        (age(&short, 0), age(&short, 59), age(&short, 60)),
        (Some(0), Some(59), None)
    );
    assert_eq!((age(&capped, 99), age(&capped, 100)), (Some(99), None));
    assert_eq!((age(&denied, 19), age(&denied, 20)), (Some(19), None));
    assert_eq!(age(&never, 0), None);
}

#[test]
fn what_is_used_stays_and_memory_is_bounded() {
    let now = Instant::now();
    let weight = {
        let key = key(&question(0));
        key.weight() + response(&question(0), 60, false).weight()
    };
    // Ten in each generation.
    let mut cache = Cache::new(weight * 20, 100, 100);
    let used = put(&mut cache, 0, 60, false, now);
    for number in 1..200 {
        let key = put(&mut cache, number, 60, false, now);
        assert!(cache.get(&key, now).is_some());
        assert!(cache.get(&used, now).is_some(), "lost after {number}");
        assert!(cache.young.len() + cache.old.len() <= 20);
        assert!(cache.weight <= cache.limit);
    }
    assert!(cache.get(&key(&question(100)), now).is_none());
}

#[test]
fn the_same_again_takes_no_more_room() {
    let now = Instant::now();
    let mut cache = Cache::new(1 << 20, 100, 100);
    put(&mut cache, 1, 60, false, now);
    let weight = cache.weight;
    put(&mut cache, 1, 60, false, now);
    assert_eq!((cache.weight, cache.young.len()), (weight, 1));
}
