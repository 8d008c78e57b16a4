//! One host: the process of a daemon with a controller that does what the real one does, and with
//! users of its own.

use super::log::{self, Event, Lease, Log, Why, now};
use crate::{
    Cluster, Delta, Follower, Settings,
    core::{Core, State},
    mirror::Life,
    opening::open,
    simulation::{chance, family, network, some_address},
    time::Time,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, hash_map::RandomState},
    fs,
    hash::{BuildHasher, Hasher},
    net::IpAddr,
    path::{Path, PathBuf},
    process::abort,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use vw_model::{
    EndpointId, Family, HostId, Kind, MacAddr, NetworkId, NetworkSpec, RemoteEndpoint, Result,
    SandboxId,
};
use vw_store::{
    Embedded, Schema,
    cluster::{ClusterUrl, Options, connect},
};

/// What the process is told by this variable.
pub(super) const PART: &str = "VETHWORK_TRIAL_HOST";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) url: String,
    pub(super) number: u8,
    pub(super) seed: u64,
    pub(super) ttl: Duration,
    /// Shared by all hosts.
    pub(super) folder: PathBuf,
}

impl Part {
    /// What is lost with the machine.
    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join(format!("disk-{}", self.number))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join(format!("log-{}", self.number))
    }

    pub(super) fn state(&self) -> PathBuf {
        self.folder.join(format!("state-{}", self.number))
    }
}

/// When this file is there, users rest and hosts say how they see the cluster.
pub(super) const CALM: &str = "calm";
/// When this one is there, everything is taken down.
pub(super) const EMPTY: &str = "empty";

/// The cluster as a host sees it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) host: Option<HostId>,
    pub(super) hosts: BTreeSet<HostId>,
    pub(super) networks: BTreeSet<NetworkId>,
    /// Its own endpoints.
    pub(super) own: BTreeSet<(EndpointId, IpAddr)>,
    /// Those of the others.
    pub(super) others: BTreeSet<(EndpointId, IpAddr)>,
}

struct Controller {
    part: Part,
    host: HostId,
    log: Log,
    /// Held by each user while it has something done, as a sandbox's lock is.
    ops: [Mutex<()>; USERS],
    /// What is in use here.
    endpoints: Mutex<BTreeMap<EndpointId, RemoteEndpoint>>,
    networks: Mutex<BTreeMap<NetworkId, NetworkSpec>>,
}

/// How many want something at once; one that waits for the store does not keep the others.
const USERS: usize = 4;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until it is killed.
pub(super) fn run(part: &Part) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        abort();
    }));
    chance::seed(part.seed);
    let host = identity(&part.disk());
    let held = log::held(&log::read(&part.log()));
    let controller = Arc::new(Controller {
        log: Log::open(&part.log()),
        part: part.clone(),
        host,
        ops: Default::default(),
        endpoints: Mutex::default(),
        networks: Mutex::default(),
    });
    controller.log.note(Event::Started(host));
    let core = controller.open();
    let parent = rustix::process::getppid();
    let cluster = controller.resume(&core, held).expect("threads");
    std::thread::scope(|scope| {
        for user in 0..USERS {
            let (controller, core, cluster) = (&controller, &core, &cluster);
            scope.spawn(move || {
                chance::seed(part.seed * USERS as u64 + user as u64);
                while rustix::process::getppid() == parent {
                    controller.live(user, core, cluster);
                    let pause = Duration::from_millis(10 + chance::below(100) as u64);
                    core.wait_for::<()>(core.time.now() + pause, |_| None);
                }
            });
        }
    });
}

/// Bits that no other process or thread has.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    bytes
}

/// The host's id, made with its disk.
fn identity(disk: &Path) -> HostId {
    fs::create_dir_all(disk).expect("the folder is there");
    let file = disk.join("id");
    if let Ok(text) = fs::read_to_string(&file) {
        return text.parse().expect("an id");
    }
    let id = HostId::from_bytes(chance::bytes());
    let (new, text) = (disk.join("id.new"), id.to_string());
    fs::write(&new, text).expect("the disk is there");
    fs::rename(new, file).expect("the disk is there");
    id
}

impl Controller {
    fn open(self: &Arc<Self>) -> Arc<Core> {
        let part = &self.part;
        let url: ClusterUrl = part.url.parse().expect("a store");
        let store = connect(&url, &Options::parse(&[] as &[&str]).expect("none")).expect("a store");
        let copy = Embedded::open(&part.disk().join("copy"), Schema::CURRENT).expect("a copy");
        let name = format!("host-{}", part.number);
        let advertise = IpAddr::from([192, 0, 2, part.number]);
        let mut settings = Settings::new(self.host, name, advertise, "0.1", random);
        settings.ttl = part.ttl;
        settings.idle = Duration::from_secs(2);
        settings.patience = Duration::from_secs(2);
        let time = Box::new(Skewed {
            start: Instant::now(),
            rate: 60 + chance::below(120) as u32,
            offset: Duration::from_secs(chance::below(1000) as u64),
        });
        open(store, Arc::new(copy), settings, self.clone(), time).expect("it opens")
    }

    /// What a controller does at its start.
    fn resume(&self, core: &Arc<Core>, held: Vec<Lease>) -> Result<Arc<Cluster>> {
        let _ops = self.ops.each_ref().map(lock);
        let mut endpoints = lock(&self.endpoints);
        let cluster = Cluster::over(core.clone())?;
        // It reads its records, and brings the kernel to them: others go on meanwhile.
        let take_time = || {
            let time = Duration::from_millis(chance::below(300) as u64);
            core.wait_for::<()>(core.time.now() + time, |_| None);
        };
        take_time();
        for lease in held {
            match cluster.hold(lease.network, lease.addr, lease.id) {
                Ok(_) => {
                    let endpoint = self.endpoint(lease);
                    endpoints.insert(lease.id, endpoint.clone());
                    cluster.publish(endpoint);
                }
                Err(_) => self.log.note(Event::Dropped(lease, Why::Lost)),
            }
        }
        take_time();
        cluster.settled();
        Ok(cluster)
    }

    fn endpoint(&self, lease: Lease) -> RemoteEndpoint {
        RemoteEndpoint {
            id: lease.id,
            network: lease.network,
            host: self.host,
            tunnel: IpAddr::from([192, 0, 2, self.part.number]),
            mac: MacAddr::derived_from(lease.addr),
            addresses: vec![lease.addr.into()],
            names: Vec::new(),
            sandbox: SandboxId::from_bytes([0; 32]),
            ports: Vec::new(),
            service: None,
            away: false,
        }
    }

    /// What a user does next.
    fn live(&self, user: usize, core: &Core, cluster: &Cluster) {
        let is_there = |name| self.part.folder.join(name).exists();
        if is_there(EMPTY) {
            self.take_down(user, cluster);
        } else if !is_there(CALM) {
            self.want(user, core, cluster);
        }
        if is_there(CALM) && user == 0 {
            self.tell(core, cluster);
        }
    }

    /// What a user wants next; refusals are part of the game.
    fn want(&self, user: usize, core: &Core, cluster: &Cluster) {
        let networks: Vec<NetworkSpec> = lock(&self.networks).values().cloned().collect();
        match (chance::below(100), chance::pick(&networks)) {
            (0..4, _) | (_, None) => {
                let (spec, request) = network();
                if let Ok(spec) = cluster.create_network(spec, &request, &[], true) {
                    self.log.note(Event::Made(spec.id));
                }
            }
            (4..55, Some(network)) => self.connect(user, cluster, network.id, None),
            (55..65, Some(network)) => {
                self.connect(user, cluster, network.id, Some(some_address(network)));
            }
            (65..88, _) => drop(self.disconnect_one(user, cluster)),
            (88..93, Some(network)) => {
                let since = now();
                if cluster.remove_network(network.id).is_ok() {
                    self.log.note(Event::Removed(network.id, since));
                }
            }
            (93.., _) => self.forget_one(core, cluster),
        }
    }

    fn connect(
        &self,
        user: usize,
        cluster: &Cluster,
        network: NetworkId,
        requested: Option<IpAddr>,
    ) {
        let _ops = lock(&self.ops[user]);
        let id = EndpointId::from_bytes(chance::bytes());
        let family = lock(&self.networks).get(&network).map(family);
        let family = family.unwrap_or(Family::V4);
        let Ok(addr) = cluster.lease(network, family, requested, id) else {
            return;
        };
        let addr = addr.addr();
        let lease = Lease { network, addr, id };
        self.log.note(Event::Leased(lease));
        let endpoint = self.endpoint(lease);
        lock(&self.endpoints).insert(id, endpoint.clone());
        cluster.publish(endpoint);
    }

    /// Says whether there was one.
    fn disconnect_one(&self, user: usize, cluster: &Cluster) -> bool {
        let _ops = lock(&self.ops[user]);
        let mut endpoints = lock(&self.endpoints);
        let ids: Vec<EndpointId> = endpoints.keys().copied().collect();
        let Some(endpoint) = chance::pick(&ids).and_then(|id| endpoints.remove(id)) else {
            return false;
        };
        let lease = lease_of(&endpoint);
        self.log.note(Event::Dropped(lease, Why::Asked));
        drop(endpoints);
        cluster.withdraw(lease.network, lease.id);
        cluster.release(lease.network, lease.addr, lease.id);
        true
    }

    fn forget_one(&self, core: &Core, cluster: &Cluster) {
        let dead: Vec<HostId> = {
            let state = core.state();
            let hosts = state.mirror.hosts.iter();
            let dead = hosts.filter(|(id, host)| **id != self.host && host.life == Life::Dead);
            dead.map(|(id, _)| *id).collect()
        };
        let Some(host) = chance::pick(&dead) else {
            return;
        };
        self.log.note(Event::Forgetting(*host));
        if let Err(error) = cluster.forget(&host.to_string())
            && error.kind != Kind::Unavailable
        {
            self.log.note(Event::NotForgotten(*host));
        }
    }

    /// Removes everything, which nothing may be left to hinder.
    fn take_down(&self, user: usize, cluster: &Cluster) {
        while self.disconnect_one(user, cluster) {}
        if self.part.number == 1 && user == 1 {
            for spec in cluster.networks() {
                // Others may use it still, or be slow to answer: it is tried again.
                let _ = cluster.remove_network(spec.id);
            }
        }
    }

    fn tell(&self, core: &Core, cluster: &Cluster) {
        let endpoints = lock(&self.endpoints);
        let pair = |endpoint: &RemoteEndpoint| (endpoint.id, endpoint.addresses[0].addr());
        let networks: BTreeSet<NetworkId> = core.state().mirror.networks.keys().copied().collect();
        let seen = Seen {
            host: Some(self.host),
            hosts: cluster.hosts().iter().map(|host| host.id).collect(),
            own: endpoints.values().map(pair).collect(),
            others: networks
                .iter()
                .flat_map(|network| cluster.remote_endpoints(*network))
                .map(|endpoint| pair(&endpoint))
                .collect(),
            networks,
        };
        drop(endpoints);
        let file = self.part.state();
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(&seen).expect("plain data")).expect("the folder");
        fs::rename(new, file).expect("the folder");
    }

    fn drop_all(&self, network: Option<NetworkId>, why: Why) {
        // Whoever is being connected is there when these are had.
        let _ops = self.ops.each_ref().map(lock);
        let mut endpoints = lock(&self.endpoints);
        endpoints.retain(|_, endpoint| {
            let goes = network.is_none_or(|id| endpoint.network == id);
            if goes {
                self.log.note(Event::Dropped(lease_of(endpoint), why));
            }
            !goes
        });
    }
}

fn lease_of(endpoint: &RemoteEndpoint) -> Lease {
    Lease {
        network: endpoint.network,
        addr: endpoint.addresses[0].addr(),
        id: endpoint.id,
    }
}

impl Follower for Controller {
    fn follow(&self, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Network(spec) => drop(lock(&self.networks).insert(spec.id, *spec)),
                Delta::NetworkGone(id) => {
                    self.drop_all(Some(id), Why::NetworkGone);
                    lock(&self.networks).remove(&id);
                }
                Delta::Forgotten => {
                    self.drop_all(None, Why::Forgotten);
                    self.log.note(Event::Forgotten);
                }
                Delta::Joined => self.log.note(Event::Joined),
                _ => {}
            }
        }
    }
}

/// A clock that runs at a speed of its own, and began somewhere else.
#[derive(Debug)]
struct Skewed {
    start: Instant,
    /// In per cent.
    rate: u32,
    offset: Duration,
}

impl Time for Skewed {
    fn now(&self) -> Duration {
        self.start.elapsed() * self.rate / 100 + self.offset
    }

    fn wait<'a>(
        &self,
        _state: &'a Mutex<State>,
        changed: &Condvar,
        guard: MutexGuard<'a, State>,
        at_most: Duration,
    ) -> MutexGuard<'a, State> {
        // Rounded up, so that a wait always ends.
        let at_most = at_most * 100 / self.rate + Duration::from_millis(1);
        let waited = changed.wait_timeout(guard, at_most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
