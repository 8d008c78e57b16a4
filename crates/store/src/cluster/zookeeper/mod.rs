//! ZooKeeper (3.6 and later), by its own protocol.
//!
//! Owns how records, transactions, watches and presences are told in ZooKeeper's terms. A client
//! of our own: what there is elsewhere renews sessions by itself, while a presence here must end
//! with the host that no longer says that it lives. It must not decide what to do when no server
//! answers.

mod commit;
mod jute;
mod layout;
mod pool;
mod presence;
mod read;
mod session;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

use self::{
    layout::Layout, pool::Pool, presence::Ephemeral, read::Place, watch::Follower, wire::Op,
};
use super::{
    ClusterError, ClusterStore, ClusterUrl, Member, Options, Outcome, Presence, Record,
    Transaction, Watch, limits, net::Dialer, options::Fresh, turns::Turns,
};
use std::{fmt, sync::Arc, time::Duration};

pub(super) const STORE: &str = "zookeeper";

/// The store.
pub(crate) struct ZooKeeper {
    pool: Arc<Pool>,
    layout: Layout,
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeper")
            .field("servers", &self.pool.turns().servers())
            .finish_non_exhaustive()
    }
}

impl ZooKeeper {
    pub(crate) fn new(url: &ClusterUrl, options: &Options) -> Result<Self, ClusterError> {
        let dialer = Dialer::new(options)?;
        let turns = Turns::new(STORE, url.servers());
        Ok(Self {
            pool: Arc::new(Pool::new(
                dialer,
                turns,
                Fresh::new(options, Options::user)?,
            )),
            layout: Layout::new(url.prefix()),
        })
    }
}

fn protocol(reason: impl Into<String>) -> ClusterError {
    ClusterError::Protocol {
        store: STORE,
        reason: reason.into(),
    }
}

fn forbidden(reason: &str) -> ClusterError {
    ClusterError::Forbidden {
        store: STORE,
        reason: reason.to_owned(),
    }
}

/// What an error means that is no part of any bargain.
fn failed(code: i32) -> ClusterError {
    match code {
        wire::NO_AUTH => forbidden("no access to a node"),
        wire::AUTH_FAILED => forbidden("authentication failed"),
        code => protocol(format!("error {code}")),
    }
}

impl ClusterStore for ZooKeeper {
    fn kind(&self) -> &'static str {
        STORE
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        limits::key(key)?;
        let keys = [key.to_owned()];
        self.pool.read(|session, deadline| {
            session.ask(&[Op::Sync(self.layout.node(key))], deadline)?;
            let mut found = read::some(session, &self.layout, &keys, deadline)?;
            Ok(found.pop().flatten())
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        limits::prefix(prefix)?;
        let place = Place::new(self.layout.clone(), prefix);
        self.pool.read(|session, deadline| {
            session.ask(&[Op::Sync(place.watched())], deadline)?;
            read::all(session, &place, deadline + read::ALL)
        })
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        limits::transaction(transaction)?;
        commit::commit(&self.pool, &self.layout, transaction)
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        limits::prefix(prefix)?;
        let (pool, layout) = (Arc::clone(&self.pool), self.layout.clone());
        let (records, follower) = Follower::begin(pool, layout, prefix)?;
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
        let pool = Arc::clone(&self.pool);
        let presence = Ephemeral::make(pool, &self.layout, key, value, ttl)?;
        Ok(Box::new(presence))
    }

    fn members(&self) -> Vec<Member> {
        self.pool.members()
    }
}
