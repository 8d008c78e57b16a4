//! HTTP/1.1 as etcd and Consul speak it: requests to one of several servers, and their answers.
//!
//! Owns which connections are kept. It must not know what is asked, nor ask again by itself:
//! whether that is safe depends on the request.

mod connection;

#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, Request, Response};

use super::{
    net::Dialer,
    turns::{Refusal, Turns},
};
use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The most connections that wait for their next use.
const KEPT: usize = 8;

/// How long the body of a big answer may take to come, once its head is there.
const BODY: Duration = Duration::from_secs(20);

/// The servers of a store, and the connections to them.
pub(crate) struct Client {
    dialer: Dialer,
    turns: Turns,
    idle: Mutex<Vec<(usize, Connection)>>,
}

impl Client {
    pub(crate) fn new(dialer: Dialer, turns: Turns) -> Self {
        Self {
            dialer,
            turns,
            idle: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// A connection of the caller's own.
    pub(crate) fn open(&self, server: usize, deadline: Instant) -> io::Result<Connection> {
        let server = &self.turns.servers()[server];
        let stream = self.dialer.dial(server, deadline)?;
        Ok(Connection::new(stream, server.to_string()))
    }

    /// Asks one server, over a connection that is kept for the next.
    pub(crate) fn call(
        &self,
        server: usize,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Response, Refusal> {
        let mut connection = match self.kept(server) {
            Some(connection) => connection,
            None => self
                .open(server, deadline)
                .map_err(|error| Refusal::Elsewhere(error.to_string()))?,
        };
        let answer = connection
            .send(request, deadline)
            .and_then(|()| connection.status(deadline))
            .and_then(|_| connection.receive(deadline + BODY))
            .map_err(|error| Refusal::Uncertain(error.to_string()))?;
        if answer.keeps {
            self.keep(server, connection);
        }
        Ok(answer)
    }

    fn kept(&self, server: usize) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // A server that ended meanwhile has closed its connections: what is sent would be lost.
        idle.retain(|(_, connection)| connection.is_idle());
        let at = idle.iter().rposition(|(kept, _)| *kept == server)?;
        Some(idle.swap_remove(at).1)
    }

    fn keep(&self, server: usize, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == KEPT {
            idle.remove(0);
        }
        idle.push((server, connection));
    }
}
