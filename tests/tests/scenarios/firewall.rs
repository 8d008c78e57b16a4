//! What packets may and may not do between networks, hosts and the outside.

use crate::{
    require_stage,
    scene::{HOST, OUTSIDE, Scene},
};
use std::time::Duration;
use vw_testkit::{eventually, traffic};

#[test]
fn networks_are_isolated_and_what_is_unpublished_is_unreachable() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --ipv6 --subnet 10.9.0.0/24 --subnet fd00:9::/64 blue");
    scene.docker("network create --ipv6 --subnet 10.8.0.0/24 --subnet fd00:8::/64 green");
    let web = scene.start("web", "--network blue -p 8080:80");
    let other = scene.start("other", "--network green");
    let near = scene.start("near", "--network blue");
    let servers = [80, 81].map(|port| traffic::Server::tcp(&web, "web", &format!("[::]:{port}")));
    let (v4, v6) = (scene.address("web", "blue"), scene.address6("web", "blue"));
    for to in [format!("{v4}:80"), format!("{v4}:81"), format!("[{v6}]:81")] {
        assert!(traffic::tcp(&near, &to).is_ok(), "a neighbour to {to}");
        assert!(
            traffic::tcp(&other, &to).is_err(),
            "another network to {to}"
        );
    }
    assert!(!traffic::ping(&other, &v4) && !traffic::ping(&other, &v6));
    assert!(
        traffic::tcp(&other, &format!("{HOST}:8080")).is_ok(),
        "what is published is for all"
    );
    scene
        .outside
        .ip(&format!("route add 10.9.0.0/24 via {HOST}"));
    scene.outside.ip("route add fd00:9::/64 via 2001:db8::1");
    for to in [format!("{v4}:80"), format!("{v4}:81"), format!("[{v6}]:81")] {
        assert!(
            traffic::tcp(&scene.outside, &to).is_err(),
            "routed directly to {to}"
        );
    }
    assert!(!traffic::ping(&scene.outside, &v4));
    let wide = traffic::Server::tcp(&scene.outside, "wide", "[::]:0");
    let answer = traffic::tcp(&web, &format!("{OUTSIDE}:{}", wide.port())).expect("outbound");
    assert_eq!(
        answer.seen.ip().to_string(),
        format!("::ffff:{HOST}"),
        "masqueraded"
    );
    drop((servers, wide));
    scene.end();
}

#[test]
fn an_internal_network_has_no_way_out() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create --internal closed");
    let (one, _two) = (
        scene.start("one", "--network closed"),
        scene.start("two", "--network closed"),
    );
    assert!(traffic::ping(&one, &scene.address("two", "closed")));
    assert_eq!(one.ip("route show default"), "");
    assert!(!traffic::ping(&one, OUTSIDE));
    scene.end();
}

#[test]
fn the_rules_come_back_after_a_foreign_flush() {
    require_stage!();
    let scene = Scene::new();
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue -p 8080:80");
    let server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let to = format!("{HOST}:8080");
    assert!(traffic::tcp(&scene.outside, &to).is_ok());
    scene.host.run(["nft", "flush", "ruleset"]).must();
    eventually("the port is back", Duration::from_secs(10), || {
        traffic::tcp(&scene.outside, &to).is_ok()
    });
    scene.start("late", "--network blue -p 8081:80");
    drop(server);
    scene.end();
}

#[test]
fn the_administrators_chain_is_evaluated_first_and_never_touched() {
    require_stage!();
    let mut scene = Scene::new();
    let drop_rule = format!("add rule inet vethwork user ip saddr {OUTSIDE} tcp dport 80 drop");
    scene.host.run(["nft", &drop_rule]).must();
    scene.docker("network create blue");
    let web = scene.start("web", "--network blue -p 8080:80");
    let server = traffic::Server::tcp(&web, "web", "0.0.0.0:80");
    let to = format!("{HOST}:8080");
    assert!(
        traffic::tcp(&scene.outside, &to).is_err(),
        "the administrator's word"
    );
    let other = scene.start("other", "--network bridge");
    assert!(traffic::tcp(&other, &to).is_ok());
    scene.forget();
    let user = scene
        .host
        .run(["nft", "list", "chain", "inet", "vethwork", "user"])
        .ok();
    assert!(user.contains(OUTSIDE), "{user}");
    scene
        .host
        .run(["nft", "flush", "chain", "inet", "vethwork", "user"])
        .must();
    assert!(traffic::tcp(&scene.outside, &to).is_ok());
    drop(server);
    scene.end();
}
