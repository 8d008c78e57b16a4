//! The pools that subnets come from when none is asked for.

use crate::{Error, span};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_model::{Family, IpNet, Ipv6Net};

/// A range that is split into subnets of one size (`default-address-pools`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultPool {
    /// The range.
    pub base: IpNet,
    /// The prefix length of the subnets taken from it.
    pub size: u8,
}

/// All default pools, lowest base first; none lies inside another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultPools(Vec<DefaultPool>);

impl DefaultPools {
    /// Takes the configured pools, and fills in what is missing.
    ///
    /// No IPv4 pool among them: Docker's own, each of 172.17.0.0/16 to 172.31.0.0/16 and then
    /// 192.168.0.0/16 in /20. No IPv6 pool: `ula` in /64. As Docker does, pools are used in the
    /// order of their addresses, and one that lies inside another is dropped.
    ///
    /// # Errors
    /// [`Error::DefaultPool`] for a size shorter than its base or longer than an address.
    pub fn new(configured: &[DefaultPool], ula: Ipv6Net) -> Result<Self, Error> {
        let mut pools = Vec::from(configured);
        for pool in &mut pools {
            let max = pool.base.max_prefix_len();
            if pool.size < pool.base.prefix_len() || pool.size > max || pool.size == 0 {
                let (base, size) = (pool.base, pool.size);
                return Err(Error::DefaultPool { base, size, max });
            }
            pool.base = pool.base.trunc();
        }
        let has = |family| configured.iter().any(|p| span::family(p.base) == family);
        if !has(Family::V4) {
            pools.extend(dockers_own());
        }
        if !has(Family::V6) {
            pools.push(DefaultPool {
                base: IpNet::V6(ula),
                size: 64,
            });
        }
        pools.sort_by_key(|pool| (pool.base.network(), pool.base.prefix_len()));
        pools.dedup_by(|inner, outer| outer.base.contains(&inner.base));
        Ok(Self(pools))
    }

    /// The pools of one family.
    pub fn of(&self, family: Family) -> impl Iterator<Item = &DefaultPool> {
        self.0
            .iter()
            .filter(move |pool| span::family(pool.base) == family)
    }
}

/// The unique local /48 of a host (RFC 4193, 3.2): `fd` and a 40-bit global id.
///
/// The id is a fixed hash (FNV-1a, folded) of `host`, which should be random bits that stay the
/// same for the host's life; RFC 4193 asks for SHA-1 of a time and a MAC only to get such bits.
#[must_use]
pub fn ula_prefix(host: &[u8]) -> Ipv6Net {
    let hash = host.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let global_id = (hash >> 40) ^ (hash & span::low_mask(40) as u64);
    let bits = (0xfd << 120) | (u128::from(global_id) << 80);
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 48)
}

fn dockers_own() -> impl Iterator<Item = DefaultPool> {
    let pool = |a, b, size| DefaultPool {
        base: IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), 16),
        size,
    };
    (17..=31)
        .map(move |second| pool(172, second, 16))
        .chain([pool(192, 168, 20)])
}

#[cfg(test)]
mod tests;
