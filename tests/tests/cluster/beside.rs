//! Services over several hosts where others' rules would stop their packets: beside Docker Engine,
//! which drops what is forwarded, and with strict reverse path filters.

use crate::{
    over_one_store,
    prefer::{CLIENT, CLIENT6, at_port, dual_stack, seen},
    services::{addresses, alike, answer, network},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{engines::Dockerd, eventually, traffic};

over_one_store! {
    a_service_is_reached_past_others_drop_policies_and_strict_filters,
    a_service_of_a_routed_network_is_too,
}

const HOSTS: [&str; 3] = ["a", "b", "c"];
const MEMBER: &str = "--network shop --label vethwork.service=web";
/// Published on every host, on those with endpoints alone, and on every host for its own first.
const PORTS: &str =
    "-p 8080:80 -p published=8081,target=80,mode=host -p published=8082,target=80,prefer=local";

/// Has the kernel take a packet only from where its answer would go, by IPv4: IPv6 has no such
/// switch.
fn be_strict(stage: &Stage) {
    let strict =
        "for one in all default; do echo 1 > /proc/sys/net/ipv4/conf/$one/rp_filter || exit; done";
    for host in HOSTS {
        stage.host(host).sh(strict).must();
    }
}

/// The same in all that vethwork made: a namespace begins with what the machine's first one has.
fn be_strict_inside(stage: &Stage) {
    for host in HOSTS {
        let netns = stage.daemon(host).exec_root().join("netns");
        let strict = "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter";
        let line = format!(
            "for net in {}/*; do nsenter --net=$net sh -c '{strict}' || exit; done",
            netns.display()
        );
        stage.host(host).sh(&line).must();
    }
}

/// An engine on every host, and what is forwarded there is dropped by default.
fn engines(stage: &Stage) -> Vec<Dockerd> {
    let started = HOSTS.map(|host| {
        let host = stage.host(host);
        let docker = Dockerd::start(stage.lab(), host);
        host.sh("iptables -P FORWARD DROP && ip6tables -P FORWARD DROP")
            .must();
        docker
    });
    started.into()
}

/// By every way that a service is reached, from everywhere.
#[track_caller]
fn served(stage: &mut Stage, options: &str) {
    network(stage, options, "shop");
    let stranger = dual_stack(stage);
    stage.cli(
        "a",
        &format!("service create --name web --network shop {PORTS}"),
    );
    for host in ["b", "c"] {
        eventually("the service is known", SOON, || {
            stage.cli(host, "service ls").contains("web")
        });
    }
    let one = stage.start("a", "one", MEMBER);
    let two = stage.start("b", "two", MEMBER);
    let near = stage.start("c", "near", "--network shop");
    let beside = stage.start("a", "beside", "");
    let _servers = [("one", &one), ("two", &two)]
        .map(|(name, host)| traffic::Server::tcp(host, name, "[::]:80"));
    alike(stage, "web", 2);
    let both = ["one", "two"];
    answer(&stranger, &at_port("c", 8080)[0], &both);
    be_strict_inside(stage);
    let vips = addresses(stage, "c", "web");
    for from in [&near, &one, &two] {
        answer(from, &format!("{}:80", vips[0]), &both);
        answer(from, &format!("[{}]:80", vips[1]), &both);
    }
    for host in HOSTS {
        let own: &[&str] = match host {
            "a" => &["one"],
            "b" => &["two"],
            _ => &both,
        };
        for (port, names) in [(8080, &both[..]), (8081, own), (8082, own)] {
            if (host, port) == ("c", 8081) {
                continue;
            }
            let local = format!("127.0.0.1:{port}");
            answer(stage.host(host), &local, names);
            for (to, client) in at_port(host, port).iter().zip([CLIENT, CLIENT6]) {
                answer(&stranger, to, names);
                let kept = seen(&stranger, to) == client;
                assert_eq!(kept, names.len() == 1, "{to}: the client's address");
                answer(stage.host(host), to, names);
            }
            for from in [&near, &beside] {
                answer(from, &at_port(host, port)[0], names);
            }
        }
    }
    drop(stranger);
    for host in HOSTS {
        stage.forget(host);
    }
}

fn a_service_is_reached_past_others_drop_policies_and_strict_filters(kind: Kind) {
    beside(kind, "--ipv6");
}

fn a_service_of_a_routed_network_is_too(kind: Kind) {
    beside(kind, "--ipv6 -o vethwork.overlay.mode=route");
}

#[track_caller]
fn beside(kind: Kind, options: &str) {
    vw_testkit::require_programs!("dockerd", "iptables", "ip6tables");
    let mut stage = Stage::new(kind, &HOSTS);
    let engines = engines(&stage);
    be_strict(&stage);
    served(&mut stage, options);
    engines.into_iter().for_each(Dockerd::stop);
    stage.end();
}
