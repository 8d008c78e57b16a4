//! Sessions that are kept for the next question, and the server that is asked first.
//!
//! Owns their making and reuse. Nothing depends on them: one that ended is replaced.

use super::{
    super::{
        ClusterError, Member,
        net::Dialer,
        options::Fresh,
        turns::{PATIENCE, Refusal, Turns},
    },
    session::{Broken, Session, Ticket},
    wire::Access,
};
use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The most sessions that wait for their next use.
const KEPT: usize = 8;

/// How long a session lasts without being used; servers take 20 of their ticks at most.
const TIME: Duration = Duration::from_secs(40);

pub(super) struct Pool {
    dialer: Dialer,
    turns: Turns,
    user: Fresh<Option<(String, String)>>,
    idle: Mutex<Vec<(usize, Session)>>,
}

impl Pool {
    pub(super) fn new(dialer: Dialer, turns: Turns, user: Fresh<Option<(String, String)>>) -> Self {
        Self {
            dialer,
            turns,
            user,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Who may use the nodes that we make.
    pub(super) fn access(&self) -> Access {
        match self.user.get() {
            Some(_) => Access::Maker,
            None => Access::Anyone,
        }
    }

    /// A session of the caller's own; `ticket` takes one up again.
    pub(super) fn open(
        &self,
        server: usize,
        ticket: &Ticket,
        time: Duration,
        deadline: Instant,
    ) -> Result<Session, Broken> {
        let server = &self.turns.servers()[server];
        let user = self.user.get();
        Session::open(&self.dialer, server, user.as_ref(), ticket, time, deadline)
    }

    /// Asks by `ask(session, deadline)`, of one server after the other.
    pub(super) fn ask<T>(
        &self,
        repeatable: bool,
        mut ask: impl FnMut(&mut Session, Instant) -> Result<T, Refusal>,
    ) -> Result<T, ClusterError> {
        self.turns.ask(repeatable, |server, deadline| {
            let mut session = match self.kept(server) {
                Some(session) => session,
                None => self
                    .open(server, &Ticket::default(), TIME, deadline)
                    .map_err(unsent)?,
            };
            let answer = ask(&mut session, deadline)?;
            self.keep(server, session);
            Ok(answer)
        })
    }

    /// As [`Self::ask`], for what changes nothing.
    pub(super) fn read<T>(
        &self,
        mut ask: impl FnMut(&mut Session, Instant) -> Result<T, Broken>,
    ) -> Result<T, ClusterError> {
        self.ask(true, |session, deadline| {
            ask(session, deadline).map_err(unsent)
        })
    }

    fn kept(&self, server: usize) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, session)| session.is_idle());
        let at = idle.iter().rposition(|(kept, _)| *kept == server)?;
        Some(idle.swap_remove(at).1)
    }

    fn keep(&self, server: usize, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == KEPT {
            idle.remove(0);
        }
        idle.push((server, session));
    }

    /// Each server's health, by its word `srvr`.
    pub(super) fn members(&self) -> Vec<Member> {
        self.turns.members(|server| {
            let start = Instant::now();
            let answer = self.srvr(server, start + PATIENCE);
            let took = start.elapsed();
            let said = answer.as_deref().unwrap_or_default();
            let field = |name: &str| {
                let mut lines = said.lines();
                lines
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::trim)
            };
            let mode = field("Mode:");
            Member {
                address: self.turns.servers()[server].to_string(),
                leader: mode.map(|mode| matches!(mode, "leader" | "standalone")),
                version: field("Zookeeper version:")
                    .and_then(|version| version.split(['-', ',']).next())
                    .map(str::to_owned),
                answer: match &answer {
                    Err(error) => Err(error.to_string()),
                    Ok(said) if said.contains("not currently serving") => {
                        Err("it does not serve: too few servers are there".to_owned())
                    }
                    // It may have been told not to tell more.
                    Ok(_) => Ok(took),
                },
            }
        })
    }

    fn srvr(&self, server: usize, deadline: Instant) -> io::Result<String> {
        let mut stream = self.dialer.dial(&self.turns.servers()[server], deadline)?;
        stream.write_all(b"srvr", deadline)?;
        let mut said = Vec::new();
        let mut piece = [0; 1024];
        loop {
            match stream.read(&mut piece, deadline) {
                Ok(0) => break,
                Ok(read) => said.extend_from_slice(&piece[..read]),
                // Over TLS, a server closes without a farewell.
                Err(_) if !said.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// A failure before anything was changed.
pub(super) fn unsent(broken: Broken) -> Refusal {
    match broken {
        Broken::Final(error) => Refusal::Final(error),
        // The next is asked in a new session.
        Broken::Expired | Broken::Connection(_) => Refusal::Elsewhere(broken.said()),
    }
}
