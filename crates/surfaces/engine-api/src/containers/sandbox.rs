//! Host name, resolver, hosts, ports and labels of a create request.

use super::{
    config::{Config, HostConfig},
    ports,
};
use crate::errors::ApiError;
use std::net::IpAddr;
use vw_controller::command::SandboxRequest;
use vw_model::{DnsSettings, HostEntry};

/// What a container asks for its sandbox, but for its networks.
///
/// # Errors
/// 400 with Docker's sentences.
pub(super) fn request(config: &Config, host: &HostConfig) -> Result<SandboxRequest, ApiError> {
    let (extra_hosts, host_gateway_names) =
        extra_hosts(host.extra_hosts.iter().flatten().map(String::as_str))?;
    Ok(SandboxRequest {
        hostname: Some(config.hostname.clone()).filter(|name| !name.is_empty()),
        domainname: config.domainname.clone(),
        dns: dns(&host.dns, &host.dns_search, &host.dns_options)?,
        extra_hosts,
        host_gateway_names,
        ports: ports::requests(&host.port_bindings)?,
        exposed: ports::exposed(&config.exposed_ports, &host.port_bindings)?,
        publish_all: host.publish_all_ports,
        labels: config.labels.clone(),
        networks: Vec::new(),
    })
}

/// `Dns`, `DnsSearch` and `DnsOptions`.
///
/// # Errors
/// 400 for a server that is no address.
pub(crate) fn dns(
    servers: &Option<Vec<String>>,
    search: &Option<Vec<String>>,
    options: &Option<Vec<String>>,
) -> Result<DnsSettings, ApiError> {
    let server = |text: &String| {
        text.parse().map_err(|_| {
            ApiError::bad_request(format!("bad nameserver address {text}: use an IP address"))
        })
    };
    Ok(DnsSettings {
        servers: servers
            .iter()
            .flatten()
            .map(server)
            .collect::<Result<_, _>>()?,
        search: search.clone().unwrap_or_default(),
        options: options.clone().unwrap_or_default(),
    })
}

/// `NAME:ADDRESS` entries, and the names that are to find the host's gateway
/// (`NAME:host-gateway`), whose address the daemon knows.
///
/// # Errors
/// 400 with Docker's sentences.
pub(crate) fn extra_hosts<'a>(
    entries: impl Iterator<Item = &'a str>,
) -> Result<(Vec<HostEntry>, Vec<String>), ApiError> {
    let (mut hosts, mut gateways) = (Vec::new(), Vec::new());
    for entry in entries {
        let (name, addr) = entry
            .split_once([':', '='])
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| ApiError::bad_request(format!("bad format for add-host: {entry:?}")))?;
        if addr == "host-gateway" {
            gateways.push(name.to_owned());
            continue;
        }
        let bare = addr
            .strip_prefix('[')
            .and_then(|addr| addr.strip_suffix(']'))
            .unwrap_or(addr);
        let addr: IpAddr = bare.parse().map_err(|_| {
            ApiError::bad_request(format!("invalid IP address in add-host: {addr:?}"))
        })?;
        hosts.push(HostEntry {
            name: name.to_owned(),
            addr,
        });
    }
    Ok((hosts, gateways))
}
