//! What a host is told, and what it says of itself.

use crate::{Delta, Follower};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

#[derive(Default)]
pub(super) struct Told {
    pub(super) deltas: Mutex<Vec<Delta>>,
    /// Whether something of this host is to be on a network.
    pub(super) members: AtomicBool,
}

impl Follower for Told {
    fn follow(&self, deltas: Vec<Delta>) {
        self.deltas.lock().unwrap().extend(deltas);
    }

    fn has_members(&self) -> bool {
        self.members.load(Ordering::SeqCst)
    }
}

impl Told {
    pub(super) fn count(&self, of: impl Fn(&Delta) -> bool) -> usize {
        let deltas = self.deltas.lock().unwrap();
        deltas.iter().filter(|delta| of(delta)).count()
    }
}
