//! `network ls`.

use crate::{
    cli::{Context, Done, grammar, natural, shown::Shown},
    client::Request,
    render::{Listing, Row},
};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;

const LISTING: Listing = Listing {
    columns: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
};

/// `network ls`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Provide filter values (e.g. "driver=bridge")
    #[arg(short, long, value_name = "FILTER", value_parser = grammar::filter)]
    filter: Vec<(String, String)>,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    name: String,
    id: String,
    created: String,
    scope: String,
    driver: String,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    internal: bool,
    labels: Option<BTreeMap<String, String>>,
}

impl List {
    /// Prints the list.
    ///
    /// # Errors
    /// As the daemon refuses, or the template is wrong.
    pub(super) async fn run(&self, context: &Context) -> Done {
        let request = Request::get(&["networks"]).filters(&self.filter);
        let mut networks: Vec<Network> = context.client.json(request).await?;
        networks.sort_by(|a, b| natural::compare(&a.name, &b.name));
        let rows = networks.iter().map(|network| self.row(network)).collect();
        self.shown.print(&LISTING, rows)
    }

    fn row(&self, network: &Network) -> Row {
        let id = self.shown.id(&network.id);
        Row::default()
            .field("ID", id)
            .field("Name", &network.name)
            .field("Driver", &network.driver)
            .field("Scope", &network.scope)
            .field("IPv4", network.enable_ipv4.to_string())
            .field("IPv6", network.enable_ipv6.to_string())
            .field("Internal", network.internal.to_string())
            .field("CreatedAt", go_text(&network.created))
            .labels(network.labels.as_ref().unwrap_or(&BTreeMap::new()))
    }
}

/// An RFC 3339 moment in UTC as Go prints it.
fn go_text(moment: &str) -> String {
    match moment.strip_suffix('Z') {
        Some(moment) => format!("{} +0000 UTC", moment.replace('T', " ")),
        None => moment.to_owned(),
    }
}
