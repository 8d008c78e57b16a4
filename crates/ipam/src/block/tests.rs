//! How subnets are divided, and that a block gives what lies in it alone.

use super::{Block, Division};
use crate::{Error, Holder};
use std::{collections::BTreeSet, net::IpAddr};
use vw_model::{EndpointId, IpNet, PoolSpec};

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn endpoint(n: u8) -> Holder {
    Holder::Endpoint(EndpointId::from_bytes([n; 32]))
}

fn spec(subnet: &str, range: Option<&str>, gateway: Option<&str>) -> PoolSpec {
    PoolSpec {
        subnet: net(subnet),
        ip_range: range.map(net),
        gateway: gateway.map(ip),
        aux: [("router".to_owned(), ip("10.0.0.6"))].into(),
        given: true,
    }
}

#[test]
fn a_subnet_is_divided_by_its_size_alone() {
    let rows = [
        ("10.0.0.0/24", 64, "10.0.0.4/30"),
        ("10.0.0.0/20", 1024, "10.0.0.4/30"),
        ("10.0.0.0/16", 1024, "10.0.0.64/26"),
        ("10.0.0.0/8", 1024, "10.0.64.0/18"),
        ("10.0.0.0/29", 2, "10.0.0.4/30"),
        ("fd00::/64", 65_536, "fd00:0:0:0:1::/80"),
        ("fd00::/120", 64, "fd00::4/126"),
    ];
    for (subnet, count, second) in rows {
        let division = Division::of(net(subnet));
        assert_eq!(division.count(), count, "{subnet}");
        assert_eq!(division.nth(1), Some(net(second)), "{subnet}");
        assert_eq!(division.nth(count), None);
        for number in [0, 1, count / 2, count - 1] {
            let block = division.nth(number).expect("one of them");
            assert_eq!(division.number(block.network()), Some(number));
            assert_eq!(division.block(block.broadcast()), Some(block));
            assert!(net(subnet).contains(&block));
        }
    }
    for tiny in ["10.0.0.0/30", "10.0.0.0/31", "10.0.0.1/32", "fd00::1/128"] {
        let division = Division::of(net(tiny));
        assert_eq!((division.count(), division.nth(0)), (1, Some(net(tiny))));
    }
    assert_eq!(
        Division::of(net("10.0.0.0/24")).number(ip("10.0.1.0")),
        None
    );
}

#[test]
fn a_block_gives_each_of_its_own_free_addresses_once() {
    let spec = spec("10.0.0.0/24", None, Some("10.0.0.1"));
    let rows = [
        ("10.0.0.0/30", vec!["10.0.0.2", "10.0.0.3"]),
        ("10.0.0.4/30", vec!["10.0.0.4", "10.0.0.5", "10.0.0.7"]),
        (
            "10.0.0.252/30",
            vec!["10.0.0.252", "10.0.0.253", "10.0.0.254"],
        ),
    ];
    for (range, all) in rows {
        let mut block = Block::new(&spec, net(range)).expect("a block");
        assert!(block.is_empty());
        let mut taken = BTreeSet::new();
        while let Some(addr) = block.take_first(endpoint(1)) {
            assert_eq!(addr.prefix_len(), 24);
            assert!(taken.insert(addr.addr()), "{addr} twice");
        }
        assert_eq!(taken, all.iter().map(|text| ip(text)).collect());
        assert!(!block.is_empty());
        for addr in taken {
            assert!(block.release(addr, &endpoint(1)));
        }
        assert!(block.is_empty());
    }
}

#[test]
fn a_range_limits_what_is_given_unasked_and_a_block_what_is_given_at_all() {
    let spec = spec("10.0.0.0/24", Some("10.0.0.8/31"), None);
    let mut outside = Block::new(&spec, net("10.0.0.12/30")).expect("a block");
    assert_eq!(outside.take_first(endpoint(1)), None);
    assert_eq!(
        outside.take(ip("10.0.0.13"), endpoint(1)),
        Ok(net("10.0.0.13/24"))
    );
    let mut part = Block::new(&spec, net("10.0.0.8/30")).expect("a block");
    assert_eq!(part.free(), 2);
    assert_eq!(part.take_first(endpoint(1)), Some(net("10.0.0.8/24")));
    assert_eq!(part.free(), 1);
    assert_eq!(part.take_first(endpoint(2)), Some(net("10.0.0.9/24")));
    assert_eq!(part.take_first(endpoint(3)), None);
    assert_eq!((part.free(), outside.free()), (0, 0));
    let addr = ip("10.0.0.13");
    assert_eq!(
        part.take(addr, endpoint(1)),
        Err(Error::OutOfSubnet { addr })
    );
    let addr = ip("10.0.0.9");
    let holder = endpoint(2);
    assert_eq!(
        part.take(addr, endpoint(1)),
        Err(Error::AddressInUse { addr, holder })
    );
}
