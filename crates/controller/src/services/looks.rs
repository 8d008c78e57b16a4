//! When what leads to services here is looked at: soon after something has changed, no more than that
//! may concern, and again and again while something of it could not be done, or a port cannot be
//! published, which somebody else's program may have.
//!
//! Owns that one thread does it, which keeps no controller alive while it waits, and ends with it.

mod pauses;

use crate::{
    Controller,
    controller::WeakController,
    registry::{Network, lock},
};
use pauses::{Left, Pauses};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};
use vw_model::{EndpointId, NetworkId, Scope, ServiceId};
use vw_store::Batch;

/// Whether a thread looks, or is to look once more. Dropped, it waits for its end.
#[derive(Default)]
pub(super) struct Looks {
    asked: Arc<Asked>,
    thread: Mutex<Option<JoinHandle<()>>>,
    due: Mutex<Due>,
    /// The networks of which something could not be done.
    unsettled: Mutex<BTreeSet<NetworkId>>,
    /// The services of this host's own networks that the kernel could not be brought to.
    behind: Mutex<BTreeSet<ServiceId>>,
    /// The networks on which endpoints on other hosts were refused by the kernel, and whether one more
    /// was since those were tried again.
    refused: Mutex<BTreeMap<NetworkId, bool>>,
}

/// What is to be looked at.
#[derive(Debug, Default)]
struct Due {
    /// All networks.
    all: bool,
    /// What could not be done before.
    unsettled: bool,
    networks: BTreeMap<NetworkId, Extent>,
}

/// How much of a network is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// Whether it is led to here at all, and these of its services.
    Services(BTreeSet<ServiceId>),
}

#[derive(Default)]
struct Asked {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Turn {
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
    /// Has a thread `look`, or the one that does look once more. It is told what that could not be done
    /// before is to be tried again, and says what cannot be.
    ///
    /// # Errors
    /// Without a thread.
    fn ask(&self, mut look: impl FnMut(&mut Pauses) + Send + 'static) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if !self.asked.ask() {
            return Ok(());
        }
        let looking = Looking(self.asked.clone());
        let run = move || {
            let mut pauses = Pauses::new(Instant::now());
            loop {
                pauses.begin(Instant::now());
                look(&mut pauses);
                pauses.end(Instant::now());
                if !looking.0.go_on(pauses.next()) {
                    return;
                }
            }
        };
        // The one before has ended, or is about to.
        let builder = thread::Builder::new().name("balance".to_owned());
        let spawned = builder.spawn(run).inspect_err(|_| self.asked.end());
        join(thread.replace(spawned?));
        Ok(())
    }

    /// Has this be looked at next.
    fn note(&self, due: impl FnOnce(&mut Due)) {
        due(&mut lock(&self.due));
    }

    /// Has all of a network be looked at with the next look.
    pub(super) fn note_whole(&self, network: NetworkId) {
        self.note(|due| drop(due.networks.insert(network, Extent::Whole)));
    }

    /// Notes whether all of a network could be done.
    pub(super) fn note_settled(&self, network: NetworkId, settled: bool) {
        let mut unsettled = lock(&self.unsettled);
        match settled {
            true => unsettled.remove(&network),
            false => unsettled.insert(network),
        };
    }

    /// The services of this host's own networks that the kernel is to be brought to.
    pub(super) fn behind(&self) -> BTreeSet<ServiceId> {
        lock(&self.behind).clone()
    }

    /// Notes that one of them is gone, or led to as it is.
    pub(super) fn note_caught_up(&self, service: ServiceId) {
        lock(&self.behind).remove(&service);
    }

    /// What is to be looked at of which networks, and of all others.
    fn take(&self, pauses: &Pauses) -> (BTreeMap<NetworkId, Extent>, bool) {
        let mut due = std::mem::take(&mut *lock(&self.due));
        let unsettled = lock(&self.unsettled);
        let again = unsettled
            .iter()
            .filter(|id| due.unsettled || pauses.are_over(Left::Network(**id)));
        due.networks.extend(again.map(|id| (*id, Extent::Whole)));
        (due.networks, due.all)
    }

    /// The networks on which to try again to reach endpoints on other hosts: one that was refused since
    /// is not to wait as long as those that are refused again and again.
    fn take_refused(&self, pauses: &mut Pauses) -> BTreeSet<NetworkId> {
        let mut refused = lock(&self.refused);
        for (id, more) in refused.iter_mut() {
            if std::mem::take(more) {
                pauses.shorten(Left::Ways(*id));
            }
        }
        let again = refused.keys().copied();
        again
            .filter(|id| pauses.are_over(Left::Ways(*id)))
            .collect()
    }

    /// Notes what could not be done, of what there is.
    fn note_left(&self, pauses: &mut Pauses, rest: bool) {
        let networks = lock(&self.unsettled)
            .iter()
            .map(|id| Left::Network(*id))
            .collect::<Vec<_>>();
        let services = lock(&self.behind)
            .iter()
            .map(|id| Left::Service(*id))
            .collect::<Vec<_>>();
        let ways = lock(&self.refused)
            .keys()
            .map(|id| Left::Ways(*id))
            .collect::<Vec<_>>();
        let rest = rest.then_some(Left::Rest).into_iter();
        let all = networks.into_iter().chain(services).chain(ways).chain(rest);
        let all: BTreeSet<Left> = all.collect();
        pauses.retain(|left| all.contains(&left));
        all.iter().for_each(|left| pauses.settle(*left, false));
    }
}

impl Due {
    fn add(&mut self, network: NetworkId, service: Option<ServiceId>) {
        let none = || Extent::Services(BTreeSet::new());
        let extent = self.networks.entry(network).or_insert_with(none);
        if let Extent::Services(services) = extent {
            services.extend(service);
        }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        *lock(&self.asked.turn) = Turn::Over;
        self.asked.changed.notify_one();
        let last = self.thread.get_mut();
        join(last.unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Waits for a thread's end, unless it is this one: it may have held the last controller.
pub(crate) fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread.filter(|other| other.thread().id() != thread::current().id()) {
        // One that panicked has said so.
        let _ = thread.join();
    }
}

impl Asked {
    /// Asks for a look; tells whether it takes a thread.
    fn ask(&self) -> bool {
        let mut turn = lock(&self.turn);
        let (next, begins) = match *turn {
            Turn::No => (Turn::Running, true),
            Turn::Running | Turn::Again => (Turn::Again, false),
            Turn::Over => (Turn::Over, false),
        };
        *turn = next;
        self.changed.notify_one();
        begins
    }

    /// Nobody looks any more.
    fn end(&self) {
        let mut turn = lock(&self.turn);
        if *turn != Turn::Over {
            *turn = Turn::No;
        }
    }

    /// Whether to look once more: at once where somebody asked, else at this time where there is
    /// one.
    fn go_on(&self, until: Option<Instant>) -> bool {
        let mut turn = lock(&self.turn);
        if let Some(until) = until {
            let wait = until.saturating_duration_since(Instant::now());
            let waited = |turn: &mut Turn| *turn == Turn::Running;
            let wait = self.changed.wait_timeout_while(turn, wait, waited);
            turn = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        let again = match *turn {
            Turn::Over => return false,
            Turn::Again => true,
            _ => until.is_some(),
        };
        *turn = if again { Turn::Running } else { Turn::No };
        again
    }
}

/// What was due is not done: the next look is at all.
struct Unfinished<'a>(&'a Looks);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.note(|due| due.all = true);
        }
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
    /// Looks at all that leads to services.
    pub(crate) fn balance_soon(&self) {
        let some = !lock(&self.services).asks().is_empty()
            || !self.balancers.networks().is_empty()
            || self.balancers.has_to_tell();
        if some && self.looks_after_services() {
            self.balancers.turns.rouse();
            self.balancers.looks.note(|due| due.all = true);
            self.look();
        }
    }

    /// Looks whether the services of a network are led to here as they ask for, and at one that has
    /// changed.
    pub(crate) fn look_soon(&self, network: NetworkId, service: Option<ServiceId>) {
        let turn = self.balancers.turns.of(network);
        // Who has the turn decides by what was before; after that, what there is can be seen. What is
        // told comes last: a service's state may be held here, and is taken where that is; it is not
        // that of one on the network then.
        let some = turn.is_taken()
            || lock(&self.services).asks().on(network).services > 0
            || self.balancers.on(network).is_some()
            || self.balancers.lacks_some_of(network);
        if some && self.looks_after_services() {
            turn.rouse();
            self.balancers.looks.note(|due| due.add(network, service));
            self.look();
        }
    }

    /// The same at all of a network.
    pub(super) fn look_at_whole_soon(&self, network: NetworkId) {
        self.balancers.looks.note_whole(network);
        self.look_soon(network, None);
    }

    /// The same at what an endpoint here is a member of, where its host may lead to it by itself.
    pub(crate) fn look_at_service_of(&self, endpoint: EndpointId) {
        let Some(service) = lock(&self.services).of(endpoint) else {
            return;
        };
        let concerned = super::hosted::may_publish(&lock(&service.state).spec);
        if concerned {
            self.look_soon(service.network.spec.id, Some(service.id));
        }
    }

    /// Looks at what could not be done, where something was given back that may have been in its
    /// way: ports of this host, or what else something here had.
    pub(crate) fn room_made(&self, ports: bool) {
        let some = match ports {
            true => !lock(&self.balancers.looks.unsettled).is_empty(),
            false => self.balancers.turns.is_any_refused(),
        };
        if some && self.looks_after_services() {
            self.balancers.turns.rouse();
            self.balancers.looks.note(|due| due.unsettled = true);
            self.look();
        }
    }

    /// Has the kernel be brought to a service of this host's own network.
    pub(super) fn catch_up_soon(&self, service: ServiceId) {
        lock(&self.balancers.looks.behind).insert(service);
        self.look();
    }

    /// Notes whether endpoints on other hosts are refused on a network, and whether that is so of one more
    /// now: they are tried again soon.
    pub(crate) fn note_refused(&self, network: NetworkId, any: bool, more: bool) {
        let mut refused = lock(&self.balancers.looks.refused);
        if any {
            *refused.entry(network).or_default() |= more;
        } else {
            refused.remove(&network);
        }
        drop(refused);
        if any && more {
            self.look_at_refused();
        }
    }

    /// Has such endpoints be tried again, if there are any.
    pub(crate) fn look_at_refused(&self) {
        let some = !lock(&self.balancers.looks.refused).is_empty();
        if some && self.balancers.is_open() {
            self.look();
        }
    }

    fn looks_after_services(&self) -> bool {
        self.member.is_some() && self.balancers.is_open()
    }

    /// Has what is due be looked at, by a thread of its own: it may wait for the cluster.
    pub(super) fn look(&self) {
        let controller = self.downgrade();
        if let Err(error) = self
            .balancers
            .looks
            .ask(move |pauses| look_once(&controller, pauses))
        {
            self.warn(format!("no thread to look after services: {error}"));
        }
    }

    /// Settles what is due, and notes what could not be done of all that ever was.
    fn settle_due(&self, pauses: &mut Pauses) {
        let looks = &self.balancers.looks;
        let (networks, mut all) = looks.take(pauses);
        let _unfinished = Unfinished(looks);
        if !all {
            for (id, extent) in networks {
                let network = self.registry().network_by_id(id);
                match network {
                    Some(network) => drop(self.settle_balancer(&network, &extent)),
                    // What is known and told of it goes too.
                    None => all = true,
                }
            }
        }
        if all {
            self.settle_all();
        }
        // What could not be taken away, and records of what is gone, go with the next change; there
        // may be none of here. That change is to try at once, whatever comes of this.
        let mended = match pauses.are_over(Left::Rest) {
            true => self.mend_now().is_ok(),
            false => !self.is_astray(),
        };
        self.see_off();
        self.forget_due();
        let gone = mended && !self.balancers.owed.some_stands();
        let done = self.note(Batch::new()).is_ok() && gone;
        self.catch_up(|service| pauses.are_over(Left::Service(service)));
        self.reach_again(looks.take_refused(pauses));
        looks.note_left(pauses, !done);
    }

    fn settle_all(&self) {
        let networks = self.registry().networks();
        let global = |network: &&Arc<Network>| network.spec.scope == Scope::Global;
        for network in networks.iter().filter(global) {
            self.settle_balancer(network, &Extent::Whole);
        }
        let known = |id: NetworkId| self.registry().network_by_id(id).is_some();
        for id in self.balancers.networks() {
            if !known(id) {
                self.lower_balancer(id);
            }
        }
        self.tell_no_lacks_but(known);
        self.balancers.turns.retain(known);
        lock(&self.balancers.looks.unsettled).retain(|id| known(*id));
    }
}

/// Looks once, while there is a controller.
fn look_once(controller: &WeakController, pauses: &mut Pauses) {
    match controller.upgrade() {
        Some(controller) => controller.settle_due(pauses),
        None => pauses.retain(|_| false),
    }
}

#[cfg(test)]
mod tests;
