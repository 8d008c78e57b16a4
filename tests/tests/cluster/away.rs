//! Hosts whose daemons are gone, while their kernels go on to carry packets.

use crate::{
    encryption::{PERIOD, create, in_user_space, key, pair},
    over_every_store, require_cluster,
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
    stage.cli(
        "a",
        "service create --name web --network shop --drain 1s -p 8080:80",
    );
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
    let two = stage.address("b", "two", "shop");
    let mut talks = conversations(&stage, &near, &ends, [&vip, &two]);
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
        &[("b", "two", &two), ("c", "three", &three)],
    );
    alike(&stage, "web", 2);
    assert!(go_on(), "they are back");
    stage.end();
}

/// Connections between the hosts a and b, by addresses, by a service's address and by its ports.
#[track_caller]
fn conversations(
    stage: &Stage,
    near: &Host,
    ends: &[Host; 2],
    [vip, two]: [&str; 2],
) -> Vec<traffic::Conversation> {
    let one = format!("{}:80", stage.address("a", "one", "shop"));
    let stranger = stage.stranger();
    let [by_a, by_b] = ["a", "b"].map(|host| format!("{}:8080", stage.addr(host)));
    vec![
        led_to(near, vip, "two"),
        led_to(near, &format!("{two}:80"), "two"),
        led_to(&ends[1], &one, "one"),
        led_to(&ends[1], vip, "one"),
        led_to(&stranger, &by_a, "two"),
        led_to(&stranger, &by_b, "one"),
        led_to(&stranger, &by_b, "two"),
    ]
}

#[test]
fn a_host_that_is_shut_down_in_order_and_cut_off_is_dead_within_seconds() {
    require_cluster!(Kind::Etcd);
    let mut stage = Stage::new(Kind::Etcd, &["a", "b", "c"]);
    network(&stage, "", "shop");
    let near = stage.start("a", "near", "--network shop");
    drop(stage.start("b", "two", "--network shop"));
    let three = stage.start("c", "three", "--network shop");
    let _server = traffic::Server::tcp(&three, "three", "0.0.0.0:80");
    let two = stage.address("b", "two", "shop");
    let at = format!("{}:80", stage.address("c", "three", "shop"));
    let mut talk = led_to(&near, &at, "three");
    eventually("it is known", SOON, || is_neighbour(&stage, &two));
    let before = echoes(stage.host("b"));
    stage.stop("b");
    // Both others ask, each second.
    eventually("its kernel answers", SOON, || {
        echoes(stage.host("b")) >= before + 4
    });
    assert!(is_neighbour(&stage, &two), "its daemon may be replaced");
    stage.cut("b");
    // Long before the minute that it has without.
    eventually("its endpoints are gone", SOON, || {
        talk.say("on").expect("others are left alone");
        stage.resolve(&near, "two", "A").is_empty() && !is_neighbour(&stage, &two)
    });
    assert_eq!(
        ["b", "c"].map(|host| state(&stage, host)),
        ["dead", "alive"]
    );
    come_back(&mut stage, &near, &[("b", "two", &two)]);
    talk.say("on").expect("others are left alone");
    stage.end();
}

#[test]
fn encrypted_and_routed_connections_with_a_host_that_is_away_go_on_and_keys_wait_for_it() {
    require_cluster!(Kind::Etcd);
    let mut stage = in_user_space(Stage::new(Kind::Etcd, &["a", "b"]));
    for host in ["a", "b"] {
        stage.set_env(host, PERIOD, Some("2"));
    }
    create(&stage, "-o encrypted");
    let (web, client, to) = pair(&stage);
    network(&stage, "-o vethwork.overlay.mode=route", "plain");
    let left = stage.start("a", "left", "--network plain");
    let right = stage.start("b", "right", "--network plain");
    let _servers = [("web", &web), ("left", &left)]
        .map(|(name, end)| traffic::Server::tcp(end, name, "0.0.0.0:80"));
    let plain = stage.address("a", "left", "plain");
    let mut talks = [
        led_to(&client, &format!("{to}:80"), "web"),
        led_to(&right, &format!("{plain}:80"), "left"),
    ];
    let mut go_on = || talks.iter_mut().all(|talk| talk.say("on").is_ok());
    stage.kill("b");
    eventually("its endpoints leave the names", lease(Kind::Etcd), || {
        assert!(go_on(), "as its lease ends");
        stage.resolve(&left, "right", "A").is_empty()
    });
    assert_eq!(state(&stage, "b"), "away");
    // Longer than two keys are used for: it could not take in the next.
    let kept = key(&stage, "a");
    stays("connections go on", Duration::from_secs(5), || {
        go_on() && key(&stage, "a") == kept
    });
    stage.start_inside("b");
    eventually("keys change again", SOON, || {
        assert!(go_on(), "its daemon is back");
        key(&stage, "a") != kept
    });
    for host in ["a", "b"] {
        stage.set_env(host, PERIOD, None);
    }
    assert!(go_on(), "under other keys");
    stage.end();
}

/// How often a host's kernel was asked by ICMP echo.
#[track_caller]
fn echoes(host: &Host) -> u64 {
    let counters = host.sh("cat /proc/net/snmp").ok();
    let mut lines = counters.lines().filter(|line| line.starts_with("Icmp:"));
    let mut words = || lines.next().unwrap_or_default().split_whitespace();
    let asked = words().zip(words()).find(|(name, _)| *name == "InEchos");
    let asked = asked.and_then(|(_, count)| count.parse().ok());
    asked.unwrap_or_else(|| panic!("no count: {counters}"))
}

/// Daemons start again, each with an endpoint of that name and address.
#[track_caller]
fn come_back(stage: &mut Stage, near: &Host, ends: &[(&str, &str, &String)]) {
    for (host, name, at) in ends {
        stage.mend(host);
        stage.start_inside(host);
        eventually("it is found by its name again", LEASE, || {
            stage.resolve(near, name, "A") == **at
        });
        assert!(traffic::ping(near, at));
    }
}

/// How the first host shows another.
#[track_caller]
pub(crate) fn state(stage: &Stage, host: &str) -> String {
    let shown = stage.cli("a", "cluster status");
    let line = shown
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(host));
    let word = line.and_then(|line| line.split_whitespace().nth(3));
    word.expect("it is shown").to_owned()
}

/// Whether the first host's tables know an address.
#[track_caller]
pub(crate) fn is_neighbour(stage: &Stage, addr: &str) -> bool {
    let tables = shortcuts::inside(stage, "a", "ip neigh");
    tables.split_whitespace().any(|word| word == addr)
}
