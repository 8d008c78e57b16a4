//! How blocks go back: those that are idle, those of a network that is being removed, and empty
//! ones that another host is in need of.
//!
//! A block is given up here first, for good and on disk; only then its record is deleted, and
//! only when that is seen to be done it is forgotten. A deletion that arrives late can thus only
//! hit a block that nobody uses.

use crate::{
    core::{Core, Done, Phase},
    keys,
    lease::{AT_ONCE, Blocks, Standing},
    record::{self, BlockRecord},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};
use vw_model::{Family, HostId, IpNet, NetworkId, Result};
use vw_store::cluster::{Condition, Version, Write};

/// The most blocks of one transaction, each with a condition and a write.
const BATCH: usize = 25;

impl Core {
    /// Gives up what has been idle, and deletes the records of what was given up.
    pub(crate) fn return_blocks(&self) -> Result<()> {
        self.give_up_idle();
        let returning: Vec<NetworkId> = {
            let state = self.state();
            let held = state.holdings.0.iter();
            held.filter(|(_, held)| !held.returning().is_empty())
                .map(|(network, _)| *network)
                .collect()
        };
        for network in returning {
            self.return_of(network)?;
        }
        Ok(())
    }

    fn give_up_idle(&self) {
        let now = self.time.now();
        let mut state = self.state();
        let joined = matches!(state.phase, Phase::Joined(_));
        if !joined || !state.settled || state.idle_check > now {
            return;
        }
        state.idle_check = now + self.settings.idle / 4;
        let Some(before) = now.checked_sub(self.settings.idle) else {
            return;
        };
        for held in state.holdings.0.values_mut() {
            let used = !held.users().is_empty();
            for family in [Family::V4, Family::V6] {
                // What a claim brings at once is kept while the network is in use.
                let size = held
                    .ranges()
                    .find(|range| Family::of(range.addr()) == family);
                let bits = size.map_or(0, |range| range.max_prefix_len() - range.prefix_len());
                let fair = (AT_ONCE >> bits.min(31)).max(1) as usize;
                held.return_idle(family, before, if used { fair } else { 1 });
            }
        }
    }

    /// Deletes the records of a network's blocks that were given up.
    fn return_of(&self, network: NetworkId) -> Result<()> {
        let Some(_turn) = self.try_turn() else {
            return Ok(());
        };
        let returning = {
            let state = self.state();
            let held = state.holdings.get(network);
            let returning = held.map(|held| held.returning()).unwrap_or_default();
            // The others must not be told of who has an address next beside who had it here.
            let told = |range: &IpNet| !state.outbox.lags_in(network, *range);
            returning.into_iter().filter(told).collect::<Vec<IpNet>>()
        };
        self.copy.return_blocks(network, &returning)?;
        let mut standing = self.read_own(network, &returning)?;
        let gone = returning.into_iter();
        let gone: Vec<IpNet> = gone.filter(|range| !standing.contains_key(range)).collect();
        self.forget_blocks(network, &gone)?;
        while !standing.is_empty() {
            let first = standing.keys().take(BATCH).copied();
            let batch: Vec<IpNet> = first.collect();
            let (conditions, writes) = batch
                .iter()
                .filter_map(|range| Some((keys::block(network, *range), standing.remove(range)?)))
                .map(|(key, version)| {
                    (
                        Condition::Unchanged(key.clone(), version),
                        Write::Delete(key),
                    )
                })
                .unzip();
            if self.commit(conditions, writes)? == Done::Applied {
                self.forget_blocks(network, &batch)?;
            }
        }
        Ok(())
    }

    /// Those of these blocks that the store has as this host's, and how they stand there. A few are
    /// read by themselves: of a network there may be thousands, and every host gives its own back.
    fn read_own(&self, network: NetworkId, ranges: &[IpNet]) -> Result<BTreeMap<IpNet, Version>> {
        let mut own = BTreeMap::new();
        if ranges.len() > BATCH {
            let ranges: BTreeSet<&IpNet> = ranges.iter().collect();
            for (range, standing) in self.read_blocks(network)? {
                if let Some(Standing { host, version }) = standing
                    && host == self.settings.host
                    && ranges.contains(&range)
                {
                    own.insert(range, version);
                }
            }
            return Ok(own);
        }
        for range in ranges {
            let found = self.own_record(network, *range)?;
            own.extend(found.map(|found| (*range, found.version)));
        }
        Ok(own)
    }

    /// Gives back blocks of a network that the store has as this host's and of which it does not know: it
    /// was killed before it had noted its claim, or the store is one of before they went back. The
    /// caller has the turn, so that none of them is being claimed.
    pub(crate) fn give_back_unknown(&self, network: NetworkId, blocks: &Blocks) -> Result<()> {
        for (range, standing) in blocks {
            let known = {
                let state = self.state();
                let held = state.holdings.get(network);
                held.is_some_and(|held| held.has(*range))
            };
            if let Some(standing) = standing
                && standing.host == self.settings.host
                && !known
            {
                let key = keys::block(network, *range);
                let stands = Condition::Unchanged(key.clone(), standing.version);
                self.disown(network, stands, key)?;
            }
        }
        Ok(())
    }

    /// The same on networks of which this host holds nothing, once after its start: it may have been
    /// killed as it claimed its first there.
    pub(crate) fn give_back_unheld(&self) -> Result<()> {
        let read = {
            let state = self.state();
            if state.asserted > 0 {
                return Ok(());
            }
            state.reads
        };
        let mut unheld: BTreeSet<NetworkId> = BTreeSet::new();
        for record in self.list(keys::BLOCKS)? {
            let block = record::decode::<BlockRecord>(&record.value);
            let own = block.is_ok_and(|block| block.host == self.settings.host);
            let network = keys::parse_block(&record.key).map(|(network, _)| network);
            let held = |network: &NetworkId| {
                let state = self.state();
                let held = state.holdings.get(*network);
                held.is_some_and(|held| held.is_usable())
            };
            unheld.extend(network.filter(|network| own && !held(network)));
        }
        for network in unheld {
            self.give_back_unknown(network, &self.read_blocks(network)?)?;
        }
        self.state().handed_back = read;
        Ok(())
    }

    /// Takes a block of which this host knows nothing out of the store, where it stands so.
    pub(crate) fn disown(
        &self,
        network: NetworkId,
        stands: Condition,
        block: String,
    ) -> Result<()> {
        tracing::info!("{block} is given back: this host does not know of it");
        // Where it is not done, whoever reads it next does it; who uses it then writes it anew before.
        let done = self.commit(vec![stands], vec![Write::Delete(block)]);
        if !matches!(done, Ok(Done::Applied)) {
            self.state().unsure.insert(network);
        }
        done.map(drop)
    }

    fn forget_blocks(&self, network: NetworkId, ranges: &[IpNet]) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let given: Vec<IpAddr> = {
            let mut state = self.state();
            let held = state.holdings.held(network);
            ranges
                .iter()
                .flat_map(|range| held.given_in(*range))
                .collect()
        };
        self.copy.drop_blocks(network, ranges, &given)?;
        let mut state = self.state();
        for range in ranges {
            state.holdings.held(network).drop_block(*range);
        }
        Ok(())
    }

    /// Gives up all empty blocks of a network for a host that lives and has none.
    pub(crate) fn give_back_empty(&self, network: NetworkId, family: Family, needy: HostId) {
        let now = self.time.now();
        let mut state = self.state();
        let host = state.mirror.hosts.get(&needy);
        if !state.settled || host.is_none_or(|host| !host.lives()) {
            return;
        }
        if let Some(held) = state.holdings.0.get_mut(&network) {
            held.return_idle(family, now, 0);
            // It is not for this host to be the first to have them again.
            held.ahead
                .entry(family)
                .or_default()
                .wait(now + self.settings.idle);
        }
    }
}
