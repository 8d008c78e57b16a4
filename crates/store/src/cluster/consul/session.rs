//! A presence in Consul: a key that a session holds, and that goes with it.
//!
//! Owns the session from its making to its end. It renews nothing by itself.

use super::{
    super::{ClusterError, Outcome, Presence},
    STORE,
    ask::Asker,
    codec::{self, Keys, protocol},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// The least that Consul takes.
const LEAST: Duration = Duration::from_secs(10);

pub(super) struct Session {
    asker: Arc<Asker>,
    /// Where its record is read.
    target: String,
    id: String,
}

impl Session {
    /// Makes a session and lets it hold the key.
    pub(super) fn make(
        asker: Arc<Asker>,
        keys: &Keys,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Self, ClusterError> {
        // Consul ends a session only after twice its time: less than ours keeps our promise.
        let ttl = LEAST.max(ttl * 3 / 4).min(ttl.max(LEAST));
        // Without checks: by default it would end with the health of the server that was asked.
        // Asked twice, the session that nobody knows of ends by itself.
        let answer = asker.repeat(
            "/v1/session/create",
            &json!({
                "Name": format!("vethwork {key}"),
                "TTL": format!("{}s", ttl.as_secs()),
                "Behavior": "delete",
                "LockDelay": "0s",
                "NodeChecks": [],
            }),
        )?;
        let id = answer["ID"]
            .as_str()
            .ok_or_else(|| protocol("a session without its number"))?
            .to_owned();
        let full = keys.full(key);
        // Another's hold goes with the record. Nothing is checked, so nothing is refused.
        let held = asker.transact(
            &[
                json!({"KV": {"Verb": "delete", "Key": full}}),
                json!({"KV": {
                    "Verb": "lock",
                    "Key": full,
                    "Value": codec::encode(value),
                    "Session": id,
                }}),
            ],
            true,
        )?;
        match held {
            Outcome::Applied => Ok(Self {
                asker,
                target: keys.one(key),
                id,
            }),
            Outcome::Refused => Err(protocol("a lock was refused without a reason")),
        }
    }

    fn expired() -> ClusterError {
        ClusterError::Expired { store: STORE }
    }
}

impl Presence for Session {
    fn renew(&mut self) -> Result<(), ClusterError> {
        let target = format!("/v1/session/renew/{}", self.id);
        if self.asker.repeat(&target, &Value::Null)?.is_null() {
            return Err(Self::expired());
        }
        // Another may have taken the key, which leaves the session as it was.
        let answer = self.asker.read(&self.target)?;
        if answer.body[0]["Session"].as_str() == Some(&self.id) {
            Ok(())
        } else {
            Err(Self::expired())
        }
    }

    fn close(&mut self) -> Result<(), ClusterError> {
        let target = format!("/v1/session/destroy/{}", self.id);
        self.asker.repeat(&target, &Value::Null).map(|_| ())
    }
}
