//! The networks of a container: several `--network`, and flags that mean the first.

use crate::cli::endpoint::{Endpoint, network_option};
use clap::Args;
use serde_json::{Map, Value};

/// Flags about networks.
#[derive(Debug, Default, Args)]
pub(super) struct Networks {
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip: String,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip6: String,
    /// Add link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(
        long,
        value_name = "MAC",
        default_value = "",
        hide_default_value = true
    )]
    mac_address: String,
    /// Connect a container to a network, or to several
    #[arg(long, visible_alias = "net", value_name = "NETWORK|name=NETWORK,ip=…,alias=…",
          value_parser = network_option)]
    network: Vec<(String, Endpoint)>,
    /// Add network-scoped alias for the container
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
}

/// Networks as the API takes them.
#[derive(Debug)]
pub(super) struct Parsed {
    /// `HostConfig.NetworkMode`.
    pub(super) mode: String,
    /// `HostConfig.Links`.
    pub(super) links: Vec<String>,
    /// `NetworkingConfig.EndpointsConfig`.
    pub(super) endpoints: Map<String, Value>,
}

impl Networks {
    /// Reads all of them.
    ///
    /// # Errors
    /// Docker's sentences for what contradicts.
    pub(super) fn parse(&self) -> Result<Parsed, String> {
        let mut networks = self.network.clone();
        if networks.is_empty() {
            networks.push(("default".to_owned(), Endpoint::default()));
        }
        let several = networks.len() > 1;
        let mode = networks[0].0.clone();
        self.apply_to_first(&mut networks[0].1, is_user_defined(&mode))?;
        let mut endpoints = Map::new();
        for (network, endpoint) in networks {
            let alone = network == "host" || network == "none" || network.starts_with("container:");
            if alone && several {
                return Err(format!(
                    "conflicting options: cannot attach both user-defined and \
                     non-user-defined network-modes: {network}"
                ));
            }
            if alone {
                continue;
            }
            if !is_user_defined(&network) && !endpoint.aliases.is_empty() {
                return Err(format!(
                    "network-scoped aliases are only supported for user-defined networks: {network}"
                ));
            }
            if endpoints
                .insert(network.clone(), endpoint.to_json())
                .is_some()
            {
                return Err(format!("network {network:?} is specified multiple times"));
            }
        }
        Ok(Parsed {
            mode,
            links: self.link.clone(),
            endpoints,
        })
    }

    /// Flags that name no network mean the first; each can be said in one place only.
    fn apply_to_first(&self, endpoint: &mut Endpoint, user_defined: bool) -> Result<(), String> {
        let conflict = |flag: &str, what: &str| {
            Err(format!(
                "conflicting options: cannot specify both --{flag} and per-network {what}"
            ))
        };
        if !self.network_alias.is_empty() {
            if !endpoint.aliases.is_empty() {
                return conflict("network-alias", "alias");
            }
            endpoint.aliases.clone_from(&self.network_alias);
        }
        if user_defined {
            endpoint.links.clone_from(&self.link);
        }
        for (given, place, flag, what) in [
            (&self.ip, &mut endpoint.ip, "ip", "IPv4 address"),
            (&self.ip6, &mut endpoint.ip6, "ip6", "IPv6 address"),
            (
                &self.mac_address,
                &mut endpoint.mac,
                "mac-address",
                "MAC address",
            ),
        ] {
            if given.is_empty() {
                continue;
            }
            if !place.is_empty() {
                return conflict(flag, what);
            }
            place.clone_from(given);
        }
        if !self.link_local_ip.is_empty() {
            if !endpoint.link_local.is_empty() {
                return conflict("link-local-ip", "link-local IP addresses");
            }
            endpoint.link_local.clone_from(&self.link_local_ip);
        }
        Ok(())
    }
}

fn is_user_defined(network: &str) -> bool {
    !matches!(network, "default" | "bridge" | "host" | "none") && !network.starts_with("container:")
}
