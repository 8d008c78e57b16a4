//! The cluster as the controller sees it, and the threads behind it.
//!
//! Owns nothing but the threads: each loops over one step of [`Core`].

use crate::{
    Follower, Local, Settings, Status, StoreState,
    core::{Core, Phase, State},
    following::{Following, SILENCE},
    holdings::GrantState,
    opening::open,
    time::Machine,
};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use vw_ipam::NetworkRequest;
use vw_model::{
    EndpointId, Error, Family, HostId, IpNet, NetworkId, NetworkSpec, RemoteEndpoint, RemoteHost,
    Result, ServiceId, ServiceSpec, TunnelKeys, Unpublished,
};
use vw_store::cluster::ClusterStore;

/// The part of this host in its cluster.
///
/// All calls may come from any thread. Those that read never wait; those that change what hosts
/// agree on wait for the store, each at most for a few times [`Settings::patience`], and are
/// refused with [`vw_model::Kind::Unavailable`] while it is away.
pub struct Cluster {
    core: Arc<Core>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Says that the last of them has ended: nothing is ever sent.
    ended: Mutex<Receiver<()>>,
}

/// How long the end waits for a store that does not answer.
const PARTING: Duration = Duration::from_secs(2);

/// What a thread runs until the host closes.
type Loop = fn(&Core);

impl Cluster {
    /// Takes part in a cluster.
    ///
    /// Never waits for the store. Before it returns, the follower has been told what the local
    /// copy knows; from then on one thread tells it what changes. The stores of `local` may be shared: only
    /// [`vw_store::Table::Cluster`] is used.
    ///
    /// Call [`Self::hold`] and [`Self::publish`] for everything that this host has from before,
    /// then [`Self::settled`]: until then nothing of this host is taken out of the store, and nothing
    /// given to others.
    ///
    /// # Errors
    /// When the local copy cannot be read, or the settings cannot be.
    pub fn start(
        store: Arc<dyn ClusterStore>,
        local: impl Into<Local>,
        settings: Settings,
        follower: Arc<dyn Follower>,
    ) -> Result<Arc<Self>> {
        let time = Box::new(Machine(Instant::now()));
        Self::over(open(store, local, settings, follower, time)?)
    }

    /// Runs what was opened.
    pub(crate) fn over(core: Arc<Core>) -> Result<Arc<Self>> {
        let mut threads = Vec::new();
        let (running, ended) = mpsc::channel();
        let loops: [(&str, Loop); 4] = [
            ("cluster-follow", follow),
            ("cluster-present", be_present),
            ("cluster-work", work),
            ("cluster-pulse", crate::pulse::listen),
        ];
        for (name, run) in loops {
            let (core, running) = (core.clone(), running.clone());
            let thread = std::thread::Builder::new().name(name.to_owned());
            let spawned = thread.spawn(move || {
                run(&core);
                drop(running);
            });
            threads.push(spawned.map_err(|error| {
                Error::internal("thread-failed", "a thread cannot be started").because(error)
            })?);
        }
        let (threads, ended) = (Mutex::new(threads), Mutex::new(ended));
        Ok(Arc::new(Self {
            core,
            threads,
            ended,
        }))
    }

    /// Says that all that this host had before its start was told.
    ///
    /// From then on others are granted addresses out of this host's blocks, what is not wanted any
    /// more is taken out of the store, empty blocks are returned, and removals of networks are
    /// answered. What the kernel has must be as this host was told, too.
    pub fn settled(&self) {
        self.core.settle();
    }

    /// Makes a network that every host can use at once.
    ///
    /// Fills in the subnets as `request` wants them, clear of all other global networks and, where
    /// none is asked for, of `foreign`; and the VNI where it is `numbered`, unless the options name
    /// one. The follower may be told of it before this returns.
    ///
    /// # Errors
    /// Conflict for a name or VNI in use; what [`vw_ipam::Ipam::add_network`] refuses;
    /// Unavailable.
    pub fn create_network(
        &self,
        spec: NetworkSpec,
        request: &NetworkRequest,
        foreign: &[IpNet],
        numbered: bool,
    ) -> Result<NetworkSpec> {
        self.await_joined();
        self.core.create_network(spec, request, foreign, numbered)
    }

    /// Removes a network that no living host has an endpoint on. Tells whether the local copy was
    /// seen without it: what it has of the network then is another one, or the former brought back.
    ///
    /// # Errors
    /// Forbidden where one has, naming it; NotFound; Unavailable, also when a host does not
    /// answer.
    pub fn remove_network(&self, network: NetworkId) -> Result<bool> {
        self.await_joined();
        self.core.remove_network(network)
    }

    /// Makes a service that every host can lead to at once, with an address of its own of each of
    /// these families. The follower may be told of it before this returns.
    ///
    /// # Errors
    /// Conflict for a name or published port in use; as leases are refused; NotFound for the
    /// network; Unavailable.
    pub fn create_service(&self, spec: ServiceSpec, families: &[Family]) -> Result<ServiceSpec> {
        self.await_joined();
        self.core.create_service(spec, families)
    }

    /// Changes a service as `change` does, which may be called again for what another host made of
    /// it meanwhile, and gives what it is then.
    ///
    /// # Errors
    /// As `change` and [`Self::create_service`] refuse; NotFound.
    pub fn update_service(
        &self,
        id: ServiceId,
        change: impl Fn(ServiceSpec) -> Result<ServiceSpec>,
    ) -> Result<ServiceSpec> {
        self.await_joined();
        self.core.update_service(id, change)
    }

    /// Removes a service, and frees its addresses; also one whose record cannot be read here.
    ///
    /// # Errors
    /// NotFound; Unavailable.
    pub fn remove_service(&self, id: ServiceId) -> Result<()> {
        self.await_joined();
        self.core.remove_service(id)
    }

    /// Takes up what other hosts made of services, where it was not told yet; gives those of which
    /// something else was known until now.
    ///
    /// # Errors
    /// Unavailable.
    pub fn catch_up_services(&self) -> Result<Vec<ServiceId>> {
        self.core.catch_up_services()
    }

    /// Waits until this host is a member of its cluster, at most for [`Settings::patience`]: a daemon
    /// that has just started is about to join. Not while the store is away.
    fn await_joined(&self) {
        let core = &self.core;
        let until = core.time.now() + core.settings.patience;
        let _ = core.wait_for(until, |state| {
            let joins = matches!(state.phase, Phase::Joining);
            let away = matches!(state.store, StoreState::Away { .. });
            (!joins || away).then_some(())
        });
    }

    /// A service as it is known here: what a follower was told of it or is about to be.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<ServiceSpec> {
        self.core.state().mirror.services.get(id).cloned()
    }

    /// The services of a network, as they are known here.
    #[must_use]
    pub fn services_on(&self, network: NetworkId) -> Vec<ServiceId> {
        let state = self.core.state();
        let known = state.mirror.services.on(network);
        known.map(|spec| spec.id).collect()
    }

    /// Waits until no other host that lives leads to services on a network any more; not for long.
    pub fn await_no_balancer(&self, network: NetworkId) {
        self.core.await_no_balancer(network);
    }

    /// The global networks that are known here.
    #[must_use]
    pub fn networks(&self) -> Vec<NetworkSpec> {
        let state = self.core.state();
        let networks = state.mirror.networks.values();
        networks.map(|known| known.record.spec.clone()).collect()
    }

    /// Leases an address: any, out of this host's blocks, without the store where one has room;
    /// or one that is asked for, which may need the consent of another host.
    ///
    /// # Errors
    /// As local networks refuse; Unavailable where it takes the store, or another host, and that
    /// does not answer.
    pub fn lease(
        &self,
        network: NetworkId,
        family: Family,
        requested: Option<IpAddr>,
        holder: EndpointId,
    ) -> Result<IpNet> {
        self.core.lease(network, family, requested, holder)
    }

    /// Takes an address that `holder` had before the daemon's start, by the local copy alone.
    ///
    /// # Errors
    /// When it is not this host's, or somebody else's: the endpoint must go.
    pub fn hold(&self, network: NetworkId, addr: IpAddr, holder: EndpointId) -> Result<IpNet> {
        self.core.hold(network, addr, holder)
    }

    /// Frees an address if `holder` has it; idempotent, never waits.
    pub fn release(&self, network: NetworkId, addr: IpAddr, holder: EndpointId) {
        self.core.release(network, addr, holder);
    }

    /// Wants an endpoint of this host to be known to the others; never waits. Its host and tunnel
    /// are this host's, whatever the endpoint says.
    ///
    /// Where its network was removed meanwhile the follower is told so.
    pub fn publish(&self, endpoint: RemoteEndpoint) {
        self.core.state().outbox.publish(endpoint);
        self.core.wake();
    }

    /// Wants an endpoint of this host to be known no more; never waits.
    pub fn withdraw(&self, network: NetworkId, id: EndpointId) {
        self.core.state().outbox.withdraw(network, id);
        self.core.wake();
    }

    /// The addresses of a network's endpoints on other hosts that the store has, also of hosts that are
    /// dead; of what the local copy knows where it was not read yet.
    #[must_use]
    pub fn remote_addresses(&self, network: NetworkId) -> BTreeSet<IpAddr> {
        self.core.state().mirror.remote_addresses(network)
    }

    /// Endpoints of this host that others cannot be told of, in sentences.
    #[must_use]
    pub fn untold(&self) -> Vec<String> {
        let state = self.core.state();
        let untold = state.outbox.untold();
        let sentence = |(network, name, why): (NetworkId, &str, &str)| {
            let network = network.short();
            format!(
                "other hosts do not know endpoint {name} of network {network}: its record {why}"
            )
        };
        untold.map(sentence).collect()
    }

    /// Waits until the store has of an endpoint what was published, at most for `longest` and
    /// [`Settings::patience`]; not while the store is away or this host is no member.
    pub fn await_published(&self, network: NetworkId, id: EndpointId, longest: Duration) {
        let core = &self.core;
        let until = core.time.now() + core.settings.patience.min(longest);
        let _ = core.wait_for(until, |state| {
            let joined = matches!(state.phase, Phase::Joined(_));
            // Nobody can be told.
            let in_vain = !joined || state.store != StoreState::Reachable;
            (in_vain || state.outbox.is_written(network, id)).then_some(())
        });
    }

    /// Wants this host's keys of encrypted networks to be known to the others; never waits.
    pub fn set_tunnel_keys(&self, keys: TunnelKeys) {
        self.core.state().keys.want(Some(keys));
        self.core.wake();
    }

    /// Wants the others to know what of services this host does not publish; never waits.
    pub fn set_unpublished(&self, unpublished: Unpublished) {
        let lacks = !unpublished.networks.is_empty();
        let record = lacks.then_some(unpublished);
        self.core.state().unpublished.want(record);
        self.core.wake();
    }

    /// This host's keys as the store was seen to have them: what [`Self::hosts`] and
    /// [`Self::changed_hosts`] tell after that of the others' is of then, or newer.
    #[must_use]
    pub fn tunnel_keys(&self) -> Option<TunnelKeys> {
        self.core.state().keys.seen.clone()
    }

    /// Waits until [`Self::tunnel_keys`] are as wanted, at most for [`Settings::patience`]; not
    /// while the store is away or this host is no member.
    pub fn await_tunnel_keys(&self, wanted: impl Fn(&TunnelKeys) -> bool) {
        let core = &self.core;
        let until = core.time.now() + core.settings.patience;
        let _ = core.wait_for(until, |state| {
            let joined = matches!(state.phase, Phase::Joined(_));
            // Nobody can be told.
            let in_vain = !joined || state.store != StoreState::Reachable;
            (in_vain || state.keys.seen.as_ref().is_some_and(&wanted)).then_some(())
        });
    }

    /// The endpoints of a network on other hosts that live or are away.
    #[must_use]
    pub fn remote_endpoints(&self, network: NetworkId) -> Vec<Arc<RemoteEndpoint>> {
        self.core.state().mirror.remote_endpoints(network)
    }

    /// The other hosts that live or are away.
    #[must_use]
    pub fn hosts(&self) -> Vec<RemoteHost> {
        self.core.state().mirror.remote_hosts()
    }

    /// Waits until something is found among the other hosts that live or are away, at most for `longest`; not
    /// while there is none, the store is away or this host is no member.
    pub fn await_among_hosts<T>(
        &self,
        longest: Duration,
        find: impl Fn(&[RemoteHost]) -> Option<T>,
    ) -> Option<T> {
        let core = &self.core;
        let until = core.time.now() + longest;
        let found = core.wait_for(until, |state| {
            let hosts = state.mirror.remote_hosts();
            let joined = matches!(state.phase, Phase::Joined(_));
            let in_vain = !joined || state.store != StoreState::Reachable || hosts.is_empty();
            let found = find(&hosts);
            (in_vain || found.is_some()).then_some(found)
        });
        found.flatten()
    }

    /// Those of [`Self::hosts`] that changed since the last call, with those that are gone; all at the
    /// first. For one caller, which is told what came after that.
    #[must_use]
    pub fn changed_hosts(&self) -> Vec<(HostId, Option<RemoteHost>)> {
        let mut state = self.core.state();
        let changed = state.changed_hosts.replace(BTreeSet::new());
        match changed {
            Some(changed) => {
                let shown = |id| (id, state.mirror.shown_host(id));
                changed.into_iter().map(shown).collect()
            }
            None => {
                let hosts = state.mirror.remote_hosts().into_iter();
                hosts.map(|host| (host.id, Some(host))).collect()
            }
        }
    }

    /// How the cluster is. Asks the store, and says what it knows where that is away.
    #[must_use]
    pub fn status(&self) -> Status {
        self.core.status()
    }

    /// Gives up a host that is not alive, by its name or id: its blocks and endpoints go, and it
    /// must join anew, with nothing, when it comes back.
    ///
    /// The host must really be down, or cut off from all others: until it learns that it was
    /// forgotten, its endpoints go on with addresses that may be given to others.
    ///
    /// # Errors
    /// NotFound; Conflict while it is alive; Unavailable.
    pub fn forget(&self, host: &str) -> Result<()> {
        self.await_joined();
        self.core.forget(host)
    }

    /// Ends the threads. The others go on to see this host and its endpoints for
    /// [`Settings::grace`], so that nothing flaps when the daemon is restarted; where its kernel
    /// falls silent meanwhile, until then. A store that does
    /// not answer is not waited for: a thread that asks it goes on until it gives up, or until
    /// the process ends, as if that had been killed.
    pub fn close(&self) {
        self.core.state().closing = true;
        self.core.wake();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match ended.recv_timeout(PARTING) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::warn!("the cluster's store does not answer: it is not told of the end");
            }
            _ => threads.into_iter().for_each(|thread| {
                // A thread that panicked has said so.
                let _ = thread.join();
            }),
        }
        if let Err(error) = self.core.copy.flush() {
            tracing::warn!("{}", error.chain());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.core.state().closing = true;
        self.core.wake();
    }
}

impl Core {
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        state.settled = true;
        for held in state.holdings.0.values_mut() {
            for grant in held.grants.values_mut() {
                if grant.state == GrantState::Unclaimed {
                    grant.state = GrantState::Returning;
                }
            }
        }
        state.all_due();
        drop(state);
        self.wake();
    }

    /// One step of the worker: does what can be done now.
    pub(crate) fn work(&self) {
        let ready = {
            let state = self.state();
            matches!(state.phase, Phase::Joined(_)) && state.synced
        };
        if !ready {
            return;
        }
        let steps: [fn(&Self) -> Result<()>; 10] = [
            Self::assert_holdings,
            Self::answer_removals,
            // Who hears of an endpoint knows its host's keys.
            Self::send_keys,
            Self::send_outbox,
            Self::send_unpublished,
            Self::answer_requests,
            Self::end_grants,
            Self::return_blocks,
            Self::claim_ahead,
            Self::clear_leftovers,
        ];
        for step in steps {
            // Whatever is left is tried again.
            if let Err(error) = step(self) {
                tracing::debug!("{}", error.chain());
            }
        }
    }
}

fn follow(core: &Core) {
    let mut following = Following::default();
    while !core.state().closing {
        let answered = core.follow(&mut following);
        if let Some(until) = following.pause(core.time.now(), answered) {
            core.wait_for::<()>(until, |_| None);
        }
    }
}

fn be_present(core: &Core) {
    let mut presence = None;
    while !core.state().closing {
        let joined = |state: &State| matches!(state.phase, Phase::Joined(_));
        let was = joined(&core.state());
        let next = core.time.now() + core.keep_present(&mut presence);
        core.wait_for(next, |state| (joined(state) != was).then_some(()));
    }
    core.leave_presence();
}

fn work(core: &Core) {
    let mut done = 0;
    let mut flushed = Duration::ZERO;
    while !core.state().closing {
        let now = core.time.now();
        // What is only known of others is written once in a while.
        if now >= flushed + Duration::from_secs(1) {
            flushed = now;
            if let Err(error) = core.copy.flush() {
                tracing::warn!("{}", error.chain());
            }
        }
        core.work();
        let retry = core.time.now() + SILENCE / 5;
        let next = core.wait_for(retry, |state| (state.work != done).then_some(state.work));
        done = next.unwrap_or(done);
    }
}

#[cfg(test)]
mod tests;
