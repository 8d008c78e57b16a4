//! What is promised of zones, on examples.

use crate::{Name, SharedZone, Zone, testing::endpoint};
use expect_test::expect;
use proptest::prelude::*;
use std::{collections::BTreeMap, fmt::Write as _};

fn dump(zone: &Zone) -> String {
    let mut text = String::new();
    let names: BTreeMap<_, _> = zone
        .names
        .iter()
        .map(|(name, hosts)| (name.to_string(), hosts))
        .collect();
    for (name, hosts) in names {
        let addresses: Vec<_> = hosts
            .iter()
            .flat_map(|host| &host.v4)
            .map(ToString::to_string)
            .collect();
        writeln!(text, "{name}: {}", addresses.join(" ")).unwrap();
    }
    text
}

#[test]
fn names_come_and_go() {
    let empty = Zone::new("My Net", []);
    let one = empty.with(&endpoint(
        1,
        "Web",
        &["all", "all", "b..d", &"x".repeat(64)],
        &["10.0.0.1"],
    ));
    let two = one.with(&endpoint(2, "db", &["all"], &["10.0.0.2"]));
    expect![[r#"
        010101010101: 10.0.0.1
        010101010101.my net: 10.0.0.1
        020202020202: 10.0.0.2
        020202020202.my net: 10.0.0.2
        all: 10.0.0.1 10.0.0.2
        all.my net: 10.0.0.1 10.0.0.2
        db: 10.0.0.2
        db.my net: 10.0.0.2
        web: 10.0.0.1
        web.my net: 10.0.0.1
    "#]]
    .assert_eq(&dump(&two));
    assert_eq!((empty.len(), one.len(), two.len()), (0, 1, 2));
    assert_eq!(two.without(endpoint(2, "", &[], &[]).endpoint), one);
    let renamed = one.with(&endpoint(1, "new", &[], &["10.0.0.9"]));
    expect![[r#"
        010101010101: 10.0.0.9
        010101010101.my net: 10.0.0.9
        new: 10.0.0.9
        new.my net: 10.0.0.9
    "#]]
    .assert_eq(&dump(&renamed));
    assert_eq!(renamed.without(endpoint(1, "", &[], &[]).endpoint), empty);
    assert!(renamed.by_address("10.0.0.1".parse().unwrap()).is_none());
}

#[test]
fn a_network_that_cannot_be_a_name_has_no_qualified_names() {
    let zone = Zone::new(&"n".repeat(100), []).with(&endpoint(1, "web", &[], &["10.0.0.1"]));
    expect![[r#"
        010101010101: 10.0.0.1
        web: 10.0.0.1
    "#]]
    .assert_eq(&dump(&zone));
    let host = zone.by_address("10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(host.canonical, Name::from_text("web").ok());
}

#[test]
fn an_address_that_changed_hands_stays_with_its_holder() {
    let zone = Zone::new("net", [])
        .with(&endpoint(1, "old", &[], &["10.0.0.1"]))
        .with(&endpoint(2, "new", &[], &["10.0.0.1"]))
        .without(endpoint(1, "", &[], &[]).endpoint);
    let host = zone.by_address("10.0.0.1".parse().unwrap()).unwrap();
    assert_eq!(host.canonical, Name::from_text("new.net").ok());
}

#[test]
fn changes_at_once_all_take_effect() {
    let shared = SharedZone::new(Zone::new("net", []));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let shared = &shared;
            scope.spawn(move || shared.update(|zone| zone.with(&endpoint(number, "c", &[], &[]))));
        }
    });
    assert_eq!(shared.load().len(), 8);
}

proptest! {
    /// Whatever happened before, a zone is what a fresh one of those who are in would be.
    #[test]
    fn history_leaves_no_trace(steps in proptest::collection::vec((0..6_u8, 0..4_u8, any::<bool>()), 0..40)) {
        let mut zone = Zone::new("net", []);
        let mut now = BTreeMap::new();
        for (number, variant, join) in steps {
            let addr = format!("10.0.{variant}.{number}");
            let names = endpoint(number, &format!("c{number}-{variant}"), &["all", &format!("a{variant}")], &[&addr]);
            if join {
                zone = zone.with(&names);
                now.insert(number, names);
            } else {
                zone = zone.without(names.endpoint);
                now.remove(&number);
            }
        }
        let fresh = now.values().fold(Zone::new("net", []), |zone, names| zone.with(names));
        prop_assert_eq!(zone.with_all(now.values()), fresh.clone());
        prop_assert_eq!(Zone::new("net", []).with_all(now.values()), fresh.clone());
        prop_assert_eq!(zone, fresh);
    }

    #[test]
    fn names_read_back(text in "[a-z0-9_ é-]{1,20}(\\.[a-z]{1,9}){0,8}") {
        let name = Name::from_text(&text).unwrap();
        prop_assert_eq!(name.to_string(), text);
    }
}

#[test]
fn what_cannot_be_a_name() {
    let check = |text: &str| Name::from_text(text).map_err(|error| error.to_string());
    expect![[r#"
        "\"\" cannot be a DNS name: it has an empty label; remove the extra dot"
    "#]]
    .assert_debug_eq(&check("").unwrap_err());
    expect![[r#"
        "\"a..b\" cannot be a DNS name: it has an empty label; remove the extra dot"
    "#]]
    .assert_debug_eq(&check("a..b").unwrap_err());
    let label = "x".repeat(63);
    assert!(check(&label).is_ok() && check(&(label.clone() + "y")).is_err());
    let long = [label.as_str(); 4].join(".");
    assert!(check(&long[2..]).is_ok(), "255 octets");
    assert!(check(&long[1..]).is_err(), "256 octets");
    let half = Name::from_text(&long[..127]).unwrap();
    assert!(half.below(&Name::from_text(&long[..125]).unwrap()).is_ok());
    assert!(half.below(&half).is_err());
}
