//! The language in which tables are said: typed sets, chains and rules.
//!
//! Owns as much of nftables as our tables use, each match and statement with one meaning and one
//! encoding. It must not know which rules there are.

use crate::{SetName, foreign::TableFamily};
use std::net::Ipv6Addr;
use vw_model::{Family, IpNet, Protocol};

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// What packets it sees at all.
    pub family: TableFamily,
    /// Its name.
    pub name: &'static str,
    /// Its sets and maps.
    pub sets: Vec<SetName>,
    /// Its chains; a chain is named before those that jump to it.
    pub chains: Vec<ChainSpec>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSpec {
    /// Its name.
    pub name: &'static str,
    /// Who fills it.
    pub contents: Contents,
}

/// Who fills a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// The administrator: made empty, and never touched.
    Administrator,
    /// We do.
    Ours {
        /// Where it hooks in; reached by jumps alone when absent. What no rule decides passes.
        base: Option<Base>,
        /// Its rules in order.
        rules: Vec<Rule>,
    },
}

/// Where a base chain hooks in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// What kind of chain.
    pub kind: ChainKind,
    /// The hook.
    pub hook: Hook,
    /// Its place among the chains of that hook, lowest first.
    pub priority: i32,
}

/// The kind of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// `filter`: every packet.
    Filter,
    /// `nat`: the first packet of a connection.
    Nat,
}

/// A hook of the IP layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Came in, before routing.
    Prerouting,
    /// Is for this host.
    Input,
    /// Passes through.
    Forward,
    /// Made here.
    Output,
    /// Goes out, after routing.
    Postrouting,
}

/// A rule: when all of `when` hold, `then`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it is for, as its comment.
    pub why: &'static str,
    /// The matches.
    pub when: Vec<Match>,
    /// The statement.
    pub then: Statement,
}

/// Something of a packet that a set is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The name of the interface it came in by.
    IifName,
    /// The name of the interface it leaves by.
    OifName,
    /// IPv4 or IPv6.
    NfProto,
    /// The source address; says that the packet is of that family.
    Saddr(Family),
    /// The destination address; says that the packet is of that family.
    Daddr(Family),
    /// The transport protocol.
    L4Proto,
    /// The destination port.
    Dport,
    /// A number below this, drawn at random.
    Random(u32),
    /// A number below `modulus` that follows from the source address; says that the packet is of
    /// that family.
    SourceHash {
        /// The address's family.
        family: Family,
        /// What the number is below.
        modulus: u32,
        /// Another seed gives other numbers.
        seed: u32,
    },
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It came in by the loopback interface.
    Loopback,
    /// It came in by no interface: this host sends it, or a bridge whose ports pass the IP hooks.
    NoIif,
    /// The interface that it came in by is a bridge.
    Bridged,
    /// It is of that family.
    Family(Family),
    /// Its source lies there.
    Source(IpNet),
    /// Its destination lies there.
    Destination(IpNet),
    /// Its source is no address of this host.
    NotFromLocal,
    /// Its destination is an address of this host.
    ToLocal,
    /// Its destination is a broadcast address of a network of this host.
    ToBroadcast,
    /// It is ICMP or ICMPv6, by family.
    Icmp(Family),
    /// Its transport protocol.
    Transport(Protocol),
    /// It is TCP, in the midst of a connection: it neither begins one (SYN) nor ends it (FIN, RST).
    Midstream,
    /// It is TCP, and begins no connection: it is no SYN.
    Begun,
    /// Its transport protocol and source port.
    Sport(Protocol, u16),
    /// Its transport protocol and destination port.
    Dport(Protocol, u16),
    /// It belongs to a connection that was let pass, or is related to one.
    Established,
    /// Connection tracking takes it for no part of the connection whose addresses it has, such as a
    /// segment of TCP beyond the window, and translates nothing of it.
    Invalid,
    /// Its connection's destination was translated.
    Translated,
    /// The name of the interface it leaves by begins so.
    OifPrefix(&'static str),
    /// The set has these fields.
    In(&'static [Field], SetName),
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The packet passes this hook's chain.
    Accept,
    /// The packet passes this hook's chain, and belongs to no connection; only before connections
    /// are looked for.
    AcceptUntracked,
    /// The packet is gone.
    Drop,
    /// The packet, of that family, is gone, and its sender is told that nobody listens.
    Reject(Family),
    /// The same of a packet over TCP, told by that: a sender over IPv6 that is told by ICMP while it
    /// sends tries once more, a second later.
    Reset,
    /// Back to where this chain was called from.
    Return,
    /// That chain, then on from here.
    Jump(&'static str),
    /// That chain, not to come back here.
    Goto(&'static str),
    /// The verdict that the map has for these fields; on from here without one.
    Verdict(&'static [Field], SetName),
    /// The destination that the map has, an address or an address and a port; on from here without
    /// one.
    Dnat(Family, &'static [Field], SetName),
    /// The source address that the map has; on from here without one.
    Snat(Family, &'static [Field], SetName),
    /// That source address; behind a match that says the packet is of IPv6.
    SnatTo6(Ipv6Addr),
    /// The source address of the interface that it leaves by.
    Masquerade,
    /// These bits are set in the packet's mark.
    Mark(u32),
    /// Rewrites the source port, stateless.
    SetSport(Protocol, u16),
    /// Rewrites the destination port, stateless.
    SetDport(Protocol, u16),
    /// Rewrites the source address, stateless; behind a match that says the packet is of IPv6.
    SetSource6(Ipv6Addr),
    /// Rewrites the destination address, stateless; behind such a match too.
    SetDestination6(Ipv6Addr),
}

impl TableSpec {
    /// The chain of that name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&ChainSpec> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}

impl ChainSpec {
    pub(crate) fn ours(name: &'static str, base: Option<Base>, rules: Vec<Rule>) -> Self {
        let contents = Contents::Ours { base, rules };
        Self { name, contents }
    }
}
