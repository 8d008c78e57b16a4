//! The servers of a store, asked in turn until one serves.
//!
//! Owns which is asked first, how long all of them may take, and when a second may be asked. It
//! must not know what is asked: the caller says what a refusal means.

use super::{ClusterError, Member, Server};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long one server may take to answer a read. It is more than an election takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// How long one server may take to answer a change: etcd itself gives up after 7 s, and no other
/// may be asked meanwhile.
const LONG_PATIENCE: Duration = Duration::from_secs(8);

/// The least time that a watch waits.
pub(crate) const MOMENT: Duration = Duration::from_millis(5);

/// How long all servers together may take.
const LIMIT: Duration = Duration::from_secs(10);

/// How long it waits after all servers were asked, before it asks them once more.
const PAUSE: Duration = Duration::from_millis(100);

/// Why one server did not serve.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// This server cannot now; nothing was changed.
    Elsewhere(String),
    /// It may have been changed.
    Uncertain(String),
    /// Nothing that another server or time would mend; nothing was changed.
    Final(ClusterError),
    /// As [`Self::Final`], but it may have been changed: the answer does not tell.
    Garbled(ClusterError),
}

impl Refusal {
    /// In words.
    pub(crate) fn said(self) -> String {
        match self {
            Self::Elsewhere(reason) | Self::Uncertain(reason) => reason,
            Self::Final(error) | Self::Garbled(error) => error.to_string(),
        }
    }
}

/// The servers.
pub(crate) struct Turns {
    store: &'static str,
    servers: Vec<Server>,
    /// The server that served last.
    preferred: AtomicUsize,
}

impl Turns {
    pub(crate) fn new(store: &'static str, servers: &[Server]) -> Self {
        Self {
            store,
            servers: servers.to_vec(),
            preferred: AtomicUsize::new(0),
        }
    }

    pub(crate) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The number of the server to ask first.
    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Says that a server did not serve: the next is asked first, unless another already is.
    pub(crate) fn avoid(&self, server: usize) {
        let next = (server + 1) % self.servers.len();
        // Fails when another thread has moved on already.
        let _ = self
            .preferred
            .compare_exchange(server, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// That no server serves, with what each said: in the same words, whichever was asked first.
    pub(crate) fn unavailable(&self, complaints: &[String]) -> ClusterError {
        let mut said = complaints.to_vec();
        said.sort_unstable();
        said.dedup();
        ClusterError::Unavailable {
            store: self.store,
            reason: said.join("; "),
        }
    }

    /// A complaint with the name of the server that it is of.
    pub(crate) fn told(&self, server: usize, reason: &str) -> String {
        format!("{}: {reason}", self.servers[server])
    }

    /// Asks one server after the other, by `ask(server, deadline)`.
    ///
    /// What is not `repeatable` is asked of a second only if the first cannot have done it.
    pub(crate) fn ask<T>(
        &self,
        repeatable: bool,
        mut ask: impl FnMut(usize, Instant) -> Result<T, Refusal>,
    ) -> Result<T, ClusterError> {
        let end = Instant::now() + LIMIT;
        let patience = if repeatable { PATIENCE } else { LONG_PATIENCE };
        let mut complaints: Vec<String> = Vec::new();
        let mut attempts = 0;
        loop {
            let server = self.preferred();
            let deadline = end.min(Instant::now() + patience);
            let reason = match ask(server, deadline) {
                Ok(answer) => return Ok(answer),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Garbled(error)) if repeatable => return Err(error),
                Err(refusal @ (Refusal::Uncertain(_) | Refusal::Garbled(_))) if !repeatable => {
                    self.avoid(server);
                    return Err(ClusterError::Uncertain {
                        store: self.store,
                        reason: self.told(server, &refusal.said()),
                    });
                }
                Err(refusal) => refusal.said(),
            };
            self.avoid(server);
            let complaint = self.told(server, &reason);
            if !complaints.contains(&complaint) {
                complaints.push(complaint);
            }
            attempts += 1;
            if Instant::now() >= end || attempts >= 2 * self.servers.len() {
                return Err(self.unavailable(&complaints));
            }
            if attempts % self.servers.len() == 0 {
                // An election or a restart: there is no event to wait for.
                thread::sleep(PAUSE);
            }
        }
    }

    /// Each server's health by `ask(server)`, all asked at once.
    pub(crate) fn members(&self, ask: impl Fn(usize) -> Member + Sync) -> Vec<Member> {
        thread::scope(|scope| {
            let ask = &ask;
            let asked: Vec<_> = (0..self.servers.len())
                .map(|server| scope.spawn(move || ask(server)))
                .collect();
            asked
                .into_iter()
                .map(|thread| thread.join().expect("asking does not panic"))
                .collect()
        })
    }
}
