//! Services that the kernel could not be brought to as they are: what becomes of them.
//!
//! Owns that it is tried again, also where nothing changes any more, and that nobody who was led before is
//! forgotten until then.

use super::{Roster, Service, ServiceState, change::Change};
use crate::{Controller, registry::lock};
use std::{collections::BTreeMap, sync::Mutex};
use vw_hoststate::{Netns, Owner};
use vw_kernel::Led;
use vw_model::{Result, ServiceId};

/// What is to be forgotten of who was led. Who sends before the kernel leads as it should is led as
/// before, and what was forgotten by then would have to be once more.
#[derive(Default)]
pub(super) struct Owed(Mutex<Debts>);

#[derive(Default)]
struct Debts {
    /// Once the kernel leads to these as it should, which it does not.
    behind: BTreeMap<ServiceId, Vec<(Netns, Led)>>,
    /// As soon as nobody waits for whoever does it.
    due: Vec<(Netns, Led)>,
}

impl Owed {
    /// Notes that the kernel does not lead to a service as it should.
    pub(super) fn note_behind(&self, service: ServiceId) {
        lock(&self.0).behind.entry(service).or_default();
    }

    /// Notes that it does, or that nobody is led there at all.
    pub(super) fn note_led(&self, service: ServiceId) {
        let mut debts = lock(&self.0);
        let owed = debts.behind.remove(&service);
        debts.due.extend(owed.unwrap_or_default());
    }

    fn is_behind(&self, service: ServiceId) -> bool {
        lock(&self.0).behind.contains_key(&service)
    }

    /// Keeps what is to be forgotten where that is too early; else gives it back.
    pub(super) fn keep(&self, service: ServiceId, netns: Netns, led: Led) -> Option<Led> {
        match lock(&self.0).behind.get_mut(&service) {
            Some(owed) => owe(owed, netns, led),
            None => return Some(led),
        }
        None
    }

    /// Has this be forgotten with what is due.
    pub(super) fn add(&self, netns: Netns, led: Led) {
        owe(&mut lock(&self.0).due, netns, led);
    }

    pub(super) fn take_due(&self) -> Vec<(Netns, Led)> {
        std::mem::take(&mut lock(&self.0).due)
    }
}

/// Adds to what is owed: many who were led alike are looked for at once.
fn owe(owed: &mut Vec<(Netns, Led)>, netns: Netns, led: Led) {
    let mut alike = owed.iter_mut();
    match alike.find(|(at, known)| *at == netns && known.by == led.by) {
        Some((_, known)) => known.to.extend(led.to),
        None => owed.push((netns, led)),
    }
}

impl Controller {
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

    /// Brings the kernel to those services of this host's own networks; tells whether none is left.
    pub(super) fn catch_up(&self) -> bool {
        for id in self.balancers.looks.behind() {
            if let Err(error) = self.lead_again(id) {
                tracing::debug!("a service is not led to as it is: {}", error.chain());
            }
        }
        self.balancers.looks.behind().is_empty()
    }

    fn lead_again(&self, id: ServiceId) -> Result<()> {
        let service = lock(&self.services).get(id);
        let Some(service) = service else {
            self.balancers.looks.note_caught_up(id);
            self.balancers.owed.note_led(id);
            return Ok(());
        };
        let state = lock(&service.state);
        let wanted = !state.removed && self.balancers.looks.behind().contains(&id);
        if wanted {
            self.note(self.slots_batch(&service, &state.roster, &state.hosted.ports)?)?;
            let fragment = self.fragment_of(&service.network, &state);
            self.bring(vec![(Owner::Service(id), fragment)])?;
        }
        // While nobody changes it.
        self.balancers.looks.note_caught_up(id);
        self.balancers.owed.note_led(id);
        drop(state);
        self.forget_due();
        Ok(())
    }
}
