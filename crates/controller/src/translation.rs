//! Why this host does not translate who asks over IPv6 for ports of endpoints without it, in sentences:
//! such ports answer over IPv4 alone then.

use crate::{Config, Controller, start::FORWARDING};
use vw_kernel::HostFacts;
use vw_store::{Store, Table};

/// What is said where the kernel refuses the program.
#[must_use]
pub fn untranslated(why: &str) -> String {
    format!(
        "the kernel refuses the program that translates ({why}): let the daemon load programs of eBPF (CAP_BPF and CAP_NET_ADMIN, and nothing that forbids the call bpf) and start it again, or give networks IPv6"
    )
}

/// What would have this host forward packets of IPv4, of IPv6, or both, where it does not.
pub(crate) fn to_forward(config: &Config, facts: &HostFacts, needed: [bool; 2]) -> Option<String> {
    let mut needed = FORWARDING.iter().zip(needed).filter(|(_, needed)| *needed);
    let off = needed.find(|((path, on), _)| {
        let now = facts.sysctls.get(*path);
        !config.ip_forward && now.is_some_and(|now| now != on)
    });
    off.map(|((path, on), _)| {
        format!(
            "set {}={on}, or start the daemon without --ip-forward=false",
            path.replace('/', ".")
        )
    })
}

/// What is translated is forwarded, over IPv6 and over IPv4: it would be dropped, where a port that is not
/// published is refused.
/// Parameters that a former daemon changed are put back where this one does not change them.
pub(crate) fn ask_for_forwarding(config: &mut Config, facts: &HostFacts, data: &dyn Store) {
    let mut facts = facts.clone();
    for (path, former) in data.scan(Table::Saved).unwrap_or_default() {
        let former = String::from_utf8_lossy(&former).into_owned();
        facts.sysctls.insert(path, former);
    }
    if let Some(remedy) = to_forward(config, &facts, [true, true]) {
        let off = || format!("this host does not forward: {remedy}, and start it again");
        config.drivers.no_translation.get_or_insert_with(off);
    }
}

impl Controller {
    /// Why nothing is translated that would be, in a sentence.
    pub(crate) fn translates_nothing(&self) -> Option<String> {
        let why = self.untranslatable()?;
        Some(format!(
            "ports of containers without IPv6 answer over IPv4 alone: {why}"
        ))
    }

    /// The same without what comes of it.
    pub(crate) fn untranslatable(&self) -> Option<String> {
        let cx = &self.config.drivers;
        let refused = || Some(untranslated(&self.kernel.untranslated()?));
        let why = cx.no_translation.clone().or_else(refused)?;
        vw_drivers::may_translate(cx).then_some(why)
    }
}
