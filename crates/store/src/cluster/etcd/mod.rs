//! etcd, by the JSON gateway that every server has beside gRPC (etcd 3.4 and later).
//!
//! Owns how records, transactions, watches and presences are told in etcd's terms: revisions,
//! `txn`, `watch`, leases. It must not decide what to do when no server answers.

mod ask;
mod codec;
mod lease;
mod pages;
mod watch;

use self::{ask::Asker, codec::Keys, lease::Lease, watch::Follower};
use super::{
    ClusterError, ClusterStore, ClusterUrl, Condition, Member, Options, Outcome, Presence, Record,
    Transaction, Watch, Write, http::Client, limits, net::Dialer, options::Fresh, turns::Turns,
};
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::Duration};

pub(super) const STORE: &str = "etcd";

/// The store.
pub(crate) struct Etcd {
    asker: Arc<Asker>,
    keys: Keys,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("servers", &self.asker.client().turns().servers())
            .finish_non_exhaustive()
    }
}

impl Etcd {
    pub(crate) fn new(url: &ClusterUrl, options: &Options) -> Result<Self, ClusterError> {
        let dialer = Dialer::new(options)?;
        let client = Client::new(dialer, Turns::new(STORE, url.servers()));
        Ok(Self {
            asker: Arc::new(Asker::new(client, Fresh::new(options, Options::user)?)),
            keys: Keys::new(url.prefix()),
        })
    }

    fn compare(&self, condition: &Condition) -> Value {
        match condition {
            Condition::Absent(key) => json!({
                "key": self.keys.encode(key),
                "target": "VERSION",
                "result": "EQUAL",
                "version": "0",
            }),
            // A revision is the whole cluster's, and never comes again.
            Condition::Unchanged(key, version) => json!({
                "key": self.keys.encode(key),
                "target": "MOD",
                "result": "EQUAL",
                "mod_revision": version.0.to_string(),
            }),
        }
    }

    fn change(&self, write: &Write) -> Value {
        match write {
            Write::Put(key, value) => json!({"request_put": {
                "key": self.keys.encode(key),
                "value": codec::encode(value),
            }}),
            Write::Delete(key) => {
                json!({"request_delete_range": {"key": self.keys.encode(key)}})
            }
        }
    }
}

impl ClusterStore for Etcd {
    fn kind(&self) -> &'static str {
        STORE
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        limits::key(key)?;
        let answer = self
            .asker
            .read("/v3/kv/range", &json!({"key": self.keys.encode(key)}))?;
        Ok(self.keys.records(&answer)?.pop())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        limits::prefix(prefix)?;
        pages::all(&self.asker, &self.keys, prefix).map(|(records, _)| records)
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        limits::transaction(transaction)?;
        let compare: Vec<_> = transaction
            .conditions
            .iter()
            .map(|condition| self.compare(condition))
            .collect();
        let success: Vec<_> = transaction
            .writes
            .iter()
            .map(|write| self.change(write))
            .collect();
        let answer = self.asker.write(
            "/v3/kv/txn",
            &json!({"compare": compare, "success": success}),
        )?;
        // A field that is false is left out.
        Ok(if answer["succeeded"] == true {
            Outcome::Applied
        } else {
            Outcome::Refused
        })
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        limits::prefix(prefix)?;
        let (records, head) = pages::all(&self.asker, &self.keys, prefix)?;
        let follower = Follower::new(
            Arc::clone(&self.asker),
            self.keys.clone(),
            prefix,
            &head,
            &records,
        )?;
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
        let lease = Lease::grant(Arc::clone(&self.asker), self.keys.encode(key), value, ttl)?;
        Ok(Box::new(lease))
    }

    fn members(&self) -> Vec<Member> {
        self.asker.members()
    }
}
