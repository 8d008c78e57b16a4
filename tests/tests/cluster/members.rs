//! Endpoints of services over several hosts: those that a command asks, those that are well by
//! turns, those that a name alone leads to, and those of a network without IPv4.

use crate::{
    balancers::known,
    over_every_store, over_one_store,
    services::{addresses, alike, answer, network},
    stage::{Kind, SOON, Stage},
};
use std::{collections::BTreeSet, time::Duration};
use vw_testkit::{
    Host, eventually,
    sleeper::{processes, unlike_others},
    traffic,
};

over_every_store! {
    who_a_command_finds_unwell_is_led_to_by_no_host,
    an_endpoint_that_is_well_by_turns_does_not_keep_the_store_busy,
}

over_one_store! {
    a_name_leads_to_the_endpoints_of_all_hosts_where_there_is_no_address,
    a_service_of_a_network_without_ipv4_is_led_to_over_hosts,
}

const MEMBER: &str = "--network shop --label vethwork.service=web";

/// Makes a service on the network `shop` that a command checks.
#[track_caller]
fn checked(stage: &Stage, interval: &str, more: &str, check: &str) {
    let fixed = format!(
        "service create --name web --network shop {more} --health-interval {interval} --health-retries 1 --health"
    );
    let words = fixed.split_whitespace().chain([check]);
    stage.daemon("a").cli(words).must();
    known(stage, "b");
}

fn who_a_command_finds_unwell_is_led_to_by_no_host(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "", "shop");
    let sleep = unlike_others(1);
    let check = format!("exec:cat /ready && {{ test ! -e /stuck || {sleep}; }}");
    let more = "-p 8080:80 --drain 0s --health-timeout 1s";
    checked(&stage, "500ms", more, &check);
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let near = stage.start("b", "near", "--network shop");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "0.0.0.0:80"));
    let vip = format!("{}:80", addresses(&stage, "a", "web")[0]);
    let stranger = stage.stranger();
    let outside = ["a", "b"].map(|host| format!("{}:8080", stage.addr(host)));
    alike(&stage, "web", 0);
    assert!(traffic::tcp(&near, &vip).is_err(), "nobody is ready");
    let led_to = |names: &[&str]| {
        alike(&stage, "web", names.len());
        for from in [&near, &one] {
            answer(from, &vip, names);
        }
        for to in &outside {
            answer(&stranger, to, names);
        }
    };
    stage.docker("a", "exec one touch /ready");
    led_to(&["one"]);
    stage.docker("b", "exec two touch /ready");
    led_to(&["one", "two"]);
    stage.docker("a", "exec one rm /ready");
    led_to(&["two"]);
    stage.docker("a", "exec one touch /ready");
    led_to(&["one", "two"]);
    // A command that does not end is killed, and its endpoint is not well.
    stage.docker("b", "exec two touch /stuck");
    eventually("it hangs", SOON, || !processes(&sleep).is_empty());
    led_to(&["one"]);
    stage.docker("b", "exec two rm /stuck");
    led_to(&["one", "two"]);
    eventually("none remains", SOON, || processes(&sleep).is_empty());
    stage.end();
}

fn an_endpoint_that_is_well_by_turns_does_not_keep_the_store_busy(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "", "shop");
    let check = "exec:echo >>/asked; test -e /steady || test $(($(wc -l </asked) % 2)) = 0";
    checked(&stage, "100ms", "", check);
    drop(stage.start("a", "one", MEMBER));
    let asked = || {
        // Before the first answer there is no such file.
        let count = ["exec", "one", "sh", "-c", "cat /asked 2>/dev/null | wc -l"];
        let count = stage.daemon("a").docker(count).ok();
        count.trim().parse::<u64>().expect("a number")
    };
    eventually("it was well and was not", SOON, || asked() >= 10);
    let (first, before) = (asked(), stage.changes());
    eventually("it was asked often", Duration::from_secs(60), || {
        asked() >= first + 40
    });
    let changes = stage.changes() - before;
    assert!(changes <= 3, "{changes} changes");
    stage.docker("a", "exec one touch /steady");
    alike(&stage, "web", 1);
    stage.end();
}

/// What a name is inside a container, in any order.
pub(crate) fn named(stage: &Stage, inside: &Host, name: &str, family: &str) -> BTreeSet<String> {
    let answer = stage.resolve(inside, name, family);
    answer.lines().map(str::to_owned).collect()
}

fn a_name_leads_to_the_endpoints_of_all_hosts_where_there_is_no_address(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "--ipv6", "shop");
    stage.cli(
        "b",
        "service create --name web --network shop --endpoint-mode dnsrr",
    );
    known(&stage, "a");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let near = stage.start("b", "near", "--network shop");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 2);
    assert!(addresses(&stage, "a", "web").is_empty());
    let ends = ["one", "two"].map(|name| {
        let host = if name == "one" { "a" } else { "b" };
        stage.address(host, name, "shop")
    });
    let both = BTreeSet::from(ends.clone());
    for from in [&one, &two, &near] {
        for name in ["web", "web.shop", "tasks.web"] {
            eventually("both are named", SOON, || {
                named(&stage, from, name, "A") == both
            });
            assert_eq!(named(&stage, from, name, "AAAA").len(), 2);
        }
        for (end, name) in ends.iter().zip(["one", "two"]) {
            let answer = traffic::tcp(from, &format!("{end}:80")).expect("reachable");
            assert_eq!(answer.name, name);
        }
    }
    let mut firsts = BTreeSet::new();
    eventually("either is named first", SOON, || {
        let answer = stage.resolve(&near, "web", "A");
        firsts.extend(answer.lines().next().map(str::to_owned));
        firsts == both
    });
    stage.docker("a", "stop -t 0 one");
    for from in [&two, &near] {
        eventually("who left is named by no host", SOON, || {
            named(&stage, from, "web", "A") == BTreeSet::from([ends[1].clone()])
        });
    }
    stage.end();
}

fn a_service_of_a_network_without_ipv4_is_led_to_over_hosts(kind: Kind) {
    let stage = Stage::over_ipv6(kind, &["a", "b"]);
    stage.cli("a", "network create -d overlay --ipv4=false --ipv6 shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    // Over IPv4 nobody leads there: who asks is told.
    let create = "service create --name web --network shop -p 8080:80";
    let made = stage.daemon("a").cli(create.split_whitespace());
    let told = "WARNING: service web: 80/tcp published over IPv6 alone: network shop has no IPv4";
    assert!(made.success() && made.stderr.starts_with(told), "{made:?}");
    known(&stage, "b");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let near = stage.start("b", "near", "--network shop");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 2);
    let vips = addresses(&stage, "b", "web");
    assert_eq!(vips.len(), 1, "{vips:?}");
    let both = ["one", "two"];
    for from in [&near, &one, &two] {
        answer(from, &format!("[{}]:80", vips[0]), &both);
        eventually("the name is the address", SOON, || {
            stage.resolve(from, "web", "AAAA") == vips[0]
        });
        assert_eq!(stage.resolve(from, "web", "A"), "");
        eventually("and of all tasks", SOON, || {
            named(&stage, from, "tasks.web", "AAAA").len() == 2
        });
    }
    for (from, to) in [("a", "b"), ("b", "a")] {
        let at = format!("[{}]:8080", stage.addr(to));
        answer(stage.host(from), &at, &both);
        answer(stage.host(from), "[::1]:8080", &both);
    }
    stage.docker("b", "stop -t 1 two");
    alike(&stage, "web", 1);
    answer(
        stage.host("a"),
        &format!("[{}]:8080", stage.addr("b")),
        &["one"],
    );
    stage.end();
}
