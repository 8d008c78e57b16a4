//! The controller's parts and its one way in.

use crate::{
    Command, Config,
    cluster::{Member, Rejoin, Tunnel},
    detach::Leaving,
    event::{Event, EventBus, EventType},
    records::Owed,
    registry::{Network, Registry, Sandbox, lock},
};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    ops::Deref,
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, AtomicU16},
        mpsc,
    },
    time::SystemTime,
};
use vw_cluster::Pulse;
use vw_dns_server::DnsServer;
use vw_hoststate::HostState;
use vw_ipam::Ipam;
use vw_kernel::{HostFacts, Kernel};
use vw_model::{Error, Id, Kind, NetworkId, Result, SandboxId};
use vw_runtime::Runtime;
use vw_store::{Batch, Store, Table, cluster::ClusterStore};

/// How many different warnings are kept to be shown; the oldest goes first.
const WARNINGS: usize = 64;

/// What the controller works with; tests give it fakes.
pub struct Parts {
    /// The executor.
    pub kernel: Arc<dyn Kernel>,
    /// The durable store, in the data directory.
    pub data: Arc<dyn Store>,
    /// The store of what a reboot makes void, in the run directory.
    pub run: Arc<dyn Store>,
    /// Containers.
    pub runtime: Arc<Runtime>,
    /// The embedded DNS server.
    pub dns: Arc<DnsServer>,
    /// Random bits for ids.
    pub random: fn() -> [u8; 32],
    /// The cluster to be a member of.
    pub cluster: Option<Membership>,
}

/// What a host needs to be a member of a cluster.
pub struct Membership {
    /// The store that the hosts share.
    pub store: Arc<dyn ClusterStore>,
    /// This host's name, for people.
    pub name: String,
    /// Its address for the others.
    pub advertise: IpAddr,
    /// Its version, for them to see.
    pub version: String,
    /// What carries packets of encrypted networks; `None` where nothing can.
    pub tunnel: Option<Arc<dyn Tunnel>>,
    /// Asks the kernels of hosts whose daemons are away; `None` where those count as dead.
    pub pulse: Option<Arc<dyn Pulse>>,
    /// Done whenever all that the store has was read, which takes much for a moment.
    pub caught_up: fn(),
}

/// The only orchestrator; a cheap handle that threads clone.
#[derive(Clone)]
pub struct Controller {
    core: Arc<Core>,
}

impl Drop for Core {
    fn drop(&mut self) {
        // Networks and sandboxes know each other: without this neither would go, nor what they hold.
        let networks = self.registry().networks();
        for network in networks {
            lock(&network.members).clear();
        }
    }
}

/// A handle for threads that only wait: it keeps nothing alive.
#[derive(Clone)]
pub(crate) struct WeakController(Weak<Core>);

impl WeakController {
    /// The controller, unless its last handle is gone.
    pub(crate) fn upgrade(&self) -> Option<Controller> {
        self.0.upgrade().map(|core| Controller { core })
    }
}

/// The state behind the handle.
pub struct Core {
    pub(crate) config: Config,
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) data: Arc<dyn Store>,
    pub(crate) run: Arc<dyn Store>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) dns: Arc<DnsServer>,
    pub(crate) random: fn() -> [u8; 32],
    pub(crate) facts: RwLock<HostFacts>,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) ipam: Mutex<Ipam>,
    pub(crate) host: Mutex<HostState>,
    /// Told, under `host`, when a plan that was under way has landed.
    pub(crate) landed: Condvar,
    pub(crate) services: Mutex<crate::services::Book>,
    pub(crate) balancers: crate::services::Balancers,
    pub(crate) checker: crate::services::Checker,
    /// Held shared while a change of `host` is recorded and applied, exclusively while the kernel
    /// is compared with `host`: a comparison never meets a change halfway.
    pub(crate) applying: RwLock<()>,
    /// A change failed and could not be undone, or a removal failed: the kernel differs from
    /// `host` until a comparison succeeds.
    pub(crate) astray: AtomicBool,
    /// Held while all is compared for that, and what is gone is forgotten.
    pub(crate) mending: Mutex<()>,
    /// When a change that has nothing to do with that compares all again.
    pub(crate) patience: Mutex<crate::patience::Patience>,
    /// What was taken out of service, and of which something may stand while the kernel is astray:
    /// it keeps its leases and its records.
    pub(crate) leaving: Mutex<Vec<Leaving>>,
    /// The networks of endpoints that a comparison forgot, one entry each.
    pub(crate) departed: Mutex<Vec<NetworkId>>,
    pub(crate) owed_data: Owed,
    pub(crate) owed_run: Owed,
    pub(crate) events: EventBus,
    /// Held while a network is made or removed, so that names and subnets are decided once, and
    /// while a namespace is found free and pinned.
    pub(crate) network_changes: Mutex<()>,
    /// Held while what the cluster agreed on of a service is taken up here, so that it is done in
    /// one order by who asked for it and by who follows the cluster. Taken before all others.
    pub(crate) agreed_changes: Mutex<()>,
    /// Held while a network of this host takes its subnets, and while one of the cluster comes to
    /// stand in this host's own namespace, so that either sees the other. Taken after
    /// `network_changes` and before a network's `reach`.
    pub(crate) room: Mutex<()>,
    pub(crate) ephemeral_cursor: AtomicU16,
    pub(crate) warnings: Mutex<Vec<String>>,
    pub(crate) watcher: crate::watch::Watcher,
    /// Ends the thread that waits for containers to end.
    pub(crate) ends: Mutex<Option<vw_runtime::WatchEnd>>,
    pub(crate) resolver_files: crate::host_resolver::ResolverFiles,
    pub(crate) execs: Mutex<BTreeMap<String, crate::execs::Exec>>,
    /// This installation, made once.
    pub(crate) host_id: Id,
    /// The other hosts, where there are any.
    pub(crate) member: Option<Member>,
    /// Why the cluster's store does not answer, while it does not.
    pub(crate) store_away: Mutex<Option<String>>,
    /// What is to come back to global networks.
    pub(crate) rejoin: Rejoin,
}

impl Deref for Controller {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").finish_non_exhaustive()
    }
}

impl Controller {
    pub(crate) fn from_core(core: Core) -> Self {
        Self {
            core: Arc::new(core),
        }
    }

    /// A handle that does not keep the controller alive.
    pub(crate) fn downgrade(&self) -> WeakController {
        WeakController(Arc::downgrade(&self.core))
    }

    /// Carries out one request.
    ///
    /// # Errors
    /// As the command says.
    pub fn submit<C: Command>(&self, command: C) -> Result<C::Output> {
        tracing::debug!(operation = C::OPERATION, ?command);
        let answer = command.run(self).map_err(|error| self.naming_holder(error));
        if let Err(error) = &answer {
            let text = error.chain();
            match error.kind {
                Kind::Internal | Kind::Unavailable => {
                    tracing::error!(operation = C::OPERATION, reason = error.reason, "{text}");
                }
                _ => tracing::debug!(operation = C::OPERATION, reason = error.reason, "{text}"),
            }
        }
        answer
    }

    /// Events from now on. A listener that lags far behind is cut off, never given a gap.
    #[must_use]
    pub fn subscribe(&self) -> mpsc::Receiver<Event> {
        self.events.subscribe()
    }

    /// Events kept from the recent past (at most 256), oldest first.
    #[must_use]
    pub fn recent_events(&self) -> Vec<Event> {
        self.events.recent()
    }
}

impl Core {
    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn facts(&self) -> RwLockReadGuard<'_, HostFacts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn network(&self, text: &str) -> Result<Arc<Network>> {
        self.registry().network(text)
    }

    pub(crate) fn sandbox(&self, text: &str) -> Result<Arc<Sandbox>> {
        self.registry().sandbox(text)
    }

    pub(crate) fn new_network_id(&self) -> NetworkId {
        NetworkId::from_bytes((self.random)())
    }

    pub(crate) fn new_sandbox_id(&self) -> SandboxId {
        SandboxId::from_bytes((self.random)())
    }

    /// Commits to the data store.
    pub(crate) fn keep(&self, batch: Batch) -> Result<()> {
        self.owed_data.commit(&*self.data, batch)
    }

    /// Deletes a record of the data store: where that fails, with the next commit.
    pub(crate) fn unkeep(&self, table: Table, key: String) {
        self.owed_data.delete(&*self.data, table, key);
    }

    /// Commits to the run store.
    pub(crate) fn note(&self, batch: Batch) -> Result<()> {
        self.owed_run.commit(&*self.run, batch)
    }

    /// Deletes a record of the run store likewise.
    pub(crate) fn unnote(&self, table: Table, key: String) {
        self.owed_run.delete(&*self.run, table, key);
    }

    pub(crate) fn tell<const N: usize>(
        &self,
        kind: EventType,
        action: &str,
        id: &str,
        attributes: [(&str, String); N],
    ) {
        let attributes = attributes
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        self.events.publish(Event {
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes,
            time: SystemTime::now(),
        });
    }

    /// Something that a person should know: logged, and shown by `info`.
    pub fn warn(&self, text: String) {
        tracing::warn!("{text}");
        let mut warnings = lock(&self.warnings);
        if !warnings.contains(&text) {
            if warnings.len() == WARNINGS {
                warnings.remove(0);
            }
            warnings.push(text);
        }
    }
}

/// The executor's refusal in the words of the house.
pub fn kernel_error(source: vw_kernel::KernelError) -> Error {
    use vw_kernel::KernelError;
    let (kind, reason) = match &source {
        KernelError::NamespaceGone { .. } => (Kind::Conflict, "namespace-gone"),
        KernelError::Missing { .. } => (Kind::Unsupported, "kernel-feature-missing"),
        KernelError::Privilege { .. } => (Kind::Forbidden, "no-privilege"),
        KernelError::Call { source, .. } => match (source.raw_os_error(), source.kind()) {
            // The executor's own refusal of what it was given, not the system's.
            (None, io::ErrorKind::InvalidInput) => (Kind::InvalidArgument, "kernel-object-unfit"),
            (_, io::ErrorKind::PermissionDenied) => (Kind::Forbidden, "no-privilege"),
            _ => (Kind::Internal, "kernel-refused"),
        },
    };
    let message = source.to_string();
    match source {
        KernelError::NamespaceGone { source, .. } | KernelError::Call { source, .. } => {
            Error::new(kind, reason, message).because(source)
        }
        KernelError::Missing { .. } | KernelError::Privilege { .. } => {
            Error::new(kind, reason, message)
        }
    }
}
