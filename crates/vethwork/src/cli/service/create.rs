//! `service create`.

use super::{Answer, Health};
use crate::{
    cli::{Context, Done, grammar, output::print_line},
    client::Request,
};
use clap::Args;
use serde_json::{Map, Value, json};

/// `service create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Whom clients are led to: none (by chance), or client (the same one by the client's address)
    #[arg(long, value_name = "none|client", default_value = "none")]
    affinity: String,
    /// How long connections to an endpoint that leaves may go on
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = grammar::duration)]
    drain: i64,
    /// What its name leads to: vip (an address of its own) or dnsrr (its endpoints)
    #[arg(long, value_name = "vip|dnsrr", default_value = "vip")]
    endpoint_mode: String,
    #[command(flatten)]
    health: Health,
    /// Service labels
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = grammar::pair)]
    label: Vec<(String, String)>,
    /// Its name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The network that it and its endpoints are on
    #[arg(long, value_name = "NETWORK")]
    network: String,
    /// Publish a port of the endpoints on every address of the host, or on one; also as
    /// [host_ip=ADDRESS,]published=PORT,target=PORT[,protocol=PROTO][,mode=ingress|host][,prefer=none|local]
    #[arg(short, long, value_name = "[[IP:][PORT]:]PORT[/PROTO]")]
    publish: Vec<String>,
}

impl Create {
    fn body(&self) -> Value {
        let labels: Map<String, Value> = self
            .label
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        json!({
            "Name": self.name,
            "Network": self.network,
            "EndpointMode": self.endpoint_mode,
            "Publish": self.publish,
            "Affinity": self.affinity,
            "Drain": self.drain,
            "Health": self.health.body(),
            "Labels": labels,
        })
    }

    /// Creates it, and prints its id.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(super) async fn run(&self, context: &Context) -> Done {
        let request = Request::post(&["vethwork", "services", "create"]).body(&self.body());
        let created: Answer = context.client.json(request).await?;
        created.warn();
        print_line(&created.id)
    }
}
