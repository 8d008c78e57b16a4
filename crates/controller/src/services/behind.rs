//! Services that the kernel could not be brought to as they are: what becomes of them.
//!
//! Owns that it is tried again, also where nothing changes any more, and that nobody who was led before is
//! forgotten until then.

use super::{Roster, Service, ServiceState, change::Change};
use crate::{Controller, registry::lock};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};
use vw_hoststate::{Fragment, Netns, Owner};
use vw_kernel::{Led, LedBy};
use vw_model::{Result, ServiceId};

/// What is to be forgotten of who was led. Who sends before the kernel leads as it should is led as
/// before, and what was forgotten by then would have to be once more.
pub(crate) struct Owed {
    debts: Mutex<Debts>,
    /// Wakes the thread that forgets what is due, for those who are not to wait for it.
    forget: SyncSender<()>,
    /// For that thread.
    asked: Mutex<Option<Receiver<()>>>,
}

impl Default for Owed {
    fn default() -> Self {
        let (forget, asked) = sync_channel(1);
        Self {
            debts: Mutex::default(),
            forget,
            asked: Mutex::new(Some(asked)),
        }
    }
}

#[derive(Default)]
struct Debts {
    /// Once the kernel leads to these as it should, which it does not.
    owing: BTreeMap<ServiceId, Owing>,
    /// As soon as nobody waits for whoever does it.
    due: Forgotten,
    /// Those something of which could not be taken away, since all was last begun to be compared,
    standing: BTreeSet<ServiceId>,
    /// and before that, and is not known to have gone.
    compared: BTreeSet<ServiceId>,
}

/// What is owed of a service, and until when.
#[derive(Default)]
struct Owing {
    /// What it wants could not be brought about.
    behind: bool,
    owed: Forgotten,
}

/// Who is to be forgotten: those who were led alike at once, and each once, however often it is said.
#[derive(Debug, Clone, Default)]
struct Forgotten(BTreeMap<(Netns, Option<LedBy>), BTreeSet<IpAddr>>);

impl Forgotten {
    fn add(&mut self, netns: Netns, led: Led) {
        self.0.entry((netns, led.by)).or_default().extend(led.to);
    }

    fn append(&mut self, others: Self) {
        others.each().for_each(|(netns, led)| self.add(netns, led));
    }

    fn each(self) -> impl Iterator<Item = (Netns, Led)> {
        let each = self.0.into_iter();
        each.map(|((netns, by), to)| (netns, Led { to, by }))
    }
}

impl Debts {
    fn stands(&self, service: ServiceId) -> bool {
        self.standing.contains(&service) || self.compared.contains(&service)
    }

    fn note_standing(&mut self, service: ServiceId) {
        self.standing.insert(service);
        self.owing.entry(service).or_default();
    }

    /// A service is led to as it should be.
    fn note_led(&mut self, service: ServiceId) {
        let stands = self.stands(service);
        let Some(owing) = self.owing.get_mut(&service) else {
            return;
        };
        let was_behind = std::mem::take(&mut owing.behind);
        if !stands {
            self.settle(service);
        } else if was_behind {
            // What stands still may be somebody else's: once now, and once more when it is gone.
            self.due.append(owing.owed.clone());
        }
    }

    /// All that stood when it was begun to be compared is gone.
    fn note_gone(&mut self) {
        for service in std::mem::take(&mut self.compared) {
            let is_behind = |owing: &Owing| owing.behind;
            if !self.stands(service) && !self.owing.get(&service).is_some_and(is_behind) {
                self.settle(service);
            }
        }
    }

    fn settle(&mut self, service: ServiceId) {
        if let Some(owing) = self.owing.remove(&service) {
            self.due.append(owing.owed);
        }
    }
}

impl Owed {
    /// Notes that the kernel does not lead to a service as it should.
    pub(super) fn note_behind(&self, service: ServiceId) {
        lock(&self.debts).owing.entry(service).or_default().behind = true;
    }

    fn is_behind(&self, service: ServiceId) -> bool {
        let debts = lock(&self.debts);
        let owing = debts.owing.get(&service);
        owing.is_some_and(|owing| owing.behind)
    }

    /// Whether anybody who was led to a service is to be forgotten later.
    pub(super) fn owes(&self, service: ServiceId) -> bool {
        lock(&self.debts).owing.contains_key(&service)
    }

    /// Whether something of a service stands that was to go.
    pub(super) fn stands(&self, service: ServiceId) -> bool {
        lock(&self.debts).stands(service)
    }

    /// Whether something of any does.
    pub(crate) fn some_stands(&self) -> bool {
        let debts = lock(&self.debts);
        !debts.standing.is_empty() || !debts.compared.is_empty()
    }

    /// All is about to be compared: of what comes meanwhile, that may see the former state.
    pub(crate) fn begin_comparing(&self) {
        let debts = &mut *lock(&self.debts);
        debts.compared.append(&mut debts.standing);
    }

    /// Keeps what is to be forgotten where that is too early; else gives it back, also where it may be
    /// too early alone: what could not be taken away may be somebody else's.
    pub(super) fn keep(&self, service: ServiceId, netns: Netns, led: Led) -> Option<Led> {
        let mut debts = lock(&self.debts);
        let Some(owing) = debts.owing.get_mut(&service) else {
            return Some(led);
        };
        let now = (!owing.behind).then(|| led.clone());
        owing.owed.add(netns, led);
        now
    }

    /// Has this be forgotten with what is due.
    pub(super) fn add(&self, netns: Netns, led: Led) {
        lock(&self.debts).due.add(netns, led);
    }

    /// Has what is due be forgotten soon; never waits. Many who ask at once are heard once.
    pub(super) fn forget_soon(&self) {
        // Full, it was asked for already, and not begun; without the thread nobody leads any more.
        let _ = self.forget.try_send(());
    }

    pub(super) fn take_due(&self) -> impl Iterator<Item = (Netns, Led)> {
        std::mem::take(&mut lock(&self.debts).due).each()
    }
}

impl Controller {
    /// Has a thread forget what is due when it is asked for, which ends with the controller: the kernel's
    /// whole table may be walked for it.
    pub(super) fn forget_when_asked(&self) -> io::Result<()> {
        let Some(asked) = lock(&self.balancers.owed.asked).take() else {
            return Ok(());
        };
        let controller = self.downgrade();
        let run = move || {
            while asked.recv().is_ok() {
                let Some(controller) = controller.upgrade() else {
                    return;
                };
                controller.forget_due();
            }
        };
        let builder = thread::Builder::new().name("forget".to_owned());
        builder.spawn(run).map(|_| ())
    }

    /// Brings a service to members that it has, whether the kernel can be brought to them now or not:
    /// what cannot be is told, and tried again soon.
    pub(super) fn turn_for_good(&self, service: &Service, state: &mut ServiceState, next: Roster) {
        if let Err(error) = self.turn_to(service, state, next.clone()) {
            let name = &state.spec.name;
            self.warn(format!("service {name}: {}", error.chain()));
            state.roster = next;
            self.lead_later(service);
        }
    }

    /// The same of many services by one change, which costs the kernel as much as that of one does.
    /// Where it refuses that, each is brought there by itself: one that cannot be keeps no others.
    pub(super) fn turn_all_for_good(&self, turns: Vec<(&Service, &mut ServiceState, Roster)>) {
        let (behind, turns): (Vec<_>, Vec<_>) = turns
            .into_iter()
            .partition(|(service, ..)| self.balancers.owed.is_behind(service.id));
        let together = turns.len() > 1 && {
            let turned = self.bring_all(&turns);
            if let Err(error) = &turned {
                tracing::debug!("services change one by one: {}", error.chain());
            }
            turned.is_ok()
        };
        for (service, state, next) in turns {
            match together {
                true => self.turned(service, state, next),
                false => self.turn_for_good(service, state, next),
            }
        }
        // What the kernel refuses keeps no others.
        for (service, state, next) in behind {
            self.turn_for_good(service, state, next);
        }
    }

    fn bring_all(&self, turns: &[(&Service, &mut ServiceState, Roster)]) -> Result<()> {
        let mut all = Change::default();
        for (service, state, next) in turns {
            let change = self.change_to(service, state, next)?;
            all.wants.extend(change.wants);
            all.batch.append(change.batch);
        }
        self.carry(all)
    }

    /// Has the kernel be brought to a service as it is now, which it could not be. The caller holds the
    /// service's state.
    pub(super) fn lead_later(&self, service: &Service) {
        let network = service.network.spec.id;
        self.balancers.owed.note_behind(service.id);
        match service.is_global() {
            true => {
                self.balancers.lead_anew(network);
                self.look_soon(network, Some(service.id));
            }
            false => self.catch_up_soon(service.id),
        }
    }

    /// Takes away what a service wanted, but this. While something of it may stand, or may lead as it did,
    /// who is led there is forgotten once more when that is gone.
    ///
    /// # Errors
    /// As [`Self::take_away`].
    pub(super) fn take_away_led(&self, service: ServiceId, wants: Fragment) -> Result<()> {
        let gone = self.take_away(vec![(Owner::Service(service), wants)]);
        if gone.is_err() || self.astray.load(Ordering::SeqCst) {
            self.note_standing(service);
        }
        gone
    }

    /// Notes that the kernel leads to a service as it should, or that nobody is led there at all, as far
    /// as nothing is left of what was before.
    pub(super) fn note_led(&self, service: ServiceId) {
        if self.astray.load(Ordering::SeqCst) && self.balancers.owed.is_behind(service) {
            self.note_standing(service);
        }
        lock(&self.balancers.owed.debts).note_led(service);
    }

    /// Notes that nothing stood when all was compared that led to endpoints of services and was to go. The
    /// caller may hold what others wait for.
    pub(crate) fn note_gone(&self) {
        let owed = &self.balancers.owed;
        if owed.some_stands() {
            lock(&owed.debts).note_gone();
            // What is due then.
            self.look();
        }
    }

    fn note_standing(&self, service: ServiceId) {
        lock(&self.balancers.owed.debts).note_standing(service);
        self.look();
    }

    /// Brings the kernel to those services of this host's own networks that it is time for.
    pub(super) fn catch_up(&self, is_time: impl Fn(ServiceId) -> bool) {
        let behind = self.balancers.looks.behind().into_iter();
        for id in behind.filter(|id| is_time(*id)) {
            if let Err(error) = self.lead_again(id) {
                tracing::debug!("a service is not led to as it is: {}", error.chain());
            }
        }
    }

    fn lead_again(&self, id: ServiceId) -> Result<()> {
        let service = lock(&self.services).get(id);
        let Some(service) = service else {
            self.balancers.looks.note_caught_up(id);
            self.note_led(id);
            return Ok(());
        };
        let state = lock(&service.state);
        let wanted = !state.removed && self.balancers.looks.behind().contains(&id);
        if wanted {
            let led = state.led_here_by(&service);
            self.note(self.slots_batch(&service, &state, &state.roster, led)?)?;
            let fragment = self.fragment_of(&service.network, &state);
            self.bring(vec![(Owner::Service(id), fragment)])?;
        }
        // While nobody changes it.
        self.balancers.looks.note_caught_up(id);
        self.note_led(id);
        drop(state);
        self.forget_due();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
