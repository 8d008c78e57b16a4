//! Parts of a subnet that several hosts share, each allocating from its own parts alone.
//!
//! Owns how a subnet is divided, and the leases in one part. It must not know who holds a part.

use crate::{Error, Holder, pool::Pool, span, span::Span};
use std::net::IpAddr;
use vw_model::{Family, IpNet, PoolSpec};

/// How a subnet is divided into blocks of one size.
///
/// An IPv4 subnet has at most 1,024 blocks, an IPv6 one at most 65,536 (a /64 is divided into
/// /80), and no block is smaller than four addresses: a /24 has 64 blocks of 4, a /20 has 1,024
/// of 4, a /16 has 1,024 of 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    subnet: IpNet,
    /// The prefix length of a block.
    len: u8,
}

impl Division {
    /// The division of a subnet: depends on nothing else, so that all hosts agree.
    #[must_use]
    pub fn of(subnet: IpNet) -> Self {
        let host_bits = subnet.max_prefix_len() - subnet.prefix_len();
        let blocks_bits = match span::family(subnet) {
            Family::V4 => 10,
            Family::V6 => 16,
        };
        let block_bits = host_bits.saturating_sub(blocks_bits).max(2).min(host_bits);
        Self {
            subnet: subnet.trunc(),
            len: subnet.max_prefix_len() - block_bits,
        }
    }

    /// How many blocks there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        1 << (self.len - self.subnet.prefix_len())
    }

    /// How many addresses each has, as a power of two.
    #[must_use]
    pub fn block_bits(&self) -> u32 {
        u32::from(self.subnet.max_prefix_len() - self.len)
    }

    /// The block of a number below [`Self::count`].
    #[must_use]
    pub fn nth(&self, number: u32) -> Option<IpNet> {
        if number >= self.count() {
            return None;
        }
        let family = span::family(self.subnet);
        let first = Span::of(self.subnet).first + (u128::from(number) << self.block_bits());
        Some(IpNet::new_assert(span::address(family, first), self.len))
    }

    /// The number of the block that has an address of the subnet.
    #[must_use]
    pub fn number(&self, addr: IpAddr) -> Option<u32> {
        if !self.subnet.contains(&addr) {
            return None;
        }
        let offset = span::number(addr) - Span::of(self.subnet).first;
        u32::try_from(offset >> self.block_bits()).ok()
    }

    /// The block that has an address of the subnet.
    #[must_use]
    pub fn block(&self, addr: IpAddr) -> Option<IpNet> {
        self.nth(self.number(addr)?)
    }
}

/// One block of a subnet, and the leases in it. Taking the first free address costs the same
/// however many are held.
#[derive(Debug)]
pub struct Block {
    pool: Pool,
    range: IpNet,
    /// The leases that are the network's own.
    named: usize,
}

impl Block {
    /// A block that holds only what the network itself has in it: its gateway and its auxiliary
    /// addresses. `range` lies in the subnet of `spec`.
    ///
    /// # Errors
    /// [`Error::AddressInUse`] or [`Error::Reserved`] for a specification whose own addresses
    /// cannot be.
    pub fn new(spec: &PoolSpec, range: IpNet) -> Result<Self, Error> {
        let mut pool = Pool::part(spec.clone(), range);
        let gateway = spec.gateway.map(|addr| (addr, Holder::Gateway));
        let aux = spec.aux.iter();
        let aux = aux.map(|(name, addr)| (*addr, Holder::Aux(name.clone())));
        for (addr, holder) in gateway.into_iter().chain(aux) {
            if range.contains(&addr) {
                pool.take(addr, holder)?;
            }
        }
        let named = pool.leases().count();
        Ok(Self { pool, range, named })
    }

    /// The addresses it has.
    #[must_use]
    pub const fn range(&self) -> IpNet {
        self.range
    }

    /// The lowest free address that may be taken without asking for it.
    pub fn take_first(&mut self, holder: Holder) -> Option<IpNet> {
        self.pool.take_first(holder)
    }

    /// One address, also outside the network's `--ip-range`; idempotent for the same holder.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::Reserved`], [`Error::OutOfSubnet`] for one that lies
    /// in another block.
    pub fn take(&mut self, addr: IpAddr, holder: Holder) -> Result<IpNet, Error> {
        if !self.range.contains(&addr) {
            return Err(Error::OutOfSubnet { addr });
        }
        self.pool.take(addr, holder)
    }

    /// Frees an address if `holder` holds it; says whether it did.
    pub fn release(&mut self, addr: IpAddr, holder: &Holder) -> bool {
        self.pool.release(addr, holder)
    }

    /// How many addresses [`Self::take_first`] has left to give.
    #[must_use]
    pub fn free(&self) -> u128 {
        self.pool.free()
    }

    /// The addresses held, in no order, the network's own among them.
    pub fn leases(&self) -> impl Iterator<Item = (IpAddr, &Holder)> {
        self.pool.leases()
    }

    /// Whether nobody but the network itself holds an address of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pool.held() == self.named
    }
}

#[cfg(test)]
mod tests;
