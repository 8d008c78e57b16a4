//! Living hosts that tell the others an address that is of no use: one that another has, so that frames
//! for one of them reach another, or of the IP version that this host is not reached by.
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
        let all: Vec<_> = all.chain([own]).collect();
        let mut told: Vec<String> = apart(all.clone(), member.tunnel).into_values().collect();
        told.extend(doubles(all).into_values());
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

/// What is to be told of each host whose address is of another IP version than this one's.
pub(super) fn apart(
    hosts: impl IntoIterator<Item = (HostId, String, IpAddr)>,
    own: IpAddr,
) -> BTreeMap<HostId, String> {
    let hosts = hosts.into_iter();
    let apart = hosts.filter(|(_, _, addr)| addr.is_ipv4() != own.is_ipv4());
    let told = apart.map(|(id, name, addr)| {
        let sentence = format!(
            "host {name} ({}) advertises {addr}, and this host {own}: nothing on either reaches the other by a network of the cluster; have all hosts advertise addresses of one IP version by --cluster-advertise",
            id.short()
        );
        (id, sentence)
    });
    told.collect()
}

#[cfg(test)]
mod tests;
