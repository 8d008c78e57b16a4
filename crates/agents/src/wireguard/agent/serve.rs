//! The process's own side: it answers, and keeps the device.

use super::{
    super::{Device, Peer, PrivateKey, Tun, socket},
    Ask, DONE, Greeting, Message, PeerChanges, REFUSED, VERSION, hear, say,
};
use rustix::{
    net::listen,
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};
use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};
use vw_model::PublicKey;
use zeroize::Zeroizing;

/// How long a daemon may take over one request: one that was stopped must not hold up the next.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many may wait to be heard: there is one daemon.
const BACKLOG: i32 = 128;

/// What the process keeps.
#[derive(Default)]
struct Served {
    device: Option<Device>,
    public: Option<PublicKey>,
    endpoints: Vec<SocketAddr>,
    /// How often it was told of peers.
    told: u64,
    /// It was told to end.
    ends: bool,
}

/// Serves the listening socket that is standard input, until it is told to stop.
///
/// # Errors
/// When standard input is no listening socket, or the system refuses to keep its memory to itself.
pub fn run() -> io::Result<()> {
    // Keys are in memory: no core file, and no tracing by who is not root.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_no_new_privs(true)?;
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.local_addr()?;
    // Who connects is told who serves from here on (`unix(7)`, `SO_PEERCRED`), not who made the socket.
    listen(&listener, BACKLOG)?;
    let mut served = Served::default();
    while !served.ends {
        match listener.accept() {
            // A daemon that was killed over its request is not this one's trouble.
            Ok((stream, _)) => drop(served.converse(stream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Served {
    fn converse(&mut self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let message = hear(&mut stream)?;
        match self.answer(message) {
            Ok(body) => say(&mut stream, DONE, &body, &[]),
            Err(sentence) => say(&mut stream, REFUSED, sentence.as_bytes(), &[]),
        }
    }

    fn answer(&mut self, message: Message) -> Result<Vec<u8>, String> {
        match Ask::from_byte(message.kind) {
            Some(Ask::Greet) => to_json(&Greeting {
                version: VERSION,
                pid: std::process::id(),
                public: self.public,
                endpoints: self.endpoints.clone(),
                lost: self.device.as_ref().is_some_and(Device::is_lost),
                told: self.told,
            }),
            Some(Ask::Start) => self.start(message).map(|()| Vec::new()),
            Some(Ask::Peers) => {
                let peers = serde_json::from_slice::<Vec<Peer>>(&message.body);
                let peers = peers.map_err(|error| error.to_string())?;
                self.device()?.set_peers(peers);
                self.told += 1;
                Ok(Vec::new())
            }
            Some(Ask::Change) => {
                let changes = serde_json::from_slice::<PeerChanges>(&message.body);
                let PeerChanges { former, peers } = changes.map_err(|error| error.to_string())?;
                self.device()?.change_peers(former, peers);
                self.told += 1;
                Ok(Vec::new())
            }
            Some(Ask::Rotate) => {
                let private = key(&message.body)?;
                let public = private.public();
                self.device()?.rotate(private);
                self.public = Some(public);
                Ok(Vec::new())
            }
            Some(Ask::Stats) => to_json(&self.device()?.stats()),
            Some(Ask::Stop) => {
                self.device = None;
                self.ends = true;
                Ok(Vec::new())
            }
            None => Err(format!("it knows no request {}", message.kind)),
        }
    }

    /// The body is whether packets have headers, then the key.
    fn start(&mut self, message: Message) -> Result<(), String> {
        if self.device.is_some() {
            return Err("it carries packets already".to_owned());
        }
        let Some((headers, bytes)) = message.body.split_first() else {
            return Err("the request has no body".to_owned());
        };
        let private = key(bytes)?;
        let mut descriptors = message.descriptors.into_iter();
        let fd = descriptors.next().ok_or("it got no link")?;
        let sockets: Vec<_> = descriptors.map(UdpSocket::from).collect();
        for socket in &sockets {
            socket::prepare(socket).map_err(|error| error.to_string())?;
        }
        let endpoints: io::Result<_> = sockets.iter().map(UdpSocket::local_addr).collect();
        self.endpoints = endpoints.map_err(|error| error.to_string())?;
        // What it holds is enough from here on; the device's threads have no more than this one.
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).map_err(|error| error.to_string())?;
        let tun = Tun {
            fd,
            headers: *headers != 0,
        };
        self.public = Some(private.public());
        let device = Device::start(tun, sockets, private).map_err(|error| error.to_string())?;
        self.device = Some(device);
        Ok(())
    }

    fn device(&self) -> Result<&Device, String> {
        let device = self.device.as_ref();
        device.ok_or_else(|| "it was not started".to_owned())
    }
}

fn key(bytes: &[u8]) -> Result<PrivateKey, String> {
    let bytes: Result<[u8; 32], _> = bytes.try_into();
    let bytes = bytes.map(Zeroizing::new);
    let mut bytes = bytes.map_err(|_| "a key has 32 bytes".to_owned())?;
    Ok(PrivateKey::from_bytes(&mut bytes))
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| error.to_string())
}
