//! Look-up by id, name and prefix.

use super::Registry;
use crate::sample::{network, sandbox, standing};
use vw_model::Kind;

fn networks(names: &[&str]) -> Registry {
    let mut registry = Registry::default();
    for name in names {
        registry.add_network(standing(network(name, &["10.1.0.0/24"])));
    }
    registry
}

fn found(registry: &Registry, text: &str) -> Result<String, (Kind, &'static str)> {
    match registry.network(text) {
        Ok(network) => Ok(network.spec.name.to_string()),
        Err(error) => Err((error.kind, error.reason)),
    }
}

#[test]
fn an_id_comes_before_a_name_and_a_name_before_a_prefix() {
    let mut registry = networks(&["blue", "green"]);
    let green = registry.network("green").unwrap().spec.id.to_string();
    // A name that is another's id, and a name that is a prefix of another's id.
    let prefix = &green[..8];
    let (mut mimic, mut short) = (
        network("mimic", &["10.2.0.0/24"]),
        network("short", &["10.3.0.0/24"]),
    );
    mimic.name = green.parse().unwrap();
    short.name = prefix.parse().unwrap();
    registry.add_network(standing(mimic));
    registry.add_network(standing(short));
    assert_eq!(found(&registry, &green).as_deref(), Ok("green"));
    assert_eq!(found(&registry, prefix).as_deref(), Ok(prefix));
    assert_eq!(found(&registry, &green[..9]).as_deref(), Ok("green"));
    assert_eq!(found(&registry, "blue").as_deref(), Ok("blue"));
}

#[test]
fn a_prefix_must_be_of_one_alone() {
    // Their ids begin with the names' bytes: 626c75 for `blu`.
    let registry = networks(&["blue", "blunt"]);
    assert_eq!(found(&registry, "626c7565").as_deref(), Ok("blue"));
    assert_eq!(found(&registry, "626C756E").as_deref(), Ok("blunt"));
    let ambiguous = Err((Kind::InvalidArgument, "network-ambiguous"));
    assert_eq!(found(&registry, "626c75"), ambiguous);
    let missing = Err((Kind::NotFound, "network-not-found"));
    for text in ["", "626d", "blu", "zzz"] {
        assert_eq!(found(&registry, text), missing, "{text:?}");
    }
}

#[test]
fn what_is_removed_is_not_found_by_anything() {
    let mut registry = networks(&["blue", "green"]);
    let blue = registry.network("blue").unwrap();
    registry.remove_network(&blue);
    let id = blue.spec.id.to_string();
    for text in ["blue", &id, &id[..12]] {
        assert!(registry.network(text).is_err(), "{text}");
    }
    let names: Vec<String> = registry
        .networks()
        .iter()
        .map(|n| n.spec.name.to_string())
        .collect();
    assert_eq!(names, ["green"]);
}

#[test]
fn a_container_name_is_one_containers() {
    let mut registry = Registry::default();
    let (web, db) = (sandbox("web"), sandbox("db"));
    registry.add_sandbox("web", web.clone()).unwrap();
    registry.add_sandbox("db", db.clone()).unwrap();
    let taken = registry.add_sandbox("web", sandbox("other")).unwrap_err();
    assert_eq!(
        (taken.kind, taken.reason),
        (Kind::Conflict, "container-name-in-use")
    );
    assert!(
        taken.message.contains(&web.id.to_string()),
        "{}",
        taken.message
    );
    assert!(registry.rename_sandbox("db", "web", db.id).is_err());
    assert_eq!(registry.sandbox("db").unwrap().id, db.id);
    registry.rename_sandbox("db", "store", db.id).unwrap();
    assert!(registry.sandbox("db").is_err());
    assert_eq!(registry.sandbox("store").unwrap().id, db.id);
    registry.remove_sandbox("store", db.id);
    assert!(registry.name_is_free("store"));
    assert_eq!(registry.sandbox("web").unwrap().id, web.id);
}

#[test]
fn a_network_that_goes_leaves_its_name_to_the_next_one() {
    let mut registry = networks(&["blue"]);
    let old = registry.network("blue").unwrap();
    registry.unname_network(&old);
    assert!(registry.network("blue").is_err());
    let mut next = network("next", &["10.2.0.0/24"]);
    next.name = "blue".parse().unwrap();
    let next = standing(next);
    registry.add_network(next.clone());
    registry.remove_network(&old);
    assert_eq!(registry.network("blue").unwrap().spec.id, next.spec.id);
}
