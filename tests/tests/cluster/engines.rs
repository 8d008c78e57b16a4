//! Containers of other engines on networks over several hosts, and in services there.

use crate::{
    over_one_store,
    services::{addresses, alike, answer},
    stage::{Kind, SOON, Stage},
};
use vw_testkit::{
    Host,
    engines::{Dockerd, Podman, inside},
    eventually, traffic,
};

over_one_store! {
    a_container_of_podman_is_on_networks_over_hosts,
    a_container_of_docker_is_on_networks_over_hosts_beside_its_drop_policy,
}

/// Networks of both kinds, on both hosts, and the port that a service of each publishes.
const NETWORKS: [(&str, &str, u16); 2] = [("shop", "vxlan", 8081), ("lane", "route", 8082)];

/// Two hosts with a tunnelled and a routed network, each with a service, and on the second one a
/// container on each.
fn stage(kind: Kind) -> (Stage, [Host; 2]) {
    let stage = Stage::new(kind, &["a", "b"]);
    let peers = NETWORKS.map(|(network, mode, port)| {
        stage.docker(
            "a",
            &format!("network create -d overlay --ipv6 -o vethwork.overlay.mode={mode} {network}"),
        );
        eventually("the network is there", SOON, || stage.knows("b", network));
        stage.cli(
            "b",
            &format!("service create --name web-{network} --network {network} -p {port}:80"),
        );
        eventually("the service is known", SOON, || {
            stage
                .cli("a", "service ls")
                .contains(&format!("web-{network}"))
        });
        let name = format!("in-{network}");
        stage.start("b", &name, &format!("--network {network}"))
    });
    (stage, peers)
}

/// Whether a process of another engine on the first host, and a container on the second, find and
/// reach each other on a network.
#[track_caller]
fn meet(stage: &Stage, pid: u32, (theirs, peer): (&Host, &Host), network: &str) {
    stage.cli(
        "a",
        &format!(
            "adopt --pid {pid} --name theirs --network {network} --service web-{network} -p 8080:80"
        ),
    );
    for family in ["A", "AAAA"] {
        for (from, name) in [
            (theirs, format!("in-{network}")),
            (peer, "theirs".to_owned()),
        ] {
            eventually(&format!("{name} is reached on {network}"), SOON, || {
                let address = stage.resolve(from, &name, family);
                !address.is_empty() && traffic::ping(from, &address)
            });
        }
    }
    let address = stage.address("a", "theirs", network);
    let own = stage.address("b", &format!("in-{network}"), network);
    let seen = traffic::tcp(peer, &format!("{address}:80")).expect("it answers");
    assert_eq!(seen.seen.ip().to_canonical().to_string(), own);
    let published = format!("{}:8080", stage.addr("a"));
    eventually("its port is published", SOON, || {
        traffic::tcp(stage.host("b"), &published).is_ok()
    });
    balanced(stage, (theirs, peer), network);
    stage.cli("a", "release theirs");
    eventually("its name goes with it", SOON, || {
        stage.resolve(peer, "theirs", "A").is_empty()
    });
}

/// Whether both are led to a service of a network, of which one is an endpoint, by its address and
/// by its port on either host.
#[track_caller]
fn balanced(stage: &Stage, (theirs, peer): (&Host, &Host), network: &str) {
    let (name, end) = (format!("web-{network}"), format!("end-{network}"));
    let label = format!("--network {network} --label vethwork.service={name}");
    let inside = stage.start("b", &end, &label);
    let _server = traffic::Server::tcp(&inside, &end, "[::]:80");
    alike(stage, &name, 2);
    let both = [&*end, "theirs"];
    let vips = addresses(stage, "a", &name);
    let mut ways = vec![format!("{}:80", vips[0]), format!("[{}]:80", vips[1])];
    let (_, _, port) = NETWORKS
        .iter()
        .find(|(one, ..)| *one == network)
        .expect("it is one of them");
    ways.extend(["a", "b"].map(|host| format!("{}:{port}", stage.addr(host))));
    for way in &ways {
        for from in [theirs, peer] {
            answer(from, way, &both);
        }
    }
    stage.docker("b", &format!("rm -f {end}"));
}

fn a_container_of_podman_is_on_networks_over_hosts(kind: Kind) {
    vw_testkit::require_programs!("podman", "runc");
    let (stage, peers) = stage(kind);
    let podman = Podman::new(stage.lab(), stage.host("a"));
    let pid = podman.start("theirs");
    let theirs = inside(stage.lab(), "theirs", pid);
    let server = traffic::Server::tcp(&theirs, "theirs", "[::]:80");
    for ((network, ..), peer) in NETWORKS.iter().zip(&peers) {
        meet(&stage, pid, (&theirs, peer), network);
    }
    drop(server);
    podman.run(&["rm", "-f", "-t", "0", "theirs"]);
    drop(peers);
    stage.end();
}

fn a_container_of_docker_is_on_networks_over_hosts_beside_its_drop_policy(kind: Kind) {
    vw_testkit::require_programs!("dockerd", "iptables", "runc");
    let (stage, peers) = stage(kind);
    // As if Docker were first: it drops what is forwarded where it was who switched that on.
    stage
        .host("a")
        .sh("echo 0 > /proc/sys/net/ipv4/ip_forward")
        .must();
    let docker = Dockerd::start(stage.lab(), stage.host("a"));
    let policy = stage.host("a").sh("iptables -S FORWARD").ok();
    assert!(policy.contains("-P FORWARD DROP"), "{policy}");
    let bare = docker.run("run -d --net=none box sleep 1000");
    let pid = docker.pid(&bare);
    let theirs = inside(stage.lab(), "theirs", pid);
    let server = traffic::Server::tcp(&theirs, "theirs", "[::]:80");
    for ((network, ..), peer) in NETWORKS.iter().zip(&peers) {
        meet(&stage, pid, (&theirs, peer), network);
    }
    drop(server);
    docker.run(&format!("rm -f {bare}"));
    docker.stop();
    drop(peers);
    stage.end();
}
