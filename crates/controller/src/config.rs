//! What the daemon was told at its start.

use std::{net::IpAddr, path::PathBuf, time::Duration};
use vw_ipam::DefaultPools;
use vw_model::{IfName, IpNet, Options};

/// The daemon's settings, checked by whoever read them.
#[derive(Debug, Clone)]
pub struct Config {
    /// `--data-root`.
    pub data_root: PathBuf,
    /// `--exec-root`.
    pub exec_root: PathBuf,
    /// `--default-address-pool`, or Docker's.
    pub pools: DefaultPools,
    /// The predefined `bridge` network; `None` for `--bridge none`.
    pub bridge: Option<BridgeConfig>,
    /// `--default-network-opt bridge=KEY=VALUE`.
    pub network_options: Options,
    /// What drivers need to know besides.
    pub drivers: vw_drivers::DriverContext,
    /// `--ip-forward`: switch forwarding on where it is off.
    pub ip_forward: bool,
    /// Nobody else has a bridge here: bridged packets are kept from the IP hooks.
    pub owns_bridge_netfilter: bool,
    /// `--dns`, `--dns-search`, `--dns-opt` for containers that say nothing.
    pub dns: vw_model::DnsSettings,
    /// `--host-gateway-ip`.
    pub host_gateway: Vec<IpAddr>,
    /// Bits of the packet mark for other firewalls; 0 sets none.
    pub accept_mark: u32,
    /// Whether another firewall's place gets our rule, or a warning tells it.
    pub adjust_foreign: bool,
    /// The host's resolver file.
    pub resolv_conf: PathBuf,
    /// How long other hosts' word against a port of a service is waited for, and then for that they take it
    /// back: many times what it takes to come, and not longer than people notice.
    /// Zero asks nobody.
    pub hears_out: Duration,
    /// The daemon's labels.
    pub labels: Options,
    /// `--debug`.
    pub debug: bool,
}

/// The predefined `bridge` network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BridgeConfig {
    /// `--bridge`: a bridge of somebody else's to stand on, whose addresses are the next two.
    pub name: Option<IfName>,
    /// `--bip`: the bridge's address and subnet.
    pub bip: Option<IpNet>,
    /// `--bip6`.
    pub bip6: Option<IpNet>,
    /// `--fixed-cidr`.
    pub fixed_cidr: Option<IpNet>,
    /// `--fixed-cidr-v6`.
    pub fixed_cidr6: Option<IpNet>,
    /// `--default-gateway`.
    pub gateway: Option<IpAddr>,
    /// `--default-gateway-v6`.
    pub gateway6: Option<IpAddr>,
    /// `--ipv6`.
    pub ipv6: bool,
}
