//! Networks as JSON: Docker's fields in Docker's order.

use crate::time;
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};
use vw_controller::view::{Created, MemberView, NetworkView, Pruned};
use vw_model::{Options, PoolSpec, Scope};

/// A network in a list (`Containers` empty) or by itself.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Resource<'a> {
    name: &'a str,
    id: String,
    created: String,
    scope: &'static str,
    driver: &'a str,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam<'a>,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_from: ConfigFrom,
    config_only: bool,
    containers: BTreeMap<String, Member<'a>>,
    options: &'a Options,
    labels: &'a Options,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<Peer<'a>>,
}

/// A host that has endpoints on a global network.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Peer<'a> {
    name: &'a str,
    #[serde(rename = "IP")]
    addr: IpAddr,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam<'a> {
    driver: &'a str,
    options: Option<&'a Options>,
    config: Option<Vec<Pool<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pool<'a> {
    subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "Option::is_none")]
    ip_range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    auxiliary_addresses: &'a BTreeMap<String, IpAddr>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigFrom {
    network: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Member<'a> {
    name: &'a str,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    mac_address: String,
    #[serde(rename = "IPv4Address")]
    ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    ipv6_address: String,
}

/// The answer to a create request.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateResponse<'a> {
    id: &'a str,
    warning: String,
}

/// The answer to a prune request.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PruneReport<'a> {
    networks_deleted: Option<&'a [String]>,
}

/// A network in a list.
pub(super) fn summary(view: &NetworkView) -> Resource<'_> {
    let spec = &view.spec;
    Resource {
        name: spec.name.as_str(),
        id: spec.id.to_string(),
        created: time::rfc3339(spec.created),
        scope: scope(spec.scope),
        driver: &spec.driver,
        enable_ipv4: spec.enable_ipv4,
        enable_ipv6: spec.enable_ipv6,
        ipam: ipam(view),
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: false,
        config_from: ConfigFrom { network: "" },
        config_only: false,
        containers: BTreeMap::new(),
        options: &spec.options,
        labels: &spec.labels,
        peers: Vec::new(),
    }
}

/// A network by itself.
pub(super) fn resource(view: &NetworkView) -> Resource<'_> {
    let members = view.members.iter();
    Resource {
        containers: members
            .map(|member| (member.sandbox.to_string(), self::member(member)))
            .collect(),
        peers: view
            .peers
            .iter()
            .map(|peer| Peer {
                name: &peer.name,
                addr: peer.addr,
            })
            .collect(),
        ..summary(view)
    }
}

/// `null` for options that nobody gave (on the predefined networks) and for no pools at all
/// (`host`, `none`): Go's nil map and slice, as the engine keeps them.
fn ipam(view: &NetworkView) -> Ipam<'_> {
    let ipam = &view.spec.ipam;
    let no_options = view.spec.predefined && ipam.options.is_empty();
    let pools: Vec<_> = ipam.pools.iter().map(pool).collect();
    Ipam {
        driver: if ipam.driver == "null" {
            "default"
        } else {
            &ipam.driver
        },
        options: (!no_options).then_some(&ipam.options),
        config: (!pools.is_empty()).then_some(pools),
    }
}

fn pool(pool: &PoolSpec) -> Pool<'_> {
    Pool {
        subnet: pool.subnet.to_string(),
        ip_range: pool.ip_range.map(|range| range.to_string()),
        gateway: pool.gateway,
        auxiliary_addresses: &pool.aux,
    }
}

fn member(member: &MemberView) -> Member<'_> {
    Member {
        name: &member.name,
        endpoint_id: member.endpoint.to_string(),
        mac_address: member.mac.to_string(),
        ipv4_address: member.ipv4.map(|net| net.to_string()).unwrap_or_default(),
        ipv6_address: member.ipv6.map(|net| net.to_string()).unwrap_or_default(),
    }
}

/// Docker's word for a scope.
pub(super) const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Local => "local",
        Scope::Global => "global",
    }
}

/// The answer to a create request.
pub(super) fn created(created: &Created) -> CreateResponse<'_> {
    CreateResponse {
        id: &created.id,
        warning: created.warnings.join("; "),
    }
}

/// The answer to a prune request; nothing removed is `null`.
pub(super) fn pruned(pruned: &Pruned) -> PruneReport<'_> {
    let removed = Some(pruned.removed.as_slice()).filter(|removed| !removed.is_empty());
    PruneReport {
        networks_deleted: removed,
    }
}
