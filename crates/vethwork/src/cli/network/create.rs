//! `network create`: flags into the API's body.

use crate::cli::grammar;
use clap::Args;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use vw_model::IpNet;

/// `network create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by the network
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = grammar::full_pair)]
    aux_address: Vec<(String, String)>,
    /// The network from which to copy the configuration
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the network
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 gateway for the subnet
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway: Vec<String>,
    /// Create a swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container addresses from a sub-range
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// IP address management driver
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long, value_name = "KEY=VALUE", value_parser = grammar::pair)]
    ipam_opt: Vec<(String, String)>,
    /// Enable or disable IPv4 address assignment (--ipv4=false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = grammar::truth)]
    ipv4: Option<bool>,
    /// Enable or disable IPv6 address assignment
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = grammar::truth)]
    ipv6: Option<bool>,
    /// Set metadata on a network
    #[arg(long, value_name = "KEY=VALUE", value_parser = grammar::pair)]
    label: Vec<(String, String)>,
    /// Set driver specific options
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = grammar::pair)]
    opt: Vec<(String, String)>,
    /// Control the network's scope
    #[arg(
        long,
        value_name = "SCOPE",
        default_value = "",
        hide_default_value = true
    )]
    scope: String,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    subnet: Vec<String>,
    /// Its name
    network: String,
}

impl Create {
    /// The body of `POST /networks/create`.
    ///
    /// # Errors
    /// Docker's sentences for ranges and addresses that belong to no subnet.
    pub(super) fn body(&self) -> Result<Value, String> {
        let mut body = json!({
            "Name": self.network,
            "Driver": self.driver,
            "Scope": self.scope,
            "IPAM": {
                "Driver": self.ipam_driver,
                "Options": object(&self.ipam_opt),
                "Config": self.pools()?,
            },
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Ingress": self.ingress,
            "ConfigOnly": self.config_only,
            "Options": object(&self.opt),
            "Labels": object(&self.label),
        });
        if let Some(ipv4) = self.ipv4 {
            body["EnableIPv4"] = ipv4.into();
        }
        if let Some(ipv6) = self.ipv6 {
            body["EnableIPv6"] = ipv6.into();
        }
        if let Some(network) = &self.config_from {
            body["ConfigFrom"] = json!({ "Network": network });
        }
        Ok(body)
    }

    /// Every subnet with what lies in it, as the docker CLI sorts them out.
    fn pools(&self) -> Result<Vec<Value>, String> {
        if self.subnet.len() < self.ip_range.len() || self.subnet.len() < self.gateway.len() {
            return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
        }
        let mut pools = Vec::new();
        for text in &self.subnet {
            let subnet: IpNet = text
                .parse()
                .map_err(|_| format!("invalid subnet {text}: invalid CIDR block notation"))?;
            let overlaps = |pool: &Pool| {
                pool.subnet.contains(&subnet.network()) || subnet.contains(&pool.subnet.network())
            };
            if pools.iter().any(overlaps) {
                return Err("multiple overlapping subnets not supported".to_owned());
            }
            pools.push(Pool {
                text,
                subnet,
                range: None,
                gateway: None,
                aux: Map::new(),
            });
        }
        for range in &self.ip_range {
            let net: Option<IpNet> = range.parse().ok();
            let pool = find(&mut pools, net.map(|net| net.addr()), "range", range)?;
            once(&mut pool.range, range, "ranges", pool.text)?;
        }
        for gateway in &self.gateway {
            let pool = find(&mut pools, gateway.parse().ok(), "gateway", gateway)?;
            once(&mut pool.gateway, gateway, "gateways", pool.text)?;
        }
        for (name, address) in &self.aux_address {
            let pool = find(&mut pools, address.parse().ok(), "aux-address", address)?;
            pool.aux.insert(name.clone(), address.clone().into());
        }
        Ok(pools.into_iter().map(Pool::into_json).collect())
    }
}

struct Pool<'a> {
    text: &'a str,
    subnet: IpNet,
    range: Option<&'a str>,
    gateway: Option<&'a str>,
    aux: Map<String, Value>,
}

impl Pool<'_> {
    fn into_json(self) -> Value {
        let mut config = Map::new();
        config.insert("Subnet".to_owned(), self.text.into());
        if let Some(range) = self.range {
            config.insert("IPRange".to_owned(), range.into());
        }
        if let Some(gateway) = self.gateway {
            config.insert("Gateway".to_owned(), gateway.into());
        }
        if !self.aux.is_empty() {
            config.insert("AuxiliaryAddresses".to_owned(), self.aux.into());
        }
        config.into()
    }
}

/// The subnet that an address lies in.
fn find<'p, 'a>(
    pools: &'p mut [Pool<'a>],
    address: Option<IpAddr>,
    what: &str,
    text: &str,
) -> Result<&'p mut Pool<'a>, String> {
    let matching = |pool: &&mut Pool<'_>| address.is_some_and(|addr| pool.subnet.contains(&addr));
    pools
        .iter_mut()
        .find(matching)
        .ok_or_else(|| format!("no matching subnet for {what} {text}"))
}

fn once<'a>(
    place: &mut Option<&'a str>,
    text: &'a str,
    what: &str,
    subnet: &str,
) -> Result<(), String> {
    match place.replace(text) {
        None => Ok(()),
        Some(first) => Err(format!(
            "cannot configure multiple {what} ({text}, {first}) on the same subnet ({subnet})"
        )),
    }
}

fn object(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect()
}
