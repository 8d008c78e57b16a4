//! Over which IP versions ports that name no address are not published, told to who asks for them.
//!
//! Owns the words. They are about the network and the host that is asked: what another host does not
//! translate, its own log and `info` say.

use super::ingress;
use crate::{Controller, attach::FAMILIES, command::Publication, registry::Network};
use vw_model::{Family, Scope, ServiceName};

impl Controller {
    /// Which of the ports that are asked for are published over one IP version alone, and why, in sentences.
    pub(super) fn lacks_versions(
        &self,
        network: &Network,
        service: &ServiceName,
        asked: &[Publication],
    ) -> Vec<String> {
        let open = asked.iter().filter(|asked| asked.port.host_ip.is_none());
        let ports: Vec<String> = open.map(|asked| asked.port.container.to_string()).collect();
        if ports.is_empty() {
            return Vec::new();
        }
        let ports = ports.join(", ");
        let without = |family: Family| {
            let why = self.why_not_over(network, family)?;
            let other = match family {
                Family::V4 => "IPv6",
                Family::V6 => "IPv4",
            };
            Some(format!(
                "service {service}: {ports} published over {other} alone: {why}"
            ))
        };
        FAMILIES.into_iter().filter_map(without).collect()
    }

    /// Why this host publishes no ports of services on a network over an IP version; nothing where it does,
    /// or has none of it.
    fn why_not_over(&self, network: &Network, family: Family) -> Option<String> {
        let cx = &self.config.drivers;
        let is_led = match network.spec.scope {
            Scope::Global => self.ingress_families(network).contains(&family),
            Scope::Local => self.published_families(network).contains(&family),
        };
        let has = ingress::families(network).contains(&family);
        let untranslated = match family {
            Family::V6 if !has => self.untranslatable(),
            _ => None,
        };
        if is_led && untranslated.is_none() || family == Family::V6 && !cx.ipv6 {
            return None;
        }
        let name = &network.spec.name;
        Some(match (family, has, untranslated) {
            (Family::V4, false, _) => {
                format!(
                    "network {name} has no IPv4; use one with both where clients come over IPv4"
                )
            }
            (Family::V6, false, Some(why)) => format!("network {name} has no IPv6, and {why}"),
            _ if !cx.filters(family) => {
                "the daemon makes no rules for the other (--iptables, --ip6tables)".to_owned()
            }
            (_, true, _) => {
                format!("network {name} publishes nothing over the other (its gateway mode)")
            }
            (_, false, _) => {
                format!("network {name} has no IPv6, and nothing is translated in its gateway mode")
            }
        })
    }
}
