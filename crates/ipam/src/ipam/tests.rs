//! What a network gets, what is refused, and that no address is ever held twice.

use super::{Ipam, NetworkRequest};
use crate::{
    DefaultPool, DefaultPools, Error, Holder, PoolConfig, PoolRequest, parse_configs,
    span::{address, family, number},
    ula_prefix,
};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};
use vw_model::{EndpointId, Family, IpNet, NetworkId, PoolSpec};

fn network(n: u8) -> NetworkId {
    NetworkId::from_bytes([n; 32])
}

fn endpoint(n: u8) -> Holder {
    Holder::Endpoint(EndpointId::from_bytes([n; 32]))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ipam() -> Ipam {
    let defaults = DefaultPools::new(&[], ula_prefix(b"host")).expect("no configured pools");
    Ipam::new(defaults)
}

/// `SUBNET [range=R] [gw=G] [NAME=ADDR …]`, or nothing for the default pools.
fn request(pools: &[&str]) -> NetworkRequest {
    let configs: Vec<_> = pools
        .iter()
        .map(|text| {
            let mut parts = text.split(' ');
            let mut config = PoolConfig {
                subnet: parts.next().expect("a subnet").to_owned(),
                ..PoolConfig::default()
            };
            for part in parts {
                match part.split_once('=').expect("KEY=VALUE") {
                    ("range", v) => config.ip_range = v.to_owned(),
                    ("gw", v) => config.gateway = v.to_owned(),
                    (name, v) => drop(config.aux.insert(name.to_owned(), v.to_owned())),
                }
            }
            config
        })
        .collect();
    NetworkRequest {
        ipv4: pools.is_empty() || pools.iter().any(|pool| pool.contains('.')),
        ipv6: pools.iter().any(|pool| pool.contains(':')),
        pools: parse_configs(&configs, |_| true).expect("good pools"),
        gateway: true,
    }
}

fn shown(specs: &[PoolSpec]) -> String {
    let show = |spec: &PoolSpec| match spec.gateway {
        Some(gateway) => format!("{} via {gateway}", spec.subnet),
        None => spec.subnet.to_string(),
    };
    specs.iter().map(show).collect::<Vec<_>>().join("\n")
}

fn chain(error: Error) -> String {
    vw_model::Error::from(error).chain()
}

fn check_add(pools: &[&str], expected: Expect) {
    let result = ipam().add_network(network(1), &request(pools), &[]);
    expected.assert_eq(&result.map_or_else(chain, |specs| shown(&specs)));
}

#[test]
fn the_gateway_is_the_first_free_address_of_the_range() {
    check_add(&["10.0.0.0/24"], expect!["10.0.0.0/24 via 10.0.0.1"]);
    check_add(
        &["10.0.0.0/24 gw=10.0.0.254"],
        expect!["10.0.0.0/24 via 10.0.0.254"],
    );
    check_add(
        &["10.0.0.0/16 range=10.0.1.0/24"],
        expect!["10.0.0.0/16 via 10.0.1.0"],
    );
    check_add(
        &["10.0.0.0/24 router=10.0.0.1"],
        expect!["10.0.0.0/24 via 10.0.0.2"],
    );
    check_add(
        &["10.0.0.0/24", "fd00::/64"],
        expect![[r#"
        10.0.0.0/24 via 10.0.0.1
        fd00::/64 via fd00::1"#]],
    );
}

#[test]
fn small_subnets_are_counted_as_docker_counts_them() {
    check_add(&["10.0.0.8/30"], expect!["10.0.0.8/30 via 10.0.0.9"]);
    check_add(&["10.0.0.8/31"], expect!["10.0.0.8/31 via 10.0.0.8"]);
    check_add(&["10.0.0.8/32"], expect!["10.0.0.8/32 via 10.0.0.8"]);
    check_add(&["fd00::8/127"], expect!["fd00::8/127 via fd00::9"]);
    check_add(
        &["fd00::8/128"],
        expect!["failed to allocate gateway (): no available addresses on this pool: fd00::8/128"],
    );
    check_add(
        &["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
        expect![
            "failed to allocate gateway (): no available addresses on this pool: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"
        ],
    );
    check_add(&["0.0.0.0/0"], expect!["0.0.0.0/0 via 0.0.0.1"]);
    check_add(&["::/0"], expect!["::/0 via ::1"]);
}

#[test]
fn named_addresses_that_cannot_be_had_are_refused() {
    check_add(
        &["10.0.0.0/24 gw=10.0.0.0"],
        expect![
            "failed to allocate gateway (10.0.0.0): Address already in use: 10.0.0.0 is the network or broadcast address of 10.0.0.0/24"
        ],
    );
    check_add(
        &["10.0.0.0/24 gw=10.0.0.255"],
        expect![
            "failed to allocate gateway (10.0.0.255): Address already in use: 10.0.0.255 is the network or broadcast address of 10.0.0.0/24"
        ],
    );
    check_add(
        &["10.0.0.0/24 gw=10.0.0.1 a=10.0.0.1"],
        expect![
            "failed to allocate secondary ip address (a:10.0.0.1): Address already in use: 10.0.0.1 is held by the gateway"
        ],
    );
    check_add(
        &["10.0.0.0/24 a=10.0.0.9 b=10.0.0.9"],
        expect![[
            r#"failed to allocate secondary ip address (b:10.0.0.9): Address already in use: 10.0.0.9 is held by auxiliary address "a""#
        ]],
    );
    check_add(
        &["10.0.0.0/24", "10.0.0.128/25"],
        expect![
            "invalid pool request: Pool overlaps with other one on this address space: 10.0.0.128/25 overlaps 10.0.0.0/24 of network 010101010101; choose another --subnet"
        ],
    );
}

#[test]
fn a_refused_network_leaves_nothing() {
    let mut ipam = ipam();
    let bad = request(&["10.0.0.0/24", "10.1.0.0/24 gw=10.1.0.0"]);
    assert!(ipam.add_network(network(1), &bad, &[]).is_err());
    assert!(ipam.subnets.is_empty() && ipam.networks.is_empty());
    let good = request(&["10.0.0.0/23"]);
    assert!(ipam.add_network(network(1), &good, &[]).is_ok());
}

#[test]
fn a_given_subnet_may_overlap_the_host_but_not_a_network() {
    let mut ipam = ipam();
    let host = [net("10.0.0.0/8")];
    ipam.add_network(network(1), &request(&["10.0.0.0/16"]), &host)
        .expect("the host's routes are no obstacle");
    for subnet in ["10.0.0.0/16", "10.0.0.0/8", "10.0.255.0/24"] {
        let refused = ipam.add_network(network(2), &request(&[subnet]), &[]);
        assert!(matches!(refused, Err(Error::Overlap { .. })), "{subnet}");
    }
    let error = ipam.add_network(network(2), &request(&["10.0.0.0/8"]), &[]);
    expect!["invalid pool request: Pool overlaps with other one on this address space: 10.0.0.0/8 overlaps 10.0.0.0/16 of network 010101010101; choose another --subnet"].assert_eq(&chain(error.expect_err("overlaps")));
    ipam.remove_network(network(1));
    ipam.add_network(network(2), &request(&["10.0.0.0/8"]), &[])
        .expect("freed by removal");
}

#[test]
fn default_subnets_keep_clear_of_ours_and_of_the_host() {
    let mut ipam = ipam();
    let foreign = [
        "172.18.5.9/32",
        "172.20.0.0/14",
        "172.16.0.0/15",
        "0.0.0.0/0",
    ]
    .map(net);
    ipam.add_network(network(0), &request(&["172.24.7.0/24"]), &[])
        .expect("free");
    let mut got = Vec::new();
    let refused = loop {
        let n = u8::try_from(got.len() + 1).expect("few");
        match ipam.add_network(network(n), &request(&[]), &foreign) {
            Ok(specs) => got.extend(specs),
            Err(error) => break error,
        }
    };
    expect![[r#"
        172.19.0.0/16 via 172.19.0.1
        172.25.0.0/16 via 172.25.0.1
        172.26.0.0/16 via 172.26.0.1
        172.27.0.0/16 via 172.27.0.1
        172.28.0.0/16 via 172.28.0.1
        172.29.0.0/16 via 172.29.0.1
        172.30.0.0/16 via 172.30.0.1
        172.31.0.0/16 via 172.31.0.1
        192.168.0.0/20 via 192.168.0.1
        192.168.16.0/20 via 192.168.16.1
        192.168.32.0/20 via 192.168.32.1
        192.168.48.0/20 via 192.168.48.1
        192.168.64.0/20 via 192.168.64.1
        192.168.80.0/20 via 192.168.80.1
        192.168.96.0/20 via 192.168.96.1
        192.168.112.0/20 via 192.168.112.1
        192.168.128.0/20 via 192.168.128.1
        192.168.144.0/20 via 192.168.144.1
        192.168.160.0/20 via 192.168.160.1
        192.168.176.0/20 via 192.168.176.1
        192.168.192.0/20 via 192.168.192.1
        192.168.208.0/20 via 192.168.208.1
        192.168.224.0/20 via 192.168.224.1
        192.168.240.0/20 via 192.168.240.1
        all predefined address pools have been fully subnetted: no IPv4 subnet is left; this host's route to, or use of, 172.20.0.0/14 covers the default pool 172.20.0.0/16; remove a network, give --subnet, or add to default-address-pools"#]].assert_eq(&format!("{}\n{}", shown(&got), chain(refused)));
    ipam.remove_network(network(3));
    let again = ipam
        .add_network(network(3), &request(&[]), &foreign)
        .expect("freed");
    assert_eq!(again[0].subnet, got[2].subnet);
}

#[test]
fn what_covers_a_default_pool_is_named() {
    let mut ipam = ipam();
    let routes = ["172.16.0.0/12", "192.168.0.0/16"].map(net);
    let refused = ipam.add_network(network(1), &request(&[]), &routes);
    let told = chain(refused.expect_err("none is left"));
    let covered = "this host's route to, or use of, 172.16.0.0/12 covers the default pool 172.17.0.0/16; remove a network, give --subnet,";
    assert!(told.contains(covered), "{told}");
}

#[test]
fn a_huge_default_pool_is_stepped_through_not_searched() {
    let pool = DefaultPool {
        base: net("fd00::/8"),
        size: 120,
    };
    let defaults = DefaultPools::new(&[pool], ula_prefix(b"host")).expect("good");
    let mut ipam = Ipam::new(defaults);
    let request = NetworkRequest {
        ipv4: false,
        ipv6: true,
        ..request(&[])
    };
    let half = [net("fd00::/9")];
    let specs = ipam
        .add_network(network(1), &request, &half)
        .expect("the other half");
    expect!["fd80::/120 via fd80::1"].assert_eq(&shown(&specs));
}

/// Asks for an address on network 1, whose subnets were given, or 2, whose was not.
fn check_request(n: u8, addr: &str, expected: Expect) {
    let mut ipam = ipam();
    let pools = [
        "10.0.0.0/16 range=10.0.1.0/24 router=10.0.0.7",
        "10.9.0.0/24",
    ];
    ipam.add_network(network(1), &request(&pools), &[])
        .expect("good");
    ipam.add_network(network(2), &request(&[]), &[])
        .expect("good");
    let result = ipam.allocate(network(n), Family::V4, Some(ip(addr)), endpoint(1));
    expected.assert_eq(&result.map_or_else(chain, |net| net.to_string()));
}

#[test]
fn any_free_address_of_a_given_subnet_may_be_requested() {
    check_request(1, "10.0.1.9", expect!["10.0.1.9/16"]);
    check_request(1, "10.0.77.1", expect!["10.0.77.1/16"]);
    check_request(1, "10.9.0.8", expect!["10.9.0.8/24"]);
}

#[test]
fn requested_addresses_that_cannot_be_had_are_refused() {
    check_request(
        1,
        "10.0.0.7",
        expect![[r#"Address already in use: 10.0.0.7 is held by auxiliary address "router""#]],
    );
    check_request(
        1,
        "10.0.1.0",
        expect!["Address already in use: 10.0.1.0 is held by the gateway"],
    );
    check_request(
        1,
        "10.0.0.0",
        expect![
            "Address already in use: 10.0.0.0 is the network or broadcast address of 10.0.0.0/16"
        ],
    );
    check_request(
        1,
        "10.0.255.255",
        expect![
            "Address already in use: 10.0.255.255 is the network or broadcast address of 10.0.0.0/16"
        ],
    );
    check_request(
        1,
        "10.1.2.3",
        expect!["no configured subnet or ip-range contain the IP address 10.1.2.3"],
    );
    check_request(
        1,
        "fd00::1",
        expect!["no configured subnet or ip-range contain the IP address fd00::1"],
    );
    check_request(
        2,
        "172.17.0.9",
        expect![
            "user specified IP address is supported only when connecting to networks with user configured subnets"
        ],
    );
    check_request(
        3,
        "172.17.0.9",
        expect!["network 030303030303 holds no address pools"],
    );
}

#[test]
fn a_family_without_a_subnet_has_no_addresses() {
    let mut ipam = ipam();
    ipam.add_network(network(1), &request(&[]), &[])
        .expect("good");
    let refused = ipam.allocate(network(1), Family::V6, None, endpoint(1));
    expect!["network 010101010101 has no IPv6 subnet"]
        .assert_eq(&chain(refused.expect_err("IPv4 only")));
}

#[test]
fn the_next_range_is_used_when_one_is_full() {
    let mut ipam = ipam();
    ipam.add_network(network(1), &request(&["10.0.0.0/30", "10.0.1.0/30"]), &[])
        .expect("good");
    let mut next = |n| ipam.allocate(network(1), Family::V4, None, endpoint(n));
    assert_eq!(next(1), Ok(net("10.0.0.2/30")));
    assert_eq!(next(2), Ok(net("10.0.1.2/30")));
    let full = next(3).expect_err("full");
    expect!["no available IPv4 addresses on this network's address pools: blue (0101010101010101010101010101010101010101010101010101010101010101)"].assert_eq(&full.for_network("blue").message);
}

#[test]
fn a_lease_is_freed_only_by_its_holder() {
    let mut ipam = ipam();
    ipam.add_network(network(1), &request(&["10.0.0.0/24"]), &[])
        .expect("good");
    let lease = ipam
        .allocate(network(1), Family::V4, None, endpoint(1))
        .expect("room");
    assert!(!ipam.release(network(1), lease.addr(), &endpoint(2)));
    assert!(!ipam.release(network(9), lease.addr(), &endpoint(1)));
    assert!(ipam.release(network(1), lease.addr(), &endpoint(1)));
    assert!(!ipam.release(network(1), lease.addr(), &endpoint(1)));
    assert_eq!(
        ipam.allocate(network(1), Family::V4, None, endpoint(2)),
        Ok(lease)
    );
}

#[test]
fn a_restart_plays_everything_back() {
    let pools = [
        "10.0.0.0/24 range=10.0.0.128/25 router=10.0.0.9",
        "fd00::/64",
    ];
    let mut before = ipam();
    let specs = before
        .add_network(network(1), &request(&pools), &[])
        .expect("good");
    for of in [Family::V4, Family::V6] {
        before
            .allocate(network(1), of, None, endpoint(1))
            .expect("room");
    }
    let leases = |ipam: &Ipam| -> BTreeMap<IpAddr, String> {
        let leases = ipam.leases(network(1));
        leases
            .map(|(addr, holder)| (addr, holder.to_string()))
            .collect()
    };

    let mut after = ipam();
    for _ in 0..2 {
        after.restore_network(network(1), &specs).expect("free");
        for addr in ["10.0.0.129", "fd00::2"] {
            after
                .reserve(network(1), ip(addr), endpoint(1))
                .expect("free");
        }
    }
    assert_eq!(leases(&before), leases(&after));
    assert_eq!(
        after.reserve(network(1), ip("10.0.0.129"), endpoint(2)),
        Err(Error::AddressInUse {
            addr: ip("10.0.0.129"),
            holder: endpoint(1)
        }),
    );
    assert!(after.restore_network(network(2), &specs).is_err());
}

/// One step of a model-based run on one network; numbers count from its subnet's first address.
#[derive(Debug, Clone)]
enum Step {
    Next,
    Ask(u128),
    Release(u128),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Next),
        1 => (0..80u128).prop_map(Step::Ask),
        2 => (0..80u128).prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 1..300)
}

/// A small subnet and a range in it, of both families.
fn subnet_and_range() -> impl Strategy<Value = (IpNet, IpNet)> {
    let lens = (25..=32u8).prop_flat_map(|len| (Just(len), len..=32u8));
    (lens, any::<bool>(), 0..128u128).prop_map(|((len, range_len), v6, at)| {
        let (base, widen) = if v6 { ("fd00::", 96) } else { ("10.0.0.0", 0) };
        let subnet = IpNet::new_assert(ip(base), len + widen);
        let inside = number(ip(base)) + at % (1 << (32 - len));
        let inside = address(family(subnet), inside);
        (subnet, IpNet::new_assert(inside, range_len + widen).trunc())
    })
}

/// The plainest thing that can tell what an allocator must answer.
struct Model {
    subnet: IpNet,
    range: IpNet,
    held: BTreeSet<IpAddr>,
}

impl Model {
    fn is_free(&self, addr: IpAddr) -> bool {
        let subnet = self.subnet;
        let (first, last) = match subnet {
            IpNet::V4(v4) => (v4.prefix_len() < 31, v4.prefix_len() < 31),
            IpNet::V6(_) => (true, false),
        };
        let reserved = (first && addr == subnet.network()) || (last && addr == subnet.broadcast());
        subnet.contains(&addr) && !reserved && !self.held.contains(&addr)
    }

    fn lowest(&self) -> Option<IpAddr> {
        (number(self.range.network())..=number(self.range.broadcast()))
            .map(|number| address(family(self.range), number))
            .find(|addr| self.is_free(*addr))
    }

    /// What the step does here: the address that it leases or frees.
    fn apply(&mut self, step: &Step) -> Option<IpAddr> {
        let at = |n| address(family(self.subnet), number(self.subnet.addr()) + n);
        let leased = match *step {
            Step::Next => self.lowest(),
            Step::Ask(n) => Some(at(n)).filter(|addr| self.is_free(*addr)),
            Step::Release(n) => return Some(at(n)).filter(|addr| self.held.remove(addr)),
        };
        self.held.extend(leased);
        leased
    }
}

/// What the step does to the network, each lease under a holder of its own.
fn apply(ipam: &mut Ipam, subnet: IpNet, step: &Step, next: u8) -> Option<IpAddr> {
    let at = |n| address(family(subnet), number(subnet.addr()) + n);
    let mut lease = |requested| {
        ipam.allocate(network(1), family(subnet), requested, endpoint(next))
            .ok()
            .map(|net| net.addr())
    };
    match *step {
        Step::Next => lease(None),
        Step::Ask(n) => lease(Some(at(n))),
        Step::Release(n) => {
            let holder = ipam
                .leases(network(1))
                .find_map(|(addr, holder)| (addr == at(n)).then(|| holder.clone()))?;
            ipam.release(network(1), at(n), &holder).then_some(at(n))
        }
    }
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn block(n: u8, len: u8) -> IpNet {
    IpNet::new_assert(ip(&format!("172.{}.{}.0", 16 + n / 2, n % 2 * 128)), len).trunc()
}

proptest! {
    #[test]
    fn leases_agree_with_a_set((subnet, range) in subnet_and_range(), steps in steps()) {
        let v6 = family(subnet) == Family::V6;
        let pool = PoolRequest { subnet, ip_range: Some(range), gateway: None, aux: BTreeMap::new() };
        let request = NetworkRequest { pools: vec![pool], ipv4: !v6, ipv6: v6, gateway: false };
        let mut ipam = ipam();
        ipam.add_network(network(1), &request, &[]).expect("free");
        let mut model = Model { subnet, range, held: BTreeSet::new() };
        for (next, step) in steps.iter().enumerate() {
            // Holders come again only after all addresses of a subnet could have been freed.
            let next = u8::try_from(next % 256).expect("below 256");
            if ipam.leases(network(1)).any(|(_, holder)| *holder == endpoint(next)) {
                continue;
            }
            prop_assert_eq!(apply(&mut ipam, subnet, step, next), model.apply(step), "{:?}", step);
            let held: BTreeSet<_> = ipam.leases(network(1)).map(|(addr, _)| addr).collect();
            prop_assert_eq!(&held, &model.held);
        }
    }

    #[test]
    fn subnets_never_overlap(
        ops in proptest::collection::vec((0..24u8, 0..3u8, 0..32u8, 12..28u8), 1..80),
        foreign in proptest::collection::vec((0..32u8, 12..32u8), 0..8),
    ) {
        let foreign: Vec<_> = foreign.into_iter().map(|(n, len)| block(n, len)).collect();
        let mut ipam = ipam();
        let mut held: BTreeMap<u8, IpNet> = BTreeMap::new();
        for (n, op, at, len) in ops {
            if op == 0 {
                ipam.remove_network(network(n));
                held.remove(&n);
            }
            if op == 0 || held.contains_key(&n) {
                continue;
            }
            let asked = (op == 2).then(|| block(at, len));
            let texts: Vec<_> = asked.iter().map(IpNet::to_string).collect();
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let got = ipam.add_network(network(n), &request(&texts), &foreign);
            if let Some(asked) = asked {
                prop_assert_eq!(got.is_ok(), !held.values().any(|other| overlap(&asked, other)));
            }
            if let Ok(specs) = got {
                let subnet = specs[0].subnet;
                prop_assert!(!held.values().any(|other| overlap(&subnet, other)));
                prop_assert!(asked.is_some() || !foreign.iter().any(|other| overlap(&subnet, other)));
                held.insert(n, subnet);
            }
        }
    }
}
