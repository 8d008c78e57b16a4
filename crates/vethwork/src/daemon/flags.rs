//! The daemon's directives: one structure for flags and file, with dockerd's names.
//!
//! Owns names and grammar; whether values go together is for [`super::settings`].

use crate::cli::truth;
use clap::Args;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{collections::BTreeMap, path::PathBuf};
use vw_model::Options;

/// What stands on the command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// Daemon configuration file [default: /etc/vethwork/daemon.json, which need not be there]
    #[arg(long, value_name = "FILE")]
    pub(super) config_file: Option<PathBuf>,
    /// Validate daemon configuration and exit
    #[arg(long)]
    pub(super) validate: bool,
    #[command(flatten)]
    pub(super) directives: Directives,
}

/// What flags and the file can say; `None` and empty where they do not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Directives {
    /// `none` for no default network; a bridge of somebody else's is refused
    #[arg(short, long, value_name = "NAME")]
    pub(super) bridge: Option<String>,
    /// IPv4 address for the default bridge, in CIDR format
    #[arg(long, value_name = "CIDR")]
    pub(super) bip: Option<String>,
    /// IPv6 address for the default bridge, in CIDR format
    #[arg(long, value_name = "CIDR")]
    pub(super) bip6: Option<String>,
    /// Address of this daemon in its cluster
    #[arg(long, value_name = "ADDRESS|INTERFACE[:PORT]")]
    pub(super) cluster_advertise: Option<String>,
    /// URL of the cluster's store; none to leave a cluster
    #[arg(long, value_name = "URL")]
    pub(super) cluster_store: Option<String>,
    /// Options of the cluster's store
    #[arg(long = "cluster-store-opt", value_name = "KEY=VALUE", value_parser = secret_pair)]
    #[serde(with = "pairs", rename = "cluster-store-opts")]
    pub(super) cluster_store_opt: Vec<(String, String)>,
    /// Root directory of persistent state [default: /var/lib/vethwork]
    #[arg(long, value_name = "DIR")]
    pub(super) data_root: Option<PathBuf>,
    /// Enable debug mode
    #[arg(short = 'D', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) debug: Option<bool>,
    /// Default address pools for local networks (base=CIDR,size=N)
    #[arg(long = "default-address-pool", value_name = "base=CIDR,size=N", value_parser = AddressPool::parse)]
    #[serde(rename = "default-address-pools")]
    pub(super) default_address_pool: Vec<AddressPool>,
    /// Container default gateway IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub(super) default_gateway: Option<String>,
    /// Container default gateway IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub(super) default_gateway_v6: Option<String>,
    /// Default network options (driver=KEY=VALUE)
    #[arg(long = "default-network-opt", value_name = "DRIVER=KEY=VALUE", value_parser = NetworkOption::parse)]
    #[serde(with = "network_options", rename = "default-network-opts")]
    pub(super) default_network_opt: Vec<NetworkOption>,
    /// DNS server to use
    #[arg(long, value_name = "ADDRESS")]
    pub(super) dns: Vec<String>,
    /// DNS options to use
    #[arg(long, value_name = "OPTION")]
    #[serde(rename = "dns-opts")]
    pub(super) dns_opt: Vec<String>,
    /// DNS search domains to use
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// Serve Docker's remote driver protocol
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "/run/docker/plugins/vethwork.sock")]
    pub(super) docker_plugin: Option<PathBuf>,
    /// Root directory of what a reboot makes void [default: /run/vethwork]
    #[arg(long, value_name = "DIR")]
    pub(super) exec_root: Option<PathBuf>,
    /// IPv4 subnet for the default bridge's containers
    #[arg(long, value_name = "CIDR")]
    pub(super) fixed_cidr: Option<String>,
    /// IPv6 subnet for the default bridge's containers
    #[arg(long, value_name = "CIDR")]
    pub(super) fixed_cidr_v6: Option<String>,
    /// Firewall back end: nftables, iptables or none [default: nftables]
    #[arg(long, value_name = "NAME")]
    pub(super) firewall_backend: Option<String>,
    /// Where another firewall drops what we forward: adjust it by one tagged rule, or warn [default: adjust]
    #[arg(long, value_name = "adjust|warn")]
    pub(super) foreign_firewall: Option<String>,
    /// Group for the unix socket [default: vethwork]
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// Daemon socket(s) to listen on [default: unix:///run/vethwork/vethwork.sock]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    #[serde(rename = "hosts")]
    pub(super) host: Vec<String>,
    /// What host-gateway means in --add-host [default: the default bridge's addresses]
    #[arg(long, value_name = "ADDRESS")]
    #[serde(
        rename = "host-gateway-ips",
        alias = "host-gateway-ip",
        deserialize_with = "one_or_several"
    )]
    pub(super) host_gateway_ip: Vec<String>,
    /// Inter-container communication on the default network (--icc=false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) icc: Option<bool>,
    /// Host address for port publishing on the default network [default: every address]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<String>,
    /// Switch IP forwarding on (--ip-forward=false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) ip_forward: Option<bool>,
    /// Masquerade what leaves the default network (--ip-masq=false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) ip_masq: Option<bool>,
    /// IPv6 firewall rules, whatever the back end (--ip6tables=false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) ip6tables: Option<bool>,
    /// Firewall rules, whatever the back end (--iptables=false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) iptables: Option<bool>,
    /// IPv6 on the default network
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) ipv6: Option<bool>,
    /// Labels of the daemon
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(rename = "labels")]
    pub(super) label: Vec<String>,
    /// Containers live on while the daemon is down: always so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) live_restore: Option<bool>,
    /// Logging level: debug, info, warn, error or fatal [default: info]
    #[arg(short, long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// Address for metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) metrics_addr: Option<String>,
    /// MTU of networks that name none [default: that of the host's default route]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub(super) mtu: Option<i64>,
    /// File for the daemon's process id [default: none]
    #[arg(short, long, value_name = "FILE")]
    pub(super) pidfile: Option<PathBuf>,
    /// Accepted: published ports need no proxy
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth)]
    pub(super) userland_proxy: Option<bool>,
}

/// `--default-address-pool`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddressPool {
    /// The range.
    pub(super) base: String,
    /// The prefix length of the subnets taken from it.
    pub(super) size: u8,
}

impl AddressPool {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut base, mut size) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("base", value)) => base = Some(value.to_owned()),
                Some(("size", value)) => {
                    size = Some(
                        value
                            .parse()
                            .map_err(|_| format!("invalid size value: {value}"))?,
                    );
                }
                _ => return Err(format!("unexpected key or format in '{field}'")),
            }
        }
        match (base, size) {
            (Some(base), Some(size)) => Ok(Self { base, size }),
            _ => Err(format!("{text} must have both base=CIDR and size=N")),
        }
    }
}

/// `--default-network-opt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetworkOption {
    /// The driver whose networks get it.
    pub(super) driver: String,
    /// The option.
    pub(super) key: String,
    /// Its value.
    pub(super) value: String,
}

impl NetworkOption {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '=').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(driver), Some(key), Some(value)) if !driver.is_empty() && !key.is_empty() => {
                Ok(Self { driver, key, value })
            }
            _ => Err("invalid network options: use driver=key=value".to_owned()),
        }
    }
}

/// `KEY=VALUE` whose value may be a secret. What is not of that form has no key, and is refused
/// later: what is refused here is shown.
#[expect(clippy::unnecessary_wraps, reason = "a parser may fail")]
fn secret_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or(("", ""));
    Ok((key.to_owned(), value.to_owned()))
}

/// Pairs, a map in the file.
mod pairs {
    use super::{Deserialize, Deserializer, Options, Serializer};

    pub(super) fn serialize<S: Serializer>(
        pairs: &[(String, String)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, String)>, D::Error> {
        Ok(Options::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Network options, a map of maps in the file.
mod network_options {
    use super::{
        BTreeMap, Deserialize, Deserializer, NetworkOption, Options, Serialize, Serializer,
    };

    pub(super) fn serialize<S: Serializer>(
        options: &[NetworkOption],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut drivers = BTreeMap::<&str, BTreeMap<&str, &str>>::new();
        for NetworkOption { driver, key, value } in options {
            drivers.entry(driver).or_default().insert(key, value);
        }
        drivers.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<NetworkOption>, D::Error> {
        let drivers = BTreeMap::<String, Options>::deserialize(deserializer)?;
        let options = drivers.into_iter().flat_map(|(driver, options)| {
            options.into_iter().map(move |(key, value)| NetworkOption {
                driver: driver.clone(),
                key,
                value,
            })
        });
        Ok(options.collect())
    }
}

/// A list, or what older versions of dockerd took: one text.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(text) => vec![text],
        Either::Several(list) => list,
    })
}
