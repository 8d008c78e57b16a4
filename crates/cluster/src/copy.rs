//! This host's own copy of what its cluster agreed on, on its disk.
//!
//! Owns what must outlive the daemon: who this host is to the cluster, which blocks and grants are
//! its own, and what it last knew of the others, so that after a start without the store
//! everything stays as it is. What is the host's own is written before it counts. What is only
//! known of others is written at once where that is cheap and a reboot makes it void, so that a
//! daemon that starts finds in the kernel what it was told of, and behind where it outlives that.

use crate::{
    Delta, Settings,
    holdings::{Given, Grant, GrantState},
    keys,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};
use vw_model::{
    EndpointId, Error, HostId, Id, IpNet, NetworkId, NetworkSpec, RemoteEndpoint, RemoteHost,
    Result, ServiceId, ServiceSpec,
};
use vw_store::{Batch, Memory, Store, Table};

const IDENTITY: &str = "identity";
/// How many earlier instances are known: of as many starts a backup may be old.
const FORMER: usize = 32;
/// Says that the fast store holds all that is known of others.
const COMPLETE: &str = "complete";

/// Where a host keeps its copy.
#[derive(Clone)]
pub struct Local {
    /// On disk: it outlives a reboot.
    pub durable: Arc<dyn Store>,
    /// It outlives the daemon, and a commit costs next to nothing.
    pub fast: Arc<dyn Store>,
}

/// A copy that is written behind alone.
impl<S: Store + 'static> From<Arc<S>> for Local {
    fn from(durable: Arc<S>) -> Self {
        Self {
            durable,
            fast: Arc::new(Memory::default()),
        }
    }
}

pub(crate) struct Copy {
    local: Arc<dyn Store>,
    fast: Arc<dyn Store>,
    /// Names this run of the daemon.
    pub(crate) run: String,
    /// What is to be written behind.
    behind: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
    /// What the fast store refused.
    owed: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
}

/// What this host wrote into its own record in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The instance with which it belongs to the cluster; `None` while it does not.
    pub(crate) confirmed: Option<String>,
    /// Those that it tried since, any of which may have come through.
    pub(crate) tried: Vec<String>,
    /// Those with which it belonged to the cluster before, the last ones.
    #[serde(default)]
    pub(crate) former: Vec<String>,
    /// The name of that cluster, once it was seen.
    #[serde(default)]
    pub(crate) cluster: Option<String>,
}

impl Identity {
    /// Whether the host belongs to the cluster by this instance, or may.
    pub(crate) fn knows(&self, instance: &str) -> bool {
        let mut tried = self.tried.iter();
        self.confirmed.as_deref() == Some(instance) || tried.any(|tried| tried == instance)
    }

    /// Takes up the instance with which the host belongs to the cluster from now on.
    pub(crate) fn confirm(&mut self, instance: Option<String>) {
        self.tried.clear();
        let former = std::mem::replace(&mut self.confirmed, instance);
        self.former.extend(former);
        let surplus = self.former.len().saturating_sub(FORMER);
        self.former.drain(..surplus);
    }
}

/// A block of this host.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct BlockCopy {
    returning: bool,
}

/// An address out of another host's block.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct GrantCopy {
    addr: IpNet,
    holder: EndpointId,
    #[serde(default)]
    granter: Option<HostId>,
    /// Who of this host took it up since from the holder that the store knows. A version that does
    /// not know this field refuses it the address, rather than give that back under it.
    #[serde(default)]
    taken_up: Option<EndpointId>,
    /// Whether the store may have been asked to delete it.
    #[serde(default)]
    ending: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct GivenCopy {
    host: HostId,
    holder: EndpointId,
}

/// All that was kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) networks: Vec<NetworkSpec>,
    pub(crate) services: Vec<ServiceSpec>,
    pub(crate) hosts: Vec<RemoteHost>,
    pub(crate) endpoints: Vec<RemoteEndpoint>,
    /// With whether they are being returned.
    pub(crate) blocks: Vec<(NetworkId, IpNet, bool)>,
    pub(crate) grants: Vec<(NetworkId, Grant)>,
    pub(crate) given: Vec<(NetworkId, IpAddr, Given)>,
}

impl Copy {
    pub(crate) fn new(local: Local, settings: &Settings) -> Self {
        Self {
            local: local.durable,
            fast: local.fast,
            run: Id::from_bytes((settings.random)()).short(),
            behind: Mutex::default(),
            owed: Mutex::default(),
        }
    }

    pub(crate) fn identity(&self) -> Result<Identity> {
        let found = self
            .local
            .get(Table::Cluster, IDENTITY)
            .map_err(unreadable)?;
        found.map_or_else(|| Ok(Identity::default()), |bytes| parse(IDENTITY, &bytes))
    }

    pub(crate) fn set_identity(&self, identity: &Identity) -> Result<()> {
        self.commit(Batch::new().put(Table::Cluster, IDENTITY, json(identity)))
    }

    /// Records blocks as this host's, with the network that they are of and the addresses given
    /// out of them.
    pub(crate) fn add_blocks(
        &self,
        spec: &NetworkSpec,
        ranges: &[IpNet],
        given: &[(IpAddr, Given)],
    ) -> Result<()> {
        let mut batch = Batch::new().put(Table::Cluster, network(spec.id), json(spec));
        for range in ranges {
            let value = json(&BlockCopy { returning: false });
            batch = batch.put(Table::Cluster, block(spec.id, *range), value);
        }
        for (addr, given) in given {
            batch = put_given(batch, spec.id, *addr, *given);
        }
        self.commit(batch)
    }

    /// Records that blocks are being returned, and must not be used any more.
    pub(crate) fn return_blocks(&self, network: NetworkId, ranges: &[IpNet]) -> Result<()> {
        let value = json(&BlockCopy { returning: true });
        self.commit(ranges.iter().fold(Batch::new(), |batch, range| {
            batch.put(Table::Cluster, block(network, *range), value.clone())
        }))
    }

    /// Drops blocks that are this host's no more, and what it gave away out of them.
    pub(crate) fn drop_blocks(
        &self,
        network: NetworkId,
        ranges: &[IpNet],
        given: &[IpAddr],
    ) -> Result<()> {
        let blocks = ranges.iter().map(|range| block(network, *range));
        let given = given.iter();
        let given = given.map(|addr| address_key("given", network, *addr));
        self.commit(
            blocks
                .chain(given)
                .fold(Batch::new(), |batch, key| batch.delete(Table::Cluster, key)),
        )
    }

    /// Records an address out of another host's block, where it is not recorded so.
    pub(crate) fn add_grant(&self, network: NetworkId, grant: Grant) -> Result<()> {
        let Grant {
            holder,
            grantee,
            addr,
            granter,
            state,
        } = grant;
        let copy = GrantCopy {
            addr,
            holder: grantee,
            granter,
            taken_up: Some(holder).filter(|holder| *holder != grantee),
            ending: state == GrantState::Ending,
        };
        let key = address_key("grant", network, addr.addr());
        let value = json(&copy);
        let known = self.local.get(Table::Cluster, &key).map_err(unreadable)?;
        // What is tried again and again is flushed once.
        if known.as_ref() == Some(&value) {
            return Ok(());
        }
        self.commit(Batch::new().put(Table::Cluster, key, value))
    }

    pub(crate) fn drop_grant(&self, network: NetworkId, addr: IpAddr) -> Result<()> {
        self.commit(Batch::new().delete(Table::Cluster, address_key("grant", network, addr)))
    }

    pub(crate) fn add_given(&self, network: NetworkId, addr: IpAddr, given: Given) -> Result<()> {
        self.commit(put_given(Batch::new(), network, addr, given))
    }

    pub(crate) fn drop_given(&self, network: NetworkId, addr: IpAddr) -> Result<()> {
        self.commit(Batch::new().delete(Table::Cluster, address_key("given", network, addr)))
    }

    /// Forgets everything that is this host's own, but who it was: a backup may be of that time.
    pub(crate) fn wipe(&self) -> Result<()> {
        let mut identity = self.identity()?;
        identity.confirm(None);
        identity.cluster = None;
        let batch = Batch::new().put(Table::Cluster, IDENTITY, json(&identity));
        let own = ["block/", "grant/", "given/"].map(str::to_owned);
        self.commit(self.delete_below(batch, &own)?)
    }

    /// Adds to a batch that all records go whose keys begin with one of these.
    fn delete_below(&self, mut batch: Batch, prefixes: &[String]) -> Result<Batch> {
        for prefix in prefixes {
            let records = self.local.scan_prefix(Table::Cluster, prefix);
            for (key, _) in records.map_err(unreadable)? {
                batch = batch.delete(Table::Cluster, key);
            }
        }
        Ok(batch)
    }

    /// Notes what a follower is about to be told, to be written by [`Self::flush`]; says whether
    /// that should be soon.
    ///
    /// # Errors
    /// When the fast store refuses: it is tried again with the next call, and by [`Self::flush`].
    pub(crate) fn note(&self, deltas: &[Delta]) -> Result<bool> {
        let mut now = BTreeMap::new();
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let mut soon = false;
        for delta in deltas {
            let (key, value) = match delta {
                Delta::Network(spec) => (network(spec.id), Some(json(spec))),
                Delta::NetworkGone(id) => (network(*id), None),
                Delta::Service(spec) => (service(spec.id), Some(json(spec))),
                Delta::ServiceGone(id) => (service(*id), None),
                Delta::Endpoint(endpoint) => (
                    endpoint_key(endpoint.network, endpoint.id),
                    Some(json(&**endpoint)),
                ),
                Delta::EndpointGone(network, id, _) => (endpoint_key(*network, *id), None),
                Delta::Host(host) => (host_key(host.id), Some(json(host))),
                Delta::HostGone(id) => (host_key(*id), None),
                Delta::Store(_) | Delta::Forgotten | Delta::Joined => continue,
            };
            let ours = matches!(
                delta,
                Delta::Network(_)
                    | Delta::NetworkGone(_)
                    | Delta::Service(_)
                    | Delta::ServiceGone(_)
            );
            soon |= ours;
            if !ours {
                now.insert(key.clone(), value.clone());
            }
            behind.insert(key, value);
        }
        drop(behind);
        self.write_fast(now)?;
        Ok(soon)
    }

    /// Writes to the fast store, what it refused before too.
    fn write_fast(&self, now: BTreeMap<String, Option<Vec<u8>>>) -> Result<()> {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.extend(now);
        if owed.is_empty() {
            return Ok(());
        }
        let batch = owed.iter().fold(Batch::new(), |batch, (key, value)| {
            put_or_delete(batch, key, value.as_ref())
        });
        self.fast.commit(batch).map_err(unwritable)?;
        owed.clear();
        Ok(())
    }

    /// Writes what was noted.
    pub(crate) fn flush(&self) -> Result<()> {
        self.write_fast(BTreeMap::new())?;
        let behind = {
            let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *behind)
        };
        if behind.is_empty() {
            return Ok(());
        }
        let batch = behind.iter().fold(Batch::new(), |batch, (key, value)| {
            put_or_delete(batch, key, value.as_ref())
        });
        let result = self.commit(batch);
        if result.is_err() {
            let mut newer = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, value) in behind {
                newer.entry(key).or_insert(value);
            }
        }
        result
    }

    /// Drops what is kept of a network that is gone.
    pub(crate) fn drop_network(&self, id: NetworkId) -> Result<()> {
        let kinds = ["block", "grant", "given", "endpoint"];
        let of = kinds.map(|kind| format!("{kind}/{id}/"));
        self.commit(self.delete_below(Batch::new(), &of)?)
    }

    /// Reads everything.
    pub(crate) fn load(&self) -> Result<Kept> {
        let mut kept = Kept::default();
        for (key, value) in self.local.scan(Table::Cluster).map_err(unreadable)? {
            if key != IDENTITY && !kept.take(&key, &value)? {
                tracing::warn!(
                    key,
                    "a record of the local copy that this version does not know"
                );
            }
        }
        self.load_fast(&mut kept)?;
        Ok(kept)
    }

    /// What the fast store knows of others goes before what was written behind; after a reboot it
    /// knows nothing, and takes that over.
    fn load_fast(&self, kept: &mut Kept) -> Result<()> {
        let records = self.fast.scan(Table::Cluster).map_err(unreadable)?;
        if records.iter().any(|(key, _)| key == COMPLETE) {
            (kept.hosts, kept.endpoints) = (Vec::new(), Vec::new());
            for (key, value) in records.iter().filter(|(key, _)| key != COMPLETE) {
                kept.take(key, value)?;
            }
            return Ok(());
        }
        let mut batch = Batch::new().put(Table::Cluster, COMPLETE, Vec::new());
        for host in &kept.hosts {
            batch = batch.put(Table::Cluster, host_key(host.id), json(host));
        }
        for endpoint in &kept.endpoints {
            let key = endpoint_key(endpoint.network, endpoint.id);
            batch = batch.put(Table::Cluster, key, json(endpoint));
        }
        self.fast.commit(batch).map_err(unwritable)
    }

    fn commit(&self, batch: Batch) -> Result<()> {
        self.local.commit(batch).map_err(unwritable)
    }
}

/// The global networks that a local copy knows, for a daemon that is in no cluster.
///
/// # Errors
/// When the copy cannot be read.
pub fn kept_networks(durable: &dyn Store) -> Result<Vec<NetworkSpec>> {
    let (networks, unread) = understood_networks(durable)?;
    unread.into_iter().next().map_or(Ok(networks), Err)
}

/// The same of those whose records can be read, and what is wrong with the others.
///
/// # Errors
/// When the copy cannot be read.
pub fn understood_networks(durable: &dyn Store) -> Result<(Vec<NetworkSpec>, Vec<Error>)> {
    let (mut kept, mut unread) = (Kept::default(), Vec::new());
    let records = durable.scan_prefix(Table::Cluster, "network/");
    for (key, value) in records.map_err(unreadable)? {
        unread.extend(kept.take(&key, &value).err());
    }
    Ok((kept.networks, unread))
}

impl Kept {
    /// Takes one record; says whether its key was understood.
    fn take(&mut self, key: &str, value: &[u8]) -> Result<bool> {
        let parts: Vec<&str> = key.split('/').collect();
        match parts[..] {
            ["network", _] => self.networks.push(parse(key, value)?),
            ["service", _] => self.services.push(parse(key, value)?),
            ["host", _] => self.hosts.push(parse(key, value)?),
            ["endpoint", _, _] => self.endpoints.push(parse(key, value)?),
            ["block", _, _] => {
                let Some((network, range)) =
                    keys::parse_block(&format!("v1/{}", key.replacen("block", "blocks", 1)))
                else {
                    return Ok(false);
                };
                let copy: BlockCopy = parse(key, value)?;
                self.blocks.push((network, range, copy.returning));
            }
            ["grant", network, _] => {
                let Ok(network) = network.parse() else {
                    return Ok(false);
                };
                let GrantCopy {
                    addr,
                    holder: grantee,
                    granter,
                    taken_up,
                    ending,
                } = parse(key, value)?;
                let state = if ending {
                    GrantState::Ending
                } else {
                    GrantState::Unclaimed
                };
                let grant = Grant {
                    holder: taken_up.unwrap_or(grantee),
                    grantee,
                    addr,
                    state,
                    granter,
                };
                self.grants.push((network, grant));
            }
            ["given", network, addr] => {
                let (Ok(network), Some(addr)) = (network.parse(), keys::parse_address(addr)) else {
                    return Ok(false);
                };
                let GivenCopy { host, holder } = parse(key, value)?;
                self.given.push((network, addr, Given { host, holder }));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn network(id: NetworkId) -> String {
    format!("network/{id}")
}

fn service(id: ServiceId) -> String {
    format!("service/{id}")
}

fn host_key(id: HostId) -> String {
    format!("host/{id}")
}

fn put_or_delete(batch: Batch, key: &str, value: Option<&Vec<u8>>) -> Batch {
    match value {
        Some(value) => batch.put(Table::Cluster, key, value.clone()),
        None => batch.delete(Table::Cluster, key),
    }
}

fn endpoint_key(network: NetworkId, id: EndpointId) -> String {
    format!("endpoint/{network}/{id}")
}

fn block(network: NetworkId, range: IpNet) -> String {
    let (first, len) = (keys::address(range.network()), range.prefix_len());
    format!("block/{network}/{first}-{len}")
}

fn address_key(kind: &str, network: NetworkId, addr: IpAddr) -> String {
    format!("{kind}/{network}/{}", keys::address(addr))
}

fn put_given(batch: Batch, network: NetworkId, addr: IpAddr, given: Given) -> Batch {
    let Given { host, holder } = given;
    let key = address_key("given", network, addr);
    batch.put(Table::Cluster, key, json(&GivenCopy { host, holder }))
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Every record is plain data with text keys, which always has a JSON form.
    serde_json::to_vec(value).expect("plain data can be written as JSON")
}

fn parse<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("the local copy of the cluster's state is damaged at {key}");
        Error::internal("cluster-copy-unreadable", message).because(error)
    })
}

fn unwritable(error: vw_store::Error) -> Error {
    let message = "the local copy of the cluster's state cannot be written";
    Error::internal("cluster-copy-unwritable", message).because(error)
}

fn unreadable(error: vw_store::Error) -> Error {
    let message = "the local copy of the cluster's state cannot be read";
    Error::internal("cluster-copy-unreadable", message).because(error)
}

#[cfg(test)]
mod tests;
