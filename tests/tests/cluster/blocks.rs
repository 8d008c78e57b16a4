//! Addresses that lie in the block of another host: where there are fewer blocks than hosts, and over
//! a container's restart.

use crate::{
    services::network,
    stage::{Kind, LEASE, SOON, Stage},
};
use std::collections::BTreeSet;
use vw_testkit::{Host, eventually, traffic};

/// A container with its addresses of both families on the network `shop`.
struct Member {
    host: &'static str,
    name: String,
    inside: Host,
    addresses: [String; 2],
}

#[track_caller]
fn member(stage: &Stage, host: &'static str, number: usize) -> Member {
    let name = format!("{host}{number}");
    let inside = stage.start(host, &name, "--network shop");
    let found = stage.api(host, &format!("/containers/{name}/json"));
    let at = &found["NetworkSettings"]["Networks"]["shop"];
    let address = |key: &str| at[key].as_str().unwrap_or_default().to_owned();
    Member {
        host,
        name,
        inside,
        addresses: ["IPAddress", "GlobalIPv6Address"].map(address),
    }
}

/// That all reach each other, by address and by name.
#[track_caller]
fn all_meet(stage: &Stage, members: &[Member]) {
    for from in members {
        for to in members.iter().filter(|to| to.name != from.name) {
            for (address, family) in to.addresses.iter().zip(["A", "AAAA"]) {
                let what = format!("{} reaches {} at {address}", from.name, to.name);
                eventually(&what, SOON, || {
                    stage.resolve(&from.inside, &to.name, family) == *address
                        && traffic::ping(&from.inside, address)
                });
            }
        }
    }
}

#[test]
fn a_host_without_a_block_has_endpoints_as_the_others() {
    crate::require_cluster!(Kind::Etcd);
    let mut stage = Stage::new(Kind::Etcd, &["a", "b", "c"]);
    // Two blocks, of three addresses for endpoints each; of IPv6 one block is in the range.
    let pools = "--ipv6 --subnet 10.43.0.0/29 --subnet fd43::/64 --ip-range fd43:0:0:0:7::/80";
    network(&stage, pools, "shop");
    let mut members: Vec<Member> = Vec::new();
    for (host, number) in [("a", 0), ("b", 0), ("c", 0), ("c", 1), ("b", 1), ("c", 2)] {
        members.push(member(&stage, host, number));
    }
    let given: BTreeSet<&String> = members.iter().flat_map(|one| &one.addresses).collect();
    assert_eq!(given.len(), 2 * members.len(), "{given:?}");
    let within =
        |address: &String| address.starts_with("10.43.0.") || address.starts_with("fd43::7:");
    assert!(given.iter().all(|address| within(address)), "{given:?}");
    all_meet(&stage, &members);
    let refused = stage.refused("c", "run -d --name late --network shop host sleep 9");
    assert!(
        refused.contains("no available IPv4 addresses") && refused.contains("2 other hosts 2"),
        "{refused}"
    );
    stage.docker("c", "rm -f late");
    // What it had of another is had by others again.
    let gone = members.remove(2);
    stage.docker(gone.host, &format!("rm -f {}", gone.name));
    members.push(member(&stage, "a", 1));
    all_meet(&stage, &members);
    // Its daemon finds what it has.
    stage.forget("c");
    all_meet(&stage, &members);
    drop(members);
    stage.end();
}

#[test]
fn a_container_keeps_an_address_of_anothers_block_over_its_restart() {
    crate::require_cluster!(Kind::Etcd);
    let stage = Stage::new(Kind::Etcd, &["a", "b"]);
    network(&stage, "--subnet 10.44.0.0/24", "shop");
    let client = stage.start("a", "client", "--network shop");
    drop(stage.start("a", "former", "--network shop"));
    let address = stage.address("a", "former", "shop");
    stage.docker("a", "rm -f former");
    stage.docker(
        "b",
        &format!("run -d --name pinned --network shop --ip {address} host sleep 1000"),
    );
    let restart = || {
        stage.docker("b", "restart -t 0 pinned");
        assert_eq!(stage.address("b", "pinned", "shop"), address);
        eventually("it is reached", SOON, || traffic::ping(&client, &address));
    };
    (0..5).for_each(|_| restart());
    stage.pause_store();
    eventually("b has noticed that the store is away", LEASE, || {
        stage.api("b", "/vethwork/cluster")["Error"] != ""
    });
    stage.docker("b", "restart -t 0 pinned");
    stage.docker("b", "restart -t 0 pinned");
    assert_eq!(stage.address("b", "pinned", "shop"), address);
    stage.resume_store();
    eventually("it is reached", LEASE, || traffic::ping(&client, &address));
    restart();
    // It is its alone, and free when it is gone.
    let run = format!("run -d --name other --network shop --ip {address} host sleep 1000");
    let refused = stage.refused("a", &run);
    assert!(refused.contains("Address already in use"), "{refused}");
    stage.docker("a", "rm -f other");
    stage.docker("b", "rm -f pinned");
    eventually("it is free", SOON, || {
        let words = run.split_whitespace();
        let started = stage.daemon("a").docker(words).success();
        if !started {
            stage.docker("a", "rm -f other");
        }
        started
    });
    stage.end();
}
