//! Subnets that nothing here sends to another way, as they are those of encrypted networks.
//!
//! Owns that who is a member of one is kept from it from its record alone: it lasts whatever becomes of the
//! network, and of what is known of it.

use crate::{
    Controller,
    records::Membership,
    registry::{Attachment, Network, Sandbox, SandboxState},
};
use std::collections::BTreeMap;
use vw_drivers::Driver;
use vw_model::{EndpointSettings, IpNet, NetworkId, NetworkSpec, Result, SandboxKind};
use vw_store::Store;

/// The subnets of the encrypted networks that this host's copy of its cluster knows, of which it may be
/// no member any more: for the records of versions that noted none.
///
/// A network of a driver that this version does not know has never been attached to here. Of a record that
/// cannot be read nothing is known: it is told, and keeps no host from leaving.
///
/// # Errors
/// When the copy cannot be read.
pub(crate) fn sealed_networks(data: &dyn Store) -> Result<BTreeMap<NetworkId, Vec<IpNet>>> {
    let (networks, unread) = vw_cluster::understood_networks(data)?;
    for error in unread {
        tracing::warn!(
            "of who is a member of the network of this record since an older version, what is sent there is not stopped while it is off it: {}",
            error.chain()
        );
    }
    let sealed = |spec: NetworkSpec| {
        let driver = vw_drivers::find(&spec.driver).ok()?;
        Some((spec.id, sealed_of(driver, &spec)))
    };
    Ok(networks.into_iter().filter_map(sealed).collect())
}

fn sealed_of(driver: &dyn Driver, spec: &NetworkSpec) -> Vec<IpNet> {
    let pools = spec.ipam.pools.iter().map(|pool| pool.subnet);
    pools.filter(|_| driver.encrypts(spec)).collect()
}

/// Adds to records of members by versions that noted no subnets those of their networks; tells whether
/// there was anything to add.
pub(crate) fn seal(
    memberships: &mut [Membership],
    networks: &BTreeMap<NetworkId, Vec<IpNet>>,
) -> bool {
    let mut added = false;
    for membership in memberships.iter_mut().filter(|m| m.sealed.is_empty()) {
        let sealed = networks.get(&membership.network);
        membership.sealed = sealed.cloned().unwrap_or_default();
        added |= !membership.sealed.is_empty();
    }
    added
}

impl Controller {
    /// The subnets of the encrypted networks that a sandbox is a member of, or attached to.
    pub(crate) fn encrypted_subnets(
        &self,
        sandbox: &Sandbox,
        attachments: &[Attachment],
    ) -> Vec<IpNet> {
        let state = sandbox.state();
        let members = state.memberships.iter().flat_map(|m| m.sealed.clone());
        let attached = attachments.iter().flat_map(|a| a.network.sealed());
        let mut all: Vec<IpNet> = members.chain(attached).collect();
        let led = match state.spec.kind {
            SandboxKind::Balancer { network, .. } => Some(network),
            _ => None,
        };
        drop(state);
        // What leads to services ends by what it is attached to.
        let led = led.and_then(|network| self.registry().network_by_id(network));
        all.extend(led.iter().flat_map(|network| network.sealed()));
        all
    }

    /// Who is kept from a network that is not known here, in sentences.
    pub(crate) fn sealed_off(&self) -> Vec<String> {
        let sandboxes = self.registry().sandboxes();
        let live = sandboxes.iter().filter(|sandbox| !sandbox.balances);
        live.flat_map(|sandbox| self.sealed_off_in(&sandbox.state()))
            .collect()
    }

    fn sealed_off_in(&self, state: &SandboxState) -> Vec<String> {
        let registry = self.registry();
        let memberships = state.memberships.iter().filter(|m| {
            state.live && !m.sealed.is_empty() && registry.network_by_id(m.network).is_none()
        });
        let sentence = |membership: &Membership| {
            let Membership { network, name, .. } = membership;
            let who = &state.spec.name;
            if self.member.is_none() {
                return format!(
                    "{who} is a member of the encrypted network {name} of a cluster that this host is not in: what it sends to the subnets of that is refused"
                );
            }
            // By its name where that is no other's.
            let left = match registry.network_by_name(name) {
                Some(_) => network.to_string(),
                None => name.clone(),
            };
            format!(
                "{who} is a member of the encrypted network {name}, which is gone: what it sends to the subnets of that is refused until `network disconnect {left} {who}`"
            )
        };
        memberships.map(sentence).collect()
    }
}

impl Sandbox {
    /// Adds to its memberships the subnets of a network, where a version that noted none left them out;
    /// tells whether there was anything to add.
    pub(crate) fn seal(&self, network: &Network) -> bool {
        let known = BTreeMap::from([(network.spec.id, network.sealed())]);
        seal(&mut self.state().memberships, &known)
    }
}

impl Network {
    /// Its subnets, where it is encrypted.
    pub(crate) fn sealed(&self) -> Vec<IpNet> {
        sealed_of(self.driver, &self.spec)
    }

    /// What is recorded of who is a member.
    pub(crate) fn membership(&self, settings: EndpointSettings) -> Membership {
        Membership {
            network: self.spec.id,
            name: self.spec.name.to_string(),
            settings,
            sealed: self.sealed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::network;
    use vw_store::{Batch, Memory, Table};

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
        let known = sealed_networks(&data).unwrap();
        let subnet: IpNet = "10.9.0.0/24".parse().unwrap();
        let expected = BTreeMap::from([(safe.id, vec![subnet]), (plain.id, Vec::new())]);
        assert_eq!(known, expected);
        // As who is a member of them was recorded by a version that noted no subnets.
        let members = |networks: [&NetworkSpec; 2]| {
            networks.map(|spec| Membership {
                network: spec.id,
                name: spec.name.to_string(),
                settings: EndpointSettings::default(),
                sealed: Vec::new(),
            })
        };
        let mut both = members([&safe, &plain]);
        assert!(seal(&mut both, &known));
        assert_eq!(both.map(|m| m.sealed), [vec![subnet], Vec::new()]);
        assert!(!seal(&mut members([&plain, &newer]), &known));
    }
}
