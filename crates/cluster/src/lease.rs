//! Leases: out of this host's own blocks without the store, and new blocks by compare-and-swap.
//!
//! A block's record is made only where there is none (or where its host was forgotten), and
//! deleted only by its host, which has stopped using it before, or after its host was forgotten.
//! So a block has one host, whoever is cut off, paused or slow.

use crate::{
    core::{Core, Done, Phase, State, contended, no_network, uncertain},
    holdings::{Given, GrantState, Held},
    keys::{self, Shared},
    need::{Asked, Full},
    outbox::unchanged,
    record::{self, BlockRecord, NetworkRecord, NetworkState},
    turn::Got,
};
use std::{collections::BTreeMap, net::IpAddr};
use vw_ipam::Division;
use vw_model::{EndpointId, Family, HostId, IpNet, NetworkId, NetworkSpec, PoolSpec, Result};
use vw_store::cluster::{Condition, Record, Version, Write};

/// How many addresses a host takes at once, where there are plenty.
pub(crate) const AT_ONCE: u32 = 16;

/// A host takes at most this part of the blocks that are left.
const SHARE: usize = 16;

/// How often a claim is tried against others that claim too.
const ATTEMPTS: usize = 8;

/// The most blocks of one transaction.
const MOST: usize = 16;

/// One block as the store has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) host: HostId,
    pub(crate) version: Version,
}

/// Where an address may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// This host's blocks alone.
    OwnBlocks,
    /// Those of others too, by their consent.
    Anybody,
}

/// The blocks of a network that somebody has; one whose record cannot be read has no host.
pub(crate) type Blocks = BTreeMap<IpNet, Option<Standing>>;

impl State {
    /// Takes an address out of an own block, where one is free.
    fn take_own(
        &mut self,
        (network, family): (NetworkId, Family),
        holder: EndpointId,
    ) -> Option<IpNet> {
        if self.is_expelled() {
            return None;
        }
        let held = self.holdings.0.get_mut(&network);
        held.and_then(|held| held.take_first(family, holder))
    }
}

impl Core {
    /// See [`crate::Cluster::lease`].
    pub(crate) fn lease(
        &self,
        network: NetworkId,
        family: Family,
        requested: Option<IpAddr>,
        holder: EndpointId,
    ) -> Result<IpNet> {
        self.await_comparison(network)?;
        match requested {
            Some(addr) => self.lease_requested(network, family, addr, holder),
            None => self.lease_any((network, family), holder, Source::Anybody),
        }
    }

    /// Leases an address for a service, which is granted to it: out of a block of this host's.
    pub(crate) fn lease_vip(
        &self,
        network: NetworkId,
        family: Family,
        holder: EndpointId,
    ) -> Result<IpNet> {
        self.await_comparison(network)?;
        self.lease_any((network, family), holder, Source::OwnBlocks)
    }

    fn lease_any(
        &self,
        of: (NetworkId, Family),
        holder: EndpointId,
        source: Source,
    ) -> Result<IpNet> {
        let mut asked = Asked::default();
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.lease_here(of, holder, source)? {
                return Ok(found);
            }
            let turn = match self.turn_or(|state| state.take_own(of, holder))? {
                Got::Turn(turn) => turn,
                Got::Other(found) => return Ok(found),
            };
            // Another thread may have claimed what both were out of.
            if let Some(found) = self.lease_here(of, holder, source)? {
                return Ok(found);
            }
            let full = self.claim(of.0, of.1)?;
            drop(turn);
            if let Some(full) = full
                && let Some(granted) = self.ask_others(&full, &mut asked, holder, source)?
            {
                return Ok(granted);
            }
        }
        Err(contended())
    }

    fn lease_here(
        &self,
        (network, family): (NetworkId, Family),
        holder: EndpointId,
        source: Source,
    ) -> Result<Option<IpNet>> {
        self.may_lease()?;
        let pools: Vec<PoolSpec> = {
            let mut state = self.state();
            if let Some(found) = state.take_own((network, family), holder) {
                return Ok(Some(found));
            }
            if source == Source::OwnBlocks {
                return Ok(None);
            }
            let known = state.mirror.networks.get(&network);
            let pools = known
                .into_iter()
                .flat_map(|known| known.record.spec.pools(family));
            pools.cloned().collect()
        };
        self.take_up(network, holder, |addr| {
            let ranges = pools
                .iter()
                .map(|pool| pool.ip_range.unwrap_or(pool.subnet));
            ranges.into_iter().any(|range| range.contains(&addr))
        })
    }

    /// Refuses leases on a host that was forgotten; one that has not joined again since its start
    /// goes on with what it has.
    pub(crate) fn may_lease(&self) -> Result<()> {
        let phase = self.state().phase.clone();
        match phase {
            Phase::Joining | Phase::Joined(_) => Ok(()),
            other => Err(self.outside(&other)),
        }
    }

    /// Claims blocks of a family, as many as is fair; says where none is free. The caller has the turn.
    fn claim(&self, network: NetworkId, family: Family) -> Result<Option<Full>> {
        for _ in 0..ATTEMPTS {
            let (record, version) = self.usable_network(network)?;
            if record.spec.pools(family).next().is_none() {
                return Err(vw_ipam::Error::NoPool { network, family }.into());
            }
            let Some(blocks) = self.blocks_but_adopted(&record.spec)? else {
                return Ok(None);
            };
            let least = 1;
            let chosen = choose(&record.spec, family, &blocks, self.settings.host, least);
            if chosen.is_empty() {
                if self.take_over_any(&record.spec, version, family, &blocks)? {
                    return Ok(None);
                }
                return Ok(Some(Full {
                    spec: record.spec,
                    version,
                    family,
                    blocks,
                }));
            }
            if self.take_free(&record.spec, version, &chosen)? {
                return Ok(None);
            }
        }
        Err(contended())
    }

    /// Makes blocks this host's that nobody has; says whether they are.
    pub(crate) fn take_free(
        &self,
        spec: &NetworkSpec,
        version: Version,
        ranges: &[IpNet],
    ) -> Result<bool> {
        let conditions = ranges
            .iter()
            .map(|range| Condition::Absent(keys::block(spec.id, *range)));
        self.take_blocks(spec, version, conditions.collect(), ranges)
    }

    /// A network that is there to stay, as the store has it now; one that somebody wants to
    /// remove is kept by objecting to it.
    pub(crate) fn usable_network(&self, network: NetworkId) -> Result<(NetworkRecord, Version)> {
        for _ in 0..ATTEMPTS {
            let found = self.fetch_network(network)?;
            let (record, version) = found.ok_or_else(|| no_network(network))?;
            if let NetworkState::Active(_) = record.state {
                return Ok((record, version));
            }
            self.object(network, record, version)?;
        }
        Err(contended())
    }

    /// Makes blocks this host's, if the conditions hold; says whether they are.
    fn take_blocks(
        &self,
        spec: &NetworkSpec,
        version: Version,
        mut conditions: Vec<Condition>,
        ranges: &[IpNet],
    ) -> Result<bool> {
        conditions.push(unchanged(spec.id, version));
        let host = self.settings.host;
        let value = record::encode(&BlockRecord { host });
        let writes = ranges
            .iter()
            .map(|range| Write::Put(keys::block(spec.id, *range), value.clone()));
        let sure = self.state().unsure.insert(spec.id);
        let taken = match self.commit(conditions, writes.collect())? {
            Done::Applied => self.use_blocks(spec, ranges)?,
            Done::Refused => false,
            // When it came through after all, the next round finds the blocks and adopts them.
            Done::Uncertain => return Ok(false),
        };
        if sure {
            self.state().unsure.remove(&spec.id);
        }
        Ok(taken)
    }

    /// Takes blocks into use that the store says are this host's; says whether there are any that can
    /// be. Addresses that a former host of the block gave away stay with whom they were given to.
    fn use_blocks(&self, spec: &NetworkSpec, ranges: &[IpNet]) -> Result<bool> {
        let given = self.read_given(spec.id, ranges)?;
        let now = self.time.now();
        let mut fit = Vec::new();
        let mut adopted = Held::default();
        for range in ranges {
            let Some(pool) = pool_of(spec, range.addr()) else {
                continue;
            };
            match adopted.adopt(pool, *range, &given, now) {
                Ok(()) => fit.push((*range, pool)),
                Err(error) => tracing::warn!("the block {range} is passed over: {error}"),
            }
        }
        let ranges: Vec<IpNet> = fit.iter().map(|(range, _)| *range).collect();
        self.copy.add_blocks(spec, &ranges, &given)?;
        let mut state = self.state();
        for (range, pool) in &fit {
            let held = state.holdings.held(spec.id);
            held.adopt(pool, *range, &given, now)?;
        }
        for (addr, given) in given {
            state.due.insert((spec.id, addr));
            if state.holdings.held(spec.id).given.get(&addr) == Some(&given) {
                state.expect_grant(spec.id, addr, given);
            }
        }
        drop(state);
        self.wake();
        Ok(!fit.is_empty())
    }

    /// The grants that lie in some blocks, those that cannot be read too.
    pub(crate) fn read_given(
        &self,
        network: NetworkId,
        ranges: &[IpNet],
    ) -> Result<Vec<(IpAddr, Given)>> {
        let mut given = Vec::new();
        for record in self.list(&format!("{}/{network}", keys::GRANTS))? {
            let Some(Shared::Grant(_, addr)) = Shared::parse(&record.key) else {
                continue;
            };
            if !ranges.iter().any(|range| range.contains(&addr)) {
                continue;
            }
            let to = record::decode(&record.value).map_or_else(
                |why| {
                    tracing::warn!("{addr} was given away, to whom is not known: {why}");
                    Given::unknown()
                },
                |grant| Given::by(&grant),
            );
            given.push((addr, to));
        }
        Ok(given)
    }

    /// The blocks of a network, as the store has them now.
    pub(crate) fn read_blocks(&self, network: NetworkId) -> Result<Blocks> {
        let mut blocks = Blocks::new();
        for record in self.list(&format!("{}/{network}", keys::BLOCKS))? {
            let Some((_, range)) = keys::parse_block(&record.key) else {
                let why = "a record that this version does not know".to_owned();
                self.state().mirror.unread.tell(&record.key, why);
                continue;
            };
            let decoded = record::decode::<BlockRecord>(&record.value);
            let standing = match decoded {
                Ok(BlockRecord { host }) => Some(Standing {
                    host,
                    version: record.version,
                }),
                Err(why) => {
                    let why = format!("a record is passed over: {why}");
                    self.state().mirror.unread.tell(&record.key, why);
                    None
                }
            };
            blocks.insert(range, standing);
        }
        Ok(blocks)
    }

    /// The blocks of a network, as the store has them now. Where some are this host's and it does
    /// not know of them, as the answer to a claim was lost or the daemon died after it, it takes
    /// these into use, and gives nothing. The caller has the turn, so that none of them is being
    /// returned.
    pub(crate) fn blocks_but_adopted(&self, spec: &NetworkSpec) -> Result<Option<Blocks>> {
        // Before they are read: what one that was forgotten left is deleted, or another's, until it
        // has joined again.
        self.joined()?;
        let blocks = self.read_blocks(spec.id)?;
        let unknown: Vec<(IpNet, Version)> = {
            let state = self.state();
            let held = state.holdings.get(spec.id);
            let own = blocks.iter().filter_map(|(range, standing)| {
                let own = (*standing)?;
                (own.host == self.settings.host).then_some((*range, own.version))
            });
            own.filter(|(range, _)| held.is_none_or(|held| !held.has(*range)))
                .collect()
        };
        let mut used = false;
        for batch in unknown.chunks(MOST) {
            if !self.write_anew(spec.id, batch)? {
                return Ok(None);
            }
            let ranges: Vec<IpNet> = batch.iter().map(|(range, _)| *range).collect();
            used |= self.use_blocks(spec, &ranges)?;
        }
        Ok((!used).then_some(blocks))
    }

    /// Writes blocks of this host anew where they stand so: what may be under way to delete them is void
    /// then. Says whether they stood.
    fn write_anew(&self, network: NetworkId, blocks: &[(IpNet, Version)]) -> Result<bool> {
        let host = self.settings.host;
        let value = record::encode(&BlockRecord { host });
        let keyed = |range: &IpNet| keys::block(network, *range);
        let stands =
            |(range, version): &(IpNet, Version)| Condition::Unchanged(keyed(range), *version);
        let write = |(range, _): &(IpNet, Version)| Write::Put(keyed(range), value.clone());
        let conditions = blocks.iter().map(stands).collect();
        let writes = blocks.iter().map(write).collect();
        Ok(self.commit(conditions, writes)? == Done::Applied)
    }

    /// That a block is this host's by the store, as it stands there, and what replaces it by itself;
    /// nothing where it is not.
    pub(crate) fn own_block(
        &self,
        network: NetworkId,
        range: IpNet,
    ) -> Result<Option<(Condition, Write)>> {
        let found = self.own_record(network, range)?;
        Ok(found.map(|found| {
            let stands = Condition::Unchanged(found.key.clone(), found.version);
            (stands, Write::Put(found.key, found.value))
        }))
    }

    /// A block's record in the store, where it is this host's there.
    pub(crate) fn own_record(&self, network: NetworkId, range: IpNet) -> Result<Option<Record>> {
        let found = self.get(&keys::block(network, range))?;
        Ok(found.filter(|found| {
            let block = record::decode::<BlockRecord>(&found.value);
            block.is_ok_and(|block| block.host == self.settings.host)
        }))
    }

    /// Takes a block of a host that was forgotten; says whether there was one.
    fn take_over_any(
        &self,
        spec: &NetworkSpec,
        version: Version,
        family: Family,
        blocks: &Blocks,
    ) -> Result<bool> {
        for (range, standing) in blocks {
            let Some(standing) = standing else { continue };
            if Family::of(range.addr()) == family
                && useful(spec, *range)
                && self.take_over(spec, version, *range, *standing)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a block if its host was forgotten; says whether it was.
    pub(crate) fn take_over(
        &self,
        spec: &NetworkSpec,
        version: Version,
        range: IpNet,
        standing: Standing,
    ) -> Result<bool> {
        let owner = Shared::Host(standing.host).key();
        let known = self
            .state()
            .mirror
            .hosts
            .get(&standing.host)
            .is_some_and(|host| host.record.is_some());
        if known || self.get(&owner)?.is_some() {
            return Ok(false);
        }
        let block = Condition::Unchanged(keys::block(spec.id, range), standing.version);
        let conditions = vec![block, Condition::Absent(owner)];
        self.take_blocks(spec, version, conditions, &[range])
    }

    /// See [`crate::Cluster::hold`].
    pub(crate) fn hold(
        &self,
        network: NetworkId,
        addr: IpAddr,
        holder: EndpointId,
    ) -> Result<IpNet> {
        let mut state = self.state();
        let held = state.holdings.held(network);
        if let Some(grant) = held
            .grants
            .get_mut(&addr)
            .filter(|grant| grant.holder == holder)
            && matches!(grant.state, GrantState::Unclaimed | GrantState::Held)
        {
            grant.state = GrantState::Held;
            return Ok(grant.addr);
        }
        match held.keep(addr, holder) {
            Some(result) => Ok(result?),
            None => Err(vw_ipam::Error::OutOfSubnet { addr }.into()),
        }
    }

    /// See [`crate::Cluster::release`].
    pub(crate) fn release(&self, network: NetworkId, addr: IpAddr, holder: EndpointId) {
        let now = self.time.now();
        let mut state = self.state();
        let Some(held) = state.holdings.0.get_mut(&network) else {
            return;
        };
        match held
            .grants
            .get_mut(&addr)
            .filter(|grant| grant.holder == holder)
        {
            Some(grant) if grant.state.is_over() => {}
            Some(grant) => {
                grant.state = GrantState::Returning;
                state.due.insert((network, addr));
            }
            None => {
                held.free(addr, holder, now);
            }
        }
        drop(state);
        self.wake();
    }

    /// The error of a claim of which nobody knows how it ended.
    pub(crate) fn claim_uncertain(&self) -> vw_model::Error {
        uncertain("gave the address to this host")
    }
}

/// The pool that an address lies in.
pub(crate) fn pool_of(spec: &NetworkSpec, addr: IpAddr) -> Option<&PoolSpec> {
    let mut pools = spec.ipam.pools.iter();
    pools.find(|pool| pool.subnet.contains(&addr))
}

/// Whether addresses may be given unasked out of a block.
pub(crate) fn useful(spec: &NetworkSpec, range: IpNet) -> bool {
    pool_of(spec, range.addr()).is_some_and(|pool| within_range(pool, range))
}

fn within_range(pool: &PoolSpec, range: IpNet) -> bool {
    pool.ip_range
        .is_none_or(|given| given.contains(&range) || range.contains(&given))
}

/// The free blocks that a host should claim, from a place of its own onwards, so that hosts that
/// claim at once seldom choose the same. At least so many where there are any; without need none, so that
/// what is left stays for those who have it.
pub(crate) fn choose(
    spec: &NetworkSpec,
    family: Family,
    blocks: &Blocks,
    host: HostId,
    least: usize,
) -> Vec<IpNet> {
    for pool in spec.pools(family) {
        let division = Division::of(pool.subnet);
        let all = pool.ip_range.and_then(|range| {
            Some((
                division.number(range.network())?,
                division.number(range.broadcast())?,
            ))
        });
        let (first, last) = all.unwrap_or((0, division.count() - 1));
        let count = last - first + 1;
        let taken = blocks
            .range(first_key(pool.subnet)..)
            .take_while(|(range, _)| pool.subnet.contains(*range))
            .filter(|(range, _)| within_range(pool, **range))
            .count();
        let free = (count as usize).saturating_sub(taken);
        let fair = (AT_ONCE >> division.block_bits().min(31)).max(1) as usize;
        let want = fair.min((free / SHARE).max(least)).min(MOST).min(free);
        let start = place(host, spec.id) % count;
        let numbers = (0..count).map(|n| first + (start + n) % count);
        let ranges = numbers.filter_map(|number| division.nth(number));
        let chosen: Vec<IpNet> = ranges
            .filter(|range| !blocks.contains_key(range))
            .take(want)
            .collect();
        if !chosen.is_empty() {
            return chosen;
        }
    }
    Vec::new()
}

/// The first that a block of a subnet can be, in order.
fn first_key(subnet: IpNet) -> IpNet {
    IpNet::new_assert(subnet.network(), subnet.prefix_len())
}

/// A number that differs among hosts, the same for each network (FNV-1a).
pub(crate) fn place(host: HostId, network: NetworkId) -> u32 {
    let bytes = host.0.as_bytes().iter().chain(network.0.as_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
