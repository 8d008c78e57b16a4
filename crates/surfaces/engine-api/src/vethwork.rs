//! `/vethwork`: what Docker's API has no place for, described by the document it serves.

mod cluster;
mod services;

use crate::{
    body::{Body, empty_response, json_response, typed_response},
    call::{Answer, Call},
    containers::{
        PortBindings, Set, container_name, dns, exposed_ports, extra_hosts, port_requests,
    },
    endpoint::EndpointSettings,
    errors::ApiError,
    json::go_struct,
};
use hyper::{Method, StatusCode};
use serde::Serialize;
use vw_controller::{
    command::{Adopt, AdoptSource, ClusterForget, ClusterStatus, Info, Release, SandboxRequest},
    view::InfoView,
};
use vw_model::Options;

/// The OpenAPI document of these paths.
const OPENAPI: &str = include_str!("vethwork/openapi.json");

go_struct! {
    /// `POST /vethwork/adopt`.
    AdoptRequest {
        pid: u32,
        netns: String,
        name: String,
        hostname: String,
        domainname: String,
        resolv_conf: bool,
        dns: Option<Vec<String>>,
        dns_search: Option<Vec<String>>,
        dns_options: Option<Vec<String>>,
        extra_hosts: Vec<String>,
        port_bindings: PortBindings,
        exposed_ports: Set,
        publish_all_ports: bool,
        labels: Options,
        networks: Vec<NetworkRequest>,
    }

    /// One network to join.
    NetworkRequest {
        network: String,
        endpoint_config: Option<EndpointSettings>,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Released {
    id: String,
}

/// What the daemon tells about itself.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Details<'a> {
    id: &'a str,
    running: usize,
    stopped: usize,
    adopted: usize,
    images: usize,
    networks: usize,
    data_root: String,
    runtime: &'a str,
    network_drivers: &'a [String],
    default_address_pools: Vec<Pool<'a>>,
    dns_upstreams: Vec<String>,
    sysctls: Vec<Sysctl<'a>>,
    labels: &'a Options,
    overlay_shortcuts: Option<Shortcuts<'a>>,
    warnings: &'a [String],
    encryption: &'static str,
}

/// Whether frames take shortcuts past the bridges of overlay networks, or why not.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shortcuts<'a> {
    taken: bool,
    reason: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pool<'a> {
    base: &'a str,
    size: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sysctl<'a> {
    path: &'a str,
    former: &'a str,
    value: &'a str,
}

/// Answers a path below `/vethwork`.
///
/// # Errors
/// The refusal to send.
pub(crate) async fn route(call: Call, path: &[&str]) -> Answer {
    match (&call.method, path) {
        (&Method::GET, ["openapi.json"]) => Ok(typed_response(
            StatusCode::OK,
            "application/json",
            Body::whole(OPENAPI),
        )),
        (&Method::GET, ["info"]) => {
            let view = call.submit(Info).await?;
            Ok(json_response(StatusCode::OK, &details(&view)))
        }
        (&Method::POST, ["adopt"]) => {
            let (call, request) = call.into_json::<AdoptRequest>().await?;
            let created = call.app.submit(request.into_command()?).await?;
            let created = Created {
                id: created.id,
                warnings: created.warnings,
            };
            Ok(json_response(StatusCode::CREATED, &created))
        }
        (_, ["services", path @ ..]) => {
            let path = path.to_vec();
            services::route(call, &path).await
        }
        (&Method::POST, ["release", name]) => {
            let id = call
                .submit(Release {
                    sandbox: (*name).to_owned(),
                })
                .await?;
            Ok(json_response(
                StatusCode::OK,
                &Released { id: id.to_string() },
            ))
        }
        (&Method::GET, ["cluster"]) => {
            let view = call.submit(ClusterStatus).await?;
            Ok(json_response(StatusCode::OK, &cluster::status(&view)))
        }
        (&Method::POST, ["cluster", "forget", host]) => {
            let host = (*host).to_owned();
            call.submit(ClusterForget { host }).await?;
            Ok(empty_response(StatusCode::NO_CONTENT))
        }
        _ => Err(ApiError::page_not_found()),
    }
}

impl AdoptRequest {
    /// The command.
    ///
    /// # Errors
    /// 400 for what is malformed or names no single source.
    fn into_command(self) -> Result<Adopt, ApiError> {
        let source = match (self.pid, self.netns.as_str()) {
            (0, path) if path.starts_with('/') => AdoptSource::Netns(path.into()),
            (0, "") => return Err(ApiError::bad_request("nothing to adopt: give Pid or Netns")),
            (0, path) => {
                let message = format!("invalid Netns {path:?}: give an absolute path");
                return Err(ApiError::bad_request(message));
            }
            (pid, "") => AdoptSource::Pid(pid),
            _ => return Err(ApiError::bad_request("give either Pid or Netns, not both")),
        };
        let (extra_hosts, host_gateway_names) =
            extra_hosts(self.extra_hosts.iter().map(String::as_str))?;
        let networks = self.networks.into_iter().map(|request| {
            let settings = request.endpoint_config.unwrap_or_default();
            Ok((request.network, settings.into_model()?))
        });
        Ok(Adopt {
            source,
            name: container_name(&self.name)?,
            sandbox: SandboxRequest {
                hostname: Some(self.hostname).filter(|name| !name.is_empty()),
                domainname: self.domainname,
                dns: dns(&self.dns, &self.dns_search, &self.dns_options)?,
                extra_hosts,
                host_gateway_names,
                ports: port_requests(&self.port_bindings)?,
                exposed: exposed_ports(&self.exposed_ports, &self.port_bindings)?,
                publish_all: self.publish_all_ports,
                labels: self.labels,
                networks: networks.collect::<Result<_, ApiError>>()?,
            },
            resolv_conf: self.resolv_conf,
        })
    }
}

fn details(view: &InfoView) -> Details<'_> {
    let pools = view.address_pools.iter();
    let sysctls = view.sysctls.iter();
    Details {
        id: &view.id,
        running: view.running,
        stopped: view.stopped,
        adopted: view.adopted,
        images: view.images,
        networks: view.networks,
        data_root: view.data_root.display().to_string(),
        runtime: &view.runtime,
        network_drivers: &view.network_drivers,
        default_address_pools: pools
            .map(|(base, size)| Pool { base, size: *size })
            .collect(),
        dns_upstreams: view.upstreams.iter().map(ToString::to_string).collect(),
        sysctls: sysctls
            .map(|(path, former, value)| Sysctl {
                path,
                former,
                value,
            })
            .collect(),
        labels: &view.labels,
        overlay_shortcuts: view.shortcuts.as_ref().map(|taken| Shortcuts {
            taken: taken.is_ok(),
            reason: taken.as_ref().err().map_or("", String::as_str),
        }),
        warnings: &view.warnings,
        encryption: view.encryption,
    }
}
