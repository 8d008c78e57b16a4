//! Tables: made, compared with what they should be, mended in place, deleted.
//!
//! Owns the transactions that do so; what stands is read elsewhere.

use super::abi::{Message, chain, number, rule, set, table};
use super::elements::list;
use super::rule::expressions;
use super::shape::{CHAIN_DATA, Shape, Standing, StandingChain, base_numbers, user_data};
use super::socket::Transaction;
use super::typeof_data::typeof_data;
use super::wire::be32;
use super::{Nft, Refused, abi};
use std::io;
use vw_firewall::spec::{Base, ChainSpec, Contents};
use vw_firewall::{DataType, Element, ServiceSet, SetName, TableSpec};

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

impl Nft {
    /// Compares a table with what it should be. What is in the administrator's chain and what
    /// others added beside ours does not count.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub(crate) fn check(&mut self, spec: &TableSpec) -> io::Result<Skeleton> {
        let Some(standing) = self.standing(spec)? else {
            return Ok(Skeleton::Absent);
        };
        let sets = spec
            .sets
            .iter()
            .all(|set| standing.sets.get(set.name()) == Some(&Shape::of(*set)));
        let chains = spec.chains.iter().all(|chain| {
            let found = standing.chains.get(chain.name);
            found.is_some_and(|found| found.is(spec.family, chain))
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

    /// Makes tables as they should be; where one is refused, those that were not there go again.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn ensure_all(&mut self, specs: &[TableSpec]) -> io::Result<()> {
        let mut made = Vec::new();
        for spec in specs {
            match self.ensure(spec) {
                Ok(true) => made.push(spec),
                Ok(false) => {}
                Err(refused) => {
                    for spec in made {
                        self.remove(spec)?;
                    }
                    return Err(refused.source);
                }
            }
        }
        Ok(())
    }

    /// Makes a table as it should be, and tells whether there was none.
    ///
    /// One that stands intact is kept; one that differs is mended in one transaction, in which
    /// the administrator's chain, others' chains and the elements stay, and sets that are new have
    /// the keys of their maps.
    ///
    /// # Errors
    /// [`Refused`] without a place.
    pub(crate) fn ensure(&mut self, spec: &TableSpec) -> Result<bool, Refused> {
        match self.create(spec) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return Ok(result.map(|()| true)?),
        }
        match self.check(spec)? {
            Skeleton::Intact => Ok(false),
            Skeleton::Absent => Ok(self.create(spec).map(|()| true)?),
            Skeleton::Altered => Ok(self.mend(spec).map(|()| false)?),
        }
    }

    /// Deletes a table with all that is in it; one that is gone is well.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn remove(&mut self, spec: &TableSpec) -> io::Result<()> {
        let mut transaction = Transaction::new();
        transaction.push(Message::DelTable, 0, number(spec.family), |body| {
            body.attr_str(table::NAME, spec.name);
        });
        match self.commit(transaction) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn create(&mut self, spec: &TableSpec) -> io::Result<()> {
        let mut transaction = Transaction::new();
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        transaction.push(Message::NewTable, flags, number(spec.family), |body| {
            body.attr_str(table::NAME, spec.name);
            be32(body, table::FLAGS, 0);
        });
        for (id, set) in (1..).zip(&spec.sets) {
            new_set(&mut transaction, spec, *set, id);
        }
        for chain in &spec.chains {
            new_chain(&mut transaction, spec, chain);
        }
        for chain in &spec.chains {
            new_rules(&mut transaction, spec, chain);
        }
        self.commit(transaction)
    }

    fn mend(&mut self, spec: &TableSpec) -> io::Result<()> {
        let standing = self.standing(spec)?.unwrap_or_default();
        let mut elements = self.verdicts(spec)?;
        let differs = |set: &SetName| standing.sets.get(set.name()) != Some(&Shape::of(*set));
        for set in spec.sets.iter().copied().filter(differs) {
            elements.extend(self.keys(set)?);
        }
        let mut transaction = Transaction::new();
        clear(&mut transaction, spec, &standing);
        for (id, set) in (1..).zip(&spec.sets) {
            if differs(set) {
                new_set(&mut transaction, spec, *set, id);
            }
        }
        for chain in &spec.chains {
            new_chain(&mut transaction, spec, chain);
        }
        for chain in &spec.chains {
            new_rules(&mut transaction, spec, chain);
        }
        for element in &elements {
            let flags = libc::NLM_F_CREATE;
            transaction.push(Message::NewSetElem, flags, number(spec.family), |body| {
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

    /// What a set holds of the map whose keys it has.
    fn keys(&mut self, set: SetName) -> io::Result<Vec<Element>> {
        let mut found = Vec::new();
        if let Some(map) = set.keys_of() {
            self.elements_of(map, &mut found)?;
        }
        let key = |element: Element| Element {
            set,
            key: element.key,
            value: Vec::new(),
        };
        Ok(found.into_iter().map(key).collect())
    }

    /// Commits; the first refusal as an error.
    pub(super) fn commit(&mut self, transaction: Transaction) -> io::Result<()> {
        match self.socket.commit(transaction)?.into_iter().next() {
            Some(refusal) => Err(refusal.into_error()),
            None => Ok(()),
        }
    }
}

/// Takes out all that is ours and not as it should be, and the rules of what is.
fn clear(transaction: &mut Transaction, spec: &TableSpec, standing: &Standing) {
    let family = number(spec.family);
    let ours = |name: &str, chain: &StandingChain| match spec.chain(name) {
        Some(wanted) => wanted.contents != Contents::Administrator,
        None => chain.ours,
    };
    let chains = || {
        let all = standing.chains.iter();
        all.filter(|(name, chain)| ours(name, chain))
    };
    for (name, _) in chains() {
        transaction.push(Message::DelRule, 0, family, |body| {
            body.attr_str(rule::TABLE, spec.name);
            body.attr_str(rule::CHAIN, name);
        });
    }
    for set in &spec.sets {
        let Some(shape) = standing.sets.get(set.name()) else {
            continue;
        };
        if holds_chains(*set) {
            transaction.push(Message::DelSetElem, 0, family, |body| {
                body.attr_str(abi::elem::TABLE, spec.name);
                body.attr_str(abi::elem::SET, set.name());
            });
        }
        if *shape != Shape::of(*set) {
            transaction.push(Message::DelSet, 0, family, |body| {
                body.attr_str(set::TABLE, spec.name);
                body.attr_str(set::NAME, set.name());
            });
        }
    }
    for (name, chain) in chains() {
        let wanted = spec.chain(name).and_then(base_of);
        if spec.chain(name).is_none() || chain.base != wanted.map(base_numbers) {
            transaction.push(Message::DelChain, 0, family, |body| {
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

fn new_set(transaction: &mut Transaction, in_table: &TableSpec, name: SetName, id: u32) {
    let family = number(in_table.family);
    let shape = Shape::of(name);
    transaction.push(Message::NewSet, libc::NLM_F_CREATE, family, |body| {
        body.attr_str(set::TABLE, in_table.name);
        body.attr_str(set::NAME, name.name());
        be32(body, set::ID, id);
        be32(body, set::KEY_TYPE, shape.key.0);
        be32(body, set::KEY_LEN, shape.key.1);
        if let SetName::Service(slots @ ServiceSet::Slots(_)) = name {
            body.attr(set::USERDATA, &typeof_data(slots));
        }
        if let Some(data) = key_byte_order(name) {
            body.attr(set::USERDATA, &data);
        }
        if !name.value().is_empty() {
            be32(body, set::FLAGS, set::MAP);
            be32(body, set::DATA_TYPE, shape.data.0);
            be32(body, set::DATA_LEN, shape.data.1);
        }
    });
}

fn new_chain(transaction: &mut Transaction, in_table: &TableSpec, spec: &ChainSpec) {
    let family = number(in_table.family);
    transaction.push(Message::NewChain, libc::NLM_F_CREATE, family, |body| {
        body.attr_str(chain::TABLE, in_table.name);
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
            body.attr(chain::USERDATA, &CHAIN_DATA);
        }
    });
}

fn new_rules(transaction: &mut Transaction, in_table: &TableSpec, spec: &ChainSpec) {
    let Contents::Ours { rules, .. } = &spec.contents else {
        return;
    };
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    let family = in_table.family;
    for one in rules {
        transaction.push(Message::NewRule, flags, number(family), |body| {
            body.attr_str(rule::TABLE, in_table.name);
            body.attr_str(rule::CHAIN, spec.name);
            body.nest(rule::EXPRESSIONS, |list| expressions(list, family, one));
            body.attr(rule::USERDATA, &user_data(family, one));
        });
    }
}

/// Tells `nft` how to read a key that is one field; fields of a concatenation it knows by itself
/// (`NFTNL_UDATA_SET_KEYBYTEORDER`, `enum byteorder` of nftables).
fn key_byte_order(name: SetName) -> Option<[u8; 6]> {
    const KEY_BYTE_ORDER: u8 = 0;
    const HOST: u32 = 1;
    let [DataType::IfName] = name.key() else {
        return None;
    };
    let [a, b, c, d] = HOST.to_ne_bytes();
    Some([KEY_BYTE_ORDER, 4, a, b, c, d])
}
