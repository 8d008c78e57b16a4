//! What stands of a table, and whether it is what was asked for.
//!
//! Every rule carries a digest of itself in its user data. Rules cannot be changed, only replaced,
//! so the digests of a chain in their order tell whether it is as we made it.

use super::Nft;
use super::abi::{self, Message, chain, number, rule, set, table};
use super::rule::expressions;
use super::wire::{find, get_be32, length, text, type_id};
use crate::netlink::{Attrs, Batch, Body};
use std::{collections::BTreeMap, io};
use vw_firewall::foreign::TableFamily;
use vw_firewall::spec::{Base, ChainKind, ChainSpec, Contents, Hook, Rule};
use vw_firewall::{DataType, SetName, TableSpec};

/// Entries of user data: the comment that `nft` shows, and ours, which it skips.
const COMMENT: u8 = 0;
const DIGEST: u8 = 0x56;

/// What stands of a table.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) sets: BTreeMap<String, Shape>,
    pub(super) chains: BTreeMap<String, StandingChain>,
}

/// The types and lengths of a set's keys and values, as the kernel knows them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) key: (u32, u32),
    pub(super) data: (u32, u32),
}

#[derive(Debug, Default)]
pub(super) struct StandingChain {
    /// Type, hook and priority of a base chain.
    pub(super) base: Option<(String, u32, i32)>,
    drops: bool,
    /// Whether we made it.
    pub(super) ours: bool,
    /// Digests of its rules; `None` for a rule of somebody else's.
    rules: Vec<Option<u64>>,
}

impl Nft {
    /// What stands of a table; `None` when there is none.
    pub(super) fn standing(&mut self, spec: &TableSpec) -> io::Result<Option<Standing>> {
        let (family, name) = (number(spec.family), spec.name);
        let mut present = false;
        let all = |_: &mut Body<'_>| {};
        self.socket
            .dump(Message::GetTable, family, all, |_, attrs| {
                present |= find(attrs, table::NAME).is_some_and(|found| text(found) == name);
            })?;
        if !present {
            return Ok(None);
        }
        let mut standing = Standing::default();
        let of_table = |body: &mut Body<'_>| body.attr_str(set::TABLE, name);
        self.socket
            .dump(Message::GetSet, family, of_table, |_, attrs| {
                let found = find(attrs, set::NAME).map(text).unwrap_or_default();
                let shape = Shape::parse(attrs);
                standing.sets.insert(found.to_owned(), shape);
            })?;
        self.socket
            .dump(Message::GetChain, family, all, |_, attrs| {
                if find(attrs, chain::TABLE).is_some_and(|found| text(found) == name) {
                    let found = find(attrs, chain::NAME).map(text).unwrap_or_default();
                    let chain = StandingChain::parse(attrs);
                    standing.chains.insert(found.to_owned(), chain);
                }
            })?;
        let of_table = |body: &mut Body<'_>| body.attr_str(rule::TABLE, name);
        self.socket
            .dump(Message::GetRule, family, of_table, |_, attrs| {
                let chain = find(attrs, rule::CHAIN).map(text).unwrap_or_default();
                if let Some(chain) = standing.chains.get_mut(chain) {
                    chain.rules.push(digest_of(find(attrs, rule::USERDATA)));
                }
            })?;
        Ok(Some(standing))
    }
}

/// A base as the kernel tells it; `NF_INET_*` numbers the hooks.
pub(super) fn base_numbers(base: Base) -> (String, u32, i32) {
    let kind = match base.kind {
        ChainKind::Filter => "filter",
        ChainKind::Nat => "nat",
    };
    let hook = match base.hook {
        Hook::Prerouting => 0,
        Hook::Input => 1,
        Hook::Forward => 2,
        Hook::Output => 3,
        Hook::Postrouting => 4,
    };
    (kind.to_owned(), hook, base.priority)
}

/// What marks a chain as made by us.
pub(super) const CHAIN_DATA: [u8; 2] = [DIGEST, 0];

/// The comment and the digest, each as type, length, value (`struct nftnl_udata`).
pub(super) fn user_data(family: TableFamily, rule: &Rule) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    if !rule.why.is_empty() {
        out.extend_from_slice(&[COMMENT, rule.why.len() as u8 + 1]);
        out.extend_from_slice(rule.why.as_bytes());
        out.push(0);
    }
    out.extend_from_slice(&[DIGEST, 8]);
    out.extend_from_slice(&digest(family, rule).to_ne_bytes());
    out
}

/// FNV-1a of the rule's expressions: it guards against mishaps, not against malice.
fn digest(family: TableFamily, rule: &Rule) -> u64 {
    let mut batch = Batch::default();
    batch.push(0, 0, |list| expressions(list, family, rule));
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
    pub(super) fn of(set: SetName) -> Self {
        let data = match set.value() {
            [] => (0, 0),
            // The kernel tells no length for verdicts.
            [DataType::Verdict] => (set::DATA_VERDICT, 0),
            types => (type_id(types), length(types) as u32),
        };
        let types = set.key();
        Self {
            key: (type_id(types), length(types) as u32),
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

    pub(super) fn is(&self, family: TableFamily, spec: &ChainSpec) -> bool {
        let Contents::Ours { base, rules } = &spec.contents else {
            return self.base.is_none();
        };
        let digests = rules.iter().map(|rule| Some(digest(family, rule)));
        self.base == base.map(base_numbers) && !self.drops && self.rules.iter().copied().eq(digests)
    }
}
