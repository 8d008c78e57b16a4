//! Who is led where by services over several hosts, when endpoints come and go.

use crate::{
    over_one_store,
    services::{addresses, answer},
    stage::{Kind, SOON, Stage},
};
use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use vw_testkit::{
    Host, eventually,
    traffic::{Conversation, Sender, Server, stray_answer, stray_question, tcp},
};

over_one_store! {
    one_who_keeps_sending_is_led_to_whoever_serves,
    one_who_keeps_sending_leaves_who_is_sick_and_a_service_that_is_gone,
    a_stop_waits_for_those_who_are_led_there_and_once,
    a_port_of_a_host_leads_to_an_endpoint_whichever_way_it_leaves_by,
    a_command_asks_those_in_whom_it_can_run,
    who_serves_again_at_a_start_is_led_to_by_its_own_host_too,
    a_segment_that_connection_tracking_does_not_know_ends_no_connection,
}

/// Less than a connection over UDP that is not answered lives (30 s).
const PATIENCE: Duration = Duration::from_millis(200);

const MEMBER: &str = "--network shop --label vethwork.service=web";

/// Two hosts with the network `shop`.
#[track_caller]
fn pair(kind: Kind, options: &str) -> Stage {
    let stage = Stage::new(kind, &["a", "b"]);
    stage.docker("a", &format!("network create -d overlay {options} shop"));
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    stage
}

/// Makes the service `web` there, which both hosts know then.
#[track_caller]
fn service(stage: &Stage, options: &str) {
    let create = format!("service create --name web --network shop {options}");
    stage.cli("a", &create);
    eventually("b knows the service", SOON, || {
        stage.cli("b", "service ls").contains("web")
    });
}

#[track_caller]
fn sender(from: &Host, to: &str) -> Sender {
    Sender::open(from, to, PATIENCE).expect("a socket")
}

/// Waits until one who keeps sending is answered by one of these, and tells by whom.
#[track_caller]
fn led(sender: &Sender, names: &[&str]) -> String {
    let mut last = String::new();
    eventually("it is led", SOON, || {
        sender.ask().is_ok_and(|answer| {
            last = answer.name;
            names.contains(&last.as_str())
        })
    });
    last
}

fn one_who_keeps_sending_is_led_to_whoever_serves(kind: Kind) {
    let mut stage = pair(kind, "");
    let stranger = stage.stranger();
    let at = |host: &str, port: u16| sender(&stranger, &format!("{}:{port}", stage.addr(host)));
    let everywhere = [at("a", 8053), at("b", 8053)];
    let hosted = at("a", 8054);
    for sender in everywhere.iter().chain([&hosted]) {
        sender.ask().expect_err("nobody is there");
    }
    service(
        &stage,
        "-p 8053:1053/udp -p published=8054,target=1053,protocol=udp,mode=host --drain 0s",
    );
    let near = stage.start("b", "near", "--network shop");
    let vip = format!("{}:1053", addresses(&stage, "b", "web")[0]);
    let inside = sender(&near, &vip);
    let all = || everywhere.iter().chain([&inside]);
    for sender in all() {
        sender.ask().expect_err("nobody serves");
    }
    let one = stage.start("a", "one", MEMBER);
    let first = Server::udp(&one, "one", "0.0.0.0:1053");
    for sender in all().chain([&hosted]) {
        led(sender, &["one"]);
    }
    // One more comes, and the first goes: who was led there is led to the other.
    let two = stage.start("b", "two", MEMBER);
    let _two = Server::udp(&two, "two", "0.0.0.0:1053");
    eventually("both hosts know both", SOON, || {
        ["a", "b"].iter().all(|host| {
            let shown = stage.cli(host, "service inspect web");
            shown.matches("\"Serves\": true").count() == 2
        })
    });
    for sender in all() {
        assert_eq!(led(sender, &["one", "two"]), "one", "it stays where it is");
    }
    drop(first);
    // One host hears of it and ends before it forgets who was led there.
    stage.die_hearing("b", "service.led", "a", "rm -f one");
    for sender in all() {
        led(sender, &["two"]);
    }
    hosted.ask().expect_err("nobody serves on a");
    let three = stage.start("a", "three", MEMBER);
    let _three = Server::udp(&three, "three", "0.0.0.0:1053");
    led(&hosted, &["three"]);
    stage.end();
}

fn one_who_keeps_sending_leaves_who_is_sick_and_a_service_that_is_gone(kind: Kind) {
    let stage = pair(kind, "");
    service(
        &stage,
        "-p 8053:1053/udp -p published=8054,target=1053,protocol=udp,mode=host --drain 0s --health tcp:81 --health-interval 100ms --health-retries 1",
    );
    let stranger = stage.stranger();
    let at = |host: &str, port: u16| sender(&stranger, &format!("{}:{port}", stage.addr(host)));
    let near = stage.start("b", "near", "--network shop");
    let vip = format!("{}:1053", addresses(&stage, "b", "web")[0]);
    let everywhere = [at("a", 8053), at("b", 8053), sender(&near, &vip)];
    let hosted = at("a", 8054);
    let all = || everywhere.iter().chain([&hosted]);
    let start = |host: &str, name: &str| {
        let inside = stage.start(host, name, MEMBER);
        let check = Server::tcp(&inside, name, "0.0.0.0:81");
        (Server::udp(&inside, name, "0.0.0.0:1053"), check)
    };
    let serve = |count: usize| {
        eventually("both hosts know who serves", SOON, || {
            ["a", "b"].iter().all(|host| {
                let shown = stage.cli(host, "service inspect web");
                shown.matches("\"Serves\": true").count() == count
            })
        });
    };
    let (_one, well) = start("a", "one");
    for sender in all() {
        led(sender, &["one"]);
    }
    let (_two, _three) = (start("b", "two"), start("a", "three"));
    serve(3);
    for sender in all() {
        assert_eq!(led(sender, &["one", "two", "three"]), "one", "it stays");
    }
    drop(well);
    serve(2);
    for sender in &everywhere {
        led(sender, &["two", "three"]);
    }
    led(&hosted, &["three"]);
    stage.cli("b", "service rm web");
    for sender in all() {
        eventually("nobody leads there", SOON, || sender.ask().is_err());
    }
    stage.end();
}

/// How long it takes an endpoint to leave.
#[track_caller]
fn leaves(stage: &Stage, name: &str) -> Duration {
    let begun = Instant::now();
    stage.docker("a", &format!("network disconnect shop {name}"));
    begun.elapsed()
}

fn a_stop_waits_for_those_who_are_led_there_and_once(kind: Kind) {
    let stage = pair(kind, "");
    service(&stage, "-p published=8080,target=80,mode=host --drain 60s");
    let one = stage.start("a", "one", MEMBER);
    let _one = Server::tcp(&one, "one", "0.0.0.0:80");
    let near = stage.start("a", "near", "--network shop");
    let stranger = stage.stranger();
    let vip = format!("{}:80", addresses(&stage, "a", "web")[0]);
    let at = format!("{}:8080", stage.addr("a"));
    answer(&stranger, &at, &["one"]);
    answer(&near, &vip, &["one"]);
    // It talks to itself all the time, and a neighbour to it, past the service.
    let own = format!("{}:80", stage.address("a", "one", "shop"));
    let over = AtomicBool::new(false);
    let took = thread::scope(|scope| {
        for (from, to) in [(&one, "127.0.0.1:80"), (&one, &own), (&near, &own)] {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let _ = tcp(from, to);
                }
            });
        }
        let took = leaves(&stage, "one");
        over.store(true, Ordering::Relaxed);
        took
    });
    assert!(took < Duration::from_secs(30), "{took:?}");
    // Who is led there past the balancer and who is by it are waited for at the same time.
    stage.cli("a", "service update --drain 8s web");
    stage.docker("a", "network connect shop one");
    let far = stage.start("b", "far", "--network shop");
    let ways = [(&stranger, &at), (&near, &vip), (&far, &vip)];
    for (from, to) in ways {
        answer(from, to, &["one"]);
    }
    let talks = ways.map(|(from, to)| Conversation::open(from, to).expect("it is led"));
    let took = leaves(&stage, "one");
    assert!(took >= Duration::from_secs(8), "{took:?}");
    assert!(took < Duration::from_secs(14), "{took:?}");
    // Who goes on is told that nobody answers any more.
    for ((from, to), mut talk) in ways.into_iter().zip(talks) {
        let said = talk.say("x").expect_err("nobody is there");
        let reset = said.kind() == io::ErrorKind::ConnectionReset;
        assert!(reset, "from {} to {to}: {said}", from.name());
    }
    stage.end();
}

fn a_port_of_a_host_leads_to_an_endpoint_whichever_way_it_leaves_by(kind: Kind) {
    let mut stage = pair(kind, "");
    service(&stage, "-p published=8080,target=80,mode=host");
    for network in ["blue", "--internal inner"] {
        stage.docker("a", &format!("network create {network}"));
    }
    let one = stage.start("a", "one", MEMBER);
    let _one = Server::tcp(&one, "one", "0.0.0.0:80");
    let stranger = stage.stranger();
    let at = format!("{}:8080", stage.addr("a"));
    answer(&stranger, &at, &["one"]);
    for change in [
        "connect blue",
        "connect inner",
        "disconnect shop",
        "connect shop",
        "disconnect blue",
        "disconnect inner",
    ] {
        stage.docker("a", &format!("network {change} one"));
        if change == "disconnect shop" {
            eventually("it is no member", SOON, || tcp(&stranger, &at).is_err());
            continue;
        }
        answer(&stranger, &at, &["one"]);
        assert!(!stage.cli("b", "service ls").contains("not on"), "{change}");
        stage.forget("a");
    }
    stage.end();
}

fn a_command_asks_those_in_whom_it_can_run(kind: Kind) {
    let mut stage = pair(kind, "");
    service(&stage, "");
    let guest = stage.lab().host("guest");
    let adopt = format!("adopt --netns {} --name guest", guest.netns().display());
    stage.cli("b", &format!("{adopt} --network shop --service web"));
    drop(stage.start("b", "one", MEMBER));
    let update = "service update --health exec:true --health-interval 1s web";
    let refused = stage.cli_refused("b", update);
    assert!(refused.contains("guest cannot be an endpoint"), "{refused}");
    let server = Server::tcp(&guest, "guest", "0.0.0.0:80");
    let one = Server::tcp(&stage.inside("b", "one"), "one", "0.0.0.0:80");
    let by_port = "service update --health tcp:80 --health-interval 1s web";
    // Changed by a host that cannot know who is in it on another.
    let are = |stage: &Stage, names: &[&str]| {
        for host in ["a", "b"] {
            eventually("who can be asked is a member, and well", SOON, || {
                let shown = stage.api(host, "/vethwork/services/web");
                let all = shown["Endpoints"].as_array().expect("a list").iter();
                let mut all: Vec<_> = all
                    .map(|one| format!("{} {}", one["Name"], one["State"]))
                    .collect();
                all.sort();
                let well = |name: &&str| format!("{name:?} \"healthy\"");
                all == names.iter().map(well).collect::<Vec<_>>()
            });
        }
    };
    stage.cli("a", update);
    are(&stage, &["one"]);
    stage.forget("b");
    are(&stage, &["one"]);
    stage.cli("a", by_port);
    are(&stage, &["guest", "one"]);
    drop((server, one));
    stage.cli("a", "service rm web");
    eventually("b knows it no more", SOON, || {
        !stage.cli("b", "service ls").contains("web")
    });
    let create = "service create --name web --network shop --health exec:true";
    let refused = stage.cli_refused("b", create);
    assert!(refused.contains("guest cannot be an endpoint"), "{refused}");
    // Made by a host that cannot know who names it on another.
    service(&stage, "--health exec:true --health-interval 1s");
    are(&stage, &["one"]);
    stage.cli("b", "release guest");
    stage.end();
}

fn who_serves_again_at_a_start_is_led_to_by_its_own_host_too(kind: Kind) {
    let mut stage = pair(kind, "");
    service(&stage, "--drain 60s");
    let near = stage.start("a", "near", "--network shop");
    let vip = format!("{}:80", addresses(&stage, "a", "web")[0]);
    // The daemon dies once its process runs, and before anybody is led to it.
    let run = format!("run -d --name one {MEMBER} host sleep 1000");
    stage.die_at("a", "start.process", &run);
    let one = stage.inside("a", "one");
    let _one = Server::tcp(&one, "one", "0.0.0.0:80");
    answer(&near, &vip, &["one"]);
    stage.forget("a");
    // It dies while the endpoint is to leave, which does not then.
    let _talk = Conversation::open(&near, &vip).expect("it is led");
    let daemon = stage.daemon("a");
    let mut stop = daemon
        .host()
        .spawn_command(&mut daemon.docker_command(["stop", "one"]));
    eventually("it is drained", SOON, || tcp(&near, &vip).is_err());
    stage.forget("a");
    stop.kill();
    answer(&near, &vip, &["one"]);
    stage.forget("a");
    answer(&near, &vip, &["one"]);
    stage.end();
}

fn a_segment_that_connection_tracking_does_not_know_ends_no_connection(kind: Kind) {
    let stage = pair(kind, "--ipv6");
    service(&stage, "-p 8080:80");
    let one = stage.start("a", "one", MEMBER);
    let near = stage.start("b", "near", "--network shop");
    let _one = Server::tcp(&one, "one", "[::]:80");
    let stranger = stage.stranger();
    let vips = addresses(&stage, "b", "web");
    for (from, to) in [
        (&near, format!("{}:80", vips[0])),
        (&near, format!("[{}]:80", vips[1])),
        (&stranger, format!("{}:8080", stage.addr("b"))),
    ] {
        answer(from, &to, &["one"]);
        let mut talk = Conversation::open(from, &to).expect("reachable");
        let family = if to.starts_with('[') { "AAAA" } else { "A" };
        let at = stage.resolve(&near, "one", family).parse();
        let at = SocketAddr::new(at.expect("an address"), 80);
        stray_answer(&one, at, &mut talk).expect("it is sent");
        stray_question(from, &mut talk).expect("it is sent");
        let goes_on = talk.say("it goes on");
        goes_on.unwrap_or_else(|error| panic!("from {} to {to}: {error}", from.name()));
    }
    stage.end();
}
