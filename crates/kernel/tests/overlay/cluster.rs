//! Hosts on one segment, one container on each, and what each is told of the others.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, UNIX_EPOCH},
};
use vw_drivers::DriverContext;
use vw_firewall::HostTable;
use vw_hoststate::{
    Fragment, HostState, Key, Namespace, NamespaceSource, Netns, Object, Objects, Owner, Plan,
    Step, Table, diff,
};
use vw_kernel::{Config, Kernel, LinuxKernel};
use vw_model::{
    EndpointId, EndpointSettings, EndpointSpec, HostId, IpamSpec, MacAddr, NetworkId, NetworkSpec,
    Options, PoolSpec, RemoteEndpoint, RemoteHost, SandboxId, Scope,
};
use vw_testkit::{Host, Lab, Snapshot, eventually, traffic};

pub(crate) const VNI: u32 = 45_067;
const NETWORK: NetworkId = NetworkId::from_bytes([5; 32]);

/// The IP version between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Underlay {
    V4,
    V6,
}

/// An endpoint of the network, wherever it is.
#[derive(Debug, Clone)]
pub(crate) struct Station {
    number: usize,
    pub(crate) mac: MacAddr,
}

pub(crate) fn station(number: usize) -> Station {
    let mac = MacAddr([0x02, 0x42, 10, 5, 0, 10 + number as u8]);
    Station { number, mac }
}

impl Station {
    /// With another link-layer address.
    pub(crate) const fn with_mac(self, mac: MacAddr) -> Self {
        Self { mac, ..self }
    }

    pub(crate) fn v4(&self) -> String {
        format!("10.5.0.{}", 10 + self.number)
    }

    pub(crate) fn v6(&self) -> String {
        format!("fd05::{}", 10 + self.number)
    }

    fn sandbox(&self) -> SandboxId {
        SandboxId::from_bytes([100 + self.number as u8; 32])
    }

    fn id(&self) -> EndpointId {
        EndpointId::from_bytes([self.number as u8; 32])
    }

    fn addresses(&self) -> Vec<vw_model::IpNet> {
        let nets = [format!("{}/24", self.v4()), format!("{}/64", self.v6())];
        nets.iter()
            .map(|net| net.parse().expect("an address"))
            .collect()
    }

    fn spec(&self) -> EndpointSpec {
        EndpointSpec {
            id: self.id(),
            network: NETWORK,
            sandbox: self.sandbox(),
            ifname: "eth0".parse().expect("a name"),
            host_ifname: format!("vw{:010x}", self.number).parse().expect("a name"),
            mac: self.mac,
            gateways: Vec::new(),
            addresses: self.addresses(),
            settings: EndpointSettings::default(),
        }
    }
}

/// Why frames cannot pass bridges by here; nothing where they can.
pub(crate) fn no_shortcuts() -> Option<String> {
    let lab = Lab::new();
    let exec_root = lab.folder().join("exec");
    let kernel = lab
        .host("h")
        .enter(|| LinuxKernel::open(&Config { exec_root }));
    let kernel = kernel.expect("an executor");
    let cannot = kernel.shortcuts().err();
    kernel.withdraw().expect("nothing is pinned");
    cannot.map(|error| format!("{error:?}"))
}

/// The end of a host's tunnels.
fn tunnel(number: usize, underlay: Underlay) -> IpAddr {
    let text = match underlay {
        Underlay::V4 => format!("192.0.2.{}", number + 1),
        Underlay::V6 => format!("2001:db8::{}", number + 1),
    };
    text.parse().expect("an address")
}

fn network(given: &[(&str, &str)]) -> NetworkSpec {
    let pool = |subnet: &str| PoolSpec {
        subnet: subnet.parse().expect("a subnet"),
        ip_range: None,
        gateway: None,
        aux: BTreeMap::new(),
        given: true,
    };
    let vni = VNI.to_string();
    let number = (
        "com.docker.network.driver.overlay.vxlanid_list",
        vni.as_str(),
    );
    let options = given.iter().chain([&number]);
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    NetworkSpec {
        id: NETWORK,
        name: "over".parse().expect("a name"),
        driver: "overlay".to_owned(),
        scope: Scope::Global,
        created: UNIX_EPOCH,
        enable_ipv4: true,
        enable_ipv6: true,
        internal: false,
        attachable: true,
        predefined: false,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: Options::new(),
            pools: vec![pool("10.5.0.0/24"), pool("fd05::/64")],
        },
        options: options.map(owned).collect(),
        labels: Options::new(),
    }
}

/// A host with an executor.
pub(crate) struct Member {
    host: Host,
    kernel: LinuxKernel,
    state: Mutex<HostState>,
    root: PathBuf,
    cx: DriverContext,
}

impl Member {
    fn new(lab: &Lab, number: usize, host: Host, underlay: Underlay) -> Self {
        let root = lab.folder().join(format!("exec-{number}"));
        let exec_root = root.clone();
        let kernel = host.enter(|| LinuxKernel::open(&Config { exec_root }));
        let kernel = kernel.expect("an executor");
        let addr = tunnel(number, underlay);
        Self {
            host,
            state: Mutex::default(),
            root,
            cx: DriverContext {
                underlay: Some(vw_drivers::Underlay {
                    addr,
                    prefix: 24,
                    link: "wire".parse().unwrap(),
                    mtu: 1500,
                    merges: false,
                    port: None,
                    inner: None,
                    carrier: Default::default(),
                    link_local: None,
                }),
                no_shortcuts: kernel.shortcuts().err().map(|error| format!("{error:?}")),
                br_netfilter: Path::new("/proc/sys/net/bridge").is_dir(),
                ..DriverContext::default()
            },
            kernel,
        }
    }

    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// Makes the host so that these owners have what they want.
    pub(crate) fn want(&self, wants: Vec<(Owner, Fragment)>) {
        let mut state = self.state.lock().expect("nobody panicked");
        let change = state.change(wants).expect("nobody else wants it");
        self.kernel.apply(&change.plan).expect("it can be applied");
    }

    /// What must still be done, as a daemon that starts sees it.
    pub(crate) fn missing(&self) -> Vec<Step> {
        let desired = self.state.lock().expect("nobody panicked").desired();
        let observed = self.kernel.observe(&desired).expect("it can be read");
        diff(&observed.objects, &desired).steps
    }

    /// Takes away what frames pass the bridge by with, as a daemon does that starts on a kernel
    /// without it.
    pub(crate) fn give_up_shortcuts(&self) {
        let desired = self.state.lock().expect("nobody panicked").desired();
        let mut desired = Objects::clone(&desired);
        desired.retain(|key, _| !matches!(key, Key::Shortcuts(..) | Key::Shortcut(..)));
        let observed = self.kernel.observe(&desired).expect("it can be read");
        let plan = diff(&observed.objects, &desired);
        assert!(!plan.is_empty(), "it had some");
        self.kernel.apply(&plan).expect("it can be applied");
        let observed = self.kernel.observe(&desired).expect("it can be read");
        assert_eq!(diff(&observed.objects, &desired).steps, []);
    }

    /// Carries steps out.
    pub(crate) fn repair(&self, steps: Vec<Step>) {
        let plan = Plan::ordered(steps);
        self.kernel.apply(&plan).expect("it can be applied");
    }

    /// Takes everything away that was made here.
    fn leave(&self) {
        let desired = self.state.lock().expect("nobody panicked").desired();
        let plan = diff(&desired, &Objects::default());
        self.kernel.apply(&plan).expect("it can be removed");
        self.kernel.flush_reaper().expect("links can be deleted");
        let standing = self.kernel.observe(&Objects::default());
        assert_eq!(
            standing.expect("it can be read").objects,
            Objects::default()
        );
        self.kernel.withdraw().expect("nothing is pinned");
        *self.state.lock().expect("nobody panicked") = HostState::default();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.leave();
        }
    }
}

/// Some hosts, an overlay network over them and a container on each.
pub(crate) struct Cluster {
    members: Vec<Member>,
    containers: Vec<Host>,
    network: NetworkSpec,
    underlay: Underlay,
    switch: Host,
    before: Snapshot,
    lab: Lab,
}

impl Cluster {
    pub(crate) fn new(count: usize, underlay: Underlay, given: &[(&str, &str)]) -> Self {
        let lab = Lab::new();
        let hosts: Vec<Host> = (0..count).map(|at| lab.host(&format!("h{at}"))).collect();
        let switch = segment(&lab, &hosts, underlay);
        let before = Snapshot::take(&hosts.iter().collect::<Vec<_>>(), &[]);
        let members = hosts.into_iter().enumerate();
        let members = members.map(|(at, host)| Member::new(&lab, at, host, underlay));
        let mut cluster = Self {
            members: members.collect(),
            containers: Vec::new(),
            network: network(given),
            underlay,
            switch,
            before,
            lab,
        };
        for at in 0..count {
            cluster.join(at);
            cluster.place(at, at);
            let sandbox = cluster.sandbox(at, &station(at));
            cluster.containers.push(sandbox);
        }
        for at in 0..count {
            cluster.tell(at, at);
        }
        cluster
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) const fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) const fn switch(&self) -> &Host {
        &self.switch
    }

    /// The end of a host's tunnels.
    pub(crate) fn tunnel(&self, at: usize) -> IpAddr {
        tunnel(at, self.underlay)
    }

    pub(crate) fn container(&self, at: usize) -> &Host {
        &self.containers[at]
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = &Host> {
        self.containers.iter()
    }

    /// The network's namespace on a host.
    pub(crate) fn inside(&self, at: usize) -> Host {
        let path = self.members[at].root.join(format!("netns/net-{NETWORK}"));
        self.lab.at("network", &path)
    }

    /// A station's container on a host.
    pub(crate) fn sandbox(&self, at: usize, station: &Station) -> Host {
        let path = self.members[at].kernel.netns_path(station.sandbox());
        self.lab.at(&format!("c{}", station.number), &path)
    }

    /// A socket of a container.
    pub(crate) fn listen(&self, at: usize, addr: &str) -> UdpSocket {
        let socket = self.containers[at].enter(|| UdpSocket::bind(addr));
        let socket = socket.expect("it is free");
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("the time is not zero");
        socket
    }

    /// Has a host take part in the cluster and in the network.
    fn join(&self, at: usize) {
        let member = &self.members[at];
        let table = Object::Table(Table::Host(HostTable {
            accept_mark: 0,
            tunnels: Some(self.tunnel(at)),
        }));
        let driver = vw_drivers::find("overlay").expect("it is one");
        driver
            .validate(&self.network, &member.cx)
            .expect("it can be");
        let plan = driver.plan_network(&self.network, &member.cx);
        let mut wants = vec![
            (Owner::Host, vec![table].into()),
            (Owner::Network(NETWORK), plan.expect("it has a plan")),
        ];
        for other in (0..self.members.len()).filter(|other| *other != at) {
            let peer = RemoteHost {
                id: HostId::from_bytes([other as u8; 32]),
                name: format!("h{other}"),
                tunnel: tunnel(other, self.underlay),
                keys: None,
                unpublished: Default::default(),
                away: false,
            };
            let host = vw_drivers::plan_host(&peer, &member.cx);
            wants.push((Owner::Peer(peer.id), host));
        }
        member.want(wants);
    }

    /// Puts a station's container on a host.
    fn place(&self, number: usize, at: usize) {
        self.members[at].want(self.placed(number, at));
    }

    /// What a station's container wants of a host.
    pub(crate) fn placed(&self, number: usize, at: usize) -> Vec<(Owner, Fragment)> {
        let (member, station) = (&self.members[at], station(number));
        let driver = vw_drivers::find("overlay").expect("it is one");
        let plan = driver.plan_attachment(&self.network, &station.spec(), &member.cx);
        let namespace = Object::Namespace(Namespace {
            netns: Netns::Sandbox(station.sandbox()),
            source: NamespaceSource::New,
        });
        vec![
            (Owner::Sandbox(station.sandbox()), vec![namespace].into()),
            (
                Owner::Attachment(station.id()),
                plan.expect("it has a plan").fragment,
            ),
        ]
    }

    /// Tells all hosts but one that a station is there.
    fn tell(&self, number: usize, at: usize) {
        let station = station(number);
        for (other, member) in self.members.iter().enumerate() {
            let fragment = match other == at {
                true => Fragment::default(),
                false => self.remote(&station, at, member),
            };
            member.want(vec![(Owner::Remote(station.id()), fragment)]);
        }
    }

    /// Tells a host that a station is on another one, or that it is there no more.
    pub(crate) fn hear(&self, at: usize, station: &Station, other: Option<usize>) {
        let member = &self.members[at];
        let fragment = other.map(|other| self.remote(station, other, member));
        member.want(vec![(
            Owner::Remote(station.id()),
            fragment.unwrap_or_default(),
        )]);
    }

    /// What a host wants of a station on another one.
    fn remote(&self, station: &Station, at: usize, member: &Member) -> Fragment {
        let remote = RemoteEndpoint {
            id: station.id(),
            network: NETWORK,
            host: HostId::from_bytes([at as u8; 32]),
            tunnel: tunnel(at, self.underlay),
            sandbox: station.sandbox(),
            mac: station.mac,
            addresses: station.addresses(),
            names: Vec::new(),
            ports: Vec::new(),
            service: None,
            away: false,
        };
        let driver = vw_drivers::find("overlay").expect("it is one");
        let plan = driver.plan_remote(&self.network, &remote, &member.cx);
        plan.expect("it has a plan")
    }

    /// Ends a station's container and starts it on another host.
    pub(crate) fn move_station(&mut self, number: usize, from: usize, to: usize) {
        let station = station(number);
        self.members[from].want(vec![
            (Owner::Attachment(station.id()), Fragment::default()),
            (Owner::Sandbox(station.sandbox()), Fragment::default()),
        ]);
        self.place(number, to);
        self.tell(number, to);
        self.containers[number] = self.sandbox(to, &station);
    }

    /// Puts a station that no other host is told of beside the others of a host.
    pub(crate) fn add(&self, number: usize, at: usize) -> Host {
        self.place(number, at);
        self.sandbox(at, &station(number))
    }

    /// Takes everything away, and sees that nothing stays.
    pub(crate) fn leave(self) {
        self.members.iter().for_each(Member::leave);
        self.before.assert_restored();
    }
}

/// Joins the hosts, and leaves them the addresses of their tunnels.
fn segment(lab: &Lab, hosts: &[Host], underlay: Underlay) -> Host {
    let length = match underlay {
        Underlay::V4 => 24,
        Underlay::V6 => 64,
    };
    let addresses: Vec<String> = (0..=hosts.len())
        .map(|at| format!("{}/{length}", tunnel(at, underlay)))
        .collect();
    let given: Vec<[&str; 1]> = addresses.iter().map(|addr| [addr.as_str()]).collect();
    let members = hosts.iter().zip(&given);
    let members: Vec<(&Host, &str, &[&str])> = members
        .map(|(host, addr)| (host, "eth0", addr.as_slice()))
        .collect();
    let switch = lab.lan("switch", &members);
    // A host on the segment that is none of the cluster.
    switch.ip(&format!(
        "addr add {} dev br0 nodad",
        addresses[hosts.len()]
    ));
    // Until then neither is reached at once, and addresses come that were not there.
    for (at, host) in hosts.iter().enumerate() {
        eventually("addresses are settled", Duration::from_secs(10), || {
            host.ip("-6 addr show tentative").is_empty()
        });
        for other in (0..=hosts.len()).filter(|other| *other != at) {
            let addr = tunnel(other, underlay).to_string();
            eventually("hosts reach one another", Duration::from_secs(10), || {
                traffic::ping(host, &addr)
            });
        }
    }
    switch
}
