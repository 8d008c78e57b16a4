//! The table of a sandbox: its resolver at 127.0.0.11.

use crate::foreign::TableFamily;
use crate::spec::{Base, ChainKind, ChainSpec, Hook, Match, Rule, Statement, TableSpec};
use std::net::Ipv4Addr;
use vw_model::{IpNet, Ipv4Net, Protocol};

/// The address of the resolver in every sandbox.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The name of a sandbox's table, in the family `inet`.
pub const SANDBOX_TABLE: &str = "vethwork_dns";

/// Leads port 53 of [`RESOLVER`] to the ports that the resolver is really bound on.
///
/// Stateless, before connection tracking: queries leave no entries behind, and a server of the
/// user's own on `0.0.0.0:53` is left alone.
#[must_use]
pub fn sandbox_dns(udp: u16, tcp: u16) -> TableSpec {
    let resolver = || IpNet::from(Ipv4Net::from(RESOLVER));
    let ask = |protocol, port| Rule {
        why: "to the resolver",
        when: vec![Match::Destination(resolver()), Match::Dport(protocol, 53)],
        then: Statement::SetDport(protocol, port),
    };
    let answer = |protocol, port| Rule {
        why: "from the resolver",
        when: vec![Match::Source(resolver()), Match::Sport(protocol, port)],
        then: Statement::SetSport(protocol, 53),
    };
    let base = Base {
        kind: ChainKind::Filter,
        hook: Hook::Output,
        priority: -300,
    };
    let rules = vec![
        ask(Protocol::Udp, udp),
        answer(Protocol::Udp, udp),
        ask(Protocol::Tcp, tcp),
        answer(Protocol::Tcp, tcp),
    ];
    TableSpec {
        family: TableFamily::Inet,
        name: SANDBOX_TABLE,
        sets: Vec::new(),
        chains: vec![ChainSpec::ours("output", Some(base), rules)],
    }
}
