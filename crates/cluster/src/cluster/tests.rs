//! Hosts with their threads, over a store in memory by the machine's clock.

mod ahead;
mod asking;
mod away;
mod changed;
mod compared;
mod dead;
mod disk;
mod ends;
mod hiding;
mod joining;
mod left;
mod midway;
mod newer;
mod order;
mod outbox;
mod restored;
mod room;
mod roster;
mod services;
mod silent;
mod stale;
mod starting;
mod taken_up;
mod told;
mod unknown;
mod unnoticed;
mod unseen;
mod unwatched;

use self::told::Told;
use super::Cluster;
use crate::{Delta, Settings, StoreState};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use vw_ipam::{NetworkRequest, PoolRequest};
use vw_model::{
    EndpointId, Family, HostId, IpNet, IpamSpec, Kind, MacAddr, NetworkId, NetworkSpec,
    RemoteEndpoint, Scope,
};
use vw_store::{
    Memory,
    cluster::memory::{Client, MemoryStore},
};
use vw_testkit::{eventually, stays};

const SOON: Duration = Duration::from_secs(20);

/// A host with what it is told.
struct Host {
    cluster: Arc<Cluster>,
    client: Arc<Client>,
    local: Arc<Memory>,
    told: Arc<Told>,
    id: HostId,
    n: u8,
}

fn random() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Spread, so that short forms differ too.
    let bits = NEXT
        .fetch_add(1, Ordering::SeqCst)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0; 32];
    bytes
        .chunks_exact_mut(8)
        .for_each(|chunk| chunk.copy_from_slice(&bits.to_be_bytes()));
    bytes
}

fn settings(n: u8) -> Settings {
    let id = HostId::from_bytes([n; 32]);
    let advertise = IpAddr::from([192, 0, 2, n]);
    Settings {
        ttl: Duration::from_secs(1),
        idle: Duration::from_secs(1),
        patience: Duration::from_secs(3),
        ..Settings::new(id, format!("host-{n}"), advertise, "0.1", random)
    }
}

impl Host {
    fn new(store: &MemoryStore, n: u8) -> Self {
        Self::start(
            store.client(&format!("host-{n}")),
            Arc::new(Memory::new()),
            n,
        )
    }

    fn start(client: Arc<Client>, local: Arc<Memory>, n: u8) -> Self {
        let host = Self::unsettled(client, local, n);
        host.cluster.settled();
        host
    }

    fn unsettled(client: Arc<Client>, local: Arc<Memory>, n: u8) -> Self {
        Self::leased_for(Duration::from_secs(1), client, local, n)
    }

    /// One whose calls wait so long.
    fn patient(patience: Duration, client: Arc<Client>, n: u8) -> Self {
        let local = Arc::new(Memory::new());
        let mut settings = settings(n);
        settings.patience = patience;
        let host = Self::of(settings, client, local, n);
        host.cluster.settled();
        host
    }

    /// One whose presence lasts so long.
    fn leased_for(ttl: Duration, client: Arc<Client>, local: Arc<Memory>, n: u8) -> Self {
        let mut settings = settings(n);
        settings.ttl = ttl;
        Self::of(settings, client, local, n)
    }

    fn of(settings: Settings, client: Arc<Client>, local: Arc<Memory>, n: u8) -> Self {
        let id = settings.host;
        let told = Arc::new(Told::default());
        let cluster =
            Cluster::start(client.clone(), local.clone(), settings, told.clone()).unwrap();
        Self {
            cluster,
            client,
            local,
            told,
            id,
            n,
        }
    }

    /// Ends its daemon and starts it again, with nothing told.
    fn restart(self) -> Self {
        self.cluster.close();
        Self::unsettled(self.client.clone(), self.local.clone(), self.n)
    }

    fn create(&self, name: &str) -> NetworkSpec {
        let spec = spec(name);
        let request = request(&[]);
        let mut result = None;
        eventually("the host has joined", SOON, || {
            match self
                .cluster
                .create_network(spec.clone(), &request, &[], true)
            {
                Err(error) if error.reason == "cluster-not-joined" => false,
                other => {
                    result = Some(other.expect("a network"));
                    true
                }
            }
        });
        result.unwrap()
    }

    fn lease(&self, network: NetworkId, endpoint: EndpointId) -> IpNet {
        self.cluster
            .lease(network, Family::V4, None, endpoint)
            .expect("an address")
    }

    /// Leases an address of another host's block, which may not be known to live for a moment: on a
    /// busy machine a presence ends now and then.
    fn lease_at(&self, network: NetworkId, addr: IpAddr, endpoint: EndpointId) -> IpNet {
        let mut leased = None;
        eventually("the block's host consents", SOON, || {
            let result = self
                .cluster
                .lease(network, Family::V4, Some(addr), endpoint);
            match result {
                Err(error) if error.kind == Kind::Unavailable => {}
                result => leased = Some(result.expect("nobody has it")),
            }
            leased.is_some()
        });
        leased.expect("it is an address")
    }

    /// Makes an endpoint as the controller does.
    fn connect(&self, network: NetworkId, name: &str) -> RemoteEndpoint {
        let id = EndpointId::from_bytes(random());
        let addr = self.lease(network, id);
        let endpoint = RemoteEndpoint {
            id,
            network,
            host: self.id,
            tunnel: IpAddr::from([192, 0, 2, self.n]),
            mac: MacAddr::derived_from(addr.addr()),
            addresses: vec![addr],
            names: vec![name.to_owned()],
            sandbox: vw_model::SandboxId::from_bytes(random()),
            ports: Vec::new(),
            service: None,
            away: false,
        };
        self.cluster.publish(endpoint.clone());
        endpoint
    }

    fn disconnect(&self, endpoint: &RemoteEndpoint) {
        self.cluster.withdraw(endpoint.network, endpoint.id);
        for addr in &endpoint.addresses {
            self.cluster
                .release(endpoint.network, addr.addr(), endpoint.id);
        }
    }

    fn sees(&self, endpoint: &RemoteEndpoint) -> bool {
        self.cluster
            .remote_endpoints(endpoint.network)
            .iter()
            .any(|seen| **seen == *endpoint)
    }

    fn knows(&self, network: NetworkId) -> bool {
        self.cluster
            .networks()
            .iter()
            .any(|spec| spec.id == network)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.cluster.close();
    }
}

fn spec(name: &str) -> NetworkSpec {
    NetworkSpec {
        id: NetworkId::from_bytes(random()),
        name: name.parse().unwrap(),
        driver: "overlay".to_owned(),
        scope: Scope::Global,
        created: SystemTime::UNIX_EPOCH,
        enable_ipv4: true,
        enable_ipv6: false,
        internal: false,
        attachable: true,
        predefined: false,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: BTreeMap::new(),
            pools: Vec::new(),
        },
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

fn request(subnets: &[&str]) -> NetworkRequest {
    let pools = subnets.iter().map(|subnet| PoolRequest {
        subnet: subnet.parse().unwrap(),
        ip_range: None,
        gateway: None,
        aux: BTreeMap::new(),
    });
    NetworkRequest {
        pools: pools.collect(),
        ipv4: true,
        ipv6: false,
        gateway: true,
    }
}

#[test]
fn a_network_made_on_one_host_is_used_on_another_and_endpoints_find_each_other() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    assert_eq!(
        network.options["com.docker.network.driver.overlay.vxlanid_list"],
        "4096"
    );
    assert!(network.ipam.pools[0].gateway.is_some());
    let one = a.connect(network.id, "one");
    eventually("the network is known", SOON, || b.knows(network.id));
    let two = b.connect(network.id, "two");
    eventually("they see each other", SOON, || a.sees(&two) && b.sees(&one));
    assert_ne!(one.addresses, two.addresses);
    assert_eq!(b.cluster.hosts().len(), 1);
    b.disconnect(&two);
    eventually("it is gone", SOON, || !a.sees(&two));
    let told = b.told.deltas.lock().unwrap().clone();
    let order: Vec<&str> = told
        .iter()
        .map(|delta| match delta {
            Delta::Network(_) => "network",
            Delta::Endpoint(_) => "endpoint",
            _ => "",
        })
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(order, ["network", "endpoint"]);
}

#[test]
fn what_is_taken_is_refused_in_dockers_words() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    let blue = a.create("blue");
    let again = a
        .cluster
        .create_network(spec("blue"), &request(&[]), &[], true)
        .unwrap_err();
    assert_eq!(again.kind, Kind::Conflict);
    assert_eq!(again.message, "network with name blue already exists");
    let subnet = blue.ipam.pools[0].subnet.to_string();
    let overlap = a
        .cluster
        .create_network(spec("red"), &request(&[&subnet]), &[], true)
        .unwrap_err();
    assert_eq!(
        (overlap.kind, overlap.reason),
        (Kind::Forbidden, "pool-overlap")
    );
    let mut numbered = spec("red");
    numbered
        .options
        .insert(crate::catalogue::VNI_OPTION.into(), "4096".into());
    let vni = a
        .cluster
        .create_network(numbered.clone(), &request(&[]), &[], true)
        .unwrap_err();
    assert_eq!((vni.kind, vni.reason), (Kind::Conflict, "vni-in-use"));
    numbered
        .options
        .insert(crate::catalogue::VNI_OPTION.into(), "0".into());
    let vni = a
        .cluster
        .create_network(numbered, &request(&[]), &[], true)
        .unwrap_err();
    assert_eq!(
        (vni.kind, vni.reason),
        (Kind::InvalidArgument, "vni-invalid")
    );
    let foreign = ["10.64.16.0/20".parse().unwrap()];
    let green = a
        .cluster
        .create_network(spec("green"), &request(&[]), &foreign, true)
        .unwrap();
    assert_eq!(green.ipam.pools[0].subnet.to_string(), "10.64.32.0/20");
    assert_eq!(green.options[crate::catalogue::VNI_OPTION], "4097");
}

#[test]
fn a_network_goes_only_when_no_living_host_uses_it() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let two = b.connect(network.id, "two");
    let refused = a.cluster.remove_network(network.id).unwrap_err();
    assert_eq!(
        (refused.kind, refused.reason),
        (Kind::Forbidden, "network-has-endpoints")
    );
    assert!(
        refused.message.contains("name:\"two\"") && refused.message.contains("host-2"),
        "{refused}"
    );
    // A lease alone keeps it as well: the endpoint may be about to be published.
    b.cluster.withdraw(network.id, two.id);
    eventually("it is gone", SOON, || !a.sees(&two));
    let refused = a.cluster.remove_network(network.id).unwrap_err();
    assert_eq!(refused.reason, "network-has-endpoints", "{refused}");
    b.disconnect(&two);
    a.cluster.remove_network(network.id).unwrap();
    assert!(!a.knows(network.id));
    eventually("all know", SOON, || !b.knows(network.id));
    let told = || {
        b.told
            .count(|delta| *delta == Delta::NetworkGone(network.id))
    };
    eventually("the follower is told, once", SOON, || told() == 1);
    let left: Vec<String> = store
        .records()
        .into_iter()
        .map(|record| record.key)
        .collect();
    assert!(
        !left.iter().any(|key| key.contains(&network.id.to_string())),
        "{left:?}"
    );
    let gone = a.cluster.remove_network(network.id).unwrap_err();
    assert_eq!(gone.kind, Kind::NotFound);
}

#[test]
fn an_address_in_anothers_block_is_had_by_its_consent_alone() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("any");
    let given = a
        .cluster
        .create_network(spec("blue"), &request(&["10.1.0.0/24"]), &[], true)
        .unwrap();
    let theirs = a.connect(given.id, "one").addresses[0].addr();
    eventually("the networks are known", SOON, || b.knows(given.id));
    let me = EndpointId::from_bytes(random());
    let lease = |id, addr: IpAddr| b.cluster.lease(id, Family::V4, Some(addr), me);
    let refused = lease(network.id, theirs).unwrap_err();
    assert_eq!(refused.reason, "subnet-not-configured");
    let refused = lease(given.id, theirs).unwrap_err();
    assert_eq!(
        (refused.kind, refused.reason),
        (Kind::Forbidden, "address-in-use"),
        "{refused}"
    );
    assert!(refused.message.contains("host-1"), "{refused}");
    // The next one of the same block.
    let next = a.lease(given.id, EndpointId::from_bytes([7; 32]));
    a.cluster
        .release(given.id, next.addr(), EndpointId::from_bytes([7; 32]));
    let got = lease(given.id, next.addr()).unwrap();
    assert_eq!(got, next);
    for _ in 0..40 {
        assert_ne!(a.lease(given.id, EndpointId::from_bytes(random())), next);
    }
    let refused = a.cluster.remove_network(given.id).unwrap_err();
    assert_eq!(refused.reason, "network-has-endpoints");
    b.cluster.release(given.id, next.addr(), me);
    eventually("it is free again", SOON, || {
        a.cluster
            .lease(given.id, Family::V4, Some(next.addr()), me)
            .is_ok()
    });
}

#[test]
fn a_restart_with_the_store_away_changes_nothing_and_all_is_reconciled_afterwards() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    eventually("the network is known", SOON, || b.knows(network.id));
    let (one, two) = (a.connect(network.id, "one"), b.connect(network.id, "two"));
    eventually("they see each other", SOON, || a.sees(&two) && b.sees(&one));
    a.client.cut(true);
    let a = a.restart();
    assert!(a.sees(&two) && a.knows(network.id), "from the local copy");
    assert_eq!(a.told.count(|delta| matches!(delta, Delta::Endpoint(_))), 1);
    let held = a.cluster.hold(network.id, one.addresses[0].addr(), one.id);
    assert_eq!(held.unwrap(), one.addresses[0]);
    a.cluster.publish(one.clone());
    a.cluster.settled();
    let three = a.connect(network.id, "three");
    let refused = a
        .cluster
        .create_network(spec("red"), &request(&[]), &[], true)
        .unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    eventually("the follower is told", SOON, || {
        a.told
            .count(|delta| matches!(delta, Delta::Store(StoreState::Away { .. })))
            > 0
    });
    assert!(a.sees(&two));
    a.client.cut(false);
    eventually("what waited is published", SOON, || {
        b.sees(&three) && b.sees(&one)
    });
    assert_eq!(
        b.told
            .count(|delta| matches!(delta, Delta::EndpointGone(..))),
        0
    );
    assert!(a.sees(&two));
    assert_eq!(
        a.told
            .count(|delta| matches!(delta, Delta::EndpointGone(..) | Delta::NetworkGone(_))),
        0
    );
}

#[test]
fn endpoints_stay_while_their_daemon_is_restarted() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    let network = a.create("blue");
    let one = a.connect(network.id, "one");
    eventually("it is seen", SOON, || b.sees(&one));
    a.cluster.close();
    stays(
        "longer than the time to live",
        Duration::from_secs(4),
        || b.sees(&one),
    );
    let a = a.restart();
    stays(
        "until the controller is done",
        Duration::from_secs(1),
        || b.sees(&one),
    );
    a.cluster
        .hold(network.id, one.addresses[0].addr(), one.id)
        .unwrap();
    a.cluster.publish(one.clone());
    a.cluster.settled();
    stays("and afterwards", Duration::from_secs(1), || b.sees(&one));
    let gone = |delta: &Delta| matches!(delta, Delta::EndpointGone(..) | Delta::HostGone(_));
    assert_eq!(b.told.count(gone), 0);
}

#[test]
fn idle_blocks_go_back_and_a_host_in_need_gets_what_others_do_not_use() {
    let store = MemoryStore::new();
    let (a, b) = (Host::new(&store, 1), Host::new(&store, 2));
    a.create("any");
    // Two blocks of four, of which the first has two addresses to give and the second three.
    let small = a
        .cluster
        .create_network(spec("small"), &request(&["10.1.0.0/29"]), &[], true)
        .unwrap();
    eventually("the network is known", SOON, || b.knows(small.id));
    let all: Vec<_> = (0..5).map(|_| a.connect(small.id, "x")).collect();
    let refused = b
        .cluster
        .lease(small.id, Family::V4, None, EndpointId::from_bytes([9; 32]));
    assert_eq!(refused.unwrap_err().reason, "addresses-exhausted");
    eventually("the request for room is taken back", SOON, || {
        !store
            .records()
            .iter()
            .any(|record| record.key.contains("requests"))
    });
    all.iter().for_each(|endpoint| a.disconnect(endpoint));
    let blocks = || {
        let status = b.cluster.status();
        let host = status
            .hosts
            .into_iter()
            .find(|host| host.name == "host-1")
            .unwrap();
        let blocks = host.blocks.expect("the store tells");
        blocks.get(&small.id).map_or(0, Vec::len)
    };
    eventually("all but one go back", SOON, || blocks() == 1);
    for _ in 0..5 {
        b.connect(small.id, "y");
    }
    assert_eq!(blocks(), 0, "given up at once, as it was needed");
}

#[test]
fn a_second_daemon_with_one_identity_takes_the_first_ones_place() {
    let store = MemoryStore::new();
    let a = Host::new(&store, 1);
    a.create("blue");
    let clone = Host::start(store.client("clone"), Arc::new(Memory::new()), 1);
    clone.create("red");
    eventually("the first one steps back", SOON, || {
        let refused = a
            .cluster
            .create_network(spec("green"), &request(&[]), &[], true);
        refused.is_err_and(|error| error.reason == "cluster-host-superseded")
    });
    assert_eq!(a.told.count(|delta| *delta == Delta::Forgotten), 0);
    eventually("it says so", SOON, || {
        let status = a.cluster.status();
        let own = status.hosts.iter().find(|host| host.id == a.id);
        let why = "another daemon runs with this host's id";
        !own.expect("it shows itself").alive
            && matches!(status.store, StoreState::Away { reason, .. } if reason.contains(why))
    });
}
