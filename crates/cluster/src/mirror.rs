//! What this host knows of the others, and what a change of it means to a follower.
//!
//! Owns the rules on who counts as alive and what is shown. Pure: it is given records and the
//! time, and returns deltas. Records that cannot be read change nothing.

mod addresses;
mod beside;
mod life;
mod services;
mod unread;

use crate::{
    Delta, Parting, keys,
    keys::Shared,
    record,
    record::{
        EndpointRecord, GrantRecord, HostRecord, NetworkRecord, NetworkState, RequestRecord,
        ServiceRecord,
    },
};
pub(crate) use life::Life;
use services::Services;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet, btree_map::Entry},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use unread::Unread;
use vw_model::{
    EndpointId, HostId, NetworkId, RemoteEndpoint, RemoteHost, ServiceId, ServiceSpec, TunnelKeys,
    Unpublished,
};
use vw_store::cluster::{Change, Record, Version};

/// A record with its state in the store.
#[derive(Debug, Clone)]
pub(crate) struct Known<T> {
    pub(crate) record: T,
    /// [`UNCONFIRMED`] when it comes from the local copy.
    pub(crate) version: Version,
}

/// The version of what the store has not confirmed since the daemon started.
pub(crate) const UNCONFIRMED: Version = Version(u64::MAX, u64::MAX);

#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) record: Option<Known<HostRecord>>,
    pub(crate) life: Life,
    keys: Option<TunnelKeys>,
    unpublished: Option<Unpublished>,
    shown: Option<Shown>,
    endpoints: BTreeSet<(NetworkId, EndpointId)>,
    heard: life::Heard,
    /// Since when it is away.
    away_since: Option<Duration>,
    /// The presence that it left behind last when it stopped in order.
    left: Option<Version>,
}

/// How a host is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    away: bool,
}

#[derive(Debug)]
struct Endpoint {
    /// As it is told, which whoever was told shares: a network may have ten thousand. While it is
    /// not shown, where its host's end of the tunnel is may be out of date.
    told: Arc<RemoteEndpoint>,
    shown: bool,
}

type EndpointKey = (HostId, EndpointId);

/// See the module.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) me: HostId,
    ttl: Duration,
    pub(crate) networks: BTreeMap<NetworkId, Known<NetworkRecord>>,
    pub(crate) hosts: BTreeMap<HostId, Host>,
    pub(crate) services: Services,
    endpoints: BTreeMap<NetworkId, BTreeMap<EndpointKey, Endpoint>>,
    pub(crate) requests: BTreeMap<(NetworkId, IpAddr), Known<RequestRecord>>,
    pub(crate) grants: BTreeMap<(NetworkId, IpAddr), Known<GrantRecord>>,
    /// Networks that somebody wants to remove.
    pub(crate) removing: BTreeSet<NetworkId>,
    /// Hosts that may be in doubt, or away.
    doubted: BTreeSet<HostId>,
    /// Whether kernels are asked at all, and whether they were since that was looked at.
    pub(crate) asks: bool,
    asked: bool,
    pub(crate) unread: Unread,
}

/// What a step of the mirror led to.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// For the follower, in order.
    pub(crate) deltas: Vec<Delta>,
    /// What became of this host's own endpoint records.
    pub(crate) own: Vec<(NetworkId, EndpointId, Option<EndpointRecord>)>,
    /// What became of its keys' record.
    pub(crate) own_keys: Option<Option<TunnelKeys>>,
    /// And of that of what it does not publish.
    pub(crate) own_unpublished: Option<Option<Unpublished>>,
}

impl Mirror {
    pub(crate) fn new(me: HostId, ttl: Duration) -> Self {
        Self {
            me,
            ttl,
            networks: BTreeMap::new(),
            hosts: BTreeMap::new(),
            services: Services::default(),
            endpoints: BTreeMap::new(),
            requests: BTreeMap::new(),
            grants: BTreeMap::new(),
            removing: BTreeSet::new(),
            doubted: BTreeSet::new(),
            asks: false,
            asked: false,
            unread: Unread::default(),
        }
    }

    /// Takes all records that there are, after some may have been missed. Who is not present
    /// now has some time to become so: the store may have lost everybody's presence.
    ///
    /// Networks of `newer` were made here while the records were being read, which may lack them;
    /// and they may be behind what this host did to services: [`Self::begin_reading`].
    pub(crate) fn replace(
        &mut self,
        records: Vec<Record>,
        newer: &BTreeSet<NetworkId>,
        now: Duration,
    ) -> Seen {
        let mut seen = Seen::default();
        let present: HashSet<&str> = records.iter().map(|record| record.key.as_str()).collect();
        let is_read = |key: &str| key.starts_with(keys::SHARED);
        self.unread
            .retain(|key| !is_read(key) || present.contains(key));
        let gone: Vec<Shared> = self
            .known()
            .filter(|known| !present.contains(known.key().as_str()))
            .collect();
        for key in gone {
            match key {
                Shared::Alive(host) => self.doubt(host, now + 2 * self.ttl),
                Shared::Network(id) if newer.contains(&id) => {}
                Shared::Service(id) if self.services.is_touched(id) => {}
                key => self.delete(key, Parting::Lost, &mut seen),
            }
        }
        // Networks and hosts before what lies on them.
        let (first, then): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| !record.key.starts_with(keys::ENDPOINTS));
        for record in first.into_iter().chain(then) {
            match Shared::parse(&record.key) {
                Some(Shared::Service(id)) if self.services.is_touched(id) => {}
                _ => self.put(record, &mut seen),
            }
        }
        seen
    }

    /// Takes what a watch saw.
    pub(crate) fn apply(&mut self, changes: Vec<Change>, now: Duration) -> Seen {
        let mut seen = Seen::default();
        for change in changes {
            match change {
                Change::Put(record) => self.put(record, &mut seen),
                Change::Deleted(key) => {
                    self.unread.forget(&key);
                    match Shared::parse(&key) {
                        Some(Shared::Alive(host)) => self.doubt(host, now + self.ttl / 2),
                        Some(key) => self.delete(key, Parting::Withdrawn, &mut seen),
                        None => {}
                    }
                }
            }
        }
        seen
    }

    /// Takes a network that this host has just made; says whether the store has not told of it yet.
    pub(crate) fn made(&mut self, record: NetworkRecord, version: Version) -> bool {
        let Entry::Vacant(vacant) = self.networks.entry(record.spec.id) else {
            return false;
        };
        vacant.insert(Known { record, version });
        true
    }

    /// Takes what the local copy has, as if the store had told it.
    pub(crate) fn restore(
        &mut self,
        networks: Vec<NetworkRecord>,
        hosts: Vec<(HostRecord, RemoteHost)>,
        services: Vec<ServiceSpec>,
        endpoints: Vec<RemoteEndpoint>,
        now: Duration,
    ) {
        let mut seen = Seen::default();
        let version = UNCONFIRMED;
        for record in networks {
            self.put_network(record.spec.id, Known { record, version }, &mut seen);
        }
        for (record, told) in hosts {
            let (id, away) = (told.id, told.away);
            self.restore_beside(told);
            self.put_host(id, Known { record, version }, &mut seen);
            self.restore_life(id, away, now);
            self.refresh_host(id, false, &mut seen);
        }
        for spec in services {
            self.put_service(ServiceRecord { spec }, &mut seen);
        }
        for endpoint in endpoints {
            self.put_remote(endpoint, &mut seen);
        }
    }

    fn put(&mut self, record: Record, seen: &mut Seen) {
        let Some(key) = Shared::parse(&record.key) else {
            let why = "a record that this version does not know";
            return self.unread.tell(&record.key, why.to_owned());
        };
        let (key_text, version) = (record.key, record.version);
        let result = match key {
            Shared::Alive(id) => {
                self.put_presence(id, &record.value, version, seen);
                Ok(())
            }
            Shared::Tunnel(id) => {
                record::decode(&record.value).map(|keys| self.change_keys(id, Some(keys), seen))
            }
            Shared::Unpublished(id) => record::decode(&record.value)
                .map(|lacks| self.change_unpublished(id, Some(lacks), seen)),
            Shared::Host(id) => record::decode(&record.value)
                .map(|record| self.put_host(id, Known { record, version }, seen)),
            Shared::Network(id) => record::decode(&record.value)
                .map(|record| self.put_network(id, Known { record, version }, seen)),
            Shared::Service(_) => {
                record::decode(&record.value).map(|record| self.put_service(record, seen))
            }
            Shared::Endpoint(network, host, id) => record::decode(&record.value)
                .map(|record| self.put_endpoint(network, host, id, record, seen)),
            Shared::Request(network, addr) => record::decode(&record.value).map(|record| {
                self.requests
                    .insert((network, addr), Known { record, version });
            }),
            Shared::Grant(network, addr) => record::decode(&record.value).map(|record| {
                self.grants
                    .insert((network, addr), Known { record, version });
            }),
        };
        let why = match (result, key) {
            (Ok(()), _) => return self.unread.forget(&key_text),
            (Err(why), Shared::Service(id)) => crate::service::passed_over(id, &why),
            (Err(why), _) => format!("a record is passed over: {why}"),
        };
        self.unread.tell(&key_text, why);
    }

    fn put_host(&mut self, id: HostId, known: Known<HostRecord>, seen: &mut Seen) {
        let host = self.host(id);
        let old = host.record.replace(known);
        let changed = old.is_some_and(|old| {
            let new = host.record.as_ref().map(|new| &new.record);
            new.is_none_or(|new| {
                (&new.name, new.advertise) != (&old.record.name, old.record.advertise)
            })
        });
        self.refresh_host(id, changed, seen);
    }

    fn put_network(&mut self, id: NetworkId, known: Known<NetworkRecord>, seen: &mut Seen) {
        let spec = known.record.spec.clone();
        if matches!(known.record.state, NetworkState::Removing { .. }) {
            self.removing.insert(id);
        } else {
            self.removing.remove(&id);
        }
        let old = self.networks.insert(id, known);
        if old.as_ref().is_none_or(|old| old.record.spec != spec) {
            seen.deltas.push(Delta::Network(Box::new(spec)));
        }
        if old.is_none() {
            let services = self.services.on(id).cloned().map(Box::new);
            seen.deltas.extend(services.map(Delta::Service));
            self.refresh_network(id, seen);
        }
    }

    fn put_endpoint(
        &mut self,
        network: NetworkId,
        host: HostId,
        id: EndpointId,
        record: EndpointRecord,
        seen: &mut Seen,
    ) {
        if host == self.me {
            seen.own.push((network, id, Some(record)));
            return;
        }
        self.put_remote(remote(network, host, id, record), seen);
    }

    fn put_remote(&mut self, mut endpoint: RemoteEndpoint, seen: &mut Seen) {
        let RemoteEndpoint {
            network, host, id, ..
        } = endpoint;
        let of_network = self.endpoints.entry(network).or_default();
        let changed = match of_network.get_mut(&(host, id)) {
            Some(known) => {
                (endpoint.tunnel, endpoint.away) = (known.told.tunnel, known.told.away);
                if *known.told == endpoint {
                    return;
                }
                known.told = Arc::new(endpoint);
                true
            }
            None => {
                let (told, shown) = (Arc::new(endpoint), false);
                of_network.insert((host, id), Endpoint { told, shown });
                false
            }
        };
        self.host(host).endpoints.insert((network, id));
        self.refresh(network, host, id, changed, seen);
    }

    fn delete(&mut self, key: Shared, parting: Parting, seen: &mut Seen) {
        match key {
            // Only time decides: see `doubt`.
            Shared::Alive(_) => {}
            Shared::Tunnel(id) => self.change_keys(id, None, seen),
            Shared::Unpublished(id) => self.change_unpublished(id, None, seen),
            Shared::Host(id) => {
                self.host(id).record = None;
                self.refresh_host(id, false, seen);
                self.drop_if_empty(id);
            }
            Shared::Network(id) => {
                let services: Vec<ServiceId> = self.services.on(id).map(|spec| spec.id).collect();
                for service in services {
                    self.delete_service(service, seen);
                }
                self.networks.remove(&id);
                self.removing.remove(&id);
                self.refresh_network(id, seen);
                seen.deltas.push(Delta::NetworkGone(id));
            }
            Shared::Service(id) => self.delete_service(id, seen),
            Shared::Endpoint(network, host, id) if host == self.me => {
                seen.own.push((network, id, None));
            }
            Shared::Endpoint(network, host, id) => {
                self.delete_endpoint((network, host, id), parting, seen);
            }
            Shared::Request(network, addr) => drop(self.requests.remove(&(network, addr))),
            Shared::Grant(network, addr) => drop(self.grants.remove(&(network, addr))),
        }
    }

    fn delete_endpoint(
        &mut self,
        (network, host, id): (NetworkId, HostId, EndpointId),
        parting: Parting,
        seen: &mut Seen,
    ) {
        // Whoever gives a host up takes its endpoints out for it.
        let lives = self.hosts.get(&host).is_some_and(Host::is_present);
        let parting = if lives { parting } else { Parting::Lost };
        let Some(of_network) = self.endpoints.get_mut(&network) else {
            return;
        };
        if of_network
            .remove(&(host, id))
            .is_some_and(|gone| gone.shown)
        {
            seen.deltas.push(Delta::EndpointGone(network, id, parting));
        }
        if of_network.is_empty() {
            self.endpoints.remove(&network);
        }
        self.host(host).endpoints.remove(&(network, id));
        self.drop_if_empty(host);
    }

    fn host(&mut self, id: HostId) -> &mut Host {
        self.hosts.entry(id).or_default()
    }

    fn drop_if_empty(&mut self, id: HostId) {
        let host = self.host(id);
        let silent = host.record.is_none() && host.is_bare() && host.endpoints.is_empty();
        if silent && host.life == Life::Dead {
            self.hosts.remove(&id);
        }
    }

    /// Another host that lives or is away, as it is shown.
    pub(crate) fn shown_host(&self, id: HostId) -> Option<RemoteHost> {
        let host = self.hosts.get(&id)?;
        let record = &host.record.as_ref()?.record;
        (id != self.me && host.life != Life::Dead).then(|| RemoteHost {
            away: host.life == Life::Away,
            id,
            name: record.name.clone(),
            tunnel: record.advertise,
            keys: host.keys.clone(),
            unpublished: host.unpublished.clone().unwrap_or_default(),
        })
    }

    /// Tells of a host what is new of it; `changed` when what was shown of it is no longer so.
    fn refresh_host(&mut self, id: HostId, changed: bool, seen: &mut Seen) {
        let want = self.shown_host(id);
        let shown = want.as_ref().map(|host| Shown { away: host.away });
        let host = self.host(id);
        let was = std::mem::replace(&mut host.shown, shown);
        if was == shown && !(changed && was.is_some()) {
            return;
        }
        let changed = changed || was.is_some();
        let endpoints: Vec<_> = host.endpoints.iter().copied().collect();
        let gone = want.is_none();
        seen.deltas.extend(want.map(Delta::Host));
        for (network, endpoint) in endpoints {
            self.refresh(network, id, endpoint, changed, seen);
        }
        if gone {
            seen.deltas.push(Delta::HostGone(id));
        }
    }

    fn refresh_network(&mut self, network: NetworkId, seen: &mut Seen) {
        let of_network = self.endpoints.get(&network);
        let keys: Vec<EndpointKey> = of_network
            .into_iter()
            .flat_map(BTreeMap::keys)
            .copied()
            .collect();
        for (host, id) in keys {
            self.refresh(network, host, id, false, seen);
        }
    }

    fn refresh(
        &mut self,
        network: NetworkId,
        host: HostId,
        id: EndpointId,
        changed: bool,
        seen: &mut Seen,
    ) {
        let on = self.networks.contains_key(&network);
        let shown = self.shown_host(host).filter(|_| on);
        let known = self.endpoints.get_mut(&network);
        let Some(known) = known.and_then(|known| known.get_mut(&(host, id))) else {
            return;
        };
        let was = std::mem::replace(&mut known.shown, shown.is_some());
        match shown {
            Some(host) if !was || changed => {
                let at = (host.tunnel, host.away);
                if (known.told.tunnel, known.told.away) != at {
                    let told = Arc::make_mut(&mut known.told);
                    (told.tunnel, told.away) = at;
                }
                seen.deltas.push(Delta::Endpoint(known.told.clone()));
            }
            None if was => seen
                .deltas
                .push(Delta::EndpointGone(network, id, Parting::Lost)),
            _ => {}
        }
    }

    /// Everything that is known, by its key.
    fn known(&self) -> impl Iterator<Item = Shared> {
        let hosts = self.hosts.iter();
        let records = hosts.clone().filter(|(_, host)| host.record.is_some());
        let alive = hosts.clone().filter(|(_, host)| host.is_present());
        let beside = hosts.flat_map(|(id, host)| host.beside(*id));
        let endpoints = self.endpoints.iter().flat_map(|(network, of_network)| {
            let keys = of_network.keys();
            keys.map(|(host, id)| Shared::Endpoint(*network, *host, *id))
        });
        let requests = self.requests.keys();
        let grants = self.grants.keys();
        endpoints
            .chain(requests.map(|(network, addr)| Shared::Request(*network, *addr)))
            .chain(grants.map(|(network, addr)| Shared::Grant(*network, *addr)))
            .chain(self.services.ids().map(Shared::Service))
            .chain(self.networks.keys().map(|id| Shared::Network(*id)))
            .chain(alive.map(|(id, _)| Shared::Alive(*id)))
            .chain(beside)
            .chain(records.map(|(id, _)| Shared::Host(*id)))
    }

    /// The endpoints of a network on other hosts that live or are away.
    pub(crate) fn remote_endpoints(&self, network: NetworkId) -> Vec<Arc<RemoteEndpoint>> {
        let known = self.endpoints.get(&network).into_iter().flatten();
        let shown = known.filter(|(_, endpoint)| endpoint.shown);
        shown.map(|(_, endpoint)| endpoint.told.clone()).collect()
    }

    /// The addresses of all of them that are known, whether their hosts live or not.
    pub(crate) fn remote_addresses(&self, network: NetworkId) -> BTreeSet<IpAddr> {
        let known = self.endpoints.get(&network).into_iter().flatten();
        let addresses = known.flat_map(|(_, endpoint)| &endpoint.told.addresses);
        addresses.map(vw_model::IpNet::addr).collect()
    }

    /// Other hosts that live or are away.
    pub(crate) fn remote_hosts(&self) -> Vec<RemoteHost> {
        let ids = self.hosts.keys();
        ids.filter_map(|id| self.shown_host(*id)).collect()
    }

    /// How many endpoints each other host has, whether it lives or not.
    pub(crate) fn endpoint_count(&self, host: HostId) -> usize {
        self.hosts.get(&host).map_or(0, |host| host.endpoints.len())
    }

    /// What is told to a follower that knows nothing yet.
    pub(crate) fn everything(&self) -> Vec<Delta> {
        let specs = self
            .networks
            .values()
            .map(|known| known.record.spec.clone());
        let mut deltas: Vec<Delta> = specs.map(|spec| Delta::Network(Box::new(spec))).collect();
        deltas.extend(self.remote_hosts().into_iter().map(Delta::Host));
        let services = self.services.all();
        let known = services.filter(|spec| self.networks.contains_key(&spec.network));
        deltas.extend(known.cloned().map(Box::new).map(Delta::Service));
        for network in self.networks.keys() {
            let endpoints = self.remote_endpoints(*network).into_iter();
            deltas.extend(endpoints.map(Delta::Endpoint));
        }
        deltas
    }
}

/// An endpoint as it is told, but for its host's end of the tunnel.
fn remote(
    network: NetworkId,
    host: HostId,
    id: EndpointId,
    record: EndpointRecord,
) -> RemoteEndpoint {
    let EndpointRecord {
        mac,
        mut addresses,
        mut names,
        sandbox,
        mut ports,
        service,
    } = record;
    // Reading leaves room for four.
    addresses.shrink_to_fit();
    names.shrink_to_fit();
    ports.shrink_to_fit();
    RemoteEndpoint {
        id,
        network,
        host,
        tunnel: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        mac,
        addresses,
        names,
        sandbox,
        ports,
        service,
        away: false,
    }
}

#[cfg(test)]
mod tests;
