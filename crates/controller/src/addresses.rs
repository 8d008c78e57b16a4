//! Who gives out a network's addresses: this host alone, or the hosts of the cluster by blocks.

use crate::{
    Controller,
    registry::{Network, lock},
};
use std::net::IpAddr;
use vw_ipam::Holder;
use vw_model::{EndpointId, EndpointSettings, EndpointSpec, Family, IpNet, Result, Scope};

impl Controller {
    /// Leases an address of each of these families that the network has for a new endpoint, those
    /// asked for where it asks.
    ///
    /// # Errors
    /// As the address manager says; nothing is leased then.
    pub(crate) fn lease(
        &self,
        network: &Network,
        id: EndpointId,
        settings: &EndpointSettings,
        families: &[Family],
    ) -> Result<Vec<IpNet>> {
        let spec = &network.spec;
        let wants = [
            (Family::V4, spec.enable_ipv4, settings.ipv4.map(IpAddr::V4)),
            (Family::V6, spec.enable_ipv6, settings.ipv6.map(IpAddr::V6)),
        ];
        let mut leased: Vec<IpNet> = Vec::with_capacity(2);
        for (family, enabled, requested) in wants {
            if !families.contains(&family) || (!enabled && requested.is_none()) {
                continue;
            }
            match self.lease_one(network, family, requested, id) {
                Ok(net) => leased.push(net),
                Err(refusal) => {
                    self.free(network, &leased, id);
                    return Err(refusal);
                }
            }
        }
        Ok(leased)
    }

    fn lease_one(
        &self,
        network: &Network,
        family: Family,
        requested: Option<IpAddr>,
        id: EndpointId,
    ) -> Result<IpNet> {
        let spec = &network.spec;
        match spec.scope {
            Scope::Global => self.cluster()?.lease(spec.id, family, requested, id),
            Scope::Local => lock(&self.ipam)
                .allocate(spec.id, family, requested, Holder::Endpoint(id))
                .map_err(|refusal| refusal.for_network(spec.name.as_str())),
        }
    }

    /// Takes up the lease that a record tells of.
    ///
    /// # Errors
    /// When somebody else holds the address, or it is no address of the network.
    pub(crate) fn hold(&self, network: &Network, addr: IpAddr, id: EndpointId) -> Result<()> {
        let spec = &network.spec;
        match spec.scope {
            Scope::Global => self.cluster()?.hold(spec.id, addr, id).map(|_| ()),
            Scope::Local => lock(&self.ipam)
                .reserve(spec.id, addr, Holder::Endpoint(id))
                .map(|_| ())
                .map_err(|refusal| refusal.for_network(spec.name.as_str())),
        }
    }

    /// Frees the leases of an endpoint that is gone.
    pub(crate) fn free_leases(&self, endpoint: &EndpointSpec) {
        let network = self.registry().network_by_id(endpoint.network);
        if let Some(network) = network {
            self.free(&network, &endpoint.addresses, endpoint.id);
        }
    }

    fn free(&self, network: &Network, leases: &[IpNet], id: EndpointId) {
        let spec = &network.spec;
        for net in leases {
            match (spec.scope, self.cluster()) {
                (Scope::Global, Ok(cluster)) => cluster.release(spec.id, net.addr(), id),
                (Scope::Global, Err(_)) => {}
                (Scope::Local, _) => {
                    lock(&self.ipam).release(spec.id, net.addr(), &Holder::Endpoint(id));
                }
            }
        }
    }
}
