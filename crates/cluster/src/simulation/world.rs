//! The order of things: who acts next, what the network does, and what users want.

use super::{
    chance,
    history::{History, OBSERVER},
    host::{Daemon, Host, ROLES, Role},
    networks::{network, some_address},
};
use crate::{holdings::Holdings, keys::Shared};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use vw_model::{EndpointId, HostId, NetworkId, NetworkSpec, RemoteEndpoint};
use vw_store::cluster::memory::{Call, Fate, MemoryStore, Weather};

/// How deep steps may come in between steps.
const DEPTH: usize = 3;

/// More hosts than these are many: they all have joined before anything goes wrong, and what goes wrong
/// or is wanted is of some at a time.
const MANY: usize = 200;

/// How many of a thousand wishes are carried out where there are many hosts: each endpoint is known to
/// all of them.
const WISHES: usize = 400;

/// How many of a thousand steps are mishaps: of many hosts each has few steps.
const MISHAPS: (usize, usize) = (30, 100);

pub(super) struct World {
    pub(super) store: MemoryStore,
    hosts: OnceLock<Vec<Arc<Host>>>,
    history: Mutex<History>,
    depth: AtomicUsize,
    /// Whether everything may go wrong.
    rough: AtomicBool,
    /// Whether, with nothing going wrong, all hosts act between somebody's calls.
    lively: AtomicBool,
    script: Mutex<Option<Script>>,
}

/// What a test lets happen at a call, and to it; in what it lets happen there is no script.
pub(super) type Script = Box<dyn FnMut(Call) -> Fate + Send>;

/// What comes between a host and the store.
struct Sky(std::sync::Weak<World>);

impl Weather for Sky {
    fn before(&self, client: &str, call: Call) -> Fate {
        match self.0.upgrade() {
            Some(world) if client != OBSERVER => world.before(client, call),
            _ => Fate::Answered,
        }
    }

    fn after(&self, client: &str) {
        if let Some(world) = self.0.upgrade().filter(|_| client != OBSERVER) {
            world.between();
        }
    }
}

impl World {
    /// A world in which nothing goes wrong.
    pub(super) fn quiet(hosts: usize) -> Arc<Self> {
        let store = MemoryStore::simulated();
        let world = Arc::new(Self {
            history: Mutex::new(History::new(&store)),
            store,
            hosts: OnceLock::new(),
            depth: AtomicUsize::new(0),
            rough: AtomicBool::new(false),
            lively: AtomicBool::new(false),
            script: Mutex::default(),
        });
        let weak = Arc::downgrade(&world);
        world.store.set_weather(Arc::new(Sky(weak.clone())));
        let hosts = (0..hosts).map(|n| Arc::new(Host::new(n, weak.clone())));
        drop(world.hosts.set(hosts.collect()));
        world.hosts().iter().for_each(|host| host.start());
        world
    }

    /// A world in which everything may go wrong, once its hosts know each other where they are many.
    pub(super) fn rough(hosts: usize) -> Arc<Self> {
        let world = Self::quiet(hosts);
        if world.has_many() {
            (0..2).for_each(|_| world.round());
        }
        world.rough.store(true, Ordering::SeqCst);
        world
    }

    fn has_many(&self) -> bool {
        self.hosts().len() > MANY
    }

    pub(super) fn hosts(&self) -> &[Arc<Host>] {
        self.hosts.get().expect("made with the world")
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_rough(&self) -> bool {
        self.rough.load(Ordering::SeqCst)
    }

    /// Lets time pass; the more hosts act, the less passes with each of their acts.
    fn pass(&self, time: Duration) {
        self.store
            .advance(time * 10 / self.hosts().len().max(10) as u32);
    }

    /// Lets this happen at each call from now on, while nothing goes wrong by itself.
    pub(super) fn set_script(&self, script: impl FnMut(Call) -> Fate + Send + 'static) {
        *self.script.lock().unwrap() = Some(Box::new(script));
    }

    fn scripted(&self, call: Call) -> Fate {
        let script = self.script.lock().unwrap().take();
        let Some(mut script) = script else {
            return Fate::Answered;
        };
        let fate = script(call);
        self.script.lock().unwrap().get_or_insert(script);
        self.history().observe();
        fate
    }

    /// A call is under way: time passes, others act, and it may be lost.
    fn before(&self, client: &str, call: Call) -> Fate {
        self.history().observe();
        self.pass(Duration::from_millis(1 + chance::below(10) as u64));
        if self.is_rough() && chance::per_mille(150) {
            self.act(1 + chance::below(3));
        } else if self.lively.load(Ordering::SeqCst) && chance::per_mille(150) {
            self.all_act();
        } else if self.is_rough() && chance::per_mille(4) {
            // As long as a pause that outlasts every time to live.
            self.history().note("long pauses in a call");
            self.pause(client);
        }
        self.history().observe();
        if !self.is_rough() {
            return self.scripted(call);
        }
        if chance::per_mille(950) {
            return Fate::Answered;
        }
        let fates = [Fate::Unreachable, Fate::AnswerLost, Fate::Late];
        let fate = *chance::pick(&fates).expect("there are three");
        if call == Call::Commit {
            self.history().note(match fate {
                Fate::AnswerLost => "answers lost",
                Fate::Late => "transactions late",
                _ => "calls lost",
            });
        }
        fate
    }

    /// Lets all presences end that are not renewed meanwhile; of many hosts, whose others go on, only
    /// that of who pauses.
    fn pause(&self, client: &str) {
        if !self.has_many() {
            for _ in 0..10 {
                self.store.advance(Duration::from_secs(1));
                self.act(5);
            }
            return;
        }
        let n: Option<usize> = client.split('.').next().and_then(|n| n.parse().ok());
        let daemon = n.and_then(|n| self.hosts()[n].daemon());
        daemon.iter().for_each(|daemon| daemon.client.expire());
        self.act(50);
    }

    /// Lets others act between two things that somebody does.
    pub(super) fn between(&self) {
        self.history().observe();
        if self.is_rough() && chance::per_mille(50) {
            self.act(1 + chance::below(3));
            self.history().observe();
        }
    }

    /// Lets everybody act while a controller takes up what its machine has from before: its own daemon's
    /// threads, and those who ask for what it may not have taken up yet.
    pub(super) fn while_one_starts(&self, host: &Host) {
        if !self.is_rough() {
            return;
        }
        for _ in 0..chance::below(4) {
            host.step(Role::Follow);
            host.step(Role::Work);
            self.act(3);
        }
        if chance::per_mille(500) {
            self.ask_for_one_of(host);
        }
        self.history().observe();
    }

    /// Has another host ask for an address that one has in use.
    fn ask_for_one_of(&self, host: &Host) {
        let used: Vec<(NetworkId, IpAddr)> = {
            let machine = host.machine();
            let endpoints = machine.endpoints.values();
            let used = endpoints.map(|one| (one.network, one.addresses[0].addr()));
            used.collect()
        };
        let other = chance::pick(self.hosts()).filter(|other| other.n != host.n);
        let daemon = other.and_then(|other| other.daemon());
        if let (Some(other), Some(daemon)) = (other, daemon.filter(|daemon| daemon.serves()))
            && let Some((network, addr)) = chance::pick(&used)
        {
            // That it is refused is as it should be; what must not be, the history sees.
            let _ = other.connect(&daemon, *network, Some(*addr));
        }
    }

    /// Lets others act while somebody waits.
    pub(super) fn meanwhile(&self, at_most: Duration) {
        if self.depth.load(Ordering::SeqCst) >= DEPTH {
            self.store.advance(at_most);
            return;
        }
        self.store.advance(at_most.min(Duration::from_millis(100)));
        // Most often those who are waited for.
        for host in self.hosts().iter().take(12) {
            host.step(Role::Follow);
            host.step(Role::Work);
        }
        self.act(3);
    }

    /// Some steps of anybody.
    pub(super) fn act(&self, steps: usize) {
        if self.depth.load(Ordering::SeqCst) >= DEPTH {
            return;
        }
        self.depth.fetch_add(1, Ordering::SeqCst);
        for _ in 0..steps {
            self.step();
        }
        self.depth.fetch_sub(1, Ordering::SeqCst);
    }

    /// What hosts do when they see a change.
    fn all_act(&self) {
        if self.depth.fetch_add(1, Ordering::SeqCst) == 0 {
            for host in self.hosts() {
                host.step(Role::Follow);
                host.step(Role::Work);
            }
        }
        self.depth.fetch_sub(1, Ordering::SeqCst);
    }

    /// One step of somebody, or one mishap.
    pub(super) fn step(&self) {
        let host = chance::pick(self.hosts()).expect("there are hosts");
        let mishaps = if self.has_many() {
            MISHAPS.1
        } else {
            MISHAPS.0
        };
        if self.is_rough() && chance::per_mille(mishaps) {
            self.mishap(host);
        } else if chance::per_mille(20) {
            self.pass(Duration::from_millis(500));
        } else {
            let role = *chance::pick(&ROLES).expect("there are roles");
            let waits = self.has_many() && !chance::per_mille(WISHES);
            if !role.wants() || (self.is_rough() && !waits) {
                host.step(role);
            }
        }
    }

    /// The first host from a place of its own on that something is wrong with.
    fn in_need(&self, wrong: impl Fn(&Host) -> bool) -> Option<&Arc<Host>> {
        let hosts = self.hosts();
        let (before, after) = hosts.split_at(chance::below(hosts.len()));
        after.iter().chain(before).find(|host| wrong(host))
    }

    fn mishap(&self, host: &Host) {
        let what = chance::below(100);
        // Of many, who is mended would seldom be one that needs it.
        let in_need = match what {
            20..45 if self.has_many() => self.in_need(|host| {
                let daemon = host.daemon();
                daemon.is_some_and(|daemon| daemon.client.is_cut())
            }),
            65..80 if self.has_many() => self.in_need(|host| host.daemon().is_none()),
            _ => None,
        };
        let host = in_need.map_or(host, |host| host);
        let daemon = host.daemon();
        match what {
            0..20 => daemon.iter().for_each(|daemon| daemon.client.cut(true)),
            20..45 => daemon.iter().for_each(|daemon| daemon.client.cut(false)),
            45..50 => daemon.iter().for_each(|daemon| daemon.client.expire()),
            50..57 => daemon
                .iter()
                .for_each(|daemon| daemon.client.lose_watches()),
            57..65 => {
                self.history().note("daemons killed");
                host.kill();
            }
            65..80 => host.start(),
            80..83 => {
                self.history().note("disks emptied");
                host.wipe();
            }
            83..88 => {
                let pause = Duration::from_secs(chance::below(30) as u64);
                host.machine().paused = self.store.now() + pause;
            }
            88..90 => {
                self.history().observe();
                self.store.compact();
            }
            _ => drop(self.store.arrive()),
        }
    }

    /// What a user of a host wants next.
    pub(super) fn user(&self, host: &Host, daemon: &Daemon) {
        let networks: Vec<NetworkSpec> =
            daemon.networks.lock().unwrap().values().cloned().collect();
        let network = chance::pick(&networks).cloned();
        let endpoints: Vec<EndpointId> = host.machine().endpoints.keys().copied().collect();
        // Refusals are part of the game; what must not be, the history sees.
        let _ = match (chance::below(100), network) {
            (0..8, _) => self.create(daemon),
            (8..55, Some(network)) => host.connect(daemon, network.id, None),
            (55..65, Some(network)) => {
                let addr = some_address(&network);
                host.connect(daemon, network.id, Some(addr))
            }
            (65..88, _) => {
                let gone = chance::pick(&endpoints).and_then(|id| host.disconnect(daemon, *id));
                match gone.filter(|_| chance::per_mille(200)) {
                    // It is started again.
                    Some(gone) => {
                        let addr = gone.addresses[0].addr();
                        host.connect(daemon, gone.network, Some(addr))
                    }
                    None => Ok(()),
                }
            }
            (88..93, Some(network)) => daemon.core.remove_network(network.id).map(drop),
            (93..96, _) => {
                let dead = self.hosts_to_forget();
                match chance::pick(&dead) {
                    Some(id) => daemon.core.forget(&id.to_string()),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        };
    }

    /// Hosts that the store knows: the rest is up to the cluster, which refuses those that live. Of
    /// many, few would be others.
    fn hosts_to_forget(&self) -> Vec<HostId> {
        let history = self.history();
        let keys = history.records.keys();
        let hosts = keys.filter_map(|key| match Shared::parse(key) {
            Some(Shared::Host(id)) => Some(id),
            _ => None,
        });
        let lives = |id: &HostId| {
            let alive = Shared::Alive(*id).key();
            history.records.contains_key(&alive)
        };
        hosts.filter(|id| !self.has_many() || !lives(id)).collect()
    }

    pub(super) fn create(&self, daemon: &Daemon) -> vw_model::Result<()> {
        let (spec, mut request) = network();
        if !self.rough.load(Ordering::SeqCst) {
            // Whoever counts what is there wants room for it.
            request.pools.clear();
        }
        let spec = daemon.core.create_network(spec, &request, &[], true)?;
        daemon.networks.lock().unwrap().insert(spec.id, spec);
        self.history().note("networks made");
        Ok(())
    }

    /// Lets everything come to rest, with nothing going wrong any more.
    pub(super) fn calm(&self) {
        self.rough.store(false, Ordering::SeqCst);
        while self.store.arrive() {}
        for host in self.hosts() {
            host.start();
            host.machine().paused = Duration::ZERO;
            host.daemon()
                .iter()
                .for_each(|daemon| daemon.client.cut(false));
        }
        // Of many, who reads everything anew waits for its turn first.
        let rounds = if self.has_many() { 24 } else { 32 };
        for _ in 0..rounds {
            self.round();
        }
    }

    /// One step of every thread, but users.
    pub(super) fn round(&self) {
        for host in self.hosts() {
            for role in [Role::Present, Role::Follow, Role::Work] {
                host.step(role);
            }
        }
        self.store.advance(Duration::from_millis(1200));
        self.history().observe();
    }

    /// What every host must see once all is at rest.
    pub(super) fn check_rest(&self) {
        let mut all: BTreeMap<EndpointId, RemoteEndpoint> = BTreeMap::new();
        for host in self.hosts() {
            all.extend(host.machine().endpoints.clone());
        }
        let networks: BTreeSet<NetworkId> = self.history().networks.keys().copied().collect();
        for host in self.hosts() {
            let daemon = host.daemon().expect("all were started");
            let state = daemon.core.state();
            // Former selves of hosts that started over are there until somebody forgets them.
            let seen: BTreeSet<HostId> = state.mirror.remote_hosts().iter().map(|h| h.id).collect();
            let mut others = self.hosts().iter().filter(|other| other.n != host.n);
            let unseen = others.find(|other| !seen.contains(&other.id()));
            assert!(
                unseen.is_none(),
                "host {} is not seen by {}",
                unseen.map_or(0, |h| h.n),
                host.n
            );
            let known: BTreeSet<NetworkId> = state.mirror.networks.keys().copied().collect();
            assert_eq!(known, networks, "networks of host {}", host.n);
            let id = host.id();
            let seen: BTreeMap<EndpointId, RemoteEndpoint> = networks
                .iter()
                .flat_map(|network| state.mirror.remote_endpoints(*network))
                .map(|endpoint| (endpoint.id, RemoteEndpoint::clone(&endpoint)))
                .collect();
            let others = all.iter().filter(|(_, endpoint)| endpoint.host != id);
            let others: BTreeMap<_, _> = others
                .map(|(id, endpoint)| (*id, endpoint.clone()))
                .collect();
            check_equal(host.n, &seen, &others);
            check_holders(host, &state.holdings);
        }
        let history = self.history();
        let published = history
            .records
            .keys()
            .filter_map(|key| match Shared::parse(key) {
                Some(Shared::Endpoint(network, host, id))
                    if history.networks.contains_key(&network) && history.member(host) =>
                {
                    Some((id, host))
                }
                _ => None,
            });
        let living: BTreeSet<_> = self.hosts().iter().map(|host| host.id()).collect();
        let published: BTreeSet<EndpointId> = published
            .filter(|(_, host)| living.contains(host))
            .map(|(id, _)| id)
            .collect();
        assert_eq!(
            published,
            all.keys().copied().collect(),
            "endpoints in the store"
        );
        self.check_grants(&history, &living);
    }

    /// Nothing is left of what was asked for, and what was given away is held.
    fn check_grants(&self, history: &History, living: &BTreeSet<HostId>) {
        for (key, value) in &history.records {
            match Shared::parse(key) {
                Some(Shared::Request(network, addr)) if history.networks.contains_key(&network) => {
                    let request: crate::record::RequestRecord =
                        crate::record::decode(value).unwrap();
                    assert!(
                        !living.contains(&request.host),
                        "the request for {addr} is left"
                    );
                }
                Some(Shared::Grant(network, addr)) if history.networks.contains_key(&network) => {
                    let grant: crate::record::GrantRecord = crate::record::decode(value).unwrap();
                    let holders = history.leases.get(&(network, addr));
                    let held = holders.and_then(|holders| holders.get(&grant.host));
                    let dead = !living.contains(&grant.host);
                    assert!(dead || held.is_some(), "the grant of {addr} is left");
                }
                _ => {}
            }
        }
    }

    /// Removes everything that there is, which nothing may be left to hinder.
    pub(super) fn dismantle(&self) {
        for host in self.hosts() {
            let daemon = host.daemon().expect("all were started");
            let endpoints: Vec<EndpointId> = host.machine().endpoints.keys().copied().collect();
            endpoints
                .iter()
                .for_each(|id| drop(host.disconnect(&daemon, *id)));
        }
        (0..3).for_each(|_| self.round());
        self.lively.store(true, Ordering::SeqCst);
        let networks: Vec<NetworkId> = self.history().networks.keys().copied().collect();
        let daemon = self.hosts()[0].daemon().expect("all were started");
        for network in networks {
            // A host may be slow to answer; none may refuse.
            let mut results = (0..5).map(|_| daemon.core.remove_network(network));
            let end = results.find(
                |result| !matches!(result, Err(error) if error.reason == "cluster-hosts-silent"),
            );
            let end = end.expect("every host answers in time");
            end.unwrap_or_else(|error| panic!("{network:?} cannot be removed: {error}"));
        }
        self.history().observe();
        assert!(self.history().networks.is_empty());
    }
}

/// What a host sees must be what there is; else a few differences are told.
/// Each address that a host holds is of one endpoint, which has it.
fn check_holders(host: &Host, holdings: &Holdings) {
    let machine = host.machine();
    for (network, held) in &holdings.0 {
        let endpoints = machine.endpoints.values();
        let on: BTreeMap<_, _> = endpoints
            .filter(|endpoint| endpoint.network == *network)
            .map(|endpoint| (endpoint.addresses[0].addr(), endpoint.id))
            .collect();
        let users: BTreeSet<EndpointId> = on.values().copied().collect();
        assert_eq!(held.users(), users, "of {network:?} on host {}", host.n);
        for (addr, grant) in &held.grants {
            let by = on.get(addr);
            assert!(
                grant.state.is_over() || by == Some(&grant.holder),
                "host {}: {grant:?} is used by {by:?}",
                host.n
            );
        }
    }
}

fn check_equal(
    host: usize,
    seen: &BTreeMap<EndpointId, RemoteEndpoint>,
    others: &BTreeMap<EndpointId, RemoteEndpoint>,
) {
    let few = |of: &BTreeMap<EndpointId, RemoteEndpoint>, but: &BTreeMap<_, _>| -> Vec<_> {
        let differ = of
            .iter()
            .filter(|(id, endpoint)| but.get(*id) != Some(*endpoint));
        differ
            .map(|(_, endpoint)| endpoint.clone())
            .take(3)
            .collect()
    };
    let (extra, missing) = (few(seen, others), few(others, seen));
    assert!(
        extra.is_empty() && missing.is_empty(),
        "host {host} sees {extra:#?}, does not see {missing:#?}"
    );
}
