//! When what leads to services here is looked at: soon after something has changed, and again and
//! again while something of it could not be done, or a port cannot be published, which somebody
//! else's program may have.
//!
//! Owns that one thread does it, which keeps no controller alive while it waits, and ends with it.

use crate::{Controller, controller::WeakController, registry::lock};
use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};
use vw_model::{NetworkId, Scope};
use vw_store::Batch;

/// How soon, and how seldom, a port is tried again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Whether a thread looks, or is to look once more. Dropped, it waits for its end.
#[derive(Default)]
pub(super) struct Looks {
    asked: Arc<Asked>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Asked {
    due: Mutex<Due>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Due {
    #[default]
    No,
    Running,
    /// It is to look once more.
    Again,
    /// Nobody is to look any more.
    Over,
}

/// The thread that looks. However it ends, the next who asks begins another.
struct Looking(Arc<Asked>);

impl Looks {
    /// Has a thread `look`, or the one that does look once more; it goes on as long as it is told how
    /// long to wait at most, the last pause given.
    ///
    /// # Errors
    /// Without a thread.
    fn ask(
        &self,
        mut look: impl FnMut(Duration) -> Option<Duration> + Send + 'static,
    ) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if !self.asked.ask() {
            return Ok(());
        }
        let looking = Looking(self.asked.clone());
        let run = move || {
            let mut pause = FIRST_PAUSE;
            while looking.0.go_on(look(pause)) {
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        };
        // The one before has ended, or is about to.
        let builder = thread::Builder::new().name("balance".to_owned());
        let spawned = builder.spawn(run).inspect_err(|_| self.asked.end());
        join(thread.replace(spawned?));
        Ok(())
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        *lock(&self.asked.due) = Due::Over;
        self.asked.changed.notify_one();
        let last = self.thread.get_mut();
        join(last.unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Waits for a thread's end, unless it is this one: it may have held the last controller.
fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread.filter(|other| other.thread().id() != thread::current().id()) {
        // One that panicked has said so.
        let _ = thread.join();
    }
}

impl Asked {
    /// Asks for a look; tells whether it takes a thread.
    fn ask(&self) -> bool {
        let mut due = lock(&self.due);
        let (next, begins) = match *due {
            Due::No => (Due::Running, true),
            Due::Running | Due::Again => (Due::Again, false),
            Due::Over => (Due::Over, false),
        };
        *due = next;
        self.changed.notify_one();
        begins
    }

    /// Nobody looks any more.
    fn end(&self) {
        let mut due = lock(&self.due);
        if *due != Due::Over {
            *due = Due::No;
        }
    }

    /// Whether to look once more: at once where somebody asked, else after a pause where there is
    /// one.
    fn go_on(&self, pause: Option<Duration>) -> bool {
        let mut due = lock(&self.due);
        if let Some(pause) = pause {
            let waited = |due: &mut Due| *due == Due::Running;
            let wait = self.changed.wait_timeout_while(due, pause, waited);
            due = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        let again = match *due {
            Due::Over => return false,
            Due::Again => true,
            _ => pause.is_some(),
        };
        *due = if again { Due::Running } else { Due::No };
        again
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

impl Controller {
    /// Looks at all that leads to services, by a thread of its own: it may wait for the cluster.
    pub(crate) fn balance_soon(&self) {
        let some = self.member.is_some()
            && (lock(&self.services).has_global()
                || !self.balancers.networks().is_empty()
                || self.balancers.has_to_tell());
        if !some || !self.balancers.is_open() {
            return;
        }
        self.balancers.turns.rouse();
        let controller = self.downgrade();
        if let Err(error) = self
            .balancers
            .looks
            .ask(move |pause| look(&controller, pause))
        {
            self.warn(format!("no thread to look after services: {error}"));
        }
    }

    /// Settles all of them; tells whether all could be done.
    fn settle_balancers(&self) -> bool {
        let networks = self.registry().networks();
        let global = networks.iter().filter(|n| n.spec.scope == Scope::Global);
        let mut settled = true;
        for network in global {
            settled &= self.settle_balancer(network);
        }
        let known = |id: NetworkId| self.registry().network_by_id(id).is_some();
        for id in self.balancers.networks() {
            if !known(id) {
                self.lower_balancer(id);
            }
        }
        self.tell_no_lacks_but(known);
        self.balancers.turns.retain(known);
        // What could not be taken away, and records of what is gone, go with the next change; there
        // may be none of here.
        let mended = self.mend();
        self.see_off();
        settled && mended.and(self.note(Batch::new())).is_ok()
    }
}

/// Looks once, while there is a controller; says whether to do it again after a pause.
fn look(controller: &WeakController, pause: Duration) -> Option<Duration> {
    let controller = controller.upgrade()?;
    let settled = controller.settle_balancers();
    (!settled || controller.balancers.may_lack_less()).then_some(pause)
}

#[cfg(test)]
mod tests;
