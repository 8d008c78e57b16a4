//! What a daemon that is given no cluster finds of one.

use super::Member;
use crate::records::{self, AttachmentRecord, Phase};
use std::collections::{BTreeMap, BTreeSet};
use vw_model::{Error, IpNet, NetworkId, Result};
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

/// The subnets of encrypted networks that this host knows of by its copy of a cluster alone, which it
/// has left: what is a member of one here must not send there in clear text. Where it is a member of a
/// cluster, its networks tell.
///
/// A network of a driver that this version does not know has never been attached to here. Of a record that
/// cannot be read nothing is known: it is told, and keeps no host from leaving.
///
/// # Errors
/// When the copy cannot be read.
pub(crate) fn sealed_subnets(
    member: Option<&Member>,
    data: &dyn Store,
) -> Result<BTreeMap<NetworkId, Vec<IpNet>>> {
    let mut sealed = BTreeMap::new();
    if member.is_some() {
        return Ok(sealed);
    }
    let (networks, unread) = vw_cluster::understood_networks(data)?;
    for error in unread {
        let why = error.chain();
        tracing::warn!("what is sent to an encrypted network of this record is not stopped: {why}");
    }
    for network in networks {
        let driver = vw_drivers::find(&network.driver);
        if driver.is_ok_and(|driver| driver.encrypts(&network)) {
            let subnets = network.ipam.pools.iter().map(|pool| pool.subnet);
            sealed.insert(network.id, subnets.collect());
        }
    }
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::network;
    use vw_store::{Batch, Memory};

    #[test]
    fn a_record_that_is_not_understood_keeps_no_host_from_leaving() {
        let mut safe = network("safe", &["10.9.0.0/24"]);
        safe.driver = "overlay".to_owned();
        safe.options.insert("encrypted".to_owned(), String::new());
        let mut plain = safe.clone();
        plain.id = network("plain", &[]).id;
        plain.options.clear();
        let mut newer = network("newer", &["10.8.0.0/24"]);
        newer.driver = "warp".to_owned();
        let data = Memory::default();
        let put = |key: String, value| {
            let batch = Batch::new().put(Table::Cluster, key, value);
            data.commit(batch).unwrap();
        };
        for spec in [&safe, &plain, &newer] {
            let value = serde_json::to_vec(spec).unwrap();
            put(format!("network/{}", spec.id), value);
        }
        put("network/torn".to_owned(), b"{".to_vec());
        let sealed = sealed_subnets(None, &data).unwrap();
        let expected = BTreeMap::from([(safe.id, vec!["10.9.0.0/24".parse().unwrap()])]);
        assert_eq!(sealed, expected);
    }
}
