//! Requests held against what stands, before anything is recorded.

use crate::registry::Network;
use std::net::IpAddr;
use vw_model::{EndpointSettings, Error, Family, Kind, Result};

/// Whether what is asked for an endpoint can be had on this network.
///
/// # Errors
/// `InvalidArgument` with Docker's sentences.
pub(crate) fn settings(network: &Network, settings: &EndpointSettings) -> Result<()> {
    let name = &network.spec.name;
    let refuse = |why: String| {
        Error::invalid(
            "endpoint-settings-invalid",
            format!("invalid config for network {name}: invalid endpoint settings:\n{why}"),
        )
    };
    if network.is_gateway_bridge() {
        let message = format!(
            "network {name} is joined by itself: by what is on networks that lead nowhere else"
        );
        return Err(Error::new(Kind::Forbidden, "gateway-bridge", message));
    }
    let requested = [settings.ipv4.map(IpAddr::V4), settings.ipv6.map(IpAddr::V6)];
    for addr in requested.into_iter().flatten() {
        let mut pools = network
            .spec
            .pools(Family::of(addr))
            .filter(|pool| pool.given)
            .peekable();
        if network.spec.predefined {
            let why =
                "user specified IP address is supported on user defined networks only".to_owned();
            return Err(refuse(why));
        }
        if pools.peek().is_none() {
            let why = "user specified IP address is supported only when connecting to networks with user configured subnets";
            return Err(refuse(why.to_owned()));
        }
        if !pools.any(|pool| pool.subnet.contains(&addr)) {
            return Err(refuse(format!(
                "no configured subnet or ip-range contain the IP address {addr}"
            )));
        }
    }
    if settings.mac.is_some_and(|mac| !mac.is_unicast()) {
        return Err(refuse(
            "invalid MAC address: it is a multicast or an empty one".to_owned(),
        ));
    }
    if network.spec.predefined && !settings.aliases.is_empty() {
        let message =
            "network-scoped alias is supported only for containers in user defined networks";
        return Err(Error::invalid("alias-on-predefined", message));
    }
    network.driver.validate_endpoint(&network.spec, settings)?;
    if let Some(addr) = settings.link_local.first() {
        return Err(refuse(format!(
            "a link-local address ({addr}) is not supported: leave out --link-local-ip"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
