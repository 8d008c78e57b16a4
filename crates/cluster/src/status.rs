//! What a person is told of the cluster.

use crate::{
    StoreState,
    core::{Core, State},
    keys,
    mirror::Life,
    record::{self, BlockRecord},
};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use vw_model::{HostId, IpNet, NetworkId};
use vw_store::cluster::Member;

/// The cluster as this host sees it.
#[derive(Debug, Clone)]
pub struct Status {
    /// Who asks.
    pub host: HostId,
    /// What kind of store it is.
    pub kind: &'static str,
    /// Whether it answers.
    pub store: StoreState,
    /// Its servers, asked now.
    pub members: Vec<Member>,
    /// The hosts that belong to the cluster, by name.
    pub hosts: Vec<HostStatus>,
}

/// One host.
#[derive(Debug, Clone)]
pub struct HostStatus {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Where others reach it.
    pub advertise: IpAddr,
    /// The version of its daemon.
    pub version: String,
    /// Whether its daemon lives, or may; of this host: whether the others can see that it does.
    pub alive: bool,
    /// Whether its daemon does not live, and its kernel answers all the same.
    pub away: bool,
    /// When its daemon joined, by its own clock.
    pub since: SystemTime,
    /// How many endpoints it has on global networks.
    pub endpoints: usize,
    /// Its address blocks, by network; `None` where nobody tells, as of others while the store is
    /// away.
    pub blocks: Option<BTreeMap<NetworkId, Vec<IpNet>>>,
}

impl Core {
    /// See [`crate::Cluster::status`].
    pub(crate) fn status(&self) -> Status {
        let members = self.store.members();
        let answers = members.iter().any(|member| member.answer.is_ok());
        let mut found = answers.then(|| self.all_blocks()).flatten();
        let me = self.settings.host;
        let state = self.state();
        let held = state.holdings.0.iter();
        let held = held.map(|(network, held)| (*network, held.ranges().collect::<Vec<_>>()));
        // What this host holds it knows better.
        let mut own_blocks = Some(held.filter(|(_, ranges)| !ranges.is_empty()).collect());
        let known = state.mirror.hosts.iter();
        let mut hosts: Vec<HostStatus> = known
            .filter_map(|(id, host)| {
                let record = &host.record.as_ref()?.record;
                let own = *id == me;
                Some(HostStatus {
                    id: *id,
                    name: record.name.clone(),
                    advertise: record.advertise,
                    version: record.version.clone(),
                    alive: match own {
                        true => seen_by_others(&state),
                        false => host.lives(),
                    },
                    away: host.life == Life::Away,
                    since: UNIX_EPOCH + Duration::from_secs(record.since),
                    endpoints: if own {
                        state.outbox.len()
                    } else {
                        state.mirror.endpoint_count(*id)
                    },
                    blocks: match own {
                        true => own_blocks.take(),
                        false => found
                            .as_mut()
                            .map(|found| found.remove(id).unwrap_or_default()),
                    },
                })
            })
            .collect();
        if hosts.iter().all(|host| host.id != me) {
            hosts.push(self.own_status(&state, own_blocks));
        }
        hosts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Status {
            host: me,
            kind: self.store.kind(),
            store: state.store.clone(),
            members,
            hosts,
        }
    }

    /// This host, where it has not seen its own record yet.
    fn own_status(
        &self,
        state: &State,
        blocks: Option<BTreeMap<NetworkId, Vec<IpNet>>>,
    ) -> HostStatus {
        HostStatus {
            id: self.settings.host,
            name: self.settings.name.clone(),
            advertise: self.settings.advertise,
            version: self.settings.version.clone(),
            alive: seen_by_others(state),
            away: false,
            since: SystemTime::now(),
            endpoints: state.outbox.len(),
            blocks,
        }
    }

    /// Without an answer the rest of the status is worth telling all the same.
    fn all_blocks(&self) -> Option<BTreeMap<HostId, BTreeMap<NetworkId, Vec<IpNet>>>> {
        let mut blocks: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
        for found in self.list(keys::BLOCKS).ok()? {
            let place = keys::parse_block(&found.key);
            let block = record::decode::<BlockRecord>(&found.value);
            if let (Some((network, range)), Ok(BlockRecord { host })) = (place, block) {
                blocks
                    .entry(host)
                    .or_default()
                    .entry(network)
                    .or_default()
                    .push(range);
            }
        }
        Some(blocks)
    }
}

/// Whether the others can see this host. While the store is away nobody sees anything new of anybody.
fn seen_by_others(state: &State) -> bool {
    !state.is_expelled()
}
