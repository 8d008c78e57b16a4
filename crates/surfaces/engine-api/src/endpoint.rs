//! Endpoint settings: the one object that requests and answers of networks and containers share.

#[cfg(test)]
mod tests;

use crate::{
    errors::{ApiError, listed},
    json::{go_struct, is_zero},
    version::ApiVersion,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_controller::view::EndpointView;
use vw_model::Options;

go_struct! {
    /// moby's `network.EndpointSettings`, in its order: what is asked, then what there is.
    EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        ipam_config: Option<EndpointIpamConfig>,
        links: Option<Vec<String>>,
        aliases: Option<Vec<String>>,
        mac_address: String,
        driver_opts: Option<Options>,
        gw_priority: i64,
        #[serde(rename = "NetworkID")]
        network_id: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: u8,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: u8,
        #[serde(rename = "DNSNames")]
        dns_names: Option<Vec<String>>,
    }

    /// Addresses asked for.
    EndpointIpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "is_zero")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "is_zero")]
        ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "is_zero")]
        link_local_ips: Vec<String>,
    }
}

impl EndpointSettings {
    /// What a client of a version may say: `MacAddress` was added in API 1.44 and `GwPriority` in
    /// 1.48; neither is read before.
    #[must_use]
    pub(crate) fn limited_to(mut self, version: ApiVersion) -> Self {
        if version < ApiVersion::v1(44) {
            self.mac_address.clear();
        }
        if version < ApiVersion::v1(48) {
            self.gw_priority = 0;
        }
        self
    }

    /// What is asked for.
    ///
    /// # Errors
    /// 400 with every problem, as Docker lists them.
    pub(crate) fn into_model(self) -> Result<vw_model::EndpointSettings, ApiError> {
        let mut problems = Vec::new();
        let ipam = self.ipam_config.unwrap_or_default();
        let ipv4 = address::<Ipv4Addr>(&ipam.ipv4_address, "IPv4 address", &mut problems);
        let ipv6 = address::<Ipv6Addr>(&ipam.ipv6_address, "IPv6 address", &mut problems);
        let link_local = ipam.link_local_ips.iter();
        let link_local = link_local
            .filter_map(|text| address::<IpAddr>(text, "link-local IP address", &mut problems))
            .collect();
        let mac = Some(self.mac_address).filter(|text| !text.is_empty());
        let mac = mac.and_then(|text| {
            text.parse()
                .map_err(|_| problems.push(format!("invalid MAC address: {text}")))
                .ok()
        });
        if !problems.is_empty() {
            let listed = listed(&problems);
            return Err(ApiError::bad_request(format!(
                "invalid endpoint settings:\n{listed}"
            )));
        }
        Ok(vw_model::EndpointSettings {
            ipv4,
            ipv6,
            link_local,
            mac,
            aliases: self.aliases.unwrap_or_default(),
            links: self.links.unwrap_or_default(),
            gw_priority: self.gw_priority,
            driver_opts: self.driver_opts.unwrap_or_default(),
        })
    }

    /// An endpoint as inspect shows it. Until API 1.45 the container's short id and host name
    /// stood among the aliases on user-defined networks.
    pub(crate) fn of(view: &EndpointView, extra_aliases: &[String]) -> Self {
        let mut aliases = view.settings.aliases.clone();
        for alias in extra_aliases {
            if !aliases.contains(alias) {
                aliases.push(alias.clone());
            }
        }
        Self {
            links: nil_if_empty(view.settings.links.clone()),
            aliases: nil_if_empty(aliases),
            driver_opts: Some(view.settings.driver_opts.clone()).filter(|opts| !opts.is_empty()),
            dns_names: nil_if_empty(view.dns_names.clone()),
            ..Self::short(view)
        }
    }

    /// An endpoint as lists show it.
    pub(crate) fn short(view: &EndpointView) -> Self {
        let mac = view.mac.or(view.settings.mac);
        Self {
            ipam_config: ipam_config(&view.settings),
            mac_address: text(mac),
            gw_priority: view.settings.gw_priority,
            network_id: text(view.network_id),
            endpoint_id: text(view.endpoint),
            gateway: text(view.gateway4),
            ip_address: text(view.ipv4.map(|net| net.addr())),
            ip_prefix_len: view.ipv4.map(|net| net.prefix_len()).unwrap_or_default(),
            ipv6_gateway: text(view.gateway6),
            global_ipv6_address: text(view.ipv6.map(|net| net.addr())),
            global_ipv6_prefix_len: view.ipv6.map(|net| net.prefix_len()).unwrap_or_default(),
            ..Self::default()
        }
    }
}

fn ipam_config(settings: &vw_model::EndpointSettings) -> Option<EndpointIpamConfig> {
    let config = EndpointIpamConfig {
        ipv4_address: text(settings.ipv4),
        ipv6_address: text(settings.ipv6),
        link_local_ips: settings
            .link_local
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    Some(config).filter(|config| *config != EndpointIpamConfig::default())
}

/// Go's zero value is the empty text.
pub(crate) fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn nil_if_empty(list: Vec<String>) -> Option<Vec<String>> {
    Some(list).filter(|list| !list.is_empty())
}

/// An address that may be absent; the unspecified one is refused as a malformed one is.
fn address<T>(text: &str, label: &str, problems: &mut Vec<String>) -> Option<T>
where
    T: std::str::FromStr + Into<IpAddr> + Copy,
{
    if text.is_empty() {
        return None;
    }
    let parsed = text
        .parse()
        .ok()
        .filter(|addr: &T| !(*addr).into().is_unspecified());
    if parsed.is_none() {
        problems.push(format!("invalid {label}: {text}"));
    }
    parsed
}
