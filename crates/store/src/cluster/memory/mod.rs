//! A cluster's store in memory, with a network between it and its clients that can be broken.
//!
//! Owns one store that any number of [`Client`]s share, for tests and simulations: each client
//! can be cut off, lose answers, its watches and its presences, and have its transactions arrive
//! long after it gave them up. It must not be more lenient than the contract: what a real store
//! refuses, it refuses.
//!
//! With a virtual clock nothing ever waits, and every call first asks a [`Weather`], which may run
//! anything else meanwhile: a whole cluster can thus be played, and replayed, by one thread.

mod client;
mod clock;
mod server;
mod watch;

pub use client::{Client, Traffic};

use super::{Record, Transaction};
use clock::Clock;
use server::Server;
use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What a client is about to ask of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A read, a presence, a step of a watch.
    Other,
    /// A transaction.
    Commit,
}

/// What the network does to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It never arrives, and its sender knows.
    Unreachable,
    /// It takes effect, but the answer is lost. For what is no transaction: as unreachable.
    AnswerLost,
    /// Its sender hears nothing; it arrives when [`MemoryStore::arrive`] is called, if then its
    /// conditions hold. For what is no transaction: as unreachable.
    Late,
}

/// Decides what becomes of each call.
pub trait Weather: Send + Sync {
    /// Called before each call of a client, while no lock is held: it may call the store by
    /// other clients, advance the clock, and break the network.
    fn before(&self, client: &str, call: Call) -> Fate;

    /// Called while the answer to a call is under way, as [`Self::before`] is.
    fn after(&self, _client: &str) {}
}

/// The store itself; a handle, cheap to clone.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Hub>);

#[derive(Default)]
pub(crate) struct Hub {
    server: Mutex<Server>,
    changed: Condvar,
    clock: Clock,
    weather: Mutex<Option<Arc<dyn Weather>>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

impl MemoryStore {
    /// An empty store by the machine's clock; its watches wait.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose clock stands still but for [`Self::advance`]; nothing waits.
    #[must_use]
    pub fn simulated() -> Self {
        Self(Arc::new(Hub {
            clock: Clock::simulated(),
            ..Hub::default()
        }))
    }

    /// A new client, reachable from the start.
    #[must_use]
    pub fn client(&self, name: &str) -> Arc<Client> {
        Arc::new(Client::new(name, self.0.clone()))
    }

    /// Lets `weather` decide the fate of all further calls.
    pub fn set_weather(&self, weather: Arc<dyn Weather>) {
        *locked(&self.0.weather) = Some(weather);
    }

    /// Moves a virtual clock on; presences that were not renewed end.
    ///
    /// # Panics
    /// By the machine's clock.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
        self.0.server().expire(self.0.clock.now());
    }

    /// The time since the store was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.clock.now()
    }

    /// Lets the oldest transaction that is late arrive; says whether there was one.
    #[must_use]
    pub fn arrive(&self) -> bool {
        let mut server = self.0.server();
        let Some(transaction) = server.late.pop_front() else {
            return false;
        };
        server.commit(&transaction);
        drop(server);
        self.0.changed.notify_all();
        true
    }

    /// Every record, as somebody sees it who looks into the store without its network.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.0.server().list("")
    }

    /// Makes the changes of a transaction without a network in between; says whether its
    /// conditions held.
    pub fn edit(&self, transaction: &Transaction) -> bool {
        let applied = self.0.server().commit(transaction);
        self.0.changed.notify_all();
        applied
    }

    /// Forgets which changes were made, as a store does that compacts: watches that have not
    /// read them yet are lost.
    pub fn compact(&self) {
        self.0.server().compact();
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Hub {
    fn server(&self) -> MutexGuard<'_, Server> {
        locked(&self.server)
    }

    fn fate(&self, client: &str, call: Call) -> Fate {
        let weather = locked(&self.weather).clone();
        weather.map_or(Fate::Answered, |weather| weather.before(client, call))
    }

    /// Whatever was found is older when it is told.
    fn answer<T>(&self, client: &str, found: T) -> T {
        let weather = locked(&self.weather).clone();
        if let Some(weather) = weather {
            weather.after(client);
        }
        found
    }
}

/// No code that runs under these locks can panic halfway through a change.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
