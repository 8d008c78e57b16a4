//! Encrypted networks that are gone, or of which little is known, and who is a member of them still.

use crate::{
    global::Scene,
    scenario::{connect, create, create_container, disconnect, release, remove_container},
    sealed::{encrypted, eventually, made, one_here, pair, refused},
    world::World,
};
use serde_json::{Value, json};
use std::time::Duration;
use vw_controller::{
    Controller,
    command::{ContainerStop, Info, NetworkList},
};
use vw_hoststate::{Key, Netns};
use vw_model::Result;
use vw_store::{
    Table,
    cluster::{Transaction, Write},
};

fn lists(controller: &Controller, name: &str) -> bool {
    let networks = controller.submit(NetworkList).unwrap();
    networks.iter().any(|n| n.spec.name.as_str() == name)
}

fn tells(controller: &Controller, what: &str) -> bool {
    let warnings = controller.submit(Info).unwrap().warnings;
    warnings.iter().any(|said| said.contains(what))
}

/// Deletes what the cluster's store has of these.
fn lose(scene: &Scene, lost: impl Fn(&str) -> bool, put: Option<Write>) {
    let records = scene.store.records().into_iter().map(|record| record.key);
    let deletes = records.filter(|key| lost(key)).map(Write::Delete);
    scene.store.edit(&Transaction {
        writes: deletes.chain(put).collect(),
        ..Transaction::default()
    });
}

/// Leaves the store as that of another cluster.
fn take_for_another(scene: &Scene) {
    let format = b"1 {\"least\":1,\"cluster\":\"x\"}".to_vec();
    let format = Write::Put("v1/format".to_owned(), format);
    lose(scene, |key| key != "v1/format", Some(format));
}

fn record(world: &World, table: Table, id: &str) -> Value {
    let record = world.record(table, id).expect("it is there");
    serde_json::from_slice(&record).expect("it is JSON")
}

/// The subnets in a record of who is a member of the one network.
fn sealed(world: &World, table: Table, id: &str) -> Value {
    let record = record(world, table, id);
    let members = record["memberships"].as_array().expect("a list");
    let of = members.iter().find(|m| m["name"] == "shop");
    of.expect("it is a member")["sealed"].clone()
}

/// Leaves a record as a version did that noted none.
fn unseal(world: &World, table: Table, id: &str) {
    let mut record = record(world, table, id);
    let members = record["memberships"].as_array_mut().expect("a list");
    for member in members {
        member.as_object_mut().expect("a record").remove("sealed");
    }
    world.forge(table, id, record.to_string().into_bytes());
    assert_eq!(sealed(world, table, id), Value::Null);
}

#[test]
fn who_became_a_member_under_an_older_version_is_kept_from_a_network_that_goes() {
    let scene = pair(encrypted);
    let here = &scene.here;
    let on_bridge = || {
        create(&scene.a(), "blue", "10.9.0.0/24")?;
        create_container(&scene.a(), "idle")?;
        connect(&scene.a(), "shop", "idle")
    };
    on_bridge().unwrap();
    let of = |name| here.sandbox_id(&scene.a(), name);
    let both = [
        (Table::Sandboxes, of("one")),
        (Table::Containers, of("idle")),
    ];
    let subnets = both.clone().map(|(table, id)| sealed(here, table, &id));
    assert!(
        subnets.iter().all(|subnets| subnets[0].is_string()),
        "{subnets:?}"
    );
    for (table, id) in &both {
        unseal(here, *table, id);
    }
    scene.restart();
    let now = both.clone().map(|(table, id)| sealed(here, table, &id));
    assert_eq!(now, subnets);
    let key = |key: &str| key.starts_with("v1/shared/networks/");
    lose(&scene, key, None);
    eventually("the network is gone", || !lists(&scene.a(), "shop"));
    let named = "one is a member of the encrypted network shop, which is gone";
    eventually("it is told", || tells(&scene.a(), named));
    for _ in 0..2 {
        assert_eq!(refused(&here.kernel), 1);
        assert_eq!(scene.a().repair().unwrap(), 0);
        scene.restart();
    }
    // What has another's name now is another.
    create(&scene.a(), "shop", "10.8.0.0/24").unwrap();
    disconnect(&scene.a(), "shop", "one").unwrap();
    assert_eq!(refused(&here.kernel), 0);
    assert!(!tells(&scene.a(), named));
    disconnect(&scene.a(), "shop", "one").unwrap_err();
    disconnect(&scene.a(), "shop", "idle").unwrap();
    remove_container(&scene.a(), "idle").unwrap();
    release(&scene.a(), "one").unwrap();
}

#[test]
fn who_is_off_a_network_keeps_its_host_out_of_another_cluster_until_it_is_no_member() {
    let scene = Scene::of(encrypted);
    let acts: [fn(&Scene) -> Result<()>; 2] = [made, one_here];
    for act in acts {
        eventually("it is prepared", || act(&scene).is_ok());
    }
    let here = &scene.here;
    scene.a().close().unwrap();
    here.open_outside().close().unwrap();
    // It stays off: what it had before the store was another's holds nothing there.
    let inside = |key: &Key| matches!(key, Key::Address(Netns::Sandbox(_), ..));
    here.refusing.set_made(Some(inside));
    take_for_another(&scene);
    scene.restart();
    let held = || tells(&scene.a(), "another cluster's") && lists(&scene.a(), "shop");
    eventually("it is told", held);
    eventually("it is tried in vain to come back", || {
        tells(&scene.a(), "one is off network shop")
    });
    vw_testkit::stays("it is held", Duration::from_secs(2), held);
    assert_eq!(refused(&here.kernel), 1);
    disconnect(&scene.a(), "shop", "one").unwrap();
    eventually("it joins", || !lists(&scene.a(), "shop"));
    assert_eq!(refused(&here.kernel), 0);
    here.refusing.set_made(None);
    release(&scene.a(), "one").unwrap();
}

/// Two hosts, one of which has a container on the network that is about to be restarted by this policy,
/// fails again and again, and finds the store of another cluster.
fn about_to_run(policy: Value) -> Scene {
    let scene = Scene::of(encrypted);
    let here = &scene.here;
    eventually("the network is made", || made(&scene).is_ok());
    create(&scene.a(), "blue", "10.9.0.0/24").unwrap();
    create_container(&scene.a(), "idle").unwrap();
    connect(&scene.a(), "shop", "idle").unwrap();
    // As if it had been started before the host went down, to be started with it again.
    let id = here.sandbox_id(&scene.a(), "idle");
    let mut started = record(here, Table::Containers, &id);
    started["wanted"] = true.into();
    started["container"]["restart"] = policy;
    scene.a().close().unwrap();
    here.forge(Table::Containers, &id, started.to_string().into_bytes());
    let inside = |key: &Key| matches!(key, Key::Address(Netns::Sandbox(_), ..));
    here.refusing.set_made(Some(inside));
    take_for_another(&scene);
    scene.restart();
    scene
}

#[test]
fn who_is_to_run_keeps_its_host_out_of_another_cluster_until_it_is_stopped() {
    let scene = about_to_run("Always".into());
    let refusing = &scene.here.refusing;
    let held = || tells(&scene.a(), "another cluster's") && lists(&scene.a(), "shop");
    eventually("it is told", held);
    let before = refusing.refused();
    let failed = || refusing.refused() > before + 2;
    eventually("it was tried", failed);
    vw_testkit::stays("it is held", Duration::from_secs(1), held);
    let stop = ContainerStop {
        container: "idle".to_owned(),
        timeout: None,
        signal: None,
    };
    // There is nothing to end.
    let _ = scene.a().submit(stop);
    eventually("it joins", || !lists(&scene.a(), "shop"));
    refusing.set_made(None);
    remove_container(&scene.a(), "idle").unwrap();
}

#[test]
fn who_was_given_up_by_its_policy_keeps_its_host_out_of_no_cluster() {
    let scene = about_to_run(json!({"OnFailure": {"max_retries": 1}}));
    eventually("it is given up, and the host joins", || {
        !lists(&scene.a(), "shop")
    });
    assert!(scene.here.refusing.refused() > 0, "it was not tried");
    scene.here.refusing.set_made(None);
    remove_container(&scene.a(), "idle").unwrap();
}
