//! The thread that asks whether the kernels of hosts live whose daemons do not.
//!
//! Owns when they are asked, and that nobody waits for it. It must not know how.

use crate::{
    StoreState,
    core::{Core, State},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
    time::Duration,
};
use vw_model::HostId;

/// How long it is until they are asked again.
const ROUND: Duration = Duration::from_secs(1);

/// What came of asking kernels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Who could be asked. Where that takes a way that this host has not at the moment, silence says
    /// nothing.
    pub asked: BTreeSet<IpAddr>,
    /// Who of them answered.
    pub answering: BTreeSet<IpAddr>,
}

/// Asks kernels.
pub trait Pulse: Send + Sync + Debug {
    /// Asks the kernels at these addresses; takes a second at most, however many they are.
    fn ask(&self, hosts: &BTreeSet<IpAddr>) -> Answers;
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
        core.wait_for(again, |state: &mut State| {
            let is_new = |id: &HostId| !asked.contains_key(id);
            state.mirror.to_ask().keys().any(is_new).then_some(())
        });
    }
}

fn ask(core: &Core, pulse: &dyn Pulse, asked: &BTreeMap<HostId, IpAddr>) {
    let answers = pulse.ask(&asked.values().copied().collect());
    let of = |addresses: &BTreeSet<IpAddr>| -> BTreeSet<HostId> {
        let at = asked.iter().filter(|(_, at)| addresses.contains(at));
        at.map(|(id, _)| *id).collect()
    };
    let answering = of(&answers.answering);
    let now = core.time.now();
    let mut state = core.state();
    // Where the store is away as well, this host's own way out may be.
    let asked = match state.store {
        StoreState::Reachable => of(&answers.asked),
        _ => answering.clone(),
    };
    state.mirror.heard(&asked, &answering, now);
}
