//! What this host holds of the cluster's addresses: blocks, leases in them, and grants.
//!
//! Owns the rule that an address is given only out of a block that is this host's own and is not
//! being returned. Pure: it must not know the store; the caller makes durable what it decides.

use crate::{ahead::Ahead, record::GrantRecord};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};
use vw_ipam::{Block, Holder};
use vw_model::{EndpointId, Family, HostId, IpNet, NetworkId, PoolSpec};

/// Everything held, by network.
#[derive(Debug, Default)]
pub(crate) struct Holdings(pub(crate) BTreeMap<NetworkId, Held>);

/// What is held on one network.
#[derive(Debug, Default)]
pub(crate) struct Held {
    blocks: BTreeMap<IpNet, Owned>,
    /// Blocks that may have a free address.
    open: BTreeSet<IpNet>,
    /// Addresses out of other hosts' blocks.
    pub(crate) grants: BTreeMap<IpAddr, Grant>,
    /// Addresses of own blocks that other hosts hold.
    pub(crate) given: BTreeMap<IpAddr, Given>,
    /// Of these, those whose grants the mirror has not shown yet: where one is missing, nobody knows
    /// whether its holder gave it back or the store lost it.
    pub(crate) unseen: BTreeSet<IpAddr>,
    /// How many leases wait for any free block, by family.
    pub(crate) wants: BTreeMap<Family, usize>,
    /// When blocks are claimed ahead, by family.
    pub(crate) ahead: BTreeMap<Family, Ahead>,
    /// Since which reading of everything the store is known to have this.
    pub(crate) compared: u64,
    /// What another host has, by the store, of what this one holds, while it may soon not, and since
    /// when.
    pub(crate) disputed: BTreeMap<IpNet, Duration>,
    /// Hosts that are dead and have, by the store, what this one holds.
    pub(crate) absent: BTreeSet<HostId>,
}

#[derive(Debug)]
struct Owned {
    block: Block,
    returning: bool,
    /// Since when nobody holds an address of it.
    idle_since: Duration,
}

/// An address out of another host's block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) holder: EndpointId,
    /// Whom the store has it granted to: the first endpoint of this host that held it.
    pub(crate) grantee: EndpointId,
    /// With its subnet's length.
    pub(crate) addr: IpNet,
    pub(crate) state: GrantState,
    /// Whose block it lies in; not known of those that an older version kept.
    pub(crate) granter: Option<HostId>,
}

/// How far a grant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrantState {
    /// Asked for; not to be used yet.
    Wanted,
    /// Held, as the local copy says; nobody claimed it since the start.
    Unclaimed,
    /// Held.
    Held,
    /// Not used any more, and to be taken out of the store; until then it may be taken up again.
    Returning,
    /// It is being taken out of the store, or may be.
    Ending,
}

impl GrantState {
    /// Whether nobody here uses the address any more.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Returning | Self::Ending)
    }
}

/// Who got an address out of an own block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) host: HostId,
    pub(crate) holder: EndpointId,
}

impl Given {
    /// What a grant says.
    pub(crate) const fn by(grant: &GrantRecord) -> Self {
        let GrantRecord { host, holder } = *grant;
        Self { host, holder }
    }

    /// Whoever a newer version gave an address to, in words that this one does not understand: the
    /// address is not this host's to use.
    pub(crate) fn unknown() -> Self {
        let (host, holder) = ([0; 32], [0; 32]);
        Self {
            host: HostId::from_bytes(host),
            holder: EndpointId::from_bytes(holder),
        }
    }
}

impl Holdings {
    pub(crate) fn held(&mut self, network: NetworkId) -> &mut Held {
        self.0.entry(network).or_default()
    }

    pub(crate) fn get(&self, network: NetworkId) -> Option<&Held> {
        self.0.get(&network)
    }
}

impl Held {
    /// Takes a block, unless it is here already.
    pub(crate) fn add(
        &mut self,
        spec: &PoolSpec,
        range: IpNet,
        now: Duration,
    ) -> Result<(), vw_ipam::Error> {
        if self.blocks.contains_key(&range) {
            return Ok(());
        }
        let owned = Owned {
            block: Block::new(spec, range)?,
            returning: false,
            idle_since: now,
        };
        self.blocks.insert(range, owned);
        self.open.insert(range);
        Ok(())
    }

    /// Takes a block out of which addresses were given away before it is this host's: they are out of
    /// its use before any other can be leased. One that the network keeps for itself is nobody's.
    pub(crate) fn adopt(
        &mut self,
        spec: &PoolSpec,
        range: IpNet,
        given: &[(IpAddr, Given)],
        now: Duration,
    ) -> Result<(), vw_ipam::Error> {
        self.add(spec, range, now)?;
        for (addr, given) in given.iter().filter(|(addr, _)| range.contains(addr)) {
            if self
                .keep(*addr, given.holder)
                .is_some_and(|kept| kept.is_ok())
            {
                self.given.insert(*addr, *given);
            }
        }
        Ok(())
    }

    /// Whether an address lies in an own block.
    pub(crate) fn owns(&self, addr: IpAddr) -> bool {
        let before = self.blocks.range(..=IpNet::from(addr)).next_back();
        before.is_some_and(|(range, _)| range.contains(&addr))
    }

    pub(crate) fn has(&self, range: IpNet) -> bool {
        self.blocks.contains_key(&range)
    }

    /// Whether the store has anything of this host's there.
    pub(crate) fn has_any(&self) -> bool {
        !self.blocks.is_empty() || !self.grants.is_empty()
    }

    /// Whether it uses any of that, or may.
    pub(crate) fn is_usable(&self) -> bool {
        let held = |grant: &Grant| grant.state == GrantState::Held;
        self.blocks.values().any(|owned| !owned.returning) || self.grants.values().any(held)
    }

    pub(crate) fn ranges(&self) -> impl Iterator<Item = IpNet> {
        self.blocks.keys().copied()
    }

    /// The first free address of a family.
    pub(crate) fn take_first(&mut self, family: Family, holder: EndpointId) -> Option<IpNet> {
        loop {
            let mut open = self.open.iter().copied();
            let range = open.find(|range| Family::of(range.addr()) == family)?;
            if let Some(owned) = self.blocks.get_mut(&range)
                && !owned.returning
                && let Some(addr) = owned.block.take_first(Holder::Endpoint(holder))
            {
                return Some(addr);
            }
            self.open.remove(&range);
        }
    }

    /// Whether own blocks have fewer than so many free addresses of a family; not where it has none.
    pub(crate) fn runs_low(&self, family: Family, least: u128) -> bool {
        let of = |range: &IpNet| Family::of(range.addr()) == family;
        let open = self.open.iter().filter(|range| of(range));
        let usable = open.filter_map(|range| self.blocks.get(range));
        let mut free = 0;
        for owned in usable.filter(|owned| !owned.returning) {
            free += owned.block.free();
            if free >= least {
                return false;
            }
        }
        self.blocks.keys().any(of)
    }

    /// One address, if it lies in a block that may be used.
    pub(crate) fn take(
        &mut self,
        addr: IpAddr,
        holder: EndpointId,
    ) -> Option<Result<IpNet, vw_ipam::Error>> {
        let owned = self.block_of(addr).filter(|owned| !owned.returning)?;
        Some(owned.block.take(addr, Holder::Endpoint(holder)))
    }

    /// Takes an address for a record that shows that it is held, whatever becomes of its block.
    pub(crate) fn keep(
        &mut self,
        addr: IpAddr,
        holder: EndpointId,
    ) -> Option<Result<IpNet, vw_ipam::Error>> {
        let owned = self.block_of(addr)?;
        Some(owned.block.take(addr, Holder::Endpoint(holder)))
    }

    /// Frees an address if the holder has it out of an own block; says whether it had.
    pub(crate) fn free(&mut self, addr: IpAddr, holder: EndpointId, now: Duration) -> bool {
        let Some(owned) = self.block_of(addr) else {
            return false;
        };
        if !owned.block.release(addr, &Holder::Endpoint(holder)) {
            return false;
        }
        owned.idle_since = now;
        let (range, returning) = (owned.block.range(), owned.returning);
        if !returning {
            self.open.insert(range);
        }
        true
    }

    /// The block that has an address. Blocks do not overlap: it is the last that begins before.
    fn block_of(&mut self, addr: IpAddr) -> Option<&mut Owned> {
        let host = IpNet::from(addr);
        let (range, owned) = self.blocks.range_mut(..=host).next_back()?;
        range.contains(&addr).then_some(owned)
    }

    /// Takes an address out of this host's own use for another host. Gives the block that it lies
    /// in, or who holds it, in words; nothing where it lies in no block that may be used.
    pub(crate) fn give(&mut self, addr: IpAddr, given: Given) -> Option<Result<IpNet, String>> {
        let former = self.given.get(&addr).copied();
        let pending = former == Some(given);
        let owned = self.block_of(addr).filter(|owned| !owned.returning)?;
        let range = owned.block.range();
        if let Some(former) = former.filter(|former| *former == Given::unknown()) {
            owned.block.release(addr, &Holder::Endpoint(former.holder));
        }
        let taken = owned.block.take(addr, Holder::Endpoint(given.holder));
        if taken.is_err() && !pending {
            let mut leases = owned.block.leases();
            let holder = leases.find(|(held, _)| *held == addr);
            return Some(Err(
                holder.map_or_else(String::new, |(_, holder)| holder.to_string())
            ));
        }
        self.given.insert(addr, given);
        Some(Ok(range))
    }

    /// Lets another endpoint have what was given back and is not being taken out of the store yet.
    pub(crate) fn take_up(
        &mut self,
        holder: EndpointId,
        fits: impl Fn(IpAddr) -> bool,
    ) -> Option<Grant> {
        let mut grants = self.grants.iter_mut();
        let (_, grant) =
            grants.find(|(addr, grant)| grant.state == GrantState::Returning && fits(**addr))?;
        (grant.holder, grant.state) = (holder, GrantState::Held);
        Some(*grant)
    }

    /// This host's endpoints that hold or want an address.
    pub(crate) fn users(&self) -> BTreeSet<EndpointId> {
        let leases = self.blocks.values().flat_map(|owned| owned.block.leases());
        let own = leases.filter_map(|(addr, holder)| match holder {
            Holder::Endpoint(id) if !self.given.contains_key(&addr) => Some(*id),
            _ => None,
        });
        let grants = self.grants.values();
        let granted = grants.filter(|grant| !grant.state.is_over());
        own.chain(granted.map(|grant| grant.holder)).collect()
    }

    /// Gives up all blocks, whatever is in them.
    pub(crate) fn return_all(&mut self) {
        for owned in self.blocks.values_mut() {
            owned.returning = true;
        }
        self.open.clear();
    }

    /// Gives up blocks of a family that have been empty since `before`, all but `keep` of those
    /// that are empty.
    pub(crate) fn return_idle(&mut self, family: Family, before: Duration, keep: usize) {
        let empty = |owned: &&mut Owned| {
            Family::of(owned.block.range().addr()) == family
                && owned.block.is_empty()
                && !owned.returning
        };
        for owned in self.blocks.values_mut().filter(empty).skip(keep) {
            if owned.idle_since <= before {
                owned.returning = true;
                self.open.remove(&owned.block.range());
            }
        }
    }

    /// Marks a block as given up, as the local copy says.
    pub(crate) fn mark_returning(&mut self, range: IpNet) {
        if let Some(owned) = self.blocks.get_mut(&range) {
            owned.returning = true;
            self.open.remove(&range);
        }
    }

    pub(crate) fn returning(&self) -> Vec<IpNet> {
        let returning = self.blocks.iter().filter(|(_, owned)| owned.returning);
        returning.map(|(range, _)| *range).collect()
    }

    /// The addresses of a block that other hosts hold.
    pub(crate) fn given_in(&self, range: IpNet) -> Vec<IpAddr> {
        let given = self.given.range(range.network()..=range.broadcast());
        given.map(|(addr, _)| *addr).collect()
    }

    /// Forgets a block that is no longer this host's.
    pub(crate) fn drop_block(&mut self, range: IpNet) {
        self.blocks.remove(&range);
        self.open.remove(&range);
        self.given.retain(|addr, _| !range.contains(addr));
        self.unseen.retain(|addr| !range.contains(addr));
    }
}

#[cfg(test)]
mod tests;
