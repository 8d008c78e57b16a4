//! A presence in etcd: a key under a lease.
//!
//! Owns the lease from its grant to its end. It renews nothing by itself.

use super::{
    super::{ClusterError, Presence},
    STORE,
    ask::Asker,
    codec::{self, number, protocol},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

pub(super) struct Lease {
    asker: Arc<Asker>,
    /// As requests want it.
    key: String,
    id: String,
}

impl Lease {
    /// Takes a lease and puts the key under it.
    pub(super) fn grant(
        asker: Arc<Asker>,
        key: String,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Self, ClusterError> {
        let seconds = ttl.as_secs_f64().ceil();
        // Asked twice, the lease that nobody knows of ends by itself.
        let answer = asker.read("/v3/lease/grant", &json!({"TTL": format!("{seconds}")}))?;
        let id = answer["ID"]
            .as_str()
            .ok_or_else(|| protocol("a lease without its number".to_owned()))?
            .to_owned();
        let lease = Self { asker, key, id };
        lease.asker.read(
            "/v3/kv/put",
            &json!({"key": lease.key, "value": codec::encode(value), "lease": lease.id}),
        )?;
        Ok(lease)
    }

    fn expired() -> ClusterError {
        ClusterError::Expired { store: STORE }
    }
}

impl Presence for Lease {
    fn renew(&mut self) -> Result<(), ClusterError> {
        let answer = self
            .asker
            .read("/v3/lease/keepalive", &json!({"ID": self.id}))?;
        if number(&answer["TTL"])? == 0 {
            return Err(Self::expired());
        }
        // Another may have taken the key, which leaves the lease as it was.
        let answer = self
            .asker
            .read("/v3/kv/range", &json!({"key": self.key, "keys_only": true}))?;
        if answer["kvs"][0]["lease"].as_str() == Some(&self.id) {
            Ok(())
        } else {
            Err(Self::expired())
        }
    }

    fn close(&mut self) -> Result<(), ClusterError> {
        let revoked = self.asker.read("/v3/lease/revoke", &json!({"ID": self.id}));
        match revoked {
            Err(ClusterError::Expired { .. }) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
