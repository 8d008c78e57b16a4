//! One subnet of one network, and the leases in it.

use crate::{
    Error,
    free::{FirstFree, shrink},
    span,
    span::Span,
};
use std::{collections::HashMap, fmt, net::IpAddr};
use vw_model::{EndpointId, Family, IpNet, PoolSpec, ServiceId};

/// Who holds an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// An endpoint.
    Endpoint(EndpointId),
    /// A service, as its virtual address.
    Service(ServiceId),
    /// The network's router.
    Gateway,
    /// Held back by the user under this name (`--aux-address`).
    Aux(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(id) => write!(f, "endpoint {}", id.short()),
            Self::Service(id) => write!(f, "service {}", id.short()),
            Self::Gateway => f.write_str("the gateway"),
            Self::Aux(name) => write!(f, "auxiliary address {name:?}"),
        }
    }
}

/// A subnet with its leases; memory is O(leases).
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) spec: PoolSpec,
    pub(crate) family: Family,
    pub(crate) span: Span,
    /// What [`Self::take_first`] takes from; nothing in an IPv6 /128.
    auto: Option<Span>,
    /// Held numbers of `auto`, counted from its first.
    free: FirstFree,
    leases: HashMap<u128, Holder>,
}

impl Pool {
    pub(crate) fn new(spec: PoolSpec) -> Self {
        let span = Span::of(spec.subnet);
        let range = Span::of(spec.ip_range.unwrap_or(spec.subnet));
        let first = if has_first_reserved(spec.subnet) {
            span.first.checked_add(1)
        } else {
            Some(span.first)
        };
        let last = span.last - u128::from(has_broadcast(spec.subnet));
        let auto = first.map(|first| Span {
            first: first.max(range.first),
            last: last.min(range.last),
        });
        Self {
            family: span::family(spec.subnet),
            span,
            auto: auto.filter(|auto| auto.first <= auto.last),
            free: FirstFree::default(),
            leases: HashMap::new(),
            spec,
        }
    }

    /// A pool that gives addresses by itself only where they lie in `part` as well as in the
    /// range of `spec`.
    pub(crate) fn part(spec: PoolSpec, part: IpNet) -> Self {
        let part = Span::of(part);
        let mut pool = Self::new(spec);
        pool.auto = pool
            .auto
            .map(|auto| Span {
                first: auto.first.max(part.first),
                last: auto.last.min(part.last),
            })
            .filter(|auto| auto.first <= auto.last);
        pool
    }

    /// How many addresses are held.
    pub(crate) fn held(&self) -> usize {
        self.leases.len()
    }

    /// How many addresses of the range are free.
    pub(crate) fn free(&self) -> u128 {
        let Some(auto) = self.auto else {
            return 0;
        };
        let held = self.leases.keys().filter(|number| auto.contains(**number));
        // Of IPv6's /0 one more than a number can say.
        let size = (auto.last - auto.first).saturating_add(1);
        size - held.count() as u128
    }

    /// The lowest free address of the range, or nothing when it is full.
    pub(crate) fn take_first(&mut self, holder: Holder) -> Option<IpNet> {
        let auto = self.auto?;
        let number = auto
            .first
            .checked_add(self.free.first())
            .filter(|number| auto.contains(*number))?;
        self.hold(number, holder);
        Some(self.with_len(span::address(self.family, number)))
    }

    /// One address of the subnet, inside the range or not, with the prefix length that an
    /// interface gets; idempotent for the same holder.
    pub(crate) fn take(&mut self, addr: IpAddr, holder: Holder) -> Result<IpNet, Error> {
        let number = self.number(addr).ok_or(Error::OutOfSubnet { addr })?;
        if self.is_reserved(number) {
            let subnet = self.spec.subnet;
            return Err(Error::Reserved { addr, subnet });
        }
        match self.leases.get(&number) {
            Some(held) if *held == holder => {}
            Some(held) => {
                let holder = held.clone();
                return Err(Error::AddressInUse { addr, holder });
            }
            None => self.hold(number, holder),
        }
        Ok(self.with_len(addr))
    }

    /// Frees an address if `holder` holds it; says whether it did.
    pub(crate) fn release(&mut self, addr: IpAddr, holder: &Holder) -> bool {
        let Some(number) = self.number(addr) else {
            return false;
        };
        if self.leases.get(&number) != Some(holder) {
            return false;
        }
        self.leases.remove(&number);
        shrink(&mut self.leases);
        if let Some(auto) = self.auto.filter(|auto| auto.contains(number)) {
            self.free.remove(number - auto.first);
        }
        true
    }

    pub(crate) fn leases(&self) -> impl Iterator<Item = (IpAddr, &Holder)> {
        self.leases
            .iter()
            .map(|(number, holder)| (span::address(self.family, *number), holder))
    }

    fn with_len(&self, addr: IpAddr) -> IpNet {
        IpNet::new_assert(addr, self.spec.subnet.prefix_len())
    }

    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        self.number(addr).is_some()
    }

    fn number(&self, addr: IpAddr) -> Option<u128> {
        let number = span::number(addr);
        (Family::of(addr) == self.family && self.span.contains(number)).then_some(number)
    }

    fn hold(&mut self, number: u128, holder: Holder) {
        self.leases.insert(number, holder);
        if let Some(auto) = self.auto.filter(|auto| auto.contains(number)) {
            self.free.insert(number - auto.first);
        }
    }

    fn is_reserved(&self, number: u128) -> bool {
        let subnet = self.spec.subnet;
        (has_first_reserved(subnet) && number == self.span.first)
            || (has_broadcast(subnet) && number == self.span.last)
    }
}

/// Whether the first address belongs to nobody: the IPv4 network address, but not on a
/// point-to-point link (RFC 3021), or the IPv6 subnet-router anycast address (RFC 4291, 2.6.1).
/// A /31 and a /32 thus have two and one address, an IPv6 /127 and /128 one and none, as Docker
/// counts them.
const fn has_first_reserved(subnet: IpNet) -> bool {
    match subnet {
        IpNet::V4(_) => has_broadcast(subnet),
        IpNet::V6(_) => true,
    }
}

/// Whether the last address is a broadcast address.
const fn has_broadcast(subnet: IpNet) -> bool {
    match subnet {
        IpNet::V4(v4) => v4.prefix_len() < 31,
        IpNet::V6(_) => false,
    }
}
