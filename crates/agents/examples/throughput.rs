//! What encryption costs: a TCP stream and request-response pairs between two hosts that are
//! namespaces, over a plain VXLAN and over one inside the tunnel, taken in turn.
//!
//! `cargo run --release -p vw-agents --example throughput [rounds]`, as root.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};
use vw_agents::wireguard::{Device, Peer, PrivateKey, Tun};
use vw_model::{HostId, inner_address};
use vw_testkit::{Host, Lab, poll, traffic};

#[path = "../tests/wireguard/tun_link.rs"]
mod tun_link;

const WHILE: Duration = Duration::from_secs(2);
const PORT: u16 = 51_820;

/// A container's namespace on one of two hosts, and the other's.
struct Ends {
    near: Host,
    far: Host,
    to: Ipv4Addr,
}

fn main() {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(5);
    let lab = Lab::new();
    let hosts = ["a", "b"].map(|name| lab.host(name));
    let [a, b] = &hosts;
    lab.lan(
        "lan",
        &[
            (a, "eth0", &["192.0.2.1/24"]),
            (b, "eth0", &["192.0.2.2/24"]),
        ],
    );
    let plain = plain(&lab, &hosts);
    let (sealed, devices) = sealed(&lab, &hosts);
    println!("round  plain Gbit/s  sealed Gbit/s  ratio  plain /s  sealed /s  ratio");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (plain_bits, sealed_bits) = (stream(&plain), stream(&sealed));
        let (plain_pairs, sealed_pairs) = (exchange(&plain), exchange(&sealed));
        let (bits, pairs) = (sealed_bits / plain_bits, sealed_pairs / plain_pairs);
        println!(
            "{round:5}  {plain_bits:12.2}  {sealed_bits:13.2}  {bits:5.3}  {plain_pairs:8.0}  \
             {sealed_pairs:9.0}  {pairs:5.3}"
        );
        ratios.push((bits, pairs));
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "median ratio: throughput {:.3}, request-response {:.3}",
        median(ratios.iter().map(|ratio| ratio.0).collect()),
        median(ratios.iter().map(|ratio| ratio.1).collect()),
    );
    for device in &devices {
        println!("{:?}", device.stats());
    }
}

/// A VXLAN between the hosts' own addresses, made with `ip`.
fn plain(lab: &Lab, hosts: &[Host; 2]) -> Ends {
    let pods = ["plain-a", "plain-b"].map(|name| lab.host(name));
    for (at, (host, pod)) in hosts.iter().zip(&pods).enumerate() {
        let (local, remote) = (at + 1, 2 - at);
        host.ip(&format!(
            "link add vx0 type vxlan id 7 local 192.0.2.{local} remote 192.0.2.{remote} dstport 4789"
        ));
        place(lab, host, pod, at, "10.7.0", 1450);
    }
    let [near, far] = pods;
    Ends {
        near,
        far,
        to: Ipv4Addr::new(10, 7, 0, 2),
    }
}

/// One whose underlay is the tunnel.
fn sealed(lab: &Lab, hosts: &[Host; 2]) -> (Ends, Vec<Device>) {
    let pods = ["sealed-a", "sealed-b"].map(|name| lab.host(name));
    let keys = [(); 2].map(|()| PrivateKey::generate().expect("randomness"));
    let inner = [1, 2].map(|number| inner_address(HostId::from_bytes([number; 32])));
    let endpoint = |at: usize| SocketAddr::from(([192, 0, 2, at as u8 + 1], PORT));
    let mut devices = Vec::new();
    for (at, (host, pod)) in hosts.iter().zip(&pods).enumerate() {
        let inside = lab.host(&format!("in-{at}"));
        inside.ip("tuntap add dev vw-wg mode tun vnet_hdr");
        inside.ip("link set vw-wg mtu 1440 up");
        inside.ip(&format!("addr add {}/48 dev vw-wg nodad", inner[at]));
        let fd = inside.enter(|| tun_link::open("vw-wg"));
        let socket = host
            .enter(|| UdpSocket::bind(endpoint(at)))
            .expect("a free port");
        let tun = Tun { fd, headers: true };
        let device = Device::start(tun, vec![socket], keys[at].clone()).expect("a device");
        device.set_peers(vec![Peer {
            public: keys[1 - at].public(),
            next: None,
            endpoint: endpoint(1 - at),
            allowed: vec![std::net::IpAddr::from(inner[1 - at]).into()],
        }]);
        devices.push(device);
        inside.ip(&format!(
            "link add vx0 type vxlan id 7 local {} remote {} dstport 4789 udp6zerocsumtx \
             udp6zerocsumrx",
            inner[at],
            inner[1 - at]
        ));
        place(lab, &inside, pod, at, "10.8.0", 1370);
    }
    let [near, far] = pods;
    (
        Ends {
            near,
            far,
            to: Ipv4Addr::new(10, 8, 0, 2),
        },
        devices,
    )
}

/// Moves the tunnel's device to its container.
fn place(lab: &Lab, host: &Host, pod: &Host, at: usize, subnet: &str, mtu: u32) {
    let name = format!("{}-{}", lab.name(), pod.name());
    host.ip(&format!("link set vx0 mtu {mtu} netns {name}"));
    pod.ip("link set vx0 up");
    pod.ip(&format!("addr add {subnet}.{}/24 dev vx0", at + 1));
}

fn connect(ends: &Ends) -> (TcpStream, TcpStream) {
    let to = ends.to.to_string();
    let reached = poll(Duration::from_secs(20), || {
        traffic::ping(&ends.near, &to).then_some(())
    });
    reached.expect("the other end answers");
    let listener = ends
        .far
        .enter(|| TcpListener::bind((ends.to, 0)))
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let near = ends
        .near
        .enter(|| TcpStream::connect(address))
        .expect("it listens");
    let (far, _) = listener.accept().expect("it is connected");
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("TCP has it");
    }
    (near, far)
}

/// Gbit/s of one stream, as the reader sees it.
fn stream(ends: &Ends) -> f64 {
    let (mut near, mut far) = connect(ends);
    let reader = thread::spawn(move || {
        let mut room = vec![0; 256 << 10];
        let (mut bytes, begin) = (0_usize, Instant::now());
        while let Ok(size @ 1..) = far.read(&mut room) {
            bytes += size;
        }
        bytes as f64 * 8.0 / begin.elapsed().as_secs_f64() / 1e9
    });
    let (block, begin) = (vec![0; 256 << 10], Instant::now());
    while begin.elapsed() < WHILE {
        near.write_all(&block).expect("the reader reads");
    }
    drop(near);
    reader.join().expect("the reader ends")
}

/// Pairs of a request and its response in a second, one at a time.
fn exchange(ends: &Ends) -> f64 {
    let (mut near, mut far) = connect(ends);
    let server = thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let (mut pairs, begin, mut byte) = (0_u32, Instant::now(), [0]);
    while begin.elapsed() < WHILE {
        near.write_all(&byte)
            .and_then(|()| near.read_exact(&mut byte))
            .expect("it answers");
        pairs += 1;
    }
    drop(near);
    server.join().expect("the server ends");
    f64::from(pairs) / WHILE.as_secs_f64()
}
