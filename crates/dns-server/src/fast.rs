//! The thread that answers: one event queue over the UDP sockets of all sandboxes.
//!
//! Owns receiving, answering what is known here, and handing on the rest. It must never
//! wait for anything but the next query, and takes no lock that is held while waiting.
//!
//! Plain `recvfrom` and `sendto` in a loop. Batches (`recvmmsg`, `sendmmsg`) of 32 were
//! measured beside them with `examples/qps.rs`, in alternating runs: 4.8 against 5.1 us of
//! processor time an answer when saturated, no difference at 50,000 a second, as nearly all
//! of it is the loopback path of each datagram. That is not worth their unsafe code. An
//! async runtime would add its own readiness calls to the two.

use crate::{
    client::{Client, Gate, Permit},
    counters::Tally,
    forward::{Command, Job, ReplyTo},
};
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, epoll, eventfd},
    io::Errno,
};
use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc::UnboundedSender;
use vw_names::{Malformed, Query, Rcode, Rng, Transport, Verdict, answer, refuse};

/// Datagrams taken from one sandbox before the others have their turn.
const TURN: usize = 64;
/// Sockets told of by one wait.
const EVENTS: usize = 64;
/// The event that ends the thread; sandboxes count from 1.
const STOP: u64 = 0;
/// More than a query with any sense in it.
const LARGEST_QUERY: usize = 4096;

/// What the thread shares with those who bring and take sandboxes.
#[derive(Debug)]
pub(crate) struct Queue {
    epoll: OwnedFd,
    wake: OwnedFd,
    stopping: AtomicBool,
    next: AtomicU64,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
}

impl Queue {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(
            &epoll,
            &wake,
            epoll::EventData::new_u64(STOP),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            epoll,
            wake,
            stopping: AtomicBool::new(false),
            next: AtomicU64::new(STOP + 1),
            clients: Mutex::default(),
        })
    }

    /// Serves a sandbox from now on; the number is for [`Queue::remove`].
    pub(crate) fn add(&self, client: Arc<Client>) -> io::Result<u64> {
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let data = epoll::EventData::new_u64(token);
        epoll::add(&self.epoll, &client.udp, data, epoll::EventFlags::IN)?;
        self.clients().insert(token, client);
        Ok(token)
    }

    /// Stops serving a sandbox.
    pub(crate) fn remove(&self, token: u64) {
        if let Some(client) = self.clients().remove(&token) {
            // Explicitly, as another descriptor of the same socket may be open elsewhere.
            let _ = epoll::delete(&self.epoll, &client.udp);
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // It can only fail when the count is at its limit, and then the thread wakes anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Client>>> {
        // Every change is one insertion or removal, so the map is whole after a panic.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own part.
#[derive(Debug)]
pub(crate) struct Fast {
    pub(crate) queue: Arc<Queue>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) slow: UnboundedSender<Command>,
    /// For all sandboxes together.
    pub(crate) gate: Gate,
    pub(crate) rng: Rng,
}

impl Fast {
    /// Serves until [`Queue::stop`].
    pub(crate) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut datagram = vec![0; LARGEST_QUERY];
        let mut out = Vec::with_capacity(LARGEST_QUERY);
        while !self.queue.stopping.load(Ordering::Acquire) {
            events.clear();
            match epoll::wait(&self.queue.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "names are no longer served: waiting for queries failed");
                    return;
                }
            }
            for event in &events {
                let client = self.queue.clients().get(&event.data.u64()).cloned();
                if let Some(client) = client {
                    self.turn(&client, &mut datagram, &mut out);
                }
            }
        }
    }

    /// Takes up to [`TURN`] queries of one sandbox; the rest is told of again.
    fn turn(&mut self, client: &Arc<Client>, datagram: &mut [u8], out: &mut Vec<u8>) {
        for _ in 0..TURN {
            let (length, peer) = match client.udp.recv_from(datagram) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An error that was queued at the socket is taken off by this call.
                Err(_) => continue,
            };
            self.query(client, &datagram[..length], peer, out);
        }
    }

    fn query(&mut self, client: &Arc<Client>, message: &[u8], peer: SocketAddr, out: &mut Vec<u8>) {
        self.tally.queries.count();
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(malformed) if Malformed::reply(malformed, out) => {
                self.tally.local.count();
                return self.send(client, peer, out);
            }
            Err(_) => return self.tally.dropped.count(),
        };
        let view = client.view.load();
        if answer(&view, &query, Transport::Udp, &mut self.rng, out) == Verdict::Reply {
            self.tally.local.count();
            return self.send(client, peer, out);
        }
        let Some(permit) = Permit::new(&client.gate, &self.gate) else {
            self.tally.refused.count();
            refuse(&query, Transport::Udp, Rcode::Refused, out);
            return self.send(client, peer, out);
        };
        self.tally.forwarded.count();
        let job = Job {
            message: message.into(),
            upstreams: Arc::clone(view.upstreams()),
            sandbox: client.id,
            reply_to: ReplyTo::Udp {
                client: Arc::downgrade(client),
                peer,
            },
            permit,
        };
        if self.slow.send(Command::Forward(job)).is_err() {
            self.tally.dropped.count();
        }
    }

    fn send(&self, client: &Client, peer: SocketAddr, reply: &[u8]) {
        // The datagram may be lost like any other; the client asks again.
        if client.udp.send_to(reply, peer).is_err() {
            self.tally.dropped.count();
        }
    }
}
