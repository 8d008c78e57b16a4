//! What a client holds on to: watches, and presences that it renews.

use super::{
    Call,
    client::{KIND, Link},
};
use crate::cluster::{Change, ClusterError, Presence, Watch};
use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

#[derive(Debug)]
pub(super) struct MemoryWatch {
    link: Arc<Link>,
    prefix: String,
    /// The last write that it has told of.
    revision: u64,
    generation: u64,
}

impl MemoryWatch {
    pub(super) fn new(link: Arc<Link>, prefix: &str, revision: u64) -> Self {
        Self {
            generation: link.generation.load(Ordering::SeqCst),
            link,
            prefix: prefix.to_owned(),
            revision,
        }
    }

    fn lost(&self, why: &str) -> ClusterError {
        ClusterError::Lost {
            store: KIND,
            reason: format!("{why}, for {}", self.link.name),
        }
    }

    /// What there is to tell now.
    fn read(&mut self, server: &super::Server) -> Result<Vec<Change>, ClusterError> {
        if self.link.is_cut() {
            return Err(self.link.unavailable());
        }
        if self.generation != self.link.generation.load(Ordering::SeqCst) {
            return Err(self.lost("the stream broke"));
        }
        let changes = server
            .since(self.revision, &self.prefix)
            .ok_or_else(|| self.lost("changes were compacted"))?;
        self.revision = server.revision();
        Ok(changes)
    }
}

impl Watch for MemoryWatch {
    fn next(&mut self, patience: Duration) -> Result<Vec<Change>, ClusterError> {
        self.link.reach(Call::Other)?;
        let hub = self.link.hub.clone();
        let until = hub.clock.now() + patience;
        let mut server = hub.server();
        let changes = loop {
            let now = hub.clock.now();
            server.expire(now);
            let changes = self.read(&server)?;
            if !changes.is_empty() || now >= until || hub.clock.is_virtual() {
                break changes;
            }
            let wake = server.next_end().map_or(until, |end| end.min(until));
            let waited = hub.changed.wait_timeout(server, wake.saturating_sub(now));
            server = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(server);
        self.link
            .receives(changes.iter().map(|change| match change {
                Change::Put(record) => (record.key.as_str(), record.value.len()),
                Change::Deleted(key) => (key.as_str(), 0),
            }));
        Ok(self.link.answer(changes))
    }
}

#[derive(Debug)]
pub(super) struct MemoryPresence {
    link: Arc<Link>,
    key: String,
    session: u64,
}

impl MemoryPresence {
    pub(super) const fn new(link: Arc<Link>, key: String, session: u64) -> Self {
        Self { link, key, session }
    }
}

impl Presence for MemoryPresence {
    fn renew(&mut self) -> Result<(), ClusterError> {
        self.link.ask(&self.key)?;
        let now = self.link.hub.clock.now();
        if self.link.hub.server().renew(self.session, now) {
            Ok(())
        } else {
            Err(ClusterError::Expired { store: KIND })
        }
    }

    fn close(&mut self) -> Result<(), ClusterError> {
        self.link.ask(&self.key)?;
        self.link.hub.server().end(self.session);
        self.link.hub.changed.notify_all();
        Ok(())
    }
}
