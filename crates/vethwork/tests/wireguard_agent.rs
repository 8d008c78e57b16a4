//! The encrypted tunnel's process: it carries packets whoever started it, and is found again.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};
use vw_agents::wireguard::{
    Device, KeyHolder, Peer, PrivateKey, Tun,
    agent::{Agent, AgentError, PeerChanges},
};
use vw_model::{HostId, OtherHosts, RemoteHost, TunnelKeys, inner_address};
use vw_testkit::{Host, Lab, eventually, require_root, traffic};

#[path = "../../agents/tests/wireguard/tun_link.rs"]
mod tun_link;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vethwork");
const PATIENCE: Duration = Duration::from_secs(15);

/// Ends the process with the test.
struct Ended(PathBuf);

impl Drop for Ended {
    fn drop(&mut self) {
        // The test has said what went wrong, if anything did.
        let _ = Agent::stop(&self.0);
    }
}

/// One host's link and socket, with its place in the tunnel.
fn place(lab: &Lab, host: &Host, number: u8) -> (Host, Tun, UdpSocket, IpAddr) {
    let inside = lab.host(&format!("in-{number}"));
    let inner = inner_address(HostId::from_bytes([number; 32]));
    make_link(&inside, inner.into());
    let fd = inside.enter(|| tun_link::open("vw-wg"));
    let socket = host.enter(|| UdpSocket::bind(endpoint(number))).unwrap();
    (inside, Tun { fd, headers: true }, socket, inner.into())
}

fn make_link(inside: &Host, inner: IpAddr) {
    inside.ip("tuntap add dev vw-wg mode tun vnet_hdr");
    inside.ip("link set vw-wg mtu 1440 up");
    inside.ip(&format!("addr add {inner}/48 dev vw-wg nodad"));
}

fn endpoint(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 51_820))
}

fn peer(key: &PrivateKey, number: u8, inner: IpAddr) -> Peer {
    Peer {
        public: key.public(),
        next: None,
        endpoint: endpoint(number),
        allowed: vec![inner.into()],
    }
}

fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_else(|| panic!("{status}")).trim().to_owned()
}

#[test]
fn the_process_carries_packets_and_is_found_again() {
    require_root!();
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.lan(
        "lan",
        &[
            (&a, "eth0", &["192.0.2.1/24"]),
            (&b, "eth0", &["192.0.2.2/24"]),
        ],
    );
    let (inside_a, tun_a, socket_a, inner_a) = place(&lab, &a, 1);
    let (inside_b, tun_b, socket_b, inner_b) = place(&lab, &b, 2);
    let [key_a, key_b] = [(); 2].map(|()| PrivateKey::generate().unwrap());
    let other = Device::start(tun_b, vec![socket_b], key_b.clone()).unwrap();
    other.set_peers(vec![peer(&key_a, 1, inner_a)]);

    let path = lab.folder().join("wireguard.sock");
    assert!(matches!(Agent::find(&path), Err(AgentError::Away { .. })));
    Agent::stop(&path).unwrap();
    let _ended = Ended(path.clone());
    let agent = Agent::spawn(Path::new(PROGRAM), &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(matches!(agent.stats(), Err(AgentError::Refused(_))));
    agent.start(&tun_a, &[socket_a], &key_a).unwrap();
    // It has descriptors of its own.
    drop(tun_a);
    agent.set_peers(&[peer(&key_b, 2, inner_b)]).unwrap();
    let reaches = || traffic::ping(&inside_a, &inner_b.to_string());
    eventually("they reach one another", PATIENCE, reaches);

    // What a daemon finds that starts later.
    drop(agent);
    let (agent, greeting) = Agent::find(&path).unwrap();
    assert!(Agent::process(&path).is_some());
    assert_eq!(greeting.public, Some(key_a.public()));
    assert_eq!(status(greeting.pid, "CapPrm:"), "0000000000000000");
    assert_eq!(status(greeting.pid, "NoNewPrivs:"), "1");
    let command = fs::read(format!("/proc/{}/cmdline", greeting.pid)).unwrap();
    assert!(
        command.ends_with(b"\0wireguard-agent\0"),
        "a key may be in {command:?}"
    );
    agent.set_peers(&[peer(&key_b, 2, inner_b)]).unwrap();
    assert!(reaches());
    assert!(agent.stats().unwrap().peers[0].handshake_age.is_some());

    let next = PrivateKey::generate().unwrap();
    let mut record = peer(&key_a, 1, inner_a);
    record.next = Some(next.public());
    other.set_peers(vec![record]);
    agent.rotate(&next).unwrap();
    assert!(reaches());
    assert_eq!(Agent::find(&path).unwrap().1.public, Some(next.public()));
    let used = || other.stats().peers[0].handshake_age.is_some();
    assert!(used() && traffic::ping(&inside_b, &inner_a.to_string()));

    assert!(!greeting.lost);
    inside_a.ip("link del vw-wg");
    let lost = || Agent::find(&path).unwrap().1.lost;
    eventually("it tells that its link is gone", PATIENCE, lost);
    Agent::stop(&path).unwrap();
    eventually("it has ended", PATIENCE, || {
        !Path::new(&format!("/proc/{}", greeting.pid)).exists()
    });
    assert!(!reaches());
}

#[test]
fn what_changes_of_the_peers_is_told_alone() {
    require_root!();
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    let of_b: &[&str] = &["192.0.2.2/24", "192.0.2.3/24"];
    lab.lan(
        "lan",
        &[(&a, "eth0", &["192.0.2.1/24"]), (&b, "eth0", of_b)],
    );
    let (inside_a, tun_a, socket_a, inner_a) = place(&lab, &a, 1);
    let key_a = PrivateKey::generate().unwrap();
    let others = [2, 3].map(|number| {
        let (inside, tun, socket, inner) = place(&lab, &b, number);
        let key = PrivateKey::generate().unwrap();
        let device = Device::start(tun, vec![socket], key.clone()).unwrap();
        device.set_peers(vec![peer(&key_a, 1, inner_a)]);
        (inside, inner, key, device)
    });
    let path = lab.folder().join("wireguard.sock");
    let _ended = Ended(path.clone());
    let agent = Agent::spawn(Path::new(PROGRAM), &path).unwrap();
    agent.start(&tun_a, &[socket_a], &key_a).unwrap();
    let [(_, inner_b, key_b, _), (inside_c, inner_c, key_c, _)] = &others;
    agent.set_peers(&[peer(key_b, 2, *inner_b)]).unwrap();
    let reaches = |inner: &IpAddr| traffic::ping(&inside_a, &inner.to_string());
    let tell = |former: &[&PrivateKey], peers: Vec<Peer>| {
        let former = former.iter().map(|key| key.public()).collect();
        agent.change_peers(&PeerChanges { former, peers }).unwrap();
    };
    eventually("the second is reached", PATIENCE, || reaches(inner_b));
    assert!(!reaches(inner_c));
    tell(&[], vec![peer(key_c, 3, *inner_c)]);
    eventually("the third is reached", PATIENCE, || reaches(inner_c));
    assert!(reaches(inner_b));
    tell(&[key_c], Vec::new());
    assert!(reaches(inner_b) && !reaches(inner_c));
    assert!(!traffic::ping(inside_c, &inner_a.to_string()));
    let (agent, greeting) = Agent::find(&path).unwrap();
    assert_eq!((greeting.told, agent.stats().unwrap().peers.len()), (3, 1));
}

/// Keys of which one was used before another.
fn changed_keys(file: PathBuf) -> KeyHolder {
    let mut keys = KeyHolder::open(file, Duration::ZERO).unwrap();
    let mut other = RemoteHost {
        id: HostId::from_bytes([2; 32]),
        name: "b".to_owned(),
        tunnel: endpoint(2).ip(),
        keys: Some(TunnelKeys {
            public: PrivateKey::generate().unwrap().public(),
            next: None,
            port: 51_820,
            taken: BTreeSet::new(),
            idle: false,
            woke: 0,
        }),
        unpublished: Default::default(),
        away: false,
    };
    let others = |host: &RemoteHost| OtherHosts::from_iter([host.clone()]);
    keys.change(&others(&other), None).unwrap();
    if let Some(told) = &mut other.keys {
        told.taken.extend(keys.keys(51_820).next);
    }
    keys.change(&others(&other), None).unwrap();
    keys
}

#[test]
fn a_process_that_succeeds_another_accepts_the_former_key() {
    require_root!();
    let lab = Lab::new();
    let (a, b) = (lab.host("a"), lab.host("b"));
    lab.lan(
        "lan",
        &[
            (&a, "eth0", &["192.0.2.1/24"]),
            (&b, "eth0", &["192.0.2.2/24"]),
        ],
    );
    let (_inside_a, tun_a, socket_a, inner_a) = place(&lab, &a, 1);
    let (inside_b, tun_b, socket_b, inner_b) = place(&lab, &b, 2);
    let keys = changed_keys(lab.folder().join("tunnel.key"));
    let former = keys.former().expect("it was used before").clone();
    // This one has not read yet that another key is used.
    let key_b = PrivateKey::generate().unwrap();
    let other = Device::start(tun_b, vec![socket_b], key_b.clone()).unwrap();
    other.set_peers(vec![peer(&former, 1, inner_a)]);
    let path = lab.folder().join("wireguard.sock");
    let _ended = Ended(path.clone());
    let agent = Agent::spawn(Path::new(PROGRAM), &path).unwrap();
    agent.succeed(&tun_a, &[socket_a], &keys).unwrap();
    agent.set_peers(&[peer(&key_b, 2, inner_b)]).unwrap();
    eventually("it is answered", PATIENCE, || {
        traffic::ping(&inside_b, &inner_a.to_string())
    });
    let (_, found) = Agent::find(&path).unwrap();
    assert_eq!(found.public, Some(keys.current().public()));
}
