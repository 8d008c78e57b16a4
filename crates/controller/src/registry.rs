//! Everything the daemon knows, by id and by name.
//!
//! Owns look-up only. Locks are taken in this order and never the other way: a sandbox's `ops`,
//! its `placing`, the controller's `network_changes`, a network's gate, a network's `reach`, a sandbox's
//! `state`, then the short ones (registry, addresses, host state). Nothing that is done under a
//! `reach` takes another one.
//! A look-up ends before anything is done with what it found: no guard of the registry is alive
//! in the head of a loop.

use crate::streams::PendingAttach;
use crate::{
    cluster::Unreached,
    containers::no_container,
    ports::Claims,
    records::{ContainerRecord, FormerFile, Membership, Mode, Phase},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError},
};
use vw_dns_server::SandboxSockets;
use vw_drivers::{Driver, Gateway};
use vw_model::{
    EndpointId, EndpointSpec, Error, Family, HostId, NetworkId, NetworkSpec, PortMapping,
    RemoteEndpoint, Result, SandboxId, SandboxSpec, Scope,
};
use vw_names::SharedZone;
use vw_runtime::WindowSize;

/// A lock whose holder panicked is still consistent here: every change is made whole under it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same where nobody holds it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Whether a network still stands; its lock is held shared while something is attached to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Removed,
}

/// A network that stands.
pub(crate) struct Network {
    pub(crate) spec: NetworkSpec,
    pub(crate) driver: &'static dyn Driver,
    /// Shared by attachments, exclusive for removal.
    pub(crate) gate: RwLock<Gate>,
    /// Its names.
    pub(crate) zone: SharedZone,
    /// Who is on it, by endpoint.
    pub(crate) members: Mutex<BTreeMap<EndpointId, Arc<Sandbox>>>,
    /// What there is of it on other hosts, and whether it stands on this one. Held while that
    /// changes in the kernel.
    pub(crate) reach: Mutex<Reach>,
    /// Over what ports are published on it, once somebody asked: that does not change while a daemon
    /// runs.
    pub(crate) published: OnceLock<Vec<Family>>,
}

/// A global network as this host has it. Only those that something here is on stand in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// How many endpoints of this host are on it, or about to be.
    pub(crate) users: usize,
    /// Its endpoints on other hosts.
    pub(crate) remotes: BTreeMap<EndpointId, Arc<RemoteEndpoint>>,
    /// The hosts of those, and how many they are.
    pub(crate) hosts: BTreeMap<HostId, usize>,
    /// Those of them that cannot be reached from here, with the reason: by where their host is, or
    /// because the kernel or another endpoint's claims did not let them in.
    pub(crate) unreached: Unreached,
}

/// A container or an adopted sandbox.
pub(crate) struct Sandbox {
    pub(crate) id: SandboxId,
    /// It leads to the services of a network, and nobody else has to do with it.
    pub(crate) balances: bool,
    /// Held for the length of an operation that changes it, however long others take over that: an
    /// OCI runtime may never come back.
    pub(crate) ops: Mutex<()>,
    /// Held while its endpoints change, and what is recorded and written of them: no OCI runtime is
    /// waited for under it, so that whoever has to take one out at once can.
    pub(crate) placing: Mutex<()>,
    /// Held while its durable record is read from `state` and committed, so that of two writers
    /// without `ops` the later one commits the later state.
    pub(crate) writing: Mutex<()>,
    /// Held for moments, to read or to publish a change.
    pub(crate) state: Mutex<SandboxState>,
    /// Told whenever `state` changes in a way that somebody may wait for.
    pub(crate) changed: Condvar,
}

/// How a sandbox stands.
pub(crate) struct SandboxState {
    pub(crate) spec: SandboxSpec,
    /// `None` for adopted sandboxes.
    pub(crate) container: Option<ContainerRecord>,
    /// The networks it is configured to be on; for adopted ones those it is on.
    pub(crate) memberships: Vec<Membership>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) published: Vec<PortMapping>,
    pub(crate) claims: Claims,
    pub(crate) resolver: Option<Resolver>,
    pub(crate) running: Option<Running>,
    /// Who attached before the start.
    pub(crate) pending: Vec<PendingAttach>,
    /// The terminal's size for the next start.
    pub(crate) console: Option<WindowSize>,
    /// Its namespace stands, and the fragment of the sandbox itself.
    pub(crate) live: bool,
    /// The wait for the end of the process that was adopted.
    pub(crate) watched: Option<crate::watch::Wait>,
    /// How far its adoption is.
    pub(crate) phase: Phase,
    pub(crate) former_resolv_conf: Option<FormerFile>,
    pub(crate) removed: bool,
    pub(crate) restarting: bool,
    /// Counts ends, so that `wait --condition next-exit` can tell the next one.
    pub(crate) exits: u64,
    /// The last end was asked for: no restart.
    pub(crate) stop_requested: bool,
    /// It is being restarted by request: it stays when it ends, though it was run with `--rm`.
    pub(crate) stays: bool,
    /// How many restarts of it by request are under way: it is to run, though it was stopped for them.
    pub(crate) returning: usize,
}

/// A container's first process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// It is that of the image, not the OCI runtime's that waits for the start.
    pub(crate) started: bool,
}

/// The embedded resolver's sockets of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub(crate) udp: u16,
    pub(crate) tcp: u16,
}

/// One endpoint in its sandbox.
#[derive(Clone)]
pub(crate) struct Attachment {
    pub(crate) network: Arc<Network>,
    pub(crate) endpoint: EndpointSpec,
    /// Candidates for the sandbox's default routes.
    pub(crate) gateways: Vec<Gateway>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Registry {
    networks: HashMap<NetworkId, Arc<Network>>,
    network_names: HashMap<String, NetworkId>,
    sandboxes: HashMap<SandboxId, Arc<Sandbox>>,
    sandbox_names: HashMap<String, SandboxId>,
}

impl Registry {
    /// Finds a network by id, name or unambiguous prefix of an id.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidArgument` when a prefix fits several.
    pub(crate) fn network(&self, text: &str) -> Result<Arc<Network>> {
        let missing = || Error::not_found("network-not-found", format!("network {text} not found"));
        if let Some(found) = text
            .parse()
            .ok()
            .and_then(|id: NetworkId| self.networks.get(&id))
        {
            return Ok(found.clone());
        }
        if let Some(found) = self
            .network_names
            .get(text)
            .and_then(|id| self.networks.get(id))
        {
            return Ok(found.clone());
        }
        let ids = self.networks.keys();
        match by_prefix(ids, text) {
            Prefix::One(id) => self.networks.get(&id).cloned().ok_or_else(missing),
            Prefix::None => Err(missing()),
            Prefix::Many(n) => Err(Error::invalid(
                "network-ambiguous",
                format!("network {text} is ambiguous ({n} matches found based on ID prefix)"),
            )),
        }
    }

    /// Finds a container or adopted sandbox likewise.
    ///
    /// # Errors
    /// As [`Self::network`].
    pub(crate) fn sandbox(&self, text: &str) -> Result<Arc<Sandbox>> {
        let missing = || no_container(text);
        let text = text.strip_prefix('/').unwrap_or(text);
        if let Some(found) = text
            .parse()
            .ok()
            .and_then(|id: SandboxId| self.sandboxes.get(&id))
            .filter(|found| !found.balances)
        {
            return Ok(found.clone());
        }
        if let Some(found) = self
            .sandbox_names
            .get(text)
            .and_then(|id| self.sandboxes.get(id))
        {
            return Ok(found.clone());
        }
        let others = self.sandboxes.iter().filter(|(_, s)| !s.balances);
        match by_prefix(others.map(|(id, _)| id), text) {
            Prefix::One(id) => self.sandboxes.get(&id).cloned().ok_or_else(missing),
            Prefix::None => Err(missing()),
            Prefix::Many(_) => Err(Error::invalid(
                "container-ambiguous",
                format!("Multiple IDs found with provided prefix: {text}"),
            )),
        }
    }

    pub(crate) fn network_by_id(&self, id: NetworkId) -> Option<Arc<Network>> {
        self.networks.get(&id).cloned()
    }

    pub(crate) fn network_by_name(&self, name: &str) -> Option<Arc<Network>> {
        self.network_names
            .get(name)
            .and_then(|id| self.networks.get(id))
            .cloned()
    }

    pub(crate) fn sandbox_by_id(&self, id: SandboxId) -> Option<Arc<Sandbox>> {
        self.sandboxes.get(&id).cloned()
    }

    pub(crate) fn networks(&self) -> Vec<Arc<Network>> {
        let mut all: Vec<_> = self.networks.values().cloned().collect();
        all.sort_by(|a, b| (&a.spec.name, a.spec.id).cmp(&(&b.spec.name, b.spec.id)));
        all
    }

    pub(crate) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.sandboxes.values().cloned().collect()
    }

    /// Lists a network. Of a local and a global network of one name, which another host may make at
    /// any time, the name is the local one's here: what this host already has keeps its meaning.
    pub(crate) fn add_network(&mut self, network: Arc<Network>) {
        let (name, id) = (network.spec.name.to_string(), network.spec.id);
        let local = network.spec.scope == Scope::Local;
        self.networks.insert(id, network);
        let holder = self.network_names.entry(name).or_insert(id);
        if local {
            *holder = id;
        }
    }

    /// Takes a network off the list.
    pub(crate) fn remove_network(&mut self, network: &Network) {
        self.networks.remove(&network.spec.id);
        self.unname_network(network);
    }

    /// Has a network that goes be found by its name no more; another one of that name is, then.
    pub(crate) fn unname_network(&mut self, network: &Network) {
        let (name, id) = (&network.spec.name, network.spec.id);
        if self.network_names.get(name.as_str()) != Some(&id) {
            return;
        }
        self.network_names.remove(name.as_str());
        let mut others = self.networks.values();
        if let Some(other) = others.find(|other| other.spec.name == *name && other.spec.id != id) {
            let id = other.spec.id;
            self.network_names.insert(name.to_string(), id);
        }
    }

    /// Adds a sandbox under its name.
    ///
    /// # Errors
    /// `Conflict` with Docker's sentence when the name is in use.
    pub(crate) fn add_sandbox(&mut self, name: &str, sandbox: Arc<Sandbox>) -> Result<()> {
        self.check_name(name)?;
        self.sandbox_names.insert(name.to_owned(), sandbox.id);
        self.sandboxes.insert(sandbox.id, sandbox);
        Ok(())
    }

    /// Adds a sandbox that nobody finds by its name.
    pub(crate) fn add_balancer(&mut self, sandbox: Arc<Sandbox>) {
        self.sandboxes.insert(sandbox.id, sandbox);
    }

    pub(crate) fn remove_sandbox(&mut self, name: &str, id: SandboxId) {
        if self.sandbox_names.get(name) == Some(&id) {
            self.sandbox_names.remove(name);
        }
        self.sandboxes.remove(&id);
    }

    /// Gives a sandbox another name.
    ///
    /// # Errors
    /// As [`Self::add_sandbox`].
    pub(crate) fn rename_sandbox(&mut self, old: &str, new: &str, id: SandboxId) -> Result<()> {
        self.check_name(new)?;
        if self.sandbox_names.get(old) == Some(&id) {
            self.sandbox_names.remove(old);
        }
        self.sandbox_names.insert(new.to_owned(), id);
        Ok(())
    }

    pub(crate) fn name_is_free(&self, name: &str) -> bool {
        !self.sandbox_names.contains_key(name)
    }

    fn check_name(&self, name: &str) -> Result<()> {
        let Some(holder) = self.sandbox_names.get(name) else {
            return Ok(());
        };
        Err(Error::conflict(
            "container-name-in-use",
            format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
            ),
        ))
    }
}

enum Prefix<T> {
    None,
    One(T),
    Many(usize),
}

fn by_prefix<'a, T>(ids: impl Iterator<Item = &'a T>, text: &str) -> Prefix<T>
where
    T: Copy + std::fmt::Display + 'a,
{
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Prefix::None;
    }
    let text = text.to_ascii_lowercase();
    let found: Vec<T> = ids
        .filter(|id| id.to_string().starts_with(&text))
        .copied()
        .collect();
    match found.as_slice() {
        [] => Prefix::None,
        [one] => Prefix::One(*one),
        many => Prefix::Many(many.len()),
    }
}

impl Mode {
    /// Whether the container has a namespace of its own that endpoints can be placed in.
    pub(crate) const fn takes_endpoints(&self) -> bool {
        matches!(self, Self::Own)
    }
}

impl Sandbox {
    pub(crate) fn state(&self) -> MutexGuard<'_, SandboxState> {
        lock(&self.state)
    }

    /// Whether something can answer in it: a container has no process of its own before it is
    /// started.
    pub(crate) fn can_answer(&self) -> bool {
        let state = self.state();
        state.container.is_none() || state.running.is_some_and(|running| running.started)
    }
}

/// Sockets of the embedded resolver, made and not yet handed to it.
pub(crate) struct NewResolver {
    pub(crate) ports: Resolver,
    pub(crate) sockets: SandboxSockets,
}

#[cfg(test)]
mod tests;
