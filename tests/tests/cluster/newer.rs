//! Records of a newer version in a store that daemons of this one share with it.

use crate::{
    over_one_store,
    services::network,
    stage::{Kind, SOON, Stage},
    store::Servers,
};
use vw_testkit::{eventually, traffic};

over_one_store! {
    daemons_go_on_beside_records_of_a_newer_version_and_tell_of_each_once,
    the_status_names_hosts_of_another_version,
}

fn daemons_go_on_beside_records_of_a_newer_version_and_tell_of_each_once(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "", "shop");
    let near = stage.start("a", "near", "--network shop");
    let two = stage.start("b", "two", "--network shop");
    let _server = traffic::Server::tcp(&two, "two", "0.0.0.0:80");
    let to = format!("{}:80", stage.address("b", "two", "shop"));
    let mut talk = crate::services::led_to(&near, &to, "two");
    // What both know, with a field that they do not.
    let store = store(&stage);
    let is_known = |key: &String| key.contains("/endpoints/") || key.contains("/networks/");
    let known: Vec<String> = keys(&stage).into_iter().filter(is_known).collect();
    assert_eq!(known.len(), 3, "a network and two endpoints: {known:?}");
    for key in &known {
        let value = store.value(key);
        let known = value.trim().strip_suffix('}').expect("an object");
        let newer = format!("{known},\"newer\":{{\"than\":\"this\"}}}}");
        store.put(key, &newer);
    }
    // A kind that they do not know, and an endpoint of which they cannot read anything.
    let id = stage.docker("a", "network inspect -f {{.Id}} shop");
    let strange = [
        "vethwork/v1/shared/things/one".to_owned(),
        format!("vethwork/v1/shared/endpoints/{id}/{:064x}/{:064x}", 7, 8),
    ];
    for round in 0..3 {
        for key in &strange {
            store.put(key, &format!("9 {{\"round\":{round}}}"));
        }
    }
    // What comes after them is seen after them.
    drop(stage.start("b", "late", "--network shop"));
    let mut late = String::new();
    eventually("it is known", SOON, || {
        late = stage.resolve(&near, "late", "A");
        !late.is_empty()
    });
    assert!(traffic::ping(&near, &late));
    talk.say("on").expect("connections go on");
    let told = |stage: &Stage, host: &str, key: &str| {
        let key = key.trim_start_matches("vethwork/");
        let log = stage.daemon(host).log();
        log.lines().filter(|line| line.contains(key)).count()
    };
    for key in &strange {
        assert_eq!(["a", "b"].map(|host| told(&stage, host, key)), [1, 1]);
    }
    // One that starts reads them among all the others.
    stage.forget("a");
    talk.say("on").expect("connections go on");
    assert_eq!(stage.resolve(&near, "late", "A"), late);
    for key in &strange {
        eventually("it is told", SOON, || told(&stage, "a", key) > 1);
        assert_eq!(told(&stage, "a", key), 2, "once a start");
        self::store(&stage).delete(key);
    }
    stage.end();
}

fn the_status_names_hosts_of_another_version(kind: Kind) {
    const OTHER: &str = "99.0.0";
    let mut stage = Stage::new(kind, &["a", "b"]);
    let told = stage.api("a", "/vethwork/cluster");
    let own = told["Hosts"][0]["Version"].as_str().expect("it has one");
    let records = keys(&stage)
        .into_iter()
        .filter(|key| key.contains("/hosts/"));
    let mut records = records.map(|key| (store(&stage).value(&key), key));
    let of_b = records.find(|(record, _)| record.contains("\"name\":\"b\""));
    let (record, key) = of_b.expect("b has a record");
    let version = |version: &str| format!("\"version\":\"{version}\"");
    let other = record.trim().replace(&version(own), &version(OTHER));
    assert!(other.contains(OTHER), "{record}");
    // As a daemon would that is stopped, and replaced by one of that version: none takes its record from
    // anybody else while it runs.
    stage.stop("b");
    store(&stage).put(&key, &other);
    let warning = format!("WARNING: hosts run different versions: {own} (a), {OTHER} (b)");
    eventually("it is named", SOON, || {
        let status = stage.cli("a", "cluster status");
        let row = status.lines().find(|line| line.contains(" b "));
        status.contains(&warning) && row.is_some_and(|row| row.ends_with(OTHER))
    });
    stage.start_inside("b");
    for host in ["a", "b"] {
        eventually("nobody is named", SOON, || {
            !stage.cli(host, "cluster status").contains(OTHER)
        });
    }
    stage.end();
}

/// The keys of what all hosts see.
#[track_caller]
fn keys(stage: &Stage) -> Vec<String> {
    let keys = store(stage).keys("vethwork").into_iter();
    keys.filter(|key| key.starts_with("vethwork/v1/shared/"))
        .collect()
}

#[track_caller]
fn store(stage: &Stage) -> &Servers {
    stage.store.as_ref().expect("there is one")
}
