//! What services claim, a name and published ports, and what orders the making of them.
//!
//! Whoever makes a service, or gives it another name or port, replaces the record of that order with
//! one that names the change. While it names the last change of this host, no other was made since,
//! and what this host knew then is all that is claimed: the services that were removed since claim
//! nothing any more, which is why all are read again before one is refused.

use crate::{
    core::Core,
    keys::{self, Shared},
    record::{self, RosterRecord, ServiceClaims},
    service::passed_over,
};
use std::{collections::BTreeMap, sync::Arc};
use vw_model::{Error, Id, Result, ServiceId, ServiceSpec};
use vw_store::cluster::{Condition, Record, Write};

type ServicesClaims = BTreeMap<ServiceId, ServiceClaims>;

/// So many services that are gone are kept at least, before all are read again.
const SPARE: usize = 64;

/// What services claimed after a change of this host, and before.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    last: RosterRecord,
    /// How often this host had read everything: a store that was brought back from a backup has
    /// services again that were gone.
    reads: u64,
    claims: Arc<ServicesClaims>,
}

/// What services claim, and the order as it stands and as it is next.
pub(crate) struct Roster {
    found: Option<Record>,
    next: RosterRecord,
    reads: u64,
    claims: Arc<ServicesClaims>,
}

impl Roster {
    /// Holds where the order is as it was found.
    pub(crate) fn order(&self) -> Condition {
        match &self.found {
            Some(found) => Condition::Unchanged(found.key.clone(), found.version),
            None => Condition::Absent(keys::ROSTER.to_owned()),
        }
    }

    /// Replaces it.
    pub(crate) fn next(&self) -> Write {
        Write::Put(keys::ROSTER.to_owned(), record::encode(&self.next))
    }

    pub(crate) fn has(&self, id: ServiceId) -> bool {
        self.claims.contains_key(&id)
    }
}

impl Core {
    /// What all services claim, and what orders them, where a service can be beside the others; `known`
    /// is what was found a moment ago. Whoever has the turn meets no change of this host that it has not
    /// kept yet.
    pub(crate) fn roster(&self, spec: &ServiceSpec, known: Option<Roster>) -> Result<Roster> {
        let found = self.get(keys::ROSTER)?;
        let former = found.as_ref().map(|found| record::decode(&found.value));
        let last: RosterRecord = former.and_then(Result::ok).unwrap_or_default();
        let (kept, reads) = {
            let state = self.state();
            (state.roster.clone(), state.reads)
        };
        let stands =
            |kept: &Kept| last.change.is_some() && kept.last == last && kept.reads == reads;
        let kept = kept.filter(stands).map(|kept| kept.claims);
        let known = known.filter(|known| found.is_some() && known.found == found);
        let known = known.filter(|known| known.reads == reads);
        let kept = known.map(|known| known.claims).or(kept);
        let claims = match kept.filter(|claims| admits(claims, spec).is_ok()) {
            Some(claims) => claims,
            None => {
                let claims = self.read_service_claims()?;
                admits(&claims, spec)?;
                Arc::new(claims)
            }
        };
        let next = RosterRecord {
            changes: last.changes.wrapping_add(1),
            change: Some(Id::from_bytes((self.settings.random)()).to_string()),
        };
        Ok(Roster {
            found,
            next,
            reads,
            claims,
        })
    }

    /// Keeps what is claimed now that a service was made or changed with it.
    pub(crate) fn keep_roster(&self, roster: Roster, made: &ServiceSpec) {
        let Roster {
            next: last,
            reads,
            mut claims,
            ..
        } = roster;
        // Else they would be copied.
        drop(self.state().roster.take());
        Arc::make_mut(&mut claims).insert(made.id, ServiceClaims::of(made));
        let mut state = self.state();
        // Those that are gone stay among them, until they are too many.
        let standing = state.mirror.services.ids().count();
        state.roster = (claims.len() <= 2 * standing + SPARE).then_some(Kept {
            last,
            reads,
            claims,
        });
    }

    /// One whose claims cannot be read claims nothing: no host leads to it, and it is not to keep a
    /// cluster from all others.
    fn read_service_claims(&self) -> Result<ServicesClaims> {
        let read = |(id, found): (ServiceId, Record)| match record::service_claims(&found.value) {
            Ok(claims) => Some((id, claims)),
            Err(why) => {
                tracing::warn!("{}", passed_over(id, &why));
                None
            }
        };
        Ok(self.list_services()?.filter_map(read).collect())
    }

    /// The records of all services.
    pub(crate) fn list_services(&self) -> Result<impl Iterator<Item = (ServiceId, Record)>> {
        let keyed = |found: Record| match Shared::parse(&found.key)? {
            Shared::Service(id) => Some((id, found)),
            _ => None,
        };
        Ok(self.list(keys::SERVICES)?.into_iter().filter_map(keyed))
    }
}

/// Whether a service can be beside the others.
fn admits(claims: &ServicesClaims, spec: &ServiceSpec) -> Result<()> {
    let mut others = claims.iter().filter(|(id, _)| **id != spec.id);
    others.try_for_each(|(_, other)| beside(spec, other))
}

fn beside(spec: &ServiceSpec, other: &ServiceClaims) -> Result<()> {
    // To DNS they are one (RFC 4343).
    if other.name.eq_ignore_ascii_case(spec.name.as_str()) {
        let message = format!(
            "service {} already exists: remove it first, or use another name",
            other.name
        );
        return Err(Error::conflict("service-exists", message));
    }
    for port in &spec.ports {
        if other.ports.iter().any(|held| held.port().clashes(port)) {
            let message = format!(
                "port {}/{} is already published by service {}: choose another",
                port.published, port.target.protocol, other.name
            );
            return Err(Error::conflict("port-allocated", message));
        }
    }
    Ok(())
}
