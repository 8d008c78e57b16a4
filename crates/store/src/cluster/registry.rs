//! Which stores there are: one row each.
//!
//! Owns the choice by scheme. A build without a store's feature does not know its scheme.

#[cfg(feature = "consul")]
use super::consul::Consul;
#[cfg(feature = "etcd")]
use super::etcd::Etcd;
#[cfg(feature = "zookeeper")]
use super::zookeeper::ZooKeeper;
use super::{ClusterError, ClusterStore, ClusterUrl, Options};
use std::sync::Arc;

/// Opens a store without asking any server.
type Open = fn(&ClusterUrl, &Options) -> Result<Arc<dyn ClusterStore>, ClusterError>;

/// One store.
pub(crate) struct Row {
    /// What stands before `://`.
    pub(crate) scheme: &'static str,
    /// The port, where the address names none.
    pub(crate) port: u16,
    /// The options that it knows.
    pub(crate) options: &'static [&'static str],
    open: Open,
}

const ROWS: &[Row] = &[
    #[cfg(feature = "etcd")]
    Row {
        scheme: "etcd",
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
        port: 8500,
        options: &["tls.ca", "tls.cert", "tls.key", "token", "token-file"],
        open: |url, options| Ok(Arc::new(Consul::new(url, options)?)),
    },
    #[cfg(feature = "zookeeper")]
    Row {
        scheme: "zk",
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

/// Makes ready to ask a cluster's store. No server needs to be there: the first call tells.
///
/// # Errors
/// [`ClusterError::Setting`] for an option that this store does not know, or a file that cannot
/// be read or used.
pub fn connect(url: &ClusterUrl, options: &Options) -> Result<Arc<dyn ClusterStore>, ClusterError> {
    let row = row(url.scheme()).expect("only a scheme with a row is parsed");
    options.only(row.scheme, row.options)?;
    let store = (row.open)(url, options)?;
    #[cfg(any(feature = "etcd", feature = "consul", feature = "zookeeper"))]
    if options.has_files() {
        return Ok(Arc::new(super::files::WithFiles::new(store, options)));
    }
    Ok(store)
}
