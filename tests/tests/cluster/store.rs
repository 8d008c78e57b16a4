//! The servers of a store, of whichever kind, as a stage wants them.

use vw_testkit::{Host, Lab, cluster_stores::Place};

pub(crate) use vw_testkit::cluster_stores::{Kind, Servers};

/// Starts them at an address of a host: three of etcd, one of the others.
#[track_caller]
pub(crate) fn start(kind: Kind, lab: &Lab, host: &Host, addr: &str) -> Servers {
    let count = if kind == Kind::Etcd { 3 } else { 1 };
    Servers::start(kind, lab, &vec![Place::host(host, addr); count])
}
