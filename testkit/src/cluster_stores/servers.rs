//! The servers of a store, of whichever kind, and what a test does to them.

use super::{Consul, Etcd, Place, ZooKeeper};
use crate::Lab;
use std::path::Path;

/// What a cluster's state can lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// etcd.
    Etcd,
    /// Consul.
    Consul,
    /// ZooKeeper.
    ZooKeeper,
}

impl Kind {
    /// As the status names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Consul => "consul",
            Self::ZooKeeper => "zookeeper",
        }
    }

    /// Whether its servers can be run here.
    #[must_use]
    pub fn is_installed(self) -> bool {
        match self {
            Self::ZooKeeper => ZooKeeper::is_installed(),
            other => crate::missing_program(&[other.name()]).is_none(),
        }
    }

    /// The command of a server that is a container with this folder as its `/mnt`, and its address,
    /// as `--cluster-store` takes it, where the port that it listens at is published.
    #[track_caller]
    #[must_use]
    pub fn contained(self, folder: &Path, address: &str, port: u16) -> (String, String) {
        let (scheme, command) = match self {
            Self::Etcd => (
                "etcd",
                format!(
                    "etcd --data-dir=/mnt --listen-client-urls=http://0.0.0.0:{port} \
                     --advertise-client-urls=http://{address}:{port}"
                ),
            ),
            Self::Consul => (
                "consul",
                format!(
                    "consul agent -server -bootstrap-expect=1 -data-dir=/mnt -bind=127.0.0.1 \
                     -client=0.0.0.0 -http-port={port}"
                ),
            ),
            Self::ZooKeeper => ("zk", ZooKeeper::contained(folder, port)),
        };
        (command, format!("{scheme}://{address}:{port}"))
    }
}

/// Running servers. Dropping them kills them.
#[derive(Debug)]
pub enum Servers {
    /// Of etcd.
    Etcd(Etcd),
    /// Of Consul.
    Consul(Consul),
    /// Of ZooKeeper.
    ZooKeeper(ZooKeeper),
}

/// One call, whichever store it is.
macro_rules! each {
    ($servers:expr, $store:ident => $call:expr) => {
        match $servers {
            Self::Etcd($store) => $call,
            Self::Consul($store) => $call,
            Self::ZooKeeper($store) => $call,
        }
    };
}

impl Servers {
    /// Starts one at each place, and waits until they serve.
    #[track_caller]
    #[must_use]
    pub fn start(kind: Kind, lab: &Lab, places: &[Place]) -> Self {
        match kind {
            Kind::Etcd => Self::Etcd(Etcd::start(lab, places)),
            Kind::Consul => Self::Consul(Consul::start(lab, places)),
            Kind::ZooKeeper => Self::ZooKeeper(ZooKeeper::start(lab, places)),
        }
    }

    /// Their addresses, as `--cluster-store` takes them.
    #[must_use]
    pub fn url(&self) -> String {
        each!(self, store => store.url())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        each!(self, store => store.addresses().len())
    }

    /// The keys of the records that daemons keep there below this prefix of their address.
    #[track_caller]
    #[must_use]
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        each!(self, store => store.keys(prefix))
    }

    /// What is recorded at a key of [`Self::keys`].
    #[track_caller]
    #[must_use]
    pub fn value(&self, key: &str) -> String {
        each!(self, store => store.value(key))
    }

    /// Records something at a key, as another client of the store.
    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        each!(self, store => store.put(key, value));
    }

    /// Removes what is recorded at a key, likewise.
    #[track_caller]
    pub fn delete(&self, key: &str) {
        each!(self, store => store.delete(key));
    }

    /// How many changes they have taken.
    #[track_caller]
    #[must_use]
    pub fn changes(&self) -> u64 {
        each!(self, store => store.changes())
    }

    /// Kills one (SIGKILL).
    pub fn kill(&mut self, member: usize) {
        each!(self, store => store.kill(member));
    }

    /// Starts one again, with what it had on disk.
    #[track_caller]
    pub fn restart(&mut self, member: usize) {
        each!(self, store => store.restart(member));
    }

    /// Waits until every one serves.
    #[track_caller]
    pub fn wait(&mut self) {
        each!(self, store => store.wait());
    }

    /// Saves what they have, as their administrator would.
    #[track_caller]
    pub fn save(&self, to: &Path) {
        each!(self, store => store.save(to));
    }

    /// Brings them back to what was saved.
    #[track_caller]
    pub fn bring_back(&mut self, from: &Path) {
        each!(self, store => store.bring_back(from));
    }

    /// Stops one where it is (SIGSTOP): it neither answers nor closes.
    pub fn pause(&self, member: usize) {
        each!(self, store => store.pause(member));
    }

    /// Lets one go on.
    pub fn resume(&self, member: usize) {
        each!(self, store => store.resume(member));
    }
}
