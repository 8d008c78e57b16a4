//! What outlives a daemon: the kernel and both stores.

use crate::{
    carrying::Process,
    inject::{Faults, FaultyKernel, FaultyStore, Refusing},
    many::{Counted, Looks},
    picture::{
        Picture, kind_of, members, network, object, record, sandbox, service, without_addr,
        without_numbers,
    },
};
use std::{
    collections::{BTreeMap, hash_map::RandomState},
    fs,
    hash::{BuildHasher, Hasher},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use vw_agents::wireguard::KeyHolder;
use vw_controller::{
    BridgeConfig, Config, Controller, KernelTunnel, Membership, Parts, Tunnel, carrier,
    command::{ContainerList, NetworkList, ServiceList},
};
use vw_drivers::{Carrier, DriverContext, Underlay};
use vw_ipam::DefaultPools;
use vw_kernel::{HostFacts, Kernel, fake::FakeKernel};
use vw_model::{IpNet, Result};
use vw_runtime::{Runtime, Settings};
use vw_store::{
    Batch, Change, Memory, Store, Table,
    cluster::memory::{Client, MemoryStore},
};

/// How addresses begin of networks that span hosts.
pub(crate) const OVERLAY: &str = "10.42.0.";

/// A machine.
pub(crate) struct World {
    pub(crate) faults: Arc<Faults>,
    pub(crate) refusing: Arc<Refusing>,
    pub(crate) kernel: FakeKernel,
    pub(crate) folder: PathBuf,
    /// Whether its kernel has IPv6.
    pub(crate) ipv6: bool,
    /// Whether its daemon makes rules.
    pub(crate) iptables: bool,
    /// Whether its kernel takes the program that translates.
    pub(crate) translates: bool,
    data: Arc<Memory>,
    run: Arc<Memory>,
    noted: Arc<Mutex<Vec<Change>>>,
    /// Its way to the cluster's store, and which of the hosts it is.
    member: Option<(Arc<Client>, u8)>,
    /// The last daemon over it: whether it was killed, and what it has as long as any of it runs.
    last: Mutex<(Arc<AtomicBool>, Weak<FaultyKernel>)>,
    /// How long a key of the encrypted tunnel is used; there is none otherwise.
    key_period: Option<Duration>,
    /// How long it waits for what other hosts have against a port of a service.
    pub(crate) hears_out: Duration,
    /// Where its tunnel's looks at other hosts are counted.
    pub(crate) looks: Option<Arc<Looks>>,
}

impl World {
    pub(crate) fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("vw-faults-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        for netns in ["one", "two", "three"] {
            fs::write(folder.join(netns), "").unwrap();
        }
        let kernel = FakeKernel::new();
        kernel.set_facts(HostFacts {
            boot_id: "this boot".to_owned(),
            default_mtu: 1500,
            ephemeral_ports: (40000, 50000),
            ..HostFacts::default()
        });
        Self {
            faults: Faults::new(),
            refusing: Arc::default(),
            noted: Arc::default(),
            kernel,
            folder,
            ipv6: true,
            iptables: true,
            translates: false,
            data: Arc::default(),
            run: Arc::default(),
            member: None,
            last: Mutex::default(),
            key_period: None,
            hears_out: Duration::ZERO,
            looks: None,
        }
    }

    /// A machine that is a host of a cluster.
    pub(crate) fn in_cluster(store: &MemoryStore, number: u8) -> Self {
        let mut world = Self::new();
        world.member = Some((store.client(&format!("host-{number}")), number));
        let own = IpNet::new_assert([192, 0, 2, number].into(), 24);
        world.kernel.set_facts(HostFacts {
            addresses: vec![("wire".to_owned(), own)],
            ..world.kernel.facts().unwrap()
        });
        world
    }

    /// Its way to the cluster's store.
    pub(crate) fn client(&self) -> Arc<Client> {
        let (client, _) = self.member.as_ref().expect("it is in a cluster");
        client.clone()
    }

    /// Cuts it off from the cluster's store, where its lease is over at once.
    pub(crate) fn lose_store(&self) {
        let (client, _) = self.member.as_ref().expect("it is in a cluster");
        client.cut(true);
        client.expire();
    }

    /// One that can encrypt, and uses a key so long.
    pub(crate) fn that_encrypts(store: &MemoryStore, number: u8, key_period: Duration) -> Self {
        let mut world = Self::in_cluster(store, number);
        world.key_period = Some(key_period);
        world
    }

    fn tunnel(&self, addr: IpAddr, kernel: &Arc<FaultyKernel>) -> Option<Arc<dyn Tunnel>> {
        let period = self.key_period?;
        let link = vw_drivers::tunnel_link().unwrap();
        let facts = kernel.tunnel_facts(&link).unwrap();
        let keys = KeyHolder::open(self.folder.join("tunnel.key"), period).unwrap();
        let tunnel: Arc<dyn Tunnel> = match carrier(&facts)? {
            Carrier::Kernel => Arc::new(KernelTunnel::new(kernel.clone(), addr, keys, &facts)),
            Carrier::UserSpace => Arc::new(Process {
                keys,
                refusing: self.refusing.clone(),
            }),
        };
        Some(match self.looks.clone() {
            Some(looks) => Arc::new(Counted { tunnel, looks }),
            None => tunnel,
        })
    }

    fn membership(&self, kernel: &Arc<FaultyKernel>) -> Option<Membership> {
        let (client, number) = self.member.as_ref()?;
        let name = format!("host-{number}");
        let advertise = [192, 0, 2, *number].into();
        Some(Membership {
            store: client.clone(),
            name,
            advertise,
            version: "0".to_owned(),
            tunnel: self.tunnel(advertise, kernel),
            pulse: None,
            caught_up: || {},
        })
    }

    /// A daemon over it.
    pub(crate) fn open(&self) -> Controller {
        self.try_open().unwrap_or_else(|e| panic!("{}", e.chain()))
    }

    /// Another daemon over it, once nothing of that one runs, which may hold its ports a moment longer.
    #[track_caller]
    pub(crate) fn reopen(&self, former: Controller) -> Controller {
        drop(former);
        self.await_end(Duration::from_secs(60));
        self.open()
    }

    pub(crate) fn try_open(&self) -> Result<Controller> {
        self.try_open_in(true)
    }

    /// A daemon over it that is given no cluster.
    pub(crate) fn open_outside(&self) -> Controller {
        let opened = self.try_open_in(false);
        opened.unwrap_or_else(|e| panic!("{}", e.chain()))
    }

    fn try_open_in(&self, cluster: bool) -> Result<Controller> {
        let killed = Arc::new(AtomicBool::new(false));
        let store = |memory: &Arc<Memory>, log: Arc<Mutex<Vec<Change>>>| {
            Arc::new(FaultyStore {
                memory: memory.clone(),
                faults: self.faults.clone(),
                log,
                killed: killed.clone(),
            })
        };
        let sockets = Arc::new(vw_dns_server::HostSockets);
        let dns = vw_dns_server::DnsServer::start(Default::default(), sockets).unwrap();
        let kernel = Arc::new(FaultyKernel {
            fake: self.kernel.clone(),
            faults: self.faults.clone(),
            refusing: self.refusing.clone(),
            killed: killed.clone(),
        });
        *self.last.lock().unwrap() = (killed.clone(), Arc::downgrade(&kernel));
        let parts = Parts {
            kernel: kernel.clone(),
            data: store(&self.data, Arc::default()),
            run: store(&self.run, self.noted.clone()),
            runtime: self.runtime(),
            dns: Arc::new(dns),
            random,
            cluster: self.membership(&kernel).filter(|_| cluster),
        };
        Controller::open(self.config(), parts)
    }

    /// Kills the last daemon over it: none of its threads has an effect any more.
    pub(crate) fn kill(&self) {
        let (killed, _) = &*self.last.lock().unwrap();
        killed.store(true, Ordering::SeqCst);
    }

    /// Waits until nothing of the last daemon over it runs, so that what it held is free.
    #[track_caller]
    pub(crate) fn await_end(&self, longest: Duration) {
        let (_, kernel) = &*self.last.lock().unwrap();
        vw_testkit::eventually("all threads of a daemon end", longest, || {
            kernel.strong_count() == 0 && self.kernel.claimed().is_empty()
        });
    }

    /// What was committed to the run store since the last call.
    pub(crate) fn noted(&self) -> Vec<Change> {
        std::mem::take(&mut *self.noted.lock().unwrap())
    }

    /// The id of a container or adopted sandbox.
    pub(crate) fn sandbox_id(&self, controller: &Controller, name: &str) -> String {
        let sandboxes = controller.submit(ContainerList).unwrap();
        let mut named = sandboxes.iter().filter(|s| s.sandbox.name.as_str() == name);
        named.next().unwrap().sandbox.id.to_string()
    }

    /// Writes a record as an older or broken daemon may have left it.
    pub(crate) fn forge(&self, table: Table, key: &str, record: Vec<u8>) {
        let store = self.store_of(table);
        store.commit(Batch::new().put(table, key, record)).unwrap();
    }

    /// A record as it stands.
    pub(crate) fn record(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        self.store_of(table).get(table, key).unwrap()
    }

    fn store_of(&self, table: Table) -> &Memory {
        match table {
            Table::Containers | Table::Services => &self.data,
            _ => &self.run,
        }
    }

    fn runtime(&self) -> Arc<Runtime> {
        let settings = Settings {
            data_root: self.folder.join("data"),
            exec_root: self.folder.join("exec"),
            runtimes: vec!["runc".to_owned()],
            patience: Duration::from_secs(60),
            conmon: "conmon".to_owned(),
        };
        Arc::new(Runtime::open(settings).unwrap())
    }

    fn config(&self) -> Config {
        Config {
            data_root: self.folder.join("data"),
            exec_root: self.folder.join("exec"),
            pools: DefaultPools::new(&[], "fd00:1::/48".parse().unwrap()).unwrap(),
            bridge: Some(BridgeConfig::default()),
            network_options: Default::default(),
            drivers: DriverContext {
                underlay: self.member.as_ref().map(|(_, number)| Underlay {
                    addr: [192, 0, 2, *number].into(),
                    prefix: 24,
                    link: "wire".parse().unwrap(),
                    mtu: 1500,
                    merges: false,
                    port: None,
                    inner: None,
                    carrier: Default::default(),
                    link_local: None,
                }),
                ipv6: self.ipv6,
                iptables: self.iptables,
                no_translation: (!self.translates).then(|| "it is not tried".to_owned()),
                ..DriverContext::default()
            },
            ip_forward: false,
            dns: Default::default(),
            host_gateway: Vec::new(),
            accept_mark: 0,
            adjust_foreign: false,
            owns_bridge_netfilter: false,
            resolv_conf: self.folder.join("resolv.conf"),
            hears_out: self.hears_out,
            labels: Default::default(),
            debug: false,
        }
    }

    /// All that there is, without what differs from run to run.
    pub(crate) fn picture(&self, controller: &Controller) -> Picture {
        let mut lines: Vec<String> = self.kernel.objects().values().map(object).collect();
        let claimed = self.kernel.claimed().into_iter();
        lines.extend(claimed.map(|(protocol, addr)| format!("claim {addr}/{protocol}")));
        for (name, store) in [("data", &self.data), ("run", &self.run)] {
            // The order of slots is a hint alone: what is made of it stands in the kernel.
            for table in Table::ALL
                .into_iter()
                .filter(|table| *table != Table::Slots)
            {
                let records = store.scan(table).unwrap().into_iter();
                lines.extend(records.map(|(key, bytes)| match table {
                    Table::Cluster => format!("{name}: cluster {}", kind_of(&key)),
                    Table::Sandboxes if self.member.is_some() => {
                        format!("{name}: {} on {:?}", record(table, &bytes), members(&bytes))
                    }
                    _ => format!("{name}: {}", record(table, &bytes)),
                }));
            }
        }
        let networks = controller.submit(NetworkList).unwrap();
        lines.extend(networks.iter().map(network));
        let sandboxes = controller.submit(ContainerList).unwrap();
        lines.extend(sandboxes.iter().map(sandbox));
        let services = controller.submit(ServiceList).unwrap();
        lines.extend(services.iter().map(service));
        // A service of a cluster has any address of its network that is free.
        let vips = services.iter().flat_map(|service| &service.spec.vips);
        let vips: Vec<String> = vips.map(|vip| vip.addr().to_string()).collect();
        let balanced = self.member.is_some() && !services.is_empty();
        let folders = fs::read_dir(self.folder.join("data/containers"));
        let count = folders.map_or(0, Iterator::count);
        lines.push(format!("{count} containers have files"));
        let mut picture = BTreeMap::new();
        for line in lines {
            let mut line = vips.iter().fold(line, |line, vip| without_addr(&line, vip));
            if balanced {
                line = without_numbers(&line);
            }
            *picture.entry(line).or_default() += 1;
        }
        Picture(picture)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What a failed test leaves lies in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Bits that differ from call to call, seeded by the standard library.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    bytes
}
