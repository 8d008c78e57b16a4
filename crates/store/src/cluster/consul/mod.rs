//! Consul, by its HTTP API: the key-value store, sessions, and blocking queries.
//!
//! Owns how records, transactions, watches and presences are told in Consul's terms. It must not
//! decide what to do when no server answers.

mod ask;
mod codec;
mod session;
mod watch;

use self::{ask::Asker, codec::Keys, session::Session, watch::Follower};
use super::{
    ClusterError, ClusterStore, ClusterUrl, Condition, Member, Options, Outcome, Presence, Record,
    Transaction, Watch, Write, http::Client, limits, net::Dialer, options::Fresh, turns::Turns,
};
use serde_json::{Value, json};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub(super) const STORE: &str = "consul";

/// A record that is asked for to see whether a server knows the cluster's state; nobody has it.
const ALIVE: &str = "alive";

/// The store.
pub(crate) struct Consul {
    asker: Arc<Asker>,
    keys: Keys,
    /// Differs from put to put: Consul takes no notice of one that changes nothing, and every
    /// put is to be a new state.
    flags: AtomicU64,
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul")
            .field("servers", &self.asker.client().turns().servers())
            .finish_non_exhaustive()
    }
}

impl Consul {
    pub(crate) fn new(url: &ClusterUrl, options: &Options) -> Result<Self, ClusterError> {
        let dialer = Dialer::new(options)?;
        let client = Client::new(dialer, Turns::new(STORE, url.servers()));
        // Another process must not begin with the flags of this one.
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let nanoseconds = since.map_or(0, |since| since.as_nanos());
        Ok(Self {
            asker: Arc::new(Asker::new(client, Fresh::new(options, Options::token)?)),
            keys: Keys::new(url.prefix()),
            flags: AtomicU64::new(u64::try_from(nanoseconds).unwrap_or(0)),
        })
    }

    /// All records below a prefix, and the place in Consul's history that they are of.
    fn all(&self, prefix: &str) -> Result<(Vec<Record>, u64), ClusterError> {
        limits::prefix(prefix)?;
        let little = self.keys.one(ALIVE);
        let answer = self.asker.read_all(&little, &self.keys.below(prefix))?;
        Ok((self.keys.records(&answer.body)?, answer.index))
    }

    fn check(&self, condition: &Condition) -> Value {
        match condition {
            Condition::Absent(key) => {
                json!({"KV": {"Verb": "check-not-exists", "Key": self.keys.full(key)}})
            }
            // An index is the whole cluster's, and never comes again.
            Condition::Unchanged(key, version) => json!({"KV": {
                "Verb": "check-index",
                "Key": self.keys.full(key),
                "Index": version.0,
            }}),
        }
    }

    fn change(&self, write: &Write) -> Value {
        match write {
            Write::Put(key, value) => json!({"KV": {
                "Verb": "set",
                "Key": self.keys.full(key),
                "Value": codec::encode(value),
                "Flags": self.flags.fetch_add(1, Ordering::Relaxed),
            }}),
            Write::Delete(key) => {
                json!({"KV": {"Verb": "delete", "Key": self.keys.full(key)}})
            }
        }
    }
}

impl ClusterStore for Consul {
    fn kind(&self) -> &'static str {
        STORE
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        limits::key(key)?;
        let answer = self.asker.read(&self.keys.one(key))?;
        Ok(self.keys.records(&answer.body)?.pop())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        let (records, _) = self.all(prefix)?;
        Ok(records)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        limits::transaction(transaction)?;
        let conditions = &transaction.conditions;
        let checks = conditions.iter().map(|condition| self.check(condition));
        let changes = transaction.writes.iter().map(|write| self.change(write));
        let operations: Vec<_> = checks.chain(changes).collect();
        if operations.is_empty() {
            return Ok(Outcome::Applied);
        }
        self.asker.commit(&operations)
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        let (records, index) = self.all(prefix)?;
        let follower = Follower::new(
            Arc::clone(&self.asker),
            self.keys.clone(),
            prefix,
            &records,
            index,
        );
        Ok((records, Box::new(follower)))
    }

    fn announce(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Box<dyn Presence>, ClusterError> {
        limits::key(key)?;
        limits::value(key, value)?;
        let session = Session::make(Arc::clone(&self.asker), &self.keys, key, value, ttl)?;
        Ok(Box::new(session))
    }

    fn members(&self) -> Vec<Member> {
        self.asker.members()
    }
}
