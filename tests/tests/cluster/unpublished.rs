//! Hosts that cannot do what services ask of every host, and say so.

use crate::{
    balancers::known,
    over_every_store,
    services::{alike, answer, network},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{eventually, traffic};

over_every_store! {
    a_host_that_does_not_lead_to_services_is_named_until_it_does,
}

fn a_host_that_does_not_lead_to_services_is_named_until_it_does(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    // Nothing of ours, so that the way out cannot be made.
    stage
        .host("c")
        .ip("link add vw_gwbridge type veth peer name other");
    stage.cli("b", "service create --name web --network shop -p 8080:80");
    known(&stage, "a");
    let one = stage.start("a", "one", "--network shop --label vethwork.service=web");
    let _one = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    alike(&stage, "web", 1);
    let stranger = stage.stranger();
    let at = |host: &str| format!("{}:8080", stage.addr(host));
    let [a, b, c] = ["a", "b", "c"].map(at);
    let taken = stage.refused("b", "run --rm -p 8080:80 host true");
    let holder = "port is already allocated: service web publishes it";
    assert!(taken.contains(holder), "{taken}");
    for there in [&a, &b] {
        answer(&stranger, there, &["one"]);
    }
    assert!(traffic::tcp(&stranger, &c).is_err(), "c cannot publish it");
    let named = |stage: &Stage, host: &str| {
        let shown = stage.cli(host, "service ls");
        let line = shown.lines().find(|line| line.contains("web"));
        let line = line.expect("it is listed").to_owned();
        line.matches("(not on c)").count() == 2
    };
    for host in ["a", "b", "c"] {
        eventually(
            "its address and its port are said not to be on c",
            SOON,
            || named(&stage, host),
        );
    }
    // Who makes another is told at once, wherever it is asked for.
    for (host, name) in [("b", "db"), ("c", "api")] {
        let words = ["service", "create", "--name", name, "--network", "shop"];
        let made = stage.daemon(host).cli(words);
        assert_eq!(made.code(), Some(0), "{made:?}");
        let warned = format!("WARNING: service {name}: 10.");
        assert!(made.stderr.starts_with(&warned), "{made:?}");
        assert!(made.stderr.contains("not on host c: "), "{made:?}");
        stage.cli(host, &format!("service rm {name}"));
    }
    let shown = stage.api("a", "/vethwork/services/web")["Unpublished"].clone();
    assert_eq!(shown[0]["Host"], "c");
    assert_eq!(shown[0]["Ports"][0], "8080/tcp");
    let reason = shown[0]["Reason"].as_str().expect("a sentence");
    assert!(reason.contains("does not lead"), "{reason}");
    // Who starts again knows it still, and so does one that is in the way of nothing any more.
    stage.forget("a");
    // It tries again and again, and has the rest to do where it is killed in the midst of that.
    stage.restart_with("c", &[]);
    for host in ["a", "c"] {
        eventually("it is said still", SOON, || named(&stage, host));
    }
    stage.host("c").ip("link del vw_gwbridge");
    answer(&stranger, &c, &["one"]);
    for host in ["a", "b", "c"] {
        eventually("nobody says so any more", SOON, || {
            !stage.cli(host, "service ls").contains("not on")
        });
    }
    stage.end();
}
