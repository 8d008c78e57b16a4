//! `HostConfig.NetworkMode` and `NetworkingConfig` into the networks of a sandbox.

use super::config::{Config, HostConfig, NetworkingConfig};
use crate::{endpoint::EndpointSettings, errors::ApiError, version::ApiVersion};
use std::collections::BTreeMap;
use vw_controller::command::NetworkMode;
use vw_model::EndpointSettings as Settings;

/// The predefined network that a container joins when nothing was said.
const DEFAULT: &str = "bridge";

/// Whose namespace a container uses, and its networks in order.
#[derive(Debug)]
pub(super) struct Networks {
    /// Whose namespace.
    pub(super) mode: NetworkMode,
    /// The mode as it is echoed.
    pub(super) text: String,
    /// The networks: the one that the mode names, then the others by name.
    pub(super) list: Vec<(String, Settings)>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// Reads the mode and its endpoints.
///
/// # Errors
/// 400 with Docker's sentences for what contradicts.
pub(super) fn networks(
    config: &Config,
    host: &HostConfig,
    networking: NetworkingConfig,
    version: ApiVersion,
) -> Result<Networks, ApiError> {
    let text = match host.network_mode.as_str() {
        "" | "default" => DEFAULT.to_owned(),
        text => text.to_owned(),
    };
    let mode = match text.as_str() {
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        text => match text.strip_prefix("container:") {
            Some("") => {
                return Err(ApiError::bad_request(
                    "Invalid network mode: invalid container format container:<name|id>",
                ));
            }
            Some(other) => NetworkMode::Container(other.to_owned()),
            None => NetworkMode::Networks,
        },
    };
    check_conflicts(&mode, config, host)?;
    let mut endpoints = named_endpoints(networking, &text, version);
    if version < ApiVersion::v1(44) && endpoints.len() > 1 {
        let names: Vec<_> = endpoints.into_keys().collect();
        return Err(ApiError::bad_request(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    let warnings = container_wide_mac(config, &mode, &text, &mut endpoints, version)?;
    if mode == NetworkMode::Networks {
        let list = ordered(endpoints, &text, version)?;
        return Ok(Networks {
            mode,
            text,
            list,
            warnings,
        });
    }
    endpoints.remove(&text);
    if !endpoints.is_empty() {
        return Err(ApiError::bad_request(shared_sentence(&mode)));
    }
    Ok(Networks {
        mode,
        text,
        list: Vec::new(),
        warnings,
    })
}

/// Endpoints by network; `default` is the default network, `null` asks for nothing.
fn named_endpoints(
    networking: NetworkingConfig,
    mode: &str,
    version: ApiVersion,
) -> BTreeMap<String, EndpointSettings> {
    let endpoints = networking.endpoints_config.into_iter();
    endpoints
        .map(|(name, endpoint)| {
            let name = if name == "default" {
                mode.to_owned()
            } else {
                name
            };
            (name, endpoint.unwrap_or_default().limited_to(version))
        })
        .collect()
}

/// The mode's own network first, then the others. Before API 1.44 the one endpoint given is
/// meant for the mode's network, whatever it is called by.
fn ordered(
    mut endpoints: BTreeMap<String, EndpointSettings>,
    first: &str,
    version: ApiVersion,
) -> Result<Vec<(String, Settings)>, ApiError> {
    let own = if version < ApiVersion::v1(44) {
        endpoints.pop_first().map(|(_, endpoint)| endpoint)
    } else {
        endpoints.remove(first)
    };
    let own = own.unwrap_or_default().into_model()?;
    let mut list = vec![(first.to_owned(), own)];
    for (name, endpoint) in endpoints {
        list.push((name, endpoint.into_model()?));
    }
    Ok(list)
}

/// `Config.MacAddress`, which API 1.44 moved to the endpoint (`handleMACAddressBC` in moby).
fn container_wide_mac(
    config: &Config,
    mode: &NetworkMode,
    network: &str,
    endpoints: &mut BTreeMap<String, EndpointSettings>,
    version: ApiVersion,
) -> Result<Vec<String>, ApiError> {
    let mac = &config.mac_address;
    if mac.is_empty() {
        return Ok(Vec::new());
    }
    let legacy = version < ApiVersion::v1(44);
    if *mode != NetworkMode::Networks {
        if legacy {
            let message = "conflicting options: mac-address and the network mode";
            return Err(ApiError::bad_request(message));
        }
    } else if endpoints.is_empty() || legacy || endpoints.contains_key(network) {
        // An old client's one endpoint is the network's, whatever it calls it.
        let first = endpoints.keys().next().filter(|_| legacy);
        let name = first.cloned().unwrap_or_else(|| network.to_owned());
        let endpoint = endpoints.entry(name).or_default();
        if !endpoint.mac_address.is_empty() && endpoint.mac_address != *mac {
            return Err(ApiError::bad_request(
                "the container-wide MAC address must match the endpoint-specific MAC address \
                 for the main network, or be left empty",
            ));
        }
        endpoint.mac_address.clone_from(mac);
    } else {
        return Err(ApiError::bad_request(
            "unable to migrate container-wide MAC address to a specific network: \
             HostConfig.NetworkMode must match the identity of a network in \
             NetworkSettings.Networks",
        ));
    }
    if legacy {
        return Ok(Vec::new());
    }
    Ok(vec![
        "The container-wide MacAddress field is now deprecated. It should be specified in \
         EndpointsConfig instead."
            .to_owned(),
    ])
}

const fn shared_sentence(mode: &NetworkMode) -> &'static str {
    match mode {
        NetworkMode::None => {
            "container cannot be connected to multiple networks with one of the networks in \
             private (none) mode"
        }
        _ => {
            "container sharing network namespace with another container or host cannot be \
             connected to any other network"
        }
    }
}

/// What a mode rules out (`validateNetMode` in moby's `runconfig`).
fn check_conflicts(mode: &NetworkMode, config: &Config, host: &HostConfig) -> Result<(), ApiError> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let shared = matches!(mode, NetworkMode::Container(_));
    let host_mode = *mode == NetworkMode::Host;
    let conflicts = [
        (
            shared && !config.hostname.is_empty(),
            "hostname and the network mode",
        ),
        (
            shared && some(&host.links),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (
            host_mode && some(&host.links),
            "host type networking can't be used with links. This would result in undefined behavior",
        ),
        (shared && some(&host.dns), "dns and the network mode"),
        (
            shared && some(&host.extra_hosts),
            "custom host-to-IP mapping and the network mode",
        ),
        (
            shared && (!host.port_bindings.is_empty() || host.publish_all_ports),
            "port publishing and the container type network mode",
        ),
        (
            shared && !config.exposed_ports.is_empty(),
            "port exposing and the container type network mode",
        ),
    ];
    match conflicts.iter().find(|(conflict, _)| *conflict) {
        Some((_, what)) => Err(ApiError::bad_request(format!(
            "conflicting options: {what}"
        ))),
        None => Ok(()),
    }
}
