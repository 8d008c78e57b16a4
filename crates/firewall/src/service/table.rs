//! The skeleton of `inet vethwork_services`: there while there is a service, the same for any number.
//!
//! It decides before the host's table does, in the same hooks: who is led to an endpoint of a
//! service is not asked about published ports of containers any more. Bridged packets to a virtual
//! address are not bridged, because the bridge itself has that address.

use super::{CLASSES, Entry, ServiceSet};
use crate::SetName;
use crate::foreign::TableFamily;
use crate::spec::{Base, ChainKind, ChainSpec, Field, Hook, Match, Rule, Statement, TableSpec};
use crate::table::{FORWARD, NO_PART, RAW, SRCNAT, alone, input, stand_in, untranslated};
use std::net::Ipv6Addr;
use vw_model::{
    Family::{self, V4, V6},
    Protocol,
};

/// The name of the table in the family `inet`.
pub const SERVICE_TABLE: &str = "vethwork_services";

/// One step before `dstnat`, where the host's table decides.
const BEFORE: i32 = -101;

/// How often a slot is drawn before one of the lower half is taken, which are all there. At least
/// half of the draws find one, so that less than one connection in a hundred comes to that.
const DRAWS: usize = 7;

/// What a set of entries is asked for; a slot's number follows in the map of slots.
const VIP4: &[Field] = &[Field::Daddr(V4)];
const VIP6: &[Field] = &[Field::Daddr(V6)];
const PORT: &[Field] = &[Field::L4Proto, Field::Dport];
const AT4: &[Field] = &[Field::Daddr(V4), Field::L4Proto, Field::Dport];
const AT6: &[Field] = &[Field::Daddr(V6), Field::L4Proto, Field::Dport];

const fn at_random(class: usize) -> Field {
    Field::Random(1 << class)
}

/// Each draw of the same client must differ from the last, and be the same next time.
const fn by_source(family: Family, class: usize, draw: usize) -> Field {
    Field::SourceHash {
        family,
        modulus: 1 << class,
        seed: draw as u32 + 1,
    }
}

/// The fields by which slots are looked up, with a number drawn at random and by source: by class,
/// and for the latter by draw.
struct Draws<const N: usize> {
    random: [[Field; N]; CLASSES],
    source: [[[Field; N]; DRAWS + 1]; CLASSES],
}

impl<const N: usize> Draws<N> {
    const fn new(key: &[Field], family: Family) -> Self {
        let mut one = [Field::L4Proto; N];
        let mut at = 0;
        while at < key.len() {
            one[at] = key[at];
            at += 1;
        }
        let mut draws = Self {
            random: [one; CLASSES],
            source: [[one; DRAWS + 1]; CLASSES],
        };
        let mut class = 0;
        while class < CLASSES {
            draws.random[class][N - 1] = at_random(class);
            let mut draw = 0;
            while draw <= DRAWS {
                draws.source[class][draw][N - 1] = by_source(family, class, draw);
                draw += 1;
            }
            class += 1;
        }
        draws
    }
}

static DRAWS_VIP4: Draws<2> = Draws::new(VIP4, V4);
static DRAWS_VIP6: Draws<2> = Draws::new(VIP6, V6);
static DRAWS_PORT4: Draws<3> = Draws::new(PORT, V4);
static DRAWS_PORT6: Draws<3> = Draws::new(PORT, V6);
static DRAWS_AT4: Draws<4> = Draws::new(AT4, V4);
static DRAWS_AT6: Draws<4> = Draws::new(AT6, V6);

/// How a slot is drawn.
#[derive(Clone, Copy)]
enum Draw {
    Random,
    Source(usize),
}

fn drawn(entry: Entry, class: usize, draw: Draw) -> &'static [Field] {
    fn of<const N: usize>(draws: &'static Draws<N>, class: usize, draw: Draw) -> &'static [Field] {
        match draw {
            Draw::Random => &draws.random[class],
            Draw::Source(number) => &draws.source[class][number],
        }
    }
    match entry {
        Entry::Vip4 => of(&DRAWS_VIP4, class, draw),
        Entry::Vip6 => of(&DRAWS_VIP6, class, draw),
        Entry::Port4 => of(&DRAWS_PORT4, class, draw),
        Entry::Port6 => of(&DRAWS_PORT6, class, draw),
        Entry::At4 => of(&DRAWS_AT4, class, draw),
        Entry::At6 => of(&DRAWS_AT6, class, draw),
    }
}

/// The table, without elements.
#[must_use]
pub fn service_table() -> TableSpec {
    let mut chains = balancing();
    chains.extend([stand_in(), published6(), from_localhost()]);
    chains.extend([untranslated_here(), input()]);
    chains.push(enter("prerouting", Hook::Prerouting));
    chains.push(enter("output", Hook::Output));
    with_sets(chains)
}

/// The same of a namespace that does nothing but lead to endpoints that may lie on other hosts: what
/// is led there comes back by it, and nothing else passes through it.
#[must_use]
pub fn balancer_table() -> TableSpec {
    let mut chains = balancing();
    chains.push(enter("prerouting", Hook::Prerouting));
    let base = |kind, hook, priority| {
        Some(Base {
            kind,
            hook,
            priority,
        })
    };
    let pass = vec![
        rule("led here", vec![Match::Established], Statement::Accept),
        rule("led here", vec![Match::Translated], Statement::Accept),
        rule("this is no router", Vec::new(), Statement::Drop),
    ];
    let forward = base(ChainKind::Filter, Hook::Forward, FORWARD);
    chains.push(ChainSpec::ours("forward", forward, pass));
    // Nothing listens here.
    chains.push(untranslated(vec![rule(
        NO_PART,
        Vec::new(),
        Statement::Drop,
    )]));
    chains.push(input());
    let back = "comes back by this host";
    let back = vec![rule(back, vec![Match::Translated], Statement::Masquerade)];
    let postrouting = base(ChainKind::Nat, Hook::Postrouting, SRCNAT);
    chains.push(ChainSpec::ours("postrouting", postrouting, back));
    with_sets(chains)
}

/// The chains that choose a slot.
fn balancing() -> Vec<ChainSpec> {
    let mut chains = Vec::new();
    for entry in Entry::ALL {
        for class in 0..CLASSES {
            chains.push(draw(entry, class, entry.names().draw[class], |_| {
                Draw::Random
            }));
            chains.push(draw(entry, class, entry.names().hash[class], Draw::Source));
        }
        chains.push(stick(entry));
        chains.push(balance(entry));
    }
    chains
}

fn with_sets(chains: Vec<ChainSpec>) -> TableSpec {
    let sets = ServiceSet::ALL.into_iter().map(SetName::Service);
    TableSpec {
        family: TableFamily::Inet,
        name: SERVICE_TABLE,
        sets: sets.collect(),
        chains,
    }
}

const fn rule(why: &'static str, when: Vec<Match>, then: Statement) -> Rule {
    Rule { why, when, then }
}

/// Draws slots of one class until there is one.
fn draw(entry: Entry, class: usize, name: &'static str, how: impl Fn(usize) -> Draw) -> ChainSpec {
    let lead = |class, number| {
        let slots = SetName::Service(ServiceSet::Slots(entry));
        let fields = drawn(entry, class, how(number));
        rule(
            "",
            Vec::new(),
            Statement::Dnat(entry.family(), fields, slots),
        )
    };
    // Of one or two slots, one or two are there.
    let rules = if class < 2 {
        vec![lead(class, 0)]
    } else {
        let last = lead(class - 1, DRAWS);
        (0..DRAWS)
            .map(|number| lead(class, number))
            .chain([last])
            .collect()
    };
    ChainSpec::ours(name, None, rules)
}

const fn key(entry: Entry) -> &'static [Field] {
    match entry {
        Entry::Vip4 => VIP4,
        Entry::Vip6 => VIP6,
        Entry::Port4 | Entry::Port6 => PORT,
        Entry::At4 => AT4,
        Entry::At6 => AT6,
    }
}

fn by_class(entry: Entry, chains: [&'static str; CLASSES]) -> impl Iterator<Item = Rule> {
    (0..).zip(chains).map(move |(class, chain)| {
        let set = SetName::Service(ServiceSet::Class(entry, class));
        rule("", vec![Match::In(key(entry), set)], Statement::Goto(chain))
    })
}

fn stick(entry: Entry) -> ChainSpec {
    let names = entry.names();
    ChainSpec::ours(names.stick, None, by_class(entry, names.hash).collect())
}

fn balance(entry: Entry) -> ChainSpec {
    let names = entry.names();
    let affine = SetName::Service(ServiceSet::Affine(entry));
    let why = "by the client's address";
    let stick = rule(
        why,
        vec![Match::In(key(entry), affine)],
        Statement::Goto(names.stick),
    );
    let rules = std::iter::once(stick).chain(by_class(entry, names.draw));
    ChainSpec::ours(names.balance, None, rules.collect())
}

/// Ports where somebody serves, and segments of connections that began at any that is published:
/// who was led goes on to be. A connection that nobody would be led to must begin as what it is, or
/// its refusal belonged to none that the kernel knows.
fn published6() -> ChainSpec {
    let stand_in = |when| rule("", when, Statement::Goto("stand_in"));
    let served = |fields, entry| {
        (0..).take(CLASSES).map(move |class| {
            let set = SetName::Service(ServiceSet::Class(entry, class));
            stand_in(vec![Match::In(fields, set)])
        })
    };
    let begun = |fields, set| {
        let set = SetName::Service(set);
        stand_in(vec![Match::Begun, Match::In(fields, set)])
    };
    let began = [
        begun(PORT, ServiceSet::Ports(V6)),
        begun(AT6, ServiceSet::At(V6)),
    ];
    let served = served(PORT, Entry::Port6).chain(served(AT6, Entry::At6));
    ChainSpec::ours("published6", None, served.chain(began).collect())
}

/// Questions to published ports; the host's own table knows the bridges by which answers come.
fn untranslated_here() -> ChainSpec {
    let any = |family| {
        let set = SetName::Service(ServiceSet::Ports(family));
        let when = vec![Match::Family(family), Match::In(PORT, set)];
        rule(NO_PART, when, Statement::Drop)
    };
    let one = |fields, family| {
        let set = SetName::Service(ServiceSet::At(family));
        rule(NO_PART, vec![Match::In(fields, set)], Statement::Drop)
    };
    untranslated(vec![any(V4), any(V6), one(AT4, V4), one(AT6, V6)])
}

/// As in the host's table, which gives `::1` again to what comes back.
fn from_localhost() -> ChainSpec {
    let localhost = Match::Source(alone(Ipv6Addr::LOCALHOST));
    let base = Base {
        kind: ChainKind::Filter,
        hook: Hook::Output,
        priority: RAW,
    };
    let why = "to a service's port";
    let when = vec![localhost, Match::ToLocal];
    let rules = vec![rule(why, when, Statement::Goto("published6"))];
    ChainSpec::ours("from_localhost", Some(base), rules)
}

/// What the host sends to an address of its own leaves, at this point, by the loopback interface.
fn enter(name: &'static str, hook: Hook) -> ChainSpec {
    const FROM4: &[Field] = &[Field::IifName, Field::Daddr(V4)];
    const FROM6: &[Field] = &[Field::IifName, Field::Daddr(V6)];
    const BY4: &[Field] = &[Field::OifName, Field::Daddr(V4)];
    const BY6: &[Field] = &[Field::OifName, Field::Daddr(V6)];
    let (from4, from6) = match hook {
        Hook::Output => (BY4, BY6),
        _ => (FROM4, FROM6),
    };
    let pass = |family| {
        let why = "this host answers to ping";
        rule(
            why,
            vec![Match::Family(family), Match::Icmp(family)],
            Statement::Return,
        )
    };
    let lead = |family, from, entry: Entry| {
        let home = SetName::Service(ServiceSet::Home(family));
        let then = Statement::Jump(entry.names().balance);
        rule("a service's address", vec![Match::In(from, home)], then)
    };
    let refuse = |family, to| {
        let vips = Match::In(to, SetName::Service(ServiceSet::Vips(family)));
        let why = "nobody serves, or not for you";
        let tcp = vec![vips.clone(), Match::Transport(Protocol::Tcp)];
        // The kernel does not take one from itself for what it is about to send.
        let reset = (hook != Hook::Output).then(|| rule(why, tcp, Statement::Reset));
        let reject = rule(why, vec![vips], Statement::Reject(family));
        reset.into_iter().chain([reject])
    };
    let base = Base {
        kind: ChainKind::Nat,
        hook,
        priority: BEFORE,
    };
    // Twice, because the kernel looks each set up in the generation of that moment: an entry that
    // moves from one class to the one before it, between the two, is found in neither.
    let rules = vec![
        pass(V4),
        pass(V6),
        lead(V4, from4, Entry::Vip4),
        lead(V6, from6, Entry::Vip6),
        lead(V4, from4, Entry::Vip4),
        lead(V6, from6, Entry::Vip6),
    ];
    let refused = refuse(V4, VIP4).chain(refuse(V6, VIP6));
    let rules = rules.into_iter().chain(refused);
    let rules = rules.chain(publish()).chain(publish());
    ChainSpec::ours(name, Some(base), rules.chain(refuse_flows()).collect())
}

/// Who sends to a port that nobody serves is refused before a connection is recorded: its further
/// packets would keep that alive, and follow it past endpoints that come. So would those of an
/// association of SCTP that is not answered. TCP begins anew with each attempt, and is refused by the
/// host itself, at once and as often as it likes.
fn refuse_flows() -> [Rule; 8] {
    let one = |family, to, protocol| {
        let set = SetName::Service(ServiceSet::At(family));
        let when = vec![
            Match::In(to, set),
            Match::Transport(protocol),
            Match::ToLocal,
        ];
        rule("nobody serves", when, Statement::Reject(family))
    };
    let any = |family, protocol| {
        let set = SetName::Service(ServiceSet::Ports(family));
        let when = vec![
            Match::Family(family),
            Match::In(PORT, set),
            Match::Transport(protocol),
            Match::ToLocal,
        ];
        rule("nobody serves", when, Statement::Reject(family))
    };
    [
        one(V4, AT4, Protocol::Udp),
        one(V6, AT6, Protocol::Udp),
        one(V4, AT4, Protocol::Sctp),
        one(V6, AT6, Protocol::Sctp),
        any(V4, Protocol::Udp),
        any(V6, Protocol::Udp),
        any(V4, Protocol::Sctp),
        any(V6, Protocol::Sctp),
    ]
}

/// What is published on one address, then on every one.
fn publish() -> [Rule; 4] {
    let one = |family, to, entry: Entry| {
        let set = SetName::Service(ServiceSet::At(family));
        let when = vec![Match::In(to, set), Match::ToLocal];
        let why = "a service's port on one address";
        rule(why, when, Statement::Jump(entry.names().balance))
    };
    let any = |family, entry: Entry| {
        let when = vec![Match::Family(family), Match::ToLocal];
        let why = "a service's port";
        rule(why, when, Statement::Jump(entry.names().balance))
    };
    [
        one(V4, AT4, Entry::At4),
        one(V6, AT6, Entry::At6),
        any(V4, Entry::Port4),
        any(V6, Entry::Port6),
    ]
}
