//! Which addresses a host gives, and when a block may go.

use super::{Given, Grant, GrantState, Held};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};
use vw_model::{EndpointId, Family, HostId, IpNet, PoolSpec};

const NOW: Duration = Duration::from_secs(100);

fn endpoint(n: u8) -> EndpointId {
    EndpointId::from_bytes([n; 32])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn held(ranges: &[&str]) -> Held {
    let spec = PoolSpec {
        subnet: "10.0.0.0/24".parse().unwrap(),
        ip_range: None,
        gateway: None,
        aux: BTreeMap::new(),
        given: true,
    };
    let mut held = Held::default();
    for range in ranges {
        held.add(&spec, range.parse().unwrap(), NOW).unwrap();
    }
    held
}

#[test]
fn addresses_come_out_of_own_blocks_until_they_are_full() {
    let mut held = held(&["10.0.0.4/30", "10.0.0.8/30"]);
    let all: Vec<IpNet> = std::iter::from_fn(|| held.take_first(Family::V4, endpoint(1))).collect();
    assert_eq!(all.len(), 8);
    assert!(held.free(ip("10.0.0.5"), endpoint(1), NOW));
    assert!(!held.free(ip("10.0.0.5"), endpoint(1), NOW), "twice");
    assert!(!held.free(ip("10.0.0.6"), endpoint(2), NOW), "another's");
    let again = held.take_first(Family::V4, endpoint(2));
    assert_eq!(again.map(|net| net.addr()), Some(ip("10.0.0.5")));
    assert_eq!(held.take_first(Family::V6, endpoint(2)), None);
    assert!(
        held.take(ip("10.0.0.12"), endpoint(2)).is_none(),
        "in no block of this host"
    );
}

#[test]
fn a_block_that_is_returned_gives_nothing_any_more() {
    let mut held = held(&["10.0.0.4/30", "10.0.0.8/30"]);
    held.take(ip("10.0.0.9"), endpoint(1)).unwrap().unwrap();
    held.return_idle(Family::V4, NOW - Duration::from_secs(1), 0);
    assert!(held.returning().is_empty(), "not idle for long enough");
    held.return_idle(Family::V4, NOW, 1);
    assert!(held.returning().is_empty(), "one is kept");
    held.return_idle(Family::V4, NOW, 0);
    assert_eq!(held.returning(), ["10.0.0.4/30".parse::<IpNet>().unwrap()]);
    assert!(held.take(ip("10.0.0.5"), endpoint(1)).is_none());
    let rest: Vec<IpNet> =
        std::iter::from_fn(|| held.take_first(Family::V4, endpoint(1))).collect();
    assert!(
        rest.iter().all(|net| net.addr() >= ip("10.0.0.8")),
        "{rest:?}"
    );
    held.return_all();
    assert_eq!(held.take_first(Family::V4, endpoint(1)), None);
    assert!(held.free(ip("10.0.0.9"), endpoint(1), NOW));
    assert_eq!(
        held.take_first(Family::V4, endpoint(1)),
        None,
        "freed too late"
    );
}

#[test]
fn what_was_given_away_is_not_this_hosts_and_not_free() {
    let mut held = held(&["10.0.0.4/30"]);
    let given = Given {
        host: HostId::from_bytes([9; 32]),
        holder: endpoint(9),
    };
    let range = "10.0.0.4/30".parse().unwrap();
    assert_eq!(held.give(ip("10.0.0.5"), given), Some(Ok(range)));
    assert_eq!(
        held.give(ip("10.0.0.5"), given),
        Some(Ok(range)),
        "asked again"
    );
    let other = Given {
        holder: endpoint(8),
        ..given
    };
    assert!(matches!(held.give(ip("10.0.0.5"), other), Some(Err(_))));
    assert!(held.take(ip("10.0.0.5"), endpoint(1)).unwrap().is_err());
    assert!(held.users().is_empty());
    held.return_idle(Family::V4, NOW, 0);
    assert!(held.returning().is_empty(), "somebody has an address of it");
    let addr = "10.0.0.200/24".parse().unwrap();
    let grant = Grant {
        granter: None,
        holder: endpoint(3),
        grantee: endpoint(3),
        addr,
        state: GrantState::Wanted,
    };
    held.grants.insert(addr.addr(), grant);
    assert_eq!(held.users(), [endpoint(3)].into());
}
