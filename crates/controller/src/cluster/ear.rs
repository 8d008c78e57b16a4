//! What the cluster tells, kept until the controller can do something about it.
//!
//! Owns the order: what was told before the controller stood is told to it first. That this host was
//! given up is not kept: it must be off all networks when the cluster was heard, and joins again then.

use crate::{
    controller::WeakController,
    registry::{lock, try_lock},
};
use std::sync::{
    Condvar, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use vw_cluster::{Delta, Follower};
use vw_model::{Error, Result};

/// How far a start is.
#[derive(Default)]
enum Starting {
    /// What this host has from before is being taken up.
    #[default]
    TakesUp,
    /// It was, and the kernel has no more.
    Stands(WeakController),
    /// It ends.
    Ends,
}

/// The follower of the cluster, which is there before the controller is.
pub(crate) struct Ear {
    caught_up: fn(),
    /// Held while what was told early is passed on.
    passing: Mutex<Option<WeakController>>,
    early: Mutex<Vec<Delta>>,
    /// Who takes this host off all networks while it starts.
    starting: Mutex<Starting>,
    started: Condvar,
    /// Whether the store was read before the controller stood.
    read_early: AtomicBool,
}

impl Ear {
    pub(super) fn new(caught_up: fn()) -> Self {
        Self {
            caught_up,
            passing: Mutex::default(),
            early: Mutex::default(),
            starting: Mutex::default(),
            started: Condvar::new(),
            read_early: AtomicBool::new(false),
        }
    }

    /// What was told up to now.
    pub(super) fn early(&self) -> Vec<Delta> {
        std::mem::take(&mut *lock(&self.early))
    }

    /// All that this host has is known, and can be taken off its networks.
    pub(super) fn stand(&self, controller: WeakController) {
        *lock(&self.starting) = Starting::Stands(controller);
        self.started.notify_all();
    }

    /// Has nobody wait for that any more.
    pub(super) fn close(&self) {
        *lock(&self.starting) = Starting::Ends;
        self.started.notify_all();
    }

    /// Takes this host off all networks while its containers start, where it was given up; what else was
    /// told.
    fn leave_early(&self, mut deltas: Vec<Delta>) -> Vec<Delta> {
        let is_early = || lock(&self.passing).is_none();
        if !deltas.contains(&Delta::Forgotten) || !is_early() {
            return deltas;
        }
        let mut starting = lock(&self.starting);
        while matches!(*starting, Starting::TakesUp) {
            let waited = self.started.wait(starting);
            starting = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let controller = match &*starting {
            Starting::Stands(controller) => controller.upgrade(),
            Starting::TakesUp | Starting::Ends => None,
        };
        drop(starting);
        if let Some(controller) = controller {
            controller.leave_all();
        }
        deltas.retain(|delta| *delta != Delta::Forgotten);
        deltas
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
        let deltas = self.leave_early(deltas);
        // There is one that tells: what it told before was passed on.
        let passing = lock(&self.passing);
        let Some(controller) = passing.clone() else {
            return lock(&self.early).extend(deltas);
        };
        drop(passing);
        pass(&controller, deltas);
    }

    fn has_left(&self) -> Result<()> {
        let standing = match &*lock(&self.starting) {
            Starting::Stands(controller) => controller.upgrade(),
            Starting::TakesUp | Starting::Ends => None,
        };
        match standing {
            Some(controller) => controller.note_gone_endpoints(),
            None => Err(Error::internal("daemon-ends", "the daemon ends")),
        }
    }

    fn has_members(&self) -> bool {
        // What is still being taken up may be.
        let Some(passing) = try_lock(&self.passing) else {
            return true;
        };
        let controller = passing.clone();
        drop(passing);
        controller.is_none_or(|controller| {
            let controller = controller.upgrade();
            controller.is_none_or(|controller| controller.has_members())
        })
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
