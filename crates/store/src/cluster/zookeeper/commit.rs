//! Transactions, over nodes whose versions begin anew when they are made again.
//!
//! Owns why that fools nobody. ZooKeeper's `multi` can check a node's version but not which node
//! it is, so that one deleted and made again in between passes for the old one. Therefore every
//! making of a node moves a fence, a node chosen by the key's hash that is never deleted; and a
//! transaction that rests on a node
//!
//! 1. reads its fence's version,
//! 2. then reads the node, whose `czxid` tells whether it is the one that was meant,
//! 3. then commits under the versions of both.
//!
//! Were the node made again after 2, its fence would have moved after 1, and 3 would fail. What
//! fails so is read and tried again; only what was read tells that a condition does not hold.

use super::super::turns::{PATIENCE, Refusal};
use super::{
    super::{ClusterError, Condition, Outcome, Transaction, Version, Write},
    STORE, failed,
    layout::{self, Layout},
    pool::{Pool, unsent},
    session::{Broken, Session},
    wire::{ANY, BAD_VERSION, Life, MULTI, NO_NODE, NODE_EXISTS, Op, Reply, Stat},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// How often a transaction is tried before it is given up; each failure is another's success.
const ATTEMPTS: usize = 100;

/// The version of a node.
pub(super) fn version(stat: &Stat) -> Version {
    // Neither is ever negative.
    Version(
        u64::try_from(stat.made).unwrap_or(0),
        u64::try_from(stat.version).unwrap_or(0),
    )
}

/// What a transaction rests on, as it was read.
struct Found {
    fences: BTreeMap<String, i32>,
    nodes: BTreeMap<String, Option<Stat>>,
}

pub(super) fn commit(
    pool: &Pool,
    layout: &Layout,
    transaction: &Transaction,
) -> Result<Outcome, ClusterError> {
    pool.ask(false, |session, deadline| {
        let mut fresh = false;
        for _ in 0..ATTEMPTS {
            let soon = deadline.min(Instant::now() + PATIENCE);
            let found = find(pool, layout, session, transaction, fresh, soon).map_err(unsent)?;
            if !holds(&found, transaction) {
                if fresh {
                    return Ok(Outcome::Refused);
                }
                // This server may be behind.
                fresh = true;
                continue;
            }
            let operations = operations(pool, layout, &found, transaction);
            if operations.is_empty() {
                return Ok(Outcome::Applied);
            }
            match session.multi(MULTI, &operations, deadline) {
                Ok(replies) => match first_failure(&replies) {
                    None => return Ok(Outcome::Applied),
                    Some(BAD_VERSION | NO_NODE | NODE_EXISTS) => fresh = true,
                    Some(code) => return Err(Refusal::Final(failed(code))),
                },
                // A session that is over does nothing any more.
                Err(Broken::Expired) => return Err(unsent(Broken::Expired)),
                Err(Broken::Final(error)) => return Err(Refusal::Uncertain(error.to_string())),
                Err(broken) => return Err(Refusal::Uncertain(broken.said())),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(Refusal::Final(ClusterError::Unavailable {
            store: STORE,
            reason: "others change the same records all the time".to_owned(),
        }))
    })
}

pub(super) fn first_failure(replies: &[Reply]) -> Option<i32> {
    replies.iter().find_map(|reply| match reply {
        Reply::Failed(code) => Some(*code),
        _ => None,
    })
}

/// Reads what the transaction rests on: fences first.
fn find(
    pool: &Pool,
    layout: &Layout,
    session: &mut Session,
    transaction: &Transaction,
    fresh: bool,
    deadline: Instant,
) -> Result<Found, Broken> {
    let conditions = transaction.conditions.iter().map(Condition::key);
    let keys: BTreeSet<&str> = conditions
        .chain(transaction.writes.iter().map(Write::key))
        .collect();
    let fences: BTreeSet<String> = keys.iter().map(|key| layout.fence(key)).collect();
    let folders: BTreeSet<String> = keys.iter().map(|key| layout.folder_of(key)).collect();
    let mut operations = Vec::new();
    if fresh {
        operations.push(Op::Sync(layout.records()));
    }
    let above = operations.len();
    let paths = fences.iter().chain(&folders);
    operations.extend(paths.map(|path| Op::Exists(path.clone())));
    let nodes = operations.len();
    operations.extend(keys.iter().map(|key| Op::Exists(layout.node(key))));
    let replies = session.ask(&operations, deadline)?;

    let mut found = Found {
        fences: BTreeMap::new(),
        nodes: BTreeMap::new(),
    };
    let mut missing = Vec::new();
    for (number, path) in fences.iter().chain(&folders).enumerate() {
        match &replies[above + number] {
            Reply::Stat(stat) if number < fences.len() => {
                found.fences.insert(path.clone(), stat.version);
            }
            Reply::Failed(NO_NODE) => missing.push((path, number < fences.len())),
            reply => drop(stat(reply)?),
        }
    }
    for (path, is_fence) in missing {
        make(pool, session, path, deadline)?;
        if is_fence {
            // New or another's: if it has moved already, the transaction is tried again.
            found.fences.insert(path.clone(), 0);
        }
    }
    for (key, reply) in keys.iter().zip(&replies[nodes..]) {
        found.nodes.insert((*key).to_owned(), stat(reply)?);
    }
    Ok(found)
}

/// What `Exists` said.
pub(super) fn stat(reply: &Reply) -> Result<Option<Stat>, Broken> {
    match reply {
        Reply::Stat(stat) => Ok(Some(*stat)),
        Reply::Failed(NO_NODE) => Ok(None),
        Reply::Failed(code) => Err(failed(*code).into()),
        _ => Err(super::protocol("an answer to another question").into()),
    }
}

/// Makes an inner node, and those above it, unless they are there.
pub(super) fn make(
    pool: &Pool,
    session: &mut Session,
    path: &str,
    deadline: Instant,
) -> Result<(), Broken> {
    let above = Layout::above(path).into_iter();
    let paths = above.chain([path.to_owned()]);
    let create = |path: String| {
        let life = layout::life(&path);
        Op::Create(path, b"", life, pool.access())
    };
    let operations: Vec<_> = paths.map(create).collect();
    let replies = session.ask(&operations, deadline)?;
    match replies.last() {
        Some(Reply::Failed(code)) if *code != NODE_EXISTS => Err(failed(*code).into()),
        _ => Ok(()),
    }
}

/// Whether all conditions hold of what was read.
fn holds(found: &Found, transaction: &Transaction) -> bool {
    transaction.conditions.iter().all(|condition| {
        let now = found.nodes[condition.key()].as_ref().map(version);
        match condition {
            Condition::Absent(_) => now.is_none(),
            Condition::Unchanged(_, meant) => now == Some(*meant),
        }
    })
}

/// What is to be done, under the condition that all is still as it was read.
fn operations<'a>(
    pool: &Pool,
    layout: &Layout,
    found: &Found,
    transaction: &'a Transaction,
) -> Vec<Op<'a>> {
    let create =
        |key: &str, value| Op::Create(layout.node(key), value, Life::Persistent, pool.access());
    let conditional: BTreeSet<&str> = transaction.conditions.iter().map(Condition::key).collect();
    let mut operations = Vec::new();
    // By fence: whether it moves.
    let mut fences: BTreeMap<String, bool> = BTreeMap::new();
    let written: BTreeSet<&str> = transaction.writes.iter().map(Write::key).collect();
    for key in &conditional {
        match found.nodes[*key] {
            Some(stat) => {
                fences.entry(layout.fence(key)).or_insert(false);
                if !written.contains(key) {
                    operations.push(Op::Check(layout.node(key), stat.version));
                }
            }
            None if !written.contains(key) => {
                operations.push(create(key, b""));
                operations.push(Op::Delete(layout.node(key), ANY));
            }
            None => {}
        }
    }
    for write in &transaction.writes {
        let key = write.key();
        let node = layout.node(key);
        let of = |stat: Stat| match conditional.contains(key) {
            true => stat.version,
            false => ANY,
        };
        match (write, found.nodes[key]) {
            (Write::Put(_, value), Some(stat)) => {
                operations.push(Op::SetData(node, value, of(stat)));
            }
            (Write::Put(_, value), None) => {
                fences.insert(layout.fence(key), true);
                operations.push(create(key, value));
            }
            (Write::Delete(_), Some(stat)) => operations.push(Op::Delete(node, of(stat))),
            (Write::Delete(_), None) => {
                // It must still not be there when all the rest is done.
                operations.push(create(key, b""));
                operations.push(Op::Delete(node, ANY));
            }
        }
    }
    let resting: BTreeSet<String> = conditional
        .iter()
        .filter(|key| found.nodes[**key].is_some())
        .map(|key| layout.fence(key))
        .collect();
    for (fence, moves) in fences {
        let at = match resting.contains(&fence) {
            true => found.fences[&fence],
            false => ANY,
        };
        operations.push(match moves {
            true => Op::SetData(fence, b"", at),
            false => Op::Check(fence, at),
        });
    }
    operations
}
