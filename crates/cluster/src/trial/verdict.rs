//! What must never be, held against what hosts wrote down and what was seen of the store.
//!
//! An address is in use from the moment at which a host has written that down to the one at which
//! it wrote that it does not use it any more: less than the time for which it holds it, so that
//! what overlaps here did overlap. Only a host that was forgotten and does not know it yet may use
//! what others may have.

use super::{
    evidence,
    log::{Entry, Event, Lease, Why},
    sample::Sample,
};
use crate::{keys, simulation::history};
use std::{collections::BTreeMap, time::Duration};
use vw_model::{HostId, NetworkId};

/// A time, from its beginning to before its end.
type Span = (Duration, Duration);

/// An address in use on a host.
#[derive(Debug, Clone, Copy)]
struct Use {
    lease: Lease,
    host: HostId,
    span: Span,
    why: Option<Why>,
}

/// All that happened, ready to be judged.
struct Case<'a> {
    logs: &'a [Vec<Entry>],
    samples: &'a [Sample],
    uses: Vec<Use>,
    /// When each host may have been forgotten without knowing it.
    outlawed: BTreeMap<HostId, Vec<Span>>,
    removals: Vec<(NetworkId, Span)>,
    tally: BTreeMap<&'static str, usize>,
}

/// Judges; gives what happened how often, to show that it was worth it.
///
/// # Errors
/// What must never be, in a sentence.
pub(super) fn judge(
    logs: &[Vec<Entry>],
    samples: &[Sample],
) -> Result<BTreeMap<&'static str, usize>, String> {
    let mut case = Case::new(logs, samples);
    case.no_address_twice()?;
    case.nothing_lost()?;
    case.no_removal_under_an_endpoint()?;
    case.networks_apart()?;
    case.nothing_of_the_forgotten()?;
    case.every_address_by_right()?;
    Ok(case.tally)
}

impl<'a> Case<'a> {
    fn new(logs: &'a [Vec<Entry>], samples: &'a [Sample]) -> Self {
        let mut case = Self {
            logs,
            samples,
            uses: Vec::new(),
            outlawed: BTreeMap::new(),
            removals: Vec::new(),
            tally: BTreeMap::new(),
        };
        let mut forgettings = Vec::new();
        for log in logs {
            case.read(log, &mut forgettings);
        }
        for (host, since) in forgettings {
            case.outlaw(host, since, logs);
        }
        case
    }

    fn note(&mut self, what: &'static str, count: usize) {
        *self.tally.entry(what).or_default() += count;
    }

    fn read(&mut self, log: &[Entry], forgettings: &mut Vec<(HostId, Duration)>) {
        let mut me = None;
        let mut open: BTreeMap<_, (HostId, Lease, Duration)> = BTreeMap::new();
        for Entry { at, event } in log {
            match event {
                Event::Started(host) => {
                    me = Some(*host);
                    self.note("starts", 1);
                }
                Event::Leased(lease) => {
                    let host = me.expect("it started");
                    open.insert(lease.id, (host, *lease, *at));
                    self.note("addresses leased", 1);
                }
                Event::Dropped(lease, why) => {
                    let (host, lease, from) = open.remove(&lease.id).expect("it was leased");
                    let (span, why) = ((from, *at), Some(*why));
                    self.uses.push(Use {
                        lease,
                        host,
                        span,
                        why,
                    });
                }
                Event::Removed(network, since) => {
                    self.removals.push((*network, (*since, *at)));
                    self.note("networks removed", 1);
                }
                Event::Forgetting(host) => forgettings.push((*host, *at)),
                Event::NotForgotten(host) => {
                    let last = forgettings.iter().rposition(|(other, _)| other == host);
                    forgettings.remove(last.expect("it was about to"));
                }
                Event::Made(_) => self.note("networks made", 1),
                Event::Forgotten => self.note("hosts that learned they were forgotten", 1),
                Event::Joined => {}
            }
        }
        for (host, lease, from) in open.into_values() {
            let (span, why) = ((from, Duration::MAX), None);
            self.uses.push(Use {
                lease,
                host,
                span,
                why,
            });
        }
    }

    /// A host may have been forgotten since then: until it has learned it and joined again.
    fn outlaw(&mut self, host: HostId, since: Duration, logs: &[Vec<Entry>]) {
        let (mut learned, mut end, mut me) = (false, None, None);
        for Entry { at, event } in logs.iter().flatten() {
            match event {
                Event::Started(started) => me = Some(*started),
                Event::Forgotten if me == Some(host) && *at > since => learned = true,
                Event::Joined if me == Some(host) && learned => end = end.or(Some(*at)),
                _ => {}
            }
        }
        let after = self.samples.iter().filter(|sample| sample.from > since);
        let absent = after.into_iter().any(|sample| !sample.member(host));
        if learned || absent {
            let span = (since, end.unwrap_or(Duration::MAX));
            self.outlawed.entry(host).or_default().push(span);
            self.note("hosts forgotten", 1);
        }
    }

    /// The parts of a use in which nobody else may have the address.
    fn rightful(&self, one: &Use) -> Vec<Span> {
        let mut parts = vec![one.span];
        for (from, to) in self.outlawed.get(&one.host).into_iter().flatten() {
            let cut = |(begin, end): Span| [(begin, end.min(*from)), (begin.max(*to), end)];
            parts = parts.into_iter().flat_map(cut).collect();
            parts.retain(|(begin, end)| begin < end);
        }
        parts
    }

    fn around(&self, one: &Use, at: Duration) -> String {
        evidence::around(self.logs, self.samples, (&one.lease, one.host), at)
    }

    fn no_address_twice(&self) -> Result<(), String> {
        let mut by_address: BTreeMap<_, Vec<(&Use, Span)>> = BTreeMap::new();
        for one in &self.uses {
            let of = by_address.entry((one.lease.network, one.lease.addr));
            let parts = self.rightful(one).into_iter().map(|part| (one, part));
            of.or_default().extend(parts);
        }
        for parts in by_address.values_mut() {
            parts.sort_by_key(|(_, span)| *span);
            for pair in parts.windows(2) {
                let [(one, (_, end)), (other, (begin, _))] = pair else {
                    continue;
                };
                if begin < end && one.lease.id != other.lease.id {
                    let around = self.around(other, *begin);
                    return Err(format!("an address twice: {one:?} and {other:?}{around}"));
                }
            }
        }
        Ok(())
    }

    /// The first moment after a time at which the store was seen.
    fn after(&self, at: Duration) -> Option<&'a Sample> {
        self.samples.iter().find(|sample| sample.from > at)
    }

    /// What a host had before it was killed it has again, unless its network is gone or it was
    /// forgotten.
    fn nothing_lost(&self) -> Result<(), String> {
        for one in &self.uses {
            if one.why != Some(Why::Lost) {
                continue;
            }
            let at = one.span.1;
            let mut outlawed = self.outlawed.get(&one.host).into_iter().flatten();
            let forgotten = outlawed.any(|(from, to)| (from..to).contains(&&at));
            let there = self
                .after(at)
                .is_some_and(|sample| sample.networks.contains_key(&one.lease.network));
            if there && !forgotten {
                let around = self.around(one, at);
                return Err(format!("lost over a restart: {one:?}{around}"));
            }
        }
        Ok(())
    }

    /// A host that lived all the time must not lose an endpoint by a removal.
    fn no_removal_under_an_endpoint(&self) -> Result<(), String> {
        for (network, (since, until)) in &self.removals {
            let mut before = self.samples.iter().rev();
            let before = before.find(|sample| sample.to < *since);
            let (Some(before), Some(after)) = (before, self.after(*until)) else {
                continue;
            };
            for one in self.uses.iter().filter(|one| one.lease.network == *network) {
                let (from, to) = one.span;
                let lost = to > *until || one.why == Some(Why::NetworkGone);
                let presence = before.presence(one.host);
                let lived = presence.is_some() && presence == after.presence(one.host);
                let member = before.member(one.host) && after.member(one.host);
                if from < *since && to > *since && lost && lived && member {
                    return Err(format!("its network was removed at {until:?}: {one:?}"));
                }
            }
        }
        Ok(())
    }

    fn networks_apart(&self) -> Result<(), String> {
        for pair in self.samples.windows(2) {
            for id in pair[1].networks.keys() {
                let before = self
                    .samples
                    .iter()
                    .take_while(|sample| sample.to < pair[1].to);
                let known = before
                    .into_iter()
                    .any(|sample| sample.networks.contains_key(id));
                if known && !pair[0].networks.contains_key(id) {
                    return Err(format!("{id:?} comes back"));
                }
            }
        }
        for sample in self.samples {
            let networks: Vec<_> = sample.networks.values().collect();
            for (at, one) in networks.iter().enumerate() {
                for other in &networks[..at] {
                    history::apart(&one.claims, &other.claims)?;
                }
            }
        }
        Ok(())
    }

    /// A host that was forgotten makes no record. One that joined, made it and was forgotten between two
    /// looks was a member.
    fn nothing_of_the_forgotten(&self) -> Result<(), String> {
        for pair in self.samples.windows(2) {
            let [before, after] = pair else { continue };
            for key in after.records.keys() {
                let Some(host) = after.maker(key) else {
                    continue;
                };
                let stranger = !before.member(host)
                    && !after.member(host)
                    && !after.forgotten_since(host, key);
                if stranger && before.versions.get(key) != after.versions.get(key) {
                    let (from, to) = (before.from, after.to);
                    let why = format!("{host:?} was forgotten and makes {key}");
                    let last = after.records.get(keys::FORGOTTEN);
                    let last = last.map(|bytes| String::from_utf8_lossy(bytes));
                    return Err(format!(
                        "{why}, between {from:?} and {to:?}; the last that was forgotten: {last:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whoever uses an address has it out of a block of its own, or by a grant.
    fn every_address_by_right(&mut self) -> Result<(), String> {
        let mut checked = 0;
        for one in &self.uses {
            let parts = self.rightful(one);
            let Lease { network, addr, .. } = one.lease;
            for sample in self.samples {
                let covers = |part: &Span| part.0 < sample.from && sample.to < part.1;
                let Some(known) = sample.networks.get(&network) else {
                    continue;
                };
                if parts.iter().any(covers) && sample.member(one.host) {
                    history::right(&sample.records, (network, known), addr, one.host).map_err(
                        |why| {
                            let around = self.around(one, sample.from);
                            format!("{why}, at {:?}: {one:?}{around}", sample.from)
                        },
                    )?;
                    checked += 1;
                }
            }
        }
        self.note("addresses compared with the store", checked);
        self.note("times the store was seen", self.samples.len());
        Ok(())
    }
}
