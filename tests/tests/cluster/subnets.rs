//! Networks of several subnets a family, over several hosts.

use crate::{
    over_every_store, over_one_store,
    services::network,
    stage::{Kind, SOON, Stage},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use vw_testkit::{Host, eventually, traffic};

over_every_store! {
    addresses_are_given_out_of_the_range_and_none_that_is_kept,
}

over_one_store! {
    endpoints_of_several_subnets_are_one_network,
}

/// Two subnets of six addresses.
const SUBNETS: [&str; 2] = ["10.42.0.0/29", "10.42.1.0/29"];

/// Which of the subnets an address lies in.
fn subnet_of(address: &str) -> usize {
    let prefixes = ["10.42.0.", "10.42.1."];
    let found = prefixes.iter().position(|p| address.starts_with(p));
    found.unwrap_or_else(|| panic!("{address} is in no subnet of the network"))
}

fn endpoints_of_several_subnets_are_one_network(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b"]);
    let [first, second] = SUBNETS;
    stage.docker(
        "a",
        &format!("network create -d overlay --subnet {first} --subnet {second} shop"),
    );
    eventually("the network is there", SOON, || stage.knows("b", "shop"));
    // One for each subnet on each host.
    let mut met: BTreeMap<(&str, usize), (Host, String, String)> = BTreeMap::new();
    let mut given = BTreeSet::new();
    for number in 0..6 {
        for host in ["a", "b"] {
            let name = format!("{host}{number}");
            let inside = stage.start(host, &name, "--network shop");
            let address = stage.address(host, &name, "shop");
            assert!(given.insert(address.clone()), "{address} is given twice");
            let place = (host, subnet_of(&address));
            met.entry(place).or_insert((inside, name, address));
        }
    }
    assert_eq!(
        met.keys().copied().collect::<Vec<_>>(),
        [("a", 0), ("a", 1), ("b", 0), ("b", 1)],
        "either host has endpoints in either subnet: {given:?}"
    );
    let refused = stage.refused("a", "run -d --name late --network shop host sleep 9");
    assert!(refused.contains("no available IPv4 addresses"), "{refused}");
    for (from, (inside, own, _)) in &met {
        for (to, (_, name, address)) in &met {
            if own == name {
                continue;
            }
            eventually(&format!("{name} is known to {own}"), SOON, || {
                stage.resolve(inside, name, "A") == *address
            });
            assert!(
                traffic::ping(inside, address),
                "{own} at {from:?} does not reach {name} at {to:?}: {address}"
            );
        }
    }
    let seen = |host: &str| stage.api(host, "/networks/shop");
    eventually("it is the same on both hosts", SOON, || {
        let containers = seen("a")["Containers"].as_object().map(|all| all.len());
        seen("a") == seen("b") && containers == Some(given.len())
    });
    let pools = seen("b")["IPAM"]["Config"].clone();
    // Docker's command line gives them in any order.
    let subnets: BTreeSet<&str> = pools
        .as_array()
        .expect("pools")
        .iter()
        .filter_map(|pool| pool["Subnet"].as_str())
        .collect();
    assert_eq!(subnets, BTreeSet::from(SUBNETS));
    stage.end();
}

fn addresses_are_given_out_of_the_range_and_none_that_is_kept(kind: Kind) {
    let stage = Stage::new(kind, &["a", "b", "c"]);
    let pool = "--subnet 10.42.0.0/24 --ip-range 10.42.0.64/27 --gateway 10.42.0.65 \
                --aux-address printer=10.42.0.66";
    network(&stage, pool, "shop");
    let mut given = BTreeSet::new();
    for number in 0..3 {
        for host in ["a", "b", "c"] {
            let name = format!("{host}{number}");
            drop(stage.start(host, &name, "--network shop"));
            let address: Ipv4Addr = stage.address(host, &name, "shop").parse().unwrap();
            let [.., last] = address.octets();
            assert!((64..96).contains(&last), "{address}");
            assert!(![65, 66].contains(&last), "{address} is kept");
            assert!(given.insert(address), "{address} is given twice");
        }
    }
    for kept in ["10.42.0.65", "10.42.0.66"] {
        let run = format!("run --rm --network shop --ip {kept} host true");
        let refused = stage.refused("b", &run);
        assert!(refused.contains(kept), "{refused}");
    }
    // One that is asked for may lie outside the range.
    let far = stage.start("c", "far", "--network shop --ip 10.42.0.200");
    assert_eq!(stage.address("c", "far", "shop"), "10.42.0.200");
    let there = stage.address("a", "a0", "shop");
    eventually("it is reached", SOON, || traffic::ping(&far, &there));
    stage.end();
}
