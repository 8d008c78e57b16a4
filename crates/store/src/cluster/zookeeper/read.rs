//! Reading records: named ones, or all below a prefix at one moment.
//!
//! Owns the batches. What is read is as new as the server that is asked, unless it was told to
//! catch up before.

use super::{
    super::{Record, turns::PATIENCE},
    commit::version,
    failed,
    layout::{Layout, is_below, is_folder},
    protocol,
    session::{Broken, Session},
    wire::{MULTI_READ, NO_NODE, Op, Reply},
};
use std::time::{Duration, Instant};

/// The most that one packet asks for: servers take one of a MiB, and a path has 600 bytes at most.
const BATCH: usize = 1000;

/// Of how many folders the names are asked for at once.
const AT_ONCE: usize = 100;

/// How long it may take to read all that is there, once the server has shown that it lives.
pub(super) const ALL: Duration = Duration::from_secs(20);

/// How often all is read for one moment's state, before parts of several moments must do.
const ATTEMPTS: usize = 5;

/// All below a prefix.
#[derive(Debug, Clone)]
pub(super) struct Place {
    layout: Layout,
    prefix: String,
}

impl Place {
    pub(super) fn new(layout: Layout, prefix: &str) -> Self {
        Self {
            layout,
            prefix: prefix.to_owned(),
        }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The node below which all of it lies.
    pub(super) fn watched(&self) -> String {
        self.layout.folder_below(&self.prefix)
    }
}

/// Reads records by their keys; none where there is none.
pub(super) fn some(
    session: &mut Session,
    layout: &Layout,
    keys: &[String],
    deadline: Instant,
) -> Result<Vec<Option<Record>>, Broken> {
    let mut records = Vec::with_capacity(keys.len());
    for keys in keys.chunks(BATCH) {
        let operations: Vec<_> = keys
            .iter()
            .map(|key| Op::GetData(layout.node(key)))
            .collect();
        let replies = session.multi(MULTI_READ, &operations, soon(deadline))?;
        if replies.len() != keys.len() {
            return Err(refused(&replies));
        }
        for (key, reply) in keys.iter().zip(replies) {
            records.push(record(key, reply)?);
        }
    }
    Ok(records)
}

fn record(key: &str, reply: Reply) -> Result<Option<Record>, Broken> {
    match reply {
        Reply::Data(value, stat) => Ok(Some(Record {
            key: key.to_owned(),
            value,
            version: version(&stat),
        })),
        Reply::Failed(NO_NODE) => Ok(None),
        Reply::Failed(code) => Err(failed(code).into()),
        _ => Err(protocol("an answer to another question").into()),
    }
}

/// A server that hangs is left for another though there would be time for all.
fn soon(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + PATIENCE)
}

/// What refused a whole batch.
fn refused(replies: &[Reply]) -> Broken {
    match replies {
        [Reply::Failed(code)] => failed(*code).into(),
        _ => protocol("too few answers").into(),
    }
}

/// Reads all below a prefix, in the order of the keys.
///
/// It is of one moment when it fits into one batch: the folders are read together with what lies
/// in them, and must be as they were when they told its names.
pub(super) fn all(
    session: &mut Session,
    place: &Place,
    deadline: Instant,
) -> Result<Vec<Record>, Broken> {
    let mut attempt = 1;
    loop {
        let shape = shape(session, place, deadline)?;
        let (folders, keys) = (&shape.folders, &shape.keys);
        if folders.len() + keys.len() > BATCH || attempt > ATTEMPTS {
            let records = some(session, &place.layout, keys, deadline)?;
            return Ok(records.into_iter().flatten().collect());
        }
        let paths = folders.iter().map(|(path, _)| path.clone());
        let nodes = keys.iter().map(|key| place.layout.node(key));
        let operations: Vec<_> = paths.chain(nodes).map(Op::GetData).collect();
        let mut replies = session.multi(MULTI_READ, &operations, soon(deadline))?;
        if replies.len() != operations.len() {
            return Err(refused(&replies));
        }
        let nodes = replies.split_off(folders.len());
        let mut unchanged = true;
        for ((_, before), now) in folders.iter().zip(replies) {
            unchanged &= *before == state(now)?;
        }
        if unchanged {
            let found = keys.iter().zip(nodes);
            let records: Result<Vec<_>, _> = found.map(|(key, reply)| record(key, reply)).collect();
            return Ok(records?.into_iter().flatten().collect());
        }
        attempt += 1;
    }
}

/// Which node a folder is, and how often its children changed.
type State = Option<(i64, i32)>;

/// What lies below a prefix, by name.
struct Shape {
    /// The inner nodes, as they were before their names were read.
    folders: Vec<(String, State)>,
    /// Sorted.
    keys: Vec<String>,
}

fn state(reply: Reply) -> Result<State, Broken> {
    match reply {
        Reply::Data(_, stat) => Ok(Some((stat.made, stat.children))),
        Reply::Failed(NO_NODE) => Ok(None),
        Reply::Failed(code) => Err(failed(code).into()),
        _ => Err(protocol("an answer to another question").into()),
    }
}

fn shape(session: &mut Session, place: &Place, deadline: Instant) -> Result<Shape, Broken> {
    let (mut folders, mut keys) = (Vec::new(), Vec::new());
    let mut level = vec![place.watched()];
    while !level.is_empty() {
        let mut deeper = Vec::new();
        // All answers to what is sent at once must find room on their way.
        for some in level.chunks(AT_ONCE) {
            for (folder, (before, names)) in some.iter().zip(inner(session, some, deadline)?) {
                for node in names.iter().map(|name| format!("{folder}/{name}")) {
                    match place.layout.key(&node) {
                        Some(key) if is_below(&key, &place.prefix) => keys.push(key),
                        None if is_folder(&node) => deeper.push(node),
                        _ => {}
                    }
                }
                folders.push((folder.clone(), before));
            }
        }
        level = deeper;
    }
    keys.sort_unstable();
    Ok(Shape { folders, keys })
}

/// The states of inner nodes, and then the names of their children.
fn inner(
    session: &mut Session,
    paths: &[String],
    deadline: Instant,
) -> Result<Vec<(State, Vec<String>)>, Broken> {
    let both = |path: &String| [Op::GetData(path.clone()), Op::GetChildren(path.clone())];
    let asked: Vec<_> = paths.iter().flat_map(both).collect();
    let mut replies = session.ask(&asked, soon(deadline))?.into_iter();
    let mut found = Vec::with_capacity(paths.len());
    while let (Some(data), Some(names)) = (replies.next(), replies.next()) {
        found.push((state(data)?, children(names)?));
    }
    Ok(found)
}

fn children(reply: Reply) -> Result<Vec<String>, Broken> {
    match reply {
        Reply::Children(names) => Ok(names),
        Reply::Failed(NO_NODE) => Ok(Vec::new()),
        Reply::Failed(code) => Err(failed(code).into()),
        _ => Err(protocol("an answer to another question").into()),
    }
}
