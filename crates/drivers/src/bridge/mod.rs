//! The driver `bridge`: a software bridge a network, a pair of links an endpoint.
//!
//! Owns Docker's options of bridge networks and what each makes on the host. Forwarding as such,
//! default routes and the table's skeleton belong to others.

mod network;
mod options;
mod policy;

use crate::{
    AttachmentPlan, Capabilities, Driver, DriverContext, Gateway, Place,
    bridged::{self, EndpointOptions, MAX_PORTS, Port},
};
pub(crate) use network::plan as plan_network;
pub(crate) use options::{BridgeOptions, bridge_name};
pub(crate) use policy::{of_ports, publishes_to};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_hoststate::{Fragment, Netns};
use vw_model::{
    EndpointSettings, EndpointSpec, Error, Family, IfName, Kind, NetworkSpec, PortMapping, Result,
    Scope,
};

/// What endpoints are called where their options are refused.
const ENDPOINT: &str = "an endpoint of the driver bridge";

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
        bridged::validate_families(network, cx)?;
        for family in [Family::V4, Family::V6] {
            validate_pools(network, family)?;
        }
        BridgeOptions::read(network, cx).map(|_| ())
    }

    fn validate_endpoint(&self, _network: &NetworkSpec, settings: &EndpointSettings) -> Result<()> {
        bridged::validate_endpoint(settings, ENDPOINT)
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
        EndpointOptions::read(&settings.driver_opts, ENDPOINT).map(|options| options.ifname)
    }

    fn host_link(&self, network: &NetworkSpec) -> Option<IfName> {
        options::bridge_name(network).ok()
    }

    fn lets_neighbours_talk(&self, network: &NetworkSpec, cx: &DriverContext) -> bool {
        BridgeOptions::read(network, cx).is_ok_and(|options| options.icc)
    }

    fn publishes(&self, network: &NetworkSpec, family: Family, cx: &DriverContext) -> bool {
        BridgeOptions::read(network, cx)
            .is_ok_and(|options| publishes(network, &options, cx, family))
    }

    fn publishes_to(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        family: Family,
        cx: &DriverContext,
    ) -> bool {
        BridgeOptions::read(network, cx)
            .is_ok_and(|options| publishes_to(network, &options, endpoint, cx, family))
    }

    fn default_hosts(&self, network: &NetworkSpec, cx: &DriverContext) -> Vec<IpAddr> {
        BridgeOptions::read(network, cx)
            .map(|options| default_hosts(network, &options, cx))
            .unwrap_or_default()
    }

    fn plan_network(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<Fragment> {
        plan_network(network, &BridgeOptions::read(network, cx)?, cx)
    }

    fn plan_attachment(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        cx: &DriverContext,
    ) -> Result<AttachmentPlan> {
        let options = BridgeOptions::read(network, cx)?;
        let asked = EndpointOptions::read(&endpoint.settings.driver_opts, ENDPOINT)?;
        Ok(attachment(&options, &asked, endpoint, cx))
    }

    fn plan_beside(
        &self,
        network: &NetworkSpec,
        elsewhere: &[IpAddr],
        cx: &DriverContext,
    ) -> Fragment {
        BridgeOptions::read(network, cx)
            .map(|options| policy::beside(network, &options, elsewhere, cx))
            .unwrap_or_default()
    }

    fn plan_ports(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        mappings: &[PortMapping],
        cx: &DriverContext,
    ) -> Result<Fragment> {
        let options = BridgeOptions::read(network, cx)?;
        of_ports(network, &options, endpoint, mappings, cx)
    }
}

/// Whether ports can be published over a family, be it by translation.
pub(crate) fn publishes(
    network: &NetworkSpec,
    options: &BridgeOptions,
    cx: &DriverContext,
    family: Family,
) -> bool {
    policy::publishes(network, options, cx, family)
        || family == Family::V6 && !network.enable_ipv6 && policy::translates(network, options, cx)
}

/// The host addresses of ports that are published without one.
pub(crate) fn default_hosts(
    network: &NetworkSpec,
    options: &BridgeOptions,
    cx: &DriverContext,
) -> Vec<IpAddr> {
    // Who binds ports to one address does not want them on every address of the other family.
    let any = vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let mut hosts = options.host_binding.map_or(any, |addr| vec![addr]);
    hosts.retain(|addr| publishes(network, options, cx, Family::of(*addr)));
    hosts
}

/// What an endpoint needs that is a port of a bridge of the host.
pub(crate) fn attachment(
    options: &BridgeOptions,
    asked: &EndpointOptions,
    endpoint: &EndpointSpec,
    cx: &DriverContext,
) -> AttachmentPlan {
    let port = Port {
        netns: Netns::Host,
        bridge: options.bridge.clone(),
        mtu: options.mtu,
        isolated: !options.icc,
        // Where bridged packets are translated, a container that calls its own published
        // port is answered by the port it sent from.
        hairpin: cx.bridge_netfilter || cx.bridge_netfilter6,
    };
    let gateway = |via: &IpAddr| Gateway {
        via: *via,
        link: endpoint.ifname.clone(),
    };
    AttachmentPlan {
        fragment: bridged::plan(&port, asked, endpoint, cx),
        gateways: endpoint.gateways.iter().map(gateway).collect(),
    }
}

/// The auxiliary address that is containers' router instead of the bridge's own.
const fn default_gateway_key(family: Family) -> &'static str {
    match family {
        Family::V4 => "DefaultGatewayIPv4",
        Family::V6 => "DefaultGatewayIPv6",
    }
}

/// One pool a family, whose routers lie in it.
fn validate_pools(network: &NetworkSpec, family: Family) -> Result<()> {
    if network.pools(family).count() > 1 {
        let sentence = "bridge driver doesn't support multiple subnets";
        return Err(Error::new(Kind::Forbidden, "pools-several", sentence));
    }
    let Some(pool) = network::pool(network, family) else {
        return Ok(());
    };
    let router = pool.aux.get(default_gateway_key(family));
    if router.is_some_and(|router| !pool.subnet.contains(router)) {
        let sentence = "default gateway ip must be part of the network";
        return Err(Error::invalid("pool-invalid", sentence));
    }
    bridged::validate_pool(pool)
}

#[cfg(test)]
mod tests;
