//! How services are made, changed and removed: no two with one name or one published port.
//!
//! Making or changing one replaces the record that orders them, on the condition that it stands as
//! it was before all services were read, and that the network is there to stay. Its addresses are
//! leased by the host that makes it, and granted to the service itself in the same transaction: who
//! takes over that host's blocks leaves them alone, as it does what was given to others.

use crate::{
    core::{Core, Done, contended, uncertain},
    doubts::Doubt,
    holdings::Given,
    keys::{self, Shared},
    outbox::unchanged,
    record::{self, GrantRecord, RosterRecord, ServiceRecord},
};
use std::collections::BTreeMap;
use vw_model::{
    EndpointId, Error, Family, HostId, IpNet, Kind, NetworkId, Result, ServiceId, ServicePart,
    ServiceSpec,
};
use vw_store::cluster::{Condition, Version, Write};

const ATTEMPTS: usize = 16;

/// The services that there are, and what orders their making.
struct Standing {
    order: Condition,
    next: Write,
    services: BTreeMap<ServiceId, (ServiceSpec, Version)>,
}

impl Core {
    /// See [`crate::Cluster::create_service`].
    pub(crate) fn create_service(
        &self,
        mut spec: ServiceSpec,
        families: &[Family],
    ) -> Result<ServiceSpec> {
        // What is refused anyway leases nothing.
        self.check_service(&spec, &self.standing_services()?.services)?;
        for family in families {
            match self.lease(spec.network, *family, None, holder(spec.id)) {
                Ok(leased) => spec.vips.push(leased),
                Err(error) => {
                    self.free_vips(&spec);
                    return Err(error);
                }
            }
        }
        let made = self.make_service(&spec);
        match made {
            Ok(()) => Ok(spec),
            Err(error) => {
                self.free_vips(&spec);
                Err(error)
            }
        }
    }

    fn make_service(&self, spec: &ServiceSpec) -> Result<()> {
        // Until the grants stand nobody else frees what is given away.
        let _turn = self.turn()?;
        for _ in 0..ATTEMPTS {
            let standing = self.standing_services()?;
            if standing.services.contains_key(&spec.id) {
                // The answer was lost.
                return Ok(());
            }
            self.check_service(spec, &standing.services)?;
            let (_, version) = self.usable_network(spec.network)?;
            let key = Shared::Service(spec.id).key();
            let mut conditions = vec![
                standing.order.clone(),
                unchanged(spec.network, version),
                Condition::Absent(key.clone()),
            ];
            let record = record::encode(&ServiceRecord { spec: spec.clone() });
            let mut writes = vec![standing.next.clone(), Write::Put(key, record)];
            for vip in &spec.vips {
                let (given, write) = self.give_to_service(spec, *vip)?;
                conditions.extend(given);
                writes.push(write);
            }
            match self.commit(conditions, writes)? {
                Done::Applied => return Ok(()),
                Done::Refused => {}
                Done::Uncertain => {
                    self.state().doubts.push(Doubt {
                        holder: holder(spec.id),
                        condition: standing.order,
                        write: standing.next,
                    });
                    let ruled_out = self.cannot_be_granted(holder(spec.id));
                    if !ruled_out.is_ok_and(|ruled_out| ruled_out) {
                        return Err(uncertain("made the service"));
                    }
                }
            }
        }
        Err(contended())
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
            held.and_then(|held| held.give(addr, given))
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
        for _ in 0..ATTEMPTS {
            let standing = self.standing_services()?;
            let found = standing.services.get(&id).cloned();
            let (spec, version) = found.ok_or_else(|| no_service(id))?;
            let spec = change(spec)?;
            self.check_service(&spec, &standing.services)?;
            let key = Shared::Service(id).key();
            let record = record::encode(&ServiceRecord { spec: spec.clone() });
            let conditions = vec![standing.order, Condition::Unchanged(key.clone(), version)];
            let writes = vec![standing.next, Write::Put(key, record)];
            match self.commit(conditions, writes)? {
                Done::Applied => return Ok(spec),
                Done::Refused => {}
                Done::Uncertain => return Err(uncertain("changed the service")),
            }
        }
        Err(contended())
    }

    /// See [`crate::Cluster::remove_service`].
    pub(crate) fn remove_service(&self, id: ServiceId) -> Result<()> {
        let key = Shared::Service(id).key();
        for _ in 0..ATTEMPTS {
            let found = self.get(&key)?.ok_or_else(|| no_service(id))?;
            let known: ServiceRecord = record::decode(&found.value).map_err(unreadable)?;
            let spec = known.spec;
            let vips = spec.vips.iter();
            let grants = vips.map(|vip| Shared::Grant(spec.network, vip.addr()).key());
            let mut writes = vec![Write::Delete(key.clone())];
            writes.extend(grants.map(Write::Delete));
            let condition = Condition::Unchanged(key.clone(), found.version);
            match self.commit(vec![condition], writes)? {
                Done::Applied => return Ok(()),
                Done::Uncertain if self.get(&key)?.is_none() => return Ok(()),
                Done::Uncertain => return Err(uncertain("removed the service")),
                Done::Refused => {}
            }
        }
        Err(contended())
    }

    /// A service on a network, by the store.
    pub(crate) fn service_on(&self, network: NetworkId) -> Result<Option<String>> {
        for found in self.list(keys::SERVICES)? {
            let claims = record::service_claims(&found.value).map_err(unreadable)?;
            if claims.network == network {
                return Ok(Some(claims.name));
            }
        }
        Ok(None)
    }

    /// See [`crate::Cluster::await_no_balancer`].
    pub(crate) fn await_no_balancer(&self, network: NetworkId) {
        let until = self.time.now() + self.settings.patience;
        // Only a courtesy to who removes the network next.
        let _ = self.wait_for(until, |state| {
            let endpoints = state.mirror.remote_endpoints(network);
            let mut parts = endpoints.iter().map(|endpoint| &endpoint.service);
            (!parts.any(|part| matches!(part, Some(ServicePart::Balancer { .. })))).then_some(())
        });
    }

    /// What orders the making of services, as it stands and as it is next.
    fn read_order(&self) -> Result<(Condition, Write)> {
        let found = self.get(keys::ROSTER)?;
        let order = match &found {
            Some(found) => Condition::Unchanged(found.key.clone(), found.version),
            None => Condition::Absent(keys::ROSTER.to_owned()),
        };
        let former = found.and_then(|found| record::decode::<RosterRecord>(&found.value).ok());
        let changes = former.unwrap_or_default().changes.wrapping_add(1);
        let next = record::encode(&RosterRecord { changes });
        Ok((order, Write::Put(keys::ROSTER.to_owned(), next)))
    }

    fn standing_services(&self) -> Result<Standing> {
        let (order, next) = self.read_order()?;
        let mut services = BTreeMap::new();
        for found in self.list(keys::SERVICES)? {
            let known: ServiceRecord = record::decode(&found.value).map_err(unreadable)?;
            services.insert(known.spec.id, (known.spec, found.version));
        }
        Ok(Standing {
            order,
            next,
            services,
        })
    }

    /// Whether a service can be beside the others.
    fn check_service(
        &self,
        spec: &ServiceSpec,
        standing: &BTreeMap<ServiceId, (ServiceSpec, Version)>,
    ) -> Result<()> {
        let others = standing.values().map(|(other, _)| other);
        for other in others.filter(|other| other.id != spec.id) {
            if other.name == spec.name {
                let message = format!(
                    "service {} already exists: remove it first, or use another name",
                    spec.name
                );
                return Err(Error::conflict("service-exists", message));
            }
            for port in &spec.ports {
                if other.ports.iter().any(|held| held.clashes(port)) {
                    let message = format!(
                        "port {}/{} is already published by service {}: choose another",
                        port.published, port.target.protocol, other.name
                    );
                    return Err(Error::conflict("port-allocated", message));
                }
            }
        }
        Ok(())
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

fn unreadable(why: String) -> Error {
    let message = format!("services cannot be changed by this host: {why}");
    Error::new(Kind::Unsupported, "cluster-record-unreadable", message)
}
