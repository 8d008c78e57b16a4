//! What a user writes for a network's subnets, checked in Docker's words.
//!
//! Owns only what can be told from the text itself. Whether a subnet is free is decided by
//! [`crate::Ipam`].

use crate::{Error, error::family_name, span};
use std::{collections::BTreeMap, net::IpAddr};
use vw_model::{Family, IpNet, PoolSpec};

/// One `--subnet` with what belongs to it, as text; an empty text means not given.
#[derive(Debug, Clone, Default)]
pub struct PoolConfig {
    /// `--subnet`.
    pub subnet: String,
    /// `--ip-range`.
    pub ip_range: String,
    /// `--gateway`.
    pub gateway: String,
    /// `--aux-address`, by name.
    pub aux: BTreeMap<String, String>,
}

/// One subnet that was asked for, consistent in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRequest {
    /// The subnet, without host bits.
    pub subnet: IpNet,
    /// The part of it that addresses are taken from by themselves.
    pub ip_range: Option<IpNet>,
    /// The router's address in it.
    pub gateway: Option<IpAddr>,
    /// Addresses held back, by name.
    pub aux: BTreeMap<String, IpAddr>,
}

impl PoolRequest {
    /// The pool that it asks for; a gateway that it leaves open is still to be chosen.
    #[must_use]
    pub fn spec(&self) -> PoolSpec {
        PoolSpec {
            subnet: self.subnet,
            ip_range: self.ip_range,
            gateway: self.gateway,
            aux: self.aux.clone(),
            given: true,
        }
    }
}

/// Parses and checks the subnets of one network.
///
/// Those of a family that is not `enabled` are left out unchecked, as Docker does. All problems
/// are found at once and listed in one [`Error::InvalidConfig`].
pub fn parse_configs(
    configs: &[PoolConfig],
    enabled: impl Fn(Family) -> bool,
) -> Result<Vec<PoolRequest>, Error> {
    let mut problems = Vec::new();
    let mut requests = Vec::new();
    for config in configs {
        let Ok(subnet) = config.subnet.parse::<IpNet>() else {
            let text = &config.subnet;
            problems.push(format!(
                "invalid subnet {text}: invalid CIDR block notation"
            ));
            continue;
        };
        if enabled(span::family(subnet)) {
            requests.push(parse_config(config, subnet, &mut problems));
        }
    }
    if problems.is_empty() {
        Ok(requests)
    } else {
        Err(Error::InvalidConfig { problems })
    }
}

fn parse_config(config: &PoolConfig, subnet: IpNet, problems: &mut Vec<String>) -> PoolRequest {
    if subnet != subnet.trunc() {
        let should = subnet.trunc();
        problems.push(format!("invalid subnet {subnet}: it should be {should}"));
    }
    let ip_range = given(&config.ip_range).and_then(|text| parse_range(text, subnet, problems));
    let mut address = |text: &str, what: &str| match parse_address(text, subnet) {
        Ok(addr) => Some(addr),
        Err(why) => {
            problems.push(format!("invalid {what}: {why}"));
            None
        }
    };
    let gateway = given(&config.gateway).and_then(|text| address(text, &format!("gateway {text}")));
    let aux = config
        .aux
        .iter()
        .filter_map(|(name, text)| {
            let addr = address(text, &format!("auxiliary address {name}"))?;
            Some((name.clone(), addr))
        })
        .collect();
    PoolRequest {
        subnet,
        ip_range,
        gateway,
        aux,
    }
}

fn parse_range(text: &str, subnet: IpNet, problems: &mut Vec<String>) -> Option<IpNet> {
    let mut refuse = |why: String| problems.push(format!("invalid ip-range {text}: {why}"));
    let Ok(range) = text.parse::<IpNet>() else {
        refuse("invalid CIDR block notation".to_owned());
        return None;
    };
    if span::family(range) != span::family(subnet) {
        refuse(foreign_family(subnet));
        return None;
    }
    if range.prefix_len() < subnet.prefix_len() {
        refuse(format!(
            "CIDR block is bigger than its parent subnet {subnet}"
        ));
    }
    if range != range.trunc() {
        refuse(format!("it should be {}", range.trunc()));
    }
    if !subnet.contains(&range.addr()) && !range.contains(&subnet.addr()) {
        refuse(format!("parent subnet {subnet} doesn't contain ip-range"));
    }
    Some(range)
}

fn parse_address(text: &str, subnet: IpNet) -> Result<IpAddr, String> {
    let addr: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if Family::of(addr) != span::family(subnet) {
        return Err(foreign_family(subnet));
    }
    if !subnet.contains(&addr) {
        return Err(format!(
            "parent subnet {subnet} doesn't contain this address"
        ));
    }
    Ok(addr)
}

fn foreign_family(subnet: IpNet) -> String {
    let family = family_name(span::family(subnet));
    format!("parent subnet is an {family} block")
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
