//! The controller's parts and its one way in.

use crate::{
    Command, Config,
    event::{Event, EventBus, EventType},
    records,
    registry::{Network, Registry, Sandbox, lock},
};
use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicU16, mpsc,
    },
    time::SystemTime,
};
use vw_dns_server::DnsServer;
use vw_hoststate::{Change, Fragment, HostState, Owner, Plan};
use vw_ipam::Ipam;
use vw_kernel::{HostFacts, Kernel};
use vw_model::{Error, Id, Kind, NetworkId, Result, SandboxId};
use vw_runtime::Runtime;
use vw_store::{Batch, Store};

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
}

/// The only orchestrator; a cheap handle that threads clone.
#[derive(Clone)]
pub struct Controller {
    core: Arc<Core>,
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
    pub(crate) events: EventBus,
    /// Held while a network is made or removed, so that names and subnets are decided once.
    pub(crate) network_changes: Mutex<()>,
    pub(crate) ephemeral_cursor: AtomicU16,
    pub(crate) warnings: Mutex<Vec<String>>,
    pub(crate) watcher: Arc<crate::watch::Watcher>,
    pub(crate) execs: Mutex<BTreeMap<String, crate::execs::Exec>>,
    /// This installation, made once.
    pub(crate) host_id: Id,
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

    /// Carries out one request.
    ///
    /// # Errors
    /// As the command says.
    pub fn submit<C: Command>(&self, command: C) -> Result<C::Output> {
        tracing::debug!(operation = C::OPERATION, ?command);
        let answer = command.run(self);
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
        records::commit(&*self.data, batch)
    }

    /// Commits to the run store.
    pub(crate) fn note(&self, batch: Batch) -> Result<()> {
        records::commit(&*self.run, batch)
    }

    /// Records what owners want from now on and brings the kernel there, or changes nothing.
    pub(crate) fn bring(&self, wants: Vec<(Owner, Fragment)>) -> Result<()> {
        let change = lock(&self.host).change(wants).map_err(|e| {
            Error::conflict(
                "object-conflict",
                "another network or container holds the same thing",
            )
            .because(e)
        })?;
        self.carry_out(change)
    }

    fn carry_out(&self, change: Change) -> Result<()> {
        if change.plan.is_empty() {
            return Ok(());
        }
        let Err(failure) = self.kernel.apply(&change.plan) else {
            return Ok(());
        };
        let undo = change.plan.undo(&failure.done);
        self.undo(&undo);
        if let Err(conflict) = lock(&self.host).revert(change) {
            tracing::error!(
                "the record of what stands differs from the kernel until the next start: {conflict}"
            );
        }
        Err(kernel_error(failure.source))
    }

    fn undo(&self, plan: &Plan) {
        if plan.is_empty() {
            return;
        }
        if let Err(failure) = self.kernel.apply(plan) {
            tracing::error!(
                "undoing a failed change failed too; the next start repairs it: {}",
                failure.source
            );
        }
    }

    /// Takes away what owners wanted; what cannot be removed is told, and tried again at the
    /// next start.
    pub(crate) fn take_away(&self, wants: Vec<(Owner, Fragment)>) -> Result<()> {
        let change = lock(&self.host).change(wants).map_err(|e| {
            Error::internal("object-conflict", "another owner holds the same thing").because(e)
        })?;
        if change.plan.is_empty() {
            return Ok(());
        }
        self.kernel
            .apply(&change.plan)
            .map_err(|failure| kernel_error(failure.source))
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
            warnings.push(text);
        }
    }
}

/// The executor's refusal in the words of the house.
pub(crate) fn kernel_error(source: vw_kernel::KernelError) -> Error {
    use vw_kernel::KernelError;
    let (kind, reason) = match &source {
        KernelError::NamespaceGone { .. } => (Kind::Conflict, "namespace-gone"),
        KernelError::Missing { .. } => (Kind::Unsupported, "kernel-feature-missing"),
        KernelError::Privilege { .. } => (Kind::Forbidden, "no-privilege"),
        KernelError::Call { .. } => (Kind::Internal, "kernel-refused"),
    };
    Error::new(kind, reason, source.to_string())
}
