//! The link to the other hosts as the daemon found it at its start, held against how it is now.
//!
//! Owns what people are told where the two differ. It must not change anything: the address is in
//! this host's record, in every tunnel and in rules, all of which a start takes from the link; the
//! daemon begins anew where there is another to follow.

use crate::{Controller, registry::lock};
use std::net::IpAddr;
use vw_drivers::Underlay;
use vw_kernel::HostFacts;

impl Controller {
    /// What of the link to the other hosts is no longer as at the start, as a sentence.
    pub(crate) fn underlay_trouble(&self) -> Option<String> {
        let underlay = self.config.drivers.underlay.as_ref()?;
        // Of what cannot be read nothing is known.
        let facts = self.kernel.facts().ok()?;
        let gone = gone(underlay, &facts);
        gone.or_else(|| wider_or_narrower(underlay, &facts))
    }

    /// By how many bytes less the link takes at once than at the start.
    pub(super) fn underlay_lacks(&self) -> u32 {
        let facts = self.kernel.facts().ok();
        let lacks = self.config.drivers.underlay.as_ref().and_then(|underlay| {
            let now = *facts?.mtus.get(underlay.link.as_str())?;
            Some(underlay.mtu.saturating_sub(now))
        });
        lacks.unwrap_or(0)
    }

    /// Tells it once, when it begins.
    pub(crate) fn look_at_underlay(&self) {
        let Some(member) = &self.member else { return };
        let now = self.underlay_trouble();
        let mut told = lock(&member.underlay_told);
        if *told != now
            && let Some(trouble) = &now
        {
            tracing::warn!("{trouble}");
        }
        *told = now;
    }
}

/// The address by which the others reach this host is not there.
fn gone(underlay: &Underlay, facts: &HostFacts) -> Option<String> {
    let Underlay { addr, link, .. } = underlay;
    let mut all = facts.addresses.iter();
    if all.any(|(_, net)| net.addr() == *addr) {
        return None;
    }
    let of_link = facts.addresses.iter().filter(|(name, net)| {
        let local = match net.addr() {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        name == link.as_str() && !local
    });
    let now: Vec<String> = of_link.map(|(_, net)| net.addr().to_string()).collect();
    let (has, remedy) = match now.is_empty() {
        true => ("none that they could reach".to_owned(), String::new()),
        false => (
            now.join(", "),
            format!(", or start the daemon again with --cluster-advertise {link}"),
        ),
    };
    Some(format!(
        "this host no longer has the address {addr}, by which the other hosts reach it: {link} has {has} now; give it back{remedy}"
    ))
}

/// The link takes larger or smaller packets.
fn wider_or_narrower(underlay: &Underlay, facts: &HostFacts) -> Option<String> {
    let Underlay { link, mtu, .. } = underlay;
    let now = facts.mtus.get(link.as_str())?;
    (now != mtu).then(|| {
        format!(
            "the MTU of {link}, the link to the other hosts, is {now} now and was {mtu} when the daemon started: start it again, so that networks made from then on have that"
        )
    })
}

#[cfg(test)]
mod tests;
