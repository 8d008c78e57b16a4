//! Living hosts that tell the others one address: frames for one of them reach another.
//!
//! Owns who they are, and what people are told of it. It must not decide which of them is right.

use crate::Controller;
use std::{collections::BTreeMap, net::IpAddr};
use vw_model::HostId;

impl Controller {
    /// What is to be told of this host and the others that live, once an address.
    pub(crate) fn doubles(&self) -> Vec<String> {
        let Some(member) = &self.member else {
            return Vec::new();
        };
        let own = (HostId(self.host_id), member.name.clone(), member.tunnel);
        let others = member.others().into_iter();
        let all = others.map(|host| (host.id, host.name, host.tunnel));
        let mut told: Vec<String> = doubles(all.chain([own])).into_values().collect();
        told.sort_unstable();
        told.dedup();
        told
    }
}

/// What is to be told of each host whose address another one has, too.
pub(super) fn doubles(
    hosts: impl IntoIterator<Item = (HostId, String, IpAddr)>,
) -> BTreeMap<HostId, String> {
    let mut at: BTreeMap<IpAddr, Vec<(String, HostId)>> = BTreeMap::new();
    for (id, name, addr) in hosts {
        at.entry(addr).or_default().push((name, id));
    }
    let mut told = BTreeMap::new();
    for (addr, mut hosts) in at.into_iter().filter(|(_, hosts)| hosts.len() > 1) {
        hosts.sort_unstable();
        let named = |(name, id): &(String, HostId)| format!("{name} ({})", id.short());
        let names: Vec<String> = hosts.iter().map(named).collect();
        let sentence = format!(
            "hosts {} advertise one address, {addr}, so that packets for one may reach another: give each its own by --cluster-advertise, or give up the one that is no more by: vethwork cluster forget ID",
            names.join(" and ")
        );
        told.extend(hosts.into_iter().map(|(_, id)| (id, sentence.clone())));
    }
    told
}

#[cfg(test)]
mod tests;
