//! Following changes in Consul: blocking queries, each answered by all that is there.
//!
//! Owns which versions were told last. What changed is the difference, so that nothing can be
//! missed, whatever an answer's index says. A server that is silent is asked whether it still
//! knows the cluster's state; one that does not is left for another.
//!
//! A Consul whose state is brought back from a snapshot goes on to answer. It breaks off what it
//! holds back, with the old answer, and from then on tells older versions than it has told before.

use super::{
    super::{
        Change, ClusterError, Record, Version, Watch,
        http::Connection,
        net::is_late,
        turns::{MOMENT, Refusal},
    },
    ALIVE, STORE,
    ask::{self, Asker},
    codec::Keys,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a server holds a query back, in its words. All is sent again when it is over, and a
/// server that lost its way to the leader may not notice before.
const HELD: Duration = Duration::from_secs(60);

/// After how much silence a server is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(3);

/// How long it may take to answer that, or to take a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a big answer may take to come.
const ANSWER: Duration = Duration::from_secs(20);

pub(super) struct Follower {
    asker: Arc<Asker>,
    keys: Keys,
    /// Where all records are read.
    target: String,
    known: HashMap<String, Version>,
    index: u64,
    /// The largest index of all answers.
    highest: u64,
    query: Option<Query>,
}

/// A query that is being held back.
struct Query {
    server: usize,
    connection: Connection,
    /// The index that it waits for a larger one than.
    index: u64,
    asked: Instant,
    /// When its server last showed that it lives.
    heard: Instant,
}

impl Query {
    fn new(server: usize, connection: Connection, index: u64) -> Self {
        let now = Instant::now();
        Self {
            server,
            connection,
            index,
            asked: now,
            heard: now,
        }
    }
}

impl Follower {
    pub(super) fn new(
        asker: Arc<Asker>,
        keys: Keys,
        prefix: &str,
        records: &[Record],
        index: u64,
    ) -> Self {
        let known = records.iter();
        Self {
            target: keys.below(prefix),
            known: known
                .map(|record| (record.key.clone(), record.version))
                .collect(),
            asker,
            keys,
            index,
            highest: index,
            query: None,
        }
    }

    /// Asks the first server that takes a query, over a connection that may be there already.
    fn ask(&self, connection: Option<(usize, Connection)>) -> Result<Query, ClusterError> {
        // An index of 0 would not block, and a store that was emptied has a smaller one.
        let (wait, index) = (HELD.as_secs(), self.index.max(1));
        let target = format!("{}&wait={wait}s&index={index}", self.target);
        let headers = self.asker.headers();
        let request = ask::request("GET", &target, &headers, b"");
        let deadline = || Instant::now() + PATIENCE;
        if let Some((server, mut connection)) = connection
            && connection.send(&request, deadline()).is_ok()
        {
            return Ok(Query::new(server, connection, index));
        }
        let turns = self.asker.client().turns();
        let mut complaints = Vec::new();
        for _ in turns.servers() {
            let server = turns.preferred();
            let asked = self
                .asker
                .client()
                .open(server, deadline())
                .and_then(|mut connection| {
                    connection.send(&request, deadline())?;
                    Ok(connection)
                });
            match asked {
                Ok(connection) => return Ok(Query::new(server, connection, index)),
                Err(error) => {
                    turns.avoid(server);
                    complaints.push(turns.told(server, &error.to_string()));
                }
            }
        }
        Err(turns.unavailable(&complaints))
    }

    /// Whether a server still knows the cluster's state.
    fn check(&self, server: usize) -> Result<(), String> {
        let target = self.keys.one(ALIVE);
        let deadline = Instant::now() + PATIENCE;
        self.asker.read_only(server, &target, deadline).map(|_| ())
    }

    fn lost(reason: &str) -> ClusterError {
        ClusterError::Lost {
            store: STORE,
            reason: reason.to_owned(),
        }
    }

    /// What was told and is not among these records.
    fn gone(&self, records: &[Record]) -> Vec<String> {
        let now: HashSet<&str> = records.iter().map(|record| &*record.key).collect();
        let gone = self.known.keys().filter(|key| !now.contains(key.as_str()));
        let mut gone: Vec<String> = gone.cloned().collect();
        gone.sort_unstable();
        gone
    }

    /// Refuses an answer that is no later state of what was told.
    fn follows(
        &self,
        query: &Query,
        records: &[Record],
        gone: &[String],
        index: u64,
    ) -> Result<(), ClusterError> {
        if index <= query.index && query.asked.elapsed() < HELD {
            return Err(Self::lost(
                "a query was broken off, as when a snapshot is restored",
            ));
        }
        // Whatever changes gets an index that nothing had before.
        let older = records.iter().any(|record| {
            record.version.0 <= self.highest && self.known.get(&record.key) != Some(&record.version)
        });
        if older || (!gone.is_empty() && index <= self.highest) {
            return Err(Self::lost("its state is older than it was"));
        }
        Ok(())
    }

    /// Whether what is missing in an answer is not only hidden from us: of a single record Consul
    /// says that a token may not read it. Of several, those that lie farthest apart are asked for.
    fn is_gone(&self, gone: &[String]) -> Result<bool, ClusterError> {
        let (first, last) = (gone.first(), gone.last().filter(|_| gone.len() > 1));
        for key in first.into_iter().chain(last) {
            if !self.asker.read(&self.keys.one(key))?.body.is_null() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What differs from what was told; the oldest change first, deletions before all.
    fn difference(&mut self, mut records: Vec<Record>, gone: Vec<String>) -> Vec<Change> {
        let now: HashMap<_, _> = records
            .iter()
            .map(|record| (record.key.clone(), record.version))
            .collect();
        records.retain(|record| self.known.get(&record.key) != Some(&record.version));
        records.sort_by_key(|record| record.version);
        self.known = now;
        let gone = gone.into_iter().map(Change::Deleted);
        gone.chain(records.into_iter().map(Change::Put)).collect()
    }

    /// One wait for an answer: what changed; nothing yet; or why the query is over.
    fn wait(&mut self, end: Instant) -> Result<Result<Option<Vec<Change>>, String>, ClusterError> {
        let mut query = match self.query.take() {
            Some(query) => query,
            None => self.ask(None)?,
        };
        let server = query.server;
        let deadline = end.min(query.heard + SILENCE);
        let came = query
            .connection
            .status(deadline)
            .and_then(|_| query.connection.receive(Instant::now() + ANSWER));
        let response = match came {
            Ok(response) => response,
            Err(error) if is_late(&error) => {
                if query.heard.elapsed() >= SILENCE {
                    if let Err(reason) = self.check(server) {
                        return Ok(Err(self.leave(server, &reason)));
                    }
                    query.heard = Instant::now();
                }
                // Its server was switched off, and may be back: that nobody ever tells.
                if query.asked.elapsed() >= HELD * 5 / 4 {
                    return Ok(Err(self.leave(server, "a query was not answered")));
                }
                self.query = Some(query);
                return Ok(Ok(None));
            }
            Err(error) => return Ok(Err(self.leave(server, &error.to_string()))),
        };
        let answer = match ask::parse(&response) {
            Ok(answer) => answer,
            Err(Refusal::Final(error) | Refusal::Garbled(error)) => return Err(error),
            Err(refusal) => return Ok(Err(self.leave(server, &refusal.said()))),
        };
        let records = self.keys.records(&answer.body)?;
        let gone = self.gone(&records);
        self.follows(&query, &records, &gone, answer.index)?;
        if !self.is_gone(&gone)? {
            return Ok(Err(self.leave(server, "it left out records that it has")));
        }
        self.index = answer.index;
        self.highest = self.highest.max(answer.index);
        let changes = self.difference(records, gone);
        let connection = response.keeps.then_some((server, query.connection));
        // What is asked now is answered at once if something changed meanwhile. Without a
        // server, the changes are told all the same.
        self.query = self.ask(connection).ok();
        Ok(Ok(Some(changes)))
    }

    fn leave(&self, server: usize, reason: &str) -> String {
        let turns = self.asker.client().turns();
        turns.avoid(server);
        turns.told(server, reason)
    }
}

impl Watch for Follower {
    fn next(&mut self, patience: Duration) -> Result<Vec<Change>, ClusterError> {
        // What is there already is told even to who does not wait.
        let end = Instant::now() + patience.max(MOMENT);
        let mut complaints = Vec::new();
        loop {
            match self.wait(end)? {
                Ok(Some(changes)) if !changes.is_empty() => return Ok(changes),
                Ok(_) => {}
                Err(complaint) => {
                    complaints.push(complaint);
                    let turns = self.asker.client().turns();
                    if complaints.len() > turns.servers().len() {
                        return Err(turns.unavailable(&complaints));
                    }
                    continue;
                }
            }
            if Instant::now() >= end {
                return Ok(Vec::new());
            }
        }
    }
}
