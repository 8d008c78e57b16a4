//! Tables: made, compared with what they should be, mended in place, deleted.
//!
//! Every rule carries a digest of itself in its user data. Rules cannot be changed, only replaced,
//! so the digests of a chain in their order tell whether it is as we made it.

use super::abi::{INET, Message, chain, rule, set, table};
use super::elements::list;
use super::rule::expressions;
use super::socket::Transaction;
use super::wire::{be32, find, get_be32, length, text, type_id};
use super::{Nft, Refused, abi};
use crate::netlink::{Attrs, Batch, Body};
use std::{collections::BTreeMap, io};
use vw_firewall::spec::{Base, ChainKind, ChainSpec, Contents, Hook, Rule};
use vw_firewall::{DataType, Element, SetName, TableSpec};

/// Entries of user data: the comment that `nft` shows, and ours, which it skips.
const COMMENT: u8 = 0;
const DIGEST: u8 = 0x56;

/// How a table stands against what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skeleton {
    /// There is none.
    Absent,
    /// Its chains, rules and sets are as they should be.
    Intact,
    /// Something is missing, too much or different.
    Altered,
}

/// What stands of a table.
#[derive(Debug, Default)]
struct Standing {
    sets: BTreeMap<String, Shape>,
    chains: BTreeMap<String, StandingChain>,
}

/// The types and lengths of a set's keys and values, as the kernel knows them.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    key: (u32, u32),
    data: (u32, u32),
}

#[derive(Debug, Default)]
struct StandingChain {
    /// Type, hook and priority of a base chain.
    base: Option<(String, u32, i32)>,
    drops: bool,
    /// Whether we made it.
    ours: bool,
    /// Digests of its rules; `None` for a rule of somebody else's.
    rules: Vec<Option<u64>>,
}

impl Nft {
    /// Compares a table with what it should be. What is in the administrator's chain and what
    /// others added beside ours does not count.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub(crate) fn check(&mut self, spec: &TableSpec) -> io::Result<Skeleton> {
        let Some(standing) = self.standing(spec.name)? else {
            return Ok(Skeleton::Absent);
        };
        let sets = spec
            .sets
            .iter()
            .all(|set| standing.sets.get(set.name()) == Some(&Shape::of(*set)));
        let chains = spec.chains.iter().all(|chain| {
            let found = standing.chains.get(chain.name);
            found.is_some_and(|found| found.is(chain))
        });
        let stale = standing
            .chains
            .iter()
            .any(|(name, chain)| chain.ours && spec.chain(name).is_none());
        Ok(match sets && chains && !stale {
            true => Skeleton::Intact,
            false => Skeleton::Altered,
        })
    }

    /// Makes a table as it should be.
    ///
    /// One that stands intact is kept; one that differs is mended in one transaction, in which
    /// the administrator's chain, others' chains and the elements stay.
    ///
    /// # Errors
    /// [`Refused`] without a place.
    pub(crate) fn ensure(&mut self, spec: &TableSpec) -> Result<(), Refused> {
        match self.create(spec) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return Ok(result?),
        }
        match self.check(spec)? {
            Skeleton::Intact => Ok(()),
            Skeleton::Absent => Ok(self.create(spec)?),
            Skeleton::Altered => Ok(self.mend(spec)?),
        }
    }

    /// Deletes a table with all that is in it; one that is gone is well.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut transaction = Transaction::new();
        transaction.push(Message::DelTable, 0, INET, |body| {
            body.attr_str(table::NAME, name);
        });
        match self.commit(transaction) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn create(&mut self, spec: &TableSpec) -> io::Result<()> {
        let mut transaction = Transaction::new();
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        transaction.push(Message::NewTable, flags, INET, |body| {
            body.attr_str(table::NAME, spec.name);
            be32(body, table::FLAGS, 0);
        });
        for (id, set) in (1..).zip(&spec.sets) {
            new_set(&mut transaction, spec.name, *set, id);
        }
        for chain in &spec.chains {
            new_chain(&mut transaction, spec.name, chain);
        }
        for chain in &spec.chains {
            new_rules(&mut transaction, spec.name, chain);
        }
        self.commit(transaction)
    }

    fn mend(&mut self, spec: &TableSpec) -> io::Result<()> {
        let standing = self.standing(spec.name)?.unwrap_or_default();
        let verdicts = self.verdicts(spec)?;
        let mut transaction = Transaction::new();
        clear(&mut transaction, spec, &standing);
        for (id, set) in (1..).zip(&spec.sets) {
            if standing.sets.get(set.name()) != Some(&Shape::of(*set)) {
                new_set(&mut transaction, spec.name, *set, id);
            }
        }
        for chain in &spec.chains {
            new_chain(&mut transaction, spec.name, chain);
        }
        for chain in &spec.chains {
            new_rules(&mut transaction, spec.name, chain);
        }
        for element in &verdicts {
            let flags = libc::NLM_F_CREATE;
            transaction.push(Message::NewSetElem, flags, INET, |body| {
                list(body, element.set, std::iter::once(element));
            });
        }
        self.commit(transaction)
    }

    /// The elements that hold chains in place; those that lead to unknown chains are left out.
    fn verdicts(&mut self, spec: &TableSpec) -> io::Result<Vec<Element>> {
        let mut found = Vec::new();
        for set in spec.sets.iter().filter(|set| holds_chains(**set)) {
            self.elements_of(*set, &mut found)?;
        }
        Ok(found)
    }

    /// Commits; the first refusal as an error.
    pub(super) fn commit(&mut self, transaction: Transaction) -> io::Result<()> {
        match self.socket.commit(transaction)?.into_iter().next() {
            Some(refusal) => Err(refusal.into_error()),
            None => Ok(()),
        }
    }

    /// What stands of a table; `None` when there is none.
    fn standing(&mut self, name: &str) -> io::Result<Option<Standing>> {
        let mut present = false;
        let all = |_: &mut Body<'_>| {};
        self.socket.dump(Message::GetTable, INET, all, |_, attrs| {
            present |= find(attrs, table::NAME).is_some_and(|found| text(found) == name);
        })?;
        if !present {
            return Ok(None);
        }
        let mut standing = Standing::default();
        let of_table = |body: &mut Body<'_>| body.attr_str(set::TABLE, name);
        self.socket
            .dump(Message::GetSet, INET, of_table, |_, attrs| {
                let found = find(attrs, set::NAME).map(text).unwrap_or_default();
                let shape = Shape::parse(attrs);
                standing.sets.insert(found.to_owned(), shape);
            })?;
        self.socket.dump(Message::GetChain, INET, all, |_, attrs| {
            if find(attrs, chain::TABLE).is_some_and(|found| text(found) == name) {
                let found = find(attrs, chain::NAME).map(text).unwrap_or_default();
                let chain = StandingChain::parse(attrs);
                standing.chains.insert(found.to_owned(), chain);
            }
        })?;
        let of_table = |body: &mut Body<'_>| body.attr_str(rule::TABLE, name);
        self.socket
            .dump(Message::GetRule, INET, of_table, |_, attrs| {
                let chain = find(attrs, rule::CHAIN).map(text).unwrap_or_default();
                if let Some(chain) = standing.chains.get_mut(chain) {
                    chain.rules.push(digest_of(find(attrs, rule::USERDATA)));
                }
            })?;
        Ok(Some(standing))
    }
}

/// Takes out all that is ours and not as it should be, and the rules of what is.
fn clear(transaction: &mut Transaction, spec: &TableSpec, standing: &Standing) {
    let ours = |name: &str, chain: &StandingChain| match spec.chain(name) {
        Some(wanted) => wanted.contents != Contents::Administrator,
        None => chain.ours,
    };
    let chains = || {
        let all = standing.chains.iter();
        all.filter(|(name, chain)| ours(name, chain))
    };
    for (name, _) in chains() {
        transaction.push(Message::DelRule, 0, INET, |body| {
            body.attr_str(rule::TABLE, spec.name);
            body.attr_str(rule::CHAIN, name);
        });
    }
    for set in &spec.sets {
        let Some(shape) = standing.sets.get(set.name()) else {
            continue;
        };
        if holds_chains(*set) {
            transaction.push(Message::DelSetElem, 0, INET, |body| {
                body.attr_str(abi::elem::TABLE, spec.name);
                body.attr_str(abi::elem::SET, set.name());
            });
        }
        if *shape != Shape::of(*set) {
            transaction.push(Message::DelSet, 0, INET, |body| {
                body.attr_str(set::TABLE, spec.name);
                body.attr_str(set::NAME, set.name());
            });
        }
    }
    for (name, chain) in chains() {
        let wanted = spec.chain(name).and_then(base_of);
        if spec.chain(name).is_none() || chain.base != wanted.map(base_numbers) {
            transaction.push(Message::DelChain, 0, INET, |body| {
                body.attr_str(chain::TABLE, spec.name);
                body.attr_str(chain::NAME, name);
            });
        }
    }
}

fn holds_chains(set: SetName) -> bool {
    set.value() == [DataType::Verdict]
}

fn base_of(chain: &ChainSpec) -> Option<Base> {
    match &chain.contents {
        Contents::Administrator => None,
        Contents::Ours { base, .. } => *base,
    }
}

/// A base as the kernel tells it; `NF_INET_*` numbers the hooks.
fn base_numbers(base: Base) -> (String, u32, i32) {
    let kind = match base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
    };
    let hook = match base.hook {
        Hook::Prerouting => 0,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    };
    (kind.to_owned(), hook, base.priority)
}

fn new_set(transaction: &mut Transaction, in_table: &str, name: SetName, id: u32) {
    let shape = Shape::of(name);
    transaction.push(Message::NewSet, libc::NLM_F_CREATE, INET, |body| {
        body.attr_str(set::TABLE, in_table);
        body.attr_str(set::NAME, name.name());
        be32(body, set::ID, id);
        be32(body, set::KEY_TYPE, shape.key.0);
        be32(body, set::KEY_LEN, shape.key.1);
        if !name.value().is_empty() {
            be32(body, set::FLAGS, set::MAP);
            be32(body, set::DATA_TYPE, shape.data.0);
            be32(body, set::DATA_LEN, shape.data.1);
        }
    });
}

fn new_chain(transaction: &mut Transaction, in_table: &str, spec: &ChainSpec) {
    transaction.push(Message::NewChain, libc::NLM_F_CREATE, INET, |body| {
        body.attr_str(chain::TABLE, in_table);
        body.attr_str(chain::NAME, spec.name);
        if let Some((kind, hook, priority)) = base_of(spec).map(base_numbers) {
            body.nest(chain::HOOK, |body| {
                be32(body, chain::HOOK_NUM, hook);
                be32(body, chain::HOOK_PRIORITY, priority.cast_unsigned());
            });
            let accept = abi::verdict::ACCEPT.cast_unsigned();
            be32(body, chain::POLICY, accept);
            body.attr_str(chain::TYPE, &kind);
        }
        if spec.contents != Contents::Administrator {
            body.attr(chain::USERDATA, &[DIGEST, 0]);
        }
    });
}

fn new_rules(transaction: &mut Transaction, in_table: &str, spec: &ChainSpec) {
    let Contents::Ours { rules, .. } = &spec.contents else {
        return;
    };
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    for one in rules {
        transaction.push(Message::NewRule, flags, INET, |body| {
            body.attr_str(rule::TABLE, in_table);
            body.attr_str(rule::CHAIN, spec.name);
            body.nest(rule::EXPRESSIONS, |list| expressions(list, one));
            body.attr(rule::USERDATA, &user_data(one));
        });
    }
}

/// The comment and the digest, each as type, length, value (`struct nftnl_udata`).
fn user_data(rule: &Rule) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    if !rule.why.is_empty() {
        out.extend_from_slice(&[COMMENT, rule.why.len() as u8 + 1]);
        out.extend_from_slice(rule.why.as_bytes());
        out.push(0);
    }
    out.extend_from_slice(&[DIGEST, 8]);
    out.extend_from_slice(&digest(rule).to_ne_bytes());
    out
}

/// FNV-1a of the rule's expressions: it guards against mishaps, not against malice.
fn digest(rule: &Rule) -> u64 {
    let mut batch = Batch::default();
    batch.push(0, 0, |list| expressions(list, rule));
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    batch.whole(0, 0).iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn digest_of(user_data: Option<&[u8]>) -> Option<u64> {
    let mut rest = user_data?;
    while let [kind, len, tail @ ..] = rest {
        let (entry, next) = tail.split_at_checked(usize::from(*len))?;
        if *kind == DIGEST {
            return Some(u64::from_ne_bytes(*entry.first_chunk()?));
        }
        rest = next;
    }
    None
}

impl Shape {
    fn of(set: SetName) -> Self {
        let data = match set.value() {
            [] => (0, 0),
            // The kernel tells no length for verdicts.
            [DataType::Verdict] => (set::DATA_VERDICT, 0),
            types => (type_id(types), length(types) as u32),
        };
        let types = set.key();
        // A lone field has its own length, several are padded to registers.
        let key = match types {
            [DataType::InetProto | DataType::NfProto] => 1,
            [DataType::InetService] => 2,
            types => length(types) as u32,
        };
        Self {
            key: (type_id(types), key),
            data,
        }
    }

    fn parse(attrs: Attrs<'_>) -> Self {
        let number = |kind| find(attrs, kind).map(get_be32).unwrap_or_default();
        let data_type = number(set::DATA_TYPE);
        let data_len = match data_type {
            set::DATA_VERDICT => 0,
            _ => number(set::DATA_LEN),
        };
        Self {
            key: (number(set::KEY_TYPE), number(set::KEY_LEN)),
            data: (data_type, data_len),
        }
    }
}

impl StandingChain {
    fn parse(attrs: Attrs<'_>) -> Self {
        let base = find(attrs, chain::HOOK).map(|hook| {
            let number = |kind| {
                find(Attrs::of(hook), kind)
                    .map(get_be32)
                    .unwrap_or_default()
            };
            let kind = find(attrs, chain::TYPE).map(text).unwrap_or_default();
            let priority = number(chain::HOOK_PRIORITY).cast_signed();
            (kind.to_owned(), number(chain::HOOK_NUM), priority)
        });
        let policy = find(attrs, chain::POLICY).map(get_be32);
        let drop = abi::verdict::DROP.cast_unsigned();
        let user_data = find(attrs, chain::USERDATA).and_then(<[u8]>::first);
        Self {
            base,
            drops: policy == Some(drop),
            ours: user_data == Some(&DIGEST),
            rules: Vec::new(),
        }
    }

    fn is(&self, spec: &ChainSpec) -> bool {
        let Contents::Ours { base, rules } = &spec.contents else {
            return self.base.is_none();
        };
        let digests = rules.iter().map(|rule| Some(digest(rule)));
        self.base == base.map(base_numbers) && !self.drops && self.rules.iter().copied().eq(digests)
    }
}
