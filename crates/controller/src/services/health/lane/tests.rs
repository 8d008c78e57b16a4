//! Whose turn it is, and what it costs to know.

use super::{Lane, Place};
use crate::sample::bytes;
use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};
use vw_model::{EndpointId, ServiceId};

fn place(service: usize, number: usize) -> Place {
    let id = bytes(&format!("{number} of {service}"));
    let service = bytes(&format!("service {service}"));
    (ServiceId::from_bytes(service), EndpointId::from_bytes(id))
}

/// So many endpoints of each of so many services, all of which wait.
fn crowd(services: usize, endpoints: usize, since: Instant) -> Lane {
    let mut lane = Lane::default();
    for service in 0..services {
        for number in 0..endpoints {
            lane.wait(place(service, number), since);
        }
    }
    lane
}

#[test]
fn whose_turn_it_is_costs_the_same_however_many_wait() {
    let now = Instant::now();
    for (services, endpoints) in [(1, 2), (1, 4000), (2000, 2), (50, 80)] {
        let mut lane = crowd(services, endpoints, now);
        // Places are freed one by one, and taken.
        for _ in 0..services.min(20) {
            let looked = Cell::new(0);
            let held = |_| {
                looked.set(looked.get() + 1);
                false
            };
            let chosen = lane.choose(now, 1, &BTreeMap::new(), held);
            assert_eq!(chosen.len(), 1);
            lane.leave(chosen[0], now);
            lane.begin(chosen[0]);
            assert!(
                looked.get() <= 2,
                "{services} services, {endpoints} each: {} were looked at",
                looked.get()
            );
        }
    }
}

#[test]
fn the_fewest_asked_come_first_and_then_who_waits_longest() {
    let now = Instant::now();
    let second = Duration::from_secs(1);
    let mut lane = Lane::default();
    for (service, number, since) in [(1, 1, 9), (1, 2, 8), (2, 1, 7), (2, 2, 6), (3, 1, 5)] {
        lane.wait(place(service, number), now - second * since);
    }
    lane.wait(place(4, 1), now + second);
    lane.begin(place(1, 9));
    let none = BTreeMap::new();
    let all = |lane: &Lane, room, besides: &BTreeMap<_, _>| {
        lane.choose(now, room, besides, |at| at == place(2, 1))
    };
    let by_turns = [(2, 2), (3, 1), (1, 1), (1, 2)].map(|(s, n)| place(s, n));
    assert_eq!(all(&lane, 9, &none), by_turns);
    assert_eq!(all(&lane, 2, &none), by_turns[..2]);
    let besides = BTreeMap::from([(place(2, 1).0, 2)]);
    let later = [(3, 1), (1, 1), (1, 2), (2, 2)].map(|(s, n)| place(s, n));
    assert_eq!(all(&lane, 9, &besides), later);
    lane.end(place(1, 9));
    assert_eq!(all(&lane, 1, &none), [place(1, 1)]);
    assert_eq!(lane.next_after(now), Some(now + second));
    assert!(lane.running().is_empty());
}
