//! The addresses of servers that are given by name, asked of the system within a bounded time.
//!
//! Owns what was known last: a cluster's names may come from a server that is away, or that is
//! itself a container of this host, and the system waits for it for as long as it likes.

use super::late;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a new answer is waited for where there is an old one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks for a name's addresses, however long that takes.
type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

#[derive(Clone)]
pub(super) struct Names(Arc<Asked>);

struct Asked {
    resolve: Box<Resolve>,
    names: Mutex<HashMap<(String, u16), Name>>,
    answered: Condvar,
}

#[derive(Default)]
struct Name {
    addresses: Vec<SocketAddr>,
    /// Whether a thread asks for it now.
    is_asked: bool,
    /// How often it was asked for, and why it was not told the last time.
    answers: u64,
    refused: Option<(io::ErrorKind, String)>,
}

impl Names {
    /// Asks the system.
    pub(super) fn of_system() -> Self {
        Self::by(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
    }

    pub(super) fn by(
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Asked {
            resolve: Box::new(resolve),
            names: Mutex::default(),
            answered: Condvar::new(),
        }))
    }

    /// A server's addresses: those that it has now, else the last that are known.
    ///
    /// # Errors
    /// When none are, before `deadline`.
    pub(super) fn addresses(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(addr) = host.parse::<IpAddr>() {
            return Ok(vec![(addr, port).into()]);
        }
        let key = (host.to_owned(), port);
        let asked = &self.0;
        let mut names = asked.names.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.entry(key.clone()).or_default();
        let (before, known) = (name.answers, !name.addresses.is_empty());
        if !name.is_asked {
            self.ask(key.clone())?;
            name.is_asked = true;
        }
        let now = Instant::now();
        let mut left = deadline.saturating_duration_since(now);
        if known {
            left = left.min(PATIENCE);
        }
        let wait = asked.answered.wait_timeout_while(names, left, |names| {
            names.get(&key).is_some_and(|name| name.answers == before)
        });
        let names = wait.unwrap_or_else(PoisonError::into_inner).0;
        let name = names.get(&key).expect("no name is ever taken out");
        match &name.refused {
            _ if !name.addresses.is_empty() => Ok(name.addresses.clone()),
            Some((kind, why)) if name.answers != before => Err(io::Error::new(*kind, why.clone())),
            _ => Err(late(&format!("the name {host} was not resolved in time"))),
        }
    }

    /// Asks on a thread, which nobody can end: the system does when it gives up. There is one a
    /// name at most.
    fn ask(&self, key: (String, u16)) -> io::Result<()> {
        let asked = Arc::clone(&self.0);
        let thread = thread::Builder::new().name("cluster-resolve".to_owned());
        let ask = move || {
            let answer = (asked.resolve)(&key.0, key.1);
            let mut names = asked.names.lock().unwrap_or_else(PoisonError::into_inner);
            let name = names.entry(key).or_default();
            (name.is_asked, name.answers) = (false, name.answers + 1);
            name.refused = match answer {
                Ok(addresses) if addresses.is_empty() => Some((
                    io::ErrorKind::NotFound,
                    "the name has no address".to_owned(),
                )),
                Ok(addresses) => {
                    name.addresses = addresses;
                    None
                }
                Err(error) => Some((error.kind(), error.to_string())),
            };
            drop(names);
            asked.answered.notify_all();
        };
        thread.spawn(ask).map(drop)
    }
}

#[cfg(test)]
mod tests;
