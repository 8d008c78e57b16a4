//! A server on loopback, its clients, and upstreams that misbehave as told.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};
use vw_dns_server::{Config, DnsServer, HostSockets, SandboxSockets, SocketFactory};
use vw_model::{EndpointId, SandboxId};
use vw_names::{
    EndpointNames, Nameserver, Policy, SharedZone, Transport, Upstream, Vantage, View, Zone,
};

/// Longer than anything takes that works; a test that waits for it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::yield_now();
    }
}

/// The configuration of tests: nothing happens by the clock unless a test wants it.
pub(crate) fn config() -> Config {
    Config {
        stagger: PATIENCE,
        retransmit: PATIENCE,
        deadline: PATIENCE,
        tcp_idle: PATIENCE,
        ..Config::default()
    }
}

pub(crate) fn sandbox(number: u8) -> SandboxId {
    SandboxId::from_bytes([number; 32])
}

/// A server with one sandbox on loopback.
pub(crate) struct Bench {
    pub(crate) server: DnsServer,
    pub(crate) zone: SharedZone,
    pub(crate) addr: SocketAddr,
}

impl Bench {
    pub(crate) fn new(config: Config, upstreams: &[&Fake]) -> Self {
        Self::with(
            config,
            Arc::new(HostSockets),
            upstreams,
            Vantage::Host,
            true,
        )
    }

    pub(crate) fn with(
        config: Config,
        factory: Arc<dyn SocketFactory>,
        upstreams: &[&Fake],
        from: Vantage,
        external: bool,
    ) -> Self {
        let server = DnsServer::start(config, factory).unwrap();
        let zone = SharedZone::new(Zone::new("mynet", []).with(&names(1, "web", [172, 18, 0, 2])));
        let policy = Policy {
            upstreams: upstreams.iter().map(|fake| fake.upstream(from)).collect(),
            external,
            hold_single_labels: false,
        };
        let view = Arc::new(View::new(vec![zone.clone()], &[], &policy));
        let (sockets, addr) = sockets();
        server.add(sandbox(1), sockets, view).unwrap();
        Self { server, zone, addr }
    }

    /// Asks by UDP, from a socket of its own.
    pub(crate) fn ask(&self, message: &[u8]) -> Vec<u8> {
        let client = Client::new(self.addr);
        client.send(message);
        client.receive()
    }

    /// Asks by TCP.
    pub(crate) fn ask_tcp(&self, message: &[u8]) -> Vec<u8> {
        let mut stream = self.stream();
        stream.write_all(&framed(message)).unwrap();
        read_frame(&mut stream).unwrap()
    }

    pub(crate) fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

/// A pair of sockets on one loopback port, as the kernel crate makes them in a sandbox.
pub(crate) fn sockets() -> (SandboxSockets, SocketAddr) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = udp.local_addr().unwrap();
        // The port may be taken for the other protocol.
        if let Ok(tcp) = TcpListener::bind(addr) {
            return (SandboxSockets { udp, tcp }, addr);
        }
    }
    panic!("no free port");
}

pub(crate) fn names(number: u8, name: &str, addr: [u8; 4]) -> EndpointNames {
    EndpointNames {
        endpoint: EndpointId::from_bytes([number; 32]),
        name: name.to_owned(),
        aliases: vec![],
        short_id: EndpointId::from_bytes([number; 32]).short(),
        addresses: vec![addr.into()],
        ports: vec![],
        weight: 0,
    }
}

/// A stub resolver's socket.
pub(crate) struct Client(UdpSocket);

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub(crate) fn send(&self, message: &[u8]) {
        self.0.send(message).unwrap();
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65535];
        let length = self.0.recv(&mut buffer).expect("a reply");
        buffer.truncate(length);
        buffer
    }
}

/// A query for the addresses of `name`.
pub(crate) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// The reply to `query` with these addresses, each for 60 seconds.
pub(crate) fn reply(query: &[u8], addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut message = query.to_vec();
    message[2] |= 0x80;
    message[3] = 0x80;
    message[6..8].copy_from_slice(&(addresses.len() as u16).to_be_bytes());
    for addr in addresses {
        message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend_from_slice(addr);
    }
    message
}

/// The reply to `query` that says nothing but this code.
pub(crate) fn failure(query: &[u8], rcode: u8) -> Vec<u8> {
    let mut message = reply(query, &[]);
    message[3] |= rcode;
    message
}

pub(crate) fn rcode(message: &[u8]) -> u8 {
    message[3] & 15
}

pub(crate) fn is_truncated(message: &[u8]) -> bool {
    message[2] & 2 != 0
}

/// The addresses that a reply to [`query`] holds.
pub(crate) fn addresses(message: &[u8]) -> Vec<[u8; 4]> {
    let count = usize::from(u16::from_be_bytes([message[6], message[7]]));
    let question = 12 + message[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
    let records = message[question..].chunks(16).take(count);
    records
        .map(|record| record[12..].try_into().unwrap())
        .collect()
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = (message.len() as u16).to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    frame
}

/// The next message of a stream; `None` at its end.
pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// One question as an upstream saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) message: Vec<u8>,
    pub(crate) transport: Transport,
    pub(crate) from: SocketAddr,
    udp: Arc<UdpSocket>,
}

impl Asked {
    /// Answers later, by UDP.
    pub(crate) fn answer(&self, message: &[u8]) {
        self.udp.send_to(message, self.from).unwrap();
    }
}

/// An upstream that does with each question what its handler says: any number of replies.
pub(crate) struct Fake {
    addr: SocketAddr,
    asked: Arc<(Mutex<Vec<Asked>>, Condvar)>,
}

impl Fake {
    pub(crate) fn new(handler: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (sockets, addr) = sockets();
        let asked = Arc::<(Mutex<Vec<Asked>>, Condvar)>::default();
        let udp = Arc::new(sockets.udp);
        let handler = Arc::new(handler);
        let see = {
            let (asked, udp) = (Arc::clone(&asked), Arc::clone(&udp));
            move |message: &[u8], transport, from| {
                let one = Asked {
                    message: message.to_vec(),
                    transport,
                    from,
                    udp: Arc::clone(&udp),
                };
                asked.0.lock().unwrap().push(one.clone());
                asked.1.notify_all();
                handler(&one)
            }
        };
        // The threads live as long as the test's process.
        let by_tcp = see.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                for message in see(&buffer[..length], Transport::Udp, from) {
                    // Whoever asked may be gone.
                    let _ = udp.send_to(&message, from);
                }
            }
        });
        thread::spawn(move || {
            for stream in sockets.tcp.incoming() {
                let mut stream = stream.unwrap();
                let from = stream.peer_addr().unwrap();
                while let Some(message) = read_frame(&mut stream) {
                    for message in by_tcp(&message, Transport::Tcp, from) {
                        let _ = stream.write_all(&framed(&message));
                    }
                }
            }
        });
        Self { addr, asked }
    }

    /// One that answers every question with this address.
    pub(crate) fn honest(addr: [u8; 4]) -> Self {
        Self::new(move |asked| vec![reply(&asked.message, &[addr])])
    }

    /// One that never says anything by itself.
    pub(crate) fn silent() -> Self {
        Self::new(|_| vec![])
    }

    /// An address where nobody listens.
    pub(crate) fn absent() -> Self {
        // An address of its own, as other tests take ports of 127.0.0.1.
        let addr = (Ipv4Addr::new(127, 77, 0, 1), 53).into();
        Self {
            addr,
            asked: Arc::default(),
        }
    }

    pub(crate) fn upstream(&self, from: Vantage) -> Upstream {
        let server = Nameserver::from(self.addr.ip());
        Upstream {
            server,
            port: self.addr.port(),
            from,
        }
    }

    /// What it was asked so far, once that is at least `count` questions.
    pub(crate) fn asked(&self, count: usize) -> Vec<Asked> {
        let (asked, more) = &*self.asked;
        let asked = asked.lock().unwrap();
        let (asked, late) = more
            .wait_timeout_while(asked, PATIENCE, |asked| asked.len() < count)
            .unwrap();
        assert!(
            !late.timed_out(),
            "asked {} times, not {count}",
            asked.len()
        );
        asked.clone()
    }
}
