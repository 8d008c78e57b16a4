//! Datagrams to a port that the hosts with endpoints publish themselves (`mode=host`): whom each
//! host leads them to, who they come from, and that a flow stays where it is until its endpoint
//! leaves.

use crate::{
    balancers::known,
    over_one_store,
    services::{addresses, alike, answer_by, network, who},
    stage::{Kind, SOON, Stage},
};
use std::{collections::BTreeMap, thread, time::Duration};
use vw_testkit::{Host, eventually, traffic};

over_one_store! {
    datagrams_are_led_by_the_hosts_with_endpoints_alone,
    a_flow_of_datagrams_stays_until_its_endpoint_leaves,
    a_flow_of_datagrams_ends_with_its_port,
}

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

const MEMBER: &str = "--network shop --label vethwork.service=web";

/// Flows of a client that together reach all of these, each by whom it is led to.
#[track_caller]
fn flows(from: &Host, to: &str, names: &[&str]) -> Vec<(traffic::Sender, String)> {
    let mut flows = Vec::new();
    let mut reached = BTreeMap::new();
    eventually("all are reached", SOON, || {
        let flow = traffic::Sender::open(from, to, PATIENCE).expect("a port");
        if let Ok(answer) = flow.ask() {
            *reached.entry(answer.name.clone()).or_insert(0) += 1;
            flows.push((flow, answer.name));
        }
        reached.keys().eq(names)
    });
    flows
}

/// Three hosts with a service whose port `mode=host` publishes, and its endpoints: `one` and `more`
/// on the first, `two` on the second.
fn stage(kind: Kind) -> (Stage, [Host; 3]) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "--ipv6", "shop");
    stage.cli(
        "a",
        "service create --name web --network shop --drain 3s -p published=8053,target=1053,protocol=udp,mode=host",
    );
    known(&stage, "b");
    let ends = [("a", "one"), ("a", "more"), ("b", "two")];
    let ends = ends.map(|(host, name)| stage.start(host, name, MEMBER));
    alike(&stage, "web", 3);
    (stage, ends)
}

fn server(host: &Host) -> traffic::Server {
    traffic::Server::udp(host, host.name(), "[::]:1053")
}

fn at(stage: &Stage, host: &str) -> String {
    format!("{}:8053", stage.addr(host))
}

fn datagrams_are_led_by_the_hosts_with_endpoints_alone(kind: Kind) {
    let (stage, ends) = stage(kind);
    let _servers = ends.each_ref().map(server);
    let stranger = stage.stranger();
    let [a, b, c] = ["a", "b", "c"].map(|host| at(&stage, host));
    answer_by(traffic::udp, &stranger, &a, &["more", "one"]);
    answer_by(traffic::udp, &stranger, &b, &["two"]);
    for localhost in ["127.0.0.1:8053", "[::1]:8053"] {
        answer_by(traffic::udp, stage.host("a"), localhost, &["more", "one"]);
    }
    for to in [&a, &b] {
        let answer = traffic::udp(&stranger, to).expect("reachable");
        let seen = answer.seen.ip().to_canonical().to_string();
        assert_eq!(seen, "192.0.2.66", "the client's address");
        assert!(traffic::tcp(&stranger, to).is_err(), "only UDP is led on");
    }
    assert!(traffic::udp(&stranger, &c).is_err(), "c runs none of them");
    // A client is led to one of them, each time from another port.
    stage.cli("b", "service update --affinity client web");
    eventually("a client has one endpoint", SOON, || {
        who(traffic::udp, &stranger, &a).len() == 1
    });
    stage.cli("b", "service update --affinity none web");
    answer_by(traffic::udp, &stranger, &a, &["more", "one"]);
    // The last one of a host takes the port along.
    stage.docker("b", "stop -t 1 two");
    eventually("b publishes no more", SOON, || {
        traffic::udp(&stranger, &b).is_err()
    });
    stage.end();
}

fn a_flow_of_datagrams_stays_until_its_endpoint_leaves(kind: Kind) {
    let (mut stage, ends) = stage(kind);
    let _servers = ends.each_ref().map(server);
    let stranger = stage.stranger();
    let a = at(&stage, "a");
    let flows = flows(&stranger, &a, &["more", "one"]);
    let late = stage.start("a", "late", MEMBER);
    let _late = server(&late);
    answer_by(traffic::udp, &stranger, &a, &["late", "more", "one"]);
    for (flow, name) in &flows {
        let now = flow.ask().expect("it goes on whoever comes");
        assert_eq!(now.name, *name);
    }
    stage.forget("a");
    for (flow, name) in &flows {
        let now = flow.ask().expect("it goes on when the daemon comes back");
        assert_eq!(now.name, *name);
    }
    // No new flow is led to one that leaves, and its own go to others once it is gone.
    thread::scope(|scope| {
        let daemon = stage.daemon("a");
        let stop = scope.spawn(|| daemon.docker(["stop", "-t", "1", "one"]).must());
        answer_by(traffic::udp, &stranger, &a, &["late", "more"]);
        stop.join().expect("it stops");
    });
    for (flow, name) in &flows {
        let now = vw_testkit::poll(SOON, || flow.ask().ok());
        let now = now.map(|answer| answer.name);
        match name.as_str() {
            "one" => assert!(now.is_some_and(|now| ["late", "more"].contains(&&*now))),
            stays => assert_eq!(now.as_deref(), Some(stays)),
        }
    }
    stage.end();
}

fn a_flow_of_datagrams_ends_with_its_port(kind: Kind) {
    let (stage, ends) = stage(kind);
    let _servers = ends.each_ref().map(server);
    let _next = ends
        .each_ref()
        .map(|end| traffic::Server::udp(end, "next", "[::]:1054"));
    let near = stage.start("c", "near", "--network shop");
    let stranger = stage.stranger();
    stage.cli("c", "service update --publish-add 1055:1053/udp web");
    let flow = |from: &Host, to: String| {
        let flow = traffic::Sender::open(from, &to, Duration::from_millis(500)).expect("a port");
        eventually("it is led", SOON, || {
            flow.ask().is_ok_and(|answer| answer.name != "next")
        });
        flow
    };
    let vip = format!("{}:1055", addresses(&stage, "a", "web")[0]);
    let _beside = ends
        .each_ref()
        .map(|end| traffic::Server::udp(end, end.name(), "[::]:1055"));
    let beside: Vec<_> = (0..4).map(|_| flow(&near, vip.clone())).collect();
    let whose = || {
        let name = |flow: &traffic::Sender| flow.ask().expect("it is led").name;
        beside.iter().map(name).collect::<Vec<_>>()
    };
    let before = whose();
    // By the host without an endpoint, by one that has one, and what it publishes for its own.
    let flows = ["a", "c"].map(|host| flow(&stranger, format!("{}:1055", stage.addr(host))));
    let own = flow(&stranger, at(&stage, "b"));
    stage.cli("c", "service update --publish-rm 1053/udp web");
    for flow in flows.iter().chain([&own]) {
        eventually("it is refused", SOON, || flow.ask().is_err());
    }
    assert_eq!(whose(), before);
    stage.cli("c", "service update --publish-add 1055:1053/udp web");
    for flow in &flows {
        eventually("it is led again", SOON, || flow.ask().is_ok());
    }
    stage.cli(
        "c",
        "service update --publish-rm 1053/udp --publish-add 1055:1054/udp web",
    );
    for flow in &flows {
        eventually("it is led to the other port", SOON, || {
            flow.ask().is_ok_and(|answer| answer.name == "next")
        });
    }
    assert_eq!(whose(), before);
    stage.end();
}
