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
            roster
                .with(id(name), member(name, *weight, Health::Unchecked))
                .unwrap()
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
    let sick = one
        .with(id("a"), member("a", 1, Health::Unhealthy))
        .unwrap();
    assert_eq!(slots(&sick), "b");
    assert!(sick.members.contains_key(&id("a")) && !sick.serves(id("a")));
    let well = sick.with(id("a"), member("a", 3, Health::Healthy)).unwrap();
    assert_eq!(slots(&well), "baaa");
    let same = well.with(id("b"), member("b", 1, Health::Healthy)).unwrap();
    assert_eq!(slots(&same), "baaa", "who serves already keeps its slots");
    let starting = well
        .with(id("c"), member("c", 1, Health::Starting))
        .unwrap();
    assert_eq!(slots(&starting), "baaa");
}

#[test]
fn a_service_has_room_for_so_much_weight() {
    let mut roster = Roster::default();
    for number in 0..MAX_SLOTS as u32 / 64 {
        let name = format!("e{number}");
        roster = roster
            .with(id(&name), member(&name, 64, Health::Unchecked))
            .unwrap();
    }
    let full = roster.with(id("more"), member("more", 1, Health::Unchecked));
    assert_eq!(full.unwrap_err().reason, "service-full");
}
