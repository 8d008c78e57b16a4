//! A host of a cluster: what its drivers plan, its executor makes and its device carries.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::SystemTime,
};
use vw_agents::wireguard::{Device, Peer, PrivateKey, Tun};
use vw_drivers::{Carrier, Driver, DriverContext, Underlay, plan_tunnel, tunnel_link, tunnel_mtu};
use vw_hoststate::{Fragment, Namespace, NamespaceSource, Netns, Object, Plan, Step};
use vw_kernel::{Config, Kernel, LinuxKernel};
use vw_model::{
    EndpointId, EndpointSettings, EndpointSpec, HostId, IpamSpec, MacAddr, NetworkId, NetworkSpec,
    PoolSpec, PublicKey, RemoteEndpoint, SandboxId, Scope, inner_address,
};
use vw_testkit::Lab;

/// The network's number.
pub(crate) const VNI: u32 = 4097;
const PORT: u16 = 51_820;

/// A host with one container on the network.
pub(crate) struct Host {
    pub(crate) underlay: Ipv4Addr,
    pub(crate) pod: vw_testkit::Host,
    pub(crate) addr: Ipv4Addr,
    pub(crate) mac: MacAddr,
    id: HostId,
    host: vw_testkit::Host,
    kernel: LinuxKernel,
    key: PrivateKey,
    device: Option<Device>,
    made: Vec<Object>,
    encrypted: bool,
}

/// Two hosts on one segment, with one container each, and the switch between them.
pub(crate) fn pair(lab: &Lab, encrypted: bool) -> ([Host; 2], vw_testkit::Host) {
    let [a, b] = ["a", "b"].map(|name| lab.host(name));
    let links = [
        (&a, "eth0", &["192.0.2.1/24"][..]),
        (&b, "eth0", &["192.0.2.2/24"]),
    ];
    let switch = lab.lan("lan", &links);
    let mut a = Host::new(lab, a, 1, encrypted);
    let mut b = Host::new(lab, b, 2, encrypted);
    a.learn(&b);
    b.learn(&a);
    a.start();
    b.start();
    a.knows(&[&b]);
    b.knows(&[&a]);
    ([a, b], switch)
}

fn network(encrypted: bool) -> NetworkSpec {
    let mut options = BTreeMap::from([(
        "com.docker.network.driver.overlay.vxlanid_list".to_owned(),
        VNI.to_string(),
    )]);
    if encrypted {
        options.insert("encrypted".to_owned(), String::new());
    }
    NetworkSpec {
        id: NetworkId::from_bytes([5; 32]),
        name: "web".parse().unwrap(),
        driver: "overlay".to_owned(),
        scope: Scope::Global,
        created: SystemTime::UNIX_EPOCH,
        enable_ipv4: true,
        enable_ipv6: false,
        internal: true,
        attachable: true,
        predefined: false,
        ipam: IpamSpec {
            driver: "default".to_owned(),
            options: BTreeMap::new(),
            pools: vec![PoolSpec {
                subnet: "10.5.0.0/24".parse().unwrap(),
                ip_range: None,
                gateway: None,
                aux: BTreeMap::new(),
                given: true,
            }],
        },
        options,
        labels: BTreeMap::new(),
    }
}

impl Host {
    fn new(lab: &Lab, host: vw_testkit::Host, number: u8, encrypted: bool) -> Self {
        let exec_root = lab.folder().join(host.name());
        let kernel = host
            .enter(|| LinuxKernel::open(&Config { exec_root }))
            .unwrap();
        let sandbox = SandboxId::from_bytes([number; 32]);
        let addr = Ipv4Addr::new(10, 5, 0, number);
        let mac = MacAddr([2, 0, 10, 5, 0, number]);
        let pod = lab.at(&format!("pod-{number}"), &kernel.netns_path(sandbox));
        let mut made = Self {
            underlay: Ipv4Addr::new(192, 0, 2, number),
            pod,
            addr,
            mac,
            id: HostId::from_bytes([number; 32]),
            host,
            kernel,
            key: PrivateKey::generate().unwrap(),
            device: None,
            made: Vec::new(),
            encrypted,
        };
        let (cx, network) = (made.context(), network(encrypted));
        let tunnel = plan_tunnel(
            inner_address(made.id),
            tunnel_mtu(cx.underlay.as_ref().unwrap()),
            Carrier::UserSpace,
        );
        made.make(tunnel.unwrap());
        overlay().validate(&network, &cx).unwrap();
        made.make(overlay().plan_network(&network, &cx).unwrap());
        let endpoint = EndpointSpec {
            id: EndpointId::from_bytes([number; 32]),
            network: network.id,
            sandbox,
            ifname: "eth0".parse().unwrap(),
            host_ifname: "vwcccccccccc".parse().unwrap(),
            mac,
            addresses: vec![format!("{addr}/24").parse().unwrap()],
            gateways: Vec::new(),
            settings: EndpointSettings::default(),
        };
        made.make(Fragment::from(vec![Object::Namespace(Namespace {
            netns: Netns::Sandbox(sandbox),
            source: NamespaceSource::New,
        })]));
        let attachment = overlay().plan_attachment(&network, &endpoint, &cx);
        made.make(attachment.unwrap().fragment);
        made
    }

    /// Takes in what the cluster tells of another host's container.
    fn learn(&mut self, other: &Self) {
        let remote = RemoteEndpoint {
            id: EndpointId::from_bytes([9; 32]),
            network: NetworkId::from_bytes([5; 32]),
            host: other.id,
            tunnel: other.underlay.into(),
            mac: other.mac,
            addresses: vec![format!("{}/24", other.addr).parse().unwrap()],
            names: vec!["other".to_owned()],
            ports: Vec::new(),
            service: None,
            away: false,
            sandbox: SandboxId::from_bytes([9; 32]),
        };
        let plan = overlay().plan_remote(&network(self.encrypted), &remote, &self.context());
        self.make(plan.unwrap());
    }

    fn context(&self) -> DriverContext {
        DriverContext {
            // The executor's namespace has no table of ours.
            iptables: false,
            underlay: Some(Underlay {
                addr: self.underlay.into(),
                prefix: 24,
                link: "wire".parse().unwrap(),
                mtu: 1500,
                merges: false,
                port: None,
                inner: Some(inner_address(self.id)),
                carrier: Default::default(),
                link_local: None,
            }),
            ..DriverContext::default()
        }
    }

    fn make(&mut self, fragment: Fragment) {
        let objects: Vec<_> = fragment.iter().map(|(_, object)| object.clone()).collect();
        let plan = Plan::ordered(objects.iter().cloned().map(Step::Create));
        self.kernel.apply(&plan).unwrap();
        self.made.extend(objects);
    }

    /// Starts what carries encrypted packets; a network in clear text needs none.
    pub(crate) fn start(&mut self) {
        let fd = self.kernel.open_tun(&tunnel_link().unwrap()).unwrap();
        let socket = self
            .host
            .enter(|| UdpSocket::bind(self.endpoint()))
            .unwrap();
        let tun = Tun { fd, headers: true };
        self.device = Some(Device::start(tun, vec![socket], self.key.clone()).unwrap());
    }

    /// Ends it, as a kill does.
    pub(crate) fn stop(&mut self) {
        self.device = None;
    }

    pub(crate) fn knows(&self, others: &[&Self]) {
        let peers = others.iter().map(|other| other.as_peer(other.key.public()));
        self.device.as_ref().unwrap().set_peers(peers.collect());
    }

    /// Takes another key for the other's.
    pub(crate) fn believes(&self, other: &Self, public: PublicKey) {
        self.device
            .as_ref()
            .unwrap()
            .set_peers(vec![other.as_peer(public)]);
    }

    fn endpoint(&self) -> SocketAddr {
        SocketAddr::from((self.underlay, PORT))
    }

    fn as_peer(&self, public: PublicKey) -> Peer {
        Peer {
            public,
            next: None,
            endpoint: self.endpoint(),
            allowed: vec![IpAddr::from(inner_address(self.id)).into()],
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.device = None;
        let plan = Plan::ordered(self.made.drain(..).map(Step::Delete));
        // A failed test has said why; what is left goes with the laboratory.
        let _ = self.kernel.apply(&plan);
        let _ = self.kernel.flush_reaper();
        let _ = self.kernel.withdraw();
    }
}

fn overlay() -> &'static dyn Driver {
    vw_drivers::find("overlay").unwrap()
}
