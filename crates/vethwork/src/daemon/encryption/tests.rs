//! What a process is told of a thousand peers.

use super::*;
use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

fn id(number: u16) -> HostId {
    let bytes = number.to_be_bytes();
    HostId::from_bytes(std::array::from_fn(|at| bytes[at % 2]))
}

fn peer(number: u16, public: u16) -> Peer {
    Peer {
        public: PublicKey::from_bytes(*id(public).0.as_bytes()),
        next: None,
        endpoint: SocketAddr::from(([192, 0, 2, 7], number)),
        allowed: vec![IpAddr::V6(inner_address(id(number))).into()],
    }
}

fn told() -> Told {
    Told {
        pid: 7,
        count: 3,
        peers: BTreeMap::new(),
    }
}

fn length(changes: &PeerChanges) -> usize {
    serde_json::to_vec(changes).unwrap().len()
}

#[test]
fn a_process_is_told_of_what_changed_alone() {
    let mut told = told();
    let all = told.take((0..1000).map(|number| (id(number), Some(peer(number, number)))));
    assert_eq!((all.former.len(), all.peers.len()), (0, 1000));
    assert!(length(&all) > 100_000);
    // Hosts tell more than what a process is to know.
    let same = told.take((0..1000).map(|number| (id(number), Some(peer(number, number)))));
    assert!(same.is_empty());
    let key = |public| peer(0, public).public;
    let rows = [
        (1, Some(peer(1, 2001)), vec![key(1)], 1),
        (2, None, vec![key(2)], 0),
        (2, None, vec![], 0),
        (1000, Some(peer(1000, 1000)), vec![], 1),
        (1, Some(peer(1, 2001)), vec![], 0),
    ];
    for (number, now, former, came) in rows {
        let changes = told.take([(id(number), now)]);
        assert_eq!((&changes.former, changes.peers.len()), (&former, came));
        assert!(length(&changes) < 400, "{} octets", length(&changes));
    }
    assert_eq!(told.peers.len(), 1000);
}

#[test]
fn what_a_process_knows_is_known_of_the_one_that_was_told_last_alone() {
    let greeting = |pid: u32, count: u64| -> Greeting {
        let told = serde_json::json!({
            "version": 2, "pid": pid, "public": null, "endpoints": [], "lost": false, "told": count,
        });
        serde_json::from_value(told).unwrap()
    };
    let told = told();
    for (pid, count, is_of) in [(7, 3, true), (8, 3, false), (7, 2, false), (7, 4, false)] {
        assert_eq!(told.is_of(&greeting(pid, count)), is_of, "{pid} {count}");
    }
}

/// A process that knows what it is told, but for what it does not answer.
struct FakeProcess {
    public: PublicKey,
    /// How many peers it was told, of the first sort or the other, in order.
    told: Mutex<Vec<(u8, usize)>>,
    deaf: AtomicBool,
}

const GREET: u8 = 1;
const ALL: u8 = 3;
const STOP: u8 = 6;
const CHANGES: u8 = 7;

impl FakeProcess {
    fn serve(&self, listener: &UnixListener) {
        let mut kind = 0;
        while kind != STOP {
            let (stream, _) = listener.accept().unwrap();
            // Who asks nothing only looks who is there.
            kind = self.answer(stream).unwrap_or_default();
        }
    }

    fn answer(&self, mut stream: UnixStream) -> io::Result<u8> {
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let mut body = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut body)?;
        let mut told = self.told.lock().unwrap();
        let mut answer = serde_json::Value::Null;
        match kind {
            GREET => {
                answer = serde_json::json!({
                    "version": 2, "pid": 7, "public": self.public,
                    "endpoints": ["192.0.2.1:51820"], "lost": false, "told": told.len(),
                });
            }
            ALL | CHANGES if self.deaf.load(Ordering::SeqCst) => return Ok(kind),
            ALL | CHANGES => {
                let body: serde_json::Value = serde_json::from_slice(&body)?;
                let peers = body.get("peers").unwrap_or(&body).as_array();
                told.push((kind, peers.map_or(0, Vec::len)));
            }
            _ => {}
        }
        let answer = answer.to_string();
        let length = (answer.len() as u32).to_be_bytes();
        let said = [&[0], &length[..], answer.as_bytes()].concat();
        stream.write_all(&said)?;
        Ok(kind)
    }
}

fn host(number: u16) -> RemoteHost {
    RemoteHost {
        id: id(number),
        name: String::new(),
        tunnel: [192, 0, 2, 7].into(),
        keys: Some(TunnelKeys {
            public: peer(0, number).public,
            next: None,
            port: number,
            taken: Default::default(),
            idle: false,
            woke: 0,
        }),
        unpublished: Default::default(),
        away: false,
    }
}

#[test]
fn the_first_free_port_is_had_of_those_that_the_kernel_would_have() {
    let folder = std::env::temp_dir().join(format!("vw-port-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let keys = KeyHolder::open(folder.join("tunnel.key"), PERIOD).unwrap();
    let addr: IpAddr = [127, 51, 8, 20].into();
    let kernel = Arc::new(vw_kernel::fake::FakeKernel::new());
    let tunnel = UserSpace::new(kernel, addr, keys, &folder);
    let port = || {
        let bound = tunnel.bind(&tunnel.state());
        bound.map(|socket| socket.local_addr().unwrap().port())
    };
    assert_eq!(port().unwrap(), 51_820);
    let take = |port| UdpSocket::bind((addr, port)).unwrap();
    let _strangers = [take(51_820), take(51_821)];
    assert_eq!(port().unwrap(), 51_822);
    // Others know another one.
    (tunnel.state().port, tunnel.state().chosen) = (51_830, true);
    assert_eq!(port().unwrap(), 51_830);
    tunnel.end().unwrap();
    assert_eq!(port().unwrap(), 51_822);
    fs::remove_dir_all(&folder).unwrap();
}

/// Tells the process to end, also when the test fails: its thread is waited for.
struct Ends<'a>(&'a UserSpace);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        // A test that failed says so itself.
        let _ = self.0.end();
    }
}

#[test]
fn a_process_that_may_have_missed_something_is_told_all() {
    let folder = std::env::temp_dir().join(format!("vw-told-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let keys = KeyHolder::open(folder.join("tunnel.key"), PERIOD).unwrap();
    let process = FakeProcess {
        public: keys.current().public(),
        told: Mutex::default(),
        deaf: AtomicBool::new(false),
    };
    let kernel = Arc::new(vw_kernel::fake::FakeKernel::new());
    let tunnel = UserSpace::new(kernel, [192, 0, 2, 1].into(), keys, &folder);
    let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
    let told = || process.told.lock().unwrap().last().copied();
    let count = || process.told.lock().unwrap().len();
    thread::scope(|scope| {
        scope.spawn(|| process.serve(&listener));
        let _ends = Ends(&tunnel);
        let mut others: OtherHosts = (1..=1000).map(host).collect();
        tunnel.carry(&others).unwrap();
        assert_eq!(told(), Some((ALL, 1000)));
        others.settle();
        tunnel.carry(&others).unwrap();
        assert_eq!(count(), 1, "nothing changed");
        others.take(id(1001), Some(host(1001)));
        tunnel.carry(&others).unwrap();
        assert_eq!((count(), told()), (2, Some((CHANGES, 1))));
        others.settle();
        // It does not answer what it is told, and goes on.
        others.take(id(1002), Some(host(1002)));
        process.deaf.store(true, Ordering::SeqCst);
        tunnel.carry(&others).unwrap_err();
        process.deaf.store(false, Ordering::SeqCst);
        tunnel.carry(&others).unwrap();
        assert_eq!((count(), told()), (3, Some((ALL, 1002))));
        others.settle();
        // Somebody else tells it something.
        process.told.lock().unwrap().push((ALL, 0));
        tunnel.carry(&others).unwrap();
        assert_eq!((count(), told()), (5, Some((ALL, 1002))));
    });
    fs::remove_dir_all(&folder).unwrap();
}
