//! What this host has on networks of the cluster when it is given up: off them at once, and back with
//! new addresses when it is a member again, also over a restart of the daemon.
//!
//! Owns that it is tried until it is had: what is missing is whatever a sandbox that stands is to be
//! on, and is not.

use crate::{
    Controller,
    records::Membership,
    registry::{Attachment, Network, Sandbox, lock, try_lock},
    services::join,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};
use vw_model::{EndpointId, Kind, NetworkId, SandboxId, Scope};

/// After how long an endpoint that could not come back is tried again, if nothing happens before.
const PAUSE: Duration = Duration::from_secs(2);
/// The same where neither the store nor what it tells stands in the way: longer each time.
const LONGEST: Duration = Duration::from_secs(60);

/// What is to come back.
#[derive(Default)]
pub(crate) struct Rejoin {
    /// The thread that tries it.
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What could not be had, in sentences.
    refused: Mutex<BTreeMap<(SandboxId, NetworkId), String>>,
}

impl Drop for Rejoin {
    fn drop(&mut self) {
        let thread = self.thread.get_mut();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = &thread {
            thread.thread().unpark();
        }
        join(thread);
    }
}

impl Controller {
    /// Somebody gave this host up, so that its addresses may be others' by now: what it has on
    /// global networks is out of service when this returns, and comes back with new addresses. An
    /// operation that waits for an OCI runtime is not waited for.
    pub(super) fn leave_all(&self) {
        self.warn("this host was given up by the cluster (cluster forget): its endpoints on global networks are made anew".to_owned());
        self.lower_balancers();
        let sandboxes = self.registry().sandboxes();
        for sandbox in sandboxes.iter().filter(|sandbox| !sandbox.balances) {
            let _placing = lock(&sandbox.placing);
            for attachment in global_attachments(sandbox) {
                // Nobody's connections are worth an address that is somebody else's, whether that can
                // be recorded or not.
                self.expel(sandbox, attachment.endpoint.id);
            }
        }
    }

    /// Takes an endpoint off a network that is gone, or on which its address may be another's by
    /// now. What of it stands still goes with the next change or start. The caller holds `placing`.
    pub(super) fn expel(&self, sandbox: &Arc<Sandbox>, endpoint: EndpointId) {
        let off = || {
            if let Err(error) = self.detach_unasked(sandbox, endpoint) {
                self.warn(error.chain());
            }
            self.change_way_out(sandbox);
            Ok(())
        };
        if let Err(error) = self.refreshing(sandbox, off) {
            self.warn(error.chain());
        }
    }

    /// This host is a member, or its store is back: what is off global networks comes back, by a
    /// thread of its own, as it may wait for the cluster to tell more.
    pub(super) fn return_all(&self) {
        self.balance_soon();
        let mut thread = lock(&self.rejoin.thread);
        if let Some(trying) = thread.as_ref().filter(|trying| !trying.is_finished()) {
            return trying.thread().unpark();
        }
        if self.missing().is_empty() {
            return;
        }
        let controller = self.downgrade();
        let try_all = move || {
            let mut pause = PAUSE / 2;
            while let Some(next) = controller
                .upgrade()
                .and_then(|controller| controller.return_missing(pause))
            {
                pause = next;
                thread::park_timeout(pause);
            }
        };
        match thread::Builder::new()
            .name("rejoin".to_owned())
            .spawn(try_all)
        {
            Ok(started) => *thread = Some(started),
            Err(error) => self.warn(format!("no thread to make endpoints anew: {error}")),
        }
    }

    /// Tries all that is missing; after how long to try again, if anything is still, where the last
    /// pause was this one.
    fn return_missing(&self, last: Duration) -> Option<Duration> {
        let mut pause = LONGEST.min(last * 2);
        for (sandbox, network) in self.missing() {
            if self.return_one(&sandbox, &network) == Err(Kind::Unavailable) {
                // With the store, or what it tells, it can be had.
                pause = PAUSE;
            }
        }
        // Nobody begins another thread meanwhile, nor trusts this one to try what it does not see.
        let mut thread = lock(&self.rejoin.thread);
        let missing = self.missing();
        let is_missing = |(sandbox, network): &(SandboxId, NetworkId)| {
            let mut missing = missing.iter();
            missing.any(|(of, on)| of.id == *sandbox && on.spec.id == *network)
        };
        lock(&self.rejoin.refused).retain(|key, _| is_missing(key));
        if missing.is_empty() {
            *thread = None;
            return None;
        }
        Some(pause)
    }

    /// Every global network that a sandbox which stands is to be on, and is not.
    fn missing(&self) -> Vec<(Arc<Sandbox>, Arc<Network>)> {
        let sandboxes = self.registry().sandboxes();
        let mut missing = Vec::new();
        for sandbox in sandboxes.into_iter().filter(|sandbox| !sandbox.balances) {
            let off: Vec<NetworkId> = missing_of(&sandbox).map(|m| m.network).collect();
            let registry = self.registry();
            let networks = off.iter().filter_map(|id| registry.network_by_id(*id));
            let global = networks.filter(|network| network.spec.scope == Scope::Global);
            missing.extend(global.map(|network| (sandbox.clone(), network)));
        }
        missing
    }

    /// Whether anything that runs, or is to, is to be on a network of the cluster.
    pub(super) fn has_members(&self) -> bool {
        let sandboxes = self.registry().sandboxes();
        let mut members = sandboxes.iter().filter(|sandbox| !sandbox.balances);
        members.any(|sandbox| {
            let state = sandbox.state();
            let runs = state.live || state.is_to_run();
            let registry = self.registry();
            let mut networks = state
                .memberships
                .iter()
                .filter_map(|m| registry.network_by_id(m.network));
            runs && networks.any(|network| network.spec.scope == Scope::Global)
        })
    }

    fn return_one(&self, sandbox: &Arc<Sandbox>, network: &Arc<Network>) -> Result<(), Kind> {
        // Who has it may wait for an OCI runtime, and the others do not wait for that.
        let Some(_ops) = try_lock(&sandbox.ops) else {
            self.refuse(sandbox, network, "another operation on it has not ended");
            return Err(Kind::Unavailable);
        };
        // Who had the lock may have done it, or taken it off.
        let found = missing_of(sandbox).find(|m| m.network == network.spec.id);
        let Some(Membership { settings, .. }) = found else {
            return Ok(());
        };
        if sandbox.seal(network) {
            // Whether it comes back or not.
            self.settle_sandbox(sandbox);
            if let Err(error) = self.keep_memberships(sandbox) {
                self.warn(error.chain());
            }
        }
        let joined = self.refreshing(sandbox, || self.attach(sandbox, network, settings));
        let Err(error) = joined else {
            return Ok(());
        };
        self.refuse(sandbox, network, &error.chain());
        Err(error.kind)
    }

    /// Keeps why something is off a network, and logs it once.
    fn refuse(&self, sandbox: &Sandbox, network: &Network, reason: &str) {
        let name = sandbox.state().spec.name.clone();
        let sentence = format!("{name} is off network {}: {reason}", network.spec.name);
        let key = (sandbox.id, network.spec.id);
        let before = lock(&self.rejoin.refused).insert(key, sentence.clone());
        if before.as_ref() != Some(&sentence) {
            tracing::warn!("{sentence}");
        }
    }

    /// What is off a network of the cluster that it is to be on, in sentences.
    pub(crate) fn off_networks(&self) -> Vec<String> {
        lock(&self.rejoin.refused).values().cloned().collect()
    }
}

fn global_attachments(sandbox: &Sandbox) -> Vec<Attachment> {
    let state = sandbox.state();
    let attachments = state.attachments.iter();
    let global = attachments.filter(|a| a.network.spec.scope == Scope::Global);
    global.cloned().collect()
}

/// What a sandbox is to be on and is not, if it stands and is not about to stop.
pub(crate) fn missing_of(sandbox: &Sandbox) -> impl Iterator<Item = Membership> + use<> {
    let state = sandbox.state();
    let on = |network| {
        let mut attachments = state.attachments.iter();
        attachments.any(|a| a.network.spec.id == network)
    };
    let memberships = state.memberships.iter();
    let missing = memberships.filter(|m| state.live && !state.stop_requested && !on(m.network));
    let missing: Vec<Membership> = missing.cloned().collect();
    missing.into_iter()
}
