//! The controller's configuration: settings completed by what this host is.

use super::settings::DaemonSettings;
use std::{fs, path::Path, time::Duration};
use vw_controller::Config;
use vw_drivers::DriverContext;
use vw_ipam::{DefaultPools, ula_prefix};
use vw_kernel::HostFacts;
use vw_model::{Error, Kind, Result};

/// Where the host's resolver is configured.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved keeps the servers behind its stub (resolved.conf(5)), which no container
/// can reach.
const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";
const STUB: &str = "127.0.0.53";
/// As docs/services.md says.
const HEARS_OUT: Duration = Duration::from_millis(500);

impl DaemonSettings {
    /// What the controller needs to know.
    ///
    /// # Errors
    /// `InvalidArgument` when the default pools do not fit one another.
    pub(super) fn controller_config(&self, facts: &HostFacts) -> Result<Config> {
        let owns_bridge_netfilter =
            facts.bridge_netfilter.is_some() && facts.foreign_bridges.is_empty();
        let theirs = facts.bridge_netfilter.filter(|_| !owns_bridge_netfilter);
        let (bridge_netfilter, bridge_netfilter6) = theirs.unwrap_or_default();
        let underlay = self.cluster.as_ref().map(|cluster| cluster.underlay(facts));
        let underlay = underlay.transpose()?;
        let pools = DefaultPools::new(&self.pools, ula_prefix(&host_identity()));
        let pools = pools.map_err(|error| {
            Error::new(
                Kind::InvalidArgument,
                "default-pool-invalid",
                error.to_string(),
            )
        })?;
        let bridge = self.bridge.as_ref();
        let bridge = bridge.map(|asked| super::values::stand_on(asked, facts));
        let bridge = bridge
            .transpose()
            .map_err(|sentence| Error::new(Kind::InvalidArgument, "bridge-invalid", sentence))?;
        Ok(Config {
            data_root: self.data_root.clone(),
            exec_root: self.exec_root.clone(),
            pools,
            bridge,
            network_options: self.network_options.clone(),
            drivers: DriverContext {
                mtu: self.mtu.unwrap_or(facts.default_mtu),
                icc: self.icc,
                ip_masq: self.ip_masq,
                host_binding: self.host_binding,
                iptables: self.iptables,
                ip6tables: self.ip6tables,
                bridge_netfilter,
                bridge_netfilter6,
                br_netfilter: facts.bridge_netfilter.is_some(),
                ipv6: facts.sysctls.contains_key("net/ipv6/conf/all/forwarding"),
                underlay,
                no_shortcuts: None,
                no_translation: None,
            },
            ip_forward: self.ip_forward,
            owns_bridge_netfilter,
            dns: self.dns.clone(),
            host_gateway: self.host_gateway.clone(),
            accept_mark: self.accept_mark,
            adjust_foreign: self.adjust_foreign,
            resolv_conf: resolv_conf().into(),
            hears_out: HEARS_OUT,
            labels: self.labels.clone(),
            debug: self.debug,
        })
    }
}

/// Random bits that stay the same for this host's life (machine-id(5)); its name where it has none.
fn host_identity() -> Vec<u8> {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .find(|bytes| !bytes.trim_ascii().is_empty())
        .unwrap_or_else(|| rustix::system::uname().nodename().to_bytes().to_vec())
}

/// The file that names the host's real servers, as dockerd chooses it.
fn resolv_conf() -> &'static str {
    let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let mut servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .map(str::trim);
    let only_stub = servers.next() == Some(STUB) && servers.next().is_none();
    if only_stub && Path::new(BEHIND_STUB).exists() {
        BEHIND_STUB
    } else {
        RESOLV_CONF
    }
}
