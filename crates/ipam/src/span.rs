//! Address arithmetic: both families as closed ranges of 128-bit numbers.
//!
//! A range of one family must never be compared with one of the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_model::{Family, IpNet};

/// The first to the last address of a range, both included, so that `::/0` fits too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u128,
    pub(crate) last: u128,
}

impl Span {
    /// All addresses of a prefix.
    pub(crate) fn of(net: IpNet) -> Self {
        Self {
            first: number(net.network()),
            last: number(net.broadcast()),
        }
    }

    /// The 2^`host_bits` addresses from `first` on, unless they pass the end of the numbers.
    pub(crate) fn sized(first: u128, host_bits: u32) -> Option<Self> {
        let last = first.checked_add(low_mask(host_bits))?;
        Some(Self { first, last })
    }

    pub(crate) const fn contains(&self, number: u128) -> bool {
        self.first <= number && number <= self.last
    }

    pub(crate) const fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The address as a number.
pub(crate) fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The number as an address; for IPv4 its low 32 bits.
pub(crate) const fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// The width of an address.
pub(crate) const fn bits(family: Family) -> u32 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// A number whose low `bits` bits are set.
pub(crate) const fn low_mask(bits: u32) -> u128 {
    match 1u128.checked_shl(bits) {
        Some(power) => power - 1,
        None => u128::MAX,
    }
}

/// The family of a prefix.
pub(crate) fn family(net: IpNet) -> Family {
    Family::of(net.addr())
}

/// Sorted ranges of one family that do not overlap, made of any prefixes.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<Span>);

impl Spans {
    /// Merges the prefixes of `family`. Default routes (length 0) name no place and are left out.
    pub(crate) fn merge(family: Family, nets: &[IpNet]) -> Self {
        let mut all: Vec<Span> = nets
            .iter()
            .filter(|net| self::family(**net) == family && net.prefix_len() > 0)
            .map(|net| Span::of(*net))
            .collect();
        all.sort_unstable_by_key(|span| span.first);
        let mut merged: Vec<Span> = Vec::with_capacity(all.len());
        for span in all {
            match merged.last_mut() {
                Some(before) if span.first <= before.last => {
                    before.last = before.last.max(span.last);
                }
                _ => merged.push(span),
            }
        }
        Self(merged)
    }

    /// The last address of a range that `span` overlaps. O(log n).
    pub(crate) fn overlapping(&self, span: &Span) -> Option<u128> {
        let after = self.0.partition_point(|held| held.first <= span.last);
        let before = self.0.get(after.checked_sub(1)?)?;
        before.overlaps(span).then_some(before.last)
    }
}
