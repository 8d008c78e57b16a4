//! How services are made, changed and removed: no two with one name or one published port.
//!
//! Making one, or giving it another name or port, replaces the record that orders them, on the
//! condition that it stands as it was before all services were read; what else changes of one is a
//! matter of its own record. One is made while its network is there to stay. Its addresses are
//! leased by the host that makes it, and granted to the service itself in the same transaction: who
//! takes over that host's blocks leaves them alone, as it does what was given to others.

use crate::{
    core::{Core, Done, contended, uncertain},
    doubts::Doubt,
    holdings::Given,
    keys::{self, Shared},
    outbox::unchanged,
    record::{self, GrantRecord, ServiceRecord},
    roster::Roster,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use vw_model::{
    EndpointId, Error, Family, HostId, IpNet, Kind, NetworkId, Result, ServiceId, ServicePart,
    ServiceSpec,
};
use vw_store::cluster::{Condition, Record, Write};

const ATTEMPTS: usize = 16;

/// At most how long one waits whom another host was ahead of, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// What became of an attempt to make one.
enum Made {
    Stands,
    Overtaken,
    /// It is known not to have been made, and not to be any more.
    RuledOut,
}

/// A service is being made: what is given to it is not freed until its grants stand, whoever has the
/// turn between two attempts.
struct Making<'a>(&'a Core, EndpointId);

impl<'a> Making<'a> {
    fn begin(core: &'a Core, holder: EndpointId) -> Self {
        core.state().making.insert(holder);
        Self(core, holder)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.state().making.remove(&self.1);
        self.0.wake();
    }
}

impl Core {
    /// See [`crate::Cluster::create_service`].
    pub(crate) fn create_service(
        &self,
        mut spec: ServiceSpec,
        families: &[Family],
    ) -> Result<ServiceSpec> {
        // What is refused anyway leases nothing.
        let checked = {
            let _turn = self.turn()?;
            self.roster(&spec, None)?
        };
        for family in families {
            match self.lease_vip(spec.network, *family, holder(spec.id)) {
                Ok(leased) => spec.vips.push(leased),
                Err(error) => {
                    self.free_vips(&spec);
                    return Err(error);
                }
            }
        }
        let made = self.make_service(&spec, checked);
        match made {
            Ok(()) => Ok(spec),
            Err(error) => {
                self.free_vips(&spec);
                Err(error)
            }
        }
    }

    fn make_service(&self, spec: &ServiceSpec, checked: Roster) -> Result<()> {
        let _making = Making::begin(self, holder(spec.id));
        let mut checked = Some(checked);
        for attempt in 0..ATTEMPTS {
            match self.try_to_make(spec, checked.take())? {
                Made::Stands => return Ok(()),
                Made::Overtaken => self.let_ahead(attempt),
                Made::RuledOut => {}
            }
        }
        Err(contended())
    }

    /// Makes a service, unless another was ahead. Those of one host do not refuse each other, and who
    /// lets others ahead is waited for by none of them.
    fn try_to_make(&self, spec: &ServiceSpec, checked: Option<Roster>) -> Result<Made> {
        let _turn = self.turn()?;
        let changes = self.state().mirror.services.changes();
        let roster = self.roster(spec, checked)?;
        if roster.has(spec.id) {
            // The answer was lost. It may be gone again.
            if let Err(error) = self.take_up_service(spec.id) {
                tracing::debug!("service {}: {}", spec.id.short(), error.chain());
            }
            self.wake();
            return Ok(Made::Stands);
        }
        let (_, version) = self.usable_network(spec.network)?;
        let key = Shared::Service(spec.id).key();
        let mut conditions = vec![
            roster.order(),
            unchanged(spec.network, version),
            Condition::Absent(key.clone()),
        ];
        let record = record::encode(&ServiceRecord { spec: spec.clone() });
        let mut writes = vec![roster.next(), Write::Put(key, record)];
        for vip in &spec.vips {
            let (given, write) = self.give_to_service(spec, *vip)?;
            conditions.extend(given);
            writes.push(write);
        }
        match self.commit(conditions, writes)? {
            Done::Applied => {
                self.keep_roster(roster, spec);
                self.learn_service(spec.id, Some(spec.clone()), changes);
                Ok(Made::Stands)
            }
            Done::Refused => Ok(Made::Overtaken),
            Done::Uncertain => {
                self.state().doubts.push(Doubt {
                    holder: holder(spec.id),
                    condition: roster.order(),
                    write: roster.next(),
                });
                let ruled_out = self.cannot_be_granted(holder(spec.id));
                match ruled_out.is_ok_and(|ruled_out| ruled_out) {
                    true => Ok(Made::RuledOut),
                    false => Err(uncertain("made the service")),
                }
            }
        }
    }

    /// Takes an address that was leased here out of this host's own use, for good and on disk.
    fn give_to_service(&self, spec: &ServiceSpec, vip: IpNet) -> Result<(Vec<Condition>, Write)> {
        let addr = vip.addr();
        let given = Given {
            host: HostId(spec.id.0),
            holder: holder(spec.id),
        };
        let range = {
            let mut state = self.state();
            let held = state.holdings.0.get_mut(&spec.network);
            let range = held.and_then(|held| held.give(addr, given));
            state.due.insert((spec.network, addr));
            range
        };
        let Some(Ok(range)) = range else {
            let message = "the block of the service's address is being given back: try again";
            return Err(Error::conflict("address-returning", message));
        };
        self.copy.add_given(spec.network, addr, given)?;
        let grant = Shared::Grant(spec.network, addr).key();
        let own = self.own_block(spec.network, range)?;
        let (block, _) = own.ok_or_else(contended)?;
        let Given { host, holder } = given;
        let record = record::encode(&GrantRecord { host, holder });
        Ok((
            vec![block, Condition::Absent(grant.clone())],
            Write::Put(grant, record),
        ))
    }

    /// What was leased for a service that is not. What was given to it already frees itself: no
    /// grant comes of it any more.
    fn free_vips(&self, spec: &ServiceSpec) {
        for vip in &spec.vips {
            let given = {
                let state = self.state();
                let held = state.holdings.get(spec.network);
                held.is_some_and(|held| held.given.contains_key(&vip.addr()))
            };
            if !given {
                self.release(spec.network, vip.addr(), holder(spec.id));
            }
        }
        self.wake();
    }

    /// See [`crate::Cluster::update_service`].
    pub(crate) fn update_service(
        &self,
        id: ServiceId,
        change: impl Fn(ServiceSpec) -> Result<ServiceSpec>,
    ) -> Result<ServiceSpec> {
        for attempt in 0..ATTEMPTS {
            if let Some(changed) = self.try_update(id, &change)? {
                return Ok(changed);
            }
            self.let_ahead(attempt);
        }
        Err(contended())
    }

    /// Changes a service, unless another was ahead.
    fn try_update(
        &self,
        id: ServiceId,
        change: impl Fn(ServiceSpec) -> Result<ServiceSpec>,
    ) -> Result<Option<ServiceSpec>> {
        let changes = self.state().mirror.services.changes();
        let key = Shared::Service(id).key();
        let found = self.get(&key)?.ok_or_else(|| no_service(id))?;
        let known: ServiceRecord =
            record::decode(&found.value).map_err(|why| unreadable(id, &why))?;
        let spec = change(known.spec.clone())?;
        let record = record::encode(&ServiceRecord { spec: spec.clone() });
        let mut conditions = vec![Condition::Unchanged(key.clone(), found.version)];
        let mut writes = vec![Write::Put(key, record)];
        let reclaims = (&spec.name, &spec.ports) != (&known.spec.name, &known.spec.ports);
        // Those of one host do not refuse each other.
        let _turn = reclaims.then(|| self.turn()).transpose()?;
        let roster = reclaims.then(|| self.roster(&spec, None)).transpose()?;
        if let Some(roster) = &roster {
            conditions.push(roster.order());
            writes.push(roster.next());
        }
        match self.commit(conditions, writes)? {
            Done::Applied => {
                if let Some(roster) = roster {
                    self.keep_roster(roster, &spec);
                }
                self.learn_service(id, Some(spec.clone()), changes);
                Ok(Some(spec))
            }
            Done::Refused => Ok(None),
            Done::Uncertain => Err(uncertain("changed the service")),
        }
    }

    /// Lets others go ahead for a while that differs among hosts, the longer the more often they were.
    fn let_ahead(&self, attempt: usize) {
        let longest = LONGEST_PAUSE.min(FIRST_PAUSE * (1 << attempt.min(8)));
        let [bits, ..] = (self.settings.random)();
        let until = self.time.now() + longest * u32::from(bits) / 256;
        // Nobody waits for anything but the time.
        let _ = self.wait_for(until, |_| None::<()>);
    }

    /// See [`crate::Cluster::remove_service`].
    pub(crate) fn remove_service(&self, id: ServiceId) -> Result<()> {
        let key = Shared::Service(id).key();
        for _ in 0..ATTEMPTS {
            let changes = self.state().mirror.services.changes();
            let found = self.get(&key)?.ok_or_else(|| no_service(id))?;
            let mut conditions = vec![Condition::Unchanged(key.clone(), found.version)];
            let mut writes = vec![Write::Delete(key.clone())];
            for grant in self.grants_of(id, &found)? {
                conditions.push(Condition::Unchanged(grant.key.clone(), grant.version));
                writes.push(Write::Delete(grant.key));
            }
            let gone = match self.commit(conditions, writes)? {
                Done::Applied => true,
                Done::Refused => false,
                Done::Uncertain if self.get(&key)?.is_none() => true,
                Done::Uncertain => return Err(uncertain("removed the service")),
            };
            if gone {
                self.learn_service(id, None, changes);
                return Ok(());
            }
        }
        Err(contended())
    }

    /// The grants of a service's addresses, also where its record cannot be read. Where a store was
    /// brought back from a backup, another may have been given one of them since.
    fn grants_of(&self, id: ServiceId, found: &Record) -> Result<Vec<Record>> {
        let mut grants = Vec::new();
        match record::decode(&found.value) {
            Ok(ServiceRecord { spec }) => {
                for vip in &spec.vips {
                    let key = Shared::Grant(spec.network, vip.addr()).key();
                    grants.extend(self.get(&key)?);
                }
            }
            Err(_) => grants = self.list(keys::GRANTS)?,
        }
        let own = Given {
            host: HostId(id.0),
            holder: holder(id),
        };
        grants.retain(|grant| {
            let given = record::decode(&grant.value);
            given.is_ok_and(|given| Given::by(&given) == own)
        });
        Ok(grants)
    }

    /// Takes what this host made of a service into the mirror, so that it can be used at once, and
    /// so that it is known to be gone when another host removes it while nothing is told. `changes`
    /// counts what had been told before the record was read that this follows on.
    fn learn_service(&self, id: ServiceId, made: Option<ServiceSpec>, changes: u64) {
        let mut state = self.state();
        let told = made.is_some() && state.mirror.services.changes() != changes;
        if !told {
            let seen = state.mirror.did_service(id, made);
            state.saw(seen, false);
        }
        drop(state);
        // What was told may be older than this, or newer.
        if told && let Err(error) = self.take_up_service(id) {
            tracing::debug!("service {}: {}", id.short(), error.chain());
        }
        self.wake();
    }

    /// Takes a service into the mirror as the store has it now.
    pub(crate) fn take_up_service(&self, id: ServiceId) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let changes = self.state().mirror.services.changes();
            let found = self.get(&Shared::Service(id).key())?;
            let found = found.map(|found| record::decode::<ServiceRecord>(&found.value));
            let Ok(found) = found.transpose() else {
                // As with what a watch tells, it stays what it was.
                return Ok(());
            };
            let mut state = self.state();
            if state.mirror.services.changes() == changes {
                let seen = state.mirror.did_service(id, found.map(|found| found.spec));
                state.saw(seen, false);
                return Ok(());
            }
        }
        Err(contended())
    }

    /// See [`crate::Cluster::catch_up_services`].
    pub(crate) fn catch_up_services(&self) -> Result<Vec<ServiceId>> {
        let standing: BTreeMap<ServiceId, Record> = self.list_services()?.collect();
        let mut ids: BTreeSet<ServiceId> = standing.keys().copied().collect();
        ids.extend(self.state().mirror.services.ids());
        let mut others = Vec::new();
        for id in ids {
            let known = self.state().mirror.services.get(id).cloned();
            let found = standing.get(&id);
            let found = found.map(|found| record::decode::<ServiceRecord>(&found.value));
            let same = match found.transpose() {
                Ok(found) => found.map(|found| found.spec) == known,
                // As with what a watch tells, it stays what it was.
                Err(_) => true,
            };
            if !same {
                self.take_up_service(id)?;
                others.push(id);
            }
        }
        Ok(others)
    }

    /// A service on a network, by the store. What cannot be read is in nobody's way.
    pub(crate) fn service_on(&self, network: NetworkId) -> Result<Option<String>> {
        let found = self.list(keys::SERVICES)?.into_iter();
        let mut claims = found.filter_map(|found| record::service_claims(&found.value).ok());
        let on = claims.find(|claims| claims.network == network);
        Ok(on.map(|claims| claims.name))
    }

    /// See [`crate::Cluster::await_no_balancer`].
    pub(crate) fn await_no_balancer(&self, network: NetworkId) {
        let until = self.time.now() + self.settings.patience;
        // Only a courtesy to who removes the network next.
        let _ = self.wait_for(until, |state| {
            let endpoints = state.mirror.remote_endpoints(network);
            let there = endpoints.iter().filter(|endpoint| !endpoint.away);
            let mut parts = there.map(|endpoint| &endpoint.service);
            (!parts.any(|part| matches!(part, Some(ServicePart::Balancer { .. })))).then_some(())
        });
    }
}

/// A service holds its addresses as an endpoint of its id would.
const fn holder(id: ServiceId) -> EndpointId {
    EndpointId(id.0)
}

fn no_service(id: ServiceId) -> Error {
    let message = format!(
        "service {} not found: vethwork service ls lists them",
        id.short()
    );
    Error::not_found("service-not-found", message)
}

fn unreadable(id: ServiceId, why: &str) -> Error {
    let message = format!(
        "service {} cannot be changed by this host: {why}; update vethwork here, or remove the service with vethwork service rm {id}",
        id.short()
    );
    Error::new(Kind::Unsupported, "cluster-record-unreadable", message)
}

/// What is said of a service's record that cannot be read.
pub(crate) fn passed_over(id: ServiceId, why: &str) -> String {
    format!(
        "the record of service {id} is passed over: {why}; vethwork service rm {id} removes it, if no newer version needs it"
    )
}
