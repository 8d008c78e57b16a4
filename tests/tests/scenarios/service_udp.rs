//! Services over UDP, asked by who keeps sending from one port.

use crate::{
    require_stage,
    scene::{HOST, HOST6, Scene},
    services::{addresses, endpoints},
};
use std::time::Duration;
use vw_testkit::{
    Host, eventually,
    traffic::{Sender, Server},
};

const SOON: Duration = Duration::from_secs(10);

/// Less than a connection over UDP that is not answered lives (30 s).
const PATIENCE: Duration = Duration::from_millis(200);

#[track_caller]
fn sender(from: &Host, to: &str) -> Sender {
    Sender::open(from, to, PATIENCE).expect("a socket")
}

/// Waits until one who keeps sending is answered by this one.
#[track_caller]
fn led(sender: &Sender, name: &str) {
    eventually("it is led", SOON, || {
        sender.ask().is_ok_and(|answer| answer.name == name)
    });
}

#[test]
fn one_who_keeps_sending_is_led_once_somebody_serves() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    let senders = [
        format!("{HOST}:8053"),
        format!("[{HOST6}]:8053"),
        format!("{HOST}:8054"),
    ];
    let mut senders = Vec::from(senders.map(|to| sender(&scene.outside, &to)));
    senders.push(sender(&scene.host, "127.0.0.1:8053"));
    for sender in &senders {
        sender.ask().expect_err("nobody is there");
    }
    scene.cli(&format!(
        "service create --name dns --network blue -p 8053:53/udp -p {HOST}:8054:53/udp --drain 0s"
    ));
    for sender in &senders {
        sender.ask().expect_err("nobody serves");
    }
    let member = "--network blue --label vethwork.service=dns";
    let one = scene.start("one", member);
    let server = Server::udp(&one, "one", "[::]:53");
    senders.iter().for_each(|sender| led(sender, "one"));
    // The only one is away for a while.
    drop(server);
    scene.docker("rm -f one");
    for sender in &senders {
        eventually("it is refused", SOON, || sender.ask().is_err());
    }
    let two = scene.start("two", member);
    let _two = Server::udp(&two, "two", "[::]:53");
    senders.iter().for_each(|sender| led(sender, "two"));
    scene.end();
}

#[test]
fn one_who_keeps_sending_leaves_who_is_sick_and_a_service_that_is_gone() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    scene.cli("service create --name dns --network blue -p 8053:53/udp --health tcp:81 --health-interval 100ms --health-retries 1");
    let near = scene.start("near", "--network blue");
    let vip = format!("{}:53", addresses(&scene, "dns")[0]);
    let senders = [
        sender(&scene.outside, &format!("{HOST}:8053")),
        sender(&near, &vip),
    ];
    let member = "--network blue --label vethwork.service=dns";
    let start = |name: &str| {
        let host = scene.start(name, member);
        let check = Server::tcp(&host, name, "0.0.0.0:81");
        (Server::udp(&host, name, "0.0.0.0:53"), check)
    };
    let (_one, well) = start("one");
    senders.iter().for_each(|sender| led(sender, "one"));
    let _two = start("two");
    let are = |wanted: [&str; 2]| {
        eventually("they are", SOON, || endpoints(&scene, "dns") == wanted);
    };
    are(["one healthy true", "two healthy true"]);
    senders.iter().for_each(|sender| led(sender, "one"));
    drop(well);
    are(["one unhealthy false", "two healthy true"]);
    senders.iter().for_each(|sender| led(sender, "two"));
    scene.cli("service rm dns");
    for sender in &senders {
        eventually("nobody leads there", SOON, || sender.ask().is_err());
    }
    scene.end();
}

#[test]
fn one_who_keeps_sending_is_led_to_a_container_that_comes() {
    require_stage!();
    let scene = Scene::new();
    let sender = sender(&scene.outside, &format!("{HOST}:8053"));
    sender.ask().expect_err("nobody is there");
    let one = scene.start("one", "-p 8053:53/udp");
    let _one = Server::udp(&one, "one", "0.0.0.0:53");
    led(&sender, "one");
    scene.end();
}

#[test]
fn one_who_keeps_sending_leaves_a_port_that_is_published_no_more() {
    require_stage!();
    let mut scene = Scene::new();
    scene.docker("network create --ipv6 blue");
    scene.docker("network create --ipv6 aside");
    scene.cli("service create --name dns --network blue -p 1053:1053/udp");
    let member = "--network blue --label vethwork.service=dns";
    let ends = ["one", "two"].map(|name| scene.start(name, member));
    // The port leads to one of them by another network than the service's.
    scene.docker("network connect aside two");
    let server = |(end, name, port): (usize, &str, u16)| {
        Server::udp(&ends[end], name, &format!("[::]:{port}"))
    };
    let _servers = [
        (0, "one", 1053),
        (1, "two", 1053),
        (0, "next", 1054),
        (1, "next", 1054),
    ]
    .map(server);
    let near = scene.start("near", "--network blue");
    let vip = format!("{}:1053", addresses(&scene, "dns")[0]);
    let beside: Vec<Sender> = (0..4).map(|_| sender(&near, &vip)).collect();
    let whose = || {
        let name = |sender: &Sender| sender.ask().expect("it is led").name;
        beside.iter().map(name).collect::<Vec<_>>()
    };
    let before = whose();
    let mut senders = vec![sender(&scene.host, "127.0.0.1:1053")];
    for to in [format!("{HOST}:1053"), format!("[{HOST6}]:1053")] {
        senders.extend((0..4).map(|_| sender(&scene.outside, &to)));
    }
    let all = |what, holds: fn(Option<&str>) -> bool| {
        for sender in &senders {
            eventually(what, SOON, || {
                let answer = sender.ask().ok();
                holds(answer.as_ref().map(|answer| answer.name.as_str()))
            });
        }
    };
    all("it is led", |name| matches!(name, Some("one" | "two")));
    // It is forgotten who was led there, also where the daemon ends before it does so.
    scene.die_at("service.led", "service update --publish-rm 1053/udp dns");
    all("it is refused", |name| name.is_none());
    // The same number at the service's own address is another thing.
    assert_eq!(whose(), before);
    scene.cli("service update --publish-add 1053:1053/udp dns");
    all("it is led again", |name| {
        matches!(name, Some("one" | "two"))
    });
    scene.cli("service update --publish-rm 1053/udp --publish-add 1053:1054/udp dns");
    all("it is led to the other port", |name| name == Some("next"));
    assert_eq!(whose(), before);
    scene.end();
}
