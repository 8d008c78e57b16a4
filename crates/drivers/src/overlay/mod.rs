//! The driver `overlay`: one network over many hosts, in VXLAN.
//!
//! Owns Docker's options of overlay networks and what each makes on a host: a namespace with a
//! bridge and a tunnel, and what the tunnel is told of other hosts. Who those are, the network's
//! number and the way out of it are the cluster's and the gateway bridge's.

mod encryption;
mod network;
mod options;
mod remote;

use crate::{
    AttachmentPlan, Capabilities, Driver, DriverContext, Place, Underlay,
    bridged::{self, EndpointOptions, MAX_PORTS, Port},
};
pub use encryption::{plan_tunnel, tunnel_link, tunnel_mtu};
use options::OverlayOptions;
pub use options::clear_mtu;
use vw_hoststate::{Fragment, LinkKind, Netns, Object, Route, RouteKind};
use vw_model::{
    EndpointSettings, EndpointSpec, Error, Family, IfName, Kind, NetworkSpec, PoolSpec,
    RemoteEndpoint, RemoteHost, Result, Scope,
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
        OverlayOptions::read(network, underlay(network, cx)?).map(|_| ())
    }

    fn validate_endpoint(&self, _network: &NetworkSpec, settings: &EndpointSettings) -> Result<()> {
        bridged::validate_endpoint(settings, ENDPOINT)
    }

    fn interface_name(&self, settings: &EndpointSettings) -> Result<Option<IfName>> {
        EndpointOptions::read(&settings.driver_opts, ENDPOINT).map(|options| options.ifname)
    }

    fn plan_network(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<Fragment> {
        let underlay = underlay(network, cx)?;
        let options = OverlayOptions::read(network, underlay)?;
        network::plan(network, &options, cx)
    }

    fn plan_attachment(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        cx: &DriverContext,
    ) -> Result<AttachmentPlan> {
        let options = OverlayOptions::read(network, underlay(network, cx)?)?;
        let asked = EndpointOptions::read(&endpoint.settings.driver_opts, ENDPOINT)?;
        let port = Port {
            netns: Netns::Network(network.id),
            bridge: network::bridge_name()?,
            mtu: options.mtu,
            isolated: false,
            hairpin: false,
        };
        let mut fragment = bridged::plan(&port, &asked, endpoint, cx);
        fragment.extend(other_subnets(network, endpoint));
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
        let options = OverlayOptions::read(network, underlay(network, cx)?)?;
        remote::endpoint(network, remote, &options.way)
    }

    fn plan_peer(
        &self,
        network: &NetworkSpec,
        peer: &RemoteHost,
        cx: &DriverContext,
    ) -> Result<Fragment> {
        let underlay = underlay(network, cx)?;
        let options = OverlayOptions::read(network, underlay)?;
        remote::host(network, &options, peer)
    }

    fn plan_shared(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<Fragment> {
        let underlay = underlay(network, cx)?;
        let way = OverlayOptions::read(network, underlay)?.way;
        match (way.encrypted, underlay.inner) {
            (true, Some(inner)) => plan_tunnel(inner, way.mtu, LinkKind::Tun),
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

    fn companion(&self, network: &NetworkSpec) -> bool {
        !network.internal
    }
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
        })
    };
    let pools = network.ipam.pools.iter();
    pools.filter(beside).map(route).collect()
}

#[cfg(test)]
mod tests;
