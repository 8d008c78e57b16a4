//! Following changes in etcd: one endless answer, taken up again from the last revision.
//!
//! Owns the place in etcd's history up to which changes were told. A server that is silent is
//! asked whether it still knows the cluster's state; one that does not is left for another.
//!
//! An etcd that was brought back from a backup counts revisions from there on anew, and gives those
//! of what was told to other changes. So before a stream is taken up again, it must still have what
//! was told last, at the revision at which it was; or, where that was deleted and compacted since, the
//! last that it was told and that stands by what was told. Where all that came after that was compacted,
//! as others wrote to the etcd meanwhile, it goes on if nothing of its own changed. A backup from between
//! the two, or from between what was told last and a deletion that was told after it, that was written past
//! and compacted too is not told from the history that was followed.

use super::{
    super::{
        Change, ClusterError, Record, Watch,
        http::{Connection, Request},
        net::is_late,
        turns::MOMENT,
    },
    STORE,
    ask::Asker,
    codec::{self, Keys, number, protocol},
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// After how much silence a server is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(3);

/// How long it may take to answer that, or to take a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many records are kept that stand: what is deleted later is seldom all of the newest.
const STANDING: usize = 32;

/// After how much silence another stream is begun: one whose server was switched off never ends,
/// also when the server is back and answers what it is asked.
const STALE: Duration = Duration::from_secs(60);

pub(super) struct Follower {
    asker: Arc<Asker>,
    keys: Keys,
    prefix: String,
    /// The first revision that was not told.
    next: u64,
    /// Whose revisions these are.
    cluster: Value,
    /// In which of its terms they were told last; what is restored from a snapshot begins with the
    /// first.
    term: u64,
    /// The record that was told last, whatever became of it.
    last: Option<Record>,
    /// Those that were told last and that stand by what was told, the newest at the end.
    standing: Vec<Record>,
    /// How many keys there are by what was told.
    count: u64,
    stream: Option<Stream>,
}

struct Stream {
    server: usize,
    connection: Connection,
    /// When its server last showed that it lives.
    heard: Instant,
    /// When something last came over it.
    came: Instant,
}

/// What a line of the answer says.
enum Said {
    Changes(Vec<Change>),
    /// This stream is over.
    Over(String),
    /// It cannot begin there: what came after what was told last is not known any more.
    Compacted,
}

impl Follower {
    /// Follows what came after the answer that `header` and `records` are of.
    pub(super) fn new(
        asker: Arc<Asker>,
        keys: Keys,
        prefix: &str,
        header: &Value,
        records: &[Record],
    ) -> Result<Self, ClusterError> {
        let mut newest: Vec<&Record> = records.iter().collect();
        newest.sort_unstable_by_key(|record| record.version);
        let older = newest.len().saturating_sub(STANDING);
        let standing: Vec<Record> = newest.drain(older..).cloned().collect();
        Ok(Self {
            last: standing.last().cloned(),
            standing,
            count: records.len() as u64,
            asker,
            keys,
            prefix: prefix.to_owned(),
            next: number(&header["revision"])? + 1,
            cluster: header["cluster_id"].clone(),
            term: number(&header["raft_term"])?,
            stream: None,
        })
    }

    fn lost(reason: &str) -> ClusterError {
        ClusterError::Lost {
            store: STORE,
            reason: reason.to_owned(),
        }
    }

    /// Begins a stream at the first server that gives one.
    fn open(&mut self) -> Result<Stream, ClusterError> {
        let mut complaints = Vec::new();
        for _ in 0..self.asker.client().turns().servers().len() {
            let server = self.asker.client().turns().preferred();
            match self.open_at(server) {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => return Err(error),
                Err(reason) => {
                    let turns = self.asker.client().turns();
                    turns.avoid(server);
                    complaints.push(turns.told(server, &reason));
                }
            }
        }
        Err(self.asker.client().turns().unavailable(&complaints))
    }

    /// A stream; or what ends the watch; or why this server gives none.
    fn open_at(&mut self, server: usize) -> Result<Result<Stream, ClusterError>, String> {
        // Nothing is sent for a revision that is still to come, so a store that lost its
        // history would be silent for ever.
        if let Err(error) = self.check(server)? {
            return Ok(Err(error));
        }
        if !self.has_last(server)? {
            return Ok(Err(Self::lost("it is another history than was told")));
        }
        let deadline = Instant::now() + PATIENCE;
        let (start, end) = self.keys.below(&self.prefix);
        let body = json!({"create_request": {
            "key": codec::encode(&start),
            "range_end": codec::encode(&end),
            "start_revision": self.next.to_string(),
            "progress_notify": true,
        }})
        .to_string();
        // A server that is cut off from the others ends the stream, instead of being silent.
        let mut headers = vec![("Grpc-Metadata-Hasleader", "true".to_owned())];
        headers.extend(self.asker.authorization(server, deadline)?);
        let request = Request {
            method: "POST",
            target: "/v3/watch",
            headers: &headers,
            body: body.as_bytes(),
        };
        let mut connection = self
            .asker
            .client()
            .open(server, deadline)
            .map_err(|error| error.to_string())?;
        let status = connection
            .send(&request, deadline)
            .and_then(|()| connection.status(deadline))
            .map_err(|error| error.to_string())?;
        if status != 200 {
            self.asker.forget_token();
            return Err(format!("HTTP status {status} to a watch"));
        }
        Ok(Ok(Stream {
            server,
            connection,
            heard: Instant::now(),
            came: Instant::now(),
        }))
    }

    /// Asks a server for the cluster's revision, which it cannot give when it is cut off.
    fn check(&mut self, server: usize) -> Result<Result<(), ClusterError>, String> {
        let key = self.keys.encode("");
        let answer = self.asker.ask_only(
            server,
            "/v3/kv/range",
            &json!({"key": key, "count_only": true}),
            Instant::now() + PATIENCE,
        )?;
        let header = &answer["header"];
        let numbers = number(&header["revision"]).and_then(|revision| {
            let term = number(&header["raft_term"])?;
            Ok((revision, term))
        });
        let (revision, term) = match numbers {
            Ok(numbers) => numbers,
            Err(error) => return Ok(Err(error)),
        };
        if header["cluster_id"] != self.cluster {
            return Ok(Err(Self::lost("it is another cluster now")));
        }
        if revision + 1 < self.next || term < self.term {
            return Ok(Err(Self::lost("its history is shorter than it was")));
        }
        self.term = term;
        Ok(Ok(()))
    }

    /// Whether a server has what was told last, or else, where that was compacted since, what stands by
    /// what was told.
    fn has_last(&self, server: usize) -> Result<bool, String> {
        let Some(last) = &self.last else {
            return Ok(true);
        };
        if let Some(has) = self.has(server, last)? {
            return Ok(has);
        }
        match self.standing.last().filter(|standing| *standing != last) {
            Some(standing) => Ok(self.has(server, standing)? == Some(true)),
            None => Ok(false),
        }
    }

    /// Whether a server has a record: as it is now, or else as it was at its revision. Of one that was
    /// compacted meanwhile nobody can tell any more.
    fn has(&self, server: usize, record: &Record) -> Result<Option<bool>, String> {
        let key = self.keys.encode(&record.key);
        let (now, then) = (json!({"key": key}), record.version.0.to_string());
        let then = json!({"key": key, "revision": then});
        for asked in [now, then] {
            let deadline = Instant::now() + PATIENCE;
            let answer = self
                .asker
                .ask_only(server, "/v3/kv/range", &asked, deadline);
            let found = match answer {
                Err(reason) if reason.contains("has been compacted") => return Ok(None),
                answer => self.keys.records(&answer?),
            };
            if found.map_err(|error| error.to_string())?.first() == Some(record) {
                return Ok(Some(true));
            }
        }
        Ok(Some(false))
    }

    /// Goes on after a compaction where nothing changed since what was told last: no key was written
    /// since, and none is missing. Whoever cannot be told so reads everything.
    fn pass_over(&mut self, server: usize) -> Result<(), ClusterError> {
        let (start, end) = self.keys.below(&self.prefix);
        let asked = json!({
            "key": codec::encode(&start),
            "range_end": codec::encode(&end),
            "min_mod_revision": self.next.to_string(),
            "limit": 1,
            "keys_only": true,
        });
        let deadline = Instant::now() + PATIENCE;
        let answer = self
            .asker
            .ask_only(server, "/v3/kv/range", &asked, deadline)
            .map_err(|reason| Self::lost(&format!("compacted; {reason}")))?;
        let written = answer["kvs"].as_array().is_some_and(|kvs| !kvs.is_empty());
        if written || number(&answer["count"])? != self.count {
            return Err(Self::lost("compacted"));
        }
        self.next = self.next.max(number(&answer["header"]["revision"])? + 1);
        Ok(())
    }

    /// Notes what was told of a key.
    fn tell(&mut self, key: &str, put: Option<&Record>) {
        self.standing.retain(|standing| standing.key != key);
        let Some(record) = put else { return };
        if self.standing.len() == STANDING {
            self.standing.remove(0);
        }
        self.standing.push(record.clone());
        self.last = Some(record.clone());
    }

    /// What one line of the answer says; moves on in the history.
    fn take(&mut self, line: &[u8]) -> Result<Said, ClusterError> {
        let message: Value = serde_json::from_slice(line)
            .map_err(|error| protocol(format!("no JSON in a watch: {error}")))?;
        let result = &message["result"];
        if result.is_null() {
            let said = &message["error"]["message"];
            return Ok(Said::Over(said.as_str().unwrap_or("an error").to_owned()));
        }
        if result["canceled"] == true {
            if number(&result["compact_revision"])? > 0 {
                return Ok(Said::Compacted);
            }
            self.asker.forget_token();
            let said = result["cancel_reason"].as_str();
            return Ok(Said::Over(said.unwrap_or("cancelled").to_owned()));
        }
        let events = result["events"].as_array().map_or(&[][..], Vec::as_slice);
        let mut changes = Vec::with_capacity(events.len());
        let mut last = 0;
        for event in events {
            let kv = &event["kv"];
            last = last.max(number(&kv["mod_revision"])?);
            changes.push(if event["type"] == "DELETE" {
                let key = self.keys.key(kv)?;
                self.tell(&key, None);
                self.count = self.count.saturating_sub(1);
                Change::Deleted(key)
            } else {
                let record = self.keys.record(kv)?;
                self.tell(&record.key, Some(&record));
                // The first of a key that is made.
                self.count += u64::from(number(&kv["version"])? == 1);
                Change::Put(record)
            });
        }
        if events.is_empty() && result["created"] != true {
            // All up to here was told.
            last = number(&result["header"]["revision"])?;
        }
        self.next = self.next.max(last + 1);
        Ok(Said::Changes(changes))
    }
}

impl Watch for Follower {
    fn next(&mut self, patience: Duration) -> Result<Vec<Change>, ClusterError> {
        // What is there already is told even to who does not wait.
        let end = Instant::now() + patience.max(MOMENT);
        let mut complaints = Vec::new();
        loop {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.open()?,
            };
            let deadline = end.min(stream.heard + SILENCE);
            let over = match stream.connection.line(deadline) {
                Ok(line) => {
                    (stream.heard, stream.came) = (Instant::now(), Instant::now());
                    match self.take(&line)? {
                        Said::Changes(changes) => {
                            self.stream = Some(stream);
                            if !changes.is_empty() {
                                return Ok(changes);
                            }
                            if Instant::now() >= end {
                                return Ok(Vec::new());
                            }
                            continue;
                        }
                        Said::Over(reason) => reason,
                        Said::Compacted => {
                            self.pass_over(stream.server)?;
                            if Instant::now() >= end {
                                return Ok(Vec::new());
                            }
                            continue;
                        }
                    }
                }
                Err(error) if is_late(&error) => {
                    if stream.heard.elapsed() < SILENCE {
                        self.stream = Some(stream);
                        return Ok(Vec::new());
                    }
                    match self.check(stream.server) {
                        Ok(checked) => {
                            checked?;
                            stream.heard = Instant::now();
                            self.stream = Some(stream).filter(|it| it.came.elapsed() < STALE);
                            if Instant::now() >= end {
                                return Ok(Vec::new());
                            }
                            continue;
                        }
                        Err(reason) => reason,
                    }
                }
                Err(error) => error.to_string(),
            };
            let turns = self.asker.client().turns();
            turns.avoid(stream.server);
            complaints.push(turns.told(stream.server, &over));
            if complaints.len() > turns.servers().len() {
                return Err(turns.unavailable(&complaints));
            }
        }
    }
}
