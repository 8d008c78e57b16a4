//! How services over hosts share connections out on whichever host they are asked: to who answers
//! HTTP well, by client, by weight; and that what leads there is no router.

use crate::{
    balancers::known,
    over_one_store,
    services::{addresses, alike, answer, network},
    stage::{Kind, Stage},
};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};
use vw_testkit::{Host, eventually, traffic};

over_one_store! {
    connections_are_shared_out_by_health_by_client_and_by_weight,
    an_internal_network_has_services_for_its_own,
}

const MEMBER: &str = "--network shop --label vethwork.service=web";

/// Who is met from a host, asked so often.
#[track_caller]
fn met(from: &Host, to: &str, times: usize) -> Vec<String> {
    let ask = |_| traffic::tcp(from, to).expect("reachable").name;
    (0..times).map(ask).collect()
}

fn connections_are_shared_out_by_health_by_client_and_by_weight(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    network(&stage, "", "shop");
    let create = "service create --name web --network shop -p 8080:80 --affinity client --drain 0s \
                  --health http:81/ready --health-interval 200ms --health-retries 1";
    stage.cli("a", create);
    for host in ["b", "c"] {
        known(&stage, host);
    }
    let one = stage.start("a", "one", MEMBER);
    let heavy = format!("{MEMBER} --label vethwork.weight=3");
    let two = stage.start("b", "two", &heavy);
    let near = stage.start("c", "near", "--network shop");
    let ends = [("one", &one), ("two", &two)];
    let _servers = ends.map(|(name, host)| traffic::Server::tcp(host, name, "0.0.0.0:80"));
    let states = [503, 200].map(|status| Arc::new(AtomicU16::new(status)));
    let _checked: Vec<_> = (ends.iter().zip(&states))
        .map(|((name, host), status)| {
            traffic::Server::http(host, name, "0.0.0.0:81", "/ready", status)
        })
        .collect();
    let vip = format!("{}:80", addresses(&stage, "c", "web")[0]);
    let outside = format!("{}:8080", stage.addr("c"));
    let stranger = stage.stranger();
    alike(&stage, "web", 1);
    for (from, to) in [(&near, &vip), (&stranger, &outside)] {
        answer(from, to, &["two"]);
    }
    states[0].store(200, Ordering::Relaxed);
    alike(&stage, "web", 2);
    by_client(&stage, &near, &vip, &stranger, &outside);
    stage.cli("b", "service update --affinity none web");
    for (from, to) in [(&near, &vip), (&stranger, &outside)] {
        answer(from, to, &["one", "two"]);
        let names = met(from, to, 1000);
        let heavier = names.iter().filter(|name| *name == "two").count();
        // 750, give or take six standard deviations.
        assert!((668..=832).contains(&heavier), "{heavier} of 1000 at {to}");
    }
    states[1].store(503, Ordering::Relaxed);
    alike(&stage, "web", 1);
    for (from, to) in [(&near, &vip), (&stranger, &outside)] {
        answer(from, to, &["one"]);
    }
    routes_nothing(&stage, &near);
    stage.end();
}

/// Each client is led to one endpoint always, and not all are to the same.
#[track_caller]
fn by_client(stage: &Stage, near: &Host, vip: &str, stranger: &Host, outside: &str) {
    let always_one = |from: &Host, to: &str| {
        let met = BTreeSet::from_iter(met(from, to, 16));
        assert_eq!(met.len(), 1, "{met:?}");
        met
    };
    eventually("both are led to on c", crate::stage::SOON, || {
        stage.cli("c", "service ls").contains("2/2")
    });
    always_one(near, vip);
    let c = stage.addr("c");
    let mut all = BTreeSet::new();
    for client in 101..133 {
        stranger.ip(&format!("addr add 192.0.2.{client}/32 dev wire"));
        stranger.ip(&format!("route replace {c} dev wire src 192.0.2.{client}"));
        all.append(&mut always_one(stranger, outside));
    }
    assert_eq!(all.len(), 2, "{all:?}");
    stranger.ip(&format!("route del {c}"));
    // Containers of a host come by its address: to a published port they are one client.
    let many = stage.start("c", "many", "");
    let own = stage.address("c", "many", "bridge");
    let (start, _) = own.rsplit_once('.').expect("an address");
    let mut all = BTreeSet::new();
    for container in 101..133 {
        many.ip(&format!("addr add {start}.{container}/32 dev eth0"));
        let by = format!("via {start}.1 dev eth0 src {start}.{container}");
        many.ip(&format!("route replace default {by}"));
        all.append(&mut always_one(&many, outside));
    }
    assert_eq!(all.len(), 1, "{all:?}");
}

/// What a container sends by way of the sandbox that leads to services, which has a way out, comes
/// there and no further.
#[track_caller]
fn routes_nothing(stage: &Stage, near: &Host) {
    let netns = stage.daemon("c").exec_root().join("netns");
    let find = format!(
        "for net in {}/*; do nsenter --net=$net nft list table inet vethwork_services >/dev/null 2>&1 && echo $net || true; done",
        netns.display()
    );
    let found = stage.host("c").sh(&find).ok();
    let leads = stage.lab().at("leads", Path::new(&found));
    let own = stage.address("c", "near", "shop");
    let way = leads.ip(&format!("route get {own}"));
    let mut words = way.split_whitespace().skip_while(|word| *word != "src");
    let gateway = words.nth(1).expect("an address of its own");
    let rules = "add table inet watch; \
        add chain inet watch came { type filter hook prerouting priority -400; }; \
        add rule inet watch came ip daddr 192.0.2.66 counter; \
        add chain inet watch went { type filter hook postrouting priority 400; }; \
        add rule inet watch went ip daddr 192.0.2.66 counter";
    leads.run(["nft", rules]).must();
    assert!(traffic::ping(near, "192.0.2.66"), "its own way out");
    near.ip(&format!("route add 192.0.2.66 via {gateway}"));
    assert!(!traffic::ping(near, "192.0.2.66"));
    let counts = || -> Vec<u64> {
        let text = leads.run(["nft", "list", "table", "inet", "watch"]).ok();
        let counts = text.split("packets ").skip(1);
        let count = |after: &str| after.split(' ').next()?.parse().ok();
        counts.filter_map(count).collect()
    };
    let [came, went] = counts()[..] else {
        panic!("two counts");
    };
    assert!(came > 0, "it comes there");
    assert_eq!(went, 0, "and goes no further");
}

fn an_internal_network_has_services_for_its_own(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    network(&stage, "--internal", "shop");
    stage.cli("a", "service create --name web --network shop");
    known(&stage, "b");
    let ends = [("a", "one"), ("b", "two")];
    let ends = ends.map(|(host, name)| stage.start(host, name, MEMBER));
    let near = [("a", "near"), ("b", "far")];
    let near = near.map(|(host, name)| stage.start(host, name, "--network shop"));
    let _servers = ends
        .each_ref()
        .map(|end| traffic::Server::tcp(end, end.name(), "0.0.0.0:80"));
    alike(&stage, "web", 2);
    let vip = format!("{}:80", addresses(&stage, "b", "web")[0]);
    for from in near.iter().chain(&ends) {
        answer(from, &vip, &["one", "two"]);
    }
    // Those of other networks, and the hosts, are not its own.
    let other = stage.start("b", "other", "");
    for from in [&other, stage.host("a"), &stage.stranger()] {
        assert!(
            traffic::tcp(from, &vip).is_err(),
            "{} is let in",
            from.name()
        );
    }
    stage.end();
}
