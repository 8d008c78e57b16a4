//! How networks are made: no two with one name, overlapping subnets or one VNI.
//!
//! Making a network replaces the catalogue's record, on the condition that it stands as it was
//! before all networks were read. Whoever is second reads again.

use crate::{
    Delta,
    core::{Core, Done, contended, uncertain},
    keys::{self, Shared},
    mirror::UNCONFIRMED,
    record::{self, CatalogueRecord, Claims, NetworkRecord, NetworkState},
};
use std::collections::{BTreeMap, BTreeSet};
use vw_ipam::{Ipam, NetworkRequest};
use vw_model::{Error, IpNet, NetworkId, NetworkSpec, PoolSpec, Result, Scope};
use vw_store::cluster::{Condition, Record, Write};

/// The option that names a network's VNI, as Docker's overlay driver has it.
pub(crate) const VNI_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// The VNIs that are given when none is asked for; Docker begins at the same.
const VNIS: std::ops::RangeInclusive<u32> = 4096..=0x00ff_fffe;

/// The largest VNI (RFC 7348, 5).
const LARGEST_VNI: u32 = 0x00ff_ffff;

const ATTEMPTS: usize = 16;

impl Core {
    /// See [`crate::Cluster::create_network`].
    pub(crate) fn create_network(
        &self,
        spec: NetworkSpec,
        request: &NetworkRequest,
        foreign: &[IpNet],
        numbered: bool,
    ) -> Result<NetworkSpec> {
        let asked = asked_vnis(&spec)?;
        for _ in 0..ATTEMPTS {
            let found = self.get(keys::CATALOGUE)?;
            let condition = match &found {
                Some(found) => Condition::Unchanged(found.key.clone(), found.version),
                None => Condition::Absent(keys::CATALOGUE.to_owned()),
            };
            let catalogue = found.map(|found| record::decode(&found.value)).transpose();
            let mut catalogue: CatalogueRecord = catalogue.map_err(unreadable)?.unwrap_or_default();
            let others = self.read_claims()?;
            let spec = self.fill_in(spec.clone(), request, foreign, &others)?;
            let (spec, vnis) = match numbered {
                true => number(spec, &asked, &others, &mut catalogue)?,
                false => (spec, BTreeSet::new()),
            };
            let network = NetworkRecord {
                claims: Claims {
                    name: spec.name.as_str().to_owned(),
                    subnets: spec.ipam.pools.iter().map(|pool| pool.subnet).collect(),
                    vnis,
                },
                state: NetworkState::Active(None),
                spec,
            };
            let key = Shared::Network(network.spec.id).key();
            let conditions = vec![condition, Condition::Absent(key.clone())];
            let writes = vec![
                Write::Put(keys::CATALOGUE.to_owned(), record::encode(&catalogue)),
                Write::Put(key, record::encode(&network)),
            ];
            self.state().made.insert(network.spec.id);
            match self.commit(conditions, writes)? {
                Done::Applied => return self.learn(network),
                Done::Refused => {}
                Done::Uncertain => match self.fetch_network(network.spec.id)? {
                    Some(_) => return self.learn(network),
                    None => return Err(uncertain("made the network")),
                },
            }
        }
        Err(contended())
    }

    /// What the networks that there are claim, whichever version made them. Where that of one cannot be
    /// read, nothing is known to be free.
    fn read_claims(&self) -> Result<BTreeMap<NetworkId, Claims>> {
        let read = |found: Record| match (Shared::parse(&found.key), record::claims(&found.value)) {
            (Some(Shared::Network(id)), Some(claims)) => Ok((id, claims)),
            _ => Err(unclear(&found.key)),
        };
        self.list(keys::NETWORKS)?.into_iter().map(read).collect()
    }

    /// Checks the name, and fills in the subnets.
    fn fill_in(
        &self,
        mut spec: NetworkSpec,
        request: &NetworkRequest,
        foreign: &[IpNet],
        others: &BTreeMap<NetworkId, Claims>,
    ) -> Result<NetworkSpec> {
        let name = spec.name.as_str();
        if others.values().any(|claims| claims.name == name) {
            let message = format!("network with name {name} already exists");
            return Err(Error::conflict("network-exists", message));
        }
        let mut space = Ipam::new(self.settings.pools.clone());
        for (id, claims) in others {
            let pools: Vec<PoolSpec> = claims.subnets.iter().map(|subnet| bare(*subnet)).collect();
            if let Err(error) = space.restore_network(*id, &pools) {
                tracing::warn!("network {}: {error}", claims.name);
            }
        }
        let pools = space.add_network(spec.id, request, foreign);
        spec.ipam.pools = pools.map_err(|error| error.for_network(name))?;
        spec.scope = Scope::Global;
        Ok(spec)
    }

    /// Takes a network that was made here into the mirror, so that it can be used at once.
    fn learn(&self, network: NetworkRecord) -> Result<NetworkSpec> {
        let spec = network.spec.clone();
        // Where the store is away now, its next answer brings the version.
        let version = self.fetch_network(spec.id).ok().flatten();
        let version = version.map_or(UNCONFIRMED, |(_, version)| version);
        let mut state = self.state();
        // Else somebody has removed it already, or all networks are just being read.
        if state.made.contains(&spec.id) && state.mirror.made(network, version) {
            // The store will tell nothing new of it, and the local copy is to have it.
            let delta = Delta::Network(Box::new(spec.clone()));
            state.deltas.push(delta);
        }
        drop(state);
        self.wake();
        Ok(spec)
    }
}

/// The VNIs that a network's options ask for.
fn asked_vnis(spec: &NetworkSpec) -> Result<BTreeSet<u32>> {
    let Some(text) = spec.options.get(VNI_OPTION) else {
        return Ok(BTreeSet::new());
    };
    let numbers = text.split(',').map(|number| number.trim().parse::<u32>());
    let fits = |number: &u32| (1..=LARGEST_VNI).contains(number);
    let parsed: Option<BTreeSet<u32>> = numbers.map(|number| number.ok().filter(fits)).collect();
    parsed.ok_or_else(|| {
        let message = format!(
            "invalid {VNI_OPTION} {text:?}: use numbers from 1 to {LARGEST_VNI}, separated by commas"
        );
        Error::invalid("vni-invalid", message)
    })
}

/// Gives a network its VNIs: those asked for, or the next free one, written into its options.
fn number(
    mut spec: NetworkSpec,
    asked: &BTreeSet<u32>,
    others: &BTreeMap<NetworkId, Claims>,
    catalogue: &mut CatalogueRecord,
) -> Result<(NetworkSpec, BTreeSet<u32>)> {
    let holder = |vni: u32| others.values().find(|claims| claims.vnis.contains(&vni));
    if !asked.is_empty() {
        for vni in asked {
            if let Some(other) = holder(*vni) {
                let message = format!(
                    "vxlan id {vni} is already used by network {}: choose another, or none",
                    other.name
                );
                return Err(Error::conflict("vni-in-use", message));
            }
        }
        return Ok((spec, asked.clone()));
    }
    let (first, last) = (*VNIS.start(), *VNIS.end());
    let begin = catalogue.next_vni.clamp(first, last);
    let mut candidates = (begin..=last).chain(first..begin);
    let Some(vni) = candidates.find(|vni| holder(*vni).is_none()) else {
        let message = "every VNI is in use: remove a network";
        return Err(Error::new(
            vw_model::Kind::Exhausted,
            "vni-exhausted",
            message,
        ));
    };
    catalogue.next_vni = if vni == last { first } else { vni + 1 };
    spec.options.insert(VNI_OPTION.to_owned(), vni.to_string());
    Ok((spec, BTreeSet::from([vni])))
}

fn bare(subnet: IpNet) -> PoolSpec {
    PoolSpec {
        subnet,
        ip_range: None,
        gateway: None,
        aux: BTreeMap::new(),
        given: true,
    }
}

/// What a network claims is not known.
fn unclear(key: &str) -> Error {
    let message = format!(
        "no network can be made: what the one of the store's key {key} claims cannot be read, and may be given \
         twice; update this host's vethwork, or delete the key if no version can read it"
    );
    Error::new(
        vw_model::Kind::Unsupported,
        "cluster-record-unreadable",
        message,
    )
}

fn unreadable(why: String) -> Error {
    let message = format!("networks cannot be made by this host: the catalogue's record: {why}");
    Error::new(
        vw_model::Kind::Unsupported,
        "cluster-record-unreadable",
        message,
    )
}
