//! Hosts whose daemons are gone, while their kernels go on to carry packets.

use crate::{
    over_every_store,
    services::{addresses, alike, answer, led_to, network, who},
    shortcuts,
    stage::{Kind, LEASE, SOON, Stage, lease},
};
use std::{collections::BTreeSet, time::Duration};
use vw_testkit::{Host, eventually, stays, traffic};

over_every_store! {
    connections_with_hosts_whose_daemons_are_killed_go_on_until_a_host_is_cut_off,
}

fn connections_with_hosts_whose_daemons_are_killed_go_on_until_a_host_is_cut_off(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    stage.cli("a", "service create --name web --network shop --drain 1s");
    let member = "--network shop --label vethwork.service=web";
    let near = stage.start("a", "near", "--network shop");
    let ends = [
        stage.start("a", "one", member),
        stage.start("b", "two", member),
    ];
    let _servers = [("one", &ends[0]), ("two", &ends[1])]
        .map(|(name, end)| traffic::Server::tcp(end, name, "0.0.0.0:80"));
    alike(&stage, "web", 2);
    let vip = format!("{}:80", addresses(&stage, "a", "web")[0]);
    let one = format!("{}:80", stage.address("a", "one", "shop"));
    let two = stage.address("b", "two", "shop");
    let mut talks = [
        led_to(&near, &vip, "two"),
        led_to(&near, &format!("{two}:80"), "two"),
        led_to(&ends[1], &one, "one"),
        led_to(&ends[1], &vip, "one"),
    ];
    drop(stage.start("c", "three", "--network shop"));
    let three = stage.address("c", "three", "shop");
    eventually("it is known", SOON, || is_neighbour(&stage, &three));
    let mut go_on = || talks.iter_mut().all(|talk| talk.say("on").is_ok());
    stage.kill("b");
    stage.kill("c");
    eventually("endpoints leave the names", lease(kind), || {
        assert!(go_on(), "as leases end");
        let names = ["two", "three"];
        names
            .iter()
            .all(|name| stage.resolve(&near, name, "A").is_empty())
    });
    answer(&near, &vip, &["one"]);
    assert_eq!(["b", "c"].map(|host| state(&stage, host)), ["away", "away"]);
    let shown = stage.api("a", "/vethwork/services/web").to_string();
    assert!(shown.contains("\"away\""), "{shown}");
    // Longer than a silent kernel is waited for.
    stays("connections go on", Duration::from_secs(5), &mut go_on);
    // The observer knows it after a start, too.
    stage.forget("a");
    assert!(go_on(), "after a start");
    assert_eq!(["b", "c"].map(|host| state(&stage, host)), ["away", "away"]);
    assert!(stage.resolve(&near, "two", "A").is_empty());
    let led = who(traffic::tcp, &near, &vip);
    assert_eq!(led, BTreeSet::from(["one".to_owned()]));
    assert!(is_neighbour(&stage, &three));
    stage.cut("c");
    eventually("the tables forget a host that is silent", SOON, || {
        !is_neighbour(&stage, &three)
    });
    assert_eq!(["b", "c"].map(|host| state(&stage, host)), ["away", "dead"]);
    come_back(
        &mut stage,
        &near,
        [("b", "two", &two), ("c", "three", &three)],
    );
    alike(&stage, "web", 2);
    assert!(go_on(), "they are back");
    stage.end();
}

/// Daemons start again, each with an endpoint of that name and address.
#[track_caller]
fn come_back(stage: &mut Stage, near: &Host, ends: [(&str, &str, &String); 2]) {
    for (host, name, at) in ends {
        stage.mend(host);
        stage.start_inside(host);
        eventually("it is found by its name again", LEASE, || {
            stage.resolve(near, name, "A") == *at
        });
        assert!(traffic::ping(near, at));
    }
}

/// How the first host shows another.
#[track_caller]
fn state(stage: &Stage, host: &str) -> String {
    let shown = stage.cli("a", "cluster status");
    let line = shown
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(host));
    let word = line.and_then(|line| line.split_whitespace().nth(3));
    word.expect("it is shown").to_owned()
}

/// Whether the first host's tables know an address.
#[track_caller]
fn is_neighbour(stage: &Stage, addr: &str) -> bool {
    let tables = shortcuts::inside(stage, "a", "ip neigh");
    tables.split_whitespace().any(|word| word == addr)
}
