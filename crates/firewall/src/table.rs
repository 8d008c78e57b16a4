//! The skeleton of `inet vethwork`: a fixed number of rules, whatever the number of networks.
//!
//! A packet that two bridges of ours see must satisfy the sending and the receiving network:
//! each asks its own chain, which drops or returns. What neither knows passes untouched.
//! The `inet` family rather than two tables: one transaction and one place to look. Apart is what
//! needs no set and every packet over IPv4 would pass in vain.

use crate::foreign::TableFamily;
use crate::spec::{
    Base, ChainKind, ChainSpec, Contents, Field, Hook, Match, Rule, Statement, TableSpec,
};
use crate::{Chain, SetName, TRANSLATED, mapped, mapped_net};
use Statement::{
    Accept, AcceptUntracked, Dnat, Drop, Goto, Jump, Mark, Masquerade, Return, SetDestination6,
    SetSource6, Snat, SnatTo6, Verdict,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};
use vw_model::{
    Family::{self, V4, V6},
    IpNet, Ipv4Net, Ipv6Net, Protocol,
};

/// The chain that belongs to the administrator.
pub const USER_CHAIN: &str = "user";

/// What takes packets of other hosts' tunnels.
const OWN_CONTAINER: &str = "own_container";
/// What drops what is to be translated and does not come to be.
const LED_ASTRAY: &str = "led_astray";
/// What lets pass at once.
const LET_PASS: &str = "let_pass";
/// What endpoints of routed networks on other hosts send, and what they are sent.
const FROM_REMOTE: &str = "from_remote";
const TO_REMOTE: &str = "to_remote";

/// `raw`: before connection tracking and every translation.
pub(crate) const RAW: i32 = -300;
/// `dstnat`, where everybody translates destinations.
const DSTNAT: i32 = -100;
/// Just before `filter` (0), where other firewalls decide: they can match our mark; yet after
/// `mangle` (-150), where a rule may overwrite the whole mark.
pub(crate) const FORWARD: i32 = -1;
/// `srcnat`, where everybody translates sources.
pub(crate) const SRCNAT: i32 = 100;

/// What stands for `::1` while a packet of localhost is on its way to a container: an address
/// that nobody has (RFC 6666), and that is local to the host on every bridge that publishes.
///
/// `::1` itself may not come in by a bridge (`ipv6_rcv`): with br_netfilter the reply is
/// translated back before that is looked at.
pub const STAND_IN: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0x7677, 1);

// What sets are asked for.
const SOCKET4: &[Field] = &[Field::Daddr(V4), Field::L4Proto, Field::Dport];
const SOCKET6: &[Field] = &[Field::Daddr(V6), Field::L4Proto, Field::Dport];
const PORT: &[Field] = &[Field::L4Proto, Field::Dport];
const IIF: &[Field] = &[Field::IifName];
const OIF: &[Field] = &[Field::OifName];
const BOTH: &[Field] = &[Field::IifName, Field::OifName];
const FROM4: &[Field] = &[Field::Saddr(V4)];
const FROM6: &[Field] = &[Field::Saddr(V6)];
const TO4: &[Field] = &[Field::Daddr(V4)];
const TO6: &[Field] = &[Field::Daddr(V6)];

/// Beginnings of the names of bridges that other engines make and filter by themselves.
const FOREIGN_BRIDGES: [&str; 5] = ["docker", "br-", "podman", "cni", "virbr"];

/// What the host's table depends on; two daemons with equal settings make equal tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HostTable {
    /// Bits set in the packet mark of what our forward chain lets pass, for other firewalls'
    /// rules to match; 0 sets none.
    pub accept_mark: u32,
    /// This host's end of every tunnel, where it is in a cluster: what is sent to the ends of tunnels
    /// is looked at, and what endpoints on other hosts send and are sent without one. Without, there
    /// is no rule for it, and nothing that comes in costs more.
    pub tunnels: Option<IpAddr>,
}

impl HostTable {
    /// Its name in the kernel.
    pub const NAME: &str = "vethwork";

    /// The whole table, without elements.
    #[must_use]
    pub fn rules(&self) -> TableSpec {
        let tunnels = self.tunnels.is_some();
        let mut chains = vec![
            ChainSpec {
                name: USER_CHAIN,
                contents: Contents::Administrator,
            },
            guard(tunnels),
            publish(),
            translate("prerouting", Hook::Prerouting),
            translate("output", Hook::Output),
            stand_in(),
            from_localhost(tunnels),
            untranslated_here(),
            input(),
            to_nat(),
            to_routed(),
            to_open(),
            internal(),
            led_astray(),
        ];
        if let Some(end) = self.tunnels {
            chains.extend([own_container(), tunnel(end)]);
        }
        if self.accept_mark != 0 {
            chains.push(let_pass(self.accept_mark));
            chains.push(mark_leaving(self.accept_mark));
        }
        if tunnels {
            chains.extend(remotes(self.accept_mark));
        }
        chains.push(forward(self));
        chains.push(to_ipv4());
        chains.push(postrouting(tunnels));
        TableSpec {
            family: TableFamily::Inet,
            name: Self::NAME,
            sets: SetName::ALL.to_vec(),
            chains,
        }
    }

    /// Its part that is for IPv6 alone, in the family `ip6` under the same name: what comes in over
    /// IPv4 never passes it, whereas each chain of `inet` takes its time of every packet.
    #[must_use]
    pub fn rules6() -> TableSpec {
        TableSpec {
            family: TableFamily::Ip6,
            name: Self::NAME,
            sets: Vec::new(),
            chains: vec![to_localhost()],
        }
    }
}

fn base(kind: ChainKind, hook: Hook, priority: i32) -> Option<Base> {
    Some(Base {
        kind,
        hook,
        priority,
    })
}

fn rule(why: &'static str, when: impl Into<Vec<Match>>, then: Statement) -> Rule {
    Rule {
        why,
        when: when.into(),
        then,
    }
}

fn net4(a: u8, b: u8, c: u8, d: u8, length: u8) -> IpNet {
    Ipv4Net::new_assert([a, b, c, d].into(), length).into()
}

pub(crate) fn alone(addr: Ipv6Addr) -> IpNet {
    Ipv6Net::from(addr).into()
}

fn net6(first: u16, last: u16, length: u8) -> IpNet {
    Ipv6Net::new_assert([first, 0, 0, 0, 0, 0, 0, last].into(), length).into()
}

/// With `route_localnet` (needed for replies to localhost) the kernel no longer drops these as
/// martians: without this chain, neighbours reached what listens on 127.0.0.1.
fn guard(tunnels: bool) -> ChainSpec {
    let (loopback4, loopback6) = (net4(127, 0, 0, 0, 8), net6(0, 1, 128));
    let stand_in = alone(STAND_IN);
    let why = "localhost never comes by a wire";
    let mut rules = Vec::new();
    if tunnels {
        rules.push(to_tunnel(Jump("tunnel")));
    }
    rules.extend([
        rule("", [Match::Loopback], Accept),
        rule(why, [Match::Destination(loopback4)], Drop),
        rule(why, [Match::Source(loopback4)], Drop),
        rule(why, [Match::Destination(loopback6)], Drop),
        rule(why, [Match::Source(loopback6)], Drop),
        rule(why, [Match::Destination(stand_in)], Drop),
        rule(why, [Match::Source(stand_in)], Drop),
    ]);
    let place = base(ChainKind::Filter, Hook::Prerouting, RAW);
    ChainSpec::ours("guard", place, rules)
}

/// Puts what stands for `::1` in its place; other tables have this chain too.
pub(crate) fn stand_in() -> ChainSpec {
    let localhost = alone(Ipv6Addr::LOCALHOST);
    ChainSpec::ours(
        "stand_in",
        None,
        vec![
            rule("", [Match::Source(localhost)], SetSource6(STAND_IN)),
            rule(
                "",
                [Match::Destination(localhost)],
                SetDestination6(STAND_IN),
            ),
        ],
    )
}

/// Before connection tracking, which must never know of `::1`.
fn from_localhost(tunnels: bool) -> ChainSpec {
    let published = |fields, set| {
        let localhost = Match::Source(alone(Ipv6Addr::LOCALHOST));
        let when = [localhost, Match::ToLocal, Match::In(fields, set)];
        rule("to a published port", when, Goto("stand_in"))
    };
    let mut rules = Vec::new();
    if tunnels {
        rules.push(to_tunnel(AcceptUntracked));
    }
    rules.extend([
        published(PORT, SetName::PublishedAny6),
        published(SOCKET6, SetName::Published6),
    ]);
    let place = base(ChainKind::Filter, Hook::Output, RAW);
    ChainSpec::ours("from_localhost", place, rules)
}

/// After the reply's source was translated back, which on this hook is done at `srcnat`.
fn to_localhost() -> ChainSpec {
    let (localhost, stand_in) = (Ipv6Addr::LOCALHOST, alone(STAND_IN));
    let why = "from a published port";
    let place = base(ChainKind::Filter, Hook::Input, SRCNAT + 1);
    let rules = vec![
        rule(why, [Match::Source(stand_in)], SetSource6(localhost)),
        rule(
            why,
            [Match::Destination(stand_in)],
            SetDestination6(localhost),
        ),
    ];
    ChainSpec::ours("to_localhost", place, rules)
}

/// Why a segment is dropped that connection tracking takes for invalid.
pub(crate) const NO_PART: &str = "no part of its connection";
/// What takes such segments.
const UNTRANSLATED: &str = "untranslated";

/// A segment that connection tracking does not translate, such as one beyond the window, comes to this
/// host as its own: it would reset a connection that it does not know, and that both ends hold for
/// sound. Dropped, it is sent again. The end of a connection of the host itself, which tracking may
/// have forgotten, passes. Packets of tunnels, which are many, are none of TCP: that is asked first.
pub(crate) fn input() -> ChainSpec {
    let place = base(ChainKind::Filter, Hook::Input, FORWARD);
    let when = [Match::Midstream, Match::Invalid];
    ChainSpec::ours("input", place, vec![rule("", when, Goto(UNTRANSLATED))])
}

pub(crate) fn untranslated(rules: Vec<Rule>) -> ChainSpec {
    ChainSpec::ours(UNTRANSLATED, None, rules)
}

/// Answers come by the bridges, questions to published ports by any way.
fn untranslated_here() -> ChainSpec {
    const FROM: &[Field] = &[Field::IifName, Field::NfProto];
    let to = |fields, set| rule(NO_PART, [Match::In(fields, set)], Drop);
    let any = |family, set| {
        let when = [Match::Family(family), Match::In(PORT, set)];
        rule(NO_PART, when, Drop)
    };
    untranslated(vec![
        to(FROM, SetName::Filtered),
        to(SOCKET4, SetName::Published4),
        any(V4, SetName::PublishedAny4),
        to(SOCKET6, SetName::Published6),
        any(V6, SetName::PublishedAny6),
    ])
}

/// What a tunnel takes goes straight into a network, so only other hosts of the cluster may send
/// to it: no stranger, no process of this host, and no container that pretends to be a host. Nor may
/// a container send to the end of a tunnel elsewhere, where it would be taken for this host, whose
/// address it has once it is masqueraded.
///
/// Few packets come in by a bridge: the kind of link spares the others the set. What hosts send each
/// other is told by the fewest look-ups, as all of it passes here. A tunnel takes what is
/// sent to any address of this host; hosts send to the one that it advertises, and what is led here by
/// another address they do not see as sent to a host.
fn tunnel(end: IpAddr) -> ChainSpec {
    let own = [Match::Bridged, Match::In(IIF, SetName::Bridges)];
    let hosts = match Family::of(end) {
        V4 => Match::In(FROM4, SetName::Peers4),
        V6 => Match::In(FROM6, SetName::Peers6),
    };
    let peer = |fields, set| rule("another host", [Match::In(fields, set)], Return);
    let mut rules = vec![
        rule("this host itself", [Match::Loopback], Drop),
        rule("a container of this host", own, Goto(OWN_CONTAINER)),
        rule(
            "another host",
            [hosts, Match::Destination(end.into())],
            AcceptUntracked,
        ),
        rule("a stranger", [Match::ToLocal], Drop),
        peer(FROM4, SetName::Peers4),
        peer(FROM6, SetName::Peers6),
    ];
    rules.extend(to_another_host());
    ChainSpec::ours("tunnel", None, rules)
}

/// What a container of this host sends to a port of tunnels.
fn own_container() -> ChainSpec {
    let host = |fields, set| {
        let why = "a container that pretends to be a host";
        rule(why, [Match::In(fields, set)], Drop)
    };
    let mut rules = vec![
        host(FROM4, SetName::Peers4),
        host(FROM6, SetName::Peers6),
        rule("a container", [Match::ToLocal], Drop),
    ];
    rules.extend(to_another_host());
    ChainSpec::ours(OWN_CONTAINER, None, rules)
}

fn to_another_host() -> [Rule; 2] {
    [(TO4, SetName::Peers4), (TO6, SetName::Peers6)].map(|(fields, set)| {
        let why = "a stranger to another host";
        rule(why, [Match::In(fields, set)], Drop)
    })
}

/// To the end of a tunnel, here or elsewhere. A packet of a tunnel has no answer, as its port of
/// origin is a number of what lies inside: a connection for it would be recorded on each host and
/// never used, which takes an eighth of the time that a TCP connection through the tunnel takes.
fn to_tunnel(then: Statement) -> Rule {
    const DPORT: &[Field] = &[Field::Dport];
    let udp = Match::Transport(Protocol::Udp);
    let when = [udp, Match::In(DPORT, SetName::TunnelPorts)];
    rule("ends of tunnels", when, then)
}

fn publish() -> ChainSpec {
    let one = |family, fields, set| {
        let why = "published on this address";
        rule(why, [], Dnat(family, fields, set))
    };
    let any = |family, set| {
        let why = "published on every address";
        rule(why, [Match::Family(family)], Dnat(family, PORT, set))
    };
    ChainSpec::ours(
        "publish",
        None,
        vec![
            one(V4, SOCKET4, SetName::Ports4),
            any(V4, SetName::PortsAny4),
            one(V6, SOCKET6, SetName::Ports6),
            any(V6, SetName::PortsAny6),
        ],
    )
}

fn translate(name: &'static str, hook: Hook) -> ChainSpec {
    let rule = rule("published ports", [Match::ToLocal], Jump("publish"));
    ChainSpec::ours(name, base(ChainKind::Nat, hook, DSTNAT), vec![rule])
}

/// What every network lets in, but an internal one. To the link that translates IPv6 goes only what was
/// led there.
fn always() -> Vec<Rule> {
    let translated = [Match::In(IIF, SetName::Translators)];
    vec![
        rule("replies", [Match::Established], Return),
        rule("published ports", [Match::Translated], Return),
        rule("published ports, over IPv6", translated, Return),
    ]
}

fn to_nat() -> ChainSpec {
    let mut rules = always();
    rules.push(rule("anything else, also routed directly", [], Drop));
    ChainSpec::ours(Chain::ToNat.name(), None, rules)
}

fn to_routed() -> ChainSpec {
    let open = |fields, set| rule("open ports", [Match::In(fields, set)], Return);
    let icmp = |family: Family| {
        let when = [Match::Family(family), Match::Icmp(family)];
        rule("ping, path MTU", when, Return)
    };
    let mut rules = always();
    rules.extend([
        open(SOCKET4, SetName::Open4),
        open(SOCKET6, SetName::Open6),
        icmp(V4),
        icmp(V6),
        rule("anything else", [], Drop),
    ]);
    ChainSpec::ours(Chain::ToRouted.name(), None, rules)
}

fn to_open() -> ChainSpec {
    let mut rules = always();
    let when = [Match::In(IIF, SetName::Bridges)];
    rules.push(rule("our other networks", when, Drop));
    ChainSpec::ours(Chain::ToOpen.name(), None, rules)
}

fn internal() -> ChainSpec {
    let rules = vec![rule("nobody but neighbours", [], Drop)];
    ChainSpec::ours(Chain::Internal.name(), None, rules)
}

/// Neighbours come first: with br_netfilter all that is bridged passes here, and every rule that it
/// does not meet is time saved for each of its packets.
fn forward(table: &HostTable) -> ChainSpec {
    const TO: &[Field] = &[Field::OifName, Field::NfProto];
    let mark = table.accept_mark;
    let beside = [Match::In(BOTH, SetName::Neighbors)];
    let mut rules = vec![
        rule("the administrator's word first", [], Jump(USER_CHAIN)),
        rule("neighbours", beside, pass(mark)),
    ];
    if table.tunnels.is_some() {
        let with = |fields, set, chain| rule("on another host", [Match::In(fields, set)], chain);
        rules.extend([
            with(FROM4, SetName::Remotes4, Goto(FROM_REMOTE)),
            with(FROM6, SetName::Remotes6, Goto(FROM_REMOTE)),
            with(TO4, SetName::Remotes4, Goto(TO_REMOTE)),
            with(TO6, SetName::Remotes6, Goto(TO_REMOTE)),
        ]);
    }
    rules.extend([
        rule("receiving network", [], Verdict(TO, SetName::ForwardTo)),
        rule("sending network", [], Verdict(IIF, SetName::ForwardFrom)),
        translated(mapped_net().into()),
        translated(IpAddr::from(TRANSLATED).into()),
    ]);
    if mark != 0 {
        let (to, from) = (SetName::Bridges, SetName::Bridges);
        rules.push(rule("let pass", [Match::In(OIF, to)], Mark(mark)));
        let leaving = [Match::In(IIF, from)];
        rules.push(rule("", leaving, Goto("mark_leaving")));
    }
    let place = base(ChainKind::Filter, Hook::Forward, FORWARD);
    ChainSpec::ours("forward", place, rules)
}

/// What only the link that translates is for. Where that is gone, it would leave by the default route.
fn translated(net: IpNet) -> Rule {
    let to = [Match::Destination(net)];
    rule("to be translated", to, Jump(LED_ASTRAY))
}

fn led_astray() -> ChainSpec {
    let there = [Match::In(OIF, SetName::Translators)];
    let rules = vec![
        rule("to the link that translates", there, Return),
        rule("by any other way", [], Drop),
    ];
    ChainSpec::ours(LED_ASTRAY, None, rules)
}

const fn pass(mark: u32) -> Statement {
    match mark {
        0 => Accept,
        _ => Goto(LET_PASS),
    }
}

/// An endpoint of a routed network on another host speaks with that network's bridge alone, and
/// comes by the link that leads to its host: whoever else uses its address is none, and whoever
/// else sends to it is of another network.
fn remotes(mark: u32) -> [ChainSpec; 2] {
    const FROM_WAY4: &[Field] = &[Field::OifName, Field::IifName, Field::Saddr(V4)];
    const FROM_WAY6: &[Field] = &[Field::OifName, Field::IifName, Field::Saddr(V6)];
    const TO_WAY4: &[Field] = &[Field::IifName, Field::OifName, Field::Daddr(V4)];
    const TO_WAY6: &[Field] = &[Field::IifName, Field::OifName, Field::Daddr(V6)];
    let chain = |name, four, six| {
        let way = |fields, set| rule("its own network", [Match::In(fields, set)], pass(mark));
        let rules = vec![
            way(four, SetName::Ways4),
            way(six, SetName::Ways6),
            rule("any other", [], Drop),
        ];
        ChainSpec::ours(name, None, rules)
    };
    [
        chain(FROM_REMOTE, FROM_WAY4, FROM_WAY6),
        chain(TO_REMOTE, TO_WAY4, TO_WAY6),
    ]
}

fn let_pass(mark: u32) -> ChainSpec {
    ChainSpec::ours(LET_PASS, None, vec![rule("let pass", [], Mark(mark))])
}

fn mark_leaving(mark: u32) -> ChainSpec {
    let foreign = FOREIGN_BRIDGES.map(|prefix| {
        let when = [Match::OifPrefix(prefix)];
        rule("another engine decides", when, Return)
    });
    let mut rules = Vec::from(foreign);
    rules.push(rule("let pass", [], Mark(mark)));
    ChainSpec::ours("mark_leaving", None, rules)
}

/// Before everybody else translates sources: of a connection that has a source others are not asked any
/// more (`nf_nat_inet_fn`), and by another one it would not find back.
fn to_ipv4() -> ChainSpec {
    let when = [Match::Family(V6), Match::In(OIF, SetName::Translators)];
    let rule = rule("to an IPv4 address", when, SnatTo6(mapped(TRANSLATED)));
    let place = base(ChainKind::Nat, Hook::Postrouting, SRCNAT - 1);
    ChainSpec::ours("to_ipv4", place, vec![rule])
}

/// The incoming interface is known after routing since Linux 5.7; it is empty for what this host
/// sends, which therefore keeps its source address.
fn postrouting(tunnels: bool) -> ChainSpec {
    let same = || Match::In(BOTH, SetName::SameBridge);
    let ours = || Match::In(OIF, SetName::Bridges);
    let neighbor = "a neighbour by its published port";
    // With br_netfilter, what comes back to its bridge is translated and sent on by the bridge
    // itself, which tells no incoming interface here (`br_nf_post_routing`).
    let bridged = [Match::NoIif, ours(), Match::Translated, Match::NotFromLocal];
    // Who keeps its address would be answered directly, past the translation, by an endpoint that is on
    // its network too.
    let beside = |family, set| {
        const FROM4: &[Field] = &[Field::IifName, Field::Daddr(V4)];
        const FROM6: &[Field] = &[Field::IifName, Field::Daddr(V6)];
        let fields = match family {
            V4 => FROM4,
            V6 => FROM6,
        };
        let when = [Match::In(fields, set), Match::Translated];
        rule("by its address on another network", when, Masquerade)
    };
    let local = "from localhost";
    let group = "to a group";
    let leaving = |family, set| {
        let when = [Match::Family(family), Match::In(IIF, set)];
        rule("leaves its network", when, Masquerade)
    };
    let source = |family, set| {
        let when = [Match::Family(family)];
        rule("leaves its network", when, Snat(family, IIF, set))
    };
    let (loopback4, loopback6) = (net4(127, 0, 0, 0, 8), alone(STAND_IN));
    let (groups4, groups6) = (net4(224, 0, 0, 0, 4), net6(0xff00, 0, 8));
    let mut rules = vec![
        rule(neighbor, [same(), Match::Translated], Masquerade),
        rule(neighbor, bridged, Masquerade),
        rule("neighbours", [same()], Return),
        beside(V4, SetName::Beside4),
        beside(V6, SetName::Beside6),
        rule(local, [ours(), Match::Source(loopback4)], Masquerade),
        rule(local, [ours(), Match::Source(loopback6)], Masquerade),
        rule(group, [Match::Destination(groups4)], Return),
        rule(group, [Match::Destination(groups6)], Return),
        rule(group, [Match::Family(V4), Match::ToBroadcast], Return),
    ];
    if tunnels {
        let remote = |fields, set| rule("on another host", [Match::In(fields, set)], Return);
        rules.push(remote(TO4, SetName::Remotes4));
        rules.push(remote(TO6, SetName::Remotes6));
    }
    rules.extend([
        source(V4, SetName::Snat4),
        source(V6, SetName::Snat6),
        leaving(V4, SetName::Masquerade4),
        leaving(V6, SetName::Masquerade6),
    ]);
    let place = base(ChainKind::Nat, Hook::Postrouting, SRCNAT);
    ChainSpec::ours("postrouting", place, rules)
}
