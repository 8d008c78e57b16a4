//! What is told, and when.

use super::*;
use vw_model::Id;

const SHOP: NetworkId = NetworkId(Id::from_bytes([1; 32]));
const YARD: NetworkId = NetworkId(Id::from_bytes([2; 32]));

fn lacks(ports: &[(&str, Obstacle)]) -> Lacks {
    let ports = ports.iter();
    let ports = ports.map(|(port, why)| (at(port), *why));
    Lacks {
        ports: ports.collect(),
        ..Lacks::default()
    }
}

fn at(port: &str) -> HostPort {
    HostPort {
        host: None,
        port: port.parse().expect("a port"),
    }
}

#[test]
fn nothing_is_told_before_all_was_looked_at_and_then_it_is_once() {
    let mut told = Told::default();
    let some = lacks(&[("80/tcp", Obstacle::Taken)]);
    assert_eq!(told.put(SHOP, &some), Lacks::default());
    assert_eq!(told.put(YARD, &some), Lacks::default());
    assert!(!told.whole);
    assert!(told.complete(|_| true) && told.whole);
    assert!(!told.complete(|_| true), "nothing has changed");
    assert_eq!(told.put(SHOP, &some), some, "what it was before");
    assert!(told.complete(|id| id == SHOP), "a network is gone");
    assert!(told.lacks.networks.keys().eq([&SHOP]));
}

#[test]
fn one_that_lacks_nothing_says_so_once() {
    let mut told = Told::default();
    assert!(
        told.complete(|_| true),
        "of the run before more may be told"
    );
    assert!(!told.complete(|_| true));
}

#[test]
fn older_hosts_are_told_of_what_is_taken_alone() {
    let mut told = Told::default();
    let some = [
        ("80/tcp", Obstacle::Taken),
        ("81/tcp", Obstacle::Unreached),
        ("82/tcp", Obstacle::Failed),
    ];
    told.put(SHOP, &lacks(&some));
    let ports: Vec<String> = told.taken(SHOP).iter().map(PortKey::to_string).collect();
    assert_eq!(ports, ["80/tcp"]);
    assert!(told.taken(YARD).is_empty());
}

#[test]
fn what_older_hosts_tell_counts_where_they_tell_nothing_else() {
    let ports = BTreeSet::from(["80/tcp".parse().expect("a port")]);
    let taken = lacks(&[("80/tcp", Obstacle::Taken)]);
    assert_eq!(lacks_of(None, Some(&ports)), taken);
    let other = lacks(&[("81/tcp", Obstacle::Failed)]);
    assert_eq!(lacks_of(Some(&other), Some(&ports)), other);
    assert!(lacks_of(None, None).is_empty());
}

#[test]
fn why_something_fails_is_said_once_until_it_changes() {
    let mut said = Said::default();
    let why = |text: &str| Some(text.to_owned());
    let (all, one) = (
        (SHOP, About::All),
        (SHOP, About::Led(ServiceId::from_bytes([3; 32]))),
    );
    assert_eq!(said.news(all, why("full")), why("full"));
    assert_eq!(said.news(all, why("full")), None);
    assert_eq!(
        said.news(one, why("full")),
        why("full"),
        "of something else"
    );
    assert_eq!(said.news(all, why("gone")), why("gone"));
    assert_eq!(said.news(all, None), None);
    assert_eq!(
        said.news(all, why("gone")),
        why("gone"),
        "it was done meanwhile"
    );
}
