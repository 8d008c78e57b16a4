//! The servers of a store, of whichever kind, and what a test does to them.

use vw_testkit::{
    Host, Lab,
    cluster_stores::{Consul, Etcd, Place, ZooKeeper},
};

/// What a cluster's state can lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// etcd, with three members.
    Etcd,
    /// Consul, with one server.
    Consul,
    /// ZooKeeper, with one server.
    ZooKeeper,
}

impl Kind {
    /// As the status names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Consul => "consul",
            Self::ZooKeeper => "zookeeper",
        }
    }

    /// Whether its servers can be run here.
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::ZooKeeper => ZooKeeper::is_installed(),
            other => vw_testkit::missing_program(&[other.name()]).is_none(),
        }
    }
}

/// Running servers. Dropping them kills them.
pub(crate) enum Servers {
    Etcd(Etcd),
    Consul(Consul),
    ZooKeeper(ZooKeeper),
}

impl Servers {
    /// Starts them at an address of a host.
    #[track_caller]
    pub(crate) fn start(kind: Kind, lab: &Lab, host: &Host, addr: &str) -> Self {
        let place = || Place::host(host, addr);
        match kind {
            Kind::Etcd => Self::Etcd(Etcd::start(lab, &[place(), place(), place()])),
            Kind::Consul => Self::Consul(Consul::start(lab, &[place()])),
            Kind::ZooKeeper => Self::ZooKeeper(ZooKeeper::start(lab, &[place()])),
        }
    }

    /// As `--cluster-store` takes it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Etcd(etcd) => etcd.url(),
            Self::Consul(consul) => consul.url(),
            Self::ZooKeeper(zookeeper) => zookeeper.url(),
        }
    }

    /// Stops them where they are: they neither answer nor close.
    pub(crate) fn pause(&self) {
        match self {
            Self::Etcd(etcd) => (0..3).for_each(|member| etcd.pause(member)),
            Self::Consul(consul) => consul.pause(0),
            Self::ZooKeeper(zookeeper) => zookeeper.pause(0),
        }
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        match self {
            Self::Etcd(etcd) => (0..3).for_each(|member| etcd.resume(member)),
            Self::Consul(consul) => consul.resume(0),
            Self::ZooKeeper(zookeeper) => zookeeper.resume(0),
        }
    }
}
