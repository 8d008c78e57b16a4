//! Whose turn it is with what leads to the services of a network, and who waits for it.
//!
//! Owns that it is decided and done by one at a time, for each network by itself: making one may
//! wait for the cluster.

use super::unpublished::Leading;
use crate::{
    Controller,
    registry::{Network, lock},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use vw_model::{NetworkId, Scope};

/// For how long nobody who joins a network tries again what could not be made; the threads that
/// look at all networks do.
const RESPITE: Duration = Duration::from_secs(10);
/// For how long those threads do not try it again either, while nothing changes here: each time
/// longer.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(120);

/// Those of all networks.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<NetworkId, Arc<Turn>>>);

impl Turns {
    pub(super) fn of(&self, network: NetworkId) -> Arc<Turn> {
        lock(&self.0).entry(network).or_default().clone()
    }

    /// Has all that could not be made be tried again: something has changed.
    pub(super) fn rouse(&self) {
        lock(&self.0).values().for_each(|turn| turn.rouse());
    }

    /// Whether one could not be made, and may be now.
    pub(super) fn is_any_refused(&self) -> bool {
        lock(&self.0).values().any(|turn| turn.is_refused())
    }

    /// Forgets those of networks that are gone.
    pub(super) fn retain(&self, known: impl Fn(NetworkId) -> bool) {
        // One that somebody has is in use still.
        lock(&self.0).retain(|id, turn| Arc::strong_count(turn) > 1 || known(*id));
    }
}

/// That of one network.
#[derive(Default)]
pub(super) struct Turn {
    /// Held while it is decided whether one is wanted, and while one is made, changed or taken
    /// away; before its sandbox's `ops`.
    pub(super) one: Mutex<()>,
    coming: AtomicUsize,
    refused: Mutex<Option<Refused>>,
    /// How often something has changed that may help.
    roused: AtomicUsize,
    leading: Mutex<Leading>,
}

/// That one could not be made.
#[derive(Debug, Clone, Copy)]
struct Refused {
    when: Instant,
    rest: Duration,
    /// What [`Turn::roused`] was when it was begun.
    roused: usize,
}

impl Turn {
    /// Says that something is about to be on the network, until the answer is dropped.
    pub(super) fn expect(self: &Arc<Self>) -> Coming {
        self.coming.fetch_add(1, Ordering::SeqCst);
        Coming(self.clone())
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.coming.load(Ordering::SeqCst) > 0
    }

    /// Has one that could not be made be tried again.
    pub(super) fn rouse(&self) {
        self.roused.fetch_add(1, Ordering::SeqCst);
    }

    /// How often something has changed that may help, for [`Self::note_made`].
    pub(super) fn roused(&self) -> usize {
        self.roused.load(Ordering::SeqCst)
    }

    /// Notes whether one could be made, and how often something had changed before it was tried.
    pub(super) fn note_made(&self, made: bool, roused: usize) {
        let mut refused = lock(&self.refused);
        let longer = |former: Refused| LONGEST_REST.min(former.rest * 2);
        let rest = refused.map_or(FIRST_REST, longer);
        *refused = (!made).then(|| Refused {
            when: Instant::now(),
            rest,
            roused,
        });
    }

    /// Whether one could not be made, and it is too soon to try it again.
    pub(super) fn rests(&self) -> bool {
        let now = self.roused();
        lock(&self.refused)
            .is_some_and(|refused| refused.roused == now && refused.when.elapsed() < refused.rest)
    }

    /// Notes whether this host leads to the services.
    pub(super) fn note_leading(&self, leading: Leading) {
        *lock(&self.leading) = leading;
    }

    pub(super) fn leading(&self) -> Leading {
        *lock(&self.leading)
    }

    /// Whether somebody has it.
    pub(super) fn is_taken(&self) -> bool {
        self.one.try_lock().is_err()
    }

    fn is_refused(&self) -> bool {
        lock(&self.refused).is_some()
    }

    /// Whether one could not be made a moment ago.
    pub(super) fn was_refused(&self) -> bool {
        lock(&self.refused).is_some_and(|refused| refused.when.elapsed() < RESPITE)
    }
}

/// Something that is about to be on a network.
pub(crate) struct Coming(Arc<Turn>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.coming.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Controller {
    /// Has the services of a network be led to by what is about to be on it; nobody takes away
    /// what leads to them before [`Self::has_come`].
    pub(crate) fn prepare_balancer(&self, network: &Arc<Network>) -> Option<Coming> {
        if network.spec.scope == Scope::Local {
            return None;
        }
        let id = network.spec.id;
        let turn = self.balancers.turns.of(id);
        let coming = turn.expect();
        let some = lock(&self.services).asks().on(id).services > 0;
        if some && !turn.was_refused() {
            let _one = lock(&turn.one);
            // Who had the turn before may have tried in vain.
            if self.balancers.on(id).is_none() && !turn.was_refused() {
                turn.rouse();
                self.settle_in_turn(network, &turn);
                // What it publishes, those who are led to without it may have to leave to it.
                self.balancers.looks.note_whole(id);
            }
        }
        Some(coming)
    }

    /// Says that what was about to be on a network is on it, or could not be, or that it has left
    /// it: what was made for nobody goes.
    pub(crate) fn has_come(&self, network: &Network, coming: Option<Coming>) {
        drop(coming);
        if network.spec.scope == Scope::Global {
            self.look_soon(network.spec.id, None);
        }
    }
}

#[cfg(test)]
mod tests;
