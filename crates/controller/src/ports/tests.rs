//! Which host ports requests get, and what is held after a refusal.

use super::{Claims, Wanted, settle, settle_each};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::atomic::AtomicU16,
};
use vw_kernel::{Kernel, fake::FakeKernel};
use vw_model::{Error, Family, PortKey, PortRequest, Protocol};

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

struct Bench {
    kernel: FakeKernel,
    cursor: AtomicU16,
    exposed: Vec<PortKey>,
    hosts: Vec<IpAddr>,
}

impl Bench {
    fn new(hosts: &[IpAddr]) -> Self {
        Self {
            kernel: FakeKernel::new(),
            cursor: AtomicU16::new(0),
            exposed: Vec::new(),
            hosts: hosts.to_vec(),
        }
    }

    fn settle(&self, requests: &[&str], held: &mut Claims) -> Result<Claims, Error> {
        self.wanting(requests, |wanted| settle(&self.kernel, wanted, held))
    }

    fn wanting<T>(&self, requests: &[&str], settle: impl FnOnce(&Wanted<'_>) -> T) -> T {
        let requests: Vec<PortRequest> = requests
            .iter()
            .flat_map(|text| PortRequest::parse(text).unwrap())
            .collect();
        let families: Vec<Family> = self.hosts.iter().map(|host| Family::of(*host)).collect();
        let wanted = Wanted {
            requests: &requests,
            exposed: &self.exposed,
            families: &families,
            default_hosts: &self.hosts,
            ephemeral: (40000, 40002),
            cursor: &self.cursor,
        };
        settle(&wanted)
    }

    /// What new requests get.
    #[track_caller]
    fn check(&self, requests: &[&str], expected: &[&str]) -> Claims {
        let claims = self.settle(requests, &mut Claims::default()).unwrap();
        assert_eq!(shown(&claims), expected);
        claims
    }

    #[track_caller]
    fn refused(&self, requests: &[&str], held: &mut Claims, reason: &str) {
        let before = (shown(held), self.kernel.claimed());
        let error = self.settle(requests, held).unwrap_err();
        assert_eq!(error.reason, reason, "{}", error.message);
        assert_eq!(
            (shown(held), sorted(&self.kernel)),
            (before.0, sort(before.1))
        );
    }
}

fn shown(claims: &Claims) -> Vec<String> {
    let mut shown: Vec<String> = claims
        .mappings()
        .iter()
        .map(|mapping| format!("{} -> {}", mapping.host, mapping.container))
        .collect();
    shown.sort();
    shown
}

type Held = Vec<(Protocol, std::net::SocketAddr)>;

fn sort(mut held: Held) -> Held {
    held.sort();
    held
}

fn sorted(kernel: &FakeKernel) -> Held {
    sort(kernel.claimed())
}

#[test]
fn a_request_holds_its_port_on_every_address() {
    let bench = Bench::new(&[ANY4, ANY6]);
    let claims = bench.check(
        &["8080:80"],
        &["0.0.0.0:8080 -> 80/tcp", "[::]:8080 -> 80/tcp"],
    );
    assert_eq!(bench.kernel.claimed().len(), 2);
    drop(claims);
    assert!(bench.kernel.claimed().is_empty());
}

#[test]
fn an_address_of_a_family_without_gateway_is_left_out() {
    let bench = Bench::new(&[ANY4]);
    bench.check(
        &["[::1]:8080:80", "127.0.0.1:8081:80"],
        &["127.0.0.1:8081 -> 80/tcp"],
    );
}

#[test]
fn a_range_gives_the_first_port_that_is_free_on_every_address() {
    let bench = Bench::new(&[ANY4, ANY6]);
    bench
        .kernel
        .occupy(Protocol::Tcp, "0.0.0.0:8000".parse().unwrap());
    bench
        .kernel
        .occupy(Protocol::Tcp, "[::]:8001".parse().unwrap());
    let claims = bench.check(
        &["8000-8002:80"],
        &["0.0.0.0:8002 -> 80/tcp", "[::]:8002 -> 80/tcp"],
    );
    assert_eq!(
        bench.kernel.claimed().len(),
        2,
        "nothing of the others is held"
    );
    bench.refused(&["8000-8002:80"], &mut Claims::default(), "ports-exhausted");
    drop(claims);
}

#[test]
fn ephemeral_ports_go_on_from_the_last_and_come_round() {
    let bench = Bench::new(&[ANY4]);
    let first = bench.check(&["80"], &["0.0.0.0:40000 -> 80/tcp"]);
    let second = bench.check(&["80"], &["0.0.0.0:40001 -> 80/tcp"]);
    drop(first);
    let third = bench.check(&["80"], &["0.0.0.0:40002 -> 80/tcp"]);
    let fourth = bench.check(&["80"], &["0.0.0.0:40000 -> 80/tcp"]);
    bench.refused(&["80"], &mut Claims::default(), "ports-exhausted");
    drop((second, third, fourth));
}

#[test]
fn exposed_ports_that_are_requested_are_not_published_twice() {
    let mut bench = Bench::new(&[ANY4]);
    bench.exposed = vec!["80/tcp".parse().unwrap(), "53/udp".parse().unwrap()];
    bench.check(
        &["8080:80"],
        &["0.0.0.0:40000 -> 53/udp", "0.0.0.0:8080 -> 80/tcp"],
    );
}

#[test]
fn what_is_held_stays_held_under_the_same_number() {
    let bench = Bench::new(&[ANY4]);
    let requests = ["8000-8001:80", "81"];
    let mut held = bench.check(
        &requests,
        &["0.0.0.0:40000 -> 81/tcp", "0.0.0.0:8000 -> 80/tcp"],
    );
    // On one more network, with IPv6: the same numbers.
    let both = Bench {
        hosts: vec![ANY4, ANY6],
        ..bench
    };
    let claims = both.settle(&requests, &mut held).unwrap();
    assert_eq!(
        shown(&claims),
        [
            "0.0.0.0:40000 -> 81/tcp",
            "0.0.0.0:8000 -> 80/tcp",
            "[::]:40000 -> 81/tcp",
            "[::]:8000 -> 80/tcp"
        ]
    );
    assert!(held.mappings().is_empty(), "all of it moved");
}

#[test]
fn a_conflict_leaves_what_was_held_and_nothing_more() {
    let bench = Bench::new(&[ANY4]);
    let requests = ["8000:80", "8001:81", "82"];
    let mut held = bench.settle(&requests, &mut Claims::default()).unwrap();
    let both = Bench {
        hosts: vec![ANY4, ANY6],
        ..bench
    };
    both.kernel
        .occupy(Protocol::Tcp, "[::]:8001".parse().unwrap());
    both.refused(&requests, &mut held, "port-allocated");
    both.kernel
        .vacate(Protocol::Tcp, "[::]:8001".parse().unwrap());
    let claims = both.settle(&requests, &mut held).unwrap();
    assert_eq!(claims.mappings().len(), 6);
}

#[test]
fn two_sandboxes_cannot_have_one_port() {
    let bench = Bench::new(&[ANY4]);
    let first = bench.check(&["127.0.0.1:8080:80"], &["127.0.0.1:8080 -> 80/tcp"]);
    bench.refused(&["8080:80"], &mut Claims::default(), "port-allocated");
    bench.check(&["8080:80/udp"], &["0.0.0.0:8080 -> 80/udp"]);
    drop(first);
}

#[test]
fn an_attempt_taken_back_holds_what_was_published() {
    let bench = Bench::new(&[ANY4]);
    let mut held = bench
        .settle(&["8080:80", "8081:81"], &mut Claims::default())
        .unwrap();
    let published = held.mappings();
    let tried = bench.settle(&["8081:81", "8082:82"], &mut held).unwrap();
    let back = tried.back_to(&bench.kernel, held, &published);
    assert_eq!(back.mappings(), published);
    assert_eq!(bench.kernel.claimed().len(), 2);
}

#[test]
fn a_port_is_narrowed_and_widened_at_once() {
    let bench = Bench::new(&[ANY4, ANY6]);
    let mut wide = bench
        .settle(&["8080:80", "8081:81"], &mut Claims::default())
        .unwrap();
    let mut narrow = bench
        .settle(&["127.0.0.1:8080:80", "8081:81"], &mut wide)
        .unwrap();
    drop(wide);
    assert_eq!(
        shown(&narrow),
        [
            "0.0.0.0:8081 -> 81/tcp",
            "127.0.0.1:8080 -> 80/tcp",
            "[::]:8081 -> 81/tcp"
        ]
    );
    assert_eq!(bench.kernel.claimed().len(), 3);
    let wide = bench.settle(&["8080:80", "8081:81"], &mut narrow).unwrap();
    drop(narrow);
    assert_eq!(wide.mappings().len(), 4);
    assert_eq!(bench.kernel.claimed().len(), 4);
}

#[test]
fn what_made_room_in_vain_is_held_again() {
    let bench = Bench::new(&[ANY4]);
    let mut held = bench
        .settle(&["8080:80", "8081:81"], &mut Claims::default())
        .unwrap();
    let taken = "0.0.0.0:8082".parse().unwrap();
    bench.kernel.occupy(Protocol::Tcp, taken);
    let asked = ["127.0.0.1:8080:80", "8081:81", "8082:82"];
    bench.refused(&asked, &mut held, "port-allocated");
    // Later than the claims, something else fails.
    let published = held.mappings();
    let tried = bench.settle(&asked[..2], &mut held).unwrap();
    let back = tried.back_to(&bench.kernel, held, &published);
    assert_eq!(back.mappings(), published);
    let expected = published.iter();
    let expected: Held = expected.map(|m| (Protocol::Tcp, m.host)).collect();
    assert_eq!(sorted(&bench.kernel), sort(expected));
}

#[test]
fn what_cannot_be_had_keeps_nothing_else_from_being_had() {
    let bench = Bench::new(&[ANY4, ANY6]);
    let mut held = bench
        .settle(&["8080:80", "8081:81"], &mut Claims::default())
        .unwrap();
    let taken = "[::]:8082".parse().unwrap();
    bench.kernel.occupy(Protocol::Tcp, taken);
    let asked = ["8080:79", "8080:80", "8082:82", "8083:83"];
    let (claims, refused) = bench.wanting(&asked, |wanted| {
        settle_each(&bench.kernel, wanted, &mut held)
    });
    let refused: Vec<u16> = refused.iter().map(|(r, _)| r.container.port).collect();
    assert_eq!(refused, [79, 82]);
    drop(held);
    let ours = shown(&claims);
    assert_eq!(
        ours,
        [
            "0.0.0.0:8080 -> 80/tcp",
            "0.0.0.0:8083 -> 83/tcp",
            "[::]:8080 -> 80/tcp",
            "[::]:8083 -> 83/tcp"
        ]
    );
    assert_eq!(bench.kernel.claimed().len(), 4);
}

#[test]
fn what_another_request_keeps_makes_no_room() {
    let bench = Bench::new(&[ANY4]);
    let mut held = bench.settle(&["8080:80"], &mut Claims::default()).unwrap();
    let asked = ["127.0.0.1:8080:81", "8080:80"];
    bench.refused(&asked, &mut held, "port-allocated");
    let claims = bench
        .settle(&["127.0.0.1:8080-8081:81", "8080:80"], &mut held)
        .unwrap();
    assert_eq!(
        shown(&claims),
        ["0.0.0.0:8080 -> 80/tcp", "127.0.0.1:8081 -> 81/tcp"]
    );
}

#[test]
fn a_port_that_a_stranger_took_meanwhile_stays_published_and_is_told() {
    let bench = Bench::new(&[ANY4]);
    let held = bench
        .settle(&["8080:80", "8081:81"], &mut Claims::default())
        .unwrap();
    let published = held.mappings();
    drop(held);
    bench
        .kernel
        .occupy(Protocol::Tcp, "0.0.0.0:8081".parse().unwrap());
    let (claims, taken) = Claims::restore(&bench.kernel, &published);
    assert_eq!(claims.mappings(), published);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].host.port(), 8081);
    assert!(
        bench
            .kernel
            .claim_port(Protocol::Tcp, published[0].host)
            .is_err()
    );
}
