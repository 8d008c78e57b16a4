//! Blocks that are claimed before they are needed, so that containers start while the store is away.
//!
//! Owns when that is: where this host uses a network and is nearly out of addresses there, and free
//! blocks are plenty. It is nobody's need: it never keeps a network from being removed, asks nobody, and
//! leaves the last blocks to those who have none.

use crate::{
    StoreState,
    consent::go_on,
    core::{Core, State},
    lease::choose,
    record::NetworkState,
};
use std::time::Duration;
use vw_model::{Family, NetworkId, Result};

/// With fewer free addresses than these a host claims more: as many as a block of four has left beside
/// the one endpoint of a host that seldom has one.
const LOW: u128 = 3;

/// The shortest time between two attempts.
const AGAIN: Duration = Duration::from_secs(1);

/// By how often a time is doubled at most where blocks are scarce: to find that out is to read them all.
const DOUBLED: u32 = 6;

/// When blocks are claimed ahead.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    not_before: Duration,
    /// How often none could be spared.
    in_vain: u32,
}

impl Ahead {
    /// Claims none until then.
    pub(crate) fn wait(&mut self, until: Duration) {
        self.not_before = self.not_before.max(until);
    }
}

impl State {
    /// Where this host is nearly out of addresses, and may see to that now.
    fn low(&self, now: Duration) -> Vec<(NetworkId, Family)> {
        let may = self.settled && self.store == StoreState::Reachable && !self.doubted;
        let held = self.holdings.0.iter().filter(|_| may);
        let each = held.flat_map(|held| [Family::V4, Family::V6].map(|family| (held, family)));
        let low = each.filter(|((network, held), family)| {
            let due = held.ahead.get(family).is_none_or(|at| at.not_before <= now);
            due && held.runs_low(*family, LOW)
                && self.is_compared(**network)
                && !self.lacks
                && !held.users().is_empty()
        });
        low.map(|((network, _), family)| (*network, family))
            .collect()
    }
}

impl Core {
    /// Claims blocks where this host will be out of addresses soon.
    pub(crate) fn claim_ahead(&self) -> Result<()> {
        let now = self.time.now();
        let low = self.state().low(now);
        for (network, family) in low {
            go_on(self.claim_before_need(network, family, now))?;
        }
        Ok(())
    }

    fn claim_before_need(&self, network: NetworkId, family: Family, now: Duration) -> Result<()> {
        let Some(_turn) = self.try_turn() else {
            return Ok(());
        };
        self.change_ahead(network, family, |ahead| ahead.wait(now + AGAIN));
        let Some((record, version)) = self.fetch_network(network)? else {
            return Ok(());
        };
        if let NetworkState::Removing { .. } = record.state {
            return Ok(());
        }
        let Some(blocks) = self.blocks_but_adopted(&record.spec)? else {
            return Ok(());
        };
        let chosen = choose(&record.spec, family, &blocks, self.settings.host, 0);
        let spare = !chosen.is_empty();
        if spare {
            self.take_free(&record.spec, version, &chosen)?;
        }
        let idle = self.settings.idle;
        self.change_ahead(network, family, |ahead| match spare {
            true => ahead.in_vain = 0,
            false => {
                ahead.wait(now + idle * (1 << ahead.in_vain));
                ahead.in_vain = (ahead.in_vain + 1).min(DOUBLED);
            }
        });
        Ok(())
    }

    fn change_ahead(&self, network: NetworkId, family: Family, change: impl FnOnce(&mut Ahead)) {
        if let Some(held) = self.state().holdings.0.get_mut(&network) {
            change(held.ahead.entry(family).or_default());
        }
    }
}
