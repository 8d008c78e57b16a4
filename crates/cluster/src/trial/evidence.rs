//! What was written down and seen around a moment, for whoever has to understand a verdict.

use super::{
    log::{Entry, Event, Lease},
    sample::Sample,
};
use crate::{
    keys::{self, Shared},
    lease::pool_of,
    record::{self, BlockRecord},
};
use std::time::Duration;
use vw_ipam::Division;
use vw_model::HostId;

/// How far it looks, before and after.
const AROUND: Duration = Duration::from_secs(3);

/// How the store had an address that a host uses, each time that it changed, and what hosts wrote
/// down meanwhile of themselves, of being forgotten and of the address's network; in order.
pub(super) fn around(
    logs: &[Vec<Entry>],
    samples: &[Sample],
    (lease, host): (&Lease, HostId),
    at: Duration,
) -> String {
    let near = |when: &Duration| when.abs_diff(at) <= AROUND;
    let mut lines: Vec<(Duration, String)> = Vec::new();
    let mut before = String::new();
    for sample in samples.iter().filter(|sample| near(&sample.from)) {
        let now = standing(sample, lease, host);
        if now != before {
            lines.push((
                sample.from,
                format!("the store, until {:?}: {now}", sample.to),
            ));
            before = now;
        }
    }
    for (n, log) in logs.iter().enumerate() {
        let mut me = None;
        for Entry { at, event } in log {
            if let Event::Started(host) = event {
                me = Some(*host);
            }
            if near(at) && concerns(event, lease) {
                lines.push((*at, format!("host {n}, {me:?}: {event:?}")));
            }
        }
    }
    lines.sort();
    let lines = lines.iter().map(|(at, line)| format!("\n{at:?} {line}"));
    lines.collect()
}

fn standing(sample: &Sample, lease: &Lease, host: HostId) -> String {
    let member = if sample.member(host) { "is" } else { "is not" };
    let known = sample.networks.get(&lease.network);
    let pool = known.and_then(|known| pool_of(&known.spec, lease.addr));
    let range = pool.and_then(|pool| Division::of(pool.subnet).block(lease.addr));
    let version = |key: &str| sample.versions.get(key);
    let block = range.map(|range| keys::block(lease.network, range));
    let block = block.and_then(|key| {
        let owner = record::decode::<BlockRecord>(sample.records.get(&key)?);
        Some((owner.map(|block| block.host), version(&key)?))
    });
    let grant = Shared::Grant(lease.network, lease.addr).key();
    let granted = sample.records.get(&grant);
    let granted = granted.map(|bytes| (String::from_utf8_lossy(bytes), version(&grant)));
    format!("{host:?} {member} a member, {range:?} is of {block:?}, granted {granted:?}")
}

fn concerns(event: &Event, lease: &Lease) -> bool {
    match event {
        Event::Leased(other) | Event::Dropped(other, _) => other.network == lease.network,
        Event::Made(network) | Event::Removed(network, _) => *network == lease.network,
        Event::Started(_)
        | Event::Joined
        | Event::Forgotten
        | Event::Forgetting(_)
        | Event::NotForgotten(_) => true,
    }
}
