//! What the threads of a host share, and the one way in which it changes the store.
//!
//! Owns the fence: every transaction of this host holds only while the host's own record stands
//! as it joined with it. The lock on [`State`] is never held while the store, the disk or the
//! follower is called.

use crate::{
    Delta, Follower, Settings, StoreState,
    beside::Beside,
    copy::Copy,
    doubts::Doubt,
    ending::At,
    holdings::{Given, Holdings},
    join::parts,
    keys::Shared,
    marks::Marks,
    mirror::{Host, Mirror, Seen},
    outbox::Outbox,
    record::{self, HostRecord, NetworkRecord},
    removal::Answer,
    roster::Kept,
    time::Time,
    turn::{Hearing, Turns},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use vw_model::{
    EndpointId, Error, HostId, Kind, NetworkId, RemoteHost, Result, TunnelKeys, Unpublished,
};
use vw_store::cluster::{
    Change, ClusterError, ClusterStore, Condition, Outcome, Record, Transaction, Version, Write,
};

pub(crate) struct Core {
    pub(crate) store: Arc<dyn ClusterStore>,
    pub(crate) copy: Copy,
    pub(crate) settings: Settings,
    pub(crate) follower: Arc<dyn Follower>,
    pub(crate) time: Box<dyn Time>,
    state: Mutex<State>,
    /// Notified on every change that somebody may wait for.
    changed: Condvar,
}

/// Whether this host belongs to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not known yet.
    Joining,
    /// It does, by this state of its record.
    Joined(Version),
    /// Its record is gone: somebody forgot it.
    Forgotten,
    /// Another daemon took its place; in words.
    Superseded(String),
}

/// See [`Core`].
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) store: StoreState,
    /// Whether the mirror has been filled from the store since the daemon's start.
    pub(crate) synced: bool,
    /// Whether the controller has said all that it holds from before.
    pub(crate) settled: bool,
    /// Counts how often everything was read.
    pub(crate) reads: u64,
    /// Up to which of these the store is known to have what this host holds.
    pub(crate) asserted: u64,
    /// After which reading what the store had as this host's, and it did not know of, was handed back
    /// on networks of which it holds nothing.
    pub(crate) handed_back: u64,
    /// Whether the store may be an older one than was read last: what it lacks is not believed to be
    /// given back until all is read anew.
    pub(crate) doubted: bool,
    /// Whether it is known to be one: nothing is leased until all is read anew.
    pub(crate) lacks: bool,
    pub(crate) marks: Marks,
    /// Why this host may not change anything, in words: the others are of a newer format.
    pub(crate) outdated: Option<String>,
    /// The store has an older record of this host, which it replaces.
    pub(crate) replaces_former: bool,
    /// This host's presence was over, or the store lacks what it wrote: everything is to be read
    /// once more.
    pub(crate) lapsed: bool,
    /// When the store's last trouble was logged, and of which sort it was.
    pub(crate) logged: Option<(Duration, &'static str)>,
    pub(crate) closing: bool,
    pub(crate) mirror: Mirror,
    pub(crate) holdings: Holdings,
    pub(crate) outbox: Outbox,
    pub(crate) keys: Beside<TunnelKeys>,
    pub(crate) unpublished: Beside<Unpublished>,
    pub(crate) turns: Turns,
    pub(crate) hearing: Hearing,
    /// When blocks are next looked at for being idle.
    pub(crate) idle_check: Duration,
    /// Networks made here since the mirror last began to read everything.
    pub(crate) made: BTreeSet<NetworkId>,
    /// Grants out of this host's blocks of which nobody knows whether they will be made yet.
    pub(crate) doubts: Vec<Doubt>,
    /// The holders of addresses of services that are being made here.
    pub(crate) making: BTreeSet<EndpointId>,
    /// What services claimed when this host last made or changed one.
    pub(crate) roster: Option<Kept>,
    /// Addresses at which a grant may have come to its end.
    pub(crate) due: BTreeSet<At>,
    /// Networks that were removed while this host had something of them by the store.
    pub(crate) leftovers: BTreeSet<NetworkId>,
    /// Networks of which the store may have a block as this host's that it does not know, since nobody
    /// knows how a claim or a return ended.
    pub(crate) unsure: BTreeSet<NetworkId>,
    /// The attempts of this host to remove networks that are under way.
    pub(crate) attempts: BTreeSet<String>,
    /// What was done about those of anybody.
    pub(crate) answers: BTreeMap<NetworkId, Answer>,
    /// What the follower is still to be told.
    pub(crate) deltas: Vec<Delta>,
    /// Other hosts that changed since somebody last asked for those; `None` before.
    pub(crate) changed_hosts: Option<BTreeSet<HostId>>,
    /// Counts what may give the worker something to do.
    pub(crate) work: u64,
}

impl State {
    /// Whether this host was forgotten, or another daemon took its place: it has no record any more
    /// by which the others would see it.
    pub(crate) const fn is_expelled(&self) -> bool {
        matches!(self.phase, Phase::Forgotten | Phase::Superseded(_))
    }
}

/// How a transaction ended, where the fence held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Applied,
    /// Another condition did not hold.
    Refused,
    /// Nobody knows; it may also take effect later, as long as its conditions hold.
    Uncertain,
}

impl Core {
    pub(crate) fn new(
        store: Arc<dyn ClusterStore>,
        copy: Copy,
        settings: Settings,
        follower: Arc<dyn Follower>,
        time: Box<dyn Time>,
    ) -> Self {
        let mut mirror = Mirror::new(settings.host, settings.ttl);
        mirror.asks = settings.pulse.is_some();
        Self {
            store,
            copy,
            follower,
            time,
            state: Mutex::new(State {
                phase: Phase::Joining,
                store: StoreState::Unknown,
                synced: false,
                settled: false,
                reads: 0,
                asserted: 0,
                handed_back: 0,
                doubted: false,
                lacks: false,
                marks: Marks::default(),
                outdated: None,
                replaces_former: false,
                lapsed: false,
                logged: None,
                closing: false,
                mirror,
                holdings: Holdings::default(),
                outbox: Outbox::default(),
                keys: Beside::default(),
                unpublished: Beside::default(),
                turns: Turns::default(),
                hearing: Hearing::default(),
                idle_check: Duration::ZERO,
                made: BTreeSet::new(),
                doubts: Vec::new(),
                making: BTreeSet::new(),
                roster: None,
                due: BTreeSet::new(),
                leftovers: BTreeSet::new(),
                unsure: BTreeSet::new(),
                attempts: BTreeSet::new(),
                answers: BTreeMap::new(),
                deltas: Vec::new(),
                changed_hosts: None,
                work: 0,
            }),
            changed: Condvar::new(),
            settings,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // No code under the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for a change, and the worker.
    pub(crate) fn wake(&self) {
        self.state().work += 1;
        self.notify();
    }

    /// Wakes whoever waits for a change.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until `ready` gives something, at most until `until`.
    pub(crate) fn wait_for<T>(
        &self,
        until: Duration,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.state();
        loop {
            if let Some(found) = ready(&mut state) {
                return Some(found);
            }
            let left = until.saturating_sub(self.time.now());
            if left.is_zero() || state.closing {
                return None;
            }
            state = self.time.wait(&self.state, &self.changed, state, left);
        }
    }

    /// Applies changes if the conditions hold and this host still belongs to the cluster.
    pub(crate) fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<Done> {
        let version = self.joined()?;
        self.may_write()?;
        let own = Shared::Host(self.settings.host).key();
        let mut transaction = Transaction { conditions, writes };
        let fence = Condition::Unchanged(own, version);
        transaction.conditions.push(fence);
        let mark = self.state().marks.begin();
        transaction.writes.push(self.note_of(mark));
        let outcome = self.ask(|store| store.commit(&transaction));
        let applied = matches!(outcome, Ok(Outcome::Applied));
        self.state().marks.end(mark, applied);
        match outcome {
            Ok(Outcome::Applied) => Ok(Done::Applied),
            Ok(Outcome::Refused) => {
                self.check_fence()?;
                Ok(Done::Refused)
            }
            Err(ClusterError::Uncertain { .. }) => Ok(Done::Uncertain),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Reads this host's record, and finds out whether it is still the one that it joined with.
    pub(crate) fn check_fence(&self) -> Result<()> {
        let own = self.get(&Shared::Host(self.settings.host).key())?;
        if own.is_none() {
            self.confirm_loss(&[], true)?;
        }
        self.judge(
            own.as_ref()
                .map(|record| (record.version, &record.value[..])),
        );
        self.joined().map(drop)
    }

    /// The state of its record by which this host belongs to the cluster, as far as it knows. What
    /// is found to be its own while this one stands stays its own until it has started over, for
    /// which it takes the turn.
    ///
    /// # Errors
    /// Where it has not joined, or knows that it was forgotten.
    pub(crate) fn joined(&self) -> Result<Version> {
        let phase = self.state().phase.clone();
        match phase {
            Phase::Joined(version) => Ok(version),
            other => Err(self.outside(&other)),
        }
    }

    /// Holds the record of this host against the one that it joined with.
    pub(crate) fn judge(&self, record: Option<(Version, &[u8])>) {
        let joined = |state: &State| match state.phase {
            Phase::Joined(joined) => Some(joined),
            _ => None,
        };
        let Some(version) = joined(&self.state()) else {
            return;
        };
        if record.is_some_and(|(found, _)| found == version) {
            return;
        }
        let other = record.and_then(|(_, value)| record::decode::<HostRecord>(value).ok());
        let phase = match other.filter(|other| !self.is_mine(other)) {
            // A store that was brought back from a backup of that time.
            Some(other) if self.is_former_self(&other) => Phase::Joining,
            Some(other) => Phase::Superseded(format!(
                "another daemon runs with this host's id, on {} ({}): give each its own data \
                 directory, then restart this one",
                other.name, other.advertise
            )),
            None => Phase::Forgotten,
        };
        let mut state = self.state();
        if joined(&state) != Some(version) {
            // It has joined anew meanwhile.
            return;
        }
        state.replaces_former = phase == Phase::Joining;
        // What this host wrote since is lost as well.
        state.lapsed |= state.replaces_former;
        state.phase = phase;
        tracing::error!(phase = ?state.phase, "this host is no longer in the cluster");
        drop(state);
        self.wake();
    }

    /// Whether a record was written by this run of the daemon.
    fn is_mine(&self, record: &HostRecord) -> bool {
        match parts(&record.instance) {
            (_, Some(run)) => run == self.copy.run,
            (instance, None) => instance.starts_with(&self.copy.run),
        }
    }

    /// Whether a record is of an earlier run of this host's daemon, not of a daemon elsewhere.
    fn is_former_self(&self, record: &HostRecord) -> bool {
        let Ok(identity) = self.copy.identity() else {
            return false;
        };
        let (noted, _) = parts(&record.instance);
        // One that its disk could not note beside it may be a daemon's elsewhere, with its data.
        identity.former.iter().any(|former| former == noted) || identity.knows(&record.instance)
    }

    /// Why this host cannot change anything.
    pub(crate) fn outside(&self, phase: &Phase) -> Error {
        let (reason, message) = match phase {
            Phase::Joining | Phase::Joined(_) => {
                let state = self.state();
                let why = match &state.store {
                    StoreState::Away { reason, .. } => reason.as_str(),
                    _ => "it was not reached yet",
                };
                let message =
                    format!("this host has not joined its cluster: {why}; try again later");
                ("cluster-not-joined", message)
            }
            Phase::Forgotten => {
                let message = "this host was forgotten by its cluster and takes its endpoints down \
                               before it joins again: try again later";
                ("cluster-host-forgotten", message.to_owned())
            }
            Phase::Superseded(why) => ("cluster-host-superseded", why.clone()),
        };
        Error::new(Kind::Unavailable, reason, message)
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Record>> {
        self.ask(|store| store.get(key)).map_err(unavailable)
    }

    /// That a record stands as it is now.
    pub(crate) fn as_it_is(&self, key: &str) -> Result<Condition> {
        let found = self.get(key)?.map(|found| found.version);
        Ok(found.map_or_else(
            || Condition::Absent(key.to_owned()),
            |version| Condition::Unchanged(key.to_owned(), version),
        ))
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<Record>> {
        self.ask(|store| store.list(prefix)).map_err(unavailable)
    }

    /// A network as the store has it now.
    pub(crate) fn fetch_network(
        &self,
        network: NetworkId,
    ) -> Result<Option<(NetworkRecord, Version)>> {
        let key = Shared::Network(network).key();
        let Some(record) = self.get(&key)? else {
            return Ok(None);
        };
        let decoded = record::decode(&record.value).map_err(|why| {
            let message = format!(
                "network {} cannot be used by this host: {why}",
                network.short()
            );
            Error::new(Kind::Unsupported, "cluster-record-unreadable", message)
        })?;
        Ok(Some((decoded, record.version)))
    }

    /// A network as the mirror has it, else as the store has it now.
    pub(crate) fn network(&self, network: NetworkId) -> Result<(NetworkRecord, Version)> {
        let known = self.state().mirror.networks.get(&network).cloned();
        match known {
            Some(known) => Ok((known.record, known.version)),
            None => self
                .fetch_network(network)?
                .ok_or_else(|| no_network(network)),
        }
    }
}

impl State {
    /// Whether the store is known to have what this host holds, since everything was read last.
    pub(crate) fn is_asserted(&self) -> bool {
        self.asserted == self.reads
    }

    /// Whether it is known to have what this host holds on a network.
    pub(crate) fn is_compared(&self, network: NetworkId) -> bool {
        let held = self.holdings.get(network);
        self.is_asserted() || held.is_none_or(|held| held.compared == self.reads)
    }

    /// The networks of which that is not known.
    pub(crate) fn not_compared(&self) -> BTreeSet<NetworkId> {
        let held = self.holdings.0.keys();
        held.filter(|network| !self.is_compared(**network))
            .copied()
            .collect()
    }

    /// Notes that this grant out of a block of this host's stands, or may soon; says whether that is
    /// news, and the mirror does not show it.
    pub(crate) fn expect_grant(&mut self, network: NetworkId, addr: IpAddr, given: Given) -> bool {
        let shown = self.mirror.grants.get(&(network, addr));
        let shown = shown.is_some_and(|known| Given::by(&known.record) == given);
        !shown && self.holdings.held(network).unseen.insert(addr)
    }

    /// Notes which grants the watch told of, also those that came and went at once. One that this
    /// host did not make, out of a block of its own, has what it holds there compared anew.
    pub(crate) fn saw_grants(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::Put(record) = change else {
                continue;
            };
            let Some(Shared::Grant(network, addr)) = Shared::parse(&record.key) else {
                continue;
            };
            let Some(held) = self.holdings.0.get_mut(&network) else {
                continue;
            };
            let told = record::decode(&record.value).ok();
            let given = held.given.get(&addr).copied();
            if given.is_some() && given == told.as_ref().map(Given::by) {
                held.unseen.remove(&addr);
            } else if held.owns(addr) {
                (held.compared, self.asserted) = (0, 0);
            }
        }
    }

    /// Takes over what a step of the mirror led to; `whole` when it had read everything.
    pub(crate) fn saw(&mut self, seen: Seen, whole: bool) {
        for delta in &seen.deltas {
            match delta {
                Delta::NetworkGone(network) => {
                    self.outbox.forget_network(*network);
                    let held = self.holdings.0.remove(network);
                    if held.is_some_and(|held| held.has_any()) {
                        self.leftovers.insert(*network);
                    }
                    self.made.remove(network);
                    self.unsure.remove(network);
                }
                Delta::Host(RemoteHost { id, .. }) | Delta::HostGone(id) => {
                    self.changed_hosts
                        .as_mut()
                        .map(|changed| changed.insert(*id));
                }
                _ => {}
            }
        }
        let grants = &self.mirror.grants;
        for (network, held) in &mut self.holdings.0 {
            let given = &held.given;
            held.unseen.retain(|addr| {
                let shown = grants.get(&(*network, *addr));
                let shown = shown.map(|known| Given::by(&known.record));
                shown.is_none() || shown.as_ref() != given.get(addr)
            });
        }
        self.look_at_absent();
        self.outbox.saw(seen.own, whole);
        self.keys.saw(seen.own_keys, whole);
        self.unpublished.saw(seen.own_unpublished, whole);
        self.deltas.extend(seen.deltas);
        if whole {
            self.all_due();
        }
        self.work += 1;
    }
}

impl State {
    /// Has what is held compared once more where a host that was dead has it by the store, and lives
    /// by now or is no member any more.
    fn look_at_absent(&mut self) {
        let hosts = &self.mirror.hosts;
        let dead = |id: &HostId| hosts.get(id).is_some_and(Host::is_lost);
        for held in self.holdings.0.values_mut() {
            let before = held.absent.len();
            held.absent.retain(dead);
            if held.absent.len() < before {
                (held.compared, self.asserted) = (0, 0);
            }
        }
    }
}

/// The reason where no server of the store answered.
pub(crate) const AWAY: &str = "cluster-store-unavailable";

/// The reason of what no store takes, whenever it is tried.
pub(crate) const UNFIT: &str = "cluster-record-unfit";

/// Whether no server of the store answered.
pub(crate) fn is_away(error: &Error) -> bool {
    error.reason == AWAY
}

/// The store's trouble as a refusal of a request.
pub(crate) fn unavailable(error: ClusterError) -> Error {
    let reason = match error {
        ClusterError::Unfit { .. } => {
            return Error::new(Kind::InvalidArgument, UNFIT, error.to_string());
        }
        ClusterError::Forbidden { .. } => "cluster-store-forbidden",
        ClusterError::Protocol { .. } => "cluster-store-unintelligible",
        _ => AWAY,
    };
    let message =
        format!("{error}: local networks go on, global ones as they are; try again later");
    Error::new(Kind::Unavailable, reason, message).because(error)
}

/// After too many changes by others.
pub(crate) fn contended() -> Error {
    let message = "other hosts changed the same records again and again: try again";
    Error::new(Kind::Unavailable, "cluster-contended", message)
}

/// When nobody knows whether a change was made.
pub(crate) fn uncertain(what: &str) -> Error {
    let message = format!(
        "the cluster's store did not say whether it {what}: look whether it did, then try again"
    );
    Error::new(Kind::Unavailable, "cluster-uncertain", message)
}

pub(crate) fn no_network(network: NetworkId) -> Error {
    Error::not_found("network-not-found", format!("network {network} not found"))
}
