//! One container in a list, as JSON: Docker's fields in Docker's order.

use super::{
    inspect::{self, MountPoint},
    ports, state,
};
use crate::{endpoint::EndpointSettings, json::is_zero, time};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr, time::SystemTime};
use vw_controller::view::ContainerView;
use vw_model::{AdoptedFrom, ContainerSpec, Options, PortKey, SandboxKind};

/// The label of adopted sandboxes; its value tells where they came from.
const ADOPTED: &str = "vethwork.adopted";

/// One line of a list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<Port>,
    labels: Options,
    state: &'static str,
    status: String,
    host_config: SummaryHostConfig,
    network_settings: SummaryNetworks,
    mounts: Vec<MountPoint>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SummaryHostConfig {
    #[serde(skip_serializing_if = "is_zero")]
    network_mode: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SummaryNetworks {
    networks: BTreeMap<String, EndpointSettings>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    #[serde(rename = "IP", skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    private_port: u16,
    #[serde(skip_serializing_if = "is_zero")]
    public_port: u16,
    r#type: String,
}

/// One line of a list.
pub(super) fn summary(view: &ContainerView, now: SystemTime) -> Summary {
    let endpoints = view.endpoints.iter();
    Summary {
        id: view.sandbox.id.to_string(),
        names: vec![format!("/{}", view.sandbox.name)],
        image: view
            .container
            .as_ref()
            .map(|spec| spec.image.clone())
            .unwrap_or_default(),
        image_id: view.image_id.clone(),
        command: command(view.container.as_ref()),
        created: time::unix(view.sandbox.created),
        ports: port_lines(view),
        labels: labels(view),
        state: state::word(&view.state.status),
        status: state::sentence(&view.state, now),
        host_config: SummaryHostConfig {
            network_mode: view.mode_text.clone(),
        },
        network_settings: SummaryNetworks {
            networks: endpoints
                .map(|endpoint| (endpoint.network.clone(), EndpointSettings::short(endpoint)))
                .collect(),
        },
        mounts: inspect::mounts(view.container.as_ref()),
    }
}

/// A sandbox's labels; an adopted one has one that tells where it came from.
pub(super) fn labels(view: &ContainerView) -> Options {
    let mut labels = view.sandbox.labels.clone();
    if let SandboxKind::Adopted { from, .. } = &view.sandbox.kind {
        let from = match from {
            AdoptedFrom::Pid { pid, .. } => format!("pid:{pid}"),
            AdoptedFrom::Netns(path) => format!("netns:{}", path.display()),
        };
        labels.insert(ADOPTED.to_owned(), from);
    }
    labels
}

/// The program and its arguments, the entry point's words first.
pub(super) fn path_and_args(spec: Option<&ContainerSpec>) -> (String, Vec<String>) {
    let Some(spec) = spec else {
        return Default::default();
    };
    let mut words = spec.entrypoint.iter().flatten().chain(&spec.cmd).cloned();
    (words.next().unwrap_or_default(), words.collect())
}

/// The command line: words with spaces quoted, but for the first.
fn command(spec: Option<&ContainerSpec>) -> String {
    let (path, args) = path_and_args(spec);
    let quoted = args.iter().map(|arg| {
        if arg.contains(' ') {
            format!(" '{arg}'")
        } else {
            format!(" {arg}")
        }
    });
    std::iter::once(path).chain(quoted).collect()
}

fn port_lines(view: &ContainerView) -> Vec<Port> {
    let line = |port: &PortKey, host: Option<std::net::SocketAddr>| Port {
        ip: host.map(|host| host.ip()),
        private_port: port.port,
        public_port: host.map(|host| host.port()).unwrap_or_default(),
        r#type: port.protocol.to_string(),
    };
    let mut lines = Vec::new();
    for (port, mappings) in ports::published(view) {
        if mappings.is_empty() {
            lines.push(line(port, None));
        }
        lines.extend(
            mappings
                .iter()
                .map(|mapping| line(port, Some(mapping.host))),
        );
    }
    lines
}
