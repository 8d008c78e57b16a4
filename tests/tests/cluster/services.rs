//! Services whose endpoints lie on several hosts, reached on every one.

use crate::{
    over_every_store,
    stage::{Kind, SOON, Stage},
};
use serde_json::Value;
use std::collections::BTreeSet;
use vw_testkit::{Host, eventually, traffic};

over_every_store! {
    a_service_is_reached_on_every_host,
}

/// Who answers a client that asks often enough to meet all.
fn who(from: &Host, to: &str) -> BTreeSet<String> {
    let answers = (0..24).map(|_| match traffic::tcp(from, to) {
        Ok(answer) => answer.name,
        Err(error) => format!("nobody: {error}"),
    });
    answers.collect()
}

/// Waits until these and nobody else answer.
#[track_caller]
fn answer(from: &Host, to: &str, names: &[&str]) {
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut last = BTreeSet::new();
    let met = vw_testkit::poll(SOON, || {
        last = who(from, to);
        (last == names).then_some(())
    });
    assert!(met.is_some(), "from {} to {to}: {last:?}", from.name());
}

/// A service as a host shows it.
#[track_caller]
fn shown(stage: &Stage, host: &str, name: &str) -> Value {
    stage.api(host, &format!("/vethwork/services/{name}"))
}

/// Its addresses, IPv4 first.
#[track_caller]
fn addresses(stage: &Stage, host: &str, name: &str) -> Vec<String> {
    let shown = shown(stage, host, name);
    let all = shown["VirtualIPs"].as_array().expect("a list").iter();
    let bare = |net: &Value| net.as_str()?.split('/').next().map(str::to_owned);
    all.filter_map(bare).collect()
}

/// Waits until a network is everywhere.
#[track_caller]
fn network(stage: &Stage, line: &str, name: &str) {
    stage.docker("a", &format!("network create -d overlay {line} {name}"));
    for host in ["b", "c"] {
        eventually("the network is there", SOON, || stage.knows(host, name));
    }
}

/// Waits until every host shows a service alike, with so many endpoints that serve.
#[track_caller]
fn alike(stage: &Stage, name: &str, serving: usize) {
    for host in ["a", "b", "c"] {
        let alike = vw_testkit::poll(SOON, || {
            let found = shown(stage, host, name);
            let serve = found["Endpoints"].as_array()?.iter();
            let serve = serve.filter(|one| one["Serves"] == true).count();
            (serve == serving && found == shown(stage, "a", name)).then_some(())
        });
        let (there, here) = (shown(stage, host, name), shown(stage, "a", name));
        assert!(
            alike.is_some(),
            "{serving} serve: {host}: {there}\na: {here}"
        );
    }
}

fn a_service_is_reached_on_every_host(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--ipv6", "shop");
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    let label = "--network shop --label vethwork.service=web";
    eventually("b knows the service", SOON, || {
        stage.cli("b", "service ls").contains("web")
    });
    let one = stage.start("a", "one", label);
    let two = stage.start("b", "two", label);
    let near = stage.start("c", "near", "--network shop");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 2);
    let vips = addresses(&stage, "c", "web");
    let both = ["one", "two"];
    for from in [&near, &one, &two] {
        answer(from, &format!("{}:80", vips[0]), &both);
        answer(from, &format!("[{}]:80", vips[1]), &both);
        eventually("the name is the address", SOON, || {
            stage.resolve(from, "web", "A") == vips[0]
        });
        eventually("and of all tasks", SOON, || {
            stage.resolve(from, "tasks.web", "A").lines().count() == 2
        });
    }
    let stranger = stage.stranger();
    for host in ["a", "b", "c"] {
        answer(&stranger, &format!("{}:8080", stage.addr(host)), &both);
        answer(stage.host(host), "127.0.0.1:8080", &both);
        answer(stage.host(host), "[::1]:8080", &both);
    }
    // Nobody is led to one that has left.
    stage.docker("b", "stop -t 1 two");
    alike(&stage, "web", 1);
    for host in ["a", "b", "c"] {
        answer(&stranger, &format!("{}:8080", stage.addr(host)), &["one"]);
    }
    answer(&near, &format!("{}:80", vips[0]), &["one"]);
    let refused = stage.refused("c", "network rm shop");
    assert!(refused.contains("has the service web"), "{refused}");
    stage.cli("b", "service rm web");
    for host in ["a", "b", "c"] {
        eventually("it is gone everywhere", SOON, || {
            !stage.cli(host, "service ls").contains("web")
                && traffic::tcp(&stranger, &format!("{}:8080", stage.addr(host))).is_err()
        });
    }
    stage.end();
}
