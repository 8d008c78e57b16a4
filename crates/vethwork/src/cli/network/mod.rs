//! `vethwork network`: Docker's grammar and output.

mod create;
mod list;

use super::{
    Context, Done, Failure,
    endpoint::Endpoint,
    grammar, inspect,
    output::{confirm, each, print, print_line},
};
use crate::client::Request;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

/// The subcommands of `network`.
#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Connect a container to a network
    Connect(Box<Connect>),
    /// Create a network
    Create(Box<create::Create>),
    /// Disconnect a container from a network
    Disconnect(Disconnect),
    /// Display detailed information on one or more networks
    Inspect(Inspect),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Remove all unused networks
    Prune(Prune),
    /// Remove one or more networks
    #[command(visible_alias = "remove")]
    Rm(Remove),
}

/// `network connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Add network-scoped alias for the container
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Driver options for the network
    #[arg(long, value_name = "KEY=VALUE", value_parser = grammar::full_pair)]
    driver_opt: Vec<(String, String)>,
    /// Highest gw-priority provides the default gateway; accepts positive and negative values
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    gw_priority: i64,
    /// IPv4 address (e.g., "172.30.100.104")
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip: String,
    /// IPv6 address (e.g., "2001:db8::33")
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    ip6: String,
    /// Add link to another container
    #[arg(long, value_name = "CONTAINER[:ALIAS]")]
    link: Vec<String>,
    /// Add a link-local address for the container
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    /// Join a service: NAME, or NAME,weight=N
    #[arg(long, value_name = "NAME[,weight=N]", value_parser = grammar::service)]
    service: Option<grammar::Service>,
    /// The network
    network: String,
    /// The container or adopted sandbox
    container: String,
}

impl Connect {
    fn body(&self) -> Value {
        let endpoint = Endpoint {
            ip: self.ip.clone(),
            ip6: self.ip6.clone(),
            link_local: self.link_local_ip.clone(),
            mac: String::new(),
            aliases: self.alias.clone(),
            links: self.link.clone(),
            driver_opts: self
                .driver_opt
                .iter()
                .chain(self.service.iter().flat_map(|service| &service.0))
                .cloned()
                .collect(),
            gw_priority: self.gw_priority,
        };
        json!({ "Container": self.container, "EndpointConfig": endpoint.to_json() })
    }
}

/// `network disconnect`.
#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// Force the container to disconnect from a network
    #[arg(short, long)]
    force: bool,
    /// The network
    network: String,
    /// The container or adopted sandbox
    container: String,
}

/// `network inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// `network prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Provide filter values (e.g. "until=TIMESTAMP")
    #[arg(long, value_name = "FILTER", value_parser = grammar::filter)]
    filter: Vec<(String, String)>,
    /// Do not prompt for confirmation
    #[arg(short, long)]
    force: bool,
}

/// `network rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Do not error if the network does not exist
    #[arg(short, long)]
    force: bool,
    /// The networks
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

impl Network {
    /// Runs it.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Connect(args) => args.run(context).await,
            Self::Create(args) => args.run(context).await,
            Self::Disconnect(args) => args.run(context).await,
            Self::Inspect(args) => args.run(context).await,
            Self::Ls(args) => args.run(context).await,
            Self::Prune(args) => args.run(context).await,
            Self::Rm(args) => args.run(context).await,
        }
    }
}

impl Connect {
    async fn run(&self, context: &Context) -> Done {
        let request = Request::post(&["networks", &self.network, "connect"]);
        Ok(context.client.run(request.body(&self.body())).await?)
    }
}

impl Disconnect {
    async fn run(&self, context: &Context) -> Done {
        let body = json!({ "Container": self.container, "Force": self.force });
        let request = Request::post(&["networks", &self.network, "disconnect"]);
        Ok(context.client.run(request.body(&body)).await?)
    }
}

impl Inspect {
    async fn run(&self, context: &Context) -> Done {
        inspect::show(&self.networks, self.format.as_deref(), async |name| {
            let request = Request::get(&["networks", name]).flag("verbose", self.verbose);
            Ok(context.client.text(request).await?)
        })
        .await
    }
}

impl Prune {
    async fn run(&self, context: &Context) -> Done {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Report {
            networks_deleted: Option<Vec<String>>,
        }
        let warning =
            "WARNING! This will remove all custom networks not used by at least one container.";
        if !self.force && !confirm(warning)? {
            return Ok(());
        }
        let request = Request::post(&["networks", "prune"]).filters(&self.filter);
        let report: Report = context.client.json(request).await?;
        match report.networks_deleted {
            Some(deleted) if !deleted.is_empty() => {
                print(&format!("Deleted Networks:\n{}\n\n", deleted.join("\n")))
            }
            _ => Ok(()),
        }
    }
}

impl Remove {
    async fn run(&self, context: &Context) -> Done {
        each(&self.networks, async |name| {
            match context
                .client
                .run(Request::delete(&["networks", name]))
                .await
            {
                Err(error) if self.force && error.is_not_found() => Ok(String::new()),
                done => Ok(done.map(|()| format!("{name}\n"))?),
            }
        })
        .await
    }
}

/// The answer to a request that makes something.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Created {
    id: String,
    warning: String,
}

impl create::Create {
    async fn run(&self, context: &Context) -> Done {
        let body = self.body().map_err(Failure::Refused)?;
        let request = Request::post(&["networks", "create"]).body(&body);
        let created: Created = context.client.json(request).await?;
        if !created.warning.is_empty() {
            eprintln!("WARNING: {}", created.warning);
        }
        print_line(&created.id)
    }
}

#[cfg(test)]
mod tests;
