//! Who is in a service, and in which order of slots.
//!
//! Pure. The slots are dense: who leaves gives them to the last ones, so that a change moves as many
//! as the endpoint weighs and no more. A member that is well and for whom there is no room waits, and
//! has slots as soon as others leave it some.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};
use vw_firewall::{MAX_SLOTS, Slot};
pub(crate) use vw_model::MemberHealth as Health;
use vw_model::{EndpointId, Error, HostId, Kind, Result, SandboxId, ServiceSpec};

/// An endpoint of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) sandbox: SandboxId,
    /// The host that it lies on; `None` for this one.
    pub(crate) host: Option<HostId>,
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) weight: u32,
    pub(crate) health: Health,
}

/// What is known of an endpoint of this host that comes into a service, in whose sandbox something
/// `runs` already or not.
pub(super) const fn at_first(spec: &ServiceSpec, runs: bool) -> Health {
    match spec.health {
        None if runs => Health::Unchecked,
        _ => Health::Starting,
    }
}

/// The members of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) members: BTreeMap<EndpointId, Member>,
    /// Who is led to by each slot.
    pub(crate) slots: Vec<EndpointId>,
    /// The same of this host's own members, where it leads to these alone: in an order of its own, so
    /// that its clients stay where they are led by their address whatever happens on other hosts.
    pub(crate) here: Vec<EndpointId>,
}

impl Roster {
    /// This roster with one more member, or with what is known of it now; it has slots as it is
    /// well, once there is room.
    pub(crate) fn with(&self, id: EndpointId, member: Member) -> Self {
        let mut next = self.clone();
        next.take([(id, member)]);
        next
    }

    /// Takes members in, or what is known of them now, as [`Self::with`] does of one. Who waits has
    /// what those give up who serve no more, before those who are new.
    pub(crate) fn take(&mut self, members: impl IntoIterator<Item = (EndpointId, Member)>) {
        let members = members.into_iter();
        let (serve, not): (Vec<_>, Vec<_>) = members.partition(|(_, m)| m.health.serves());
        for members in [not, serve] {
            for (id, member) in members {
                self.put(id, member);
            }
            self.let_in();
        }
    }

    fn put(&mut self, id: EndpointId, member: Member) {
        if !member.health.serves() || count(&self.slots, id) != member.weight as usize {
            self.give_up(id);
        }
        self.give_slots(id, &member);
        self.members.insert(id, member);
    }

    /// This roster with a member that comes now, and is not to wait.
    ///
    /// # Errors
    /// `Exhausted` when there are too many slots.
    pub(crate) fn joined(&self, id: EndpointId, member: Member) -> Result<Self> {
        let (serves, wanted) = (
            member.health.serves(),
            self.slots.len() + member.weight as usize,
        );
        let next = self.with(id, member);
        if serves && !next.serves(id) {
            let sentence = format!(
                "the service is full: its endpoints weigh {wanted} together, {MAX_SLOTS} is the most; use smaller weights or a second service"
            );
            return Err(Error::new(Kind::Exhausted, "service-full", sentence));
        }
        Ok(next)
    }

    /// Who is well and has no slots, as there is no room.
    pub(crate) fn waiting(&self) -> Vec<EndpointId> {
        let serving = self.members.iter().filter(|(_, m)| m.health.serves());
        let wanted: usize = serving.clone().map(|(_, m)| m.weight as usize).sum();
        if wanted <= self.slots.len() {
            return Vec::new();
        }
        let led_to: BTreeSet<&EndpointId> = self.slots.iter().collect();
        let waits = serving.filter(|(id, _)| !led_to.contains(id));
        waits.map(|(id, _)| *id).collect()
    }

    /// Gives slots to those who wait, as far as there is room.
    fn let_in(&mut self) {
        if self.slots.len() >= MAX_SLOTS {
            return;
        }
        for id in self.waiting() {
            if let Some(member) = self.members.get(&id).cloned() {
                self.give_slots(id, &member);
            }
        }
    }

    /// Gives slots to a member that serves and has none, as far as there is room.
    fn give_slots(&mut self, id: EndpointId, member: &Member) {
        let wanted = self.slots.len() + member.weight as usize;
        if member.health.serves() && !self.serves(id) && wanted <= MAX_SLOTS {
            self.slots.resize(wanted, id);
        }
        let here = match member.host {
            None => count(&self.slots, id),
            Some(_) => 0,
        };
        if count(&self.here, id) != here {
            take_out(&mut self.here, id);
            self.here.resize(self.here.len() + here, id);
        }
    }

    /// This roster with its slots, and those here, in the order that they had before, as far as that
    /// can be.
    pub(crate) fn in_order(&self, slots: Vec<EndpointId>, here: Vec<EndpointId>) -> Self {
        let mut next = Self {
            slots,
            here,
            ..Self::default()
        };
        let members = self.members.iter();
        next.take(members.map(|(id, member)| (*id, member.clone())));
        next
    }

    /// This roster without the slots of those who are no members.
    pub(crate) fn settled(&self) -> Self {
        let gone = self.slots.iter().chain(&self.here);
        let gone: Vec<EndpointId> = gone
            .filter(|id| !self.members.contains_key(id))
            .copied()
            .collect();
        let mut next = self.clone();
        next.let_go(gone);
        next
    }

    /// This roster without a member.
    pub(crate) fn without(&self, id: EndpointId) -> Self {
        let mut next = self.clone();
        next.let_go([id]);
        next
    }

    /// Takes members out.
    pub(crate) fn let_go(&mut self, members: impl IntoIterator<Item = EndpointId>) {
        for id in members {
            self.give_up(id);
            self.members.remove(&id);
        }
        self.let_in();
    }

    /// Whether connections are led to a member.
    pub(crate) fn serves(&self, id: EndpointId) -> bool {
        self.slots.contains(&id)
    }

    /// Where each slot leads.
    pub(crate) fn leads(&self) -> Vec<Slot> {
        let lead = |id: &EndpointId| {
            let member = self.members.get(id)?;
            Some(slot(member.addresses.iter().copied()))
        };
        self.slots.iter().filter_map(lead).collect()
    }

    /// Which members on this host fail their checks.
    pub(crate) fn sick(&self) -> impl Iterator<Item = EndpointId> {
        let here = self.members.iter().filter(|(_, m)| m.host.is_none());
        let sick = here.filter(|(_, m)| m.health == Health::Unhealthy);
        sick.map(|(id, _)| *id)
    }

    fn give_up(&mut self, id: EndpointId) {
        take_out(&mut self.slots, id);
        take_out(&mut self.here, id);
    }
}

fn count(slots: &[EndpointId], id: EndpointId) -> usize {
    slots.iter().filter(|held| **held == id).count()
}

/// Gives what one had to the last ones.
fn take_out(slots: &mut Vec<EndpointId>, id: EndpointId) {
    for at in (0..slots.len()).rev() {
        if slots[at] == id {
            slots.swap_remove(at);
        }
    }
}

/// Where a slot leads, of these addresses the first of each family.
pub(super) fn slot(addresses: impl IntoIterator<Item = IpAddr>) -> Slot {
    let mut slot = Slot::default();
    for addr in addresses {
        match addr {
            IpAddr::V4(v4) => slot.v4 = slot.v4.or(Some(v4)),
            IpAddr::V6(v6) => slot.v6 = slot.v6.or(Some(v6)),
        }
    }
    slot
}

#[cfg(test)]
mod tests;
