//! The address space of this host: every network's pools.

use crate::{
    DefaultPools, Error, Holder, PoolRequest,
    pool::Pool,
    span,
    span::{Span, Spans},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};
use vw_model::{Family, IpNet, NetworkId, PoolSpec};

/// What a new network wants.
#[derive(Debug, Clone)]
pub struct NetworkRequest {
    /// The subnets asked for; a family without one gets one from the default pools.
    pub pools: Vec<PoolRequest>,
    /// Whether it has IPv4 addresses.
    pub ipv4: bool,
    /// Whether it has IPv6 addresses.
    pub ipv6: bool,
    /// Whether each subnet needs a gateway even where none was asked for.
    pub gateway: bool,
}

/// All pools and leases of this host.
///
/// Subnets of ours never overlap. Calls either succeed or leave everything as it was. The
/// caller locks it for the length of a call; none of them takes time that grows with the size
/// of a pool or with the number of leases in it, but for [`Self::leases`] and
/// [`Self::remove_network`].
#[derive(Debug)]
pub struct Ipam {
    defaults: DefaultPools,
    networks: HashMap<NetworkId, Vec<Pool>>,
    /// Every subnet by its family and first address; they do not overlap.
    subnets: BTreeMap<(Family, u128), (IpNet, NetworkId)>,
}

impl Ipam {
    /// An address space that nobody holds anything of.
    #[must_use]
    pub fn new(defaults: DefaultPools) -> Self {
        Self {
            defaults,
            networks: HashMap::new(),
            subnets: BTreeMap::new(),
        }
    }

    /// Takes a new network's subnets with their gateways and auxiliary addresses.
    ///
    /// Subnets from the default pools keep clear of ours and of `foreign`, which are the host's
    /// on-link routes and its resolvers; a subnet that was asked for may overlap `foreign`, as
    /// Docker lets it. A gateway that was not asked for is the lowest free address of the range.
    /// Returns what to store, IPv4 first.
    ///
    /// # Errors
    /// [`Error::Overlap`], [`Error::DefaultsExhausted`], [`Error::Gateway`], [`Error::Aux`].
    pub fn add_network(
        &mut self,
        network: NetworkId,
        request: &NetworkRequest,
        foreign: &[IpNet],
    ) -> Result<Vec<PoolSpec>, Error> {
        self.all_or_nothing(network, |ipam, pools| {
            for (family, wanted) in [(Family::V4, request.ipv4), (Family::V6, request.ipv6)] {
                if !wanted {
                    continue;
                }
                let mut specs: Vec<_> = request
                    .pools
                    .iter()
                    .filter(|pool| span::family(pool.subnet) == family)
                    .map(PoolRequest::spec)
                    .collect();
                if specs.is_empty() {
                    specs.push(default_spec(ipam.free_default(family, foreign)?));
                }
                for spec in specs {
                    ipam.add_pool(network, spec, request.gateway, pools)?;
                }
            }
            Ok(())
        })?;
        Ok(self.specs(network).cloned().collect())
    }

    /// Takes back what [`Self::add_network`] once returned; idempotent.
    ///
    /// # Errors
    /// [`Error::Overlap`] where another network holds a subnet now.
    pub fn restore_network(&mut self, network: NetworkId, specs: &[PoolSpec]) -> Result<(), Error> {
        if self.specs(network).eq(specs) {
            return Ok(());
        }
        self.all_or_nothing(network, |ipam, pools| {
            specs
                .iter()
                .try_for_each(|spec| ipam.add_pool(network, spec.clone(), false, pools))
        })
    }

    /// Frees a network's subnets and every lease in them; idempotent.
    pub fn remove_network(&mut self, network: NetworkId) {
        for pool in self.networks.remove(&network).unwrap_or_default() {
            self.subnets.remove(&(pool.family, pool.span.first));
        }
    }

    /// Leases an address of a network to `holder`, with its subnet's prefix length.
    ///
    /// `requested` may be any free address of a subnet that was asked for, also outside its
    /// `--ip-range`. Without it: the lowest free address of the first range that has room, in
    /// constant time. Reuse at once is safe, as an attachment announces its address.
    ///
    /// # Errors
    /// [`Error::PoolFull`], [`Error::AddressInUse`], [`Error::Reserved`],
    /// [`Error::OutOfSubnet`], [`Error::NotUserConfigured`], [`Error::NoPool`],
    /// [`Error::UnknownNetwork`].
    pub fn allocate(
        &mut self,
        network: NetworkId,
        family: Family,
        requested: Option<IpAddr>,
        holder: Holder,
    ) -> Result<IpNet, Error> {
        let pools = self.pools_mut(network)?;
        if !pools.iter().any(|pool| pool.family == family) {
            return Err(Error::NoPool { network, family });
        }
        if let Some(addr) = requested {
            let mut given = pools
                .iter_mut()
                .filter(|pool| pool.family == family && pool.spec.given)
                .peekable();
            if given.peek().is_none() {
                return Err(Error::NotUserConfigured { addr });
            }
            let pool = given
                .find(|pool| pool.contains(addr))
                .ok_or(Error::OutOfSubnet { addr })?;
            return pool.take(addr, holder);
        }
        pools
            .iter_mut()
            .filter(|pool| pool.family == family)
            .find_map(|pool| pool.take_first(holder.clone()))
            .ok_or(Error::PoolFull { family, network })
    }

    /// Leases a known address, as at start from the store; idempotent for the same holder.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::Reserved`], [`Error::OutOfSubnet`],
    /// [`Error::UnknownNetwork`].
    pub fn reserve(
        &mut self,
        network: NetworkId,
        addr: IpAddr,
        holder: Holder,
    ) -> Result<IpNet, Error> {
        self.pools_mut(network)?
            .iter_mut()
            .find(|pool| pool.contains(addr))
            .ok_or(Error::OutOfSubnet { addr })?
            .take(addr, holder)
    }

    /// Frees an address that `holder` holds and says whether it did; idempotent, so that undoing
    /// twice can never free what somebody else has got meanwhile.
    pub fn release(&mut self, network: NetworkId, addr: IpAddr, holder: &Holder) -> bool {
        self.networks
            .get_mut(&network)
            .into_iter()
            .flatten()
            .any(|pool| pool.release(addr, holder))
    }

    /// Every lease of a network, in no order. O(leases).
    pub fn leases(&self, network: NetworkId) -> impl Iterator<Item = (IpAddr, &Holder)> {
        self.networks
            .get(&network)
            .into_iter()
            .flatten()
            .flat_map(Pool::leases)
    }

    fn specs(&self, network: NetworkId) -> impl Iterator<Item = &PoolSpec> {
        let pools = self.networks.get(&network).into_iter().flatten();
        pools.map(|pool| &pool.spec)
    }

    fn pools_mut(&mut self, network: NetworkId) -> Result<&mut Vec<Pool>, Error> {
        self.networks
            .get_mut(&network)
            .ok_or(Error::UnknownNetwork { network })
    }

    /// Runs `add`, which fills a network's pools, and takes back all of them if it fails.
    fn all_or_nothing(
        &mut self,
        network: NetworkId,
        add: impl FnOnce(&mut Self, &mut Vec<Pool>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut pools = Vec::new();
        let result = match self.networks.get(&network).and_then(|held| held.first()) {
            Some(held) => Err(Error::Overlap {
                subnet: held.spec.subnet,
                other: held.spec.subnet,
                network,
            }),
            None => add(self, &mut pools),
        };
        match result {
            Ok(()) => drop(self.networks.insert(network, pools)),
            Err(_) => {
                for pool in pools {
                    self.subnets.remove(&(pool.family, pool.span.first));
                }
            }
        }
        result
    }

    fn add_pool(
        &mut self,
        network: NetworkId,
        spec: PoolSpec,
        gateway: bool,
        pools: &mut Vec<Pool>,
    ) -> Result<(), Error> {
        let mut pool = Pool::new(spec);
        let subnet = pool.spec.subnet;
        if let Some((other, holder)) = self.overlapping(pool.family, &pool.span) {
            return Err(Error::Overlap {
                subnet,
                other,
                network: holder,
            });
        }
        reserve_named(&mut pool, gateway)?;
        let key = (pool.family, pool.span.first);
        self.subnets.insert(key, (subnet, network));
        pools.push(pool);
        Ok(())
    }

    /// The subnet of ours with the highest address that `span` overlaps. O(log subnets).
    fn overlapping(&self, family: Family, span: &Span) -> Option<(IpNet, NetworkId)> {
        let (_, held) = self
            .subnets
            .range((family, 0)..=(family, span.last))
            .next_back()?;
        Span::of(held.0).overlaps(span).then_some(*held)
    }

    /// The lowest subnet of the default pools that nobody holds. It steps over what is held, so
    /// it takes as many steps as there are subnets held, never as many as a pool could give.
    fn free_default(&self, family: Family, foreign: &[IpNet]) -> Result<IpNet, Error> {
        let in_use = foreign;
        let foreign = Spans::merge(family, in_use);
        for pool in self.defaults.of(family) {
            let base = Span::of(pool.base);
            let host_bits = span::bits(family) - u32::from(pool.size);
            let mut first = base.first;
            while let Some(span) = Span::sized(first, host_bits)
                && base.contains(span.last)
            {
                let ours = self.overlapping(family, &span);
                let blocked = ours
                    .map(|(subnet, _)| Span::of(subnet).last)
                    .max(foreign.overlapping(&span));
                let Some(last) = blocked else {
                    let addr = span::address(family, span.first);
                    return Ok(IpNet::new_assert(addr, pool.size));
                };
                match (last | span::low_mask(host_bits)).checked_add(1) {
                    Some(next) => first = next,
                    None => break,
                }
            }
        }
        let bases = || self.defaults.of(family).map(|pool| pool.base);
        // A default route leads to what nobody here has.
        let mut all = in_use.iter().filter(|by| by.prefix_len() > 0);
        let covered = all.find_map(|by| Some((bases().find(|base| by.contains(base))?, *by)));
        Err(Error::DefaultsExhausted { family, covered })
    }
}

/// Takes the addresses of a new pool that have a name, those that were asked for first, so that
/// a default gateway keeps clear of them.
fn reserve_named(pool: &mut Pool, gateway: bool) -> Result<(), Error> {
    if let Some(addr) = pool.spec.gateway {
        pool.take(addr, Holder::Gateway)
            .map_err(|source| gateway_error(Some(addr), source))?;
    }
    for (name, addr) in pool.spec.aux.clone() {
        pool.take(addr, Holder::Aux(name.clone()))
            .map_err(|source| Error::Aux {
                name,
                addr,
                source: Box::new(source),
            })?;
    }
    if gateway && pool.spec.gateway.is_none() {
        let subnet = pool.spec.subnet;
        let gateway = pool
            .take_first(Holder::Gateway)
            .ok_or_else(|| gateway_error(None, Error::SubnetFull { subnet }))?;
        pool.spec.gateway = Some(gateway.addr());
    }
    Ok(())
}

fn gateway_error(gateway: Option<IpAddr>, source: Error) -> Error {
    Error::Gateway {
        gateway,
        source: Box::new(source),
    }
}

fn default_spec(subnet: IpNet) -> PoolSpec {
    PoolSpec {
        subnet,
        ip_range: None,
        gateway: None,
        aux: BTreeMap::new(),
        given: false,
    }
}

#[cfg(test)]
mod tests;
