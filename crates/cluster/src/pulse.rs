//! The thread that asks whether the kernels of hosts live whose daemons do not.
//!
//! Owns when they are asked, and that nobody waits for it. It must not know how.

use crate::core::{Core, State};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
    time::Duration,
};
use vw_model::HostId;

/// How long it is until they are asked again.
const ROUND: Duration = Duration::from_secs(1);

/// Asks kernels.
pub trait Pulse: Send + Sync + Debug {
    /// Those of these addresses at which a kernel answers; takes a second at most, however many
    /// they are.
    fn answering(&self, hosts: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr>;
}

/// Asks until the host closes. Costs nothing while no daemon is away.
pub(crate) fn listen(core: &Core) {
    let Some(pulse) = &core.settings.pulse else {
        return;
    };
    while !core.state().closing {
        let asked = core.state().mirror.to_ask();
        if !asked.is_empty() {
            ask(core, pulse.as_ref(), &asked);
        }
        let again = core.time.now() + ROUND;
        let idle = asked.is_empty();
        core.wait_for(again, |state: &mut State| {
            (idle && !state.mirror.to_ask().is_empty()).then_some(())
        });
    }
}

fn ask(core: &Core, pulse: &dyn Pulse, asked: &BTreeMap<HostId, IpAddr>) {
    let answering = pulse.answering(&asked.values().copied().collect());
    let heard = asked.iter().filter(|(_, at)| answering.contains(at));
    let heard: BTreeSet<HostId> = heard.map(|(id, _)| *id).collect();
    let now = core.time.now();
    core.state().mirror.heard(&heard, now);
}
