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

/// So many questions of a sandbox may wait however many there are in all: one for each family, of two
/// programs.
const RESERVED: usize = 4;

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

    fn enter(&self) -> Room {
        self.waiting.fetch_add(1, Relaxed);
        Room(Arc::clone(&self.waiting))
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
    /// Takes both, or none. Nobody has more than is left for the others, and everybody has
    /// [`RESERVED`], whatever the others take. Threads that ask at once may each have one more.
    pub(crate) fn new(own: &Gate, all: &Gate) -> Option<Self> {
        let left = all.limit.saturating_sub(all.waiting());
        let share = own.limit.min(left.max(RESERVED));
        (own.waiting() < share).then(|| Self {
            _own: own.enter(),
            _all: all.enter(),
        })
    }
}
