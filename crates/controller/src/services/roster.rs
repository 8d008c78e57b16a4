//! Who is in a service, and in which order of slots.
//!
//! Pure. The slots are dense: who leaves gives them to the last ones, so that a change moves as many
//! as the endpoint weighs and no more.

use std::{collections::BTreeMap, net::IpAddr};
use vw_firewall::{MAX_SLOTS, Slot};
pub(crate) use vw_model::MemberHealth as Health;
use vw_model::{EndpointId, Error, HostId, Kind, Result, SandboxId};

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

/// The members of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roster {
    pub(crate) members: BTreeMap<EndpointId, Member>,
    /// Who is led to by each slot.
    pub(crate) slots: Vec<EndpointId>,
}

impl Roster {
    /// This roster with one more member, or with what is known of it now; it has slots as it is
    /// well.
    ///
    /// # Errors
    /// `Exhausted` when there are too many slots.
    pub(crate) fn with(&self, id: EndpointId, member: Member) -> Result<Self> {
        let mut next = self.clone();
        let serves = member.health.serves();
        let held = next.slots.iter().filter(|held| **held == id).count();
        if !serves || held != member.weight as usize {
            next.give_up(id);
        }
        if serves && held != member.weight as usize {
            let wanted = next.slots.len() + member.weight as usize;
            if wanted > MAX_SLOTS {
                let sentence = format!(
                    "the service is full: its endpoints weigh {wanted} together, {MAX_SLOTS} is the most; use smaller weights or a second service"
                );
                return Err(Error::new(Kind::Exhausted, "service-full", sentence));
            }
            next.slots.resize(wanted, id);
        }
        next.members.insert(id, member);
        Ok(next)
    }

    /// This roster with its slots in the order that they had before, as far as that can be.
    pub(crate) fn in_order(&self, slots: Vec<EndpointId>) -> Self {
        let mut next = Self {
            slots,
            ..Self::default()
        };
        for (id, member) in &self.members {
            // One for whom there is no room had none before.
            next = next.with(*id, member.clone()).unwrap_or(next);
        }
        next
    }

    /// This roster without the slots of those who are no members.
    pub(crate) fn settled(&self) -> Self {
        let gone = self.slots.iter();
        let gone: Vec<EndpointId> = gone
            .filter(|id| !self.members.contains_key(id))
            .copied()
            .collect();
        gone.into_iter()
            .fold(self.clone(), |roster, id| roster.without(id))
    }

    /// This roster without a member.
    pub(crate) fn without(&self, id: EndpointId) -> Self {
        let mut next = self.clone();
        next.give_up(id);
        next.members.remove(&id);
        next
    }

    /// Whether connections are led to a member.
    pub(crate) fn serves(&self, id: EndpointId) -> bool {
        self.slots.contains(&id)
    }

    /// Where each slot leads.
    pub(crate) fn leads(&self) -> Vec<Slot> {
        let lead = |id: &EndpointId| {
            let member = self.members.get(id)?;
            let mut slot = Slot::default();
            for addr in &member.addresses {
                match addr {
                    IpAddr::V4(v4) => slot.v4 = slot.v4.or(Some(*v4)),
                    IpAddr::V6(v6) => slot.v6 = slot.v6.or(Some(*v6)),
                }
            }
            Some(slot)
        };
        self.slots.iter().filter_map(lead).collect()
    }

    fn give_up(&mut self, id: EndpointId) {
        for at in (0..self.slots.len()).rev() {
            if self.slots[at] == id {
                self.slots.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
