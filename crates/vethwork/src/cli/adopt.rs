//! `adopt` and `release`: networks for processes and namespaces of others.

use super::{
    Context, Done, Failure,
    container::spec::parse_ports,
    endpoint::{Endpoint, network_option, put},
    grammar,
    output::{each, print_line},
};
use crate::client::Request;
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// `adopt`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["pid", "netns"])))]
pub(crate) struct Adopt {
    /// The process whose network namespace is adopted
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// The network namespace: a file such as /run/netns/NAME, or a name that `ip netns` knows
    #[arg(long, value_name = "PATH|NAME")]
    netns: Option<String>,
    /// Assign a name; made up from the source when not given
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    name: String,
    /// Connect it to a network, or to several
    #[arg(long, visible_alias = "net", required = true, value_name = "NETWORK[,ip=…,alias=…]",
          value_parser = network_option)]
    network: Vec<(String, Endpoint)>,
    /// Join a service: NAME, or NAME,weight=N
    #[arg(long, value_name = "NAME[,weight=N]", value_parser = grammar::service)]
    service: Option<grammar::Service>,
    /// Replace its /etc/resolv.conf until it is released
    #[arg(long)]
    resolv_conf: bool,
    /// Publish its port(s) to the host
    #[arg(short, long, value_name = "[[IP:]PORT:]PORT[/PROTO]")]
    publish: Vec<String>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT[-PORT][/PROTO]")]
    expose: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Set custom DNS servers
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Set DNS options
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Set meta data
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = grammar::pair)]
    label: Vec<(String, String)>,
}

/// `release`.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The adopted sandboxes
    #[arg(required = true, value_name = "NAME|ID")]
    sandboxes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Adopted {
    id: String,
    warnings: Option<Vec<String>>,
}

impl Adopt {
    /// The body of `POST /vethwork/adopt`.
    ///
    /// # Errors
    /// Docker's sentences for malformed ports; when the namespace's path cannot be told.
    fn body(&self) -> Result<Value, String> {
        let ports = parse_ports(&self.publish, &self.expose)?;
        let networks = self.network.iter().map(|(network, endpoint)| {
            json!({ "Network": network, "EndpointConfig": endpoint.to_json() })
        });
        let labels: Map<String, Value> = self
            .label
            .iter()
            .chain(self.service.iter().flat_map(|service| &service.0))
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        let mut body = Map::new();
        put(&mut body, "Pid", self.pid);
        put(
            &mut body,
            "Netns",
            self.netns.as_deref().map(netns_path).transpose()?,
        );
        put(&mut body, "Name", self.name.clone());
        put(&mut body, "ResolvConf", self.resolv_conf);
        put(&mut body, "Dns", self.dns.clone());
        put(&mut body, "DnsSearch", self.dns_search.clone());
        put(&mut body, "DnsOptions", self.dns_option.clone());
        put(&mut body, "PortBindings", ports.bindings);
        put(&mut body, "ExposedPorts", ports.exposed);
        put(&mut body, "PublishAllPorts", self.publish_all);
        put(&mut body, "Labels", labels);
        put(&mut body, "Networks", networks.collect::<Vec<_>>());
        Ok(body.into())
    }

    /// Adopts, and prints the sandbox's id.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let body = self.body().map_err(Failure::Refused)?;
        let request = Request::post(&["vethwork", "adopt"]).body(&body);
        let adopted: Adopted = context.client.json(request).await?;
        for warning in adopted.warnings.iter().flatten() {
            eprintln!("WARNING: {warning}");
        }
        print_line(&adopted.id)
    }
}

impl Release {
    /// Leaves sandboxes as they were found.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        each(&self.sandboxes, async |name| {
            context
                .client
                .run(Request::post(&["vethwork", "release", name]))
                .await?;
            Ok(format!("{name}\n"))
        })
        .await
    }
}

/// A name without a slash is one of `ip netns`; a path is the client's.
fn netns_path(text: &str) -> Result<String, String> {
    let path = match text.contains('/') {
        true => std::path::absolute(text).map_err(|error| format!("{text}: {error}"))?,
        false => PathBuf::from("/run/netns").join(text),
    };
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests;
