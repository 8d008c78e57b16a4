//! What a daemon that is given no cluster finds of one.

use crate::records::{self, AttachmentRecord, Phase};
use std::collections::BTreeSet;
use vw_model::{Error, NetworkId, Result};
use vw_store::{Store, Table};

/// Refuses a start outside a cluster on whose networks something runs here: it would be taken off
/// them, and what was adopted would be lost to them.
///
/// # Errors
/// `Conflict`, with the networks' names; when a record cannot be read.
pub fn refuse_to_leave_cluster(data: &dyn Store, run: &dyn Store, boot: &str) -> Result<()> {
    let attachments: Vec<AttachmentRecord> = records::scan(run, Table::Attachments)?;
    let standing = attachments
        .iter()
        .filter(|record| record.boot == boot && record.phase == Phase::Ready);
    let on: BTreeSet<NetworkId> = standing.map(|record| record.endpoint.network).collect();
    let known = vw_cluster::kept_networks(data)?.into_iter();
    let names: BTreeSet<String> = known
        .filter(|network| on.contains(&network.id))
        .map(|network| network.name.to_string())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().collect();
    Err(Error::conflict(
        "cluster-store-missing",
        format!(
            "this host has endpoints on networks of a cluster ({}): start the daemon with \
             --cluster-store as before, or with --cluster-store none to take them off",
            names.join(", ")
        ),
    ))
}
