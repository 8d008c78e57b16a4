//! Hosts that cannot do what services ask of every host, and say so.

use crate::{
    balancers::known,
    over_every_store,
    services::{alike, answer, led_to, network},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{eventually, traffic};

over_every_store! {
    a_host_that_does_not_lead_to_services_is_named_until_it_does,
    a_port_that_another_host_has_is_refused,
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
    who_asks_is_told(&stage);
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

/// Who makes another is told at once, wherever it is asked for, and who publishes more.
#[track_caller]
fn who_asks_is_told(stage: &Stage) {
    for (host, name) in [("b", "db"), ("c", "api")] {
        let words = ["service", "create", "--name", name, "--network", "shop"];
        let made = stage.daemon(host).cli(words);
        assert_eq!(made.code(), Some(0), "{made:?}");
        let warned = format!("WARNING: service {name}: 10.");
        assert!(made.stderr.starts_with(&warned), "{made:?}");
        assert!(made.stderr.contains("not on host c: "), "{made:?}");
        stage.cli(host, &format!("service rm {name}"));
    }
    let update = "service update --publish-add 8090:81 web";
    let changed = stage.daemon("b").cli(update.split_whitespace());
    assert_eq!(changed.code(), Some(0), "{changed:?}");
    let warned = changed.stderr.lines().next().unwrap_or_default();
    assert!(warned.starts_with("WARNING: service web: 10."), "{warned}");
    assert!(warned.contains("8090/tcp not on host c: "), "{warned}");
    stage.cli("b", "service update --publish-rm 81 web");
}

fn a_port_that_another_host_has_is_refused(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    let own = stage.start("b", "own", "-p 8080:80");
    let _own = traffic::Server::tcp(&own, "own", "0.0.0.0:80");
    let refused = "port is already allocated: 8080/tcp on host b";
    let create = "service create --name web --network shop -p 8080:80";
    let here = stage.cli_refused("b", create);
    assert!(here.contains("8080") && here.contains("already"), "{here}");
    objected(&stage, create, "service rm web", refused);
    for host in ["a", "b", "c"] {
        eventually("nothing is left of it", SOON, || {
            !stage.cli(host, "service ls").contains("web")
        });
    }
    for host in ["a", "c"] {
        let rules = stage.host(host).sh("nft list ruleset").stdout;
        assert!(!rules.contains("8080"), "{rules}");
    }
    let stranger = stage.stranger();
    let at = |host: &str, port: u16| format!("{}:{port}", stage.addr(host));
    answer(&stranger, &at("b", 8080), &["own"]);
    // Nothing of one that stands is changed by what is refused.
    stage.cli("a", "service create --name web --network shop -p 8081:80");
    let one = stage.start("a", "one", "--network shop --label vethwork.service=web");
    let _one = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    alike(&stage, "web", 1);
    let mut open = led_to(&stranger, &at("c", 8081), "one");
    let update = "service update --publish-rm 80 --publish-add 8080:80 --drain 3s web";
    let undo = "service update --publish-rm 80 --publish-add 8081:80 web";
    objected(&stage, update, undo, refused);
    for host in ["a", "b", "c"] {
        eventually("it is as it was", SOON, || {
            let listed = stage.cli(host, "service ls");
            listed.contains("*:8081->80/tcp") && !listed.contains("8080")
        });
        answer(&stranger, &at(host, 8081), &["one"]);
    }
    open.say("again").expect("it was never cut");
    // Nor by a host that lives no more.
    stage.docker("b", "rm -f own");
    stage.cli("a", "service update --publish-add 8080:80 web");
    for host in ["a", "b", "c"] {
        answer(&stranger, &at(host, 8080), &["one"]);
    }
    stage.end();
}

/// It is refused for that. Another host's word may come late, from a machine that has much to do: then
/// `undo` what was done.
#[track_caller]
fn objected(stage: &Stage, line: &str, undo: &str, refused: &str) {
    eventually("it is refused", SOON, || {
        let done = stage.daemon("a").cli(line.split_whitespace());
        if done.success() {
            stage.cli("a", undo);
            return false;
        }
        assert!(done.stderr.contains(refused), "{done:?}");
        true
    });
}
