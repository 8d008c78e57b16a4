//! Services that the kernel could not be brought to as they are: what becomes of them.
//!
//! Owns that it is tried again, also where nothing changes any more.

use super::{Roster, Service, ServiceState};
use crate::{Controller, registry::lock};
use vw_hoststate::Owner;
use vw_model::{Result, ServiceId};

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

    /// Has the kernel be brought to a service as it is now, which it could not be. The caller holds the
    /// service's state.
    pub(super) fn lead_later(&self, service: &Service) {
        let network = service.network.spec.id;
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
        Ok(())
    }
}
