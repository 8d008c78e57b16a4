//! Which file of a store's options is to blame, where the store does not let us in.
//!
//! Owns a store that says so beside what went wrong. What was read of a file last is used until it can
//! be read again, so that a file is looked at only once something fails: it must change nothing else.

use super::{
    ClusterError, ClusterStore, Member, Options, Outcome, Presence, Record, Transaction, Watch,
    net::check,
};
use std::{sync::Arc, time::Duration};

/// A store, and the options that it was opened with.
#[derive(Debug)]
pub(super) struct WithFiles {
    store: Arc<dyn ClusterStore>,
    options: Arc<Options>,
}

impl WithFiles {
    pub(super) fn new(store: Arc<dyn ClusterStore>, options: &Options) -> Self {
        let options = Arc::new(options.clone());
        Self { store, options }
    }
}

impl Options {
    /// What is wrong with a file now, and what helps.
    fn blame(&self) -> Option<String> {
        let checked = self
            .tls()
            .and_then(|tls| tls.as_ref().map_or(Ok(()), check));
        let wrong = checked.and_then(|()| self.check_secrets()).err()?;
        let ClusterError::Setting { option, reason } = wrong else {
            return Some(wrong.to_string());
        };
        let path = self.given(&option).filter(|path| !reason.contains(*path));
        let path = path.map(|path| format!("{path}: ")).unwrap_or_default();
        Some(format!(
            "{option}: {path}{reason}: what was read of it before is used: put a file there that can \
             be, and it is used at once"
        ))
    }

    fn tell<T>(&self, told: Result<T, ClusterError>) -> Result<T, ClusterError> {
        told.map_err(|mut error| {
            if let ClusterError::Unavailable { reason, .. }
            | ClusterError::Uncertain { reason, .. }
            | ClusterError::Forbidden { reason, .. } = &mut error
                && let Some(blame) = self.blame()
            {
                *reason = format!("{reason}; {blame}");
            }
            error
        })
    }
}

impl ClusterStore for WithFiles {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        self.options.tell(self.store.get(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        self.options.tell(self.store.list(prefix))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        self.options.tell(self.store.commit(transaction))
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        let (records, inner) = self.options.tell(self.store.follow(prefix))?;
        let options = self.options.clone();
        Ok((records, Box::new(Told { inner, options })))
    }

    fn announce(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Box<dyn Presence>, ClusterError> {
        self.options.tell(self.store.announce(key, value, ttl))
    }

    fn members(&self) -> Vec<Member> {
        let mut members = self.store.members();
        let failed = members
            .iter_mut()
            .filter_map(|one| one.answer.as_mut().err());
        let mut failed = failed.peekable();
        if failed.peek().is_some()
            && let Some(blame) = self.options.blame()
        {
            failed.for_each(|said| *said = format!("{said}; {blame}"));
        }
        members
    }
}

/// A watch of such a store.
struct Told {
    inner: Box<dyn Watch>,
    options: Arc<Options>,
}

impl Watch for Told {
    fn next(&mut self, patience: Duration) -> Result<Vec<super::Change>, ClusterError> {
        self.options.tell(self.inner.next(patience))
    }
}
