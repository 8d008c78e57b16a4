//! A change of who is in a service: recorded, applied and told, or nothing of it.

use super::{
    Member, Roster, Service, ServiceState, SlotRecord,
    roster::{Health, at_first},
};
use crate::{
    Controller, records,
    registry::{Attachment, Network, Sandbox, lock},
};
use std::sync::Arc;
use vw_hoststate::{Fragment, Netns, Owner};
use vw_model::{
    EndpointId, EndpointSettings, EndpointSpec, IpNet, PublishedPort, Result, SandboxId, Scope,
};
use vw_store::{Batch, Table};

/// What a service wants from now on, and the record of it.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) wants: Vec<(Owner, Fragment)>,
    pub(crate) batch: Batch,
}

impl Controller {
    /// Whether an endpoint that is to be placed is led to at once in the service that it names.
    ///
    /// # Errors
    /// When it can be none of its endpoints, or there is no room.
    pub(crate) fn check_joining(&self, sandbox: &Sandbox, attachment: &Attachment) -> Result<bool> {
        let Some((service, weight)) = self.service_of(sandbox, attachment) else {
            return Ok(false);
        };
        let state = lock(&service.state);
        if state.removed || stays_out(&service, &state, sandbox) {
            return Ok(false);
        }
        let next = joined(&state, sandbox, attachment, weight)?;
        Ok(next.serves(attachment.endpoint.id))
    }

    /// Makes an endpoint that stands, and that frames reach, a member of its service where it names
    /// one, and records both by `record`. In a plan of its own, because the slots of a service change
    /// whole or not at all, and a plan removes first what it makes last.
    ///
    /// # Errors
    /// As `record` says, and when the service has no room or the kernel refuses; it is no member then.
    pub(crate) fn joining(
        &self,
        sandbox: &Sandbox,
        attachment: &Attachment,
        record: impl FnOnce(Batch) -> Result<()>,
    ) -> Result<()> {
        let Some((service, weight)) = self.service_of(sandbox, attachment) else {
            return record(Batch::new());
        };
        let mut state = lock(&service.state);
        if state.removed || stays_out(&service, &state, sandbox) {
            drop(state);
            return record(Batch::new());
        }
        let id = attachment.endpoint.id;
        let next = joined(&state, sandbox, attachment, weight)?;
        let Change { wants, batch } = self.change_of(&service, &state, &next)?;
        let led = !wants.is_empty();
        if led {
            self.bring(wants)?;
        }
        if let Err(error) = record(batch) {
            if led {
                let former = self.fragment_of(&service.network, &state);
                if let Err(error) = self.take_away_led(service.id, former) {
                    tracing::error!("undoing an unrecorded endpoint failed: {}", error.chain());
                }
                drop(state);
                let gone = next.members.get(&id).into_iter();
                gone.for_each(|gone| self.forget_gone(&service, gone));
            }
            return Err(error);
        }
        state.roster = next;
        // Before it is asked: what is told of nobody is not taken.
        lock(&self.services).join(id, service.id);
        self.ask_anew(service.id, &state.spec, id);
        Ok(())
    }

    /// Waits until frames reach an endpoint.
    pub(crate) fn await_frames(&self, network: &Network, endpoint: &EndpointSpec) {
        let hidden = network.spec.scope == Scope::Global
            && network.driver.host_link(&network.spec).is_none();
        let outer = match hidden {
            true => Netns::Network(endpoint.network),
            false => Netns::Host,
        };
        if let Err(error) = self.kernel.await_forwarding(outer, endpoint) {
            tracing::warn!("an endpoint serves before frames reach it: {error}");
        }
    }

    /// What it takes to have these members in a service, without what it had before.
    pub(crate) fn change_of(
        &self,
        service: &Service,
        state: &ServiceState,
        next: &Roster,
    ) -> Result<Change> {
        let (network, hosted) = (&service.network, &state.hosted.ports);
        let led = state.led_here_by(service);
        let mut change = Change::default();
        let others = state.roster.slots != next.slots;
        if others || !state.roster.sick().eq(next.sick()) {
            change.batch = self.slots_batch(service, state, next, led)?;
        }
        if others {
            let fragment = self.service_fragment(network, &state.spec, next, hosted);
            change.wants = vec![(Owner::Service(service.id), fragment)];
        }
        Ok(change)
    }

    /// The record of a service with these members, whom this host's own table leads to by these ports
    /// from now on: also by which it did, of whom is forgotten who was led by them.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(crate) fn slots_batch(
        &self,
        service: &Service,
        state: &ServiceState,
        roster: &Roster,
        led: &[PublishedPort],
    ) -> Result<Batch> {
        let record = SlotRecord {
            boot: self.facts().boot_id.clone(),
            service: service.id,
            slots: roster.slots.clone(),
            here: roster.here.clone(),
            hosted: led.to_vec(),
            before: state.led_before(service, led),
            vips: state.led_here_at(service),
            sick: roster.sick().collect(),
        };
        records::put(Batch::new(), Table::Slots, &service.id.to_string(), &record)
    }

    /// Brings a service to these members, or changes nothing.
    ///
    /// # Errors
    /// When it cannot be recorded or applied.
    pub(crate) fn turn_to(
        &self,
        service: &Service,
        state: &mut ServiceState,
        next: Roster,
    ) -> Result<()> {
        let change = self.change_to(service, state, &next)?;
        self.carry(change)?;
        self.turned(service, state, next);
        Ok(())
    }

    /// Whether a service is known alone: until the kernel is compared with all that is, nothing is
    /// changed in it.
    fn is_known_alone(&self, service: &Service) -> bool {
        service.is_global() && !self.balancers.is_open()
    }

    /// What it takes now to have these members in a service.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub(super) fn change_to(
        &self,
        service: &Service,
        state: &ServiceState,
        next: &Roster,
    ) -> Result<Change> {
        match self.is_known_alone(service) {
            true => Ok(Change::default()),
            false => self.change_of(service, state, next),
        }
    }

    /// Records a change and brings it about, if it is one.
    ///
    /// # Errors
    /// When it cannot be recorded or applied.
    pub(super) fn carry(&self, change: Change) -> Result<()> {
        let Change { wants, batch } = change;
        if !batch.is_empty() {
            self.note(batch)?;
        }
        if wants.is_empty() {
            return Ok(());
        }
        crate::step::reached("service.noted");
        self.bring(wants)
    }

    /// Takes it that a service has these members, which [`Self::change_to`] brought about.
    pub(super) fn turned(&self, service: &Service, state: &mut ServiceState, next: Roster) {
        let others = state.roster.slots != next.slots;
        self.take_members(service, state, next);
        if others && self.is_known_alone(service) {
            // That may have been compared without it.
            let network = service.network.spec.id;
            self.balancers.lead_anew(network);
            self.look_soon(network, Some(service.id));
        }
    }

    /// Takes it that a service has these members, as the kernel does.
    pub(super) fn take_members(
        &self,
        service: &Service,
        state: &mut super::ServiceState,
        next: Roster,
    ) {
        let others = state.roster.slots != next.slots;
        if next.waiting().len() > state.roster.waiting().len() {
            tracing::warn!(
                "service {} is full: {} of its endpoints wait until others leave",
                state.spec.name,
                next.waiting().len()
            );
        }
        state.roster = next;
        if others {
            self.members_changed(service, state);
        }
    }

    /// Who is led to decides what this host publishes for its own endpoints.
    fn members_changed(&self, service: &Service, state: &ServiceState) {
        if service.is_global() && super::hosted::may_publish(&state.spec) {
            self.look_soon(service.network.spec.id, Some(service.id));
        }
    }

    /// Takes an endpoint out of its service: no new connection is led to it. One that is in none is
    /// well.
    ///
    /// # Errors
    /// When something of it stands still; nobody wants it any more.
    pub(crate) fn leave_service(&self, id: EndpointId) -> Result<()> {
        let Some(service) = lock(&self.services).of(id) else {
            return Ok(());
        };
        let mut state = lock(&service.state);
        if state.removed {
            return Ok(());
        }
        let next = state.roster.without(id);
        let change = self.change_of(&service, &state, &next)?;
        // A record that names who is gone is as good as one that does not.
        if let Err(error) = self.note(change.batch) {
            tracing::error!("{}", error.chain());
        }
        let wants = change.wants.into_iter().next();
        let left = wants.map_or(Ok(()), |(_, wants)| self.take_away_led(service.id, wants));
        let let_in = let_in(&state.roster, &next);
        let gone = state.roster.members.get(&id).cloned();
        state.roster = next;
        self.members_changed(&service, &state);
        self.ask_anew(service.id, &state.spec, id);
        drop(state);
        lock(&self.services).leave(id);
        self.name_let_in(&service, let_in);
        if let Some(gone) = gone {
            self.forget_gone(&service, &gone);
        }
        left
    }

    /// Names those of a service's endpoints here that waited, and are led to from now on.
    pub(crate) fn name_let_in(&self, service: &Service, let_in: Vec<(EndpointId, SandboxId)>) {
        for (id, sandbox) in let_in {
            let sandbox = self.registry().sandbox_by_id(sandbox);
            if let Some(sandbox) = sandbox {
                self.publish_names(&sandbox, &service.network, id);
            }
        }
    }

    /// The service that an endpoint names, by its driver option or its sandbox's label, and its
    /// weight.
    pub(crate) fn service_of(
        &self,
        sandbox: &Sandbox,
        attachment: &Attachment,
    ) -> Option<(Arc<Service>, u32)> {
        let settings = &attachment.endpoint.settings;
        self.service_named(sandbox, &attachment.network, settings)
    }

    fn service_named(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        settings: &EndpointSettings,
    ) -> Option<(Arc<Service>, u32)> {
        let labels = sandbox.state().spec.labels.clone();
        let (name, weight) = super::members::named(&settings.driver_opts, &labels)?;
        let service = lock(&self.services).named_on(network.spec.id, &name)?;
        Some((service, weight))
    }

    /// Checks that the service which an endpoint names, that is asked for, can ask it.
    ///
    /// # Errors
    /// `InvalidArgument` where its check cannot be made of this sandbox.
    pub(crate) fn check_asking(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        settings: &EndpointSettings,
    ) -> Result<()> {
        let named = self.service_named(sandbox, network, settings);
        named.map_or(Ok(()), |(service, _)| {
            super::health::can_be_asked(&lock(&service.state).spec, sandbox)
        })
    }
}

/// Whether an endpoint comes back to its network alone, as its service's check cannot be made of it any
/// more. Whoever has it join late warns of that.
fn stays_out(service: &Service, state: &ServiceState, sandbox: &Sandbox) -> bool {
    let network = service.network.spec.id;
    let comes_back = || {
        let sandbox = sandbox.state();
        sandbox.memberships.iter().any(|m| m.network == network)
    };
    service.is_global()
        && super::health::can_be_asked(&state.spec, sandbox).is_err()
        && comes_back()
}

/// The members of a service with one more, which comes now.
fn joined(
    state: &ServiceState,
    sandbox: &Sandbox,
    attachment: &Attachment,
    weight: u32,
) -> Result<Roster> {
    super::health::can_be_asked(&state.spec, sandbox)?;
    let id = attachment.endpoint.id;
    let member = |runs| {
        let health = at_first(&state.spec, runs);
        member(sandbox, attachment, weight, health)
    };
    // Room is asked for at once, also by one that serves only once its process runs.
    let next = state.roster.joined(id, member(true))?;
    Ok(match sandbox.can_answer() {
        true => next,
        false => state.roster.with(id, member(false)),
    })
}

/// Those of this host that waited for room in a roster, and have some in the next one.
pub(super) fn let_in(former: &Roster, next: &Roster) -> Vec<(EndpointId, SandboxId)> {
    let waited = former.waiting().into_iter();
    let led_to = waited.filter(|id| next.serves(*id));
    let here = led_to.filter_map(|id| {
        let member = next.members.get(&id).filter(|m| m.host.is_none())?;
        Some((id, member.sandbox))
    });
    here.collect()
}

/// An endpoint as a member.
pub(crate) fn member(
    sandbox: &Sandbox,
    attachment: &Attachment,
    weight: u32,
    health: Health,
) -> Member {
    Member {
        sandbox: sandbox.id,
        host: None,
        name: sandbox.state().spec.name.to_string(),
        addresses: attachment
            .endpoint
            .addresses
            .iter()
            .map(IpNet::addr)
            .collect(),
        weight,
        health,
    }
}
