//! What leads to services on each host: over UDP, by SRV names, on a host that joins late, past
//! the balancer (`mode=host`), and where a daemon dies while it is made.

use crate::{
    outage::serving,
    over_every_store, over_one_store,
    prefer::{CLIENT6, at_port, seen},
    services::{addresses, alike, answer, answer_by, led_to, network},
    stage::{Kind, LEASE, SOON, Stage},
};
use std::{thread, time::Duration};
use vw_testkit::{Host, eventually, stays, traffic};

over_every_store! {
    a_host_that_joins_late_leads_to_services_and_is_led_to,
    a_daemon_that_dies_over_a_service_leaves_nothing_half_made,
}

over_one_store! {
    udp_is_led_to_every_host_and_srv_names_tell_where,
    what_leads_to_services_stands_only_as_long_as_somebody_is_there,
    what_leads_to_services_has_no_name,
    a_port_is_published_by_the_hosts_with_endpoints_alone,
    a_port_of_a_routed_network_is_too,
    where_the_last_endpoint_is_sick_a_host_port_ends_the_connections_of_its_localhost_alone,
}

/// Waits until a host knows the service `web`.
#[track_caller]
pub(crate) fn known(stage: &Stage, host: &str) {
    eventually("the service is known", SOON, || {
        stage.cli(host, "service ls").contains("web")
    });
}

/// What an SRV name is, in order.
fn srv(stage: &Stage, inside: &Host, name: &str) -> Vec<String> {
    let answer = stage.resolve(inside, name, "SRV");
    let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

pub(crate) const MEMBER: &str = "--network shop --label vethwork.service=web";

fn udp_is_led_to_every_host_and_srv_names_tell_where(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--ipv6", "shop");
    stage.cli(
        "a",
        "service create --name web --network shop -p 8053:1053/udp",
    );
    known(&stage, "b");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let near = stage.start("c", "near", "--network shop");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::udp(host, name, "[::]:1053"));
    alike(&stage, "web", 2);
    let vips = addresses(&stage, "c", "web");
    let both = ["one", "two"];
    for from in [&near, &one] {
        answer_by(traffic::udp, from, &format!("{}:1053", vips[0]), &both);
        answer_by(traffic::udp, from, &format!("[{}]:1053", vips[1]), &both);
    }
    let stranger = stage.stranger();
    for host in ["a", "c"] {
        let at = format!("{}:8053", stage.addr(host));
        answer_by(traffic::udp, &stranger, &at, &both);
        assert!(traffic::tcp(&stranger, &at).is_err(), "only UDP is led on");
    }
    for at in ["127.0.0.1:8053", "[::1]:8053"] {
        answer_by(traffic::udp, stage.host("c"), at, &both);
    }
    // From a host that runs none of them.
    let service = ["0 0 1053 web.shop."];
    let tasks = ["0 1 1053 one.shop.", "0 1 1053 two.shop."];
    for inside in [&near, &two] {
        eventually("the port of the service is named", SOON, || {
            srv(&stage, inside, "_1053._udp.web") == service
        });
        eventually("and of all endpoints", SOON, || {
            srv(&stage, inside, "_1053._udp.tasks.web") == tasks
        });
        assert!(srv(&stage, inside, "_1053._tcp.web").is_empty());
    }
    stage.docker("b", "stop -t 1 two");
    alike(&stage, "web", 1);
    let at = format!("{}:8053", stage.addr("c"));
    answer_by(traffic::udp, &stranger, &at, &["one"]);
    eventually("nobody is sent to one that left", SOON, || {
        srv(&stage, &near, "_1053._udp.tasks.web") == tasks[..1]
    });
    stage.end();
}

fn a_host_that_joins_late_leads_to_services_and_is_led_to(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", "network create -d overlay shop");
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    known(&stage, "b");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "0.0.0.0:80"));
    let stranger = stage.stranger();
    answer(
        &stranger,
        &format!("{}:8080", stage.addr("b")),
        &["one", "two"],
    );
    stage.join("c");
    let outside = format!("{}:8080", stage.addr("c"));
    answer(&stranger, &outside, &["one", "two"]);
    alike(&stage, "web", 2);
    let three = stage.start("c", "three", MEMBER);
    let _three = traffic::Server::tcp(&three, "three", "0.0.0.0:80");
    alike(&stage, "web", 3);
    let all = ["one", "three", "two"];
    let vip = format!("{}:80", addresses(&stage, "c", "web")[0]);
    for from in [&one, &three] {
        answer(from, &vip, &all);
    }
    for host in ["a", "c"] {
        answer(&stranger, &format!("{}:8080", stage.addr(host)), &all);
    }
    stage.end();
}

fn a_daemon_that_dies_over_a_service_leaves_nothing_half_made(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    // The others have agreed to it, so that it is there.
    let create = "service create --name web --network shop";
    stage.die_at("a", "service.agreed", create);
    for host in ["a", "b", "c"] {
        known(&stage, host);
    }
    let refused = stage.cli_refused("a", create);
    assert!(refused.contains("already exists"), "{refused}");
    stage.forget("a");
    let one = stage.start("a", "one", MEMBER);
    let _one = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    // The first of the network on b has the service led to there.
    let run = format!("run -d --name two {MEMBER} host sleep 1000");
    stage.die_at("b", "balancer.built", &run);
    stage.forget("b");
    stage.docker("b", "rm -f two");
    let two = stage.start("b", "two", MEMBER);
    let _two = traffic::Server::tcp(&two, "two", "0.0.0.0:80");
    alike(&stage, "web", 2);
    let vip = format!("{}:80", addresses(&stage, "b", "web")[0]);
    for from in [&one, &two] {
        answer(from, &vip, &["one", "two"]);
    }
    // Where ports are published it is made on a host that runs nothing.
    stage.die_at(
        "c",
        "balancer.built",
        "service update --publish-add 8080:80 web",
    );
    let stranger = stage.stranger();
    for host in ["a", "b", "c"] {
        let at = format!("{}:8080", stage.addr(host));
        answer(&stranger, &at, &["one", "two"]);
    }
    stage.end();
}

/// How many namespaces a daemon holds, besides that in which hosts try the way to one another.
fn pins(stage: &Stage, host: &str) -> usize {
    let pins = std::fs::read_dir(stage.daemon(host).exec_root().join("netns"));
    let names = pins
        .into_iter()
        .flatten()
        .flatten()
        .map(|pin| pin.file_name());
    names
        .filter(|name| !name.to_string_lossy().starts_with("net-00000000"))
        .count()
}

fn what_leads_to_services_stands_only_as_long_as_somebody_is_there(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--subnet 10.99.0.0/24", "shop");
    stage.cli("a", "service create --name web --network shop");
    known(&stage, "b");
    let one = stage.start("a", "one", MEMBER);
    let _one = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
    alike(&stage, "web", 1);
    let vip = format!("{}:80", addresses(&stage, "b", "web")[0]);
    // What was prepared for one that could not come goes again.
    let taken = stage.address("a", "one", "shop");
    let refused = stage.refused(
        "b",
        &format!("run -d --network shop --ip {taken} host sleep 1000"),
    );
    assert!(refused.contains(&taken), "{refused}");
    eventually("nothing is held on b", SOON, || pins(&stage, "b") == 0);
    // Of two that come and go the one that is there is led on.
    drop(stage.start("b", "first", "--network shop"));
    for round in 0..4 {
        let goes = ["first", "second"][round % 2];
        let comes = ["second", "first"][round % 2];
        let daemon = stage.daemon("b");
        thread::scope(|scope| {
            scope.spawn(|| daemon.docker(["rm", "-f", goes]).must());
            let run = ["run", "-d", "--name", comes, "--network", "shop"];
            let run = run.into_iter().chain(["host", "sleep", "1000"]);
            scope.spawn(|| daemon.docker(run).must());
        });
        answer(&stage.inside("b", comes), &vip, &["one"]);
    }
    // Outside the cluster nobody needs it; back in it is made anew.
    assert!(pins(&stage, "b") > 1);
    stage
        .start_outside("b", &["--cluster-store", "none"])
        .unwrap();
    eventually("only the container's is held", SOON, || {
        pins(&stage, "b") == 1
    });
    stage.docker("b", "rm -f first");
    stage.start_inside("b");
    eventually("it is a member as before", LEASE, || {
        stage.knows("b", "shop")
    });
    let first = stage.start("b", "first", "--network shop");
    answer(&first, &vip, &["one"]);
    stage.end();
}

fn what_leads_to_services_has_no_name(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "", "shop");
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    known(&stage, "b");
    let clients =
        ["a", "b"].map(|host| stage.start(host, &format!("near-{host}"), "--network shop"));
    let lb = |from: &Host| ["lb-shop", "lb-shop.shop"].map(|name| stage.resolve(from, name, "A"));
    let all_know = |name: &str| {
        clients
            .iter()
            .all(|from| !stage.resolve(from, name, "A").is_empty())
    };
    eventually("both know each other", SOON, || {
        all_know("near-a") && all_know("near-b")
    });
    assert_eq!(clients.each_ref().map(lb), [["", ""], ["", ""]]);
    // A container of that name is found by it alone.
    drop(stage.start("b", "lb-shop", "--network shop"));
    let addr = stage.address("b", "lb-shop", "shop");
    eventually("it is found", SOON, || all_know("lb-shop"));
    let both = [addr.as_str(), &addr];
    assert_eq!(clients.each_ref().map(lb), [both, both]);
    stage.forget("a");
    let lb = |from: &Host| ["lb-shop", "lb-shop.shop"].map(|name| stage.resolve(from, name, "A"));
    assert_eq!(clients.each_ref().map(lb), [both, both]);
    stage.end();
}

fn a_port_is_published_by_the_hosts_with_endpoints_alone(kind: Kind) {
    published_by_hosts(kind, "--ipv6");
}

fn a_port_of_a_routed_network_is_too(kind: Kind) {
    published_by_hosts(kind, "--ipv6 -o vethwork.overlay.mode=route");
}

#[track_caller]
fn published_by_hosts(kind: Kind, options: &str) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, options, "shop");
    let own = stage.start("b", "own", "-p 8080:80");
    let _own = traffic::Server::tcp(&own, "own", "0.0.0.0:80");
    stage.cli(
        "a",
        "service create --name web --network shop -p published=8080,target=80,mode=host",
    );
    known(&stage, "b");
    let one = stage.start("a", "one", MEMBER);
    let more = stage.start("a", "more", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let _servers = [("one", &one), ("more", &more), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 3);
    let stranger = stage.stranger();
    let at = |host: &str| format!("{}:8080", stage.addr(host));
    let (a, b, c) = (at("a"), at("b"), at("c"));
    answer(&stranger, &a, &["more", "one"]);
    for localhost in ["127.0.0.1:8080", "[::1]:8080"] {
        answer(stage.host("a"), localhost, &["more", "one"]);
    }
    assert_eq!(seen(&stranger, &a), "192.0.2.66", "the client's address");
    assert!(traffic::tcp(&stranger, &c).is_err(), "c runs none of them");
    // What has the port there keeps it, and the service says so.
    answer(&stranger, &b, &["own"]);
    for host in ["a", "c"] {
        eventually("every host says where it is not published", SOON, || {
            let shown = stage.cli(host, "service ls");
            shown.contains("*:8080->80/tcp host (not on b)")
        });
    }
    stage.docker("b", "rm -f own");
    answer(&stranger, &b, &["two"]);
    for host in ["a", "b", "c"] {
        stage.forget(host);
    }
    answer(&stranger, &a, &["more", "one"]);
    let taken = stage.refused("b", "run --rm -p 8080:80 host true");
    let holder = "port is already allocated: service web publishes it";
    assert!(taken.contains(holder), "{taken}");
    // Without an endpoint that serves the port is anyone's.
    stage.docker("b", "stop -t 0 two");
    eventually("it is published no more", SOON, || {
        traffic::tcp(&stranger, &b).is_err()
    });
    let free = || {
        let run = "run -d --name again -p 8080:80 host sleep 1000";
        stage.daemon("b").docker(run.split_whitespace()).success()
    };
    eventually("the port is free", SOON, || {
        free() || {
            stage.docker("b", "rm -f again");
            false
        }
    });
    stage.cli("c", "service update --publish-rm 80 web");
    let table = ["nft", "list", "table", "inet", "vethwork_services"];
    eventually("nor where endpoints serve", SOON, || {
        traffic::tcp(&stranger, &a).is_err() && !stage.host("a").run(table).success()
    });
    stage.end();
}

/// A host that publishes the port 8080 by `mode=host` and is reached over both IP versions, and who
/// reaches it from outside.
#[track_caller]
fn publishing(kind: Kind) -> (Stage, Host) {
    let stage = Stage::new(kind, &["a"]);
    network(&stage, "--ipv6", "shop");
    let stranger = stage.stranger();
    stranger.ip(&format!("addr add {CLIENT6}/64 dev wire nodad"));
    stage.host("a").ip("addr add 2001:db8::1/64 dev wire nodad");
    let health = "--health tcp:81 --health-interval 100ms --health-retries 1";
    let port = "-p published=8080,target=80,mode=host";
    stage.cli(
        "a",
        &format!("service create --name web --network shop {port} {health}"),
    );
    (stage, stranger)
}

fn where_the_last_endpoint_is_sick_a_host_port_ends_the_connections_of_its_localhost_alone(
    kind: Kind,
) {
    let (stage, stranger) = publishing(kind);
    let host = stage.host("a");
    let well = |inside: &Host| traffic::Server::tcp(inside, "well", "0.0.0.0:81");
    let inside = ["one", "two"].map(|name| stage.start("a", name, MEMBER));
    let _servers = [("one", &inside[0]), ("two", &inside[1])]
        .map(|(name, inside)| traffic::Server::tcp(inside, name, "[::]:80"));
    let [first, second] = inside.each_ref().map(well);
    let serve = |names: &[&str]| {
        eventually("it is known who serves", SOON, || {
            serving(&stage, "a") == names
        });
    };
    serve(&["one", "two"]);
    let [v4, v6] = at_port("a", 8080);
    let local = "[::1]:8080".to_owned();
    let ways = [
        (&stranger, v4.clone()),
        (&stranger, v6),
        (host, v4),
        (host, "127.0.0.1:8080".to_owned()),
    ];
    let open = |(from, to): (&Host, &String)| ["one", "two"].map(|name| led_to(from, to, name));
    let mut talks: Vec<_> = ways
        .iter()
        .flat_map(|(from, to)| open((from, to)))
        .collect();
    let mut by_localhost = open((host, &local));
    let on = |talk: &mut traffic::Conversation| talk.say("on").is_ok();
    let moment = Duration::from_secs(1);
    drop(first);
    serve(&["two"]);
    stays("all go on while one serves", moment, || {
        talks.iter_mut().chain(&mut by_localhost).all(on)
    });
    drop(second);
    serve(&[]);
    eventually("who comes from ::1 is told", SOON, || {
        !by_localhost.iter_mut().any(on)
    });
    stays("the others go on", moment, || talks.iter_mut().all(on));
    for (from, to) in &ways {
        assert!(traffic::tcp(from, to).is_err(), "{to}: nobody serves");
    }
    // It is anyone's.
    assert!(traffic::tcp(host, &local).is_err());
    let own = traffic::Server::tcp(host, "own", "[::]:8080");
    answer(host, &local, &["own"]);
    drop(own);
    let _again = well(&inside[0]);
    serve(&["one"]);
    for (from, to) in ways.iter().chain([&(host, local)]) {
        answer(from, to, &["one"]);
    }
    assert!(talks.iter_mut().all(on), "one is well again");
    stage.end();
}
