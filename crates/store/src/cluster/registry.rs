//! Which stores there are: one row each.
//!
//! Owns the choice by scheme. A build without a store's feature does not know its scheme.

#[cfg(feature = "consul")]
use super::consul::{self, Consul};
#[cfg(feature = "etcd")]
use super::etcd::{self, Etcd};
#[cfg(feature = "zookeeper")]
use super::zookeeper::{self, ZooKeeper};
use super::{ClusterError, ClusterStore, ClusterUrl, Options};
use std::sync::Arc;

/// Opens a store without asking any server.
pub(super) type Open = fn(&ClusterUrl, &Options) -> Result<Arc<dyn ClusterStore>, ClusterError>;

/// One store.
#[derive(Debug)]
pub(crate) struct Row {
    /// What stands before `://`.
    pub(crate) scheme: &'static str,
    /// What it is called.
    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    pub(crate) kind: &'static str,
    /// The port, where the address names none.
    pub(crate) port: u16,
    /// The options that it knows.
    pub(crate) options: &'static [&'static str],
    /// Reads the files that the options name.
    pub(super) open: Open,
}

const ROWS: &[Row] = &[
    #[cfg(feature = "etcd")]
    Row {
        scheme: "etcd",
        kind: etcd::STORE,
        port: 2379,
        options: &[
            "tls.ca",
            "tls.cert",
            "tls.key",
            "user",
            "password",
            "password-file",
        ],
        open: |url, options| Ok(Arc::new(Etcd::new(url, options)?)),
    },
    #[cfg(feature = "consul")]
    Row {
        scheme: "consul",
        kind: consul::STORE,
        port: 8500,
        options: &["tls.ca", "tls.cert", "tls.key", "token", "token-file"],
        open: |url, options| Ok(Arc::new(Consul::new(url, options)?)),
    },
    #[cfg(feature = "zookeeper")]
    Row {
        scheme: "zk",
        kind: zookeeper::STORE,
        port: 2181,
        options: &[
            "tls.ca",
            "tls.cert",
            "tls.key",
            "user",
            "password",
            "password-file",
        ],
        open: |url, options| Ok(Arc::new(ZooKeeper::new(url, options)?)),
    },
];

/// The schemes that this build knows.
pub(crate) fn schemes() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.scheme)
}

/// A scheme's row.
pub(crate) fn row(scheme: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.scheme == scheme)
}

/// Makes ready to ask a cluster's store. No server needs to be there, nor a file that the options name:
/// the first call tells, and as long as a file has never been usable the store is away.
///
/// # Errors
/// [`ClusterError::Setting`] for an option that this store does not know.
pub fn connect(url: &ClusterUrl, options: &Options) -> Result<Arc<dyn ClusterStore>, ClusterError> {
    let row = row(url.scheme()).expect("only a scheme with a row is parsed");
    options.only(row.scheme, row.options)?;
    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    if options.has_files() {
        return Ok(Arc::new(super::files::WithFiles::new(row, url, options)));
    }
    (row.open)(url, options)
}
