//! How a host begins: with what its local copy knows.

use crate::{
    Follower, Settings,
    copy::{Copy, Kept, Local},
    core::{Core, State},
    ending::At,
    lease::pool_of,
    record::{Claims, HostRecord, NetworkRecord, NetworkState},
    time::Time,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use vw_model::{Error, NetworkSpec, RemoteHost, Result};
use vw_store::cluster::ClusterStore;

/// A host's part with what its local copy knows, told to the follower; nothing runs yet.
pub(crate) fn open(
    store: Arc<dyn ClusterStore>,
    local: impl Into<Local>,
    settings: Settings,
    follower: Arc<dyn Follower>,
    time: Box<dyn Time>,
) -> Result<Arc<Core>> {
    if settings.ttl < Settings::LEAST_TTL {
        let message = "a host's time to live in its cluster must be at least 1 s";
        return Err(Error::invalid("cluster-ttl-invalid", message));
    }
    let copy = Copy::new(local.into(), &settings);
    let mut kept = copy.load()?;
    let core = Core::new(store, copy, settings, follower, time);
    let (stale, told) = {
        let mut state = core.state();
        restore_mirror(&mut state, &mut kept, core.time.now());
        let stale = restore_holdings(&mut state, kept, core.time.now());
        (stale, state.mirror.everything())
    };
    for (network, addr) in stale {
        // What cannot be dropped now is found again by the next start.
        if let Err(error) = core.copy.drop_given(network, addr) {
            tracing::warn!("{}", error.chain());
        }
    }
    if !told.is_empty() {
        core.follower.follow(told);
    }
    Ok(Arc::new(core))
}

fn restore_mirror(state: &mut State, kept: &mut Kept, now: Duration) {
    let networks = kept.networks.iter().cloned().map(network_record);
    let hosts = std::mem::take(&mut kept.hosts).into_iter();
    let hosts = hosts.map(|host| (host_record(&host), host));
    let (networks, hosts) = (networks.collect(), hosts.collect());
    let services = kept.services.clone();
    let endpoints = std::mem::take(&mut kept.endpoints);
    let mirror = &mut state.mirror;
    mirror.restore(networks, hosts, services, endpoints, now);
}

/// What the record of a network says to a mirror; what it claims is looked up in the store.
fn network_record(spec: NetworkSpec) -> NetworkRecord {
    NetworkRecord {
        claims: Claims {
            name: spec.name.as_str().to_owned(),
            subnets: Vec::new(),
            vnis: BTreeSet::new(),
        },
        spec,
        state: NetworkState::Active(None),
    }
}

fn host_record(host: &RemoteHost) -> HostRecord {
    HostRecord {
        name: host.name.clone(),
        advertise: host.tunnel,
        version: String::new(),
        instance: String::new(),
        since: 0,
    }
}

/// Takes up what is this host's own; gives the addresses that it gave away out of blocks which are not
/// its own any more: they would be another's again once it has such a block anew.
fn restore_holdings(state: &mut State, kept: Kept, now: Duration) -> Vec<At> {
    let mut stale = Vec::new();
    for (network, range, returning) in kept.blocks {
        let spec = kept.networks.iter().find(|spec| spec.id == network);
        // Of a network that is gone: its blocks went with it.
        let Some(pool) = spec.and_then(|spec| pool_of(spec, range.addr())) else {
            continue;
        };
        let held = state.holdings.held(network);
        if let Err(error) = held.add(pool, range, now) {
            tracing::warn!("the block {range} of the local copy is passed over: {error}");
            continue;
        }
        if returning {
            held.mark_returning(range);
        }
    }
    for (network, addr, given) in kept.given {
        let held = state.holdings.held(network);
        match held.keep(addr, given.holder) {
            Some(Ok(_)) => drop(held.given.insert(addr, given)),
            Some(Err(error)) => {
                tracing::warn!("{addr}, which the local copy says is another's: {error}");
            }
            None => stale.push((network, addr)),
        }
    }
    for (network, grant) in kept.grants {
        let held = state.holdings.held(network);
        held.grants.insert(grant.addr.addr(), grant);
    }
    stale
}
