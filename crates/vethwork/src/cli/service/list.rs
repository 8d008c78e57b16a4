//! `service ls`.

use crate::{
    cli::{Context, Done, natural, shown::Shown},
    client::Request,
    render::{Listing, Row},
};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;

const LISTING: Listing = Listing {
    columns: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Network", "NETWORK"),
        ("Mode", "MODE"),
        ("VirtualIPs", "ADDRESSES"),
        ("Endpoints", "ENDPOINTS"),
        ("Ports", "PORTS"),
        ("Labels", "LABELS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Network}}\t{{.Mode}}\t{{.VirtualIPs}}\t{{.Endpoints}}\t{{.Ports}}",
    quiet: "{{.ID}}",
};

/// `service ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    network: String,
    endpoint_mode: String,
    #[serde(rename = "VirtualIPs")]
    virtual_ips: Vec<String>,
    ports: Vec<Port>,
    labels: BTreeMap<String, String>,
    endpoints: Vec<Endpoint>,
    unpublished: Vec<Unpublished>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Unpublished {
    host: String,
    #[serde(rename = "VirtualIPs")]
    virtual_ips: Vec<String>,
    ports: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "HostIP")]
    host_ip: String,
    published: u16,
    target: u16,
    protocol: String,
    mode: String,
    prefer: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    serves: bool,
}

impl Service {
    /// The hosts that lack something, in brackets.
    fn not_on(&self, lacks: impl Fn(&&Unpublished) -> bool) -> String {
        let lacking = self.unpublished.iter().filter(lacks);
        let hosts: Vec<&str> = lacking.map(|host| host.host.as_str()).collect();
        match hosts.is_empty() {
            true => String::new(),
            false => format!(" (not on {})", hosts.join(", ")),
        }
    }

    /// A port, and the hosts that do not publish it.
    fn port(&self, port: &Port) -> String {
        let host = match port.host_ip.as_str() {
            "" => "*".to_owned(),
            v6 if v6.contains(':') => format!("[{v6}]"),
            v4 => v4.to_owned(),
        };
        let at = match port.host_ip.as_str() {
            "" => String::new(),
            _ => format!("{host}:"),
        };
        let key = format!("{at}{}/{}", port.published, port.protocol);
        let but = self.not_on(|host| host.ports.contains(&key));
        let led = match (port.mode.as_str(), port.prefer.as_str()) {
            ("host", _) => " host",
            (_, "local") => " prefer=local",
            _ => "",
        };
        format!(
            "{host}:{}->{}/{}{led}{but}",
            port.published, port.target, port.protocol
        )
    }
}

impl List {
    /// Prints the list.
    ///
    /// # Errors
    /// As the daemon refuses, or the template is wrong.
    pub(super) async fn run(&self, context: &Context) -> Done {
        let request = Request::get(&["vethwork", "services"]);
        let mut services: Vec<Service> = context.client.json(request).await?;
        services.sort_by(|a, b| natural::compare(&a.name, &b.name));
        let rows = services.iter().map(|service| self.row(service)).collect();
        self.shown.print(&LISTING, rows)
    }

    fn row(&self, service: &Service) -> Row {
        let id = self.shown.id(&service.id);
        let port = |port: &Port| service.port(port);
        let ports: Vec<String> = service.ports.iter().map(port).collect();
        let addresses = service.virtual_ips.iter();
        let addresses: Vec<&str> = addresses
            .map(|net| net.split('/').next().unwrap_or_default())
            .collect();
        let unreached = service.not_on(|host| !host.virtual_ips.is_empty());
        let serving = service.endpoints.iter().filter(|endpoint| endpoint.serves);
        Row::default()
            .field("ID", id)
            .field("Name", &service.name)
            .field("Network", &service.network)
            .field("Mode", &service.endpoint_mode)
            .field("VirtualIPs", addresses.join(",") + &unreached)
            .field(
                "Endpoints",
                format!("{}/{}", serving.count(), service.endpoints.len()),
            )
            .field("Ports", ports.join(", "))
            .labels(&service.labels)
    }
}
