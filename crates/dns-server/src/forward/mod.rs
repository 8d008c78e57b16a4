//! Questions for the rest of the world.
//!
//! Owns who waits for which question: one that is under way is not asked again, an answer
//! that is kept is not asked at all. All of it lives on one thread, so nothing is locked.

mod exchange;

pub(crate) use exchange::Exchange;

use crate::{
    cache::Cache,
    client::{Client, Permit},
    counters::Tally,
    tcp,
};
use std::{
    cell::RefCell,
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, Weak},
    time::Instant,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::{AbortHandle, spawn_local},
};
use vw_model::SandboxId;
use vw_names::{Query, Rcode, Response, Transport, Upstream, Vantage, refuse};

/// What the other threads tell this one.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve sandboxes' streams too.
    Serve(Vec<(Weak<Client>, TcpListener)>),
    /// A sandbox is gone: end what goes on inside of it.
    Forget(SandboxId),
    /// Find an answer.
    Forward(Job),
}

/// A question of one client.
#[derive(Debug)]
pub(crate) struct Job {
    /// The query as it came; it has been read without fault.
    pub(crate) message: Box<[u8]>,
    pub(crate) upstreams: Arc<[Upstream]>,
    pub(crate) sandbox: SandboxId,
    pub(crate) reply_to: ReplyTo,
    pub(crate) permit: Permit,
}

/// Where a reply goes.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// From the sandbox's socket to whoever asked.
    Udp {
        client: Weak<Client>,
        peer: SocketAddr,
    },
    /// Down the stream, which had a slot set aside for it.
    Tcp(mpsc::UnboundedSender<tcp::Framed>, OwnedSemaphorePermit),
}

/// What makes two questions the same.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// As it goes upstream (so with RD, CD, DO and the options), under id 0 and with its
    /// name in lower case.
    message: Box<[u8]>,
    upstreams: Arc<[Upstream]>,
    /// Set when a server is asked from inside: that one may answer otherwise elsewhere.
    sandbox: Option<SandboxId>,
}

impl Key {
    /// How much memory it takes, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.message.len() + size_of::<Self>()
    }
}

/// A question under way, and who waits for it.
#[derive(Debug)]
struct Flight {
    waiting: Vec<(Box<[u8]>, ReplyTo, Permit)>,
    task: AbortHandle,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Forwarder {
    exchange: Exchange,
    tally: Arc<Tally>,
    flights: RefCell<HashMap<Rc<Key>, Flight>>,
    cache: RefCell<Cache>,
}

impl Forwarder {
    pub(crate) fn new(exchange: Exchange, cache: Cache, tally: Arc<Tally>) -> Rc<Self> {
        let (flights, cache) = (RefCell::default(), RefCell::new(cache));
        Rc::new(Self {
            exchange,
            tally,
            flights,
            cache,
        })
    }

    /// Answers a job: from the cache, with the same question under way, or by asking.
    pub(crate) fn forward(self: &Rc<Self>, job: Job) {
        let Ok(query) = Query::parse(&job.message) else {
            return self.tally.dropped.count();
        };
        let (key, keepable) = key_of(&query, &job);
        if let Some((response, age)) = self.cache.borrow_mut().get(&key, Instant::now()) {
            self.tally.cache_hits.count();
            return self.reply(&job.message, job.reply_to, Some(&response), age);
        }
        let waiter = (job.message, job.reply_to, job.permit);
        let mut flights = self.flights.borrow_mut();
        if let Some(flight) = flights.get_mut(&key) {
            self.tally.joined.count();
            flight.waiting.push(waiter);
            return;
        }
        let key = Rc::new(key);
        let this = Rc::clone(self);
        let (flown, message, sandbox) = (Rc::clone(&key), waiter.0.clone(), job.sandbox);
        let task = spawn_local(async move {
            let response = this.exchange.ask(&message, &flown.upstreams, sandbox).await;
            this.land(&flown, response, keepable);
        });
        let flight = Flight {
            waiting: vec![waiter],
            task: task.abort_handle(),
        };
        flights.insert(key, flight);
    }

    /// Ends what a sandbox asks from inside; it would keep the namespace.
    pub(crate) fn forget(&self, sandbox: SandboxId) {
        self.flights.borrow_mut().retain(|key, flight| {
            let inside = key.sandbox == Some(sandbox);
            if inside {
                flight.task.abort();
            }
            !inside
        });
    }

    /// Tells all who waited.
    fn land(&self, key: &Rc<Key>, response: Option<Response>, keepable: bool) {
        let response = response.map(Rc::new);
        let Some(flight) = self.flights.borrow_mut().remove(key) else {
            return;
        };
        if let Some(response) = &response
            && keepable
        {
            let kept = (Rc::clone(key), Rc::clone(response));
            self.cache
                .borrow_mut()
                .insert(kept.0, kept.1, Instant::now());
        }
        for (message, reply_to, permit) in flight.waiting {
            self.reply(&message, reply_to, response.as_deref(), 0);
            drop(permit);
        }
    }

    fn reply(&self, message: &[u8], reply_to: ReplyTo, response: Option<&Response>, age: u32) {
        // It was read without fault when it came.
        let Ok(query) = Query::parse(message) else {
            return;
        };
        let transport = match &reply_to {
            ReplyTo::Udp { .. } => Transport::Udp,
            ReplyTo::Tcp(..) => Transport::Tcp,
        };
        let mut out = Vec::with_capacity(512);
        match response {
            Some(response) => response.reply(&query, transport, age, &mut out),
            None => refuse(&query, transport, Rcode::ServFail, &mut out),
        }
        if response.is_none_or(Response::is_failure) {
            self.tally.failed.count();
        }
        let sent = match reply_to {
            ReplyTo::Udp { client, peer } => client
                .upgrade()
                .is_some_and(|client| client.udp.send_to(&out, peer).is_ok()),
            ReplyTo::Tcp(stream, slot) => stream.send((out, slot)).is_ok(),
        };
        if !sent {
            self.tally.dropped.count();
        }
    }
}

/// The key of a question, and whether its answer may be kept for others.
fn key_of(query: &Query<'_>, job: &Job) -> (Key, bool) {
    let mut message = Vec::with_capacity(job.message.len() + 16);
    let keepable = query.forward(0, &mut message);
    let name = query.name();
    // The question's name stands right behind the header, as long as its folded form.
    const HEADER: usize = 12;
    message[HEADER..HEADER + name.len()].copy_from_slice(name);
    let inside = job
        .upstreams
        .iter()
        .any(|upstream| upstream.from == Vantage::Sandbox);
    let key = Key {
        message: message.into(),
        upstreams: Arc::clone(&job.upstreams),
        sandbox: inside.then_some(job.sandbox),
    };
    (key, keepable)
}

/// What other tests of this crate need of it.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Arc, Key};

    /// The key of a message as it goes upstream.
    pub(crate) fn key(message: &[u8]) -> Key {
        Key {
            message: message.into(),
            upstreams: Arc::default(),
            sandbox: None,
        }
    }
}
