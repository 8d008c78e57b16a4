//! The driver `bridge`: a software bridge a network, a pair of links an endpoint.
//!
//! Owns Docker's options of bridge networks and what each makes on the host. Forwarding as such,
//! default routes and the table's skeleton belong to others.

mod attachment;
mod endpoint;
mod network;
mod options;
mod policy;

use crate::{AttachmentPlan, Capabilities, Driver, DriverContext, Place};
use endpoint::EndpointOptions;
use options::BridgeOptions;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_hoststate::Fragment;
use vw_model::{
    EndpointSettings, EndpointSpec, Error, Family, IfName, IpNet, Kind, NetworkSpec, PoolSpec,
    PortMapping, Result, Scope,
};

/// `BR_MAX_PORTS` less the one number that is no port (`net/bridge/br_private.h`).
const MAX_PORTS: u32 = 1023;

/// The driver.
pub(crate) struct Bridge;

impl Driver for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            place: Place::Shared,
            instances: true,
            addresses: true,
            names: true,
            ports: true,
            max_endpoints: Some(MAX_PORTS),
        }
    }

    fn validate(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<()> {
        if !network.enable_ipv4 && !network.enable_ipv6 {
            let sentence = "IPv4 or IPv6 must be enabled";
            return Err(Error::invalid("no-family", sentence));
        }
        if network.enable_ipv6 && !cx.ipv6 {
            let sentence = format!(
                "network {} cannot have IPv6: this kernel runs without it (ipv6.disable=1)",
                network.name
            );
            return Err(Error::new(Kind::Unsupported, "ipv6-missing", sentence));
        }
        for family in [Family::V4, Family::V6] {
            validate_pools(network, family)?;
        }
        BridgeOptions::read(network, cx).map(|_| ())
    }

    fn validate_endpoint(&self, _network: &NetworkSpec, settings: &EndpointSettings) -> Result<()> {
        if let Some(mac) = settings.mac.filter(|mac| !mac.is_unicast()) {
            let sentence = format!("invalid MAC address: {mac}: an interface needs a unicast one");
            return Err(Error::invalid("mac-invalid", sentence));
        }
        let mut link_local = settings.link_local.iter();
        if let Some(addr) = link_local.find(|addr| addr.is_unspecified()) {
            let sentence = format!("invalid link-local IP address: {addr}");
            return Err(Error::invalid("link-local-invalid", sentence));
        }
        EndpointOptions::read(&settings.driver_opts).map(|_| ())
    }

    fn needs_router(&self, network: &NetworkSpec, family: Family) -> bool {
        options::needs_router(network, family)
    }

    fn gateway(&self, network: &NetworkSpec, family: Family) -> Option<IpAddr> {
        if network.internal {
            return None;
        }
        let pool = network::pool(network, family)?;
        pool.aux
            .get(default_gateway_key(family))
            .copied()
            .or(pool.gateway)
    }

    fn interface_prefix<'a>(&self, network: &'a NetworkSpec) -> &'a str {
        options::interface_prefix(network)
    }

    fn interface_name(&self, settings: &EndpointSettings) -> Result<Option<IfName>> {
        EndpointOptions::read(&settings.driver_opts).map(|options| options.ifname)
    }

    fn host_link(&self, network: &NetworkSpec) -> Option<IfName> {
        options::bridge_name(network).ok()
    }

    fn publishes(&self, network: &NetworkSpec, family: Family, cx: &DriverContext) -> bool {
        BridgeOptions::read(network, cx)
            .is_ok_and(|options| policy::publishes(network, &options, cx, family))
    }

    fn default_hosts(&self, network: &NetworkSpec, cx: &DriverContext) -> Vec<IpAddr> {
        let Ok(options) = BridgeOptions::read(network, cx) else {
            return Vec::new();
        };
        // Who binds ports to one address does not want them on every address of the other family.
        let any = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let mut hosts = options.host_binding.map_or(any, |addr| vec![addr]);
        hosts.retain(|addr| policy::publishes(network, &options, cx, Family::of(*addr)));
        hosts
    }

    fn plan_network(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<Fragment> {
        network::plan(network, &BridgeOptions::read(network, cx)?, cx)
    }

    fn plan_attachment(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        cx: &DriverContext,
    ) -> Result<AttachmentPlan> {
        let options = BridgeOptions::read(network, cx)?;
        let asked = EndpointOptions::read(&endpoint.settings.driver_opts)?;
        Ok(attachment::plan(&options, &asked, endpoint, cx))
    }

    fn plan_ports(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        mappings: &[PortMapping],
        cx: &DriverContext,
    ) -> Result<Fragment> {
        let options = BridgeOptions::read(network, cx)?;
        policy::of_ports(network, &options, endpoint, mappings, cx)
    }
}

/// The auxiliary address that is containers' router instead of the bridge's own.
const fn default_gateway_key(family: Family) -> &'static str {
    match family {
        Family::V4 => "DefaultGatewayIPv4",
        Family::V6 => "DefaultGatewayIPv6",
    }
}

/// One pool a family, whose routers lie in it; IPv6 as Docker wants it.
fn validate_pools(network: &NetworkSpec, family: Family) -> Result<()> {
    if network.pools(family).count() > 1 {
        let sentence = "bridge driver doesn't support multiple subnets";
        return Err(Error::new(Kind::Forbidden, "pools-several", sentence));
    }
    let Some(pool) = network::pool(network, family) else {
        return Ok(());
    };
    let invalid = |sentence| Err(Error::invalid("pool-invalid", sentence));
    let router = pool.aux.get(default_gateway_key(family));
    if router.is_some_and(|router| !pool.subnet.contains(router)) {
        return invalid("default gateway ip must be part of the network".to_owned());
    }
    match pool {
        PoolSpec { subnet, .. } if subnet.network().is_multicast() => {
            invalid(format!("multicast subnet '{subnet}' is not allowed"))
        }
        PoolSpec {
            subnet: IpNet::V6(subnet),
            ..
        } if clashes_with_link_local(subnet) => invalid(format!(
            "'{subnet}' clashes with the Link-Local prefix 'fe80::/64'"
        )),
        _ => Ok(()),
    }
}

/// Whether a subnet overlaps `fe80::/64` without being it.
fn clashes_with_link_local(subnet: &vw_model::Ipv6Net) -> bool {
    let link_local = vw_model::Ipv6Net::new_assert([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 64);
    let overlaps = subnet.contains(&link_local) || link_local.contains(subnet);
    overlaps && subnet.trunc() != link_local
}

#[cfg(test)]
mod tests;
