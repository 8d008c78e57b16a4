//! Slots as members come and go.

use super::{Health, Member, Roster};
use crate::sample::{bytes, guest};
use vw_firewall::MAX_SLOTS;
use vw_model::EndpointId;

fn id(name: &str) -> EndpointId {
    EndpointId::from_bytes(bytes(name))
}

fn member(name: &str, weight: u32, health: Health) -> Member {
    Member {
        host: None,
        sandbox: guest(),
        name: name.to_owned(),
        addresses: vec![[10, 0, 0, 2].into()],
        weight,
        health,
    }
}

fn slots(roster: &Roster) -> String {
    let names = roster
        .slots
        .iter()
        .map(|id| roster.members[id].name.clone());
    names.collect::<Vec<_>>().join("")
}

fn of(names: &[(&str, u32)]) -> Roster {
    names
        .iter()
        .fold(Roster::default(), |roster, (name, weight)| {
            roster.with(id(name), member(name, *weight, Health::Unchecked))
        })
}

#[test]
fn who_leaves_gives_its_slots_to_the_last() {
    let all = of(&[("a", 1), ("b", 2), ("c", 1), ("d", 1)]);
    assert_eq!(slots(&all), "abbcd");
    assert_eq!(slots(&all.without(id("a"))), "dbbc");
    assert_eq!(slots(&all.without(id("b"))), "acd");
    assert_eq!(slots(&all.without(id("d"))), "abbc");
    assert_eq!(all.without(id("x")), all);
}

#[test]
fn slots_follow_health_and_weight() {
    let one = of(&[("a", 1), ("b", 1)]);
    let sick = one.with(id("a"), member("a", 1, Health::Unhealthy));
    assert_eq!(slots(&sick), "b");
    assert!(sick.members.contains_key(&id("a")) && !sick.serves(id("a")));
    let well = sick.with(id("a"), member("a", 3, Health::Healthy));
    assert_eq!(slots(&well), "baaa");
    let same = well.with(id("b"), member("b", 1, Health::Healthy));
    assert_eq!(slots(&same), "baaa", "who serves already keeps its slots");
    let starting = well.with(id("c"), member("c", 1, Health::Starting));
    assert_eq!(slots(&starting), "baaa");
}

/// A service without any room.
fn full() -> Roster {
    (0..MAX_SLOTS as u32 / 64).fold(Roster::default(), |roster, number| {
        let name = format!("e{number}");
        roster.with(id(&name), member(&name, 64, Health::Unchecked))
    })
}

#[test]
fn a_service_has_room_for_so_much_weight() {
    let more = full().joined(id("more"), member("more", 1, Health::Unchecked));
    assert_eq!(more.unwrap_err().reason, "service-full");
    let starting = full().joined(id("more"), member("more", 1, Health::Starting));
    assert_eq!(starting.unwrap().slots, full().slots);
}

#[test]
fn who_finds_no_room_waits_until_another_leaves_some() {
    let waiting = full()
        .with(id("heavy"), member("heavy", 65, Health::Healthy))
        .with(id("more"), member("more", 60, Health::Healthy))
        .with(id("sick"), member("sick", 1, Health::Unhealthy));
    assert_eq!(waiting.slots, full().slots);
    let mut who = waiting.waiting();
    who.sort();
    let mut both = vec![id("heavy"), id("more")];
    both.sort();
    assert_eq!(who, both);
    let ways: [fn(&Roster) -> Roster; 2] = [
        |all| all.without(id("e3")),
        |all| all.with(id("e3"), member("e3", 64, Health::Unhealthy)),
    ];
    for leave in ways {
        let left = leave(&waiting);
        assert!(left.serves(id("more")) && !left.serves(id("e3")));
        assert_eq!(left.waiting(), [id("heavy")], "for whom it is not enough");
        assert_eq!(left.slots.len(), MAX_SLOTS - 4);
        let left = leave(&left.without(id("e4")));
        assert!(left.serves(id("heavy")) && left.waiting().is_empty());
    }
}

#[test]
fn members_that_come_together_are_in_as_one_after_the_other() {
    let health = [Health::Unchecked, Health::Unhealthy, Health::Healthy];
    let weight = |number: u32| number % 7 + 1;
    let members = |from: u32| {
        (0..600).map(move |number| {
            let name = format!("endpoint {number}");
            let state = health[(number + from) as usize % 3];
            (id(&name), member(&name, weight(number), state))
        })
    };
    let mut roster = Roster::default();
    let mut singly = Roster::default();
    // The second time they change to and fro.
    for round in 0..2 {
        roster.take(members(round));
        let (serve, not): (Vec<_>, Vec<_>) =
            members(round).partition(|(_, one)| one.health.serves());
        for (id, member) in not.into_iter().chain(serve) {
            singly = singly.with(id, member);
        }
        assert_eq!(roster.members, singly.members);
        let wanted = |of: &Roster| of.slots.len() + 7 > MAX_SLOTS || of.waiting().is_empty();
        assert!(wanted(&roster) && wanted(&singly));
        assert!(roster.slots.len() <= MAX_SLOTS);
        for (id, one) in &roster.members {
            let held = roster.slots.iter().filter(|held| *held == id).count();
            let whole = one.health.serves() && held == one.weight as usize;
            assert!(held == 0 || whole, "{}: {held} of {}", one.name, one.weight);
        }
    }
    let gone: Vec<EndpointId> = members(0).map(|(id, _)| id).take(400).collect();
    roster.let_go(gone.iter().copied());
    assert_eq!(roster.members.len(), 200);
    assert!(roster.slots.iter().all(|id| !gone.contains(id)));
    assert!(roster.waiting().is_empty(), "who waited has their room");
}

#[test]
fn ten_thousand_members_that_come_together_take_no_copy_each() {
    let all = (0..10_000).map(|number| {
        let name = format!("endpoint {number}");
        (id(&name), member(&name, 1, Health::Healthy))
    });
    let mut roster = Roster::default();
    let begun = std::time::Instant::now();
    roster.take(all);
    let taken = begun.elapsed();
    assert_eq!(roster.slots.len(), MAX_SLOTS);
    // Half a second; with a copy each it was 40 s.
    assert!(taken.as_secs() < 10, "{taken:?}");
}

#[test]
fn what_happens_on_other_hosts_moves_no_slot_of_those_here() {
    let far = |name| Member {
        host: Some(vw_model::HostId::from_bytes([1; 32])),
        ..member(name, 1, Health::Unchecked)
    };
    let here = |roster: &Roster| {
        let names = roster.here.iter().map(|id| roster.members[id].name.clone());
        names.collect::<String>()
    };
    let one = Roster::default().with(id("r"), far("r"));
    let all = ["a", "b", "c"].iter().fold(one, |roster, name| {
        roster.with(id(name), member(name, 1, Health::Healthy))
    });
    let without = all.without(id("r"));
    assert_eq!((slots(&without).as_str(), &*here(&without)), ("cab", "abc"));
    let back = without.with(id("r"), far("r"));
    assert_eq!((slots(&back).as_str(), &*here(&back)), ("cabr", "abc"));
    let sick = back.with(id("a"), member("a", 1, Health::Unhealthy));
    assert_eq!((slots(&sick).as_str(), &*here(&sick)), ("crb", "cb"));
    // As after a restart.
    let again = sick.in_order(sick.slots.clone(), sick.here.clone());
    assert_eq!(again, sick);
    // What an older version left has no order of those here.
    assert_eq!(here(&sick.in_order(sick.slots.clone(), Vec::new())), "bc");
}
