//! Associations of SCTP to services over several hosts.

use crate::{
    balancers::known,
    over_one_store,
    services::{addresses, alike, network},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{
    Host, eventually,
    traffic::sctp::{Server, opens},
};

over_one_store! {
    associations_are_led_on_from_every_host,
}

#[track_caller]
fn reached(from: &Host, to: &str) {
    let what = format!("{to} is reached from {}", from.name());
    eventually(&what, SOON, || matches!(opens(from, to), Ok(true)));
}

#[track_caller]
fn refused(from: &Host, to: &str) {
    let what = format!("{to} is not reached from {}", from.name());
    eventually(&what, SOON, || !matches!(opens(from, to), Ok(true)));
}

fn associations_are_led_on_from_every_host(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "--ipv6", "shop");
    stage.cli(
        "a",
        "service create --name web --network shop --drain 0s -p 7000:80/sctp -p published=7001,target=80,protocol=sctp,mode=host",
    );
    known(&stage, "b");
    let near = stage.start("a", "near", "--network shop");
    let stranger = stage.stranger();
    let [a, b] = ["a", "b"].map(|host| stage.addr(host));
    refused(&stranger, &format!("{a}:7000"));
    let one = stage.start("b", "one", "--network shop --label vethwork.service=web");
    alike(&stage, "web", 1);
    let server = Server::start(&one, 80);
    let vips = addresses(&stage, "a", "web");
    for to in [format!("{}:80", vips[0]), format!("[{}]:80", vips[1])] {
        reached(&near, &to);
        reached(&one, &to);
    }
    // By either host, past the one that has none, and from the hosts themselves.
    for (from, to) in [
        (&stranger, format!("{a}:7000")),
        (&stranger, format!("{b}:7000")),
        (&stranger, format!("{b}:7001")),
        (stage.host("a"), "127.0.0.1:7000".to_owned()),
        (stage.host("a"), "[::1]:7000".to_owned()),
        (stage.host("b"), format!("{a}:7000")),
        (&near, format!("{a}:7000")),
    ] {
        reached(from, &to);
    }
    refused(&stranger, &format!("{a}:7001"));
    stage.docker("b", "stop -t 0 one");
    for to in [format!("{a}:7000"), format!("{b}:7001")] {
        refused(&stranger, &to);
    }
    drop(server);
    stage.end();
}
