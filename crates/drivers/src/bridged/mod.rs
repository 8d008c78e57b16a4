//! What drivers share whose endpoints are ports of a bridge.
//!
//! Owns the checks of such networks and endpoints, and what an endpoint's interface consists of.
//! Which bridge, where it lies and what else a network has are its driver's.

mod endpoint;
mod interface;
mod mtu;
mod pool;

pub(crate) use endpoint::EndpointOptions;
pub(crate) use interface::{Port, plan};
pub(crate) use mtu::{MTU, fits_ipv6, read_mtu};
pub(crate) use pool::validate_pool;

use crate::DriverContext;
use vw_model::{EndpointSettings, Error, Family, Kind, NetworkSpec, Result};

/// `BR_MAX_PORTS` less the one number that is no port (`net/bridge/br_private.h`).
pub(crate) const MAX_PORTS: u32 = 1023;

/// Both families, and whether the network has them.
pub(crate) const fn families(network: &NetworkSpec) -> [(Family, bool); 2] {
    [
        (Family::V4, network.enable_ipv4),
        (Family::V6, network.enable_ipv6),
    ]
}

/// A network has a family, and none that the kernel lacks.
pub(crate) fn validate_families(network: &NetworkSpec, cx: &DriverContext) -> Result<()> {
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
    Ok(())
}

/// Says that a network has no pool of a family that it has.
pub(crate) fn pool_missing(network: &NetworkSpec, family: Family) -> Error {
    let version = if family == Family::V4 { "ipv4" } else { "ipv6" };
    Error::invalid(
        "pool-missing",
        format!(
            "{version} pool is empty: network {} needs one",
            network.name
        ),
    )
}

/// Checks what is asked for an endpoint; `of` names its kind.
pub(crate) fn validate_endpoint(settings: &EndpointSettings, of: &str) -> Result<()> {
    if let Some(mac) = settings.mac.filter(|mac| !mac.is_unicast()) {
        let sentence = format!("invalid MAC address: {mac}: an interface needs a unicast one");
        return Err(Error::invalid("mac-invalid", sentence));
    }
    let mut link_local = settings.link_local.iter();
    if let Some(addr) = link_local.find(|addr| addr.is_unspecified()) {
        let sentence = format!("invalid link-local IP address: {addr}");
        return Err(Error::invalid("link-local-invalid", sentence));
    }
    EndpointOptions::read(&settings.driver_opts, of).map(|_| ())
}
