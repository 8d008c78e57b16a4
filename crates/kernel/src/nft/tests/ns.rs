//! Network namespaces that live as long as a test.

use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    process::Command,
    thread,
    time::Duration,
};

/// How long to wait for what never comes.
pub(crate) const SHORT: Duration = Duration::from_millis(400);
/// How long to wait for what comes, on a busy machine, and after a lost first packet.
pub(crate) const LONG: Duration = Duration::from_secs(10);

pub(crate) struct Ns(File);

impl Ns {
    /// A new namespace with its loopback up; `None`, with a reason printed, without privilege.
    pub(crate) fn new() -> Option<Self> {
        let made = thread::spawn(|| {
            // SAFETY: the thread shares nothing else that a new network namespace would change.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        });
        match made.join().unwrap() {
            Ok(file) => {
                let ns = Self(file);
                ns.sh("ip link set lo up
                       sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
                Some(ns)
            }
            Err(error) => {
                println!("SKIP: no new network namespace: {error}");
                None
            }
        }
    }

    /// A path by which `ip link … netns` finds it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs something on a thread in the namespace.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.0.as_fd(), kind).unwrap();
                f()
            });
            inside.join().unwrap()
        })
    }

    /// Runs a script, which must succeed; answers its output.
    pub(crate) fn sh(&self, script: &str) -> String {
        let out = self.run(|| Command::new("sh").args(["-ec", script]).output().unwrap());
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{script}: {error}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// Whether a script succeeds.
    pub(crate) fn succeeds(&self, script: &str) -> bool {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        self.run(|| command.output().unwrap().status.success())
    }

    /// Whether a program is installed.
    pub(crate) fn has(&self, program: &str) -> bool {
        self.succeeds(&format!("command -v {program}"))
    }

    /// Answers every connection with the address that it came from, until the test ends.
    pub(crate) fn serve(&self, addr: &str) {
        let addr: SocketAddr = addr.parse().unwrap();
        let listener = self.run(|| TcpListener::bind(addr).unwrap());
        thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(peer.ip().to_string().as_bytes());
            }
        });
    }

    /// Connects; the address that the server saw, or how it failed.
    pub(crate) fn ask(&self, addr: &str, patience: Duration) -> String {
        let addr: SocketAddr = addr.parse().unwrap();
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&addr, patience)?;
            stream.set_read_timeout(Some(patience))?;
            let mut seen = String::new();
            stream.read_to_string(&mut seen)?;
            Ok(seen)
        };
        self.run(|| ask().unwrap_or_else(|error| format!("{:?}", error.kind())))
    }

    /// Whether an ICMP echo is answered.
    pub(crate) fn ping(&self, addr: &str, patience: Duration) -> bool {
        const ECHO: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 1];
        self.sh("sysctl -qw net.ipv4.ping_group_range='0 0'");
        let to: SocketAddrV4 = SocketAddrV4::new(addr.parse().unwrap(), 0);
        self.run(|| {
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP));
            let socket = UdpSocket::from(socket.unwrap());
            socket.set_read_timeout(Some(patience)).unwrap();
            socket.connect(to).unwrap();
            socket.send(&ECHO).unwrap();
            socket.recv(&mut [0; 64]).is_ok()
        })
    }
}
