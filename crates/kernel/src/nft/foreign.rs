//! Other firewalls' forward chains: seen, and given or relieved of one tagged rule.

use super::abi::{self, INET, IPV4, IPV6, Message, UNSPEC, chain, number, rule, table};
use super::expr::{EQ, FIRST, bitwise, compare, immediate, key, meta};
use super::socket::Transaction;
use super::wire::{be32, expression, find, get_be32, text};
use super::{Nft, Refused};
use crate::netlink::{Attrs, Body};
use std::{collections::BTreeSet, io};
use vw_firewall::HostTable;
use vw_firewall::foreign::{Adjustment, ForeignChain, Keeper, Place, Policy, TAG, TableFamily};

/// The chain that Docker keeps for the administrator's rules.
pub(super) const DOCKER_USER: &str = "DOCKER-USER";

/// Whether a message's bytes hold a text: in a jump, the name of the chain it leads to.
pub(super) fn names(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;

impl Nft {
    /// The base chains of other tables on the forward hook.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn foreign_chains(&mut self) -> io::Result<Vec<ForeignChain>> {
        let mut owned = BTreeSet::new();
        let all = |_: &mut Body<'_>| {};
        self.socket
            .dump(Message::GetTable, UNSPEC, all, |family, attrs| {
                let flags = find(attrs, table::FLAGS).map(get_be32).unwrap_or_default();
                if flags & table::OWNER != 0 {
                    owned.insert((family, name(attrs, table::NAME)));
                }
            })?;
        let mut found = Vec::new();
        let mut docker = BTreeSet::new();
        self.socket
            .dump(Message::GetChain, UNSPEC, all, |family, attrs| {
                if name(attrs, chain::NAME) == DOCKER_USER {
                    docker.insert((family, name(attrs, chain::TABLE)));
                }
                found.extend(parse_chain(family, attrs).map(|chain| (family, chain)));
            })?;
        docker.retain(|(family, table)| self.calls_docker_user(*family, table).unwrap_or(false));
        let chains = found.into_iter().map(|(family, mut chain)| {
            let table = (family, chain.table.clone());
            let iptables = chain.keeper == Keeper::IptablesNft;
            chain.docker_user = iptables && docker.contains(&table);
            if owned.contains(&table) {
                chain.keeper = Keeper::Owner;
            }
            chain
        });
        Ok(chains.collect())
    }

    /// Whether `FORWARD` leads to `DOCKER-USER`: a flush leaves the chain behind, and nobody calls it.
    fn calls_docker_user(&mut self, family: u8, table: &str) -> io::Result<bool> {
        let mut called = false;
        let of_forward = |body: &mut Body<'_>| {
            body.attr_str(rule::TABLE, table);
            body.attr_str(rule::CHAIN, "FORWARD");
        };
        self.socket
            .dump(Message::GetRule, family, of_forward, |_, attrs| {
                let verdicts = find(attrs, rule::EXPRESSIONS).unwrap_or_default();
                called |= name(attrs, rule::CHAIN) == "FORWARD" && names(verdicts, DOCKER_USER);
            })?;
        Ok(called)
    }

    /// Puts a rule where an adjustment says; one that is there is kept.
    ///
    /// # Errors
    /// [`Refused`] without a place: `Unsupported` where the adjustment has an obstacle, else the
    /// system's answer.
    pub fn adjust(&mut self, adjustment: &Adjustment) -> Result<(), Refused> {
        if let Some(obstacle) = adjustment.obstacle {
            let error = io::Error::new(io::ErrorKind::Unsupported, obstacle);
            return Err(error.into());
        }
        let tagged = self.tagged(&adjustment.place)?;
        let comment = adjustment.comment();
        if let [(_, found)] = tagged.as_slice()
            && *found == comment
        {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        for (handle, _) in &tagged {
            delete(&mut transaction, &adjustment.place, handle);
        }
        insert(&mut transaction, adjustment, &comment);
        Ok(self.commit(transaction)?)
    }

    /// The chains of other tables that have rules of ours, whoever put them there and when.
    ///
    /// # Errors
    /// When the kernel cannot be read.
    pub fn adjusted(&mut self) -> io::Result<Vec<Place>> {
        let mut found = BTreeSet::new();
        let all = |_: &mut Body<'_>| {};
        self.socket
            .dump(Message::GetRule, UNSPEC, all, |family, attrs| {
                if let (Some(family), Some(_)) = (table_family(family), tag_of(attrs)) {
                    found.insert(Place {
                        family,
                        table: name(attrs, rule::TABLE),
                        chain: name(attrs, rule::CHAIN),
                        iptables: find(attrs, rule::USERDATA).is_none(),
                    });
                }
            })?;
        Ok(found.into_iter().collect())
    }

    /// Takes our rules out of a chain; without any, or without the chain, that is well.
    ///
    /// # Errors
    /// [`Refused`] without a place.
    pub fn withdraw(&mut self, place: &Place) -> Result<(), Refused> {
        let mut transaction = Transaction::new();
        for (handle, _) in self.tagged(place)? {
            delete(&mut transaction, place, &handle);
        }
        Ok(self.commit(transaction)?)
    }

    /// Handles and comments of our rules in a chain; none without the chain.
    fn tagged(&mut self, place: &Place) -> io::Result<Vec<(Vec<u8>, String)>> {
        let mut found = Vec::new();
        let ask = |body: &mut Body<'_>| {
            body.attr_str(rule::TABLE, &place.table);
            body.attr_str(rule::CHAIN, &place.chain);
        };
        let each = |_, attrs: Attrs<'_>| {
            if let (Some(handle), Some(comment)) = (find(attrs, rule::HANDLE), tag_of(attrs)) {
                found.push((handle.to_vec(), comment));
            }
        };
        let family = number(place.family);
        match self.socket.dump(Message::GetRule, family, ask, each) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
            result => result.map(|()| found),
        }
    }
}

fn name(attrs: Attrs<'_>, kind: u16) -> String {
    find(attrs, kind).map(text).unwrap_or_default().to_owned()
}

/// The families of tables that forward IP.
const fn table_family(number: u8) -> Option<TableFamily> {
    match number {
        IPV4 => Some(TableFamily::Ip),
        IPV6 => Some(TableFamily::Ip6),
        INET => Some(TableFamily::Inet),
        _ => None,
    }
}

/// A base chain on the forward hook of a table that is not ours.
fn parse_chain(family: u8, attrs: Attrs<'_>) -> Option<ForeignChain> {
    let family = table_family(family)?;
    let hook = Attrs::of(find(attrs, chain::HOOK)?);
    if get_be32(find(hook, chain::HOOK_NUM)?) != FORWARD {
        return None;
    }
    let (table, chain_name) = (name(attrs, chain::TABLE), name(attrs, chain::NAME));
    if family == TableFamily::Inet && table == HostTable::NAME {
        return None;
    }
    // iptables-nft has its built-in chains in capitals, in tables of one family each.
    let iptables = family != TableFamily::Inet && chain_name == "FORWARD";
    let policy = find(attrs, chain::POLICY).map(get_be32);
    Some(ForeignChain {
        family,
        table,
        chain: chain_name,
        priority: get_be32(find(hook, chain::HOOK_PRIORITY)?).cast_signed(),
        policy: match policy == Some(abi::verdict::DROP.cast_unsigned()) {
            true => Policy::Drop,
            false => Policy::Accept,
        },
        keeper: match iptables {
            true => Keeper::IptablesNft,
            false => Keeper::Nftables,
        },
        docker_user: false,
    })
}

/// The comment of a rule of ours, whether iptables' match or nftables' user data holds it.
fn tag_of(attrs: Attrs<'_>) -> Option<String> {
    let tag = TAG.as_bytes();
    let in_user_data = find(attrs, rule::USERDATA);
    let candidates = in_user_data
        .into_iter()
        .chain(find(attrs, rule::EXPRESSIONS));
    candidates.into_iter().find_map(|bytes| {
        let start = bytes.windows(tag.len()).position(|part| part == tag)?;
        Some(text(&bytes[start..]).to_owned())
    })
}

fn delete(transaction: &mut Transaction, place: &Place, handle: &[u8]) {
    transaction.push(Message::DelRule, 0, number(place.family), |body| {
        body.attr_str(rule::TABLE, &place.table);
        body.attr_str(rule::CHAIN, &place.chain);
        body.attr(rule::HANDLE, handle);
    });
}

/// Without `NLM_F_APPEND` a rule goes to the head of its chain.
fn insert(transaction: &mut Transaction, adjustment: &Adjustment, comment: &str) {
    let (place, mark) = (&adjustment.place, adjustment.mark.to_ne_bytes());
    let (create, family) = (libc::NLM_F_CREATE, number(place.family));
    transaction.push(Message::NewRule, create, family, |body| {
        body.attr_str(rule::TABLE, &place.table);
        body.attr_str(rule::CHAIN, &place.chain);
        body.nest(rule::EXPRESSIONS, |list| {
            match place.iptables {
                true => iptables_matches(list, mark, comment),
                false => native_match(list, mark),
            }
            expression(list, "counter", |_| {});
            immediate(list, abi::verdict::ACCEPT, None);
        });
        if !place.iptables {
            let mut data = vec![0, comment.len() as u8 + 1];
            data.extend_from_slice(comment.as_bytes());
            data.push(0);
            body.attr(rule::USERDATA, &data);
        }
    });
}

/// `-m mark --mark MARK/MARK -m comment --comment COMMENT`, by the kernel's compatibility layer:
/// every iptables-nft can list these, whereas older ones refuse the whole table for a native match.
fn iptables_matches(list: &mut Body<'_>, mark: [u8; 4], comment: &str) {
    /// `XT_MAX_COMMENT_LEN`.
    const COMMENT: usize = 256;
    // `struct xt_mark_mtinfo1`, rounded up to eight bytes: mark, mask, whether inverted.
    let mut info = [mark, mark, [0; 4], [0; 4]].concat();
    extension(list, "mark", 1, &info);
    info = comment.as_bytes().to_vec();
    info.resize(COMMENT, 0);
    extension(list, "comment", 0, &info);
}

/// An extension of xtables as an expression: `NFTA_MATCH_NAME`, `_REV`, `_INFO`.
fn extension(list: &mut Body<'_>, name: &str, revision: u32, info: &[u8]) {
    expression(list, "match", |body| {
        body.attr_str(1, name);
        be32(body, 2, revision);
        body.attr(3, info);
    });
}

/// `meta mark and MARK == MARK`.
fn native_match(list: &mut Body<'_>, mark: [u8; 4]) {
    meta(list, key::MARK, FIRST);
    bitwise(list, &mark, &[0; 4]);
    compare(list, EQ, &mark);
}
