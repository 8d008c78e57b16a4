//! One sandbox as the server knows it, and how much may wait on its behalf.

use arc_swap::ArcSwap;
use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use vw_model::SandboxId;
use vw_names::View;

/// A sandbox that is served. Dropping the last reference closes its socket, which lets its
/// namespace go; what waits for upstreams must therefore hold it weakly.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: SandboxId,
    pub(crate) udp: UdpSocket,
    pub(crate) view: ArcSwap<View>,
    /// Its questions that wait.
    pub(crate) gate: Gate,
}

/// A bound on what may wait at once; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    waiting: Arc<AtomicUsize>,
    limit: usize,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            waiting: Arc::default(),
            limit,
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn enter(&self) -> Option<Room> {
        let before = self.waiting.fetch_add(1, Relaxed);
        // Counted first, so that dropping it is right on either path.
        let room = Room(Arc::clone(&self.waiting));
        (before < self.limit).then_some(room)
    }
}

/// Room for one behind a gate, given back when dropped.
#[derive(Debug)]
struct Room(Arc<AtomicUsize>);

impl Drop for Room {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The right of one question to wait: room in its sandbox's share and in the whole.
#[derive(Debug)]
pub(crate) struct Permit {
    _own: Room,
    _all: Room,
}

impl Permit {
    /// Takes both, or none. Nobody has more than is left for the others: however many take what they
    /// get, there is room for one more.
    pub(crate) fn new(own: &Gate, all: &Gate) -> Option<Self> {
        if own.waiting() >= all.limit.saturating_sub(all.waiting()) {
            return None;
        }
        Some(Self {
            _own: own.enter()?,
            _all: all.enter()?,
        })
    }
}
