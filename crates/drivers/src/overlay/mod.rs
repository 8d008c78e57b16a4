//! The driver `overlay`: one network over many hosts, in VXLAN or by routes.
//!
//! Owns Docker's options of overlay networks and what each makes on a host: a namespace with a
//! bridge and a tunnel, and what the tunnel is told of other hosts; or a bridge and routes. Who
//! those are, the network's number and a tunnelled one's way out are the cluster's and the gateway
//! bridge's.

mod encryption;
mod network;
mod options;
mod probe;
mod remote;
mod route;

use crate::{
    AttachmentPlan, Capabilities, Driver, DriverContext, Place, Underlay,
    bridge::{self, BridgeOptions},
    bridged::{self, EndpointOptions, MAX_PORTS, Port},
    driver::cannot_publish,
};
pub use encryption::{plan_tunnel, plan_tunnel_key, plan_tunnel_peer, tunnel_link, tunnel_mtu};
use options::{Mode, OverlayOptions};
pub use probe::ProbeNetwork;
use std::net::IpAddr;
use vw_hoststate::{Fragment, Netns, Object, Route, RouteKind, Shortcut, Station};
use vw_model::{
    EndpointSettings, EndpointSpec, Error, Family, IfName, Kind, NetworkSpec, PoolSpec,
    PortMapping, RemoteEndpoint, Result, Scope,
};

/// What endpoints are called where their options are refused.
const ENDPOINT: &str = "an endpoint of the driver overlay";

/// The driver.
pub(crate) struct Overlay;

impl Driver for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn scope(&self) -> Scope {
        Scope::Global
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            place: Place::Shared,
            instances: true,
            addresses: true,
            names: true,
            ports: false,
            // On one host; the tunnel is a port too.
            max_endpoints: Some(MAX_PORTS - 1),
        }
    }

    fn validate(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<()> {
        bridged::validate_families(network, cx)?;
        let pools = &network.ipam.pools;
        pools.iter().try_for_each(bridged::validate_pool)?;
        for (at, pool) in pools.iter().enumerate() {
            if let Some(other) = pools[..at].iter().find(|other| overlap(pool, other)) {
                let sentence = format!(
                    "subnets {} and {} of network {} overlap",
                    other.subnet, pool.subnet, network.name
                );
                return Err(Error::invalid("pool-invalid", sentence));
            }
        }
        let underlay = underlay(network, cx)?;
        match options::mode(network)? {
            Mode::Route => options::check_routed(network, underlay),
            Mode::Vxlan => options::check_tunnelled(network, underlay),
        }
    }

    fn validate_endpoint(&self, _network: &NetworkSpec, settings: &EndpointSettings) -> Result<()> {
        bridged::validate_endpoint(settings, ENDPOINT)
    }

    fn interface_name(&self, settings: &EndpointSettings) -> Result<Option<IfName>> {
        EndpointOptions::read(&settings.driver_opts, ENDPOINT).map(|options| options.ifname)
    }

    fn numbered(&self, network: &NetworkSpec) -> bool {
        !route::is(network)
    }

    fn needs_router(&self, network: &NetworkSpec, _family: Family) -> bool {
        route::is(network)
    }

    fn gateway(&self, network: &NetworkSpec, family: Family) -> Option<IpAddr> {
        let leads_out = route::is(network) && !network.internal;
        let pool = network.pools(family).next().filter(|_| leads_out)?;
        pool.gateway
    }

    fn host_link(&self, network: &NetworkSpec) -> Option<IfName> {
        route::bridge(network).ok().filter(|_| route::is(network))
    }

    fn publishes(&self, network: &NetworkSpec, family: Family, cx: &DriverContext) -> bool {
        let routed = routed(network, cx);
        routed.is_some_and(|options| bridge::publishes(network, &options, cx, family))
    }

    fn publishes_to(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        family: Family,
        cx: &DriverContext,
    ) -> bool {
        let routed = routed(network, cx);
        routed.is_some_and(|options| bridge::publishes_to(network, &options, endpoint, cx, family))
    }

    fn default_hosts(&self, network: &NetworkSpec, cx: &DriverContext) -> Vec<IpAddr> {
        let hosts = |options| bridge::default_hosts(network, &options, cx);
        routed(network, cx).map(hosts).unwrap_or_default()
    }

    fn plan_network(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<Fragment> {
        let underlay = underlay(network, cx)?;
        if route::is(network) {
            return route::plan(network, underlay, cx);
        }
        let options = OverlayOptions::read(network, underlay)?;
        network::plan(network, &options, cx)
    }

    fn plan_attachment(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        cx: &DriverContext,
    ) -> Result<AttachmentPlan> {
        let underlay = underlay(network, cx)?;
        let asked = EndpointOptions::read(&endpoint.settings.driver_opts, ENDPOINT)?;
        if route::is(network) {
            let mut plan = route::attachment(network, &asked, endpoint, underlay, cx)?;
            plan.fragment.extend(other_subnets(network, endpoint));
            return Ok(plan);
        }
        let options = OverlayOptions::read(network, underlay)?;
        let port = Port {
            netns: Netns::Network(network.id),
            bridge: network::bridge_name()?,
            mtu: options.mtu,
            isolated: false,
            hairpin: false,
        };
        let mut fragment = bridged::plan(&port, &asked, endpoint, cx);
        fragment.extend(other_subnets(network, endpoint));
        if cx.no_shortcuts.is_none() {
            fragment.insert(Object::Shortcut(Shortcut {
                netns: port.netns,
                mac: endpoint.mac,
                link: endpoint.host_ifname.clone(),
                station: Station::Here,
            }));
        }
        Ok(AttachmentPlan {
            fragment,
            gateways: Vec::new(),
        })
    }

    fn plan_remote(
        &self,
        network: &NetworkSpec,
        remote: &RemoteEndpoint,
        cx: &DriverContext,
    ) -> Result<Fragment> {
        let underlay = underlay(network, cx)?;
        if route::is(network) {
            return route::remote(network, remote, underlay, cx);
        }
        let options = OverlayOptions::read(network, underlay)?;
        remote::endpoint(network, remote, &options, cx)
    }

    fn plan_shared(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<Fragment> {
        let underlay = underlay(network, cx)?;
        if route::is(network) {
            return Ok(Fragment::default());
        }
        let way = OverlayOptions::read(network, underlay)?.way;
        match (way.encrypted, underlay.inner) {
            (true, Some(inner)) => plan_tunnel(inner, way.mtu, underlay.carrier),
            _ => Ok(Fragment::default()),
        }
    }

    fn complete(&self, network: &mut NetworkSpec, cx: &DriverContext) {
        if let Some(underlay) = &cx.underlay {
            options::complete(network, underlay);
        }
    }

    fn balances(&self, network: &NetworkSpec) -> bool {
        // Every host would answer for the address.
        options::multicast(network).is_ok_and(|multicast| !multicast)
    }

    fn encrypts(&self, network: &NetworkSpec) -> bool {
        options::encrypted(network).is_ok_and(|encrypted| encrypted)
    }

    fn drawback(&self, network: &NetworkSpec, cx: &DriverContext) -> Option<String> {
        let underlay = cx.underlay.as_ref().filter(|_| !route::is(network))?;
        options::too_wide(network, underlay)
    }

    fn companion(&self, network: &NetworkSpec) -> bool {
        !network.internal && !route::is(network)
    }

    fn plan_ports(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        mappings: &[PortMapping],
        cx: &DriverContext,
    ) -> Result<Fragment> {
        match (mappings.first(), routed(network, cx)) {
            (None, _) => Ok(Fragment::default()),
            (Some(_), Some(options)) => bridge::of_ports(network, &options, endpoint, mappings, cx),
            (Some(mapping), None) => Err(cannot_publish(network, mapping)),
        }
    }
}

/// A network whose packets pass by routes, as one of a bridge of this host.
fn routed(network: &NetworkSpec, cx: &DriverContext) -> Option<BridgeOptions> {
    let underlay = cx.underlay.as_ref().filter(|_| route::is(network))?;
    route::read(network, underlay).ok()
}

/// The way to the other hosts.
///
/// # Errors
/// With Docker's sentence where the daemon is in no cluster.
fn underlay<'a>(network: &NetworkSpec, cx: &'a DriverContext) -> Result<&'a Underlay> {
    cx.underlay.as_ref().ok_or_else(|| {
        let sentence = format!(
            "datastore for scope \"global\" is not initialized: network {} reaches other hosts, and this daemon is in no cluster; start it with --cluster-store and --cluster-advertise",
            network.name
        );
        Error::new(Kind::Unavailable, "cluster-missing", sentence)
    })
}

fn overlap(a: &PoolSpec, b: &PoolSpec) -> bool {
    a.subnet.contains(&b.subnet) || b.subnet.contains(&a.subnet)
}

/// All subnets of the network are one link: those that an endpoint has no address in it reaches
/// without a router.
fn other_subnets(network: &NetworkSpec, endpoint: &EndpointSpec) -> Vec<Object> {
    let beside = |pool: &&PoolSpec| {
        let mut addresses = endpoint.addresses.iter();
        let family = Family::of(pool.subnet.addr());
        endpoint.address(family).is_some()
            && !addresses.any(|addr| pool.subnet.contains(&addr.addr()))
    };
    let route = |pool: &PoolSpec| {
        Object::Route(Route {
            netns: Netns::Sandbox(endpoint.sandbox),
            dst: pool.subnet.trunc(),
            kind: RouteKind::Unicast,
            via: None,
            link: Some(endpoint.ifname.clone()),
            metric: 0,
            mtu: None,
        })
    };
    let pools = network.ipam.pools.iter();
    pools.filter(beside).map(route).collect()
}

#[cfg(test)]
mod tests;
