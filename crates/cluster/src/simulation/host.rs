//! One simulated host: a machine with a disk and containers, a daemon that may be dead, and a
//! controller that does what the real one does.

use super::{chance, networks::family, world::World};
use crate::{
    Delta, Follower, Settings,
    core::{Core, State},
    following::Following,
    holdings::{Grant, GrantState},
    opening,
    time::Time,
};
use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use vw_model::{
    EndpointId, Family, HostId, MacAddr, NetworkId, NetworkSpec, RemoteEndpoint, Result,
};
use vw_store::{
    Batch, Error, Memory, Store, Table,
    cluster::{Presence, memory::Client},
};

/// The threads of a daemon, and two that carry out what users want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Follow,
    Present,
    Work,
    User,
    Other,
}

pub(super) const ROLES: [Role; 5] = [
    Role::Follow,
    Role::Present,
    Role::Work,
    Role::User,
    Role::Other,
];

impl Role {
    /// Whether a user wants something.
    pub(super) const fn wants(self) -> bool {
        matches!(self, Self::User | Self::Other)
    }
}

/// What is noted of addresses that were granted for want of a block, by their family.
pub(super) const UNASKED: [&str; 2] = [
    "IPv4 addresses granted unasked",
    "IPv6 addresses granted unasked",
];

/// What is noted of an address that an endpoint gave back and another of its host took up.
pub(super) const TAKEN_UP: &str = "addresses taken up again";

/// A machine.
pub(super) struct Host {
    pub(super) n: usize,
    pub(super) world: Weak<World>,
    pub(super) machine: Mutex<Machine>,
    busy: [AtomicBool; ROLES.len()],
}

/// What a machine has.
pub(super) struct Machine {
    pub(super) id: HostId,
    disk: Arc<Memory>,
    pub(super) daemon: Option<Arc<Daemon>>,
    /// Its containers' endpoints, which the controller keeps on the disk, too.
    pub(super) endpoints: BTreeMap<EndpointId, RemoteEndpoint>,
    /// Paused, with all its threads, until this time.
    pub(super) paused: Duration,
    /// How fast its clock runs, in per cent.
    rate: u32,
    starts: u32,
}

/// One run of a daemon. When it was killed it may still be on the stack: then nothing that it
/// does has an effect.
pub(super) struct Daemon {
    pub(super) core: Arc<Core>,
    pub(super) client: Arc<Client>,
    pub(super) alive: Arc<AtomicBool>,
    /// Whether all that the machine has from before was told: nobody is served until then.
    serves: AtomicBool,
    following: Mutex<Following>,
    presence: Mutex<Option<Box<dyn Presence>>>,
    /// The networks that its controller knows.
    pub(super) networks: Mutex<BTreeMap<NetworkId, NetworkSpec>>,
}

impl Daemon {
    /// Whether it has taken up what its machine has from before.
    pub(super) fn serves(&self) -> bool {
        self.serves.load(Ordering::SeqCst)
    }
}

impl Host {
    pub(super) fn new(n: usize, world: Weak<World>) -> Self {
        Self {
            n,
            world,
            machine: Mutex::new(Machine {
                id: HostId::from_bytes(chance::bytes()),
                disk: Arc::default(),
                daemon: None,
                endpoints: BTreeMap::new(),
                paused: Duration::ZERO,
                rate: 100,
                starts: 0,
            }),
            busy: Default::default(),
        }
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> Arc<World> {
        self.world.upgrade().expect("the world outlives its hosts")
    }

    pub(super) fn id(&self) -> HostId {
        self.machine().id
    }

    pub(super) fn daemon(&self) -> Option<Arc<Daemon>> {
        self.machine().daemon.clone()
    }

    /// Runs one step of a role, unless that is on the stack already.
    pub(super) fn step(&self, role: Role) {
        let world = self.world();
        let paused = self.machine().paused > world.store.now();
        let busy = &self.busy[role as usize];
        if paused || busy.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(daemon) = self.daemon() {
            match role {
                Role::Follow => drop(daemon.core.follow(&mut daemon.following.lock().unwrap())),
                Role::Present => {
                    daemon
                        .core
                        .keep_present(&mut daemon.presence.lock().unwrap());
                }
                Role::Work => {
                    daemon.core.work();
                    if chance::per_mille(200) {
                        // A disk that fails is not played.
                        let _ = daemon.core.copy.flush();
                    }
                }
                Role::User | Role::Other if !daemon.serves() => {}
                Role::User | Role::Other => world.user(self, &daemon),
            }
        }
        busy.store(false, Ordering::SeqCst);
    }

    pub(super) fn kill(&self) {
        if let Some(daemon) = self.machine().daemon.take() {
            daemon.alive.store(false, Ordering::SeqCst);
            daemon.client.cut(true);
            daemon.core.state().closing = true;
        }
    }

    /// Loses the disk and all that ran.
    pub(super) fn wipe(&self) {
        self.kill();
        let mut machine = self.machine();
        let old = machine.id;
        let endpoints = std::mem::take(&mut machine.endpoints);
        machine.id = HostId::from_bytes(chance::bytes());
        machine.disk = Arc::default();
        drop(machine);
        let world = self.world();
        for endpoint in endpoints.values() {
            world
                .history()
                .released(endpoint.network, endpoint.addresses[0].addr(), old);
        }
    }

    /// Starts a daemon, with a controller that knows what is on the disk.
    pub(super) fn start(&self) {
        let world = self.world();
        let mut machine = self.machine();
        if machine.daemon.is_some() {
            return;
        }
        machine.starts += 1;
        machine.rate = 50 + chance::below(150) as u32;
        let name = format!("{}.{}", self.n, machine.starts);
        let client = world.store.client(&name);
        let alive = Arc::new(AtomicBool::new(true));
        let disk = Arc::new(Disk {
            disk: machine.disk.clone(),
            alive: alive.clone(),
            world: self.world.clone(),
        });
        let time = Box::new(Clock {
            world: self.world.clone(),
            host: self.n,
            rate: machine.rate,
        });
        let follower = Arc::new(Controller {
            world: self.world.clone(),
            host: self.n,
            alive: alive.clone(),
        });
        let mut settings = Settings::new(
            machine.id,
            format!("host-{}", self.n),
            IpAddr::from([192, 0, (self.n >> 8) as u8, self.n as u8]),
            "0.1",
            chance::bytes,
        );
        settings.idle = Duration::from_secs(10);
        let endpoints = machine.endpoints.clone();
        drop(machine);
        let core = opening::open(client.clone(), disk, settings, follower, time).expect("it opens");
        let daemon = Arc::new(Daemon {
            client,
            alive,
            serves: AtomicBool::new(false),
            following: Mutex::default(),
            presence: Mutex::default(),
            networks: Mutex::default(),
            core,
        });
        let specs: Vec<NetworkSpec> = {
            let state = daemon.core.state();
            let networks = state.mirror.networks.values();
            networks.map(|known| known.record.spec.clone()).collect()
        };
        daemon
            .networks
            .lock()
            .unwrap()
            .extend(specs.into_iter().map(|spec| (spec.id, spec)));
        self.machine().daemon = Some(daemon.clone());
        self.resume(&daemon, endpoints);
    }

    /// What a controller does at its start, while the daemon's threads and all others go on.
    fn resume(&self, daemon: &Daemon, endpoints: BTreeMap<EndpointId, RemoteEndpoint>) {
        let world = self.world();
        world.while_one_starts(self);
        for endpoint in endpoints.into_values() {
            let goes_on = daemon.alive.load(Ordering::SeqCst);
            if !goes_on || !self.machine().endpoints.contains_key(&endpoint.id) {
                // It was killed meanwhile, or told that the network is gone.
                continue;
            }
            let addr = endpoint.addresses[0].addr();
            if let Err(error) = daemon.core.hold(endpoint.network, addr, endpoint.id) {
                let id = self.id();
                let history = world.history();
                let there = history.networks.contains_key(&endpoint.network);
                let gone = !there || !history.member(id);
                drop(history);
                assert!(gone, "host {} lost {addr} over a restart: {error}", self.n);
                self.drop_endpoint(endpoint.id);
                continue;
            }
            daemon.core.state().outbox.publish(endpoint);
        }
        world.while_one_starts(self);
        daemon.core.settle();
        daemon.serves.store(true, Ordering::SeqCst);
    }

    /// Ends an endpoint on this machine, whatever the cluster knows.
    fn drop_endpoint(&self, id: EndpointId) -> Option<RemoteEndpoint> {
        let mut machine = self.machine();
        let host = machine.id;
        let endpoint = machine.endpoints.remove(&id)?;
        drop(machine);
        let addr = endpoint.addresses[0].addr();
        self.world()
            .history()
            .released(endpoint.network, addr, host);
        Some(endpoint)
    }

    pub(super) fn connect(
        &self,
        daemon: &Daemon,
        network: NetworkId,
        requested: Option<IpAddr>,
    ) -> Result<()> {
        let id = EndpointId::from_bytes(chance::bytes());
        let host = self.id();
        let known = daemon.networks.lock().unwrap().get(&network).map(family);
        let family = known.unwrap_or(Family::V4);
        let addr = daemon.core.lease(network, family, requested, id)?;
        if !daemon.alive.load(Ordering::SeqCst) {
            return Ok(());
        }
        // Forgotten, or the network is gone, in the last moment: the controller would see that.
        if daemon.core.state().holdings.get(network).is_none() {
            return Ok(());
        }
        let endpoint = RemoteEndpoint {
            id,
            network,
            host,
            tunnel: IpAddr::from([192, 0, (self.n >> 8) as u8, self.n as u8]),
            mac: MacAddr::derived_from(addr.addr()),
            addresses: vec![addr],
            names: vec![format!("c{}", chance::below(1000))],
            sandbox: vw_model::SandboxId::from_bytes([0; 32]),
            ports: Vec::new(),
            service: None,
            away: false,
        };
        let world = self.world();
        let mut history = world.history();
        history.observe();
        history.leased(network, addr.addr(), host, id);
        let state = daemon.core.state();
        let held = state.holdings.get(network);
        let own = held.is_some_and(|held| held.owns(addr.addr()));
        let grant = held.and_then(|held| held.grants.get(&addr.addr()));
        // Whoever waits for it asks the block's former host, which grants it no more.
        let vain = |grant: &&Grant| own && grant.state == GrantState::Wanted && grant.holder != id;
        let grant = grant.filter(|grant| !vain(grant));
        // The store knows the first holder alone.
        assert!(
            grant.is_none_or(|grant| grant.holder == id && grant.state == GrantState::Held),
            "{addr} is leased to {id:?}: {grant:?}"
        );
        match grant {
            Some(grant) if grant.grantee != id => history.note(TAKEN_UP),
            Some(_) if requested.is_some() => history.note("addresses granted by name"),
            Some(_) if family == Family::V4 => history.note(UNASKED[0]),
            Some(_) => history.note(UNASKED[1]),
            None => {}
        }
        drop(state);
        drop(history);
        self.machine().endpoints.insert(id, endpoint.clone());
        // Plans are made and carried out before an endpoint is published.
        if chance::per_mille(300) {
            world.act(6);
        }
        if !self.machine().endpoints.contains_key(&id) {
            return Ok(());
        }
        daemon.core.state().outbox.publish(endpoint);
        daemon.core.wake();
        Ok(())
    }

    pub(super) fn disconnect(&self, daemon: &Daemon, id: EndpointId) -> Option<RemoteEndpoint> {
        let endpoint = self.drop_endpoint(id)?;
        daemon.core.state().outbox.withdraw(endpoint.network, id);
        daemon
            .core
            .release(endpoint.network, endpoint.addresses[0].addr(), id);
        Some(endpoint)
    }
}

/// Takes the deltas of one run of a daemon.
struct Controller {
    world: Weak<World>,
    host: usize,
    alive: Arc<AtomicBool>,
}

impl Follower for Controller {
    fn follow(&self, deltas: Vec<Delta>) {
        let Some(world) = self
            .world
            .upgrade()
            .filter(|_| self.alive.load(Ordering::SeqCst))
        else {
            return;
        };
        let host = &world.hosts()[self.host];
        for delta in deltas {
            let of = |network: Option<NetworkId>| -> Vec<EndpointId> {
                let machine = host.machine();
                let endpoints = machine.endpoints.values();
                let on =
                    endpoints.filter(|endpoint| network.is_none_or(|id| endpoint.network == id));
                on.map(|endpoint| endpoint.id).collect()
            };
            let gone = match &delta {
                Delta::NetworkGone(id) => of(Some(*id)),
                Delta::Forgotten => {
                    world.history().note("hosts that learn they were forgotten");
                    of(None)
                }
                _ => Vec::new(),
            };
            for id in gone {
                host.drop_endpoint(id);
            }
            if let Some(daemon) = host.daemon() {
                let mut networks = daemon.networks.lock().unwrap();
                match delta {
                    Delta::Network(spec) => drop(networks.insert(spec.id, *spec)),
                    Delta::NetworkGone(id) => drop(networks.remove(&id)),
                    _ => {}
                }
            }
        }
    }
}

/// A disk as a daemon sees it: one that was killed writes no more. To write takes time.
struct Disk {
    disk: Arc<Memory>,
    alive: Arc<AtomicBool>,
    world: Weak<World>,
}

impl Disk {
    fn between(&self) {
        if let Some(world) = self.world.upgrade() {
            world.between();
        }
    }
}

impl Store for Disk {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.between();
        if !self.alive.load(Ordering::SeqCst) {
            return Err(Error::Injected { nth: 0 });
        }
        self.disk.commit(batch)?;
        self.between();
        Ok(())
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.disk.get(table, key)
    }

    fn scan_prefix(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.disk.scan_prefix(table, prefix)
    }
}

/// A host's clock, which runs at its own speed; to wait is to let others go on.
struct Clock {
    world: Weak<World>,
    host: usize,
    rate: u32,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clock of host {}", self.host)
    }
}

impl Time for Clock {
    fn now(&self) -> Duration {
        let world = self.world.upgrade().expect("the world outlives its hosts");
        world.store.now() * self.rate / 100 + Duration::from_secs(self.host as u64)
    }

    fn wait<'a>(
        &self,
        state: &'a Mutex<State>,
        _changed: &Condvar,
        guard: MutexGuard<'a, State>,
        at_most: Duration,
    ) -> MutexGuard<'a, State> {
        drop(guard);
        let world = self.world.upgrade().expect("the world outlives its hosts");
        // Rounded up, so that a wait always ends.
        world.meanwhile(at_most * 100 / self.rate + Duration::from_millis(1));
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
