//! What the cluster tells, kept until the controller can do something about it.
//!
//! Owns the order: what was told before the controller stood is told to it first.

use crate::{controller::WeakController, registry::lock};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};
use vw_cluster::{Delta, Follower};

/// The follower of the cluster, which is there before the controller is.
pub(crate) struct Ear {
    caught_up: fn(),
    /// Held while what was told early is passed on.
    passing: Mutex<Option<WeakController>>,
    early: Mutex<Vec<Delta>>,
    /// Whether the store was read before the controller stood.
    read_early: AtomicBool,
}

impl Ear {
    pub(super) fn new(caught_up: fn()) -> Self {
        Self {
            caught_up,
            passing: Mutex::default(),
            early: Mutex::default(),
            read_early: AtomicBool::new(false),
        }
    }

    /// What was told up to now.
    pub(super) fn early(&self) -> Vec<Delta> {
        std::mem::take(&mut *lock(&self.early))
    }

    /// Passes everything on from now on, what was told up to now first.
    pub(super) fn open(&self, controller: WeakController) {
        let mut passing = lock(&self.passing);
        pass(&controller, self.early());
        if self.read_early.load(Ordering::SeqCst) {
            pass_on_reading(&controller);
        }
        *passing = Some(controller);
    }
}

impl Follower for Ear {
    fn follow(&self, deltas: Vec<Delta>) {
        // There is one that tells: what it told before was passed on.
        let passing = lock(&self.passing);
        let Some(controller) = passing.clone() else {
            return lock(&self.early).extend(deltas);
        };
        drop(passing);
        pass(&controller, deltas);
    }

    fn caught_up(&self) {
        let passing = lock(&self.passing);
        let controller = passing.clone();
        if controller.is_none() {
            self.read_early.store(true, Ordering::SeqCst);
        }
        drop(passing);
        controller.iter().for_each(pass_on_reading);
        (self.caught_up)();
    }
}

fn pass(controller: &WeakController, deltas: Vec<Delta>) {
    if let Some(controller) = controller.upgrade() {
        controller.cluster_changed(deltas);
    }
}

fn pass_on_reading(controller: &WeakController) {
    if let Some(controller) = controller.upgrade() {
        controller.cut_off_strangers();
    }
}
