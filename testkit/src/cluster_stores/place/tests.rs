//! Ports that servers are given.

use super::*;
use std::{collections::BTreeSet, fs};

#[test]
fn a_port_is_given_once_and_is_none_that_a_connection_may_have() {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux has it");
    let first = range
        .split_whitespace()
        .next()
        .expect("it begins somewhere");
    let first: u16 = first.parse().expect("a port");
    let given: Vec<u16> = (0..50)
        .flat_map(|_| Place::machine().free_ports::<4>())
        .collect();
    assert!(given.iter().all(|port| *port < first), "{given:?}");
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), given.len());
}
