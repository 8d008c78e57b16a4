//! Records of a newer version in a store that daemons of this one share with it.

use crate::{
    require_cluster,
    services::network,
    stage::{Kind, SOON, Stage},
    store::Servers,
};
use vw_testkit::{eventually, traffic};

#[test]
fn daemons_go_on_beside_records_of_a_newer_version_and_tell_of_each_once() {
    require_cluster!(Kind::Etcd);
    let mut stage = Stage::new(Kind::Etcd, &["a", "b"]);
    network(&stage, "", "shop");
    let near = stage.start("a", "near", "--network shop");
    let two = stage.start("b", "two", "--network shop");
    let _server = traffic::Server::tcp(&two, "two", "0.0.0.0:80");
    let to = format!("{}:80", stage.address("b", "two", "shop"));
    let mut talk = crate::services::led_to(&near, &to, "two");
    // What both know, with a field that they do not.
    for key in keys(&stage) {
        if key.contains("/endpoints/") || key.contains("/networks/") {
            let value = ctl(&stage, &["get", "--print-value-only", &key]);
            let known = value.trim().strip_suffix('}').expect("an object");
            let newer = format!("{known},\"newer\":{{\"than\":\"this\"}}}}");
            ctl(&stage, &["put", &key, &newer]);
        }
    }
    // A kind that they do not know, and an endpoint of which they cannot read anything.
    let id = stage.docker("a", "network inspect -f {{.Id}} shop");
    let strange = [
        "vethwork/v1/shared/things/one".to_owned(),
        format!("vethwork/v1/shared/endpoints/{id}/{:064x}/{:064x}", 7, 8),
    ];
    for round in 0..3 {
        for key in &strange {
            ctl(&stage, &["put", key, &format!("9 {{\"round\":{round}}}")]);
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
        assert_eq!(told(&stage, "a", key), 2, "once a start");
        ctl(&stage, &["del", key]);
    }
    stage.end();
}

#[track_caller]
fn keys(stage: &Stage) -> Vec<String> {
    let store = stage.store.as_ref().expect("there is one");
    store.keys("vethwork/v1/shared")
}

/// Runs `etcdctl`.
#[track_caller]
fn ctl(stage: &Stage, arguments: &[&str]) -> String {
    match &stage.store {
        Some(Servers::Etcd(etcd)) => etcd.ctl(arguments).ok(),
        other => panic!("{other:?} is no etcd"),
    }
}
