//! Hosts with a tunnel: the underlay's namespace, the tunnel's, and the device between.

use crate::tun_link;
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};
use vw_agents::wireguard::{Device, Peer, PrivateKey, Tun};
use vw_model::{HostId, PublicKey, inner_address};
use vw_testkit::{Host, Lab, poll, traffic};

/// The port that the hosts use.
pub(crate) const PORT: u16 = 51_820;
/// A session that must be asked for twice takes five seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// The tunnel's own MTU over an underlay of 1500, IPv4.
const MTU: u32 = 1440;

/// A host of the cluster.
pub(crate) struct Member {
    /// Where its other traffic is.
    pub(crate) host: Host,
    /// Where its encrypted networks' tunnels are.
    pub(crate) inside: Host,
    pub(crate) underlay: IpAddr,
    pub(crate) inner: IpAddr,
    pub(crate) device: Option<Device>,
    pub(crate) key: PrivateKey,
}

impl Member {
    /// A host without a device: its link stands, and nobody reads it.
    pub(crate) fn new(lab: &Lab, name: &str, number: u8, underlay: &str) -> Self {
        let host = lab.host(name);
        let inside = lab.host(&format!("{name}-in"));
        let inner = inner_address(HostId::from_bytes([number; 32]));
        inside.ip("tuntap add dev vw-wg mode tun vnet_hdr");
        inside.ip(&format!("link set vw-wg mtu {MTU} up"));
        inside.ip(&format!("addr add {inner}/48 dev vw-wg nodad"));
        Self {
            host,
            inside,
            underlay: underlay.parse().unwrap(),
            inner: inner.into(),
            device: None,
            key: PrivateKey::generate().unwrap(),
        }
    }

    /// Starts the device, without peers.
    pub(crate) fn start(&mut self) {
        let fd = self.inside.enter(|| tun_link::open("vw-wg"));
        let tun = Tun { fd, headers: true };
        let local = SocketAddr::from((self.underlay, PORT));
        let socket = self.host.enter(|| UdpSocket::bind(local)).unwrap();
        let device = Device::start(tun, vec![socket], self.key.clone()).unwrap();
        self.device = Some(device);
    }

    pub(crate) fn as_peer(&self) -> Peer {
        Peer {
            public: self.key.public(),
            next: None::<PublicKey>,
            endpoint: SocketAddr::from((self.underlay, PORT)),
            allowed: vec![self.inner.into()],
        }
    }

    pub(crate) fn knows(&self, others: &[&Self]) {
        let peers = others.iter().map(|other| other.as_peer()).collect();
        self.device.as_ref().unwrap().set_peers(peers);
    }

    /// Whether another is reached in the end.
    pub(crate) fn reaches(&self, other: &Self) -> bool {
        let to = other.inner.to_string();
        poll(PATIENCE, || traffic::ping(&self.inside, &to).then_some(())).is_some()
    }
}

/// Two hosts on one segment that know one another.
pub(crate) fn pair(lab: &Lab, addresses: [&str; 2], length: u8) -> ([Member; 2], Host) {
    let mut a = Member::new(lab, "a", 1, addresses[0]);
    let mut b = Member::new(lab, "b", 2, addresses[1]);
    let [on_a, on_b] = addresses.map(|address| format!("{address}/{length}"));
    let switch = lab.lan(
        "lan",
        &[(&a.host, "eth0", &[&on_a]), (&b.host, "eth0", &[&on_b])],
    );
    a.start();
    b.start();
    a.knows(&[&b]);
    b.knows(&[&a]);
    ([a, b], switch)
}
