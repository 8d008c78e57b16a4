//! Services over several hosts that nobody serves yet, made where what leads to another stands
//! already: who asks is refused at once, and led as soon as somebody comes.

use crate::{
    balancers::known,
    over_one_store,
    services::{addresses, alike, network},
    stage::{Kind, SOON, Stage},
};
use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};
use vw_testkit::{Host, eventually, traffic};

over_one_store! {
    a_second_service_without_endpoints_refuses_at_once_on_every_host,
    the_first_connection_to_the_first_endpoint_waits_for_nothing,
}

/// Less than the second after which a neighbour is asked for again, and a connection once more.
const AT_ONCE: Duration = Duration::from_millis(800);

/// Two hosts that lead to the service `web` of the network `shop`, with a client each.
#[track_caller]
fn led(kind: Kind) -> (Stage, [Host; 2]) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "--ipv6", "shop");
    stage.cli("a", "service create --name web --network shop");
    known(&stage, "b");
    let clients =
        ["a", "b"].map(|host| stage.start(host, &format!("near-{host}"), "--network shop"));
    let to = format!("{}:80", addresses(&stage, "a", "web")[0]);
    for from in &clients {
        refused(from, &to);
    }
    (stage, clients)
}

/// Waits until both hosts know a service.
#[track_caller]
fn made(stage: &Stage, name: &str, options: &str) {
    stage.cli(
        "a",
        &format!("service create --name {name} --network shop {options}"),
    );
    eventually("b knows the service", SOON, || knows(stage, "b", name));
}

/// Whether a host lists a service; an identifier may hold a name as well.
fn knows(stage: &Stage, host: &str, name: &str) -> bool {
    let names = stage.cli(host, "service ls --format {{.Name}}");
    names.lines().any(|known| known == name)
}

/// Fails the test unless who asks there is told at once that nobody serves.
#[track_caller]
fn refused(from: &Host, to: &str) {
    for ask in [traffic::tcp, traffic::udp] {
        let begun = Instant::now();
        let error = ask(from, to).expect_err("nobody serves");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}: {error}");
        let took = begun.elapsed();
        assert!(took < AT_ONCE, "from {} to {to}: {took:?}", from.name());
    }
}

fn a_second_service_without_endpoints_refuses_at_once_on_every_host(kind: Kind) {
    let (mut stage, clients) = led(kind);
    made(&stage, "db", "--health tcp:80");
    let all = addresses(&stage, "a", "db");
    assert_eq!(all.len(), 2, "{all:?}");
    let ends = [format!("{}:80", all[0]), format!("[{}]:80", all[1])];
    for from in &clients {
        ends.iter().for_each(|to| refused(from, to));
    }
    // Nothing of it comes with a start alone.
    for host in ["a", "b"] {
        stage.forget(host);
    }
    for from in &clients {
        ends.iter().for_each(|to| refused(from, to));
    }
    stage.end();
}

fn the_first_connection_to_the_first_endpoint_waits_for_nothing(kind: Kind) {
    let (stage, clients) = led(kind);
    for round in 0..4 {
        made(&stage, "db", "");
        let to = format!("{}:80", addresses(&stage, "a", "db")[0]);
        // Who asked before has the address in mind, or not.
        if round % 2 == 0 {
            clients.iter().for_each(|from| refused(from, &to));
        }
        let member = "--network shop --label vethwork.service=db";
        let one = stage.start("a", "one", member);
        let server = traffic::Server::tcp(&one, "one", "0.0.0.0:80");
        alike(&stage, "db", 1);
        for from in clients.iter().rev() {
            let begun = Instant::now();
            let answer = traffic::tcp(from, &to).expect("it serves");
            let took = begun.elapsed();
            assert_eq!(answer.name, "one");
            assert!(took < AT_ONCE, "from {}: {took:?}", from.name());
        }
        drop(server);
        stage.docker("a", "rm -f one");
        stage.cli("b", "service rm db");
        eventually("a knows it no more", SOON, || !knows(&stage, "a", "db"));
    }
    stage.end();
}
