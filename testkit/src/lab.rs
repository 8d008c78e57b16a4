//! A laboratory: the hosts of one test, and the links between them.
//!
//! Owns the namespaces and the folder of one test, and removes both. Links are made
//! by `ip`, which is what an administrator would do and none of the code under test.

use crate::{Host, Output, process, reclaim, rootfs};
use std::{
    cell::RefCell,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Where `ip netns` keeps its names.
pub(crate) const NETNS: &str = "/run/netns";

/// What every name that the tests make begins with, before the process that made it.
pub(crate) const PREFIX: &str = "vwt-";

static SWEPT: Once = Once::new();
static MADE: AtomicUsize = AtomicUsize::new(0);

/// The hosts and files of one test. Declare it first: what uses it must be dropped before.
#[derive(Debug)]
pub struct Lab {
    name: String,
    folder: PathBuf,
    hosts: RefCell<Vec<String>>,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// An empty laboratory. The first of a process sweeps what interrupted runs left.
    ///
    /// Needs root: see [`require_root!`](crate::require_root).
    #[must_use]
    pub fn new() -> Self {
        SWEPT.call_once(reclaim::sweep);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        Self {
            name,
            folder,
            hosts: RefCell::new(Vec::new()),
        }
    }

    /// Its folder, removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the names of its namespaces begin with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new host: an empty network namespace, seen by `ip netns`, with its loopback up.
    ///
    /// Names are short and of one test: `a`, `router`.
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        let namespace = format!("{}-{name}", self.name);
        machine(["ip", "netns", "add", &namespace]).must();
        self.hosts.borrow_mut().push(namespace.clone());
        let host = self.at(name, &Path::new(NETNS).join(namespace));
        host.ip("link set lo up");
        host
    }

    /// A namespace that others made, such as a container's (`/proc/PID/ns/net`).
    #[must_use]
    pub fn at(&self, name: &str, netns: &Path) -> Host {
        Host::new(name, netns.to_path_buf(), self.folder.clone())
    }

    /// Joins two hosts by a veth pair, both ends up, without addresses.
    pub fn link(&self, a: &Host, a_end: &str, b: &Host, b_end: &str) {
        let (a_name, b_name) = (self.namespace(a), self.namespace(b));
        // Made in both namespaces at once: moving a link would cost milliseconds.
        a.ip(&format!(
            "link add {a_end} netns {a_name} type veth peer name {b_end} netns {b_name}"
        ));
        a.ip(&format!("link set {a_end} up"));
        b.ip(&format!("link set {b_end} up"));
    }

    /// Joins hosts by a switch: each gets an interface, up, with its addresses.
    ///
    /// `lab.lan("lan", &[(&a, "eth0", &["192.0.2.1/24"]), (&b, "eth0", &["192.0.2.2/24"])])`.
    /// The switch is the returned host, with the bridge `br0`.
    pub fn lan(&self, name: &str, members: &[(&Host, &str, &[&str])]) -> Host {
        let switch = self.host(name);
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        for (number, (host, interface, addresses)) in members.iter().enumerate() {
            let port = format!("port{number}");
            self.link(host, interface, &switch, &port);
            switch.ip(&format!("link set {port} master br0"));
            for address in *addresses {
                let family_flags = if address.contains(':') { " nodad" } else { "" };
                host.ip(&format!("addr add {address} dev {interface}{family_flags}"));
            }
        }
        switch
    }

    /// A tar of a small root file system with busybox, for `import`.
    #[must_use]
    pub fn busybox_tar(&self) -> PathBuf {
        rootfs::busybox_tar(&self.folder)
    }

    fn namespace(&self, host: &Host) -> String {
        format!("{}-{}", self.name, host.name())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self.hosts.borrow().iter() {
            reclaim::namespace(namespace);
        }
        reclaim::folder(&self.folder);
    }
}

/// Runs a program in the machine's own namespace, which it must not change.
#[track_caller]
pub(crate) fn machine<A: AsRef<OsStr>>(words: impl IntoIterator<Item = A>) -> Output {
    let mut words = words.into_iter();
    let program = words.next().expect("a command has a program");
    process::run(Command::new(program).args(words), Command::spawn)
}
