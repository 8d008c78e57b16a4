//! Services whose endpoints lie on several hosts, reached on every one.

use crate::{
    over_every_store,
    stage::{Kind, LEASE, SOON, Stage},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};
use vw_testkit::{Host, eventually, traffic};

over_every_store! {
    a_service_is_reached_on_every_host,
    a_service_on_a_routed_network_is_too,
    endpoints_come_and_go_on_every_host_without_a_failed_connection_or_a_lost_packet,
    whatever_fails_balancing_goes_on_and_is_right_again,
    a_host_that_was_given_up_waits_for_nobody_who_is_connected,
    what_cannot_be_is_refused_by_any_host,
    a_port_that_a_host_has_otherwise_stays_its,
}

/// How a client asks.
type Ask = fn(&Host, &str) -> std::io::Result<traffic::Answer>;

/// Who answers a client that asks often enough to meet all.
pub(crate) fn who(ask: Ask, from: &Host, to: &str) -> BTreeSet<String> {
    let answers = (0..24).map(|_| match ask(from, to) {
        Ok(answer) => answer.name,
        Err(error) => format!("nobody: {error}"),
    });
    answers.collect()
}

/// Waits until these and nobody else answer.
#[track_caller]
pub(crate) fn answer(from: &Host, to: &str, names: &[&str]) {
    answer_by(traffic::tcp, from, to, names);
}

/// The same where a client asks so.
#[track_caller]
pub(crate) fn answer_by(ask: Ask, from: &Host, to: &str, names: &[&str]) {
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut last = BTreeSet::new();
    let met = vw_testkit::poll(SOON, || {
        last = who(ask, from, to);
        (last == names).then_some(())
    });
    assert!(met.is_some(), "from {} to {to}: {last:?}", from.name());
}

/// A connection that is led to an endpoint of that name.
#[track_caller]
pub(crate) fn led_to(from: &Host, to: &str, name: &str) -> traffic::Conversation {
    let opened = vw_testkit::poll(SOON, || {
        let talk = traffic::Conversation::open(from, to).ok()?;
        (talk.answer.name == name).then_some(talk)
    });
    opened.unwrap_or_else(|| panic!("{name} is never met at {to}"))
}

/// A service as a host shows it.
#[track_caller]
fn shown(stage: &Stage, host: &str, name: &str) -> Value {
    stage.api(host, &format!("/vethwork/services/{name}"))
}

/// Its addresses, IPv4 first.
#[track_caller]
pub(crate) fn addresses(stage: &Stage, host: &str, name: &str) -> Vec<String> {
    let shown = shown(stage, host, name);
    let all = shown["VirtualIPs"].as_array().expect("a list").iter();
    let bare = |net: &Value| net.as_str()?.split('/').next().map(str::to_owned);
    all.filter_map(bare).collect()
}

/// Waits until a network is everywhere.
#[track_caller]
pub(crate) fn network(stage: &Stage, line: &str, name: &str) {
    stage.docker("a", &format!("network create -d overlay {line} {name}"));
    for host in stage.names() {
        eventually("the network is there", SOON, || stage.knows(&host, name));
    }
}

/// A service as every host shows it: what checks said is known where they were made.
#[track_caller]
fn without_checks(stage: &Stage, host: &str, name: &str) -> Value {
    let mut found = shown(stage, host, name);
    let endpoints = found["Endpoints"].as_array_mut().into_iter().flatten();
    endpoints.for_each(|one| one["Log"] = Value::Null);
    found
}

/// Waits until every host shows a service alike, with so many endpoints that serve.
#[track_caller]
pub(crate) fn alike(stage: &Stage, name: &str, serving: usize) {
    for host in stage.names() {
        let alike = vw_testkit::poll(SOON, || {
            let found = without_checks(stage, &host, name);
            let serve = found["Endpoints"].as_array()?.iter();
            let serve = serve.filter(|one| one["Serves"] == true).count();
            (serve == serving && found == without_checks(stage, "a", name)).then_some(())
        });
        let (there, here) = (shown(stage, &host, name), shown(stage, "a", name));
        assert!(
            alike.is_some(),
            "{serving} serve: {host}: {there}\na: {here}"
        );
    }
}

fn a_service_is_reached_on_every_host(kind: Kind) {
    reached_on_every_host(kind, "--ipv6");
}

fn a_service_on_a_routed_network_is_too(kind: Kind) {
    reached_on_every_host(kind, "--ipv6 -o vethwork.overlay.mode=route");
}

#[track_caller]
fn reached_on_every_host(kind: Kind, options: &str) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, options, "shop");
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
    // What leads to it has its ports still when a daemon comes back, and has them alone.
    stage.forget("c");
    let warnings = stage.api("c", "/info")["Warnings"].to_string();
    assert!(!warnings.contains("has bound"), "{warnings}");
    answer(&stranger, &format!("{}:8080", stage.addr("c")), &both);
    assert!(!stage.cli("a", "service ls").contains("not on"));
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

fn endpoints_come_and_go_on_every_host_without_a_failed_connection_or_a_lost_packet(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    // Past the balancer too, so that what leads there has elements in two tables of a host.
    let past = "-p published=8081,target=80,mode=host -p published=8082,target=80,prefer=local";
    stage.cli(
        "a",
        &format!("service create --name web --network shop -p 8080:80 {past}"),
    );
    eventually("b knows the service", SOON, || {
        stage.cli("b", "service ls").contains("web")
    });
    let label = "--network shop --label vethwork.service=web";
    let [near, beside] =
        ["c", "a"].map(|host| stage.start(host, &format!("near-{host}"), "--network shop"));
    let stays = stage.start("a", "stays", label);
    let _stays = traffic::Server::tcp(&stays, "stays", "0.0.0.0:80");
    let goes = ["a", "b"].map(|host| {
        let goes = stage.start(host, &format!("goes-{host}"), label);
        let server = traffic::Server::tcp(&goes, "goes", "0.0.0.0:80");
        (host, goes, server)
    });
    alike(&stage, "web", 3);
    let stranger = stage.stranger();
    let vip = addresses(&stage, "a", "web").remove(0);
    let outside = |host, port| format!("{}:{port}", stage.addr(host));
    let ways = [
        (&near, format!("{vip}:80")),
        (&beside, format!("{vip}:80")),
        (&stranger, outside("a", 8080)),
        (&stranger, outside("c", 8080)),
        (&stranger, outside("a", 8081)),
        (&stranger, outside("a", 8082)),
        (&stranger, outside("b", 8082)),
    ];
    // Each time the number of endpoints passes a power of two.
    let (servers, outcomes) = traffic::meanwhile(&ways, traffic::without_loss, || {
        let mut servers = Vec::new();
        for (host, goes, server) in goes {
            stage.docker(host, &format!("network disconnect shop goes-{host}"));
            drop(server);
            alike(&stage, "web", 2);
            servers.push(traffic::Server::tcp(&goes, "goes", "0.0.0.0:80"));
            stage.docker(host, &format!("network connect shop goes-{host}"));
            alike(&stage, "web", 3);
        }
        servers
    });
    drop(servers);
    for outcome in outcomes {
        assert!(outcome.bad.is_empty(), "{outcome:?}");
        assert!(outcome.asked > 20, "{outcome:?}");
    }
    stage.end();
}

fn whatever_fails_balancing_goes_on_and_is_right_again(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    stage.cli(
        "b",
        "service create --name web --network shop -p 8080:80 --drain 1s",
    );
    eventually("a knows the service", SOON, || {
        stage.cli("a", "service ls").contains("web")
    });
    let label = "--network shop --label vethwork.service=web";
    let near = stage.start("c", "near", "--network shop");
    let one = stage.start("a", "one", label);
    let two = stage.start("b", "two", label);
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, end)| traffic::Server::tcp(end, name, "0.0.0.0:80"));
    alike(&stage, "web", 2);
    let to = format!("{}:80", addresses(&stage, "a", "web")[0]);
    let stranger = stage.stranger();
    let outside = format!("{}:8080", stage.addr("c"));
    answer(&near, &to, &["one", "two"]);
    // The daemon of the host that is asked is gone.
    stage.kill("c");
    answer(&near, &to, &["one", "two"]);
    answer(&stranger, &outside, &["one", "two"]);
    let three = stage.start("a", "three", label);
    let _three = traffic::Server::tcp(&three, "three", "0.0.0.0:80");
    let mut talk = traffic::Conversation::open(&near, &to).expect("reachable");
    stage.forget("c");
    answer(&near, &to, &["one", "three", "two"]);
    talk.say("it went on").expect("the connection stands");
    // The store is away: each host goes on, and its own endpoints come and go.
    stage.pause_store();
    answer(&stranger, &outside, &["one", "three", "two"]);
    stage.docker("a", "stop -t 0 three");
    let own = format!("{}:8080", stage.addr("a"));
    answer(&stranger, &own, &["one", "two"]);
    let four = stage.start("a", "four", label);
    let _four = traffic::Server::tcp(&four, "four", "0.0.0.0:80");
    answer(&stranger, &own, &["four", "one", "two"]);
    answer(&one, &to, &["four", "one", "two"]);
    let refused = stage.cli_refused("a", "service rm web");
    assert!(refused.contains("store"), "{refused}");
    stage.resume_store();
    answer(&stranger, &outside, &["four", "one", "two"]);
    talk.say("still").expect("the connection stands");
    drop(talk);
    stage.docker("a", "stop -t 0 four");
    alike(&stage, "web", 2);
    let ways = [(&near, &to), (&stranger, &outside)];
    lost(&stage, ways);
    waited_for(&stage, ways);
    stage.end();
}

/// A host is lost, with what is on it, and comes back: nobody who is led elsewhere notices.
#[track_caller]
fn lost(stage: &Stage, ways: [(&Host, &String); 2]) {
    let [(near, to), _] = ways;
    let mut talks = ways.map(|(from, to)| led_to(from, to, "one"));
    let mut go_on = || {
        for talk in &mut talks {
            talk.say("on").expect("the connection stands");
        }
    };
    stage.cut("b");
    let met = vw_testkit::poll(LEASE, || {
        go_on();
        let names = who(traffic::tcp, near, to);
        (names == BTreeSet::from(["one".to_owned()])).then_some(())
    });
    assert!(
        met.is_some(),
        "b is led to still: {:?}",
        who(traffic::tcp, near, to)
    );
    go_on();
    stage.mend("b");
    answer(near, to, &["one", "two"]);
    alike(stage, "web", 2);
    go_on();
}

/// Of those who are led to the endpoint on b by another host a leave of it waits until they have
/// left, or its time is over; whoever comes meanwhile is led elsewhere.
#[track_caller]
fn waited_for(stage: &Stage, ways: [(&Host, &String); 2]) {
    let leaves = |drain: &str, line: &str, end: fn(&mut Vec<traffic::Conversation>)| {
        stage.cli("a", &format!("service update --drain {drain} web"));
        alike(stage, "web", 2);
        let talks = ways.map(|(from, to)| led_to(from, to, "two"));
        let mut talks = Vec::from(talks);
        let daemon = stage.daemon("b");
        let took = thread::scope(|scope| {
            let leaves = scope.spawn(|| {
                let begun = Instant::now();
                daemon.docker(line.split(' ')).must();
                begun.elapsed()
            });
            for (from, to) in ways {
                answer(from, to, &["one"]);
            }
            assert!(!leaves.is_finished(), "it waits");
            for talk in &mut talks {
                talk.say("on").expect("the connection stands");
            }
            end(&mut talks);
            leaves.join().expect("it leaves")
        });
        (took, talks)
    };
    let (took, _) = leaves("60s", "network disconnect shop two", Vec::clear);
    assert!(took < Duration::from_secs(30), "{took:?}");
    stage.docker("b", "network connect shop two");
    let (took, talks) = leaves("4s", "stop -t 0 two", |_| ());
    assert!(took >= Duration::from_secs(4), "{took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    for mut talk in talks {
        talk.say("still").expect_err("it is cut");
    }
}

fn a_host_that_was_given_up_waits_for_nobody_who_is_connected(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--subnet 10.99.0.0/24", "shop");
    stage.cli("a", "service create --name web --network shop --drain 5m");
    eventually("c knows the service", SOON, || {
        stage.cli("c", "service ls").contains("web")
    });
    let client = stage.start("a", "client", "--network shop");
    let found = stage.start("c", "found", "--network shop --label vethwork.service=web");
    let _found = traffic::Server::tcp(&found, "found", "0.0.0.0:80");
    alike(&stage, "web", 1);
    let vip = format!("{}:80", addresses(&stage, "a", "web")[0]);
    let mut talk = traffic::Conversation::open(&client, &vip).expect("reachable");
    talk.say("hello").expect("led to c");
    stage.cut("c");
    eventually("it may be given up", LEASE, || {
        stage.daemon("a").cli(["cluster", "forget", "c"]).success()
    });
    let former = stage.address("c", "found", "shop");
    drop(stage.start("b", "thief", &format!("--network shop --ip {former}")));
    stage.mend("c");
    let met = vw_testkit::poll(LEASE, || {
        let address = stage.address("c", "found", "shop");
        (!address.is_empty() && address != former).then_some(())
    });
    assert!(met.is_some(), "c has {former} still");
    answer(&client, &vip, &["found"]);
    drop(talk);
    stage.end();
}

fn what_cannot_be_is_refused_by_any_host(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    network(&stage, "--internal", "inner");
    network(&stage, "-o vethwork.overlay.multicast=true", "loud");
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    eventually("b knows the service", SOON, || {
        stage.cli("b", "service ls").contains("web")
    });
    for (host, line, why) in [
        (
            "b",
            "--name web --network shop",
            "service web already exists",
        ),
        ("c", "--name db --network shop -p 8080:81", "is already"),
        ("b", "--name db --network shop -p 8080:81", "is already"),
        (
            "c",
            "--name db --network shop -p 81",
            "publishes one port that you name",
        ),
        (
            "c",
            "--name db --network inner -p 81:81",
            "cannot publish ports",
        ),
        (
            "c",
            "--name db --network shop -p target=81,mode=host",
            "publishes one port that you name",
        ),
        (
            "c",
            "--name db --network shop -p published=8080,target=81,mode=host",
            "is already",
        ),
        (
            "c",
            "--name db --network loud",
            "cannot have a virtual address",
        ),
        (
            "c",
            "--name db --network nowhere",
            "network nowhere not found",
        ),
    ] {
        let refused = stage.cli_refused(host, &format!("service create {line}"));
        assert!(refused.contains(why), "{line}: {refused}");
    }
    let refused = stage.cli_refused("c", "run -d --network shop --service db host sleep 1");
    assert!(refused.contains("service db not found"), "{refused}");
    stage.cli("c", "service create --name db --network inner");
    stage.cli(
        "c",
        "service create --name many --network loud --endpoint-mode dnsrr",
    );
    of_two_at_once_one_is_made(&stage);
    stage.end();
}

/// Two hosts make a service of one name, and two with one port, each at the same moment.
#[track_caller]
fn of_two_at_once_one_is_made(stage: &Stage) {
    for [one, two] in [
        ["twin --network shop", "twin --network inner"],
        [
            "left --network shop -p 9090:80",
            "right --network shop -p 9090:80",
        ],
    ] {
        let made = std::thread::scope(|scope| {
            let make = |host: &str, what: &str| {
                let line = format!("service create --name {what}");
                let daemon = stage.daemon(host);
                scope.spawn(move || daemon.cli(line.split_whitespace()))
            };
            let both = [make("a", one), make("b", two)];
            both.map(|thread| thread.join().expect("it is answered"))
        });
        let refused: Vec<_> = made.iter().filter(|output| !output.success()).collect();
        assert_eq!(refused.len(), 1, "{made:?}");
        let why = &refused[0].stderr;
        assert!(why.contains("already"), "{why}");
        let made = |host: &str| {
            let listed = stage.cli(host, "service ls --format {{.Name}}");
            let either = |name: &&str| ["twin", "left", "right"].contains(name);
            listed
                .lines()
                .filter(either)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        for host in ["a", "b", "c"] {
            eventually("it has the one", SOON, || made(host).len() == 1);
        }
        let made = made("c").remove(0);
        stage.cli("c", &format!("service rm {made}"));
    }
}

fn a_port_that_a_host_has_otherwise_stays_its(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    let own = stage.start("b", "own", "-p 8080:80");
    let _own = traffic::Server::tcp(&own, "own", "0.0.0.0:80");
    // Whose daemon does not run says nothing against it.
    stage.kill("b");
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    stage.restart_with("b", &[]);
    eventually("b knows the service", SOON, || {
        stage.cli("b", "service ls").contains("web")
    });
    let one = stage.start("a", "one", "--network shop --label vethwork.service=web");
    let _one = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    let stranger = stage.stranger();
    let at = |host| format!("{}:8080", stage.addr(host));
    answer(&stranger, &at("c"), &["one"]);
    answer(&stranger, &at("b"), &["own"]);
    eventually("every host says where it is not published", SOON, || {
        ["a", "b", "c"].iter().all(|host| {
            let shown = stage.cli(host, "service ls");
            shown.contains("*:8080->80/tcp (not on b)")
        })
    });
    stage.docker("b", "rm -f own");
    answer(&stranger, &at("b"), &["one"]);
    eventually("and that it is now", SOON, || {
        !stage.cli("c", "service ls").contains("not on")
    });
    // What is published is changed on every host.
    stage.cli(
        "b",
        "service update --publish-rm 80 --publish-add 8081:80 web",
    );
    for host in ["a", "b", "c"] {
        answer(&stranger, &format!("{}:8081", stage.addr(host)), &["one"]);
        assert!(traffic::tcp(&stranger, &at(host)).is_err(), "{host}");
    }
    taken_meanwhile(&stage, &stranger);
    stage.end();
}

/// A host that is cut off gives a port away that the others publish meanwhile.
#[track_caller]
fn taken_meanwhile(stage: &Stage, stranger: &Host) {
    stage.cut("b");
    eventually("b is dead", LEASE, || {
        stage.cli("a", "cluster status").contains("dead")
    });
    stage.cli("a", "service update --publish-add 8090:80 web");
    let late = stage.start("b", "late", "-p 8090:80");
    let _late = traffic::Server::tcp(&late, "late", "0.0.0.0:80");
    stage.mend("b");
    for host in ["a", "b", "c"] {
        eventually("every host says where it is not published", LEASE, || {
            stage
                .cli(host, "service ls")
                .contains("*:8090->80/tcp (not on b)")
        });
    }
    answer(stranger, &format!("{}:8090", stage.addr("b")), &["late"]);
    answer(stranger, &format!("{}:8090", stage.addr("c")), &["one"]);
}
