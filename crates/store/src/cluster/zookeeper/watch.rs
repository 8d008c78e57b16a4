//! Following changes in ZooKeeper: a persistent, recursive watch (ZooKeeper 3.6) in a session of
//! its own.
//!
//! Owns which versions were told last. An event only names a node, which is then read; and where
//! a session ended, all is read again and the difference told, so that nothing can be missed.

use super::{
    super::{Change, ClusterError, Record, Version, Watch, turns::MOMENT},
    STORE,
    layout::{Layout, is_below},
    pool::Pool,
    read::{self, ALL, Place},
    session::{Broken, Session, Ticket},
    wire::Op,
};
use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the session lasts when nobody asks for what changed.
const TIME: Duration = Duration::from_secs(40);

/// After how much silence the server is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(3);

/// How long it may take to answer that.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Follower {
    pool: Arc<Pool>,
    place: Place,
    known: HashMap<String, Version>,
    /// The last transaction of which anything was told.
    seen: i64,
    stream: Option<Stream>,
}

struct Stream {
    server: usize,
    session: Session,
    /// When its server last showed that it lives.
    heard: Instant,
}

impl Follower {
    /// Begins, and gives what is there.
    pub(super) fn begin(
        pool: Arc<Pool>,
        layout: Layout,
        prefix: &str,
    ) -> Result<(Vec<Record>, Self), ClusterError> {
        let mut follower = Self {
            pool,
            place: Place::new(layout, prefix),
            known: HashMap::new(),
            seen: 0,
            stream: None,
        };
        let records = follower.open()?;
        follower.know(&records);
        Ok((records, follower))
    }

    fn know(&mut self, records: &[Record]) {
        let known = records.iter();
        self.known = known
            .map(|record| (record.key.clone(), record.version))
            .collect();
    }

    /// Begins a session at the first server that gives one, and reads all that is there.
    fn open(&mut self) -> Result<Vec<Record>, ClusterError> {
        let turns = self.pool.turns();
        let mut complaints = Vec::new();
        for _ in turns.servers() {
            let server = turns.preferred();
            match self.open_at(server) {
                Ok((stream, records)) => {
                    self.seen = stream.session.seen;
                    self.stream = Some(stream);
                    return Ok(records);
                }
                Err(Broken::Final(error)) => return Err(error),
                Err(broken) => {
                    turns.avoid(server);
                    complaints.push(turns.told(server, &broken.said()));
                }
            }
        }
        Err(turns.unavailable(&complaints))
    }

    /// Refuses what may be no later state of what was told. A transaction's number begins with that
    /// of the epoch, the time of one leader; servers that are brought back from a backup elect one
    /// anew, and then their numbers are the larger ones. A server alone has no epochs.
    fn follows(&self, seen: i64) -> Result<(), ClusterError> {
        let lost = |reason: &str| ClusterError::Lost {
            store: STORE,
            reason: reason.to_owned(),
        };
        if self.seen == 0 {
            return Ok(());
        }
        match (seen >> 32).cmp(&(self.seen >> 32)) {
            Ordering::Greater => Err(lost("another server leads by now")),
            Ordering::Equal if seen >= self.seen => Ok(()),
            _ => Err(lost("its history is shorter than it was")),
        }
    }

    fn open_at(&self, server: usize) -> Result<(Stream, Vec<Record>), Broken> {
        let soon = Instant::now() + PATIENCE;
        let mut session = self.pool.open(server, &Ticket::default(), TIME, soon)?;
        // Before all is read, so that what changes meanwhile is told.
        let watch = [Op::Watch(self.place.watched())];
        let replies = session.ask(&watch, soon)?;
        if let Some(code) = super::commit::first_failure(&replies) {
            return Err(super::failed(code).into());
        }
        session.ask(&[Op::Sync(self.place.watched())], soon)?;
        self.follows(session.seen)?;
        let records = read::all(&mut session, &self.place, soon + ALL)?;
        Ok((
            Stream {
                server,
                session,
                heard: Instant::now(),
            },
            records,
        ))
    }

    /// What differs from what was told; deletions first.
    fn difference(&mut self, mut records: Vec<Record>) -> Vec<Change> {
        let mut gone: Vec<_> = {
            let now: BTreeSet<&str> = records.iter().map(|record| &*record.key).collect();
            let known = self.known.keys();
            known
                .filter(|key| !now.contains(key.as_str()))
                .cloned()
                .collect()
        };
        gone.sort_unstable();
        let before = std::mem::take(&mut self.known);
        self.know(&records);
        records.retain(|record| before.get(&record.key) != Some(&record.version));
        let gone = gone.into_iter().map(Change::Deleted);
        gone.chain(records.into_iter().map(Change::Put)).collect()
    }

    /// Reads the nodes that events named, in their order, and tells what is new.
    fn read(&mut self, stream: &mut Stream, nodes: &[String]) -> Result<Vec<Change>, Broken> {
        let mut keys: Vec<String> = Vec::new();
        let mut named = BTreeSet::new();
        // What was named several times counts where it was named last.
        for node in nodes.iter().rev() {
            let key = self.place.layout().key(node);
            let key = key.filter(|key| is_below(key, self.place.prefix()));
            if let Some(key) = key.filter(|key| named.insert(key.clone())) {
                keys.push(key);
            }
        }
        keys.reverse();
        let deadline = Instant::now() + ALL;
        let found = read::some(&mut stream.session, self.place.layout(), &keys, deadline)?;
        let mut changes = Vec::new();
        for (key, record) in keys.into_iter().zip(found) {
            match record {
                Some(record) => {
                    if self.known.insert(key, record.version) != Some(record.version) {
                        changes.push(Change::Put(record));
                    }
                }
                None => {
                    if self.known.remove(&key).is_some() {
                        changes.push(Change::Deleted(key));
                    }
                }
            }
        }
        self.seen = self.seen.max(stream.session.seen);
        Ok(changes)
    }

    /// One wait for events; none when time is over.
    fn wait(&mut self, stream: &mut Stream, end: Instant) -> Result<Vec<Change>, Broken> {
        let deadline = end.min(stream.heard + SILENCE);
        let nodes = stream.session.events(deadline)?;
        if !nodes.is_empty() {
            stream.heard = Instant::now();
            return self.read(stream, &nodes);
        }
        if stream.heard.elapsed() >= SILENCE {
            stream.session.ping(Instant::now() + PATIENCE)?;
            stream.heard = Instant::now();
        }
        Ok(Vec::new())
    }
}

impl Watch for Follower {
    fn next(&mut self, patience: Duration) -> Result<Vec<Change>, ClusterError> {
        // What is there already is told even to who does not wait.
        let end = Instant::now() + patience.max(MOMENT);
        let mut complaints = Vec::new();
        loop {
            let Some(mut stream) = self.stream.take() else {
                let records = self.open()?;
                let changes = self.difference(records);
                if !changes.is_empty() {
                    return Ok(changes);
                }
                continue;
            };
            match self.wait(&mut stream, end) {
                Ok(changes) => {
                    self.stream = Some(stream);
                    if !changes.is_empty() || Instant::now() >= end {
                        return Ok(changes);
                    }
                }
                Err(Broken::Final(error)) => return Err(error),
                Err(broken) => {
                    let turns = self.pool.turns();
                    if !matches!(broken, Broken::Expired) {
                        turns.avoid(stream.server);
                    }
                    complaints.push(turns.told(stream.server, &broken.said()));
                    if complaints.len() > turns.servers().len() {
                        return Err(turns.unavailable(&complaints));
                    }
                }
            }
        }
    }
}
