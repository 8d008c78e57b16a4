//! Hosts of a cluster without a kernel: each takes part in a real store by the daemon's own code
//! (`vw-cluster`), with its threads, its watch and its presence, and notes when it is told of an
//! endpoint. What a daemon does then (names, neighbours) it does not.

use crate::Result;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use vw_cluster::{Cluster, Delta, Follower, Settings};
use vw_model::{EndpointId, HostId, IpNet, MacAddr, NetworkId, RemoteEndpoint, SandboxId};
use vw_store::{Memory, cluster};
use vw_testkit::{Host, poll};

/// Whatever the machine does besides, hosts join and hear within this.
const SOON: Duration = Duration::from_secs(60);

/// Some hosts, which end together.
pub(crate) struct Crowd(Vec<Simulated>);

/// One host.
pub(crate) struct Simulated {
    cluster: Arc<Cluster>,
    ear: Arc<Ear>,
}

/// When a host was told of the endpoints of others, by each of their names.
#[derive(Default)]
struct Ear {
    told: Mutex<HashMap<String, Told>>,
    joined: AtomicBool,
}

#[derive(Clone, Copy)]
struct Told {
    id: EndpointId,
    came: Instant,
    went: Option<Instant>,
}

impl Follower for Ear {
    fn follow(&self, deltas: Vec<Delta>) {
        let now = Instant::now();
        let mut told = self.told();
        for delta in deltas {
            match delta {
                Delta::Endpoint(endpoint) => {
                    let first = Told {
                        id: endpoint.id,
                        came: now,
                        went: None,
                    };
                    for name in &endpoint.names {
                        told.entry(name.clone()).or_insert(first);
                    }
                }
                Delta::EndpointGone(_, id, _) => {
                    let known = told.values_mut().filter(|told| told.id == id);
                    known.for_each(|told| told.went = Some(now));
                }
                Delta::Joined => self.joined.store(true, Ordering::Relaxed),
                _ => {}
            }
        }
    }
}

impl Ear {
    fn told(&self) -> MutexGuard<'_, HashMap<String, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    /// Has hosts of these numbers, at least 1, join the cluster of the store at `url` from within
    /// a host's namespace. They advertise addresses out of 198.18.0.0/15 (RFC 2544), which nothing
    /// answers at.
    pub(crate) fn join(place: &Host, url: &str, numbers: Range<u16>) -> Result<Self> {
        let joined: Result<Vec<Simulated>> =
            place.enter(|| numbers.map(|number| Simulated::join(url, number)).collect());
        let crowd = Self(joined?);
        for host in &crowd.0 {
            let joined = || host.ear.joined.load(Ordering::Relaxed).then_some(());
            poll(SOON, joined).ok_or("a simulated host does not join")?;
        }
        Ok(crowd)
    }

    /// The hosts.
    pub(crate) fn hosts(&self) -> &[Simulated] {
        &self.0
    }

    /// Waits until every host knows the network of that name.
    pub(crate) fn know(&self, network: &str) -> Result<NetworkId> {
        let mut id = None;
        for host in &self.0 {
            let known = || {
                let networks = host.cluster.networks();
                let known = networks.iter().find(|spec| spec.name.as_str() == network);
                known.map(|spec| spec.id)
            };
            id = Some(poll(SOON, known).ok_or("a network is not known to all")?);
        }
        id.ok_or_else(|| "there is no host".into())
    }

    /// When the last host heard of an endpoint of that name.
    pub(crate) fn heard(&self, name: &str) -> Result<Option<Instant>> {
        self.all(name, |told| Some(told.came))
    }

    /// When the last host heard that it is gone.
    pub(crate) fn missed(&self, name: &str) -> Result<Option<Instant>> {
        self.all(name, |told| told.went)
    }

    /// Waits for all but the host that made it, and takes the last; `None` without any host.
    fn all(&self, name: &str, what: fn(Told) -> Option<Instant>) -> Result<Option<Instant>> {
        let mut last = None;
        for host in &self.0 {
            let heard = || host.ear.told().get(name).copied().and_then(what);
            let heard = poll(SOON, heard).ok_or_else(|| format!("{name} is not heard of"))?;
            last = last.max(Some(heard));
        }
        Ok(last)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // Each waits for its threads: all at once.
        std::thread::scope(|scope| {
            for host in &self.0 {
                scope.spawn(|| host.cluster.close());
            }
        });
    }
}

impl Simulated {
    fn join(url: &str, number: u16) -> Result<Self> {
        let options = cluster::Options::parse::<&str>([])?;
        let store = cluster::connect(&url.parse()?, &options)?;
        let [high, low] = number.to_be_bytes();
        let advertise = IpAddr::from([198, 18, high, low]);
        let mut id = [0x5a; 32];
        id[..2].copy_from_slice(&[high, low]);
        let name = format!("simulated-{number}");
        let settings = Settings::new(HostId::from_bytes(id), name, advertise, "0", unique);
        let ear = Arc::<Ear>::default();
        let copy = Arc::new(Memory::new());
        let cluster = Cluster::start(store, copy, settings, ear.clone())?;
        cluster.settled();
        Ok(Self { cluster, ear })
    }

    /// Has an endpoint of that name known to the others, at an address that the caller keeps apart
    /// from all others.
    pub(crate) fn publish(&self, network: NetworkId, name: &str, addr: Ipv4Addr) {
        self.cluster.publish(RemoteEndpoint {
            id: EndpointId::from_bytes(unique()),
            network,
            // Both are the host's own, whatever stands here.
            host: HostId::from_bytes([0; 32]),
            tunnel: IpAddr::from([0, 0, 0, 0]),
            sandbox: SandboxId::from_bytes(unique()),
            mac: MacAddr::derived_from(addr.into()),
            addresses: vec![IpNet::new_assert(addr.into(), 16)],
            names: vec![name.to_owned()],
            ports: Vec::new(),
            service: None,
            away: false,
        });
    }

    /// How many endpoints of others it knows on a network.
    pub(crate) fn count(&self, network: NetworkId) -> usize {
        self.cluster.remote_endpoints(network).len()
    }
}

/// Other bits each time.
fn unique() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Spread, so that short forms differ too; apart from those of another run, whose records a
    // store may still have.
    let bits = NEXT.fetch_add(1, Ordering::Relaxed);
    let bits = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 32];
    bytes
        .chunks_exact_mut(8)
        .for_each(|chunk| chunk.copy_from_slice(&bits.to_be_bytes()));
    bytes
}
