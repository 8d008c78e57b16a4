//! Published and exposed ports, as requests give them and answers show them.

use super::{
    config::{PortBinding, PortBindings, Set},
    state,
};
use crate::errors::ApiError;
use std::collections::BTreeMap;
use vw_controller::view::ContainerView;
use vw_model::{PortKey, PortMapping, PortRange, PortRequest};

/// Ports as they are published; an exposed one that is not has no mapping.
pub(super) type Ports = BTreeMap<PortKey, Vec<PortMapping>>;

/// What is published now: nothing is while the container does not run, as Docker shows it.
pub(super) fn published(view: &ContainerView) -> &Ports {
    static NONE: Ports = Ports::new();
    if state::is_alive(&view.state.status) {
        &view.ports
    } else {
        &NONE
    }
}

/// The ports to publish. An empty list of host sides is one that leaves all to the engine.
///
/// # Errors
/// 400 with Docker's sentences.
pub(crate) fn requests(bindings: &PortBindings) -> Result<Vec<PortRequest>, ApiError> {
    let mut requests = Vec::new();
    for (port, sides) in bindings {
        let container = key(port)?;
        let sides = sides.as_deref().unwrap_or_default();
        let default = [PortBinding::default()];
        let sides = if sides.is_empty() { &default } else { sides };
        for side in sides {
            let host_ip =
                match side.host_ip.as_str() {
                    "" => None,
                    text => Some(text.parse().map_err(|_| {
                        ApiError::bad_request(format!("invalid IP address: {text}"))
                    })?),
                };
            requests.push(PortRequest {
                container,
                host_ip,
                host: range(&side.host_port)?,
            });
        }
    }
    Ok(requests)
}

/// The ports that a container is said to serve.
///
/// # Errors
/// As [`requests`].
pub(crate) fn exposed(set: &Set, bindings: &PortBindings) -> Result<Vec<PortKey>, ApiError> {
    let mut ports: Vec<PortKey> = set
        .keys()
        .chain(bindings.keys())
        .map(|port| key(port))
        .collect::<Result<_, _>>()?;
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// Host sides by container port; an exposed one that is not published has `null`.
pub(super) fn bindings(ports: &Ports) -> PortBindings {
    let side = |mapping: &PortMapping| PortBinding {
        host_ip: mapping.host.ip().to_string(),
        host_port: mapping.host.port().to_string(),
    };
    let sides = |mappings: &Vec<PortMapping>| {
        (!mappings.is_empty()).then(|| mappings.iter().map(side).collect())
    };
    ports
        .iter()
        .map(|(port, mappings)| (port.to_string(), sides(mappings)))
        .collect()
}

fn key(text: &str) -> Result<PortKey, ApiError> {
    text.parse()
        .map_err(|_| ApiError::bad_request(format!("invalid port specification: {text:?}")))
}

fn range(text: &str) -> Result<Option<PortRange>, ApiError> {
    match text {
        "" | "0" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| ApiError::bad_request(format!("invalid port specification: {text:?}"))),
    }
}
