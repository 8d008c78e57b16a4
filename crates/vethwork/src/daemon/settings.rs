//! What the daemon was told, checked and typed.
//!
//! Pure: nothing here reads the host. What flags and file say together is refused here, by name,
//! where it cannot be or has no effect yet.

use super::{
    cluster::{self, ClusterSettings},
    flags::Directives,
    values,
};
pub(crate) use crate::client::Host as HostAddr;
use std::{net::IpAddr, path::PathBuf};
use tracing::Level;
use vw_controller::BridgeConfig;
use vw_ipam::DefaultPool;
use vw_model::Options;

/// The bit of the packet mark that tells other firewalls' rules what we let pass. Others are known
/// to use the lower half (Kubernetes 0x4000 and 0x8000, Calico, Cilium).
const ACCEPT_MARK: u32 = 0x4000_0000;
/// Whose members may use the socket.
const GROUP: &str = "vethwork";
/// Everything that the daemon is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DaemonSettings {
    /// `--host`, at least one.
    pub(crate) hosts: Vec<HostAddr>,
    /// `--group`, for sockets that the daemon makes itself; empty for none.
    pub(crate) group: Option<String>,
    /// `--data-root`, absolute.
    pub(crate) data_root: PathBuf,
    /// `--exec-root`, absolute.
    pub(crate) exec_root: PathBuf,
    /// `--pidfile`.
    pub(crate) pidfile: Option<PathBuf>,
    /// `--debug`.
    pub(crate) debug: bool,
    /// `--log-level`, or what `--debug` means.
    pub(crate) log_level: Level,
    /// `--label`.
    pub(crate) labels: Options,
    /// The predefined `bridge` network; `None` for `--bridge none`.
    pub(crate) bridge: Option<BridgeConfig>,
    /// `--default-address-pool`, checked; Docker's where a family has none.
    pub(crate) pools: Vec<DefaultPool>,
    /// `--default-network-opt bridge=…`.
    pub(crate) network_options: Options,
    /// `--mtu` in bytes; the default route's when absent.
    pub(crate) mtu: Option<u32>,
    /// `--icc`.
    pub(crate) icc: bool,
    /// `--ip`; `None` is every address of the host.
    pub(crate) host_binding: Option<IpAddr>,
    /// `--ip-forward`.
    pub(crate) ip_forward: bool,
    /// `--ip-masq`.
    pub(crate) ip_masq: bool,
    /// Whether rules of ours are made: `--iptables` and `--firewall-backend`.
    pub(crate) iptables: bool,
    /// Whether IPv6 rules are: `--ip6tables` besides.
    pub(crate) ip6tables: bool,
    /// `--foreign-firewall adjust`.
    pub(crate) adjust_foreign: bool,
    /// The mark that other firewalls' rules can tell our traffic by; 0 where we make no rules.
    pub(crate) accept_mark: u32,
    /// `--dns`, `--dns-search`, `--dns-opt`.
    pub(crate) dns: vw_model::DnsSettings,
    /// `--host-gateway-ip`, at most one a family.
    pub(crate) host_gateway: Vec<IpAddr>,
    /// `--cluster-store` and its kin.
    pub(crate) cluster: Option<ClusterSettings>,
    /// `--cluster-store none`: what is on a cluster's networks is taken off them.
    pub(crate) leaves_cluster: bool,
    /// What the user should know, to be logged once.
    pub(crate) notices: Vec<String>,
}

impl DaemonSettings {
    /// Checks and completes directives.
    ///
    /// # Errors
    /// One sentence naming the directive.
    pub(super) fn check(directives: Directives) -> Result<Self, String> {
        values::refuse_unsupported(&directives)?;
        let backend = values::backend(directives.firewall_backend.as_deref())?;
        let iptables = directives.iptables.unwrap_or(true) && backend;
        let bridge = values::bridge(&directives)?;
        let network_options = values::network_options(&directives)?;
        let debug = directives.debug.unwrap_or(false);
        let notices = match directives.userland_proxy {
            Some(true) => vec![
                "userland-proxy: none is needed, published ports reach their containers by rules"
                    .to_owned(),
            ],
            _ => Vec::new(),
        };
        Ok(Self {
            cluster: ClusterSettings::check(&directives)?,
            leaves_cluster: directives.cluster_store.as_deref() == Some(cluster::NONE),
            hosts: values::hosts(&directives.host)?,
            group: Some(directives.group.unwrap_or_else(|| GROUP.to_owned()))
                .filter(|group| !group.is_empty()),
            data_root: values::folder("data-root", directives.data_root, "/var/lib/vethwork")?,
            exec_root: values::folder("exec-root", directives.exec_root, "/run/vethwork")?,
            pidfile: directives.pidfile,
            debug,
            log_level: values::log_level(directives.log_level.as_deref(), debug)?,
            labels: values::labels(&directives.label)?,
            bridge,
            pools: values::pools(&directives.default_address_pool)?,
            network_options,
            mtu: directives.mtu.map(values::mtu).transpose()?,
            icc: directives.icc.unwrap_or(true),
            host_binding: values::host_binding(directives.ip.as_deref())?,
            ip_forward: directives.ip_forward.unwrap_or(true),
            ip_masq: directives.ip_masq.unwrap_or(true),
            iptables,
            ip6tables: iptables && directives.ip6tables.unwrap_or(true),
            adjust_foreign: values::adjust_foreign(directives.foreign_firewall.as_deref())?,
            accept_mark: if iptables { ACCEPT_MARK } else { 0 },
            dns: vw_model::DnsSettings {
                servers: values::each("dns", &directives.dns)?,
                search: directives.dns_search,
                options: directives.dns_opt,
            },
            host_gateway: values::host_gateway(&directives.host_gateway_ip)?,
            notices,
        })
    }

    /// Whether rules of ours are made.
    pub(crate) const fn filters(&self) -> bool {
        self.iptables
    }

    /// The firewall back end, as `info` names it.
    pub(crate) const fn firewall_name(&self) -> &'static str {
        if self.iptables { "nftables" } else { "none" }
    }
}

#[cfg(test)]
mod tests;
