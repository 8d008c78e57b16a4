//! A port that every host publishes, led to endpoints of the host that is asked while some serve
//! there (`prefer=local`).

use crate::{
    over_one_store,
    services::{addresses, alike, answer, answer_by, network},
    stage::{Kind, SOON, Stage},
};
use std::thread;
use vw_testkit::{Host, eventually, traffic};

over_one_store! {
    a_port_leads_to_endpoints_of_the_host_that_is_asked,
    a_port_of_a_routed_network_does_too,
    whom_a_port_prefers_is_changed_while_it_is_published,
    a_port_goes_from_one_mode_to_the_other_and_back,
    the_others_are_led_to_where_no_endpoint_of_the_host_serves,
    who_is_preferred_is_well_and_weighs_as_said,
    datagrams_are_led_so_and_by_whichever_network_leads_out,
}

const MEMBER: &str = "--network shop --label vethwork.service=web";
pub(crate) const CLIENT: &str = "192.0.2.66";
pub(crate) const CLIENT6: &str = "2001:db8::66";

/// A stranger and all hosts, by both IP versions.
pub(crate) fn dual_stack(stage: &Stage) -> Host {
    let stranger = stage.stranger();
    stranger.ip(&format!("addr add {CLIENT6}/64 dev wire nodad"));
    for (number, host) in (1..).zip(["a", "b", "c"]) {
        let addr = format!("2001:db8::{number}/64");
        stage
            .host(host)
            .ip(&format!("addr add {addr} dev wire nodad"));
    }
    stranger
}

/// Where a host publishes the port, by both IP versions.
fn at(host: &str) -> [String; 2] {
    at_port(host, 8080)
}

/// A port of a host, by both IP versions.
pub(crate) fn at_port(host: &str, port: u16) -> [String; 2] {
    let number = host.bytes().next().expect("a name") - b'a' + 1;
    [
        format!("192.0.2.{number}:{port}"),
        format!("[2001:db8::{number}]:{port}"),
    ]
}

/// Which client a server sees.
#[track_caller]
pub(crate) fn seen(from: &Host, to: &str) -> String {
    let answer = traffic::tcp(from, to).expect("reachable");
    answer.seen.ip().to_canonical().to_string()
}

/// Makes a service with a port that prefers local endpoints, known everywhere.
#[track_caller]
fn serve(stage: &Stage, options: &str, port: &str) {
    create(stage, options, port);
    is_known(stage);
}

#[track_caller]
fn create(stage: &Stage, options: &str, port: &str) {
    stage.cli(
        "a",
        &format!("service create --name web --network shop {options} -p {port},prefer=local"),
    );
}

#[track_caller]
fn is_known(stage: &Stage) {
    for host in ["a", "b", "c"] {
        eventually("the service is known", SOON, || {
            stage.cli(host, "service ls").contains("prefer=local")
        });
    }
}

fn a_port_leads_to_endpoints_of_the_host_that_is_asked(kind: Kind) {
    preferred(kind, "--ipv6");
}

fn a_port_of_a_routed_network_does_too(kind: Kind) {
    preferred(kind, "--ipv6 -o vethwork.overlay.mode=route");
}

#[track_caller]
fn preferred(kind: Kind, options: &str) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, options, "shop");
    let stranger = dual_stack(&stage);
    let own = stage.start("b", "own", "-p 8080:80");
    let _own = traffic::Server::tcp(&own, "own", "0.0.0.0:80");
    // Whose daemon does not run says nothing against it.
    stage.kill("b");
    create(&stage, "", "published=8080,target=80");
    stage.restart_with("b", &[]);
    is_known(&stage);
    let one = stage.start("a", "one", MEMBER);
    let more = stage.start("a", "more", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let near = stage.start("c", "near", "--network shop");
    let beside = stage.start("a", "beside", "");
    let _servers = [("one", &one), ("more", &more), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 3);
    let (local, all) = (["more", "one"], ["more", "one", "two"]);
    for (to, client) in at("a").iter().zip([CLIENT, CLIENT6]) {
        answer(&stranger, to, &local);
        assert_eq!(seen(&stranger, to), client, "the client's address");
    }
    for (to, client) in at("c").iter().zip([CLIENT, CLIENT6]) {
        answer(&stranger, to, &all);
        assert_ne!(seen(&stranger, to), client, "led by the balancer");
    }
    for localhost in ["127.0.0.1:8080", "[::1]:8080"] {
        answer(stage.host("a"), localhost, &local);
        answer(stage.host("c"), localhost, &all);
    }
    // Our containers: an endpoint itself, one of another network, and one on another host.
    for from in [&one, &beside, &near] {
        answer(from, &at("a")[0], &local);
    }
    answer(&near, &at("c")[0], &all);
    // The service's address is that of all endpoints, as without the option.
    answer(
        &near,
        &format!("{}:80", addresses(&stage, "c", "web")[0]),
        &all,
    );
    // What has the port of a host keeps it, also where endpoints serve.
    answer(&stranger, &at("b")[0], &["own"]);
    eventually("every host says where it is not published", SOON, || {
        let shown = stage.cli("c", "service ls");
        shown.contains("*:8080->80/tcp prefer=local (not on b)")
    });
    stage.docker("b", "rm -f own");
    for to in at("b") {
        answer(&stranger, &to, &["two"]);
    }
    for host in ["a", "b", "c"] {
        stage.forget(host);
    }
    answer(&stranger, &at("a")[0], &local);
    stage.end();
}

fn whom_a_port_prefers_is_changed_while_it_is_published(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--ipv6", "shop");
    let stranger = dual_stack(&stage);
    stage.cli("a", "service create --name web --network shop -p 8080:80");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 2);
    let prefer = |stage: &Stage| {
        let shown = stage.api("c", "/vethwork/services/web");
        shown["Ports"][0]["Prefer"].as_str().map(str::to_owned)
    };
    assert_eq!(prefer(&stage).as_deref(), Some("none"));
    answer(&stranger, &at("a")[0], &["one", "two"]);
    let on =
        "service update --publish-rm 80 --publish-add published=8080,target=80,prefer=local web";
    stage.cli("b", on);
    for to in at("a") {
        answer(&stranger, &to, &["one"]);
    }
    eventually("it is shown", SOON, || {
        prefer(&stage).as_deref() == Some("local")
    });
    let mut talk = traffic::Conversation::open(&stranger, &at("a")[0]).expect("reachable");
    stage.cli(
        "c",
        "service update --publish-rm 80 --publish-add 8080:80 web",
    );
    for to in at("a") {
        answer(&stranger, &to, &["one", "two"]);
    }
    assert_ne!(seen(&stranger, &at("a")[0]), CLIENT);
    talk.say("still").expect("the connection stands");
    drop(talk);
    let table = ["nft", "list", "table", "inet", "vethwork_services"];
    eventually("a host leads nowhere by itself", SOON, || {
        !stage.host("a").run(table).success()
    });
    for (add, why) in [
        (
            "published=8080,target=80,prefer=local",
            "would publish port 8080/tcp twice",
        ),
        (
            "published=8080,target=80,mode=host,prefer=local",
            "use one of them",
        ),
    ] {
        let refused = stage.cli_refused("a", &format!("service update --publish-add {add} web"));
        assert!(refused.contains(why), "{refused}");
    }
    stage.cli("c", "service update --publish-rm 80 web");
    for host in ["a", "b", "c"] {
        eventually("it is published no more", SOON, || {
            traffic::tcp(&stranger, &at(host)[0]).is_err()
        });
    }
    stage.end();
}

fn a_port_goes_from_one_mode_to_the_other_and_back(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    let stranger = dual_stack(&stage);
    serve(&stage, "", "published=8080,target=80");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "0.0.0.0:80"));
    answer(&stranger, &at("c")[0], &["one", "two"]);
    answer(&stranger, &at("a")[0], &["one"]);
    stage.cli(
        "a",
        "service update --publish-rm 80 --publish-add published=8080,target=80,mode=host web",
    );
    eventually("c publishes nothing", SOON, || {
        traffic::tcp(&stranger, &at("c")[0]).is_err()
    });
    answer(&stranger, &at("a")[0], &["one"]);
    eventually("nothing is in its way", SOON, || {
        !stage.cli("b", "service ls").contains("not on")
    });
    stage.cli(
        "b",
        "service update --publish-rm 80 --publish-add published=8080,target=80,prefer=local web",
    );
    answer(&stranger, &at("c")[0], &["one", "two"]);
    answer(&stranger, &at("a")[0], &["one"]);
    stage.end();
}

fn the_others_are_led_to_where_no_endpoint_of_the_host_serves(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--ipv6", "shop");
    let stranger = dual_stack(&stage);
    serve(&stage, "--drain 5m", "published=8080,target=80");
    let one = stage.start("a", "one", MEMBER);
    let _one = traffic::Server::tcp(&one, "one", "[::]:80");
    alike(&stage, "web", 1);
    let asked = at("c");
    for to in &asked {
        answer(&stranger, to, &["one"]);
    }
    // The first endpoint of a host comes: who is connected to another stays there.
    let mut before = traffic::Conversation::open(&stranger, &asked[0]).expect("reachable");
    assert_eq!(before.answer.name, "one");
    let three = stage.start("c", "three", MEMBER);
    let _three = traffic::Server::tcp(&three, "three", "[::]:80");
    for to in &asked {
        answer(&stranger, to, &["three"]);
    }
    before.say("led on").expect("the connection stands");
    // The last one goes: who is connected to it may end, and nobody else is led there.
    let mut talks = asked.clone().map(|to| {
        let talk = traffic::Conversation::open(&stranger, &to).expect("reachable");
        assert_eq!(talk.answer.name, "three");
        talk
    });
    let daemon = stage.daemon("c");
    thread::scope(|scope| {
        let stopping = scope.spawn(|| daemon.docker(["stop", "-t", "1", "three"]).must());
        for to in &asked {
            answer(&stranger, to, &["one"]);
        }
        for talk in &mut talks {
            talk.say("still here").expect("the connection stands");
        }
        assert!(!stopping.is_finished(), "it waits for the connections");
        drop(talks);
        stopping.join().expect("it stops");
    });
    before.say("still").expect("the connection stands");
    drop(before);
    // While the store is away a host goes by what it knows of its own.
    let again = stage.start("c", "again", MEMBER);
    let _again = traffic::Server::tcp(&again, "again", "[::]:80");
    answer(&stranger, &asked[0], &["again"]);
    stage.pause_store();
    stage.docker("c", "rm -f again");
    answer(&stranger, &asked[0], &["one"]);
    stage.resume_store();
    // A daemon that is killed leaves all as it is.
    let last = stage.start("c", "last", MEMBER);
    let _last = traffic::Server::tcp(&last, "last", "[::]:80");
    answer(&stranger, &asked[0], &["last"]);
    stage.kill("c");
    answer(&stranger, &asked[0], &["last"]);
    stage.forget("c");
    answer(&stranger, &asked[0], &["last"]);
    stage.end();
}

fn who_is_preferred_is_well_and_weighs_as_said(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    let stranger = dual_stack(&stage);
    serve(
        &stage,
        "--health tcp:81 --health-interval 100ms --health-retries 1",
        "published=8080,target=80",
    );
    let one = stage.start("a", "one", MEMBER);
    let more = stage.start("a", "more", &format!("{MEMBER} --label vethwork.weight=3"));
    let two = stage.start("b", "two", MEMBER);
    let ends = [("one", &one), ("more", &more), ("two", &two)];
    let _servers = ends.map(|(name, end)| traffic::Server::tcp(end, name, "0.0.0.0:80"));
    let asked = &at("a")[0];
    let mut well = ends.map(|(name, end)| Some(traffic::Server::tcp(end, name, "0.0.0.0:81")));
    answer(&stranger, &at("c")[0], &["more", "one", "two"]);
    answer(&stranger, asked, &["more", "one"]);
    let of_more = || {
        let map = [
            "nft",
            "list",
            "map",
            "inet",
            "vethwork_services",
            "port4_slots",
        ];
        let slots = stage.host("a").run(map).ok();
        (slots.matches("tcp . 8080 . ").count(), slots)
    };
    assert_eq!(of_more().0, 4, "three slots and one: {}", of_more().1);
    well[1] = None;
    answer(&stranger, asked, &["one"]);
    well[0] = None;
    answer(&stranger, asked, &["two"]);
    well[0] = Some(traffic::Server::tcp(&one, "one", "0.0.0.0:81"));
    well[1] = Some(traffic::Server::tcp(&more, "more", "0.0.0.0:81"));
    answer(&stranger, asked, &["more", "one"]);
    // A client's own endpoint is one of the host's.
    stage.cli("b", "service update --affinity client web");
    let same = vw_testkit::poll(SOON, || {
        let names = (0..16).map(|_| traffic::tcp(&stranger, asked).ok().map(|a| a.name));
        let names: std::collections::BTreeSet<_> = names.collect();
        let name = names.first().cloned().flatten()?;
        (names.len() == 1 && name != "two").then_some(())
    });
    assert!(same.is_some(), "the same one each time");
    drop(well);
    stage.end();
}

fn datagrams_are_led_so_and_by_whichever_network_leads_out(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--ipv6", "shop");
    let stranger = dual_stack(&stage);
    serve(&stage, "", "published=8080,target=1053,protocol=udp");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::udp(host, name, "[::]:1053"));
    alike(&stage, "web", 2);
    let client = |to: &str| {
        let answer = traffic::udp(&stranger, to).expect("reachable");
        answer.seen.ip().to_canonical().to_string()
    };
    for (to, known) in at("a").iter().zip([CLIENT, CLIENT6]) {
        answer_by(traffic::udp, &stranger, to, &["one"]);
        assert_eq!(client(to), known);
    }
    answer_by(traffic::udp, &stranger, &at("c")[0], &["one", "two"]);
    assert!(traffic::tcp(&stranger, &at("a")[0]).is_err(), "UDP alone");
    // One with a way out of its own is reached there, and over IPv6 by translation.
    stage.docker("a", "network create blue");
    stage.docker("a", "network connect blue one");
    answer_by(traffic::udp, &stranger, &at("a")[0], &["one"]);
    assert_eq!(client(&at("a")[0]), CLIENT);
    answer_by(traffic::udp, &stranger, &at("a")[1], &["one"]);
    assert_eq!(client(&at("a")[1]), "192.0.0.6");
    stage.docker("a", "network disconnect blue one");
    for (to, known) in at("a").iter().zip([CLIENT, CLIENT6]) {
        answer_by(traffic::udp, &stranger, to, &["one"]);
        assert_eq!(client(to), known);
    }
    stage.docker("a", "network rm blue");
    stage.end();
}
