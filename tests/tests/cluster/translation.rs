//! Services of a network without IPv6 whose ports are asked for over IPv6, at every host.

use crate::{
    balancers::{MEMBER, known},
    services::{alike, answer, network},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{Host, eventually, traffic};

/// The hosts, and an IPv6 address of each.
const HOSTS: [(&str, &str); 3] = [
    ("a", "2001:db8::1"),
    ("b", "2001:db8::2"),
    ("c", "2001:db8::3"),
];

#[track_caller]
fn all_answer(stage: &Stage, stranger: &Host) {
    let both = ["one", "two"];
    for (host, addr) in HOSTS {
        answer(stranger, &format!("[{addr}]:8080"), &both);
        answer(stage.host(host), "[::1]:8080", &both);
        let here = match host {
            "a" => &both[..1],
            "b" => &both[1..],
            _ => &both,
        };
        answer(stranger, &format!("[{addr}]:8082"), here);
    }
    answer(stranger, "[2001:db8::1]:8081", &both[..1]);
    answer(stranger, "[2001:db8::2]:8081", &both[1..]);
    answer(stranger, "[2001:db8::2]:8084", &both);
    answer(stranger, "192.0.2.1:8083", &both);
}

#[test]
fn a_port_of_a_network_without_ipv6_answers_over_ipv6_on_every_host() {
    crate::require_cluster!(Kind::Etcd);
    let mut stage = Stage::new(Kind::Etcd, &["a", "b", "c"]);
    let stranger = stage.stranger();
    stranger.ip("addr add 2001:db8::66/64 dev wire nodad");
    for (host, addr) in HOSTS {
        let own = format!("addr add {addr}/64 dev wire nodad");
        stage.host(host).ip(&own);
    }
    network(&stage, "", "shop");
    stage.cli(
        "a",
        "service create --name web --network shop -p 8080:80 \
         -p published=8081,target=80,mode=host -p published=8082,target=80,prefer=local \
         -p 0.0.0.0:8083:80 -p [2001:db8::2]:8084:80",
    );
    known(&stage, "b");
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(&stage, "web", 2);
    all_answer(&stage, &stranger);
    for to in [
        "[2001:db8::3]:8081",
        "[2001:db8::1]:8083",
        "[2001:db8::1]:8084",
    ] {
        assert!(traffic::tcp(&stranger, to).is_err(), "{to}");
    }
    assert!(!stage.cli("a", "service ls").contains("not on"));
    let refused = stage.refused("c", "run --rm -p [::1]:8080:80 host true");
    assert!(refused.contains("port is already allocated"), "{refused}");
    stage.forget("c");
    all_answer(&stage, &stranger);
    stage.cli("b", "service rm web");
    for (host, _) in HOSTS {
        let link = || stage.host(host).sh("ip link show vw_translator");
        eventually("nothing translates", SOON, || !link().success());
    }
    stage.end();
}
