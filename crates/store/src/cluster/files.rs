//! Stores whose options name files: when they are opened, and which file is to blame where a store does
//! not let us in.
//!
//! Owns a store that is away as long as a file has never been usable, and that names the file beside what
//! went wrong later. What was read of a file last is used until it can be read again, so that a file is
//! looked at only once something fails: it must change nothing else.

use super::{
    ClusterError, ClusterStore, ClusterUrl, Member, Options, Outcome, Presence, Record,
    Transaction, Watch, net::check, registry::Row,
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// What helps where a file could be used before, and where it never could.
const USED_BEFORE: &str =
    "what was read of it before is used: put a file there that can be, and it is used at once";
const NEVER_USED: &str =
    "the store is not asked without it: put a file there that can be used, and it is asked soon";

/// A store, and the options that it is opened with: at the first call at which their files can be used.
#[derive(Debug)]
pub(super) struct WithFiles {
    row: &'static Row,
    url: ClusterUrl,
    options: Arc<Options>,
    opened: OnceLock<Arc<dyn ClusterStore>>,
}

impl WithFiles {
    pub(super) fn new(row: &'static Row, url: &ClusterUrl, options: &Options) -> Self {
        Self {
            row,
            url: url.clone(),
            options: Arc::new(options.clone()),
            opened: OnceLock::new(),
        }
    }

    fn store(&self) -> Result<&dyn ClusterStore, ClusterError> {
        if let Some(opened) = self.opened.get() {
            return Ok(&**opened);
        }
        let opened = (self.row.open)(&self.url, &self.options);
        let opened = opened.map_err(|wrong| ClusterError::Unavailable {
            store: self.row.kind,
            reason: format!("{}: {NEVER_USED}", self.options.describe(wrong)),
        })?;
        // Who opens it at the same time does no harm.
        Ok(&**self.opened.get_or_init(|| opened))
    }
}

impl Options {
    /// What is wrong with a file that they name, with its path; `None` where each can be used.
    #[must_use]
    pub fn unusable(&self) -> Option<String> {
        let checked = self
            .tls()
            .and_then(|tls| tls.as_ref().map_or(Ok(()), check));
        let wrong = checked.and_then(|()| self.check_secrets()).err()?;
        Some(self.describe(wrong))
    }

    fn describe(&self, wrong: ClusterError) -> String {
        let ClusterError::Setting { option, reason } = wrong else {
            return wrong.to_string();
        };
        let path = self.given(&option).filter(|path| !reason.contains(*path));
        let path = path.map(|path| format!("{path}: ")).unwrap_or_default();
        format!("{option}: {path}{reason}")
    }

    fn blame(&self) -> Option<String> {
        let unusable = self.unusable()?;
        Some(format!("{unusable}: {USED_BEFORE}"))
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
        self.row.kind
    }

    fn get(&self, key: &str) -> Result<Option<Record>, ClusterError> {
        self.options.tell(self.store()?.get(key))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Record>, ClusterError> {
        self.options.tell(self.store()?.list(prefix))
    }

    fn commit(&self, transaction: &Transaction) -> Result<Outcome, ClusterError> {
        self.options.tell(self.store()?.commit(transaction))
    }

    fn follow(&self, prefix: &str) -> Result<(Vec<Record>, Box<dyn Watch>), ClusterError> {
        let (records, inner) = self.options.tell(self.store()?.follow(prefix))?;
        let options = self.options.clone();
        Ok((records, Box::new(Told { inner, options })))
    }

    fn announce(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
    ) -> Result<Box<dyn Presence>, ClusterError> {
        self.options.tell(self.store()?.announce(key, value, ttl))
    }

    fn members(&self) -> Vec<Member> {
        let mut members = match self.store() {
            Ok(store) => store.members(),
            Err(error) => return self.none_asked(&error),
        };
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

impl WithFiles {
    /// Its servers, of which none is asked.
    fn none_asked(&self, error: &ClusterError) -> Vec<Member> {
        let why = match error {
            ClusterError::Unavailable { reason, .. } => reason.clone(),
            other => other.to_string(),
        };
        let servers = self.url.servers().iter();
        let member = |server: &super::Server| Member {
            address: server.to_string(),
            answer: Err(why.clone()),
            leader: None,
            version: None,
        };
        servers.map(member).collect()
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
