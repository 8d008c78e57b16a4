//! Network namespaces that live as long as a test.

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    process::Command,
    thread,
    time::Duration,
};

/// Long enough for a packet on a busy machine, short enough to wait for one that never comes.
const PATIENCE: Duration = Duration::from_millis(400);

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
                ns.sh("ip link set lo up");
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

    /// Runs a script that may fail.
    pub(crate) fn try_sh(&self, script: &str) -> bool {
        let mut command = Command::new("sh");
        command.args(["-ec", script]);
        self.run(|| command.output().unwrap().status.success())
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
    pub(crate) fn ask(&self, addr: &str) -> String {
        let addr: SocketAddr = addr.parse().unwrap();
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut seen = String::new();
            stream.read_to_string(&mut seen)?;
            Ok(seen)
        };
        self.run(|| ask().unwrap_or_else(|error| format!("{:?}", error.kind())))
    }
}
