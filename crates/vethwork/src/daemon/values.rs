//! Single directives, and those that belong together, from text to typed values.
//!
//! Each check names its directive in what it refuses.

use super::{
    flags::{AddressPool, Directives},
    settings::HostAddr,
};
use crate::client::DEFAULT_HOST;
use std::{collections::BTreeMap, fmt::Display, net::IpAddr, path::PathBuf, str::FromStr};
use tracing::Level;
use vw_controller::BridgeConfig;
use vw_ipam::{DefaultPool, DefaultPools};
use vw_kernel::HostFacts;
use vw_model::{Family, IfName, IpNet, Options};

/// RFC 791's least and the largest that the kernel's 16-bit fields carry.
const MTU: std::ops::RangeInclusive<i64> = 68..=65_535;

/// Refuses what has no effect in this version.
pub(super) fn refuse_unsupported(directives: &Directives) -> Result<(), String> {
    let refused = [
        (
            directives.docker_plugin.is_some(),
            "docker-plugin",
            "Docker's remote driver protocol is not in this version",
        ),
        (
            directives.metrics_addr.is_some(),
            "metrics-addr",
            "metrics are not in this version",
        ),
        (
            directives.live_restore == Some(false),
            "live-restore=false",
            "containers always live on while the daemon is down",
        ),
    ];
    match refused.iter().find(|(given, ..)| *given) {
        Some((_, name, why)) => Err(format!("{name} is not supported: {why}")),
        None => Ok(()),
    }
}

/// Whether a back end makes rules.
pub(super) fn backend(name: Option<&str>) -> Result<bool, String> {
    match name {
        None | Some("nftables") => Ok(true),
        Some("none") => Ok(false),
        Some("iptables") => Err(
            "firewall-backend iptables is not supported: rules are made with \
             nftables, beside those of iptables; use nftables or none"
                .to_owned(),
        ),
        Some(other) => Err(format!(
            "invalid firewall-backend {other:?}: use nftables, iptables or none"
        )),
    }
}

pub(super) fn adjust_foreign(word: Option<&str>) -> Result<bool, String> {
    match word {
        None | Some("adjust") => Ok(true),
        Some("warn") => Ok(false),
        Some(other) => Err(format!(
            "invalid foreign-firewall {other:?}: use adjust or warn"
        )),
    }
}

pub(super) fn hosts(texts: &[String]) -> Result<Vec<HostAddr>, String> {
    let default = [DEFAULT_HOST.to_owned()];
    let texts = if texts.is_empty() { &default } else { texts };
    texts
        .iter()
        .map(|text| match text.strip_prefix("fd://") {
            Some(_) => Err(format!(
                "hosts: {text} is not supported: sockets of the service manager are used by \
                 themselves where it hands them over"
            )),
            None => text.parse().map_err(|error| format!("hosts: {error}")),
        })
        .collect()
}

pub(super) fn folder(name: &str, given: Option<PathBuf>, default: &str) -> Result<PathBuf, String> {
    let path = given.unwrap_or_else(|| default.into());
    if !path.is_absolute() {
        return Err(format!(
            "{name} must be an absolute path: {}",
            path.display()
        ));
    }
    Ok(path)
}

pub(super) fn log_level(word: Option<&str>, debug: bool) -> Result<Level, String> {
    let level = match word {
        None | Some("info") => Level::INFO,
        Some("trace") => Level::TRACE,
        Some("debug") => Level::DEBUG,
        Some("warn") => Level::WARN,
        Some("error" | "fatal" | "panic") => Level::ERROR,
        Some(other) => {
            return Err(format!(
                "invalid logging level: {other}: use debug, info, warn, error or fatal"
            ));
        }
    };
    Ok(if debug {
        level.max(Level::DEBUG)
    } else {
        level
    })
}

pub(super) fn labels(texts: &[String]) -> Result<Options, String> {
    let mut labels = BTreeMap::new();
    for text in texts {
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| format!("bad attribute format: {text}"))?;
        if labels
            .insert(key.to_owned(), value.to_owned())
            .is_some_and(|former| former != value)
        {
            return Err(format!("conflict labels for {key}={value}"));
        }
    }
    Ok(labels)
}

pub(super) fn pools(given: &[AddressPool]) -> Result<Vec<DefaultPool>, String> {
    let pools = given
        .iter()
        .map(|AddressPool { base, size }| {
            Ok(DefaultPool {
                base: value("default-address-pools", base)?,
                size: *size,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    // Any IPv6 prefix does for the check; the host's own comes at the start.
    DefaultPools::new(&pools, vw_ipam::ula_prefix(&[]))
        .map_err(|error| format!("default-address-pools: {error}"))?;
    Ok(pools)
}

pub(super) fn network_options(directives: &Directives) -> Result<Options, String> {
    let mut options = Options::new();
    for option in &directives.default_network_opt {
        if option.driver != "bridge" {
            return Err(format!(
                "default-network-opts: there is no driver {:?} that takes options: use bridge",
                option.driver
            ));
        }
        options.insert(option.key.clone(), option.value.clone());
    }
    Ok(options)
}

pub(super) fn mtu(bytes: i64) -> Result<u32, String> {
    let refuse = || {
        format!(
            "invalid default MTU: {bytes}: use {} to {}",
            MTU.start(),
            MTU.end()
        )
    };
    u32::try_from(bytes)
        .ok()
        .filter(|_| MTU.contains(&bytes))
        .ok_or_else(refuse)
}

/// `--ip`; unspecified means every address, as by default.
pub(super) fn host_binding(text: Option<&str>) -> Result<Option<IpAddr>, String> {
    let addr: Option<IpAddr> = text.map(|text| value("ip", text)).transpose()?;
    Ok(addr.filter(|addr| !addr.is_unspecified()))
}

pub(super) fn host_gateway(texts: &[String]) -> Result<Vec<IpAddr>, String> {
    let addresses: Vec<IpAddr> = each("host-gateway-ips", texts)?;
    for family in [Family::V4, Family::V6] {
        if addresses
            .iter()
            .filter(|addr| Family::of(**addr) == family)
            .count()
            > 1
        {
            return Err(
                "only one IPv4 and one IPv6 host gateway IP address can be specified".to_owned(),
            );
        }
    }
    Ok(addresses)
}

/// The predefined `bridge` network, unless there is to be none.
pub(super) fn bridge(directives: &Directives) -> Result<Option<BridgeConfig>, String> {
    let name = directives.bridge.clone().filter(|name| !name.is_empty());
    let net = |name: &str, text: &Option<String>, family| {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let net: IpNet = value(name, text)?;
        of_family(name, text, net.addr(), family)?;
        Ok::<_, String>(Some(net))
    };
    let addr = |name: &str, text: &Option<String>, family| {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let addr: IpAddr = value(name, text)?;
        of_family(name, text, addr, family)?;
        Ok::<_, String>(Some(addr))
    };
    let config = BridgeConfig {
        bip: net("bip", &directives.bip, Family::V4)?,
        bip6: net("bip6", &directives.bip6, Family::V6)?,
        fixed_cidr: net("fixed-cidr", &directives.fixed_cidr, Family::V4)?,
        fixed_cidr6: net("fixed-cidr-v6", &directives.fixed_cidr_v6, Family::V6)?,
        gateway: addr("default-gateway", &directives.default_gateway, Family::V4)?,
        gateway6: addr(
            "default-gateway-v6",
            &directives.default_gateway_v6,
            Family::V6,
        )?,
        ipv6: directives.ipv6.unwrap_or(false),
        name: match name.as_deref() {
            None | Some("none") => None,
            Some(name) => Some(of_somebody_else(name)?),
        },
    };
    for (flag, given) in [("bip", config.bip), ("bip6", config.bip6)] {
        if name.is_some() && given.is_some() {
            return Err(format!(
                "You specified -b & --{flag}, mutually exclusive options. Please specify only one"
            ));
        }
        if let Some(net) = given.filter(|net| net.addr() == net.network() && net.prefix_len() < 31)
        {
            return Err(format!(
                "{flag} {net} is a subnet: give the bridge's address in it"
            ));
        }
    }
    // What lies where is known once the bridge is looked at.
    if config.name.is_none() {
        must_lie_within(&config)?;
    }
    Ok((name.as_deref() != Some("none")).then_some(config))
}

fn of_somebody_else(name: &str) -> Result<IfName, String> {
    if name.starts_with("vw") {
        return Err(format!(
            "bridge {name}: names that begin with vw are our own: leave it out, or name a bridge that was made by others"
        ));
    }
    value("bridge", name)
}

/// Completes what is asked of the predefined network by the addresses of the bridge it names.
pub(super) fn stand_on(asked: &BridgeConfig, facts: &HostFacts) -> Result<BridgeConfig, String> {
    let mut config = asked.clone();
    let Some(name) = &asked.name else {
        return Ok(config);
    };
    if !facts
        .foreign_bridges
        .iter()
        .any(|seen| *seen == name.as_str())
    {
        return Err(format!(
            "bridge {name} is not there: make it, with an address, before the daemon starts"
        ));
    }
    let of_bridge = facts
        .addresses
        .iter()
        .filter(|(link, _)| *link == name.as_str());
    let addresses: Vec<IpNet> = of_bridge.map(|(_, addr)| *addr).collect();
    let missing = |version| format!("bridge {name} has no {version} address: give it one");
    let v4 = addresses.iter().find(|addr| addr.addr().is_ipv4());
    config.bip = Some(*v4.ok_or_else(|| missing("IPv4"))?);
    if config.ipv6 {
        let usable = |addr: &&IpNet| match addr.addr() {
            IpAddr::V4(_) => false,
            IpAddr::V6(addr) => !addr.is_unicast_link_local(),
        };
        let v6 = addresses.iter().find(usable);
        config.bip6 = Some(*v6.ok_or_else(|| missing("IPv6"))?);
    }
    must_lie_within(&config)?;
    Ok(config)
}

/// Ranges and routers lie in the subnets that they belong to.
fn must_lie_within(config: &BridgeConfig) -> Result<(), String> {
    let ranges = [
        ("fixed-cidr", config.fixed_cidr, "bip", config.bip),
        ("fixed-cidr-v6", config.fixed_cidr6, "bip6", config.bip6),
    ];
    for (flag, range, within, subnet) in ranges {
        if let (Some(range), Some(subnet)) = (range, subnet)
            && !subnet.trunc().contains(&range.trunc())
        {
            return Err(format!(
                "{flag} {range} does not lie within {within} {subnet}"
            ));
        }
    }
    let routers = [
        (
            "default-gateway",
            config.gateway,
            "bip",
            config.bip.or(config.fixed_cidr),
        ),
        (
            "default-gateway-v6",
            config.gateway6,
            "bip6",
            config.bip6.or(config.fixed_cidr6),
        ),
    ];
    for (flag, router, within, subnet) in routers {
        let Some(router) = router else { continue };
        if !subnet.is_some_and(|subnet| subnet.contains(&router)) {
            return Err(format!(
                "{flag} {router} must be part of the bridge's subnet: give that with {within}"
            ));
        }
    }
    Ok(())
}

fn of_family(name: &str, text: &str, addr: IpAddr, family: Family) -> Result<(), String> {
    if Family::of(addr) == family {
        return Ok(());
    }
    let wanted = if family == Family::V4 { "IPv4" } else { "IPv6" };
    Err(format!("invalid value for {name}: {text} is not {wanted}"))
}

fn value<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error| format!("invalid value for {name}: {text}: {error}"))
}

pub(super) fn each<T: FromStr<Err: Display>>(
    name: &str,
    texts: &[String],
) -> Result<Vec<T>, String> {
    texts.iter().map(|text| value(name, text)).collect()
}
