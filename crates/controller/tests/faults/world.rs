//! What outlives a daemon: the kernel and both stores; and a picture of all of it in which two runs
//! of the same scenario look the same.

use crate::{
    carrying::Process,
    inject::{Faults, FaultyKernel, FaultyStore, Refusing},
    many::{Counted, Looks},
};
use serde_json::Value;
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
    view::{ContainerView, NetworkView, ServiceView},
};
use vw_drivers::{Carrier, DriverContext, Underlay};
use vw_hoststate::{Key, Object};
use vw_ipam::DefaultPools;
use vw_kernel::{HostFacts, Kernel, fake::FakeKernel};
use vw_model::{IpNet, Result, ServiceSpec};
use vw_runtime::{Runtime, Settings};
use vw_store::{
    Batch, Change, Memory, Store, Table,
    cluster::memory::{Client, MemoryStore},
};

/// How addresses begin of networks that span hosts.
pub(crate) const OVERLAY: &str = "10.42.0.";
const OVERLAY_MAC: &str = "02:42:0a:2a:00:";

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
    data: Arc<Memory>,
    run: Arc<Memory>,
    noted: Arc<Mutex<Vec<Change>>>,
    /// Its way to the cluster's store, and which of the hosts it is.
    member: Option<(Arc<Client>, u8)>,
    /// The last daemon over it: whether it was killed, and what it has as long as any of it runs.
    last: Mutex<(Arc<AtomicBool>, Weak<FaultyKernel>)>,
    /// How long a key of the encrypted tunnel is used; there is none otherwise.
    key_period: Option<Duration>,
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
            data: Arc::default(),
            run: Arc::default(),
            member: None,
            last: Mutex::default(),
            key_period: None,
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
            Carrier::UserSpace => Arc::new(Process(keys)),
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
            cluster: self.membership(&kernel),
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
                    port: None,
                    inner: None,
                    carrier: Default::default(),
                    link_local: None,
                }),
                ipv6: self.ipv6,
                iptables: self.iptables,
                ..DriverContext::default()
            },
            ip_forward: false,
            dns: Default::default(),
            host_gateway: Vec::new(),
            accept_mark: 0,
            adjust_foreign: false,
            owns_bridge_netfilter: false,
            resolv_conf: self.folder.join("resolv.conf"),
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

/// Lines that say what is there, and how many of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture(BTreeMap<String, usize>);

impl Picture {
    /// Without records that the next start deletes.
    pub(crate) fn without_leftovers(mut self) -> Self {
        self.0.retain(|line, _| {
            !line.contains("attachment Removing") && !line.contains("sandbox Removing")
        });
        self
    }

    /// Without what is only known of others and written to disk when there is time.
    pub(crate) fn without_written_behind(mut self) -> Self {
        let behind = ["data: cluster host", "data: cluster endpoint"];
        self.0.retain(|line, _| !behind.contains(&line.as_str()));
        self
    }

    /// Whether a container says that it is being removed: its files may be gone, and the next
    /// call or start goes on.
    pub(crate) fn is_halfway_removed(&self) -> bool {
        self.0.keys().any(|line| line.contains("removing true"))
    }

    /// What is more (`+`) and less (`-`) than in another.
    pub(crate) fn against(&self, name: &str, other: &Self) -> String {
        let mut text = format!("against {name}:\n");
        let differ =
            |(line, count): &(&String, &usize), other: &Self| other.0.get(*line) != Some(*count);
        for (line, count) in self.0.iter().filter(|line| differ(line, other)) {
            text += &format!("  + {count} x {line}\n");
        }
        for (line, count) in other.0.iter().filter(|line| differ(line, self)) {
            text += &format!("  - {count} x {line}\n");
        }
        text
    }
}

/// What a record of a cluster's local copy is of.
fn kind_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

/// Names of links and ports of resolvers are made of random bits.
fn object(object: &Object) -> String {
    let text = match object {
        Object::Namespace(_) => "namespace".to_owned(),
        Object::Link(link) => format!("link {}", plain(link.name.as_str())),
        Object::Address(address) => format!("address {}", address.addr),
        // Metrics are made of a network's id.
        Object::Route(route) => format!("route {} via {:?}", route.dst, route.via),
        Object::Proxy(proxy) => format!("proxy {}", proxy.addr),
        Object::Neighbor(neighbor) => format!("neighbour {}", neighbor.addr),
        Object::WireguardKey(key) => format!("tunnel key at port {}", key.port),
        Object::WireguardPeer(peer) => format!("tunnel peer {:?}", peer.allowed),
        Object::Shortcuts(_) => "shortcuts".to_owned(),
        Object::Shortcut(shortcut) => format!("shortcut to {}", shortcut.mac),
        Object::Translator(one) => format!("translation by {}", one.link),
        Object::Forward(forward) => format!("forward {} to {}", forward.mac, forward.dst),
        Object::Sysctl(sysctl) => format!("sysctl {}", without_ids(&sysctl.path)),
        Object::Table(_) => match object.key() {
            Key::Table(vw_hoststate::Netns::Host) => "host table".to_owned(),
            _ => "sandbox table".to_owned(),
        },
        Object::Balance(_, element) => format!("led {:?}", element.key),
        Object::Element(_) => match object.key() {
            Key::Port(..) => format!("port {:?}", without_ids(&format!("{:?}", object.key()))),
            _ => "policy".to_owned(),
        },
    };
    format!("kernel: {text}")
}

fn plain(name: &str) -> String {
    without_ids(name)
}

/// Numbers of endpoints on [`OVERLAY`] are left out: what leads to a cluster's services has any.
fn without_numbers(text: &str) -> String {
    let digits = |text: &str, of: fn(&char) -> bool| text.chars().take_while(of).count();
    let mut rest = text;
    let mut plain = String::new();
    let prefixes = [
        (OVERLAY, char::is_ascii_digit as fn(&char) -> bool),
        (OVERLAY_MAC, char::is_ascii_hexdigit),
    ];
    while let Some((at, prefix, of)) = prefixes
        .iter()
        .filter_map(|(prefix, of)| Some((rest.find(prefix)?, prefix, of)))
        .min_by_key(|(at, ..)| *at)
    {
        let end = at + prefix.len();
        plain += &rest[..end];
        plain += "*";
        rest = &rest[end + digits(&rest[end..], *of)..];
    }
    plain + rest
}

/// An address, and none that begins or ends with it, is shown as `<vip>`.
fn without_addr(text: &str, addr: &str) -> String {
    let mut parts = text.split(addr);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    let digit = |c: char| c.is_ascii_alphanumeric();
    for part in parts {
        let within = plain.ends_with(digit) || part.starts_with(digit);
        plain += if within { addr } else { "<vip>" };
        plain += part;
    }
    plain
}

/// Words of hexadecimal digits that are long enough to be an id's are shown as `<id>`.
fn without_ids(text: &str) -> String {
    let mut plain = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let digits = word.trim_start_matches("vw");
        let is_id = digits.len() >= 10 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        plain += if is_id { "<id>" } else { &word };
        word.clear();
        if c != '\0' {
            plain.push(c);
        }
    }
    plain
}

fn record(table: Table, bytes: &[u8]) -> String {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match table {
        Table::Networks => format!("network {}", text(&value["name"])),
        Table::Containers => {
            let memberships = value["memberships"].as_array().cloned().unwrap_or_default();
            let names: Vec<String> = memberships.iter().map(|m| text(&m["name"])).collect();
            let name = text(&value["sandbox"]["name"]);
            format!(
                "container {name} on {names:?}, removing {}",
                value["removing"]
            )
        }
        Table::Sandboxes => format!(
            "sandbox {} {}, resolver {}, ports {}",
            text(&value["phase"]),
            text(&value["adopted"]["name"]),
            !value["resolver"].is_null(),
            value["ports"]
        ),
        Table::Attachments => format!(
            "attachment {} {} {}",
            text(&value["phase"]),
            text(&value["endpoint"]["ifname"]),
            value["endpoint"]["addresses"]
        ),
        Table::Services => format!(
            "service {} {}, {}, led {}",
            text(&value["name"]),
            value["vips"],
            value["ports"],
            value["affinity"]
        ),
        _ => table.name().to_owned(),
    }
}

fn service(service: &ServiceView) -> String {
    let members = service.members.iter();
    let mut members: Vec<String> = members
        .map(|m| {
            format!(
                "{} {:?} of {} {} {}",
                m.name, m.addresses, m.weight, m.state, m.serves
            )
        })
        .collect();
    members.sort();
    let ServiceSpec {
        name,
        vips,
        ports,
        affinity,
        drain,
        ..
    } = &service.spec;
    let lacking = &service.unpublished;
    format!(
        "service {name} on {}, at {vips:?}: {members:?}, {ports:?}, not {lacking:?}, {affinity:?}, {drain:?}",
        service.network
    )
}

fn network(network: &NetworkView) -> String {
    let mut members: Vec<String> = network
        .members
        .iter()
        .map(|m| format!("{} {:?} {:?}", m.name, m.ipv4, m.ipv6))
        .collect();
    members.sort();
    let in_use = network.in_use;
    format!(
        "network {}: {members:?}, in use {in_use}",
        network.spec.name
    )
}

fn sandbox(sandbox: &ContainerView) -> String {
    let mut endpoints: Vec<String> = sandbox
        .endpoints
        .iter()
        .map(|e| format!("{} {} {:?} {:?}", e.network, e.ifname, e.ipv4, e.ipv6))
        .collect();
    endpoints.sort();
    let name = &sandbox.sandbox.name;
    let status = &sandbox.state.status;
    format!(
        "sandbox {name} {status:?}: {endpoints:?}, ports {:?}",
        sandbox.ports
    )
}

/// Bits that differ from call to call, seeded by the standard library.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    bytes
}
