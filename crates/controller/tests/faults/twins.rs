//! Two records of one name, which no daemon leaves behind: both go on, and the start too.

use crate::{
    scenario::{adopt, create, steps},
    world::World,
};
use serde_json::Value;
use vw_controller::{
    Controller,
    command::{ContainerList, Info},
};
use vw_store::Table;

/// Gives the record of a sandbox another's name, where its specification lies.
fn rename(world: &World, table: Table, key: &str, at: &str, name: &str) {
    let record = world.record(table, key).unwrap();
    let mut record: Value = serde_json::from_slice(&record).unwrap();
    record[at]["name"] = name.into();
    world.forge(table, key, serde_json::to_vec(&record).unwrap());
}

fn names(controller: &Controller) -> Vec<(String, String)> {
    let sandboxes = controller.submit(ContainerList).unwrap();
    let of = |sandbox: &vw_controller::view::ContainerView| {
        let spec = &sandbox.sandbox;
        (spec.name.to_string(), spec.id.to_string())
    };
    let mut names: Vec<_> = sandboxes.iter().map(of).collect();
    names.sort();
    names
}

#[test]
fn of_two_records_with_one_name_the_older_keeps_it_and_nothing_is_lost() {
    let world = World::new();
    let controller = world.open();
    create(&controller, "blue", "10.7.0.0/24").unwrap();
    adopt(&controller, &world, "one", &["blue"], &["8080:80"]).unwrap();
    adopt(&controller, &world, "two", &["blue"], &["8081:80"]).unwrap();
    let one = world.sandbox_id(&controller, "one");
    let two = world.sandbox_id(&controller, "two");
    let ports = world.kernel.claimed();
    drop(controller);
    rename(&world, Table::Sandboxes, &two, "adopted", "one");
    let renamed = format!("one-{}", &two[..12]);
    for start in ["first", "second"] {
        let controller = world.open();
        let expected = [
            ("one".to_owned(), one.clone()),
            (renamed.clone(), two.clone()),
        ];
        assert_eq!(names(&controller), expected, "{start} start");
        assert_eq!(controller.repair().unwrap(), 0, "{start} start");
        assert_eq!(world.kernel.claimed().len(), ports.len());
        let warnings = controller.submit(Info).unwrap().warnings;
        let told = warnings.iter().any(|text| text.contains(&renamed));
        assert_eq!(told, start == "first", "{warnings:?}");
    }
}

#[test]
fn a_container_whose_name_an_older_sandbox_has_is_kept_under_another() {
    let world = World::new();
    let controller = world.open();
    let steps = steps();
    let container = steps
        .iter()
        .position(|s| s.name.starts_with("create a container"));
    for step in &steps[..=container.unwrap()] {
        (step.run)(&controller, &world).unwrap();
    }
    let id = world.sandbox_id(&controller, "box");
    let count = names(&controller).len();
    drop(controller);
    rename(&world, Table::Containers, &id, "sandbox", "one");
    let controller = world.open();
    let names = names(&controller);
    assert_eq!(names.len(), count, "{names:?}");
    assert!(
        names.contains(&(format!("one-{}", &id[..12]), id)),
        "{names:?}"
    );
}
