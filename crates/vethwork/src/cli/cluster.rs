//! `cluster`: the hosts that share networks with this one.

use super::{
    Context, Done,
    output::{each, print, print_line},
};
use crate::{
    client::Request,
    render::{Template, align, short_id, value_of},
};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The subcommands of `cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show the hosts, how they are reached, and the health of their store
    Status(Status),
    /// Give up hosts that will not return: their addresses become free
    Forget(Forget),
}

/// `cluster status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not truncate the output
    #[arg(long)]
    no_trunc: bool,
}

/// `cluster forget`.
#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// The hosts, which must not be alive
    #[arg(required = true, value_name = "NAME|ID")]
    hosts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct View {
    error: String,
    store: Store,
    hosts: Vec<Host>,
    encryption: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Store {
    kind: String,
    servers: Vec<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Server {
    address: String,
    latency_microseconds: Option<u64>,
    error: String,
    leader: Option<bool>,
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Host {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    address: String,
    version: String,
    this: bool,
    alive: bool,
    away: bool,
    reachable: Option<bool>,
    endpoints: usize,
    blocks: Option<usize>,
    latency_microseconds: Option<u64>,
    #[serde(rename = "MTU")]
    mtu: Option<u32>,
    encrypted_reachable: Option<bool>,
    #[serde(rename = "EncryptedMTU")]
    encrypted_mtu: Option<u32>,
    trouble: String,
}

impl Cluster {
    /// Runs the subcommand.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        match self {
            Self::Status(args) => args.run(context).await,
            Self::Forget(args) => args.run(context).await,
        }
    }
}

impl Status {
    async fn run(&self, context: &Context) -> Done {
        let status: Value = context
            .client
            .json(Request::get(&["vethwork", "cluster"]))
            .await?;
        if let Some(format) = &self.format {
            let format = match format.as_str() {
                "json" => "{{json .}}",
                format => format,
            };
            return print_line(&Template::parse(format)?.execute(&value_of(&status))?);
        }
        // What is missing is shown as such: a newer daemon's answer has more, never less.
        let view = View::deserialize(&status).unwrap_or_default();
        print(&shown(&view, self.no_trunc))
    }
}

impl Forget {
    async fn run(&self, context: &Context) -> Done {
        each(&self.hosts, async |host| {
            context
                .client
                .run(Request::post(&["vethwork", "cluster", "forget", host]))
                .await?;
            Ok(format!("{host}\n"))
        })
        .await
    }
}

fn shown(view: &View, whole: bool) -> String {
    let mut hosts =
        "ID\tHOST\tADDRESS\tSTATE\tLATENCY\tMTU\tENCRYPTED\tENDPOINTS\tBLOCKS\tVERSION\n"
            .to_owned();
    for host in &view.hosts {
        let id = if whole { &host.id } else { short_id(&host.id) };
        let state = match (host.this, host.alive, host.reachable) {
            (true, true, _) => "this host",
            (true, false, _) => "this host, not seen by the others",
            (false, true, Some(false)) => "unreachable",
            (false, true, _) => "alive",
            (false, false, _) if host.away => "away",
            (false, false, _) => "dead",
        };
        let encrypted = match host.encrypted_reachable {
            Some(false) => "unreachable".to_owned(),
            _ => known(host.encrypted_mtu),
        };
        hosts += &format!(
            "{id}\t{}\t{}\t{state}\t{}\t{}\t{encrypted}\t{}\t{}\t{}\n",
            host.name,
            host.address,
            duration(host.latency_microseconds),
            known(host.mtu),
            host.endpoints,
            known(host.blocks),
            host.version,
        );
    }
    let mut servers = "STORE\tSERVER\tSTATE\tLATENCY\tVERSION\n".to_owned();
    for server in &view.store.servers {
        let state = match (&server.error, server.leader) {
            (error, _) if !error.is_empty() => error,
            (_, Some(true)) => "leader",
            (_, Some(false)) => "follower",
            (_, None) => "up",
        };
        servers += &format!(
            "{}\t{}\t{state}\t{}\t{}\n",
            view.store.kind,
            server.address,
            duration(server.latency_microseconds),
            server.version,
        );
    }
    let mut out = format!("{}\n{}", align(&hosts), align(&servers));
    if let Some(carried) = carried(&view.encryption) {
        out += &format!("\nEncrypted networks of this host: {carried}\n");
    }
    let in_trouble = view.hosts.iter().filter(|host| !host.trouble.is_empty());
    for host in in_trouble {
        out += &format!("\nWARNING: {}: {}\n", host.name, host.trouble);
    }
    if let Some(versions) = differing(&view.hosts) {
        out += &format!("\nWARNING: hosts run different versions: {versions}\n");
    }
    if !view.error.is_empty() {
        out += &format!("\nWARNING: {}\n", view.error);
    }
    out
}

/// Who of those that are alive runs which version; nothing where all run the same.
fn differing(hosts: &[Host]) -> Option<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for host in hosts.iter().filter(|host| host.alive) {
        let names = versions.entry(&host.version).or_default();
        names.push(&host.name);
    }
    let named = |(version, names): (&&str, &Vec<&str>)| format!("{version} ({})", names.join(", "));
    let named: Vec<_> = versions.iter().map(named).collect();
    (named.len() > 1).then(|| named.join(", "))
}

fn known(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// How packets of encrypted networks are carried, for people; nothing where there is no cluster.
pub(super) fn carried(by: &str) -> Option<&str> {
    match by {
        "" => None,
        "kernel" => Some("by WireGuard in the kernel"),
        "user space" => Some("by WireGuard in user space"),
        "none" => Some("none can be"),
        other => Some(other),
    }
}

fn duration(microseconds: Option<u64>) -> String {
    let Some(microseconds) = microseconds else {
        return "-".to_owned();
    };
    format!("{}.{:02} ms", microseconds / 1000, microseconds % 1000 / 10)
}

#[cfg(test)]
mod tests;
