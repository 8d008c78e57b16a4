//! When what leads to services here is looked at: soon after something has changed, and again and
//! again while a port cannot be published, which somebody else's program may have.
//!
//! Owns that one thread does it, which keeps no controller alive while it waits.

use crate::{Controller, registry::lock};
use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};
use vw_model::{NetworkId, Scope};

/// How soon, and how seldom, a port is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Whether a thread looks, or is to look once more.
#[derive(Default)]
pub(super) struct Looks {
    due: Mutex<Due>,
    asked: Condvar,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Due {
    #[default]
    No,
    Running,
    /// It is to look once more.
    Again,
}

impl Looks {
    /// Asks for a look; tells whether there is a thread for it.
    fn ask(&self) -> bool {
        let mut due = lock(&self.due);
        let runs = *due != Due::No;
        *due = if runs { Due::Again } else { Due::Running };
        self.asked.notify_one();
        runs
    }

    /// Whether to look once more: at once where somebody asked, else after a pause where there is
    /// one.
    fn go_on(&self, pause: Option<Duration>) -> bool {
        let mut due = lock(&self.due);
        if let Some(pause) = pause {
            let waited = |due: &mut Due| *due != Due::Again;
            let wait = self.asked.wait_timeout_while(due, pause, waited);
            due = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        let again = pause.is_some() || *due == Due::Again;
        *due = if again { Due::Running } else { Due::No };
        again
    }
}

impl Controller {
    /// Looks at all that leads to services, by a thread of its own: it may wait for the cluster.
    pub(crate) fn balance_soon(&self) {
        let some = self.member.is_some()
            && (lock(&self.services).has_global() || !self.balancers.networks().is_empty());
        if !some || !self.balancers.is_open() || self.balancers.looks.ask() {
            return;
        }
        let (controller, looks) = (self.downgrade(), Arc::clone(&self.balancers.looks));
        let look = move || {
            let mut pause = FIRST_PAUSE;
            loop {
                let Some(controller) = controller.upgrade() else {
                    return;
                };
                controller.settle_balancers();
                let lacks = controller.balancers.lacks_ports();
                drop(controller);
                if !looks.go_on(lacks.then_some(pause)) {
                    return;
                }
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        };
        let thread = std::thread::Builder::new().name("balance".to_owned());
        if let Err(error) = thread.spawn(look) {
            self.balancers.looks.go_on(None);
            self.warn(format!("no thread to look after services: {error}"));
        }
    }

    fn settle_balancers(&self) {
        let networks = self.registry().networks();
        let global = networks.iter().filter(|n| n.spec.scope == Scope::Global);
        for network in global {
            self.settle_balancer(network);
        }
        let known = |id: NetworkId| self.registry().network_by_id(id).is_some();
        for id in self.balancers.networks() {
            if !known(id) {
                self.lower_balancer(id);
            }
        }
        self.balancers.turns.retain(known);
    }
}
