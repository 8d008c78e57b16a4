//! `port`.

use crate::{
    cli::{Context, Done, Failure, natural, output::print},
    client::Request,
};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `port`.
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// The container
    container: String,
    /// One of its ports
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    private_port: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Details {
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_ip: String,
    host_port: String,
}

impl std::fmt::Display for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host_ip, host_port } = self;
        match host_ip.contains(':') {
            true => write!(f, "[{host_ip}]:{host_port}"),
            false => write!(f, "{host_ip}:{host_port}"),
        }
    }
}

impl Port {
    /// Prints where a container's ports are published.
    ///
    /// # Errors
    /// As the daemon refuses, and when the port asked for is not published.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let request = Request::get(&["containers", &self.container, "json"]);
        let details: Details = context.client.json(request).await?;
        let ports = details.network_settings.ports.unwrap_or_default();
        let Some(asked) = &self.private_port else {
            let mut lines: Vec<String> = ports
                .iter()
                .flat_map(|(port, bindings)| {
                    bindings
                        .iter()
                        .flatten()
                        .map(move |binding| format!("{port} -> {binding}\n"))
                })
                .collect();
            lines.sort_by(|a, b| natural::compare(a, b));
            return print(&lines.concat());
        };
        let key = match asked.split_once('/') {
            Some(_) => asked.clone(),
            None => format!("{asked}/tcp"),
        };
        let (port, _) = key.split_once('/').unwrap_or((&key, ""));
        if port.parse::<u16>().is_err() {
            return Err(Failure::refused(format!(
                "Error: invalid port ({port}): use a number"
            )));
        }
        match ports.get(&key) {
            Some(Some(bindings)) if !bindings.is_empty() => {
                let lines: Vec<String> = bindings
                    .iter()
                    .map(|binding| format!("{binding}\n"))
                    .collect();
                print(&lines.concat())
            }
            _ => Err(Failure::refused(format!(
                "Error: No public port '{key}' published for {}",
                self.container
            ))),
        }
    }
}
