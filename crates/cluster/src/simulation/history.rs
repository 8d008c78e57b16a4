//! What must never be, held against everything that happens.
//!
//! It sees every change of the store in the order in which they took effect, and every lease that
//! a host's controller was given.

use crate::{
    keys::{self, Shared},
    record::{self, BlockRecord, Claims, GrantRecord, NetworkRecord, NetworkState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};
use vw_ipam::Division;
use vw_model::{EndpointId, HostId, IpNet, NetworkId};
use vw_store::cluster::{Change, ClusterStore, Watch, memory::MemoryStore};

/// The name of the client that looks on, which no weather touches.
pub(super) const OBSERVER: &str = "observer";

pub(super) struct History {
    watch: Box<dyn Watch>,
    /// The store as it is.
    pub(super) records: BTreeMap<String, Vec<u8>>,
    /// Counts the changes.
    count: u64,
    /// When a removal of a network was marked last.
    marks: BTreeMap<NetworkId, u64>,
    /// When a host last came back to life, by its presence.
    alive_since: BTreeMap<HostId, u64>,
    /// Who uses which address, by the controllers.
    pub(super) leases: BTreeMap<(NetworkId, IpAddr), BTreeMap<HostId, EndpointId>>,
    pub(super) networks: BTreeMap<NetworkId, NetworkRecord>,
    removed: BTreeSet<NetworkId>,
    /// What happened how often, to show that a run was worth it.
    pub(super) tally: BTreeMap<&'static str, u64>,
}

impl History {
    pub(super) fn new(store: &MemoryStore) -> Self {
        let (_, watch) = store
            .client(OBSERVER)
            .follow("v1")
            .expect("it is reachable");
        Self {
            watch,
            records: BTreeMap::new(),
            count: 0,
            marks: BTreeMap::new(),
            alive_since: BTreeMap::new(),
            leases: BTreeMap::new(),
            networks: BTreeMap::new(),
            removed: BTreeSet::new(),
            tally: BTreeMap::new(),
        }
    }

    pub(super) fn note(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Takes what changed in the store since the last call.
    pub(super) fn observe(&mut self) {
        let changes = self.watch.next(Duration::ZERO).expect("nothing is missed");
        for change in changes {
            self.count += 1;
            match change {
                Change::Put(record) => self.put(record.key, record.value),
                Change::Deleted(key) => self.deleted(&key),
            }
        }
    }

    fn put(&mut self, key: String, value: Vec<u8>) {
        match Shared::parse(&key) {
            Some(Shared::Network(id)) => self.put_network(id, &value),
            Some(Shared::Alive(host)) if !self.records.contains_key(&key) => {
                self.alive_since.insert(host, self.count);
            }
            Some(Shared::Grant(network, addr)) => self.put_grant(network, addr, &value),
            _ => {}
        }
        let joined = match Shared::parse(&key) {
            Some(Shared::Host(host)) if !self.records.contains_key(&key) => Some(host),
            _ => None,
        };
        if let Some((network, range)) = keys::parse_block(&key) {
            let owner = |bytes: &[u8]| record::decode::<BlockRecord>(bytes).expect("a block").host;
            let (before, after) = (
                self.records.get(&key).map(|bytes| owner(bytes)),
                owner(&value),
            );
            self.note("blocks claimed");
            assert!(
                self.member(after),
                "{after:?} claims {range} though it was forgotten"
            );
            assert!(
                self.networks.contains_key(&network),
                "{range} of no network"
            );
            if let Some(before) = before.filter(|before| *before != after) {
                assert!(
                    !self.member(before),
                    "{after:?} takes {range} from {before:?}"
                );
                self.note("blocks taken over");
            }
        }
        self.records.insert(key.clone(), value);
        self.check_users(&key);
        joined.into_iter().for_each(|host| self.check_joined(host));
    }

    /// A host that joins has every address by right, and alone.
    fn check_joined(&self, host: HostId) {
        for ((network, addr), holders) in &self.leases {
            if holders.contains_key(&host) {
                self.check_alone(*network, *addr, host);
                self.check_right(*network, *addr, host);
            }
        }
    }

    /// Whoever uses an address still does so by right after a block or a grant changed.
    fn check_users(&self, key: &str) {
        let changed = match (Shared::parse(key), keys::parse_block(key)) {
            (Some(Shared::Grant(network, addr)), _) => Some((network, addr.into())),
            (_, block) => block,
        };
        let Some((network, range)) = changed else {
            return;
        };
        let from = self.leases.range((network, range.network())..);
        let of = from.take_while(|((of, addr), _)| *of == network && range.contains(addr));
        for ((_, addr), holders) in of {
            for host in holders.keys().filter(|host| self.member(**host)) {
                self.check_right(network, *addr, *host);
            }
        }
    }

    fn put_network(&mut self, id: NetworkId, value: &[u8]) {
        let new: NetworkRecord = record::decode(value).expect("a network");
        assert!(!self.removed.contains(&id), "{id:?} comes back");
        for (_, other) in self.networks.iter().filter(|(other, _)| **other != id) {
            apart(&other.claims, &new.claims).unwrap_or_else(|why| panic!("{why}"));
        }
        if let NetworkState::Removing { .. } = new.state {
            self.marks.insert(id, self.count);
        } else if self.networks.contains_key(&id) {
            self.note("removals objected to");
        }
        self.networks.insert(id, new);
    }

    fn put_grant(&mut self, network: NetworkId, addr: IpAddr, value: &[u8]) {
        let grant: GrantRecord = record::decode(value).expect("a grant");
        self.note("addresses granted");
        let holders = self.leases.get(&(network, addr)).into_iter().flatten();
        for (host, _) in holders {
            let other = *host != grant.host;
            assert!(
                !(other && self.member(*host)),
                "{addr} is granted while {host:?} uses it"
            );
        }
    }

    fn deleted(&mut self, key: &str) {
        self.records.remove(key);
        self.check_users(key);
        match Shared::parse(key) {
            Some(Shared::Alive(host)) => drop(self.alive_since.remove(&host)),
            Some(Shared::Network(id)) => {
                self.networks.remove(&id);
                self.removed.insert(id);
                self.note("networks removed");
                let used: Vec<HostId> = self
                    .leases
                    .iter()
                    .filter(|((network, _), _)| *network == id)
                    .flat_map(|(_, holders)| holders.keys().copied())
                    .collect();
                for host in used {
                    self.check_removal(id, host);
                }
            }
            _ => {}
        }
    }

    /// A host that lived all the time since a removal was marked must not lose an endpoint by it.
    fn check_removal(&self, network: NetworkId, host: HostId) {
        let alive = self.alive_since.get(&host);
        let mark = self.marks.get(&network).copied().unwrap_or_default();
        let asked = alive.is_some_and(|since| *since < mark) && self.member(host);
        assert!(!asked, "{network:?} was removed while {host:?} used it");
    }

    /// Whether a host belongs to the cluster, by the store.
    pub(super) fn member(&self, host: HostId) -> bool {
        self.records.contains_key(&Shared::Host(host).key())
    }

    /// Takes a lease that a controller was given.
    pub(super) fn leased(
        &mut self,
        network: NetworkId,
        addr: IpAddr,
        host: HostId,
        id: EndpointId,
    ) {
        self.note("addresses leased");
        if self.member(host) {
            self.check_alone(network, addr, host);
            if self.removed.contains(&network) {
                self.check_removal(network, host);
            } else {
                self.check_right(network, addr, host);
            }
        }
        let holders = self.leases.entry((network, addr)).or_default();
        assert!(
            holders.insert(host, id).is_none(),
            "{addr} twice on {host:?}"
        );
    }

    /// No other host of the cluster may have the address.
    fn check_alone(&self, network: NetworkId, addr: IpAddr, host: HostId) {
        let holders = self.leases.get(&(network, addr)).into_iter().flatten();
        for (other, _) in holders.filter(|(other, _)| **other != host) {
            assert!(
                !self.member(*other),
                "{addr} of {network:?} is held by {other:?} and {host:?}"
            );
        }
    }

    /// An address must lie in a block of the host, or have been granted to it.
    fn check_right(&self, network: NetworkId, addr: IpAddr, host: HostId) {
        // With a network goes what is on it.
        let Some(known) = self.networks.get(&network) else {
            return;
        };
        right(&self.records, (network, known), addr, host).unwrap_or_else(|why| panic!("{why}"));
    }

    pub(super) fn released(&mut self, network: NetworkId, addr: IpAddr, host: HostId) {
        if let Some(holders) = self.leases.get_mut(&(network, addr)) {
            holders.remove(&host);
            if holders.is_empty() {
                self.leases.remove(&(network, addr));
            }
        }
    }
}

/// That two networks share nothing that one must have alone.
pub(crate) fn apart(one: &Claims, other: &Claims) -> Result<(), String> {
    if one.name == other.name {
        return Err(format!("the name {} twice", one.name));
    }
    if let Some(vni) = one.vnis.intersection(&other.vnis).next() {
        return Err(format!("the VNI {vni} twice"));
    }
    for subnet in &one.subnets {
        let overlaps = |held: &IpNet| held.contains(subnet) || subnet.contains(held);
        if other.subnets.iter().any(overlaps) {
            return Err(format!("{subnet} twice"));
        }
    }
    Ok(())
}

/// That an address in use lies in a block of its host, or was granted to it.
pub(crate) fn right(
    records: &BTreeMap<String, Vec<u8>>,
    (network, known): (NetworkId, &NetworkRecord),
    addr: IpAddr,
    host: HostId,
) -> Result<(), String> {
    if let Some(bytes) = records.get(&Shared::Grant(network, addr).key()) {
        let grant: GrantRecord = record::decode(bytes)?;
        // To one of its endpoints, another of which may have taken it up since.
        if grant.host != host {
            return Err(format!("{addr} was given away, and {host:?} uses it"));
        }
        return Ok(());
    }
    let mut pools = known.spec.ipam.pools.iter();
    let pool = pools.find(|pool| pool.subnet.contains(&addr));
    let pool = pool.ok_or_else(|| format!("{addr} is in no subnet"))?;
    let range = Division::of(pool.subnet)
        .block(addr)
        .ok_or_else(|| format!("{addr} is in no block"))?;
    let block = records.get(&keys::block(network, range));
    let owner = block.map(|bytes| record::decode::<BlockRecord>(bytes).map(|block| block.host));
    if owner.transpose()? != Some(host) {
        return Err(format!("{addr} lies in {range}, which is not {host:?}'s"));
    }
    Ok(())
}
